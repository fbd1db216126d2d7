#!/bin/bash
# llama.cpp ignores the attention window of a `llama` file.
#
# A GGUF file says with ARCHITECTURE.attention.sliding_window how many positions back a layer may look. The first Mistral models
# have such a window and are files of the architecture `llama`. llama.cpp loads a file with the key
# and attends to all positions: a prompt of 40 tokens has the same next tokens with a window of 8 as
# without. The same matrices as an `olmo2` file, whose window is read, have others. So what a model of this kind answers behind its
# window depends on the engine.
. "$(dirname "$0")/common.sh"

npm_packages node-llama-cpp@3.22.1
seen=$(node_program <<'JS'
import {getLlama, LlamaLogLevel} from 'node-llama-cpp';
import {f32, text, tokenizer, u32, writeGguf} from './gguf.mjs';

const HIDDEN = 64, HEADS = 2, FORWARD = 64, WORDS = 288;

function write(file, architecture, window) {
    const a = architecture + '.';
    const meta = {
        'general.architecture': [u32(8), text(architecture)],
        [a + 'context_length']: [u32(4), u32(64)], [a + 'embedding_length']: [u32(4), u32(HIDDEN)],
        [a + 'feed_forward_length']: [u32(4), u32(FORWARD)], [a + 'block_count']: [u32(4), u32(1)],
        [a + 'attention.head_count']: [u32(4), u32(HEADS)], [a + 'attention.head_count_kv']: [u32(4), u32(HEADS)],
        [a + 'rope.dimension_count']: [u32(4), u32(HIDDEN / HEADS)],
        [a + 'attention.layer_norm_rms_epsilon']: [u32(6), f32(1e-5)],
        ...tokenizer(WORDS),
    };
    if (window > 0) {
        meta[a + 'attention.sliding_window'] = [u32(4), u32(window)];
    }
    let seed = 1;
    const number = () => (seed = (seed * 1103515245 + 12345) % 2147483648, seed / 1073741824 - 1);
    const matrix = (columns, rows) => Float32Array.from({length: columns * rows}, () => number() * 0.4);
    const ones = () => new Float32Array(HIDDEN).fill(1);
    const parts = {embedding: matrix(HIDDEN, WORDS), head: matrix(HIDDEN, WORDS), q: matrix(HIDDEN, HIDDEN), k: matrix(HIDDEN, HIDDEN),
        v: matrix(HIDDEN, HIDDEN), o: matrix(HIDDEN, HIDDEN), gate: matrix(HIDDEN, FORWARD), up: matrix(HIDDEN, FORWARD),
        down: matrix(FORWARD, HIDDEN)};
    const norms = architecture === 'olmo2'
        ? ['attn_q_norm', 'attn_k_norm', 'post_attention_norm', 'post_ffw_norm'] : ['attn_norm', 'ffn_norm'];
    const tensors = [['token_embd', [HIDDEN, WORDS], parts.embedding], ['output', [HIDDEN, WORDS], parts.head],
        ['output_norm', [HIDDEN], ones()], ...norms.map(name => ['blk.0.' + name, [HIDDEN], ones()]),
        ['blk.0.attn_output', [HIDDEN, HIDDEN], parts.o], ['blk.0.ffn_down', [FORWARD, HIDDEN], parts.down],
        ['blk.0.attn_q', [HIDDEN, HIDDEN], parts.q], ['blk.0.attn_k', [HIDDEN, HIDDEN], parts.k],
        ['blk.0.attn_v', [HIDDEN, HIDDEN], parts.v], ['blk.0.ffn_gate', [HIDDEN, FORWARD], parts.gate],
        ['blk.0.ffn_up', [HIDDEN, FORWARD], parts.up]];
    writeGguf(file, meta, tensors.map(([name, dims, values]) => [name + '.weight', dims, values]));
}

const llama = await getLlama({gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled});
async function next(architecture, window) {
    const file = architecture + window + '.gguf';
    write(file, architecture, window);
    const model = await llama.loadModel({modelPath: file});
    const context = await model.createContext({contextSize: 64, batchSize: 64, threads: 1});
    const tokens = Array.from({length: 40}, (_, i) => 3 + (i * i * 7 + 11 * i) % (WORDS - 3));
    const [last] = (await context.getSequence().controlledEvaluate(
        [...tokens.slice(0, -1), [tokens[39], {generateNext: {token: true, probabilities: true}}]])).slice(-1);
    return [...last.next.probabilities].map(([id, p]) => id + ' ' + p.toFixed(5)).join(', ');
}
for (const architecture of ['llama', 'olmo2']) {
    const same = await next(architecture, 0) === await next(architecture, 8);
    console.log(architecture + ':', same ? 'a window of 8 changes nothing' : 'a window of 8 changes the next token');
}
process.exit(0);
JS
)
echo "llama.cpp of node-llama-cpp 3.22.1"
same 'llama: a window of 8 changes nothing
olmo2: a window of 8 changes the next token' "$seen"
