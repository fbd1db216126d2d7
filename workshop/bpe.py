#!/usr/bin/python3
"""Byte-level BPE with Qwen2's pre-tokenisation, where every digit is one token; and the chat template.

    bpe.py CORPUS.jsonl OUT.json        trains a vocabulary on the text of a corpus
"""
import collections
import json
import re
import sys

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
SIZE = 2048

# Qwen2's pattern for Python's re, which has no \p{L} and \p{N}: [^\W\d_] is a letter and \d is a digit. Both patterns
# agree on all text of the grammars. They differ for numerals such as ² or Ⅷ.
PIECES = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?[^\W\d_]+|\d| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def render(messages, add_generation_prompt=True):
    """Renders messages as the Jinja template does."""
    text = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return text + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def byte_characters():
    """GPT-2's printable character for each byte."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(visible))
    return [table[byte] for byte in range(256)]


CHARACTERS = byte_characters()
BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


class Tokenizer:
    """Text to token ids and back. Ids: special tokens, then the 256 bytes, then the merges in the order of training."""

    def __init__(self, merges):
        self.merges = [tuple(merge) for merge in merges]
        self.tokens = SPECIALS + CHARACTERS + [a + b for a, b in self.merges]
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        self.ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self.end, self.pad = self.ids["<|im_end|>"], self.ids["<|pad|>"]
        self.cache = {}

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as file:
            return Tokenizer(json.load(file)["merges"])

    def word(self, piece):
        """Returns the ids of one pre-tokenised piece."""
        if piece not in self.cache:
            parts = [CHARACTERS[byte] for byte in piece.encode()]
            while len(parts) > 1:
                rank, at = min((self.ranks.get(pair, len(self.ranks)), at) for at, pair in enumerate(zip(parts, parts[1:])))
                if rank == len(self.ranks):
                    break
                parts[at:at + 2] = [parts[at] + parts[at + 1]]
            self.cache[piece] = [self.ids[part] for part in parts]
        return self.cache[piece]

    def encode(self, text):
        """Returns the ids of a text. The text may contain special tokens."""
        out = []
        for part in SPECIAL.split(text):
            if part in SPECIALS:
                out.append(self.ids[part])
            else:
                for piece in PIECES.findall(part):
                    out += self.word(piece)
        return out

    def decode(self, ids):
        """Returns the text of ids, without the special tokens."""
        raw = bytes(BYTES[character] for number in ids if number >= len(SPECIALS) for character in self.tokens[number])
        return raw.decode("utf-8", "replace")


def train(texts, size=SIZE):
    """Learns merges. Each merge is the most frequent pair; of equal pairs, the first in sort order."""
    counts = collections.Counter(piece for text in texts for piece in PIECES.findall(text))
    pieces = [([CHARACTERS[byte] for byte in piece.encode()], count) for piece, count in counts.items()]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for number, (parts, count) in enumerate(pieces):
        for pair in zip(parts, parts[1:]):
            pairs[pair] += count
            where[pair].add(number)
    merges = []
    while len(merges) < size - len(SPECIALS) - 256:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        for number in where.pop(best):
            parts, count = pieces[number]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= count
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at:at + 2] = [parts[at] + parts[at + 1]]
                at += 1
            for pair in zip(parts, parts[1:]):
                pairs[pair] += count
                where[pair].add(number)
        del pairs[best]
    return merges


def main(corpus, out):
    with open(corpus, encoding="utf-8") as lines:
        texts = [message["content"] for line in lines for message in json.loads(line)["messages"]]
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"merges": train(texts)}, file, ensure_ascii=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
