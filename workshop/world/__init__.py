"""The content of the training chats: one module for each task, with a grammar and a few tables.

A module offers `sample(rng, split)`, which returns a list of `Turn`s (usually one, two when a question has a follow-up).

    split "train"        for training
    split "wording"      a request in a wording that no training request has
    split "combination"  a training wording about a combination (phrase and filler, pair of numbers, name and
                         surname ...) that `held_out` keeps out of training

By construction, both held-out splits share nothing with training.
"""
import re
import zlib
from typing import NamedTuple, Optional


class Turn(NamedTuple):
    """One exchange. `system` is its instruction, or None. A chat has at most one instruction."""
    task: str
    user: str
    answer: str
    system: Optional[str] = None


def held_out(*key, percent=4):
    """Whether this combination is kept out of training. The hash is the same on every machine."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 100 < percent


def draw(rng, split, make, key):
    """Calls `make()` until the result belongs to the split."""
    while True:
        made = make()
        if held_out(*key(made)) == (split == "combination"):
            return made


CHOICE = re.compile(r"\[([^\[\]]*)\]")


def wording(rng, pattern, **slots):
    """Chooses one side of every `[this|that]`, then fills the `{slots}`."""
    return CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), pattern).format_map(slots)


def choose(rng, split, seen, unseen, **slots):
    """Makes a request from the wordings of this split."""
    return wording(rng, rng.choice(unseen if split == "wording" else seen), **slots)


def casual(rng, text):
    """Changes a text as careless typing does: sometimes no capital, no full stop, or a greeting first."""
    roll = rng.random()
    if roll < 0.10:
        text = text[0].lower() + text[1:]
    elif roll < 0.16:
        text = rng.choice(("Hi! ", "Hello. ", "Hey, ", "OK. ", "Please: ", "Quick question: ")) + text
    elif roll < 0.20:
        text = text + rng.choice((" Thanks!", " Thank you.", " Please."))
    if rng.random() < 0.08 and text[-1] in ".?!":
        text = text[:-1].rstrip()
    return text


OPENERS = [
    "I have a question. ", "My teacher asks: ", "Please help me. ", "One more thing: ", "Listen: ", "Well, ", "Sorry, ", "So: ",
    "Dear quire, ", "I am curious: ", "Someone asked me: ", "We just talked about this. ", "My sister wants to know: ",
    "It is for school. ", "Be quick. ", "I was wondering: ", "Next: ", "Let me ask you something. ", "A friend asks me: ",
    "This is important: ", "My notes say: ", "I should know this. ", "Here is another one: ", "You there! ", "We need your help. ",
    "It is late, but one question: ", "The children ask: ", "In my book there is this: ", "Now something else. ", "First question: ",
    "I am in a hurry: ", "On my list: ", "For a game: ", "The exam asks: ", "I am back. ", "By the way: "]
CLOSERS = [" I forgot it.", " Please answer.", " Can you help?", " It is for school.", " I am not sure.", " What do you say?",
           " Be quick.", " I need to know it.", " Thanks in advance.", " My friend wants to know.", " Do you know it?",
           " Tell me, please.", " I am curious.", " Any idea?", " It is important.", " Help me, please."]


def chatty(rng, turn):
    """Adds talk that does not change the request, so that unknown words around a request matter less."""
    text = turn.user
    if rng.random() < 0.2:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.1 and turn.task not in ("phrasebook", "outside"):
        text = text + rng.choice(CLOSERS)
    return turn._replace(user=text)


def article(noun):
    """Returns a noun with its English indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def listing(words):
    """a, b and c"""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
