"""Sums up to two digits: + and -, the tables up to 12 × 12, and exact division. Held out: pairs of numbers for + and -."""
from . import Turn, casual, choose, draw, held_out

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(number):
    """A number below 100 in words."""
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
]
UNSEEN = [
    "Could you figure out {sum} for me?", "I wonder what {said} comes to.", "My homework says {sum}. What is the answer?",
    "Please give the value of {sum}.", "Quickly: what do you get for {sum}?", "How much do I get if I take {said}?",
]
NAMED = {
    "+": ["[What is|Give me|Tell me|Find] the sum of {a} and {b}.", "Add {a} and {b}.", "Add {b} to {a}.",
          "What [do you get|is it] if you add {b} to {a}?", "What is {b} more than {a}?",
          "Please add {a} and {b}.", "What is {a} and {b} together?", "Can you add {b} to {a}?", "{a} and {b} together, please.", "Give the total: {a} and {b}."],
    "-": ["Subtract {b} from {a}.", "Take {b} away from {a}.", "What is {a} less {b}?", "What is {b} less than {a}?",
          "What is left if you take {b} from {a}?",
          "Please take {b} from {a}.", "Can you subtract {b} from {a}?", "What remains of {a} without {b}?", "From {a} take {b}.", "{a} take away {b}?"],
    "×": ["Multiply {a} by {b}.", "[What is|Give me] the product of {a} and {b}.", "What is {a} multiplied by {b}?", "Can you multiply {a} and {b}?", "Please multiply {a} with {b}.", "What do you get if you multiply {a} by {b}?"],
    "÷": ["Divide {a} by {b}.", "How many times does {b} go into {a}?", "What is {a} over {b}?", "Can you divide {a} by {b}?", "Please divide {a} through {b}.", "What is {a} divided into {b} parts?"],
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
          "{name} owns {a} {goods} and a brother has {b}. How many {goods} do they have?"],
    "-": ["{name} has {a} {goods} and [gives away|sells|loses] {b}. How many {goods} does {name} have left?",
          "There were {a} {goods} in a box. {name} took {b}. How many {goods} are left?",
          "{name} had {a} {goods} and [lost|sold|gave away] {b} of them. How many now?",
          "From {a} {goods} {name} takes {b} away. How many {goods} stay?",
          "{name} owns {a} {goods}. {b} of them are broken. How many {goods} are good?",
          "{a} {goods} were on the table and {name} ate {b}. How many {goods} are there now?"],
    "×": ["{name} has {a} boxes with {b} {goods} each. How many {goods} does {name} have?",
          "There are {a} boxes with {b} {goods} in each. How many {goods} are there?",
          "{name} packs {a} boxes, {b} {goods} in each box. How many {goods} are packed?", "In {a} boxes there are {b} {goods} each. How many is that?"],
    "÷": ["{name} shares {a} {goods} among {b} children. How many {goods} does each child get?",
          "{b} children share {a} {goods}. How many does each get?", "{a} {goods} for {b} children: how many for each child?"],
}
UNSEEN_STORIES = {
    "+": ["{name} owns {a} {goods}. A friend brings {b} more. How many {goods} does {name} have now?"],
    "-": ["{name} has {a} {goods}. A friend takes {b}. How many {goods} does {name} still have?"],
    "×": ["{name} fills {a} boxes with {b} {goods} each. How many {goods} is that?"],
    "÷": ["{name} gives {a} {goods} to {b} children, the same to each. How many {goods} does each child get?"],
}
SPELLINGS = {"+": ["+"], "-": ["-"], "×": ["×", "x", "*"], "÷": ["÷", "/"]}
NEXT = {"+": ["And {b} more?", "[Now a|A]dd {b}.", "[And |]plus {b}?", "Add {b} to it.", "Then plus {b}.", "Add another {b}."],
        "-": ["[And m|M]inus {b}?", "[Now s|S]ubtract {b}.", "[Now t|T]ake away {b}.", "Take {b} from it.", "Then minus {b}.", "Take off {b}.", "Subtract {b} from that."]}
UNSEEN_NEXT = {"+": ["Then add {b} to that."], "-": ["Then take {b} off that."]}


def numbers(rng, sign):
    """Two numbers for this sign, and what comes out has at most three digits."""
    if sign == "+":
        return rng.randrange(100), rng.randrange(100)
    if sign == "-":
        a, b = rng.randrange(100), rng.randrange(100)
        return (max(a, b), min(a, b)) if rng.random() < 0.85 else (a, b)
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    return (a, b) if sign == "×" else (a * max(b, 1), max(b, 1))


def solved(a, sign, b):
    """37 + 48 = 85"""
    return f"{a} {sign} {b} = {APPLY[sign](a, b)}"


def problem(rng, split):
    """A sign and two numbers on the right side of the split. Tables and division have no held-out pairs."""
    sign = rng.choice("++--" if split == "combination" else "++++----××÷")
    if sign in "×÷":
        return sign, *numbers(rng, sign)
    return sign, *draw(rng, split, lambda: numbers(rng, sign), lambda pair: ("sum", sign, *pair))


def sample(rng, split):
    """One sum asked in one of many ways; sometimes the result is carried on, sometimes three are asked at once."""
    roll = rng.random()
    if roll < 0.2 and split != "wording":
        problems = [problem(rng, split) for _ in range(rng.randint(2, 5))]
        sums = [f"{a} {sign} {b}" for sign, a, b in problems]
        asked = rng.choice(("Calculate: ", "What are ", "Solve these: ", "Work out ", "")) + ", ".join(sums)
        return [Turn("arithmetic", asked, "\n".join(solved(a, sign, b) for sign, a, b in problems))]
    sign, a, b = problem(rng, split)
    if roll < 0.35 and a >= b and min(a, b) > 1:
        name, goods = rng.choice(NAMES), rng.choice(GOODS)
        asked = choose(rng, split, STORIES[sign], UNSEEN_STORIES[sign], a=a, b=b, name=name, goods=goods)
        return [Turn("arithmetic", asked, solved(a, sign, b))]
    if roll < 0.5:
        asked = choose(rng, split, NAMED[sign], UNSEEN_NAMED[sign], a=a, b=b)
    else:
        space = "" if rng.random() < 0.15 else " "
        written = space.join((str(a), rng.choice(SPELLINGS[sign]), str(b)))
        spell = words if rng.random() < 0.3 and max(a, b) < 100 else str
        asked = choose(rng, split, WORDINGS, UNSEEN, sum=written, said=f"{spell(a)} {SIGNS[sign]} {spell(b)}")
    turns = [Turn("arithmetic", casual(rng, asked) if split == "train" else asked, solved(a, sign, b))]
    total = APPLY[sign](a, b)
    if rng.random() < 0.2 and 1 < total < 100:
        sign, b = rng.choice("+-"), rng.randint(1, total)
        if split == "combination" or not held_out("sum", sign, total, b):
            asked = choose(rng, split, NEXT[sign], UNSEEN_NEXT[sign], b=b)
            turns.append(Turn("arithmetic", asked, solved(total, sign, b)))
    return turns
