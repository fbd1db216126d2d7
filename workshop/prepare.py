#!/usr/bin/python3
"""Encodes a corpus for training: prepare.py TOKENIZER.json CORPUS.jsonl OUT.npz"""
import sys

from bpe import Tokenizer
from data import prepare
from network import TINY

if __name__ == "__main__":
    prepare(Tokenizer.load(sys.argv[1]), sys.argv[2], sys.argv[3], TINY.context)
