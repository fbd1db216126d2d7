// Writes tiny GGUF files for the findings about programs that read them. Their text is bytes and the words w0, w1 …

import {writeFileSync} from 'node:fs';

const bytes = (size, write) => { const b = Buffer.alloc(size); write(b); return b; };
export const u32 = v => bytes(4, b => b.writeUInt32LE(v)), u64 = v => bytes(8, b => b.writeBigUInt64LE(BigInt(v)));
export const f32 = v => bytes(4, b => b.writeFloatLE(v)), text = s => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const list = (type, items) => Buffer.concat([u32(9), u32(type), u64(items.length), ...items]);

/** The metadata of a tokenizer with so many tokens. */
export function tokenizer(count) {
    const words = ['<unk>', '<s>', '</s>', ...Array.from({length: 256}, (_, i) => '<0x' + i.toString(16).toUpperCase().padStart(2, '0') + '>'),
        ...Array.from({length: count - 259}, (_, i) => 'w' + i)];
    return {
        'tokenizer.ggml.model': [u32(8), text('llama')],
        'tokenizer.ggml.tokens': [list(8, words.map(text))],
        'tokenizer.ggml.scores': [list(6, words.map((_, i) => f32(-i)))],
        'tokenizer.ggml.token_type': [list(5, words.map((_, i) => u32(i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)))],
    };
}

/** Writes a file; each tensor is its name, its sizes, and its numbers, which fill a multiple of 32 bytes. */
export function writeGguf(file, meta, tensors) {
    const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(meta).length)];
    for (const [key, value] of Object.entries(meta)) {
        head.push(text(key), ...value);
    }
    let offset = 0;
    for (const [name, dims, values] of tensors) {
        head.push(text(name), u32(dims.length), ...dims.map(u64), u32(0), u64(offset));
        offset += values.byteLength;
    }
    const front = Buffer.concat(head);
    writeFileSync(file, Buffer.concat([front, Buffer.alloc((32 - front.length % 32) % 32),
        ...tensors.map(([, , values]) => Buffer.from(values.buffer))]));
}
