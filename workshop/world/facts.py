"""Facts: capitals, animals, planets, units, and a few small lists.

Training contains every fact. Held out: wordings of the question.
"""
from . import Turn, article, casual, choose

CAPITALS = {
    "Europe": """France Paris, Germany Berlin, Spain Madrid, Italy Rome, Portugal Lisbon, Austria Vienna, Belgium Brussels,
        Greece Athens, Poland Warsaw, Hungary Budapest, Ireland Dublin, Norway Oslo, Sweden Stockholm, Finland Helsinki,
        Denmark Copenhagen, Iceland Reykjavik, Switzerland Bern, Croatia Zagreb, Serbia Belgrade, Romania Bucharest,
        Bulgaria Sofia, Ukraine Kyiv, Slovakia Bratislava, Slovenia Ljubljana, Estonia Tallinn, Latvia Riga,
        Lithuania Vilnius, Albania Tirana, Malta Valletta, Scotland Edinburgh, Wales Cardiff, England London""",
    "Asia": """Japan Tokyo, China Beijing, India New-Delhi, Thailand Bangkok, Vietnam Hanoi, Indonesia Jakarta,
        South-Korea Seoul, Mongolia Ulaanbaatar, Nepal Kathmandu, Iran Tehran, Iraq Baghdad, Pakistan Islamabad,
        Jordan Amman, Lebanon Beirut, Qatar Doha, Cambodia Phnom-Penh, Laos Vientiane, Bhutan Thimphu,
        the-Philippines Manila, Bangladesh Dhaka""",
    "Africa": """Egypt Cairo, Kenya Nairobi, Morocco Rabat, Nigeria Abuja, Ghana Accra, Senegal Dakar, Tunisia Tunis,
        Algeria Algiers, Ethiopia Addis-Ababa, Uganda Kampala, Rwanda Kigali, Angola Luanda, Zambia Lusaka, Mali Bamako,
        Namibia Windhoek, Madagascar Antananarivo, Libya Tripoli, Zimbabwe Harare""",
    "North America": """Canada Ottawa, Mexico Mexico-City, Cuba Havana, Jamaica Kingston, Panama Panama-City,
        Honduras Tegucigalpa, Guatemala Guatemala-City, the-United-States Washington""",
    "South America": """Brazil Brasília, Argentina Buenos-Aires, Chile Santiago, Peru Lima, Colombia Bogotá,
        Ecuador Quito, Uruguay Montevideo, Paraguay Asunción, Venezuela Caracas""",
    "Oceania": "Australia Canberra, New-Zealand Wellington, Fiji Suva, Samoa Apia",
}
COUNTRIES = [(*(word.replace("-", " ") for word in pair.split()), continent)
             for continent, pairs in CAPITALS.items() for pair in pairs.split(",")]

ANIMALS = [row.split() for row in """
    dog mammal four everything puppy, cat mammal four meat kitten, cow mammal four plants calf, horse mammal four plants foal,
    sheep mammal four plants lamb, goat mammal four plants kid, pig mammal four everything piglet,
    rabbit mammal four plants kit, bear mammal four everything cub, lion mammal four meat cub, tiger mammal four meat cub,
    wolf mammal four meat pup, fox mammal four everything kit, deer mammal four plants fawn, elephant mammal four plants calf,
    giraffe mammal four plants calf, zebra mammal four plants foal, kangaroo mammal two plants joey, bat mammal two insects pup,
    dolphin mammal no fish calf, whale mammal no krill calf, seal mammal no fish pup, mouse mammal four everything pup,
    hedgehog mammal four insects hoglet, koala mammal four leaves joey, hen bird two seeds chick, duck bird two everything duckling,
    goose bird two plants gosling, swan bird two plants cygnet, eagle bird two meat eaglet, owl bird two meat owlet,
    penguin bird two fish chick, parrot bird two seeds chick, snake reptile no meat hatchling, crocodile reptile four meat hatchling,
    turtle reptile four everything hatchling, lizard reptile four insects hatchling, frog amphibian four insects tadpole,
    toad amphibian four insects tadpole, shark fish no meat pup, salmon fish no insects fry, bee insect six nectar larva,
    ant insect six everything larva, butterfly insect six nectar caterpillar, spider arachnid eight insects spiderling
    """.replace("\n", " ").split(",")]

PLANETS = [row.split("|") for row in """
    Mercury|first|rocky planet|88 days|grey
    Venus|second|rocky planet|225 days|yellow
    Earth|third|rocky planet|365 days|blue
    Mars|fourth|rocky planet|687 days|red
    Jupiter|fifth|gas giant|12 years|orange
    Saturn|sixth|gas giant|29 years|gold
    Uranus|seventh|ice giant|84 years|pale blue
    Neptune|eighth|ice giant|165 years|dark blue""".replace("    ", "").strip().splitlines()]
RECORDS = {"largest": "Jupiter", "smallest": "Mercury", "hottest": "Venus", "coldest": "Uranus",
           "closest to the sun": "Mercury", "farthest from the sun": "Neptune"}

UNITS = [row.split("|") for row in """
    metres|kilometre|1000
    centimetres|metre|100
    millimetres|centimetre|10
    millimetres|metre|1000
    grams|kilogram|1000
    kilograms|tonne|1000
    millilitres|litre|1000
    seconds|minute|60
    minutes|hour|60
    hours|day|24
    days|week|7
    days|year|365
    weeks|year|52
    months|year|12
    years|decade|10
    years|century|100
    years|millennium|1000
    inches|foot|12
    feet|yard|3
    ounces|pound|16
    pints|gallon|8
    degrees|circle|360
    degrees|right angle|90
    items|dozen|12
    cents|euro|100
    cents|dollar|100
    letters|English alphabet|26
    sides|triangle|3
    sides|square|4
    sides|pentagon|5
    sides|hexagon|6
    sides|octagon|8
    strings|guitar|6
    keys|piano|88
    players|football team|11""".replace("    ", "").strip().splitlines()]
SEVERAL = {"kilometre": "kilometres", "metre": "metres", "minute": "minutes", "hour": "hours", "day": "days",
           "week": "weeks", "dozen": "dozens", "century": "centuries", "euro": "euros", "kilogram": "kilograms"}

OPPOSITES = [pair.split() for pair in """hot cold, big small, old young, fast slow, high low, long short, light dark, full empty,
    open closed, happy sad, rich poor, strong weak, early late, wet dry, hard soft, good bad, loud quiet, clean dirty, near far,
    up down, left right, day night, first last, easy difficult, cheap expensive, thick thin, sweet bitter, true false,
    always never, inside outside""".split(",")]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

# kind of fact: (wordings, unseen wordings)
ASK = {
    "capital": ([
        "What is the capital [city |]of {country}?", "What's the capital of {country}?", "Which city is the capital of {country}?",
        "Name the capital of {country}.", "[Please t|T]ell me the capital of {country}.", "Capital of {country}?",
        "Do you know the capital of {country}?", "[Can|Could] you tell me the capital of {country}?",
        "{country}: what is the capital?", "What city is {country}'s capital?", "What is {country}'s capital[ city|]?",
        "I need the capital of {country}.", "Which is the capital city of {country}?", "capital {country}",
        "What is the name of the capital of {country}?",
        "Tell me {country}'s capital.", "I am looking for the capital of {country}.", "My friend asks for the capital of {country}.",
        "Which city governs {country}?", "Say the capital of {country}.", "{country} has which capital?", "Give the name of {country}'s capital.", "{country} is a country. What is its capital?", "I am in {country}. What is the capital?", "Where is the government of {country}?",
        "I would like to know the capital of {country}.", "Is it true that you know the capital of {country}?"], [
        "I forgot the capital of {country}. Which city is it?", "Can you name {country}'s capital city?",
        "Which city serves as the capital of {country}?", "Remind me: what is the capital of {country}?"]),
    "country": ([
        "{city} is the capital of which country?", "Which country has {city} as its capital?",
        "What country is {city} the capital of?", "Of which country is {city} the capital?",
        "Whose capital is {city}?", "[Please t|T]ell me which country {city} is the capital of.",
        "What is {city} the capital of?", "Name the country whose capital is {city}.",
        "{city} is the capital. Which country is it?", "Which country is governed from {city}?", "I am in {city}. Of which country is it the capital?", "{city}: capital of what?", "The capital {city} belongs to which country?", "Tell me whose capital {city} is.",
        "I would like to know which country has the capital {city}."], [
        "{city} is a capital. Of what country?", "Can you tell me which country's capital is {city}?"]),
    "continent": ([
        "[Which|What] continent is {country} [in|on]?", "On which continent is {country}?", "In which continent is {country}?",
        "What continent does {country} belong to?", "Where in the world is {country}?", "Continent of {country}?",
        "[Please t|T]ell me the continent of {country}.", "On what continent [is|lies] {country}?",
        "Which continent does {country} lie on?",
        "Do you know which continent {country} is in?", "Where is {country}?", "I would like to know the continent of {country}.",
        "Say the continent of {country}.", "Where can I find {country}?", "In what part of the world is {country}?",
        "{country}: which continent?", "I am in {country}. Which continent is that?", "{country} is on which continent?", "Would you say where {country} is?", "Is {country} in Europe, Asia or somewhere else?", "Can you tell me what continent {country} is on?"], [
        "Could you say which continent {country} is in?", "On which continent would I find {country}?"]),
    "class": ([
        "What kind of animal is {a}?", "What type of animal is {a}?", "[Please t|T]ell me what kind of animal {a} is.",
        "Which class of animals does {a} belong to?", "What class of animal is {a}?", "Is {a} a mammal, a bird or something else?",
        "Do you know what kind of animal {a} is?",
        "{a}: what kind of animal is it?", "What is {a}?", "Can you tell me the class of {a}?", "How would you classify {a}?",
        "I would like to know what kind of animal {a} is.", "To which group of animals does {a} belong?", "What kind of creature is {a}?"], [
        "What sort of animal is {a}?", "Which kind of animal would you call {a}?"]),
    "legs": ([
        "How many legs does {a} have?", "How many legs has {a}?", "[Please t|T]ell me how many legs {a} has.",
        "What number of legs does {a} have?", "How many legs are there on {a}?", "Count the legs of {a}.",
        "Do you know how many legs {a} has?", "{a} has how many legs?", "Can you tell me how many legs {a} has?", "Legs of {a}?",
        "I would like to know the number of legs of {a}.", "{a} walks on how many legs?", "Can you count the legs of {a}?", "I see {a}. How many legs does it have?"], [
        "Can you say how many legs {a} has got?", "On how many legs does {a} walk?"]),
    "food": ([
        "What does {a} eat?", "What do {plural} eat?", "What is the food of {a}?", "[Please t|T]ell me what {a} eats.",
        "What does {a} feed on?", "Do you know what {plural} eat?", "What do {plural} like to eat?",
        "What can I give {a} to eat?", "Can you tell me what {a} eats?", "{a} eats what?", "Food of {plural}?",
        "I would like to know what {plural} eat.", "What food does {a} need?", "What do {plural} feed on?", "What do I give {plural} to eat?", "My child has {a}. What does it eat?", "What must {a} eat?", "What food is good for {a}?", "{plural}: what do they eat?", "What should {a} eat?"], [
        "What should I feed {a}?", "What is the usual food of {plural}?"]),
    "young": ([
        "What is a baby {animal} called?", "What do you call a baby {animal}?", "What is the young of {a} called?",
        "What's the name for a young {animal}?", "[Please t|T]ell me what a baby {animal} is called.",
        "How do you call a young {animal}?", "What is the name of a baby {animal}?",
        "What word do we use for a young {animal}?", "Can you tell me what a young {animal} is called?", "Baby {animal}: what is it called?",
        "I would like to know what you call a baby {animal}.", "Name the young of {a}.", "How is a young {animal} called?", "A baby {animal}: what is the word?", "The young of {plural} are called what?", "What are young {plural} called?"], [
        "Which word is used for a baby {animal}?", "A young {animal} is called what?"]),
    "order": ([
        "Which planet is [the |]{place} from the sun?", "What is the {place} planet[ from the sun|]?", "Name the {place} planet from the sun.",
        "[Please t|T]ell me the {place} planet from the sun.",
        "Can you name the {place} planet?", "Which planet comes {place}?", "Seen from the sun, which planet is {place}?",
        "I would like to know the {place} planet from the sun.", "Planet number {place} from the sun?", "{place} planet?"], [
        "Counting from the sun, which planet is {place}?", "Do you know the {place} planet from the sun?"]),
    "position": ([
        "Which position does {planet} have from the sun?", "Where is {planet} in the solar system?",
        "What number from the sun is {planet}?", "What is the position of {planet}?", "How far out is {planet}?",
        "Is {planet} the first, second or third planet?", "Tell me the place of {planet} among the planets.", "Where does {planet} come from the sun?",
        "I would like to know the position of {planet}.", "Which place does {planet} take from the sun?"], [
        "In which place from the sun does {planet} come?"]),
    "planet": ([
        "What kind of planet is {planet}?", "What type of planet is {planet}?", "Is {planet} a rocky planet or a giant?",
        "What sort of a planet is {planet}?", "[Please t|T]ell me what kind of planet {planet} is.",
        "Do you know what kind of planet {planet} is?", "{planet}: what kind of planet is it?", "I would like to know which kind of planet {planet} is.",
        "Can you tell me the type of {planet}?"], [
        "Could you tell me which type of planet {planet} is?"]),
    "year": ([
        "How long is a year on {planet}?", "How long does {planet} take to go around the sun?", "What is the length of a year on {planet}?",
        "How long does a year on {planet} last?", "[Please t|T]ell me how long a year on {planet} is.",
        "Can you tell me how long a year is on {planet}?", "A year on {planet}: how long?", "What time does {planet} take around the sun?",
        "I would like to know how long {planet} needs to go around the sun.", "How long is one trip of {planet} around the sun?"], [
        "How much time does {planet} need for one trip around the sun?", "Do you know how long one year on {planet} lasts?"]),
    "colour": ([
        "What colour is {planet}?", "Which colour does {planet} have?", "What is the colour of {planet}?",
        "[Please t|T]ell me the colour of {planet}.", "What color is {planet}?",
        "Do you know the colour of {planet}?", "{planet} has which colour?", "Can you tell me what colour {planet} is?", "How does {planet} look, what colour?"], [
        "Which colour would I see if I looked at {planet}?", "Can you name the colour of {planet}?"]),
    "record": ([
        "Which planet is the {record}?", "What is the {record} planet?", "Which is the {record} planet?",
        "[Please t|T]ell me which planet is the {record}.", "Of all planets, which is the {record}?",
        "Do you know the {record} planet?", "Name the {record} planet.", "Can you tell me which planet is the {record}?", "I would like to know the {record} planet."], [
        "Which of the planets is the {record} one?", "Do you know which planet is the {record}?"]),
    "unit": ([
        "How many {parts} are [there |]in {whole}?", "How many {parts} does {whole} have?", "How many {parts} make {whole}?",
        "What number of {parts} is in {whole}?", "[Please t|T]ell me how many {parts} are in {whole}.",
        "{whole} has how many {parts}?", "Do you know how many {parts} are in {whole}?", "How many {parts} in {whole}?",
        "Can you tell me how many {parts} are in {whole}?", "{whole}: how many {parts}?", "I would like to know how many {parts} {whole} has.",
        "{parts} in {whole}?", "I have {whole}. How many {parts} is that?", "{whole} are how many {parts}?", "{whole} equals how many {parts}?", "How many {parts} do I get for {whole}?", "Say how many {parts} {whole} has.", "{whole} has got how many {parts}?"], [
        "Can you say how many {parts} there are in {whole}?", "{whole} is how many {parts}?",
        "I need to know how many {parts} are in {whole}."]),
    "opposite": ([
        "What is the opposite of {word}?", "What's the opposite of {word}?", "Opposite of {word}?", 'What is the opposite of "{word}"?',
        "[Please t|T]ell me the opposite of {word}.", "Name the opposite of {word}.", "Which word is the opposite of {word}?",
        "Do you know the opposite of {word}?", "I am looking for the opposite of {word}.", "{word}: what is the opposite?",
        "Can you tell me the opposite of {word}?", "What word is the contrary of {word}?"], [
        "Which word means the opposite of {word}?", "Give me the opposite of {word}."]),
    "next": ([
        "[What|Which] {kind} comes after {word}?", "Which {kind} follows {word}?", "What is the {kind} after {word}?",
        "After {word} comes which {kind}?", "[Please t|T]ell me the {kind} after {word}.",
        "Name the {kind} that comes after {word}.", "What is the next {kind} after {word}?", "Can you tell me which {kind} follows {word}?", "Which {kind} is after {word}?"], [
        "Which is the next {kind} after {word}?", "What {kind} is it after {word}?"]),
    "before": ([
        "[What|Which] {kind} comes before {word}?", "What is the {kind} before {word}?", "Before {word} comes which {kind}?",
        "[Please t|T]ell me the {kind} before {word}.",
        "Which {kind} is it before {word}?", "Can you name the {kind} that comes before {word}?", "Which {kind} is before {word}?", "I would like to know the {kind} before {word}."], [
        "Which {kind} was it before {word}?", "Name the {kind} before {word}."]),
}
FOLLOW_UPS = ["And {what}?", "What about {what}?", "[And w|W]hat is it for {what}?", "Now {what}[, please|]."]
UNSEEN_FOLLOW_UPS = ["How about {what}?", "OK, and {what}?"]


def plural(animal):
    """Returns the plural of an animal's name."""
    odd = {"sheep": "sheep", "deer": "deer", "goose": "geese", "mouse": "mice", "wolf": "wolves", "salmon": "salmon",
           "butterfly": "butterflies", "fox": "foxes"}
    return odd.get(animal, animal + "s")


def capital(row):
    return f"The capital of {row[0]} is {row[1]}."


def continent(row):
    return f"{row[0][0].upper() + row[0][1:]} {'are' if row[0].endswith('s') and row[0][:3] == 'the' else 'is'} in {row[2]}."


def known(rng):
    """Makes a fact: its kind, the slots of the question, the answer, and the same kind of fact about something else."""
    topic = rng.choices(("world", "animal", "planet", "unit", "word"), (8, 7, 3, 4, 3))[0]
    if topic == "world":
        row, other = rng.sample(COUNTRIES, 2)
        kind = rng.choice(("capital", "capital", "capital", "country", "continent"))
        state = continent if kind == "continent" else capital
        follow = None if kind == "country" else (other[0], state(other))
        return kind, dict(country=row[0], city=row[1]), state(row), follow
    if topic == "animal":
        animal, family, legs, food, young = rng.choice(ANIMALS)
        kind = rng.choice(("class", "legs", "food", "young"))
        upper = article(animal).capitalize()
        answer = {"class": f"{upper} is {article(family)}.", "legs": f"{upper} has {legs} legs.",
                  "food": f"{upper} eats {food}.", "young": f"A baby {animal} is called {article(young)}."}[kind]
        return kind, dict(a=article(animal), animal=animal, plural=plural(animal)), answer, None
    if topic == "planet":
        planet, place, family, year, colour = rng.choice(PLANETS)
        kind = rng.choice(("order", "position", "planet", "year", "colour", "record"))
        record = rng.choice(list(RECORDS))
        answer = {"order": f"{planet} is the {place} planet from the sun.",
                  "position": f"{planet} is the {place} planet from the sun.",
                  "planet": f"{planet} is {article(family)}.", "year": f"A year on {planet} lasts {year}.",
                  "colour": f"{planet} is {colour}.", "record": f"{RECORDS[record]} is the {record} planet."}[kind]
        if kind == "record" and " " in record:
            answer = f"{RECORDS[record]} is the planet {record}."
        return kind, dict(planet=planet, place=place, record=record), answer, None
    if topic == "unit":
        parts, whole, count = rng.choice(UNITS)
        if whole in SEVERAL and rng.random() < 0.4:
            times = rng.randint(2, 10)
            several = f"{times} {SEVERAL[whole]}"
            return "unit", dict(parts=parts, whole=several), f"There are {int(count) * times} {parts} in {several}.", None
        one = ("the " if whole[0].isupper() else "an " if whole in ("hour", "octagon") else "a ") + whole
        return "unit", dict(parts=parts, whole=one), f"There are {count} {parts} in {one}.", None
    kind = rng.choice(("opposite", "opposite", "next", "before"))
    if kind == "opposite":
        pair = rng.choice(OPPOSITES)
        word, answer = pair if rng.random() < 0.5 else pair[::-1]
        return kind, dict(word=word), f"The opposite of {word} is {answer}.", None
    cycle, name = rng.choice(((DAYS, "day"), (MONTHS, "month")))
    at = rng.randrange(len(cycle))
    if kind == "next":
        return kind, dict(kind=name, word=cycle[at]), f"{cycle[(at + 1) % len(cycle)]} comes after {cycle[at]}.", None
    return kind, dict(kind=name, word=cycle[at]), f"{cycle[at - 1]} comes before {cycle[at]}.", None


def sample(rng, split):
    """Asks about one fact. After a capital or a continent, sometimes a second turn asks 'And Italy?'."""
    kind, slots, answer, follow = known(rng)
    asked = choose(rng, split, *ASK[kind], **slots)
    asked = asked[0].upper() + asked[1:]
    turns = [Turn("facts", casual(rng, asked) if split == "train" else asked, answer)]
    if follow and rng.random() < 0.3:
        turns.append(Turn("facts", choose(rng, split, FOLLOW_UPS, UNSEEN_FOLLOW_UPS, what=follow[0]), follow[1]))
    return turns
