#!/bin/bash
# Two JavaScript tokenizers lose the entries of OpenAI's vocabularies that begin with U+FEFF; one drops the character.
#
# Nine tokens of o200k_base (and some of cl100k_base) begin with U+FEFF, for instance the one for "U+FEFF using", the
# first line of many C# files. JavaScript's TextDecoder removes this character at the start of what it decodes, so the
# tables of these two packages do not hold the entries. gpt-tokenizer spells the character in smaller tokens. In
# ai-tokenizer it is gone: the ids of "U+FEFF using" decode to "using".
. "$(dirname "$0")/common.sh"

npm_packages tiktoken@1.0.22 gpt-tokenizer@4.0.0 ai-tokenizer@1.0.6
seen=$(node_program <<'JS'
import {get_encoding} from 'tiktoken';
import {encode} from 'gpt-tokenizer/encoding/o200k_base';
import {Tokenizer} from 'ai-tokenizer';
import * as o200k from 'ai-tokenizer/encoding/o200k_base';

const original = get_encoding('o200k_base'), ai = new Tokenizer(o200k);
const text = '\ufeffusing';
console.log('tiktoken      ', Array.from(original.encode_ordinary(text)).join(' '));
console.log('gpt-tokenizer ', encode(text).join(' '));
console.log('ai-tokenizer  ', Array.from(ai.encode(text)).join(' '), JSON.stringify(ai.decode(ai.encode(text))));
const decoder = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
const lost = {gpt: 0, ai: 0};
for (let id = 0; id < 199998; id++) {
    let entry;
    try {
        entry = decoder.decode(original.decode_single_token_bytes(id));
    } catch (notText) {
        continue;
    }
    if (!entry.startsWith('\ufeff')) continue;
    if (encode(entry).length !== 1) lost.gpt++;
    if (ai.decode(ai.encode(entry)) !== entry) lost.ai++;
}
console.log(`entries with U+FEFF in front: ${lost.gpt} not produced by gpt-tokenizer, ${lost.ai} changed by ai-tokenizer`);
JS
)
echo "tiktoken 1.0.22, gpt-tokenizer 4.0.0, ai-tokenizer 1.0.6, o200k_base"
same 'tiktoken       9251
gpt-tokenizer  5416 123 1846
ai-tokenizer   1846 "using"
entries with U+FEFF in front: 9 not produced by gpt-tokenizer, 9 changed by ai-tokenizer' "$seen"
