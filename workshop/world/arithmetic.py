"""Sums up to two digits: + and -, multiplication up to 12 × 12, and exact division. Held out: pairs of numbers for + and -."""
from . import Turn, casual, choose, draw, held_out

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(number):
    """Returns a number below 100 in words."""
    if number < 20:
        return ONES[number]
    return TENS[number // 10 - 2] + ("-" + ONES[number % 10] if number % 10 else "")


SIGNS = {"+": "plus", "-": "minus", "×": "times", "÷": "divided by"}
APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "×": lambda a, b: a * b, "÷": lambda a, b: a // b}

WORDINGS = [
    "What is {sum}?", "What is {said}?", "What's {sum}?", "How much is {sum}?", "How much is {said}?",
    "[Please c|C]alculate {sum}.", "Compute {sum}[.|]", "{sum}", "{sum} =", "{sum} = ?", "{sum}?", "{said}?",
    "Can you [work out|calculate|add up] {sum}?", "Tell me [what|how much] {sum} is.", "Tell me what {said} is.",
    "Solve {sum}[.|]", "I need the result of {sum}.", "What does {sum} [equal|make|give]?", "Work out {said}[, please|].",
    "Do you know what {said} is?", "Give me {sum}[, please|].", "What is the result of {said}?", "{said}, please.",
    "I would like to know {sum}.", "Can you tell me what {said} is?", "Help me with {sum}.", "The exercise is {sum}.",
    "What do I get for {said}?", "Please find {sum}.", "Do the sum {sum}.", "{said} is how much?", "{sum} is what?",
    "My teacher wants to know {sum}.", "Say what {said} is.", "{sum}, what is it?", "Which number is {said}?", "I have to solve {sum}.",
    "What number do you get for {sum}?", "If I take {said}, what is it?", "I am thinking about {said}.", "Let me know what {said} is.", "{said} comes to what?", "How much would {sum} be?",
    "[Task|Exercise|Question|Sum]: {sum}", "{sum} equals what?", "{said} equals?", "The sum is {sum}. [Solve it|Answer it].",
    "Answer this: {sum}", "What's the answer to {sum}?", "[Now|Next|Then]: {sum}", "Does anyone know {said}?", "Show me {sum}.",
    "I cannot do {sum}. Can you?", "What would {said} be?", "How about {sum}?", "And {sum}?", "Evaluate {sum}.", "Try {sum}.",
    "Is it hard to work out {said}?", "Write the answer of {sum}.", "In numbers, {said} is what?", "Ready? {sum}", "Please do {said}.",
    "What comes out of {sum}?", "We want to know what {said} gives.", "Result of {sum}?", "Maths: {sum}", "He asks me for {said}.",
    "{sum} gives?", "{said} makes?", "Finish this: {sum} =", "Fill in: {sum} = ?", "My brother cannot solve {sum}.", "({sum})",
    "Check for me: {sum}", "You are good with numbers. What is {said}?", "On the board is {sum}. What comes next?", "Here is a sum: {sum}.",
    "Is {sum} easy for you?", "I got stuck at {sum}.", "Then what would you say {said} is?", "What total does {sum} have?", "Sum it: {sum}",
]
UNSEEN = [
    "Could you figure out {sum} for me?", "I wonder what {said} comes to.", "My homework says {sum}. What is the answer?",
    "Please give the value of {sum}.", "Quickly: what do you get for {sum}?", "How much do I get if I take {said}?",
]
NAMED = {
    "+": ["[What is|Give me|Tell me|Find] the sum of {a} and {b}.", "Add {a} and {b}.", "Add {b} to {a}.",
          "What [do you get|is it] if you add {b} to {a}?", "What is {b} more than {a}?",
          "Please add {a} and {b}.", "What is {a} and {b} together?", "Can you add {b} to {a}?", "{a} and {b} together, please.", "Give the total: {a} and {b}.",
          "{a} and {b} make what?", "Put {a} and {b} together.", "What is {a} increased by {b}?", "{a}, and then {b} more: what is it?",
          "[Start|Begin] with {a} and add {b}.", "How much are {a} and {b}?", "Count {b} up from {a}.", "Which number is {b} more than {a}?",
          "The numbers are {a} and {b}. Add them.", "If {b} is added to {a}, what comes out?", "Raise {a} by {b}.", "Sum of {a} and {b}?"],
    "-": ["Subtract {b} from {a}.", "Take {b} away from {a}.", "What is {a} less {b}?", "What is {b} less than {a}?",
          "What is left if you take {b} from {a}?",
          "Please take {b} from {a}.", "Can you subtract {b} from {a}?", "What remains of {a} without {b}?", "From {a} take {b}.", "{a} take away {b}?",
          "What is {a} reduced by {b}?", "What is the difference between {a} and {b}?", "Difference of {a} and {b}?", "[Start|Begin] with {a} and subtract {b}.",
          "Count {b} down from {a}.", "Which number is {b} less than {a}?", "If {b} is taken from {a}, what is left?", "Lower {a} by {b}.",
          "How much is {a} without {b}?", "{a}, but {b} less: what is it?", "Remove {b} from {a}.", "I have {a} and lose {b}. What is left?"],
    "×": ["Multiply {a} by {b}.", "[What is|Give me] the product of {a} and {b}.", "What is {a} multiplied by {b}?", "Can you multiply {a} and {b}?", "Please multiply {a} with {b}.", "What do you get if you multiply {a} by {b}?",
          "{a} multiplied by {b}?", "Product of {a} and {b}?", "The numbers are {a} and {b}. Multiply them.", "Take {a} times {b}.", "What is {a} taken {b} times?"],
    "÷": ["Divide {a} by {b}.", "How many times does {b} go into {a}?", "What is {a} over {b}?", "Can you divide {a} by {b}?", "Please divide {a} through {b}.", "What is {a} divided into {b} parts?",
          "{a} divided by {b}?", "Split {a} into {b} equal parts. How big is one?", "How often is {b} in {a}?", "Share {a} by {b}.", "Take {a} and divide by {b}."],
}
UNSEEN_NAMED = {
    "+": ["What is the total of {a} and {b}?", "Please add up {a} and {b} for me."],
    "-": ["Please subtract {b} from {a} for me.", "What remains if you take {b} away from {a}?"],
    "×": ["Please multiply {a} by {b} for me.", "Find the product of {a} and {b}."],
    "÷": ["Please divide {a} by {b} for me.", "What do you get if you divide {a} by {b}?"],
}
NAMES = "Tom Anna Ben Clara David Emma Felix Grace Hugo Ida Jack Laura Max Nina Oscar Paula".split()
GOODS = "apples books pens eggs coins stamps cards shells balls cups lemons candles".split()
STORIES = {
    "+": ["{name} has {a} {goods} and [buys|gets|finds] {b} more. How many {goods} does {name} have?",
          "There are {a} {goods} in one box and {b} {goods} in another. How many {goods} are there?",
          "{name} had {a} {goods}. Then {name} [found|bought|got] {b} more. How many now?",
          "{name} counts {a} {goods}, then {b} more {goods}. How many are there together?",
          "Yesterday {name} had {a} {goods}. Today {name} gets another {b}. How many {goods} are there now?",
          "{name} owns {a} {goods} and a brother has {b}. How many {goods} do they have?",
          "A bus has {a} people. At the next stop {b} get on. How many people are in it?", "In one class are {a} children, in the other {b}. How many children are that?",
          "A lamp costs {a} euros and a chair {b} euros. What do both cost?", "{name} walks {a} metres and then {b} metres. How far is that?",
          "{name} is {a} years old. How old will {name} be in {b} years?", "{a} {goods} lie here and {b} {goods} lie there. How many altogether?",
          "The first day brought {a} {goods}, the second {b}. How many in two days?", "To {a} {goods} {name} adds {b}. What is the number now?",
          "{name} sold {a} {goods} in the morning and {b} in the evening. How many were sold?", "How many {goods} are {a} {goods} and {b} {goods}?",
          "{name} saved {a} euros and earned {b} more. How much money is it?", "We need {a} {goods} for us and {b} for the guests. How many do we need?",
          "{name} picked {a} {goods}, then a sister picked {b}. How many do they have in all?", "Is there anyone who can count {a} {goods} plus {b} {goods}?"],
    "-": ["{name} has {a} {goods} and [gives away|sells|loses] {b}. How many {goods} does {name} have left?",
          "There were {a} {goods} in a box. {name} took {b}. How many {goods} are left?",
          "{name} had {a} {goods} and [lost|sold|gave away] {b} of them. How many now?",
          "From {a} {goods} {name} takes {b} away. How many {goods} stay?",
          "{name} owns {a} {goods}. {b} of them are broken. How many {goods} are good?",
          "{a} {goods} were on the table and {name} ate {b}. How many {goods} are there now?",
          "A bus has {a} people. {b} get off. How many people stay?", "{name} has {a} euros and spends {b}. How much money is left?",
          "The road is {a} kilometres long and {name} walked {b}. How far is it still?", "{name} needs {a} {goods} but has only {b}. How many are missing?",
          "Of {a} {goods} {b} are red. How many are not red?", "{name} has {a} {goods}, a sister has {b}. How many more has {name}?",
          "The book has {a} pages and {name} read {b}. How many pages are left?", "{b} of {a} {goods} fell down. How many did not fall?",
          "A box holds {a} {goods}. {name} puts {b} on the table. How many stay in the box?", "{name} is {a} years old. How old was {name} {b} years ago?",
          "It was {a} degrees and became {b} degrees colder. How warm is it?", "We baked for {a} guests, but {b} did not come. How many came?",
          "{b} {goods} were stolen from {name}, who had {a}. How many are there still?", "A shop had {a} {goods}. By the evening {b} were gone. How many {goods} did not go?"],
    "×": ["{name} has {a} boxes with {b} {goods} each. How many {goods} does {name} have?",
          "There are {a} boxes with {b} {goods} in each. How many {goods} are there?",
          "{name} packs {a} boxes, {b} {goods} in each box. How many {goods} are packed?", "In {a} boxes there are {b} {goods} each. How many is that?",
          "{a} children have {b} {goods} each. How many {goods} do they have?", "{a} rows of {b} chairs: how many chairs?", "{name} buys {a} bags with {b} {goods} in every bag. How many {goods} in all?",
          "For {a} days {name} reads {b} pages a day. How many pages are read?", "What do {a} tickets cost, {b} euros each?", "Each of {a} friends brings {b} {goods}. How many {goods} come together?"],
    "÷": ["{name} shares {a} {goods} among {b} children. How many {goods} does each child get?",
          "{b} children share {a} {goods}. How many does each get?", "{a} {goods} for {b} children: how many for each child?",
          "{a} {goods} are put into {b} boxes, the same number in each. How many are in one?", "{name} splits {a} {goods} between {b} friends. How many for each?",
          "{a} chairs stand in {b} equal rows. How many chairs are in one row?", "{name} reads {a} pages in {b} days. How many pages a day?", "{a} euros for {b} tickets: what does one ticket cost?"],
}
UNSEEN_STORIES = {
    "+": ["{name} owns {a} {goods}. A friend brings {b} more. How many {goods} does {name} have now?"],
    "-": ["{name} has {a} {goods}. A friend takes {b}. How many {goods} does {name} still have?"],
    "×": ["{name} fills {a} boxes with {b} {goods} each. How many {goods} is that?"],
    "÷": ["{name} gives {a} {goods} to {b} children, the same to each. How many {goods} does each child get?"],
}
SPELLINGS = {"+": ["+"], "-": ["-"], "×": ["×", "x", "*"], "÷": ["÷", "/"]}
NEXT = {"+": ["And {b} more?", "[Now a|A]dd {b}.", "[And |]plus {b}?", "Add {b} to it.", "Then plus {b}.", "Add another {b}.", "+ {b}", "And now {b} on top?", "{b} more, please.", "What if I add {b} now?", "Put {b} to it.", "Next, plus {b}?", "I get {b} more. How much is it?"],
        "-": ["[And m|M]inus {b}?", "[Now s|S]ubtract {b}.", "[Now t|T]ake away {b}.", "Take {b} from it.", "Then minus {b}.", "Take off {b}.", "Subtract {b} from that.", "- {b}", "And now {b} less?", "{b} less, please.", "What if I take {b} away now?", "Remove {b}.", "Next, minus {b}?", "I lose {b}. How much is it?"]}
UNSEEN_NEXT = {"+": ["Then add {b} to that."], "-": ["Then take {b} off that."]}


def numbers(rng, sign):
    """Draws two numbers for this sign. The result has at most three digits."""
    if sign == "+":
        return rng.randrange(100), rng.randrange(100)
    if sign == "-":
        a, b = rng.randrange(100), rng.randrange(100)
        return (max(a, b), min(a, b)) if rng.random() < 0.7 else (a, b)
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    return (a, b) if sign == "×" else (a * max(b, 1), max(b, 1))


def solved(a, sign, b):
    """37 + 48 = 85"""
    return f"{a} {sign} {b} = {APPLY[sign](a, b)}"


def problem(rng, split):
    """Draws a sign and two numbers that belong to the split. Multiplication and division have no held-out pairs."""
    sign = rng.choice("++--" if split == "combination" else "++++----××÷")
    if sign in "×÷":
        return sign, *numbers(rng, sign)
    return sign, *draw(rng, split, lambda: numbers(rng, sign), lambda pair: ("sum", sign, *pair))


def sample(rng, split):
    """Asks for one sum in one of many ways. Sometimes a second turn goes on with the result, or one turn asks for three."""
    roll = rng.random()
    if roll < 0.2 and split != "wording":
        problems = [problem(rng, split) for _ in range(rng.randint(2, 10 if split == "train" else 5))]
        sums = [f"{a} {sign} {b}" for sign, a, b in problems]
        asked = rng.choice(("Calculate: ", "What are ", "Solve these: ", "Work out ", "")) + ", ".join(sums)
        if split == "train" and rng.random() < 0.3:
            asked = rng.choice(("Sums:\n", "Please solve\n", "All of these:\n", "")) + rng.choice(("\n", "; ", " and ")).join(sums)
        return [Turn("arithmetic", asked, "\n".join(solved(a, sign, b) for sign, a, b in problems))]
    sign, a, b = problem(rng, split)
    if roll < 0.38 and (a >= b or sign == "+") and min(a, b) > 1:
        name, goods = rng.choice(NAMES), rng.choice(GOODS)
        asked = choose(rng, split, STORIES[sign], UNSEEN_STORIES[sign], a=a, b=b, name=name, goods=goods)
        return [Turn("arithmetic", asked, solved(a, sign, b))]
    if roll < 0.55:
        spell = words if split == "train" and rng.random() < 0.2 and max(a, b) < 100 else str
        asked = choose(rng, split, NAMED[sign], UNSEEN_NAMED[sign], a=spell(a), b=spell(b))
    else:
        space = "" if rng.random() < 0.15 else " "
        written = space.join((str(a), rng.choice(SPELLINGS[sign]), str(b)))
        spell = words if rng.random() < 0.3 and max(a, b) < 100 else str
        asked = choose(rng, split, WORDINGS, UNSEEN, sum=written, said=f"{spell(a)} {SIGNS[sign]} {spell(b)}")
    turns = [Turn("arithmetic", casual(rng, asked) if split == "train" else asked, solved(a, sign, b))]
    total = APPLY[sign](a, b)
    while rng.random() < 0.25 and 1 < total < 100 and len(turns) < 4:
        sign, b = rng.choice("+-"), rng.randint(1, total)
        if split == "combination" or not held_out("sum", sign, total, b):
            asked = choose(rng, split, NEXT[sign], UNSEEN_NEXT[sign], b=b)
            turns.append(Turn("arithmetic", asked, solved(total, sign, b)))
            total = APPLY[sign](total, b)
    return turns
