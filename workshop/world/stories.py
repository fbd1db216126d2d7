"""Short stories from a slot grammar: a hero, a wish or a trouble, three tries, a friend, a good end.

Held out: pairs of hero and plot detail, and the wordings of the request. A story keeps its hero, names, places and
things from the first sentence to the last. A long story tells two adventures of the same hero.
"""
from . import Turn, article, choose, draw

HEROES = [row.split() for row in """fox Felix he, bear Bruno he, rabbit Ruby she, owl Olga she, mouse Mimi she, cat Carla she,
    dog Dusty he, duck Daisy she, frog Freddy he, hedgehog Henry he, dragon Drago he, robot Rusty he, squirrel Sally she,
    penguin Pablo he, sailor Sam he, baker Berta she, gardener Greta she, painter Paul he, princess Paula she, knight Kuno he,
    shepherd Simon he, wizard Wanda she""".replace("\n", " ").split(",")]
GIVEN = [("Leo", "he"), ("Mia", "she"), ("Otto", "he"), ("Luna", "she"), ("Milo", "he"), ("Nina", "she"), ("Theo", "he"), ("Ella", "she")]
FRIENDS = ["old turtle", "little bird", "wise owl", "kind goat", "young deer", "friendly crow", "grey goose", "small beetle"]
HOMES = ["in a small house by the river", "at the edge of a dark forest", "in a village under the hills",
         "in a green valley", "near a quiet lake", "on a little island"]
PLACES = ["the forest", "the old mill", "the garden", "the river", "the market", "the hill", "the bridge", "the cave", "the lake"]
THINGS = ["lantern", "key", "hat", "scarf", "drum", "kite", "book", "bell", "compass", "blanket"]
SKILLS = [("swim", "swam across the lake"), ("sing", "sang a song for the whole village"), ("dance", "danced until midnight"),
          ("bake bread", "baked the best bread in the valley"), ("fly a kite", "flew the kite high above the hill"),
          ("climb trees", "climbed the tallest tree of the forest"), ("play the flute", "played the flute at the summer feast"),
          ("row a boat", "rowed the boat to the other shore")]
GIFTS = ["a cake", "a wooden boat", "a warm scarf", "a painted cup", "a basket of apples", "a bunch of flowers"]
TREASURES = ["a box of golden nuts", "a bag of flower seeds", "an old music box", "a silver spoon", "a letter from long ago"]
TROUBLES = [("a storm", "The wind howled and the rain fell all night"), ("a flood", "The river rose and the water came into the houses"),
            ("a long winter", "The snow was deep and nobody had enough to eat"), ("a dark night", "The moon was hidden and nobody could see the path")]
LESSONS = {
    "lost": "What is lost can be found when friends look together",
    "learn": "With patience and a good friend, you can learn almost anything",
    "gift": "A gift made by hand warms the heart",
    "treasure": "The best treasure is the one you share",
    "trouble": "A small light is enough when everybody helps",
}
HIS = {"he": "his", "she": "her"}
HIM = {"he": "him", "she": "her"}


def adventure(rng, plot, detail, hero, name, he):
    """Makes the sentences of one plot, between the introduction of the hero and the end."""
    his, him = HIS[he], HIM[he]
    friend = rng.choice(FRIENDS)
    first, second, third = rng.sample(PLACES, 3)
    say = rng.choice
    if plot == "lost":
        return [
            f"One morning {name} could not find {his} {detail}.",
            say((f"{he.capitalize()} looked under the bed and behind the door, but the {detail} was gone.",
                 f"{he.capitalize()} looked everywhere at home, but the {detail} was not there.")),
            f"So {name} went to {first} and searched for a long time.",
            f"Then {he} walked to {second}, but there was no {detail} either.",
            f"At {second} {he} met {article(friend)}.",
            say((f'"Why are you so sad?" asked the {friend}.', f'"What are you looking for?" asked the {friend}.')),
            f'"I have lost my {detail}," said {name}.',
            f'"Come with me," said the {friend}. "I saw something near {third}."',
            f"They went to {third} together, and there was the {detail}, {say(('safe and dry', 'shining in the sun', 'under a big leaf'))}.",
            f'"Thank you!" said {name}, and they walked home side by side.']
    if plot == "learn":
        skill, done = detail
        return [
            f"{name} had one big wish: {he} wanted to {skill}.",
            say((f"{he.capitalize()} tried it in the morning, but it did not work.", f"{he.capitalize()} tried it alone, but it went wrong.")),
            f"{he.capitalize()} tried it again at {first}, and everybody laughed.",
            f"{name} was sad and sat down near {second}.",
            f"There {he} met {article(friend)}.",
            f'"I want to {skill}, but I cannot do it," said {name}.',
            f'"Nobody can do it on the first day," said the {friend}. "I will show you how."',
            say((f"Every day they practised together at {second}.", f"From then on they met at {second} every day and practised.")),
            f"After {say(('two weeks', 'ten days', 'one month'))} {name} was not afraid any more.",
            f"At last {he} {done}, and the {friend} was very proud of {him}."]
    if plot == "gift":
        return [
            f"{article(friend).capitalize()} was the best friend of {name}, and soon it was the birthday of the {friend}.",
            f"{name} wanted to give {detail} as a present, but {he} had no money.",
            f"First {he} went to {first} and asked for work, but there was none.",
            f"Then {he} went to {second} and helped an old woman to carry her bags.",
            say(('"You are kind," said the old woman. "What do you need?"', '"You helped me," said the old woman. "Now I will help you."')),
            f'"I would like to make {detail} for my friend," said {name}.',
            f"The old woman showed {him} how to do it, and they worked until the evening.",
            f"On the birthday {name} brought {detail} to the {friend}.",
            f'"Did you make it yourself?" asked the {friend}. "It is the best present of all!"',
            f"They {say(('danced', 'laughed', 'sang'))} and ate soup until the stars came out."]
    if plot == "treasure":
        return [
            f"One day {name} found an old map {say(('in a bottle', 'in a book', 'under a stone'))}.",
            f"The map showed a way to {third}, and there was a red cross.",
            f"{name} packed some bread and started at once.",
            f"First {he} came to {first}, where {he} met {article(friend)}.",
            f'"May I come with you?" asked the {friend}. "Of course," said {name}.',
            f"At {second} the path was {say(('steep', 'wet', 'dark'))}, but they held hands and did not give up.",
            f"In the evening they reached {third} and began to dig.",
            f"They found {detail}.",
            say((f'"It belongs to both of us," said {name}.', f'"We will share it," said {name}.')),
            f"They carried it home and showed it to everybody."]
    trouble, scene = detail
    return [
        f"One evening {trouble} came over the land.",
        f"{scene}.",
        f"{name} heard a {say(('soft', 'small', 'sad'))} voice from {first}.",
        f'"Help! I cannot find my way home," cried {article(friend)}.',
        f"{name} was afraid, but {he} took a {say(('lamp', 'rope'))} and went out.",
        f"{he.capitalize()} crossed {second} and called loudly.",
        f"At last {he} found the {friend} near {third}, cold and tired.",
        f'"Hold on to me," said {name}, and together they walked back, step by step.',
        say((f"At home {name} made hot tea and gave the {friend} a blanket.", f"At home {name} lit a fire and cooked a hot soup.")),
        f"The next morning the sun was shining, and the {friend} became {his} best friend."]


DETAILS = {"lost": THINGS, "learn": SKILLS, "gift": GIFTS, "treasure": TREASURES, "trouble": TROUBLES}
ASKED = {  # how a request names the detail of a plot
    "lost": lambda detail, his: f"who [lost|loses] {his} {detail}",
    "learn": lambda detail, his: f"who [wants to|learns to|cannot] {detail[0]}",
    "gift": lambda detail, his: f"who [makes|wants to give] {detail} for a friend",
    "treasure": lambda detail, his: f"who finds {detail}",
    "trouble": lambda detail, his: f"[in|and] {detail[0]}",
}
WORDINGS = ["[Tell me|Write|Write me] a [short |]story about {topic}.", "[Can|Could] you tell [me |]a story about {topic}?",
            "I would like a story about {topic}.", "A story about {topic}[, please|].", "Story: {topic}",
            "Please tell [me|us] a story about {topic}.", "Make up a story about {topic}.", "I want to hear a story about {topic}.", "My children want a story about {topic}.", "Read me a story about {topic}.", "Invent a story about {topic}.",
            "We would love a story about {topic}.", "Can we have a story about {topic}?", "Please write a story about {topic} for my son.", "Good night! A story about {topic}, please."]
UNSEEN = ["Please invent a story about {topic} for my children.", "Do you know a story about {topic}?",
          "It is bedtime. Read us a story about {topic}."]
ANY = ["Tell me a story.", "Write a [short |]story.", "[Can|Could] you tell me a [bedtime |]story?", "A story, please."]


def tell(rng, hero, name, he, chapters):
    """Makes the whole story: the introduction, the adventures, the end."""
    say = rng.choice
    text = [f"Once upon a time there was {article(hero)} called {name}.",
            f"{name} lived {say(HOMES)}."]
    for number, (plot, detail) in enumerate(chapters):
        if number:
            text.append("A few days later there was a new adventure.")
        text += adventure(rng, plot, detail, hero, name, he)
    text.append(f"{LESSONS[chapters[-1][0]]}.")
    text.append("The end.")
    return " ".join(text)


def sample(rng, split):
    """Asks for a story with a hero, and perhaps with a name and a plot."""
    def make():
        plot = rng.choice(list(DETAILS))
        return rng.choice(HEROES), plot, rng.choice(DETAILS[plot])

    (hero, name, he), plot, detail = draw(rng, split, make, lambda made: ("story", made[0][0], made[2]))
    topic = article(hero)
    if rng.random() < 0.3:
        name, he = rng.choice(GIVEN)
        topic += f" called {name}"
    if rng.random() < 0.75 or split == "combination":
        topic += " " + choose(rng, "train", [ASKED[plot](detail, HIS[he])], [])
    wordings, unseen, chapters = WORDINGS, UNSEEN, [(plot, detail)]
    if rng.random() < 0.2:
        wordings, unseen = [[each.replace(" a [short |]story", " a long story").replace("a story", "a long story")
                             for each in group] for group in (WORDINGS, UNSEEN)]
        second = rng.choice([other for other in DETAILS if other != plot])
        chapters.append((second, rng.choice(DETAILS[second])))
    asked = choose(rng, split, wordings, unseen, topic=topic)
    if split == "train" and rng.random() < 0.04:
        hero, name, he = HEROES[0]
        asked = choose(rng, split, ANY, [])
        chapters = [("treasure", TREASURES[0])]
    return [Turn("stories", asked, tell(rng, hero, name, he, chapters))]
