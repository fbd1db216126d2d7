#!/usr/bin/python3
"""Held-out evaluation of the exported files: greedy answers of this folder's forward pass with the GGUF weights.

    evaluate.py TINY.gguf [DRAFT.gguf] [--chats N] [--write HELDOUT.json] [--show]

Prints a table of every task and split. `--write` stores 50 held-out chats with their greedy outputs, to compare another
engine with this forward pass. From each task it takes the first chats in which every chosen token leads the second by
more than 0.25. Where there are too few (stories), it adds those with the largest smallest lead.
"""
import os
os.environ["OMP_NUM_THREADS"] = "1"
import argparse
import collections
import json
import random
import re
import sys

import torch
from torch import multiprocessing

from bpe import render
from corpus import held_out_chats
from export import from_gguf
from world import stories

SEED = 20260
WORD = re.compile(r"[A-Za-z]+")


def story_words():
    """Returns the words of 5,000 stories: in practice every word that the story grammar can write."""
    rng = random.Random(0)
    return {word for _ in range(5000) for word in WORD.findall(stories.sample(rng, "train")[0].answer)}


def story_is_sound(said, asked, ended, known=[]):
    """Whether a story ends its turn, repeats no sentence, uses only known words and has the hero of the request."""
    if not known:
        known.append(story_words())
    sentences = re.split(r'(?<=[.?!])"? ', said)
    name = re.search(r"called (\w+)", said)
    hero = next((row[0] for row in stories.HEROES if re.search(rf"\b{row[0]}\b", asked)), "")
    wanted = re.search(r"called (\w+)", asked)
    return (ended and len(sentences) == len(set(sentences)) and set(WORD.findall(said)) <= known[0]
            and said.endswith("The end.") and name is not None and hero in said
            and (wanted is None or wanted.group(1) == name.group(1)))


def as_json(text):
    """Parses a text as JSON; None if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def is_right(task, asked, said, wanted, ended):
    """Whether an answer is right: a sound story, a record with equal JSON, or else exactly the wanted text."""
    if task == "stories":
        return story_is_sound(said, asked, ended)
    if not ended:
        return False
    if task == "records":
        return as_json(said) == json.loads(wanted)
    return said == wanted


@torch.no_grad()
def agreement(draft, prompt, output):
    """Counts the tokens of the output that are also the draft model's first choice."""
    logits = draft(torch.tensor([prompt + output[:-1]]))[0, len(prompt) - 1:]
    return int((logits.argmax(-1) == torch.tensor(output)).sum())


@torch.no_grad()
def margin(network, prompt, output):
    """Returns the smallest lead (in logits) of a chosen token over the second. It limits the rounding that another engine may add."""
    top = network(torch.tensor([prompt + output[:-1]]))[0, len(prompt) - 1:].topk(2).values
    return float((top[:, 0] - top[:, 1]).min())


def exchanges(chat):
    """Yields every assistant turn of a chat with the messages before it."""
    for number, message in enumerate(chat["messages"]):
        if message["role"] == "assistant":
            yield chat["messages"][:number], message["content"]


def answers(network, tokenizer, chats):
    """Yields a greedy answer for every assistant turn: (chat, messages before, wanted, prompt text, prompt ids, output ids)."""
    for chat in chats:
        for messages, wanted in exchanges(chat):
            prompt_text = render(messages)
            prompt = tokenizer.encode(prompt_text)
            yield chat, messages, wanted, prompt_text, prompt, network.greedy(prompt, tokenizer.end)


def share(path, chats):
    """Answers one process's share of the chats."""
    torch.set_num_threads(1)
    return list(answers(*from_gguf(path), chats))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tiny")
    parser.add_argument("draft", nargs="?")
    parser.add_argument("--chats", type=int, default=60)
    parser.add_argument("--write")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, tokenizer = from_gguf(options.tiny)
    draft = from_gguf(options.draft)[0] if options.draft else None
    right, asked, same, tokens, records = (collections.Counter() for _ in range(5))
    samples = collections.defaultdict(list)
    chats = list(held_out_chats(random.Random(SEED), options.chats))
    with multiprocessing.Pool() as pool:
        pieces = [chats[start:start + 20] for start in range(0, len(chats), 20)]
        for chat, messages, wanted, prompt_text, prompt, output in sum(
                pool.starmap(share, [(options.tiny, piece) for piece in pieces], chunksize=1), []):
            task, key = chat["task"], (chat["task"], chat["split"])
            ended = output[-1] == tokenizer.end
            said = tokenizer.decode(output)
            good = is_right(task, messages[-1]["content"], said, wanted, ended)
            right[key] += good
            asked[key] += 1
            if task == "records":
                found = as_json(said)
                records["valid"] += found is not None
                records["fields"] += found is not None and list(found) == list(json.loads(wanted))
                records["all"] += 1
            if options.show and not good:
                print(f"[{task}/{chat['split']}] {messages[-1]['content']}\n   said   {said}\n   wanted {wanted}")
            if draft:
                same[task] += agreement(draft, prompt, output)
                tokens[task] += len(output)
            samples[task].append(dict(task=task, messages=messages, prompt=prompt_text, prompt_ids=prompt,
                                      output_ids=output, output=said))
    print("| task | unseen wording | unseen combination |" + (" draft agrees |" if draft else ""))
    print("|---|---|---|" + ("---|" if draft else ""))
    for task in dict.fromkeys(task for task, _ in asked):
        cells = [f"{100 * right[task, split] / asked[task, split]:.1f} % of {asked[task, split]}" if asked[task, split] else "-"
                 for split in ("wording", "combination")]
        cells += [f"{100 * same[task] / tokens[task]:.1f} %"] if draft else []
        print(f"| {task} | " + " | ".join(cells) + " |")
    print(f"\nOf {records['all']} records, {100 * records['valid'] / records['all']:.1f} % are valid JSON and "
          f"{100 * records['fields'] / records['all']:.1f} % have exactly the fields asked for, in their order.")
    if draft:
        print(f"Draft agreement over all {tokens.total():,} tokens: {100 * same.total() / tokens.total():.1f} %")
    if options.write:
        chosen = []
        for task, wish in dict(phrasebook=12, arithmetic=8, facts=8, stories=5, records=8, reviews=4, manners=2, outside=3).items():
            for chat in samples[task]:
                chat["smallest_margin"] = round(margin(network, chat["prompt_ids"], chat["output_ids"]), 4)
            # clear decisions first: where two tokens nearly tie, the rounding of another engine may choose the other
            clear = [chat for chat in samples[task] if chat["smallest_margin"] > 0.25]
            clear += sorted((chat for chat in samples[task] if chat not in clear), key=lambda chat: -chat["smallest_margin"])
            chosen += clear[:wish]
        with open(options.write, "w", encoding="utf-8") as out:
            out.write("[\n" + ",\n".join(json.dumps(chat, ensure_ascii=False) for chat in chosen) + "\n]\n")


if __name__ == "__main__":
    sys.exit(main())
