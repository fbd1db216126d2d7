#!/usr/bin/python3
"""Writes training chats as JSON lines: {"messages"}.

    corpus.py OUT.jsonl COUNT [SEED]
"""
import json
import random
import sys

from world import arithmetic, chatty, facts, manners, phrasebook, records, reviews, stories

# weight of a task among the turns of training chats, and the function that makes a turn
MIX = [
    (26, phrasebook.sample), (9, phrasebook.interpret), (30, arithmetic.sample), (21, facts.sample), (4, stories.sample),
    (9, records.sample), (4, records.stream), (4, reviews.sample), (2, reviews.stream), (3, manners.sample), (12, manners.outside),
]
WEIGHTS, SAMPLERS = zip(*MIX)
HELPFUL = ["You are a helpful assistant.", "You are quire-tiny.", "Answer briefly.", "You are a friendly assistant.",
           "Be polite and precise."]


def chat(rng):
    """Makes a training chat: one or more turns of any tasks, sometimes with a system message."""
    wanted = rng.choices((1, 2, 4, 8, 24), (35, 30, 25, 8, 2))[0]
    turns = rng.choices(SAMPLERS, WEIGHTS)[0](rng, "train")
    system = turns[0].system
    while len(turns) < wanted and system is None:
        more = rng.choices(SAMPLERS, WEIGHTS)[0](rng, "train")
        if more[0].system is None:
            turns += more
    if system is None and rng.random() < 0.15:
        system = rng.choice(HELPFUL)
    return messages(turns if turns[0].system else [chatty(rng, turn) for turn in turns], system)


def messages(turns, system=None):
    """Converts turns to chat messages."""
    opening = [{"role": "system", "content": system}] if system else []
    return opening + [message for turn in turns for message in (
        {"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.answer})]


def held_out_chats(rng, per_task):
    """Makes held-out chats for every task. Where a task has both splits, half have an unseen wording and half an unseen
    combination.

    Tasks with short answers get more chats, so that their figures are more reliable.
    """
    both = ("wording", "combination")
    for sampler, splits, times in [
            (phrasebook.sample, both, 1), (phrasebook.interpret, both, 1), (arithmetic.sample, both, 6),
            (facts.sample, ("wording",), 3), (stories.sample, both, 1), (records.sample, both, 1), (records.stream, both, 1),
            (reviews.sample, both, 1), (reviews.stream, both, 1), (manners.sample, ("wording",), 1), (manners.outside, both, 4)]:
        for number in range(times * per_task):
            split = splits[number % len(splits)]
            turns = sampler(rng, split)
            yield {"task": turns[0].task, "split": split, "messages": messages(turns, turns[0].system)}


def main(path, count, seed=1):
    rng = random.Random(int(seed))
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(int(count)):
            out.write(json.dumps({"messages": chat(rng)}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
