#!/bin/bash
# llama.cpp computes RMS norms for Phi-3.5-MoE, which was trained with layer norms.
#
# Phi-3.5-MoE's norms subtract the mean of a row and have a bias: layer norms, in its original code and in transformers. Such a norm
# gives the same for a row and for the row with a constant added to every number, so a constant added to all embeddings changes
# no answer. In llama.cpp it does for a `phimoe` file, whose converter stores norms with biases; for `phi2`, an older model of that family with
# layer norms, it does not. So a model of this architecture answers otherwise than it was trained to, and nothing says so.
. "$(dirname "$0")/common.sh"

npm_packages node-llama-cpp@3.22.1
seen=$(node_program <<'JS'
import {getLlama, LlamaLogLevel} from 'node-llama-cpp';
import {f32, text, tokenizer, u32, writeGguf} from './gguf.mjs';

const HIDDEN = 64, HEADS = 2, FORWARD = 64, WORDS = 288, EXPERTS = 4;

/** A model of one block with random weights, and a constant added to every number of every embedding. */
function write(file, architecture, constant) {
    const a = architecture + '.';
    const meta = {
        'general.architecture': [u32(8), text(architecture)],
        [a + 'context_length']: [u32(4), u32(64)], [a + 'embedding_length']: [u32(4), u32(HIDDEN)],
        [a + 'feed_forward_length']: [u32(4), u32(FORWARD)], [a + 'block_count']: [u32(4), u32(1)],
        [a + 'attention.head_count']: [u32(4), u32(HEADS)], [a + 'attention.head_count_kv']: [u32(4), u32(HEADS)],
        [a + 'rope.dimension_count']: [u32(4), u32(HIDDEN / HEADS)],
        [a + 'attention.layer_norm_rms_epsilon']: [u32(6), f32(1e-5)], [a + 'attention.layer_norm_epsilon']: [u32(6), f32(1e-5)],
        [a + 'expert_count']: [u32(4), u32(EXPERTS)], [a + 'expert_used_count']: [u32(4), u32(2)],
        ...tokenizer(WORDS),
    };
    const mixture = architecture === 'phimoe';
    if (!mixture) {
        delete meta[a + 'expert_count'];
        delete meta[a + 'expert_used_count'];
    }
    let seed = 1;
    const number = () => (seed = (seed * 1103515245 + 12345) % 2147483648, seed / 1073741824 - 1);
    const random = (...dims) => Float32Array.from({length: dims.reduce((x, y) => x * y, 1)}, () => number() * 0.4);
    const tensors = [];
    const matrix = (name, ...dims) => tensors.push([name + '.weight', dims, random(...dims)]);
    const bias = (name, size) => tensors.push([name + '.bias', [size], random(size)]);
    const norm = name => { tensors.push([name + '.weight', [HIDDEN], new Float32Array(HIDDEN).fill(1)]); bias(name, HIDDEN); };
    tensors.push(['token_embd.weight', [HIDDEN, WORDS], random(HIDDEN, WORDS).map(x => x + constant)]);
    norm('output_norm'); matrix('output', HIDDEN, WORDS); bias('output', WORDS); norm('blk.0.attn_norm');
    for (const part of ['q', 'k', 'v', 'output']) {
        matrix('blk.0.attn_' + part, HIDDEN, HIDDEN); bias('blk.0.attn_' + part, HIDDEN);
    }
    if (mixture) {
        norm('blk.0.ffn_norm'); matrix('blk.0.ffn_gate_inp', HIDDEN, EXPERTS); matrix('blk.0.ffn_gate_exps', HIDDEN, FORWARD, EXPERTS);
        matrix('blk.0.ffn_up_exps', HIDDEN, FORWARD, EXPERTS); matrix('blk.0.ffn_down_exps', FORWARD, HIDDEN, EXPERTS);
    } else {
        matrix('blk.0.ffn_up', HIDDEN, FORWARD); bias('blk.0.ffn_up', FORWARD);
        matrix('blk.0.ffn_down', FORWARD, HIDDEN); bias('blk.0.ffn_down', HIDDEN);
    }
    writeGguf(file, meta, tensors);
}

const llama = await getLlama({gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled});
async function next(architecture, constant) {
    const file = architecture + constant + '.gguf';
    write(file, architecture, constant);
    const model = await llama.loadModel({modelPath: file});
    const context = await model.createContext({contextSize: 64, batchSize: 64, threads: 1});
    const tokens = Array.from({length: 20}, (_, i) => 3 + (i * i * 7 + 11 * i) % (WORDS - 3));
    const [last] = (await context.getSequence().controlledEvaluate(
        [...tokens.slice(0, -1), [tokens[19], {generateNext: {token: true, probabilities: true}}]])).slice(-1);
    return last.next.probabilities;
}
for (const architecture of ['phi2', 'phimoe']) {
    const plain = await next(architecture, 0), moved = await next(architecture, 0.5);
    const greatest = Math.max(...[...plain].map(([id, p]) => Math.abs(p - (moved.get(id) ?? 0))));
    console.log(architecture + ': 0.5 added to all embeddings', greatest < 0.01 ? 'changes no probability' : 'changes probabilities');
}
process.exit(0);
JS
)
echo "llama.cpp of node-llama-cpp 3.22.1"
same 'phi2: 0.5 added to all embeddings changes no probability
phimoe: 0.5 added to all embeddings changes probabilities' "$seen"
