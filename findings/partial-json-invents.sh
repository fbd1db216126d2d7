#!/bin/bash
# Parsers of unfinished JSON, made for streamed tool calls, report values that the document never has.
#
# Each parser gets every beginning of one valid document. A number is reported while its digits still arrive, so an
# amount of -1250 is shown as -1, -12 and -12.5 first; that holds for all. best-effort-json-parser does not know the
# exponent of a number: it makes a key of it that begins with "e2,". jsonrepair gives a key that is not complete the value null, and
# the text "t" for the beginning of true. Who acts on parts of arguments before the end acts on these values.
. "$(dirname "$0")/common.sh"

npm_packages partial-json@0.1.7 best-effort-json-parser@1.5.1 jsonrepair@3.15.0
seen=$(node_program <<'JS'
import {parse as partial} from 'partial-json';
import * as bestEffort from 'best-effort-json-parser';
import {jsonrepair} from 'jsonrepair';

console.error = () => {};
const document = '{"amount":-12.50e2,"ok":true}';
const right = JSON.parse(document);
const parsers = {
    'partial-json': partial,
    'best-effort-json-parser': text => bestEffort.parse(text),
    jsonrepair: text => JSON.parse(jsonrepair(text)),
};
for (const [name, parse] of Object.entries(parsers)) {
    const wrong = new Set();
    for (let length = 1; length <= document.length; length++) {
        let value;
        try {
            value = parse(document.slice(0, length));
        } catch (refused) {
            continue;
        }
        for (const [key, part] of Object.entries(value)) {
            if (part !== right[key]) wrong.add(`${key}=${JSON.stringify(part)}`);
        }
    }
    console.log(name + ':', [...wrong].join(' '));
}
JS
)
echo "partial-json 0.1.7, best-effort-json-parser 1.5.1, jsonrepair 3.15.0"
same 'partial-json: amount=-1 amount=-12 amount=-12.5
best-effort-json-parser: amount=undefined amount=0 amount=-1 amount=-12 amount=-12.5 e2,"ok"=true
jsonrepair: =null a=null am=null amo=null amou=null amoun=null amount=null amount=0 amount=-1 amount=-12 amount=-12.5 o=null ok=null ok="t" ok="tr" ok="tru"' "$seen"
