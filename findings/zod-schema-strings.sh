#!/bin/bash
# The JSON Schema that Zod makes of a string check is not always the same check.
#
# Client libraries for structured output send such schemas to servers. The flag i of a regular expression is lost
# without a word, so a server that enforces the schema never lets the model write what Zod would accept. startsWith,
# includes and uppercase become "format" names of Zod's own, so a server that refuses unknown formats refuses schemas
# of ordinary checks. The pattern of a duration needs look-ahead, which several constraint engines do not have.
. "$(dirname "$0")/common.sh"

npm_packages zod@4.6.7
seen=$(node_program <<'JS'
import * as z from 'zod';
const checks = {
    'regex(/^abc$/i)': z.string().regex(/^abc$/i),
    "startsWith('a.b')": z.string().startsWith('a.b'),
    "includes('x')": z.string().includes('x'),
    'uppercase()': z.string().uppercase(),
    'two regex': z.string().regex(/a/).regex(/b/),
};
for (const [name, check] of Object.entries(checks)) {
    const {$schema, ...schema} = z.toJSONSchema(check);
    console.log(name, JSON.stringify(schema));
}
console.log('duration needs look-ahead:', z.toJSONSchema(z.iso.duration()).pattern.includes('(?='));
console.log("Zod accepts 'ABC' for regex(/^abc$/i):", checks['regex(/^abc$/i)'].safeParse('ABC').success);
JS
)
echo "zod 4.6.7"
same $'regex(/^abc$/i) {"type":"string","pattern":"^abc$"}
startsWith(\'a.b\') {"type":"string","format":"starts_with","pattern":"^a\\\\.b.*"}
includes(\'x\') {"type":"string","format":"includes","pattern":"x"}
uppercase() {"type":"string","format":"uppercase","pattern":"^[^a-z]*$"}
two regex {"type":"string","allOf":[{"pattern":"a"},{"pattern":"b"}]}
duration needs look-ahead: true
Zod accepts \'ABC\' for regex(/^abc$/i): true' "$seen"
