"""Converts chats to token ids, and makes micro-batches of chats with similar lengths."""
import json

import numpy as np
import torch

from bpe import render


def encode_chat(tokenizer, messages):
    """Returns the ids of a chat, and for each position whether the token is the assistant's (end of turn included)."""
    ids, ours = [], []
    for message in messages:
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n")
        body = tokenizer.encode(message["content"]) + [tokenizer.end]
        tail = tokenizer.encode("\n")
        ids += head + body + tail
        ours += [False] * len(head) + [message["role"] == "assistant"] * len(body) + [False] * len(tail)
    return ids, ours


def prepare(tokenizer, corpus, out, context):
    """Encodes a corpus into one file of flat arrays."""
    ids, ours, ends, total = [], [], [], 0
    with open(corpus, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            messages = json.loads(line)["messages"]
            chat, mine = encode_chat(tokenizer, messages)
            if number < 100:
                assert chat == tokenizer.encode(render(messages, False)), messages
            chat, mine = chat[:context], mine[:context]
            total += len(chat)
            ids.append(np.array(chat, np.uint16))
            ours.append(np.array(mine, bool))
            ends.append(total)
    np.savez(out, ids=np.concatenate(ids), ours=np.concatenate(ours), ends=np.array(ends))


class Batches:
    """Endless micro-batches of about `tokens` tokens. Chats of similar length share a batch, so there is little padding."""

    def __init__(self, path, tokens, pad, seed):
        with np.load(path) as data:
            self.ids, self.ours, ends = data["ids"].astype(np.int64), data["ours"], data["ends"]
        self.starts, self.lengths = np.concatenate(([0], ends[:-1])), np.diff(ends, prepend=0)
        self.tokens, self.pad = tokens, pad
        self.rng = np.random.default_rng(seed)

    def epoch(self):
        """Returns groups of chat numbers: sorted by length with a little noise, cut by token count, then shuffled."""
        order = np.argsort(self.lengths * self.rng.uniform(0.9, 1.1, len(self.lengths)))
        groups, group, longest = [], [], 0
        for chat in order:
            longest = max(longest, self.lengths[chat])
            if group and longest * (len(group) + 1) > self.tokens:
                groups.append(group)
                group, longest = [], self.lengths[chat]
            group.append(chat)
        groups.append(group)
        self.rng.shuffle(groups)
        return groups

    def __iter__(self):
        while True:
            for group in self.epoch():
                yield self.batch(group)

    def batch(self, group):
        """Returns the input ids [chats, time], the flat positions whose next token is the assistant's, and these next tokens."""
        time = self.lengths[group].max() - 1
        ids = np.full((len(group), time), self.pad)
        targets = np.full((len(group), time), -1)
        for row, chat in enumerate(group):
            start, length = self.starts[chat], self.lengths[chat]
            span = self.ids[start:start + length]
            ids[row, :length - 1] = span[:-1]
            targets[row, :length - 1] = np.where(self.ours[start + 1:start + length], span[1:], -1)
        where = np.flatnonzero(targets.reshape(-1) >= 0)
        return torch.from_numpy(ids), torch.from_numpy(where), torch.from_numpy(targets.reshape(-1)[where])
