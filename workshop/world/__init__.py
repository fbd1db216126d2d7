"""The little world: one module a task, each a grammar and a few tables.

A module offers `sample(rng, split)`, which returns a list of `Turn`s (usually one, two when a question has a follow-up).

    split "train"        what the model may learn from
    split "wording"      a request worded as no training request is
    split "combination"  a training wording about a combination (phrase and filler, pair of numbers, name and
                         surname ...) that `held_out` keeps away from training

Both held-out splits are disjoint from training by construction, not by chance.
"""
import re
import zlib
from typing import NamedTuple, Optional


class Turn(NamedTuple):
    """One exchange. `system` is the instruction it needs, if any; a chat has at most one."""
    task: str
    user: str
    answer: str
    system: Optional[str] = None


def held_out(*key, percent=4):
    """Whether this combination is kept away from training: a stable hash, the same on every machine."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 100 < percent


def draw(rng, split, make, key):
    """Draw `make()` until it falls on the side of the split that is wanted."""
    while True:
        made = make()
        if held_out(*key(made)) == (split == "combination"):
            return made


CHOICE = re.compile(r"\[([^\[\]]*)\]")


def wording(rng, pattern, **slots):
    """Choose one side of every `[this|that]`, then fill the `{slots}`."""
    return CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), pattern).format_map(slots)


def choose(rng, split, seen, unseen, **slots):
    """A request from the wordings of this split."""
    return wording(rng, rng.choice(unseen if split == "wording" else seen), **slots)


def casual(rng, text):
    """People type carelessly: sometimes no capital, sometimes no full stop, sometimes a greeting first."""
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
    """Wrap a request into talk that changes nothing, so that words never seen around it matter less."""
    text = turn.user
    if rng.random() < 0.2:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.1 and turn.task not in ("phrasebook", "outside"):
        text = text + rng.choice(CLOSERS)
    return turn._replace(user=text)


def article(noun):
    """A noun with its English indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def listing(words):
    """a, b and c"""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
