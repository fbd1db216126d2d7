"""Reading a sentence into JSON: orders, appointments and complaints, with exactly the fields of the request.

Held out: pairs of first name and surname.
"""
import json

from . import Turn, choose, draw, listing

FIRST = """Anna Ben Clara David Elena Felix Grace Hugo Ines Jonas Karin Lucas Maria Noah Olivia Pablo Rosa Samuel Teresa Viktor
    Yusuf Zoe Amelie Bruno Carmen Diego Emil Fatima Greta Henri""".split()
LAST = """Adler Bianchi Costa Dubois Evans Fischer Garcia Hansen Ivanov Jensen Keller Lopez Moreau Novak Olsen Petit Quinn Rossi
    Schmidt Torres Ude Vogel Weber Young Ziegler Martin Silva Kowalski Brown Tanaka""".split()
CITIES = """Berlin Paris Madrid Rome London Vienna Lisbon Oslo Dublin Prague Zurich Hamburg Lyon Seville Milan Porto Geneva Boston
    Munich Athens""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ITEMS = """lamps chairs tables books bicycles mirrors carpets clocks phones keyboards cameras printers shirts jackets pillows
    plates candles umbrellas helmets speakers""".split()
PLACES = ["the dentist", "the hairdresser", "the bank", "the garage", "the library", "the clinic", "the town hall", "the studio"]
FAULTS = ["does not start", "is broken", "makes a strange noise", "is too slow", "arrived late", "has a scratch",
          "does not charge", "gets too hot", "is missing a part", "turns off by itself"]
# only for training: many different names, towns and things teach the model to copy instead of to choose
MORE_FIRST = """Adam Agnes Alice Arthur Astrid Aylin Boris Camille Carla Chloe Dario Dora Edgar Ellen Erik Esther Fiona Florian Frank
    Gina Hanna Harold Helena Igor Irene Isaac Jana Jasper Julia Kemal Lara Leo Lena Liam Lydia Magnus Marta Mehmet Mila Nadia Nils
    Omar Otto Petra Philip Raul Rita Robin Sara Simon Sofia Stefan Tamara Theo Ursula Vera Walter Xavier Yann""".split()
MORE_LAST = """Aalto Abel Baker Barbosa Becker Bell Berg Blanc Bruno Cruz Dahl Demir Diaz Ende Farkas Ferrari Fuchs Gallo Gruber Haas
    Holm Horvat Huber Iversen Jung Kaya Klein Koch Kraus Lang Larsen Leroy Lind Marin Meyer Mori Nagy Neri Nunez Orlov Parker Pavlov
    Peters Popov Ramos Reyes Richter Roth Ruiz Sanders Santos Sato Stone Suzuki Tailor Toth Vidal Wagner Walker Wolf Zimmer""".split()
MORE_CITIES = """Dresden Bremen Leipzig Cologne Lille Nice Bordeaux Toulouse Nantes Turin Naples Venice Florence Bilbao Valencia Malaga
    Krakow Gdansk Warsaw Budapest Basel Bern Graz Linz Salzburg Ghent Bruges Antwerp Brussels Utrecht Leeds Bristol Glasgow Cork Bergen
    Malmo Turku Riga Vilnius Split Sofia Chicago Toronto Sydney""".split()
MORE_ITEMS = """spoons forks knives bags boxes bottles pens rulers ladders hammers screws ropes tents gloves scarves socks shoes hats
    towels blankets vases baskets buckets brushes cables batteries screens keys bells drums guitars balls skates kites toys puzzles
    stamps maps frames desks shelves beds sofas cupboards ovens pans pots kettles glasses mugs bowls trays""".split()
MORE_PLACES = ["the museum", "the restaurant", "the theatre", "the office", "the school", "the pharmacy", "the castle", "the harbour",
               "the gym", "the cinema", "the bakery", "the embassy", "the hospital", "the zoo", "the archive", "the factory"]
MORE_FAULTS = ["smells of smoke", "leaks water", "does not open", "shows no picture", "lost its colour", "is the wrong size", "stopped working",
               "fell apart", "makes no sound", "is too loud", "has a crack", "came without a cable", "does not stop", "was already used",
               "burns everything", "cannot be switched off", "shakes a lot", "has a loose wheel"]
MORE_THINGS = ["toaster", "vacuum cleaner", "watch", "lamp", "radio", "fridge", "tablet", "drill", "scooter", "clock", "kettle", "monitor",
               "microphone", "oven", "fan", "lawn mower", "piano", "chair", "suitcase", "mixer"]
THINGS = ["phone", "laptop", "washing machine", "heater", "camera", "printer", "headset", "bicycle", "coffee machine", "television"]

# kind: (fields, sentences, unseen sentences)
KINDS = {
    "order": (["customer", "item", "quantity", "price", "city", "day"], [
        "{customer} from {city} ordered {quantity} {item} for {price} euros on {day}.",
        "On {day}, {customer} bought {quantity} {item} in {city} and paid {price} euros.",
        "{customer} ({city}) wants {quantity} {item}, total {price} euros, delivery on {day}.",
        "Please send {quantity} {item} to {customer} in {city} by {day}. The price is {price} euros.",
        "New order: {quantity} {item}, {price} euros, {customer}, {city}, {day}.",
        "Hello, this is {customer}. I would like {quantity} {item} for {price} euros, delivered to {city} on {day}.",
        "{quantity} {item} were sold to {customer} for {price} euros in {city} last {day}.",
        "Our shop in {city} sold {quantity} {item} to {customer} on {day} for {price} euros.",
        "For {price} euros {customer} got {quantity} {item} on {day} in {city}.",
        "{customer} in {city} bought {quantity} {item} last {day}. The price was {price} euros.",
        "We sold {quantity} {item} to {customer} on {day}, sent them to {city} and got {price} euros.",
        "Yesterday {customer} paid {price} euros for {quantity} {item}; they go to {city} on {day}.",
        "{day}: {customer} lives in {city} and needs {quantity} {item}. The total is {price} euros.",
        "The bill of {price} euros for {quantity} {item} goes to {customer} in {city}, due on {day}.",
        "Ship {quantity} {item} to {city}. {customer} paid {price} euros on {day}.",
        "Sold in {city} on {day}: {quantity} {item} for {price} euros. The buyer is {customer}.",
        "{quantity} {item} go to {customer}, who paid {price} euros in {city} on {day}.",
        "It was {day} when {customer} came from {city} and took {quantity} {item}; the bill was {price} euros.",
        "In {city}, {customer} spent {price} euros on {quantity} {item}. This was on {day}.",
        "We delivered {quantity} {item} in {city}; on {day} we received {price} euros from {customer}.",
        "The customer {customer} ordered on {day}: {quantity} {item}. Price {price} euros. Address: {city}.",
        "{price} euros were paid by {customer} on {day} for {quantity} {item} from our shop in {city}.",
        "Did {customer} from {city} really order {quantity} {item} on {day}? It says {price} euros here.",
        "Can you bring {quantity} {item} to {customer} on {day}? The address is in {city}, the money is {price} euros.",
        "{quantity} {item} have been reserved by {customer} until {day}, to be sent to {city}, worth {price} euros.",
        "What {customer} wants: {quantity} {item}. Where: {city}. When: {day}. How much: {price} euros.",
        "The {item} for {customer} are ready. There are {quantity} of them, they cost {price} euros and go to {city} on {day}.",
        "I am from {city}, my name is {customer}, and on {day} I need {quantity} {item}. I can pay {price} euros.",
        "Because {day} is a holiday in {city}, {customer} gets the {quantity} {item} later. Paid: {price} euros.",
        "{item}, {quantity} pieces, {price} euros, to be picked up on {day} in {city} by {customer}.",
        "We owe {customer} {quantity} {item}. They were paid with {price} euros in {city} on {day}.",
        "After a long talk {customer} took only {quantity} {item}. We met in {city} on {day} and agreed on {price} euros.",
        "Could someone call {customer} in {city}? The {quantity} {item} arrive on {day} and {price} euros are open.",
        "{customer} asks whether {quantity} {item} can be in {city} before {day}. The offer was {price} euros.",
        "{price} euros, that is what {customer} has to pay for {quantity} {item}. Delivery: {city}, {day}."], [
        "Last {day} our customer {customer} from {city} paid {price} euros for {quantity} {item}.",
        "{customer} lives in {city} and bought {quantity} {item} on {day}. The bill was {price} euros.",
        "We shipped {quantity} {item} to {city} on {day}; {customer} paid {price} euros."]),
    "appointment": (["name", "place", "day", "time", "people"], [
        "{name} has an appointment at {place} on {day} at {time} for {people} people.",
        "Book {place} for {name}, {day} at {time}, {people} people.",
        "On {day} at {time}, {name} goes to {place} with a group of {people} people.",
        "{name} would like to come to {place} on {day} at {time}. They are {people} people.",
        "Reminder: {place}, {day}, {time}, {people} people, {name}.",
        "Hi, my name is {name}. We are {people} people and want to visit {place} on {day} at {time}.",
        "A table of {people} people: {name} meets them at {place} at {time} on {day}.",
        "{people} people will come with {name} to {place} on {day}, {time}.", "We expect {name} at {place} on {day} at {time} with {people} people in all.",
        "{day}, {time}: {name} and others, {people} people, at {place}.", "{name} called. The visit to {place} is on {day} at {time} for {people} people.",
        "{people} guests with {name} come to {place} at {time} on {day}.", "Expected at {place} at {time} on {day}: {name} with {people} people.",
        "{people} people and their guide {name} visit {place} on {day} at {time}.", "{name} will come to {place} with {people} people, {day} at {time}.",
        "At {time} on {day} {place} expects {people} people. Ask for {name}.",
        "Is {place} open on {day} at {time}? {name} wants to come with {people} people.", "Can {name} bring {people} people to {place} on {day}, about {time}?",
        "{place} was booked by {name} for {people} people. Come on {day} at {time}.", "{name} moved the visit: not today but {day}, {time}, still {people} people, still {place}.",
        "Who: {name}. Where: {place}. When: {day} at {time}. How many: {people} people.", "There will be {people} people at {place} when {name} comes on {day} at {time}.",
        "Do not forget {place}! {day}, {time}. {name} and the others make {people} people.", "For {people} people a room is kept at {place}; {name} opens it on {day} at {time}.",
        "{time} at {place} on {day}. Bring {name}, then you are {people} people.", "{name} waits for {people} people at {place}. The hour is {time}, the day is {day}.",
        "We are sorry, {name}, {place} cannot take {people} people before {time} on {day}.", "The group of {name} has {people} people and meets at {time}, on {day}, in front of {place}.",
        "{place} has been told: {people} people arrive on {day} at {time}. {name} pays.", "I, {name}, ask for {day} at {time}. We are {people} people. It is about {place}."], [
        "Please note that {name} will be at {place} on {day} at {time}, {people} people in all.",
        "{people} people, led by {name}, are expected at {place} at {time} on {day}."]),
    "complaint": (["customer", "product", "problem", "city", "day"], [
        "{customer} from {city} says the {product} {problem}. Reported on {day}.",
        "On {day} {customer} wrote to us from {city}: the {product} {problem}.",
        "Complaint from {customer}, {city}, {day}: the {product} {problem}.",
        "My {product} {problem}. I bought it on {day} in {city}. Regards, {customer}",
        "Hello, I am {customer} and I live in {city}. Since {day} my {product} {problem}.",
        "The {product} of {customer} {problem}. We sold it in {city} on {day}.",
        "{customer} wrote from {city} on {day} that the {product} {problem}.", "It was bought in {city}, but the {product} {problem}, says {customer}. {day}.",
        "On {day} in {city} {customer} told us: the {product} {problem}.", "The {product} {problem}, {customer} called on {day} from {city}.",
        "Because the {product} {problem}, {customer} from {city} called us on {day}.",
        "Sold in {city} on {day}, but now the {product} {problem}. Signed: {customer}",
        "From {city} on {day}: the {product} {problem}, complains {customer}.", "Sent from {city} on {day}, the {product} {problem}. The customer is {customer}.",
        "The {product} from our shop in {city} {problem}, wrote {customer} on {day}.", "{day}, {city}. The {product} {problem}. Yours, {customer}",
        "Why does nobody answer? On {day} I, {customer}, wrote from {city}: the {product} {problem}.", "Is it normal that the {product} {problem}? Asked by {customer}, {city}, on {day}.",
        "{customer} is angry: the {product} {problem}. It came on {day} to {city}.", "A {product} was given back by {customer} in {city} on {day}. Reason: it {problem}.",
        "Who: {customer}. Where: {city}. When: {day}. What: the {product} {problem}.", "The {product}, sent to {customer} in {city} on {day}, {problem}.",
        "In {city} there is a {product} that {problem}. It belongs to {customer}, who called on {day}.", "Please help {customer} in {city}. Since {day} the {product} {problem}.",
        "{product}: {problem}. {customer}, {city}, since {day}.", "We got a letter on {day}. {customer} says that the {product} {problem}. It was sent from {city}.",
        "Could you repair a {product}? It {problem}. I am {customer}, I come to your shop in {city} on {day}.", "From {customer}: on {day} I opened the box here in {city} and the {product} {problem}.",
        "It is {day} and the {product} still {problem}. Greetings from {city}, {customer}"], [
        "{customer} called from {city} on {day} because the {product} {problem}.",
        "Bought in {city} on {day}, the {product} {problem}, writes {customer}."]),
}
WORDINGS = [
    "Extract {fields} as JSON: {text}", "Extract {fields} from this text as JSON[.|:]\n{text}",
    "Return [a |]JSON [object |]with [the fields |]{fields}[.|:] {text}", "{text}\nGive me {fields} as JSON.",
    "Read the text and answer with JSON. Fields: {fields}. Text: {text}", "Text: {text}\nFields: {fields}\nJSON:",
    "[Please r|R]ead out {fields} [in|as] JSON: {text}", "{text}\n[Please e|E]xtract {fields} as [a |]JSON[ object|].",
    "Turn this into JSON with {fields}: {text}", "Fill in {fields} as JSON from this sentence: {text}",
    "What are {fields} here? Answer in JSON. {text}", "I want {fields} as JSON. The message: {text}", "{text}\nWrite {fields} as JSON.",
    "Look for {fields} in this message and return JSON: {text}", "JSON with {fields}, please: {text}", "{text}\nI need JSON with {fields}.",
    "As JSON with {fields}: {text}", "{text}\nThe JSON should have {fields}.", "Which values have {fields}? {text}\nJSON:",
    "Put {fields} of this message into JSON: {text}", "{text}\n\nJSON keys: {fields}", "Keys: {fields}\n{text}", "Pick {fields} from the text and reply in JSON. {text}",
    "Take {fields} out of this mail, as JSON: {text}", "{text}\nOnly {fields}, in JSON.", "Message: {text}\nReturn only {fields} as JSON.", "Parse this for {fields}: {text}",
    "Here is a note: {text}\nTell me {fields} in JSON.", "From the note get {fields} (JSON): {text}", "A customer wrote: {text}\nJSON with {fields}?",
    "{text} -> JSON: {fields}", "Show {fields} as a JSON object. {text}", "{fields} as JSON: {text}", "Summarise as JSON, only {fields}: {text}",
    "Write a JSON object with {fields}, taken from: {text}", "Text for you: {text}\nAnswer with {fields} in a JSON object.", "Do you see {fields}? Give JSON. {text}",
    "Give {fields} of the following text in JSON: {text}", "Make JSON, keys {fields}, from: {text}", "{text}\nWhat are {fields}? JSON only.",
]
UNSEEN = [
    "I need {fields} from the following message, in JSON: {text}", "{text}\nWhich {fields} does it mention? Reply in JSON.",
    "Find {fields} in this note and write them as JSON: {text}", "Convert to JSON, keys {fields}: {text}",
]
SYSTEMS = [
    "You extract data. Answer with JSON, fields: {fields}.", "For every message return JSON with {fields}.",
    "Read each text and reply with a JSON object that has {fields}.", "Extract {fields} from each message as JSON.", "Each message is a text. Answer with JSON: {fields}.",
    "Reply with JSON holding {fields}.", "You turn notes into JSON with the keys {fields}.", "JSON only, please. Keys: {fields}.", "The user sends texts; return {fields} as JSON.", "Messages are notes of our shop. Write {fields} as JSON, nothing more.", "You get a note, you give JSON with {fields} and no other keys.",
    "Parse the messages. Output: JSON with {fields}.", "JSON keys are {fields}.", "You are a parser. For each text print {fields} as JSON.", "Take {fields} out of each message, as JSON.",
    "Only answer with JSON. Use the keys {fields}.", "Texts come in, JSON with {fields} goes out.", "The program after you needs JSON with {fields}.", "Fields: {fields}. Format: JSON.",
]
UNSEEN_SYSTEMS = ["Every message is a note. Reply with JSON holding {fields}, nothing else."]


def person(rng, split):
    """Draws a full name that belongs to the split."""
    return " ".join(draw(rng, split, lambda: (fresh(rng, FIRST, MORE_FIRST, split), fresh(rng, LAST, MORE_LAST, split)),
                         lambda pair: ("name", *pair)))


# How a note says one field: as a label before a colon, or as a short sentence. A composed note has the fields in any order.
LABELS = {
    "customer": ["customer", "name", "client", "buyer", "who", "from", "for"], "item": ["item", "goods", "what", "article"],
    "quantity": ["quantity", "number", "pieces", "how many", "amount"], "price": ["price", "total", "sum", "cost", "to pay"],
    "city": ["city", "place", "where", "town", "to"], "day": ["day", "when", "date", "on"], "name": ["name", "who", "guest", "for", "contact"],
    "place": ["place", "where", "at", "meeting point"], "time": ["time", "at", "hour", "from"], "people": ["people", "group", "how many", "persons", "guests"],
    "product": ["product", "thing", "article", "what"], "problem": ["problem", "fault", "trouble", "it"]}
SAYINGS = {
    "customer": ["The customer is {customer}.", "It is for {customer}.", "Ask {customer}.", "{customer} wrote this.", "My name is {customer}.",
                 "Name: {customer}.", "{customer} is waiting.", "Signed {customer}.", "That was {customer}.", "Call {customer}."],
    "goods": ["{quantity} {item} were ordered.", "We talk about {quantity} {item}.", "It is about {quantity} {item}.", "{quantity} {item}, please.",
              "{quantity} of the {item}.", "The {item} are {quantity} in number.", "Goods: {quantity} {item}.", "Send {quantity} {item}."],
    "price": ["The price is {price} euros.", "It costs {price} euros.", "{price} euros in all.", "{price} euros were paid.", "The bill says {price} euros.",
              "We got {price} euros.", "All for {price} euros!", "Total: {price} euros."],
    "city": ["The city is {city}.", "It happened in {city}.", "{city} is the place.", "This is about {city}.", "In {city}.", "The shop is in {city}.",
             "I write from {city}.", "The address is in {city}."],
    "day": ["It was on {day}.", "{day}, that is.", "On {day}.", "The day is {day}.", "It is about {day}.", "Since {day}.", "By {day}, please.", "{day} is the date."],
    "name": ["The name is {name}.", "I am {name}.", "{name} comes.", "Ask for {name}.", "{name} is in charge.", "It is for {name}.", "Expect {name}."],
    "place": ["Go to {place}.", "It is at {place}.", "We meet at {place}.", "The place is {place}.", "At {place}.", "The visit is to {place}."],
    "time": ["The time is {time}.", "At {time}.", "It starts at {time}.", "Be there at {time}.", "{time} sharp."],
    "people": ["{people} people come.", "There are {people} people.", "We are {people} people.", "For {people} people.", "In all {people} people.", "The group has {people} people."],
    "trouble": ["The {product} {problem}.", "My {product} {problem}.", "Our {product} {problem}!", "This {product} {problem}.", "It seems the {product} {problem}."]}
JOINED = {("item", "quantity"): "goods", ("product", "problem"): "trouble"}     # fields that share one sentence
BEFORE = ["Hello, ", "Dear team, ", "Note: ", "Urgent! ", "Hi all. ", "FYI: ", "Good morning. ", "Short note. ", "As agreed: ", "To the office: ", "New message. ", "Listen, "]
AFTER = [" Thanks!", " Best wishes.", " Please confirm.", " Thank you very much.", " Is that right?", " Please write it down.", " That is all.", " Bye.",
         " Let us know.", " More tomorrow."]


def composed(rng, kind, values):
    """Makes a note with its parts in any order: labelled like a telegram, or as short sentences."""
    fields = KINDS[kind][0]
    if rng.random() < 0.4:                 # telegram: "to pay: 12 euros / who: Anna Weber / ..."
        mark, between = rng.choice((": ", ": ", " = ", " - ", " ")), rng.choice((", ", "; ", " / ", "\n", " | ", ". ", ", "))
        units = rng.random() < 0.7
        parts = []
        for field in rng.sample(fields, len(fields)):
            value = f"{values[field]} euros" if field == "price" and units else str(values[field])
            bare = field not in ("quantity", "price", "people") and rng.random() < 0.3
            parts.append(value if bare else rng.choice(LABELS[field]) + mark + value)
        return between.join(parts)
    parts = [field for field in fields if not any(field in pair for pair in JOINED)]
    parts += [part for pair, part in JOINED.items() if pair[0] in fields]
    rng.shuffle(parts)
    return " ".join(rng.choice(SAYINGS[part]).format_map(values) for part in parts)


def fresh(rng, usual, more, split):
    """Draws a value from the usual table, in training often from the wider one."""
    return rng.choice(more if split == "train" and rng.random() < 0.35 else usual)


def record(rng, split, kind):
    """Draws the values of one record. Numbers stay numbers."""
    who = person(rng, split)
    if kind == "order":
        return dict(customer=who, item=fresh(rng, ITEMS, MORE_ITEMS, split), quantity=rng.randint(2, 99), price=rng.randint(5, 999),
                    city=fresh(rng, CITIES, MORE_CITIES, split), day=rng.choice(DAYS))
    if kind == "appointment":
        time = f"{rng.randint(8, 19)}:{rng.choice(('00', '15', '30', '45'))}"
        return dict(name=who, place=fresh(rng, PLACES, MORE_PLACES, split), day=rng.choice(DAYS), time=time, people=rng.randint(2, 20))
    return dict(customer=who, product=fresh(rng, THINGS, MORE_THINGS, split), problem=fresh(rng, FAULTS, MORE_FAULTS, split),
                city=fresh(rng, CITIES, MORE_CITIES, split), day=rng.choice(DAYS))


def text_of(rng, split, kind, values):
    """Makes a sentence that contains all values."""
    _, seen, unseen = KINDS[kind]
    if split == "train" and rng.random() < 0.4:
        text = composed(rng, kind, values)
    else:
        text = rng.choice(unseen if split == "wording" else seen).format_map(values)
    if split == "train" and rng.random() < 0.15:
        text = rng.choice(BEFORE) + text
    else:
        text = text[0].upper() + text[1:]
    return text + rng.choice(AFTER) if split == "train" and rng.random() < 0.15 else text


def some_fields(rng, split, kind):
    """Draws two or more of the fields (in training sometimes only one), usually in random order."""
    fields = KINDS[kind][0]
    picked = rng.sample(fields, 1 if split == "train" and rng.random() < 0.1 else rng.randint(2, len(fields)))
    return sorted(picked, key=fields.index) if rng.random() < 0.5 else picked


def named(rng, fields):
    """Makes the list of fields in a request."""
    style = rng.random()
    if style < 0.5:
        return listing(fields)
    return ", ".join(fields) if style < 0.85 else ", ".join(f'"{field}"' for field in fields)


def answer(fields, values):
    return json.dumps({field: values[field] for field in fields}, ensure_ascii=False)


def sample(rng, split):
    """Gives a sentence and names the fields to read from it."""
    kind = rng.choice(list(KINDS))
    fields, values = some_fields(rng, split, kind), record(rng, split, kind)
    asked = choose(rng, split, WORDINGS, UNSEEN, fields=named(rng, fields), text=text_of(rng, split, kind, values))
    return [Turn("records", asked, answer(fields, values))]


def stream(rng, split):
    """A system prompt names the fields. Then every message is a text."""
    kind = rng.choice(list(KINDS))
    fields = some_fields(rng, split, kind)
    system = choose(rng, split, SYSTEMS, UNSEEN_SYSTEMS, fields=named(rng, fields))
    turns = []
    for _ in range(rng.randint(1, 4)):
        values = record(rng, split, kind)
        turns.append(Turn("records", text_of(rng, split, kind, values), answer(fields, values), system))
    return turns
