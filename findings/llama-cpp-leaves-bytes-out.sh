#!/bin/bash
# llama.cpp leaves a character out of a prompt if the vocabulary has no token for one of its bytes, without a word.
#
# Falcon's byte-level vocabulary has no tokens for some control characters, among them the vertical tab that word
# processors write for a line break within a paragraph. llama.cpp tokenises the rest of the text: the two words around the
# tab become one. There is no unknown token and no error. The vocabulary is that of llama.cpp's own tests; it lies in the
# sources that the package carries.
. "$(dirname "$0")/common.sh"

npm_packages node-llama-cpp@3.22.1
git clone -q "$work/node_modules/node-llama-cpp/llama/gitRelease.bundle" "$work/sources" 2> /dev/null
seen=$(node_program <<'JS'
import {getLlama, LlamaLogLevel} from 'node-llama-cpp';
const llama = await getLlama({gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled});
for (const name of ['falcon', 'gpt-2']) {
    const model = await llama.loadModel({modelPath: `sources/models/ggml-vocab-${name}.gguf`, vocabOnly: true});
    const again = text => model.detokenize(model.tokenize(text));
    const lost = [];
    for (let code = 1; code < 256; code++) {
        const text = 'a' + String.fromCharCode(code) + 'b';
        if (again(text) !== text) lost.push(code.toString(16));
    }
    console.log(name, JSON.stringify(again('first line\u000bsecond line')), 'lost:', lost.join(' '));
}
process.exit(0);
JS
)
echo "llama.cpp of node-llama-cpp 3.22.1; characters below U+0100"
same 'falcon "first linesecond line" lost: 3 4 5 b 11 13 14 15 16 17 19 1c 1d 1e
gpt-2 "first line\u000bsecond line" lost: ' "$seen"
