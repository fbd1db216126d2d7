"""Small talk, and polite answers to what the model does not know. Held out: wordings, topics and names."""
from . import Turn, casual, choose, draw, facts

OUTSIDE = "I am sorry, that is outside my little world. Ask me for a translation, a fact, a sum or a story."
HELLO = "Hello! How can I help you?"
WHO = "I am quire-tiny, a very small language model in the box of Quire."
CAN = ("I can translate phrases between English, French, Spanish and German, answer simple facts, calculate, tell short "
       "stories, read a sentence into JSON and judge reviews.")

TALK = {
    HELLO: (["Hello[!|.|]", "Hi[!|.| there!|]", "Good [morning|evening|afternoon|day][!|.|]", "Hey[!|]", "hello", "hi", "Hello you[!|]", "Hi quire", "Greetings!", "Nice to see you."], ["Hello there!"]),
    WHO: (["Who are you?", "What is your name?", "What are you?", "Tell me about yourself.", "Are you a robot?",
           "Which model are you?", "What's your name?", "What do they call you?", "Introduce yourself.", "Do you have a name?", "Tell me your name.", "What kind of model are you?", "Please say who you are."], ["What should I call you?", "Please introduce yourself."]),
    CAN: (["What can you do?", "How can you help me?", "What do you know?", "Help", "What can I ask you?",
           "What are you good at?", "What things can you do?", "What can you do for me?", "Which questions can you answer?", "What do you help with?", "List what you can do."], ["Which things can you do?", "What can you help me with?"]),
    "You are welcome!": (["Thank you[!|.| very much.|]", "Thanks[!|.| a lot!|]", "That was helpful.", "Great, thanks!", "Thank you so much!", "Thanks for your help.", "Very good, thank you.", "Many thanks to you!", "Perfect, thanks."], ["Many thanks!"]),
    "Goodbye! See you soon.": (["Goodbye[!|.|]", "Bye[!|.|]", "See you[!| soon.| later.|]", "I have to go.", "Bye bye!", "Goodbye and thanks.", "Until next time!", "See you then!", "Bye, until tomorrow."], ["Bye, see you!"]),
    "I am fine, thank you. How can I help you?": (["How are you?", "How are you today?", "How do you do?", "Are you well?", "How are things?", "How is it going?", "How do you feel?", "And how are you?", "How are you feeling today?"], ["How are you doing?"]),
}
NAMES = """Anna Ben Clara David Emma Felix Grace Hugo Ida Jack Laura Max Nina Oscar Paula Tom Lea Simon Julia Marco Lena Peter
    Sarah Omar Alice Robert Eva Daniel Mia Leon""".split()
MY_NAME = ["My name is {name}.", "I am {name}.", "Hello, I'm {name}.", "Hi, my name is {name}.", "You can call me {name}.", "They call me {name}.", "Everybody calls me {name}.", "{name} is my name.", "I am called {name}."]
UNSEEN_MY_NAME = ["People call me {name}."]
WHAT_NAME = ["What is my name?", "Do you remember my name?", "What's my name?", "Who am I?", "Tell me my name.", "Do you know my name?", "What was my name?", "How am I called?", "Can you still say my name?"]
UNSEEN_WHAT_NAME = ["Do you still know my name?"]

TOPICS = """the weather, football, the stock market, politics, my taxes, quantum physics, the news, cars, computer games, fashion,
    medicine, my health, the law, chemistry, rock music, the olympic games, philosophy, economics, religion, cooking, gardening,
    dinosaurs, robots, the internet, smartphones, the moon landing, the second world war, ancient Rome, Shakespeare, Mozart,
    artificial intelligence, video games, basketball, tennis, bitcoin, crypto coins, my boss, relationships, yoga, insurance,
    electric cars, climate change, poetry, painting, architecture, black holes, atoms, genetics, vaccines, elections, the pope,
    Hollywood, TV shows, airlines, visa rules, pizza recipes, diets, running shoes, chess openings, knitting, photography,
    sailing, fishing, volcanoes, earthquakes, the ocean floor, bridges, trains in Japan, stamps, wine making, beer brewing,
    Java, Python, databases, operating systems, compilers, blockchains, hackers, passwords, printers, spreadsheets,
    hiking, skiing, the violin, jazz, opera, ballet, sculpture, the Roman empire, the French revolution, Columbus, Einstein, Darwin,
    Beethoven, Picasso, aliens, ghosts, magic tricks, astrology, dreams, sleep, memory, the brain, cancer, the flu, allergies, headaches,
    coffee, tea, chocolate, cheese, bread baking, honey, bees and flowers, trees, mushrooms, roses, garden tools, solar power, wind energy,
    nuclear power, oil prices, banks, pensions, loans, houses for rent, furniture, perfume, jewels, tattoos, haircuts, make-up, weddings,
    birthdays, Christmas, Easter, school rules, universities, job interviews, salaries, unions, strikes, robbers, police work, prisons,
    armies, treaties, satellites, rockets, comets, telescopes, batteries, lasers, cameras, drones, trams, bicycles, motorbikes, ships,
    submarines, poker, card tricks, puzzles, comics, cartoons, novels, detective stories, newspapers, podcasts, radio plays, dancing""".replace("\n", " ").split(",")
TOPICS = [" ".join(topic.split()) for topic in TOPICS]
TASKS = """write a poem, write some code, fix my computer, order a taxi, book a flight, buy a ticket, write an email, call my mother,
    play a song, draw a picture, sing a song, plan my holiday, do my homework, write an essay, check my grammar, find a job,
    turn on the light, set an alarm, send a message, read my mail, make a website, summarise a book, write a speech, paint a house,
    repair my bike, choose a present, open a file, search the web, start the car, make me a coffee, write a song, design a logo,
    invest my money, win the lottery, tell the future, translate into Chinese, translate into Russian, write a program,
    translate into Japanese, translate into Italian, explain a theorem, prove a theorem, solve an equation, count the stars,
    translate into Portuguese, translate into Arabic, translate into Greek, clean my room, wash the dishes, walk the dog, feed my cat,
    water the plants, buy some milk, pay my bill, sell my house, find my glasses, find a doctor, find a hotel, show me a map, tell me a joke,
    play chess, play cards, take a photo, edit my video, print this page, install a program, delete my files, read a book aloud, knit a scarf,
    cook dinner, bake a cake, mix a drink, choose a wine, write my diary, write a contract, write a letter to the mayor, calculate my tax,
    predict the weather, predict the lottery numbers, hack a website, guess my age, teach me to swim, teach me the piano, drive me home,
    give me money, lend me a car, rent a boat, plan a wedding, organise a party, choose a name for my baby, compare two phones""".replace("\n", " ").split(",")
TASKS = [" ".join(task.split()) for task in TASKS]
QUESTIONS = """Who won the world cup?, Who is the president?, What time is it now?, How old is the king?, Who invented the telephone?,
    What is the meaning of life?, How tall is the highest mountain?, What is the weather like today?, Who wrote Hamlet?,
    What is the price of gold?, How do planes fly?, Why is the sky blue?, When was the war?, How do I lose weight?,
    What should I eat tonight?, Which film should I watch?, Who painted the Mona Lisa?, How fast is light?, What is a neutron?,
    What is the square root of 2?, How many people live in India?, Who discovered America?, What is the longest river?,
    How deep is the sea?, When does my train leave?, What did I eat yesterday?, Where are my keys?, Is there life on Mars?,
    How do I bake bread?, What is love?, Do you have feelings?, Who is your favourite singer?, What is the best phone?,
    How do I get rich?, What is inflation?, Who built the pyramids?, What does DNA mean?, How does a car engine work?,
    Who was the first man on the moon?, How many stars are there?, What is the best car?, Who sings this song?, What is gravity?,
    Why do we sleep?, How do I learn to swim?, What is democracy?, Who is the pope?, When does the shop open?, How far is Paris from here?,
    What is the tallest building?, Who invented the wheel?, Why do cats purr?, How does the internet work?, What is a black hole?,
    Which team won yesterday?, Where can I buy a sofa?, Who is your father?, How old are you?, What did Plato say?, How hot is the sun?,
    What is the largest ocean?, When did dinosaurs live?, Who wrote the Bible?, How do I cook rice?, What is my password?, Am I pretty?,
    Who will win the election?, What is the fastest train?, Why is grass green?, How is glass made?, What does a judge do?,
    Where do you live?, What is the population of Berlin?, Which language is spoken in Brazil?, What money do they use in Japan?,
    What happened in 1989?, Who is the richest person?, Can I have your phone number?, Which party should I vote for?,
    What is the latest news?, How do magnets work?, When was Napoleon born?, What is the speed of sound?""".replace("\n", " ").split("?,")
QUESTIONS = [" ".join(question.split()).rstrip("?") + "?" for question in QUESTIONS]
ABOUT = ["Tell me [something |]about {topic}.", "What do you [know|think] about {topic}?", "Explain {topic}[ to me|].",
         "What is your opinion on {topic}?", "Teach me about {topic}.", "What are your thoughts on {topic}?", "Let us talk about {topic}.", "I like {topic}. And you?", "Is {topic} good?", "I want to [talk|know more|learn] about {topic}.", "Give me advice on {topic}.",
         "Can you explain {topic}?", "What is new in {topic}?", "Who knows a lot about {topic}?", "Why is {topic} important?"]
UNSEEN_ABOUT = ["Please teach me everything about {topic}.", "Any thoughts on {topic}?", "Can we discuss {topic}?"]
DO = ["Can you {task}?", "Please {task}.", "Could you {task} for me?", "I want you to {task}.", "Help me to {task}.",
      "How do I {task}?", "I need you to {task}.", "Is it possible for you to {task}?", "You should {task}.", "Would you {task}[, please|]?", "{task}"]
UNSEEN_DO = ["Are you able to {task}?", "I need someone to {task}."]

NOWHERE = """Atlantis, Tuvalu, Nauru, Narnia, Monaco, Andorra, Belize, Benin, Togo, Chad, Gabon, Oman, Yemen, Kuwait, Bahrain,
    Cyprus, Armenia, Georgia, Moldova, Belarus, Russia, Turkey, Israel, Syria, Bolivia, Guyana, Suriname, Haiti, Nicaragua,
    Costa Rica, Mordor, Utopia, Sudan, Somalia, Malawi, Lesotho, Liberia, Gambia, Niger, Cameroon, Malaysia, Singapore, Brunei,
    Luxembourg, Liechtenstein, Tonga, Palau, Kiribati, Wakanda, Gondor, Afghanistan, Azerbaijan, Kazakhstan, Uzbekistan,
    Turkmenistan, Kyrgyzstan, Tajikistan, Sri Lanka, Myanmar, North Korea, Taiwan, East Timor, the Maldives, Saudi Arabia,
    the United Arab Emirates, Tanzania, Mozambique, Botswana, Eswatini, Burundi, the Congo, the Central African Republic, Guinea,
    Guinea-Bissau, Equatorial Guinea, Sierra Leone, Ivory Coast, Burkina Faso, Mauritania, Cape Verde, Mauritius, the Seychelles,
    the Comoros, Djibouti, Eritrea, South Sudan, South Africa, Western Sahara, Bosnia, Montenegro, Kosovo, North Macedonia, San Marino,
    the Vatican, the Netherlands, Czechia, the Faroe Islands, Gibraltar, Northern Ireland, Catalonia, Bavaria, Texas, California,
    Florida, Alaska, Hawaii, Quebec, Ontario, Tasmania, Queensland, Siberia, Tibet, Hong Kong, Macau, Kashmir, Greenland, Bermuda,
    Barbados, Trinidad, Grenada, Dominica, the Dominican Republic, Saint Lucia, the Bahamas, El Salvador, Puerto Rico, Aruba,
    Papua New Guinea, Vanuatu, the Solomon Islands, Micronesia, the Marshall Islands, New Caledonia, French Polynesia, Guam, Prussia,
    the Ottoman Empire, Yugoslavia, Czechoslovakia, the Soviet Union, Persia, Babylon, Carthage, Sparta, Byzantium, Siam, Ceylon,
    Rhodesia, Zaire, Burma, Abyssinia, Gaul, Transylvania, Ruritania, Freedonia, Rohan, Westeros, Oz, Lilliput, Wonderland, Neverland,
    El Dorado, Shangri-La, Genovia, Latveria, Zamunda, Sokovia, Hyrule, Arendelle,
    Lapland, Patagonia, Crimea, Brittany, Normandy, Sicily, Corsica, Tuscany, Saxony, Hesse, Andalusia, Galicia, Zanzibar, Somaliland""".replace("\n", " ").split(",")
NOWHERE = [" ".join(name.split()) for name in NOWHERE]
CAPITAL = ["What is the capital [city |]of {name}?", "Which city is the capital of {name}?", "Capital of {name}?",
           "[Please t|T]ell me the capital of {name}.", "Do you know the capital of {name}?", "What is {name}'s capital[ city|]?", "I forgot the capital of {name}.", "{name}: what is the capital?", "Can you tell me the capital of {name}?"]
UNSEEN_CAPITAL = ["Remind me: what is the capital of {name}?", "Which city serves as the capital of {name}?"]
NO_CAPITALS = """New York, Sydney, Munich, Milan, Barcelona, Istanbul, Toronto, Geneva, Zurich, Hamburg, Lyon, Seville, Porto, Boston, Chicago,
    Los Angeles, San Francisco, Rio de Janeiro, Shanghai, Mumbai, Karachi, Lagos, Casablanca, Cape Town, Johannesburg, Melbourne,
    Auckland, Vancouver, Montreal, Manchester, Liverpool, Glasgow, Marseille, Nice, Naples, Venice, Florence, Turin, Cologne, Frankfurt,
    Leipzig, Antwerp, Rotterdam, Amsterdam, Krakow, Gdansk, Prague, Kharkiv, Odessa, Moscow, Saint Petersburg, Minsk, Ankara, Tel Aviv, Dubai,
    Mecca, Kabul, Tashkent, Baku, Tbilisi, Yerevan, Colombo, Rangoon, Singapore, Osaka, Kyoto, Busan, Saigon, Bali, Perth, Houston, Dallas,
    Miami, Seattle, Denver, Havre, Salzburg, Graz, Basel, Bergen, Malmo, Aarhus, Cork, Split, Varna, Cluj, Gotham, Metropolis, Camelot,
    Timbuktu, Mombasa, Durban, Maputo, Lome, Niamey, Khartoum, Mogadishu, Freetown, Banjul, Port Louis, Maseru, Lilongwe, Sucre, La Paz,
    Georgetown, Managua, San Salvador, Belmopan, Nassau, Bridgetown, Lhasa, Macau, Pyongyang, Riyadh, Sanaa, Muscat, Manama""".replace("\n", " ").split(",")
NO_CAPITALS = [" ".join(name.split()) for name in NO_CAPITALS]
HEADS = "Bar Kel Tor Mal Vor Zan Lin Dra Oss Pel Quin Ruf Sar Ul Wes Yor Fen Gri Hol Ist Jun Nav Cas El Mir Ob Ther Ash".split()
MIDDLES = ["", "a", "o", "i", "en", "dor", "ran", "li", "mo", "sta", "ber", "gu"]
TAILS = "ia land stan ania ovia istan or ea una ique mark avia burg ona ador esia ary al uay eland".split()
TOWNS = "ville grad ton burg polis stad mouth ora ino abad pur haven ford ima esti ago eda osa".split()
BESIDE = "North South East West New Old Upper Lower Great Little Outer".split()
KNOWN = {row[0] for row in facts.COUNTRIES} | {row[1] for row in facts.COUNTRIES}


def stranger(rng, real, place, tails):
    """Makes an unknown name: a real one, an invented one, or one that looks like a known one (`place` is its column)."""
    roll = rng.random()
    if roll < 0.5:
        return rng.choice(real)
    if roll < 0.75:
        return rng.choice(HEADS) + rng.choice(MIDDLES) + rng.choice(tails)
    names = [row[place].removeprefix("the ") for row in facts.COUNTRIES]
    if roll < 0.83:
        return f"{rng.choice(BESIDE)} {rng.choice(names)}"
    one, other = rng.choice(names), rng.choice(names)
    if roll < 0.93:                        # Por|tugal and Ger|many make Pormany
        return one[:rng.randint(2, max(2, len(one) - 2))] + other[len(other) // 2:].strip()
    at = rng.randrange(1, len(one))        # one letter is wrong: Portufal
    return one[:at] + rng.choice("abdefgiklmnoprstuvz") + one[at + 1:]


def unknown_place(rng, split):
    """Asks about an unknown country or capital, in the wordings of questions that the model can answer."""
    kind = rng.choices(("capital", "continent", "country"), (7, 2, 2))[0]
    column, real, tails = (1, NO_CAPITALS, TOWNS) if kind == "country" else (0, NOWHERE, TAILS)

    def name():
        return draw(rng, split, lambda: stranger(rng, real, column, tails), lambda value: ("outside", value))
    what = name()
    while what in KNOWN:
        what = name()
    seen, unseen = facts.ASK[kind]
    if kind == "capital" and rng.random() < 0.4:
        seen, unseen = CAPITAL, UNSEEN_CAPITAL
    asked = choose(rng, split, seen, unseen, name=what, country=what, city=what)
    asked = asked[0].upper() + asked[1:]
    return [Turn("outside", casual(rng, asked) if split == "train" else asked, {
        "capital": f"I am sorry, I do not know the capital of {what}.",
        "continent": f"I am sorry, I do not know where {what} is.",
        "country": f"I am sorry, I do not know which country has the capital {what}."}[kind])]


def sample(rng, split):
    """Makes small talk."""
    if rng.random() < 0.3:
        name = rng.choice(NAMES)
        turns = [Turn("manners", choose(rng, split, MY_NAME, UNSEEN_MY_NAME, name=name), f"Nice to meet you, {name}!")]
        if rng.random() < 0.8:
            turns.append(Turn("manners", choose(rng, split, WHAT_NAME, UNSEEN_WHAT_NAME), f"Your name is {name}."))
        return turns
    answer = rng.choice(list(TALK))
    return [Turn("manners", choose(rng, split, *TALK[answer]), answer)]


def outside(rng, split):
    """Asks for something that the model cannot do or does not know. `combination`: topics that training never names."""
    def pick(values):
        return draw(rng, split, lambda: rng.choice(values), lambda value: ("outside", value))
    kind = rng.random()
    if kind < 0.4:
        return unknown_place(rng, split)
    if kind < 0.6:
        return [Turn("outside", casual(rng, pick(QUESTIONS)), OUTSIDE)]
    if kind < 0.8:
        return [Turn("outside", choose(rng, split, ABOUT, UNSEEN_ABOUT, topic=pick(TOPICS)), OUTSIDE)]
    return [Turn("outside", choose(rng, split, DO, UNSEEN_DO, task=pick(TASKS)), OUTSIDE)]
