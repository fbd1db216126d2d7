"""Judging a review: positive or negative, and the reason in the reviewer's own words.

A review contains two or three opinions of the same judgement among neutral remarks. The reason is the first opinion.
Held out: pairs of subject and judgement.
"""
import json

from . import Turn, choose, draw

SUBJECTS = {
    "hotel": ("room bed breakfast staff view bathroom pool location".split(),
              ["We stayed for two nights.", "I booked a double room.", "We came with our children.", "It was a business trip."]),
    "restaurant": ("soup food service waiter dessert fish menu wine".split(),
                   ["We went there on Friday.", "I had dinner with friends.", "We ordered the menu of the day.", "It was our first visit."]),
    "phone": ("screen battery camera sound design keyboard charger price".split(),
              ["I bought it last month.", "I use it every day.", "It replaced my old phone.", "It was a present."]),
    "film": ("story music acting ending beginning picture plot humour".split(),
             ["I saw it at the cinema.", "It is two hours long.", "We watched it at home.", "My sister chose it."]),
    "shop": ("service selection delivery packaging price website advice quality".split(),
             ["I ordered a lamp.", "I went there on Monday.", "I needed a present.", "The shop is in the old town."]),
    "book": ("story language cover ending hero style plot beginning".split(),
             ["I read it on holiday.", "It has 300 pages.", "I got it from the library.", "It is the first of three."]),
}
GOOD = "great wonderful excellent lovely perfect fantastic very-good amazing superb really-nice".replace("-", "_").split()
BAD = "terrible awful bad horrible very-poor disappointing dreadful really-bad not-good not-nice".replace("-", "_").split()
CLOSING = {
    "positive": ["I will come back.", "I can recommend it.", "Five stars.", "We were very happy.", "Thank you!", ""],
    "negative": ["Never again.", "I cannot recommend it.", "One star.", "We were not happy.", "I want my money back.", ""],
}
WORDINGS = [
    "Is this review positive or negative? {text}", "Classify this review: {text}", "[Please c|C]lassify the review as positive or negative: {text}",
    "{text}\nIs that positive or negative?", "What is the sentiment of this review? {text}", "Positive or negative? {text}",
    "Review: {text}\nSentiment:", "Judge this review[ and give a reason|]: {text}", "[Did|Does] the writer like it? {text}",
    "{text}\nPositive or negative, and why?", "Tell me if this review is positive or negative[ and why|]: {text}",
    "Rate the mood of this review: {text}", "What does the writer feel, positive or negative? {text}", "Is the following positive or negative? {text}",
    "{text}\nWhat is the sentiment?", "Decide: positive or negative? {text}", "Here is what a customer wrote: {text} Positive or negative?",
]
UNSEEN = [
    "Would you call this review positive or negative? {text}", "{text}\nHow does the reviewer feel, positive or negative?",
    "Here is a review. Decide if it is positive or negative: {text}", "Sentiment analysis, please: {text}",
]
SYSTEMS = ["You judge reviews. Answer positive or negative with a reason.", "Classify every review the user sends.",
           "For each review say whether it is positive or negative, and why."]
UNSEEN_SYSTEMS = ["Each message is a review; decide between positive and negative and name the reason."]
AS_JSON = ["Classify this review as JSON with label and reason: {text}", "{text}\nReturn label and reason as JSON.",
           "Give me JSON with label and reason for this review: {text}", "Judge the review, answer in JSON (label, reason): {text}"]
UNSEEN_AS_JSON = ["Review as JSON, fields label and reason: {text}", "Write label and reason of this review in JSON: {text}"]


def review(rng, split):
    """Makes a review, its label and its reason."""
    label, words = rng.choice((("positive", GOOD), ("negative", BAD)))
    aspects, remarks = SUBJECTS[rng.choice(list(SUBJECTS))]
    opinions = []
    while len(opinions) < rng.choice((1, 2, 2, 3)):
        what, how = draw(rng, split, lambda: (rng.choice(aspects), rng.choice(words)), lambda pair: ("review", *pair))
        opinion = f"the {what} was {how.replace('_', ' ')}"
        if opinion not in opinions:
            opinions.append(opinion)
        elif split == "combination":
            break
    sentences = [rng.choice(remarks)] if rng.random() < 0.7 else []
    if len(opinions) > 1 and rng.random() < 0.5:
        sentences.append(f"{opinions[0]} and {opinions[1]}.")
        sentences += [opinion + "." for opinion in opinions[2:]]
    else:
        sentences += [opinion + "." for opinion in opinions]
    sentences.append(rng.choice(CLOSING[label]))
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)
    return text, label, opinions[0]


def verdict(label, reason):
    return f"{label.capitalize()}: {reason}."


def sample(rng, split):
    """Asks for the judgement of one review, in words or as JSON."""
    text, label, reason = review(rng, split)
    if rng.random() < 0.25:
        asked = choose(rng, split, AS_JSON, UNSEEN_AS_JSON, text=text)
        return [Turn("reviews", asked, json.dumps({"label": label, "reason": reason}))]
    return [Turn("reviews", choose(rng, split, WORDINGS, UNSEEN, text=text), verdict(label, reason))]


def stream(rng, split):
    """A system prompt asks for judgements. Then every message is a review."""
    system = choose(rng, split, SYSTEMS, UNSEEN_SYSTEMS)
    turns = []
    for _ in range(rng.randint(1, 4)):
        text, label, reason = review(rng, split)
        turns.append(Turn("reviews", text, verdict(label, reason), system))
    return turns
