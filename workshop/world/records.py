"""Reading a sentence into JSON: orders, appointments and complaints, with just the fields that are asked for.

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
        "{price} euros were paid by {customer} on {day} for {quantity} {item} from our shop in {city}."], [
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
        "At {time} on {day} {place} expects {people} people. Ask for {name}."], [
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
        "The {product} from our shop in {city} {problem}, wrote {customer} on {day}.", "{day}, {city}. The {product} {problem}. Yours, {customer}"], [
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
]
UNSEEN_SYSTEMS = ["Every message is a note. Reply with JSON holding {fields}, nothing else."]


def person(rng, split):
    """A full name on the right side of the split."""
    return " ".join(draw(rng, split, lambda: (rng.choice(FIRST), rng.choice(LAST)), lambda pair: ("name", *pair)))


def record(rng, split, kind):
    """The values of one record; numbers stay numbers."""
    who = person(rng, split)
    if kind == "order":
        return dict(customer=who, item=rng.choice(ITEMS), quantity=rng.randint(2, 99), price=rng.randint(5, 999),
                    city=rng.choice(CITIES), day=rng.choice(DAYS))
    if kind == "appointment":
        time = f"{rng.randint(8, 19)}:{rng.choice(('00', '15', '30', '45'))}"
        return dict(name=who, place=rng.choice(PLACES), day=rng.choice(DAYS), time=time, people=rng.randint(2, 20))
    return dict(customer=who, product=rng.choice(THINGS), problem=rng.choice(FAULTS), city=rng.choice(CITIES),
                day=rng.choice(DAYS))


def text_of(rng, split, kind, values):
    """A sentence that says all of it."""
    _, seen, unseen = KINDS[kind]
    text = rng.choice(unseen if split == "wording" else seen).format_map(values)
    return text[0].upper() + text[1:]


def some_fields(rng, kind):
    """Two or more of the fields, usually in any order."""
    fields = KINDS[kind][0]
    picked = rng.sample(fields, rng.randint(2, len(fields)))
    return sorted(picked, key=fields.index) if rng.random() < 0.5 else picked


def named(rng, fields):
    """How a request lists its fields."""
    style = rng.random()
    if style < 0.5:
        return listing(fields)
    return ", ".join(fields) if style < 0.85 else ", ".join(f'"{field}"' for field in fields)


def answer(fields, values):
    return json.dumps({field: values[field] for field in fields}, ensure_ascii=False)


def sample(rng, split):
    """A sentence and the fields to read out of it."""
    kind = rng.choice(list(KINDS))
    fields, values = some_fields(rng, kind), record(rng, split, kind)
    asked = choose(rng, split, WORDINGS, UNSEEN, fields=named(rng, fields), text=text_of(rng, split, kind, values))
    return [Turn("records", asked, answer(fields, values))]


def stream(rng, split):
    """A system prompt names the fields, then every message is a text."""
    kind = rng.choice(list(KINDS))
    fields = some_fields(rng, kind)
    system = choose(rng, split, SYSTEMS, UNSEEN_SYSTEMS, fields=named(rng, fields))
    turns = []
    for _ in range(rng.randint(1, 4)):
        values = record(rng, split, kind)
        turns.append(Turn("records", text_of(rng, split, kind, values), answer(fields, values), system))
    return turns
