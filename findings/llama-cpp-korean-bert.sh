#!/bin/bash
# With a BERT vocabulary, llama.cpp gives different Korean words the same tokens.
#
# BERT's tokenizer brings text into Unicode's decomposed form, in which a Korean syllable is two or three letters, and the
# vocabulary of the English models holds these letters. llama.cpp keeps only the first letter of a syllable. So all words
# whose syllables begin alike have one embedding, as "mul" (water), "mal" (horse) and "mun" (door), or "namu" (tree)
# and "nunmul" (tears), below.
. "$(dirname "$0")/common.sh"

npm_packages node-llama-cpp@3.22.1
git clone -q "$work/node_modules/node-llama-cpp/llama/gitRelease.bundle" "$work/sources" 2> /dev/null
seen=$(node_program <<'JS'
import {getLlama, LlamaLogLevel} from 'node-llama-cpp';
const llama = await getLlama({gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled});
const model = await llama.loadModel({modelPath: 'sources/models/ggml-vocab-bert-bge.gguf', vocabOnly: true});
for (const word of ['\ubb3c', '\ub9d0', '\ubb38', '\ub098\ubb34', '\ub208\ubb3c']) {
    console.log(word.normalize('NFD').length, 'letters, tokens', model.tokenize(word).join(' '));
}
process.exit(0);
JS
)
echo "llama.cpp of node-llama-cpp 3.22.1, vocabulary of bge (BERT, uncased)"
same '3 letters, tokens 1459
3 letters, tokens 1459
3 letters, tokens 1459
4 letters, tokens 1456 29995
6 letters, tokens 1456 29995' "$seen"
