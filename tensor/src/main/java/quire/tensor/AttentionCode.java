package quire.tensor;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R12;
import static quire.tensor.x86.Gp.R13;
import static quire.tensor.x86.Gp.R14;
import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.R9;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RBP;
import static quire.tensor.x86.Gp.RBX;
import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Gp.RSP;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mask.K3;
import static quire.tensor.x86.Mask.K4;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;
import static quire.tensor.x86.Vec.zmm;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.ValueLayout;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the AVX-512 code of attention: a block of queries against some tiles of 16 positions, as {@link Kernels#attend}
 * defines it to the last bit. A query is one head of one row; a block is {@code rows} rows × {@code heads} heads that
 * share their KV head, so each number of K and V is loaded and brought to f32 once for all of them.
 *
 * <pre>
 *   for each tile:
 *     s[b] = 0                                      one register a query, lane = position
 *     for d:        s[b] = fma(K[d], q[b][d], s[b])      K[d] a word of 16 positions, q broadcast from the matrix
 *     s[b] × scale (× K's scales), −∞ where b may not look
 *     m'[b] = max(m[b], s[b]);  p[b] = exp(s[b] − m'[b])           to memory
 *     c = exp(m − m');  l = l × c                   lane = query
 *     for 2 words of o at a time:                   lane = dimension
 *       o[b] = o[b] × c[b]
 *       for j:      o[b] = fma(V[j], p[b][j], o[b])       V[j] two words, p broadcast from memory
 *     for j:        l[b] = l[b] + p[b][j]
 * </pre>
 *
 * <p>With 12 queries of 64 numbers that is 1536 multiply-adds of whole registers a tile, and about 700 other
 * instructions, of which 300 are the exponentials.
 */
final class AttentionCode {
    /** Queries of a block: with 12 the registers are full. */
    static final int MOST_QUERIES = 12;

    /** {@code (q, tiles, tile count, positions of the last tile, stats, sums, weights, lanes of the last tile, scale)}. */
    static final FunctionDescriptor DESCRIPTOR = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_FLOAT);

    /** {@code (sums, totals, out, queries)}. */
    static final FunctionDescriptor FINISH_DESCRIPTOR = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG);

    /** {@code (sums, queries)}. */
    static final FunctionDescriptor CLEAR_DESCRIPTOR =
            FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG);

    // Statistics of a block, 16 lanes each, lane = query.
    static final int MAX = 0;
    static final int TOTAL = 64;
    private static final int CORRECTION = 128;
    /** Room for the statistics of a block, and for words that begin at its last query. */
    static final int STATS_BYTES = 256;

    private static final int WORD_BYTES = 64;
    /** Weights as they are summed, then as they weigh V: the same but for quantised pages. */
    private static final int VALUE_WEIGHTS = (MOST_QUERIES + 1) * WORD_BYTES;

    /** Room for the weights of a block, and for words that begin at the last of them. */
    static final int WEIGHTS_BYTES = 2 * VALUE_WEIGHTS;

    private static final int TILE = KvLayout.TILE;

    private static final Gp Q = RDI;
    private static final Gp TILES = RSI;
    private static final Gp TILE_COUNT = RDX;
    private static final Gp LAST_POSITIONS = RCX;
    private static final Gp STATS = R8;
    private static final Gp SUMS = R9;
    private static final Gp WEIGHTS = R10;
    private static final Gp LAST_LANES = R13;
    private static final Gp HERE = RAX;
    private static final Gp NEXT = R14;
    private static final Gp POSITIONS = R12;
    private static final Gp KV = R11;
    private static final Gp COUNT = RBX;
    private static final Gp FACTOR = RBP;

    private static final Vec WORD_0 = zmm(28);
    private static final Vec WORD_1 = zmm(29);
    private static final Vec NOTHING = zmm(30);
    private static final Vec SCALE = zmm(31);

    private final Assembler a = new Assembler();
    private final KvLayout layout;
    private final int allHeads;
    private final int heads;
    private final int queries;
    private final int words;

    private AttentionCode(KvLayout layout, int allHeads, int rows, int heads) {
        this.layout = layout;
        this.allHeads = allHeads;
        this.heads = heads;
        queries = rows * heads;
        words = words(layout);
    }

    /** Registers that hold a head's numbers. */
    static int words(KvLayout layout) {
        return (layout.headDim() + TILE - 1) / TILE;
    }

    /**
     * Assembles attention of a block.
     *
     * @param allHeads query heads of a row
     * @param rows rows of the block
     * @param heads heads of the block; {@code rows × heads} is at most {@link #MOST_QUERIES}
     */
    static byte[] assemble(KvLayout layout, int allHeads, int rows, int heads) {
        return new AttentionCode(layout, allHeads, rows, heads).assemble();
    }

    private byte[] assemble() {
        Gp[] saved = {RBX, RBP, R12, R13, R14};
        for (Gp register : saved) {
            a.push(register);
        }
        int stackArguments = Long.BYTES * (saved.length + 1);
        a.mov(WEIGHTS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + Long.BYTES));
        a.vbroadcastss(SCALE, xmm(0));
        a.vbroadcastss(NOTHING, Mem.rip(a.constant(new float[] {Float.NEGATIVE_INFINITY}, 4)));
        ExponentialCode exponential = ExponentialCode.avx512(a);
        a.mov(RBX, (1 << queries) - 1);
        a.kmovw(K3, RBX);
        a.mov(RBX, tailLanes(layout));
        a.kmovw(K4, RBX);

        Label tile = a.label();
        a.align(32);
        a.bind(tile);
        beginTile();
        scores();
        weigh(exponential);
        for (int word = 0; word < words; word += 2) {
            sumValues(word, Math.min(2, words - word));
        }
        sumWeights();
        a.dec(TILE_COUNT);
        a.jnz(tile);

        a.vzeroupper();
        for (int i = saved.length - 1; i >= 0; i--) {
            a.pop(saved[i]);
        }
        a.ret();
        return a.finish();
    }

    /** Lanes of the last word of a head. */
    private static int tailLanes(KvLayout layout) {
        return 0xFFFF >>> (words(layout) * TILE - layout.headDim());
    }

    private void beginTile() {
        Label last = a.label();
        Label known = a.label();
        a.mov(HERE, at(TILES));
        a.add(TILES, Long.BYTES);
        a.cmp(TILE_COUNT, 1);
        a.jz(last);
        a.mov(NEXT, at(TILES));
        a.mov(POSITIONS, TILE);
        a.mov(COUNT, 0xFFFF);
        a.kmovw(K1, COUNT);
        a.jmp(known);
        a.bind(last);
        a.mov(NEXT, HERE);
        a.mov(POSITIONS, LAST_POSITIONS);
        a.kmovw(K1, LAST_LANES);
        a.bind(known);
    }

    /** Scores of all queries in registers 0 to queries − 1. The lines of the next tile are asked for meanwhile. */
    private void scores() {
        for (int b = 0; b < queries; b++) {
            a.vpxord(zmm(b), zmm(b), zmm(b));
        }
        int unroll = layout.headDim() % 4 == 0 ? 4 : layout.headDim() % 2 == 0 ? 2 : 1;
        int keyBytes = TILE * layout.type().bytes();
        int linesPerKey = Math.ceilDiv(2 * keyBytes, WORD_BYTES);
        a.lea(KV, at(HERE, keyOffset()));
        a.mov(FACTOR, Q);
        a.mov(COUNT, layout.headDim() / unroll);
        Label keys = a.label();
        a.align(32);
        a.bind(keys);
        for (int u = 0; u < unroll; u++) {
            for (int line = 0; line < linesPerKey; line++) {
                a.prefetcht0(at(NEXT, (u * linesPerKey + line) * WORD_BYTES));
            }
            Vec key = u % 2 == 0 ? WORD_0 : WORD_1;
            load(key, at(KV, u * keyBytes), false);
            for (int b = 0; b < queries; b++) {
                a.vfmadd231ps(
                        zmm(b),
                        key,
                        at(FACTOR, queryOffset(b) + u * Float.BYTES).bcast());
            }
        }
        a.add(KV, unroll * keyBytes);
        a.add(NEXT, unroll * linesPerKey * WORD_BYTES);
        a.add(FACTOR, unroll * Float.BYTES);
        a.dec(COUNT);
        a.jnz(keys);
        for (int b = 0; b < queries; b++) {
            a.vmulps(zmm(b), zmm(b), SCALE);
            if (layout.type().isQuantized()) {
                a.vmulps(zmm(b), zmm(b), at(HERE));
            }
            a.vblendmps(zmm(b).mask(K1), NOTHING, zmm(b));
        }
    }

    /** Sixteen numbers of a page as f32. */
    private void load(Vec to, Mem from, boolean isTail) {
        Vec target = isTail ? to.zero(K4) : to;
        switch (layout.type()) {
            case F16 -> a.vcvtph2ps(target, from);
            case F32 -> a.vmovups(target, from);
            case Q8_0 -> {
                a.vpmovsxbd(target, from);
                a.vcvtdq2ps(to, to);
            }
        }
    }

    /** Scores become weights in memory; maxima, corrections and corrected totals. */
    private void weigh(ExponentialCode exponential) {
        for (int b = 0; b < queries; b++) {
            int temp = 16 + b % 4 * 2;
            a.vextracti64x4(ymm(temp), zmm(b), 1);
            a.vmaxps(ymm(temp), ymm(temp), ymm(b));
            a.vextracti32x4(xmm(temp + 1), ymm(temp), 1);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0x4E);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0xB1);
            // A NaN may be lost in a maximum, but its own exponential keeps it.
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vmaxps(xmm(temp), xmm(temp), at(STATS, MAX + b * Float.BYTES).bcast());
            a.vmovss(at(STATS, CORRECTION + b * Float.BYTES), xmm(temp));
            a.vbroadcastss(zmm(temp), xmm(temp));
            a.vsubps(zmm(b), zmm(b), zmm(temp));
        }
        for (int b = 0; b < queries; b += ExponentialCode.MOST) {
            exponential.write(b, Math.min(ExponentialCode.MOST, queries - b));
        }
        boolean quantized = layout.type().isQuantized();
        for (int b = 0; b < queries; b++) {
            a.vmovups(at(WEIGHTS, b * WORD_BYTES), zmm(b));
            if (quantized) {
                a.vmulps(zmm(b), zmm(b), at(HERE, valueScalesOffset()));
                a.vmovups(at(WEIGHTS, VALUE_WEIGHTS + b * WORD_BYTES), zmm(b));
            }
        }
        a.vmovups(zmm(1), at(STATS, CORRECTION));
        a.vmovups(zmm(0), at(STATS, MAX));
        a.vsubps(zmm(0), zmm(0), zmm(1));
        a.vmovups(at(STATS, MAX), zmm(1).mask(K3));
        exponential.write(0, 1);
        a.vmovups(at(STATS, CORRECTION), zmm(0).mask(K3));
        a.vmulps(zmm(0), zmm(0), at(STATS, TOTAL));
        a.vmovups(at(STATS, TOTAL), zmm(0).mask(K3));
    }

    /** Corrects {@code count} words of every query's sum and adds the tile's values. */
    private void sumValues(int word, int count) {
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vmovups(zmm(b * 2 + w), at(SUMS, sumOffset(b, word + w)));
                a.vmulps(
                        zmm(b * 2 + w),
                        zmm(b * 2 + w),
                        at(STATS, CORRECTION + b * Float.BYTES).bcast());
            }
        }
        int bytes = layout.type().bytes();
        a.lea(KV, at(HERE, valueScalesOffset() + TILE * layout.type().scaleBytes() + word * TILE * bytes));
        a.lea(FACTOR, at(WEIGHTS, layout.type().isQuantized() ? VALUE_WEIGHTS : 0));
        a.mov(COUNT, POSITIONS);
        Label position = a.label();
        a.align(32);
        a.bind(position);
        for (int w = 0; w < count; w++) {
            load(w == 0 ? WORD_0 : WORD_1, at(KV, w * TILE * bytes), word + w == words - 1);
        }
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vfmadd231ps(
                        zmm(b * 2 + w),
                        w == 0 ? WORD_0 : WORD_1,
                        at(FACTOR, b * WORD_BYTES).bcast());
            }
        }
        a.add(KV, layout.headDim() * bytes);
        a.add(FACTOR, Float.BYTES);
        a.dec(COUNT);
        a.jnz(position);
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vmovups(at(SUMS, sumOffset(b, word + w)), zmm(b * 2 + w));
            }
        }
    }

    /** Adds the weights to the totals, position after position; only the first lane counts. */
    private void sumWeights() {
        for (int b = 0; b < queries; b++) {
            a.vmovss(xmm(b), at(STATS, TOTAL + b * Float.BYTES));
        }
        a.mov(FACTOR, WEIGHTS);
        a.mov(COUNT, POSITIONS);
        Label position = a.label();
        a.align(32);
        a.bind(position);
        for (int b = 0; b < queries; b++) {
            a.vaddps(xmm(b), xmm(b), at(FACTOR, b * WORD_BYTES));
        }
        a.add(FACTOR, Float.BYTES);
        a.dec(COUNT);
        a.jnz(position);
        for (int b = 0; b < queries; b++) {
            a.vmovss(at(STATS, TOTAL + b * Float.BYTES), xmm(b));
        }
    }

    /** Where a block's query begins in the matrix, from its first. */
    private int queryOffset(int b) {
        return (b / heads * allHeads + b % heads) * layout.headDim() * Float.BYTES;
    }

    private int sumOffset(int b, int word) {
        return (b * words + word) * WORD_BYTES;
    }

    /** From the tile's first byte, which is that of its scales where it has any. */
    private int keyOffset() {
        return Math.toIntExact(layout.keyTileOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    private int valueScalesOffset() {
        return Math.toIntExact(layout.valueScalesOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    /** Assembles the end: {@code out = sums / total} of queries that lie side by side in a row. */
    static byte[] assembleFinish(KvLayout layout) {
        Assembler a = new Assembler();
        int words = words(layout);
        a.mov(RAX, tailLanes(layout));
        a.kmovw(K4, RAX);
        Label query = a.label();
        a.bind(query);
        a.vbroadcastss(zmm(1), at(RSI));
        for (int word = 0; word < words; word++) {
            a.vmovups(zmm(0), at(RDI, word * WORD_BYTES));
            a.vdivps(zmm(0), zmm(0), zmm(1));
            a.vmovups(at(RDX, word * WORD_BYTES), word == words - 1 ? zmm(0).mask(K4) : zmm(0));
        }
        a.add(RDI, words * WORD_BYTES);
        a.add(RSI, Float.BYTES);
        a.add(RDX, layout.headDim() * Float.BYTES);
        a.dec(RCX);
        a.jnz(query);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** Assembles the beginning: sums become 0. */
    static byte[] assembleClear(KvLayout layout) {
        Assembler a = new Assembler();
        a.vpxord(zmm(0), zmm(0), zmm(0));
        Label query = a.label();
        a.bind(query);
        for (int word = 0; word < words(layout); word++) {
            a.vmovups(at(RDI, word * WORD_BYTES), zmm(0));
        }
        a.add(RDI, words(layout) * WORD_BYTES);
        a.dec(RSI);
        a.jnz(query);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }
}
