// Measures llama.cpp for `quire bench compare`, through its binding for Node.js, which comes with compiled libraries for
// the usual processors. Install that once, in a folder of its own, and name the folder:
//
//     mkdir peer; cd peer; npm install --ignore-scripts node-llama-cpp@3.22.1
//     ./quire bench compare --model FILE --peer-cmd 'NODE_LLAMA_CPP=peer node bench/llama-cpp-peer.mjs'
//
// It computes what `quire bench compare` computes: greedy answers to random tokens, each kind of work once to warm up and
// once measured. BENCH_MODEL and the other variables are described by `quire bench compare --help`; BENCH_PROMPT=0 leaves
// the prompt out. The sequences of a group take one step after the other together, in one batch.
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const folder = process.env.NODE_LLAMA_CPP ?? ".";
const entry = join(folder, "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry)).catch(error => {
    console.error(`cannot load ${entry}: ${error.message}\nSet NODE_LLAMA_CPP to the folder where node-llama-cpp is installed.`);
    process.exit(1);
});

const {BENCH_MODEL: modelPath, BENCH_SEQUENCES: groups} = process.env;
const number = name => Number(process.env[name] ?? 0);
const threads = number("BENCH_THREADS");
const promptTokens = number("BENCH_PROMPT");
const contextTokens = number("BENCH_CONTEXT");
const generate = number("BENCH_GENERATE");
if (!modelPath || !groups || !(threads > 0 && contextTokens > 0 && generate > 0)) {
    console.error("run this as the --peer-cmd of quire bench compare, which sets BENCH_MODEL and the other variables");
    process.exit(1);
}

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath});
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
let state = 7;

/** Random tokens, the same in every run. */
function randomTokens(count) {
    return Array.from({length: count}, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor(state / 2 ** 32 * Math.min(vocabulary, 250));
    });
}

/** Computes some tokens of a sequence and returns the token that follows. */
async function next(sequence, tokens) {
    const last = [tokens[tokens.length - 1], {generateNext: {token: true}}];
    const evaluated = await sequence.controlledEvaluate([...tokens.slice(0, -1), last]);
    return evaluated[evaluated.length - 1].next.token;
}

/** Calls work with so many new sequences that have room for so many tokens each. */
async function withSequences(count, tokens, work) {
    const context = await model.createContext({sequences: count, contextSize: tokens, batchSize: 512, threads});
    try {
        return await work(Array.from({length: count}, () => context.getSequence()));
    } finally {
        await context.dispose();
    }
}

const seconds = since => (performance.now() - since) / 1e3;

/** Seconds from a prompt to its first token. */
async function secondsToFirstToken() {
    return withSequences(1, promptTokens + 8, async ([sequence]) => {
        const begin = performance.now();
        await next(sequence, randomTokens(promptTokens));
        return seconds(begin);
    });
}

/** Tokens a second of all sequences together, after their prompts. */
async function decodeTokensPerSecond(count) {
    return withSequences(count, contextTokens + generate + 8, async sequences => {
        let tokens = [];
        for (const sequence of sequences) { // a long prompt beside others would be cut
            tokens.push(await next(sequence, randomTokens(contextTokens)));
        }
        const begin = performance.now();
        for (let i = 1; i < generate; i++) {
            tokens = await Promise.all(sequences.map((sequence, s) => next(sequence, [tokens[s]])));
        }
        return count * (generate - 1) / seconds(begin);
    });
}

if (promptTokens > 0) {
    await secondsToFirstToken();
    console.log(`prompt ${(promptTokens / await secondsToFirstToken()).toFixed(2)}`);
}
for (const count of groups.split(",").map(Number)) {
    await decodeTokensPerSecond(count);
    console.log(`decode ${count} ${(await decodeTokensPerSecond(count)).toFixed(2)}`);
}
process.exit(0);
