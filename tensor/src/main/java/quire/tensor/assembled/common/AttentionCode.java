package quire.tensor.assembled.common;

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
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.ValueLayout;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the code of attention: a block of queries against some tiles of 16 positions, as {@link Kernels#attend} defines it
 * to the last bit. A query is one head of one row; a block is {@code rows} rows × {@code heads} heads that share their KV
 * head, so each number of K and V is loaded and brought to f32 once for all of them.
 *
 * <pre>
 *   for each tile:
 *     s[b] = 0                                      lane = position
 *     for d:        s[b] = fma(K[d], q[b][d], s[b])      K[d] 16 positions, q broadcast from the matrix
 *     s[b] × scale (× K's scales), −∞ where b may not look
 *     m'[b] = max(m[b], s[b]);  p[b] = exp(s[b] − m'[b])           to memory
 *     c = exp(m − m');  l = l × c                   lane = query
 *     for 2 registers of o at a time:               lane = dimension
 *       o[b] = o[b] × c[b]
 *       for j:      o[b] = fma(V[j], p[b][j], o[b])       V[j] two registers, p broadcast from memory
 *     for j:        l[b] = l[b] + p[b][j]
 * </pre>
 *
 * <p>The instruction sets differ in the registers: a tile's scores are one of AVX-512 or two of AVX2, and so many queries
 * make a block that the registers are full. One writer writes one function.
 */
public abstract class AttentionCode {
    /** {@code (q, tiles, tile count, positions of the last tile, stats, sums, weights, lanes of the last tile, scale)}. */
    public static final FunctionDescriptor DESCRIPTOR = FunctionDescriptor.ofVoid(
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
    public static final FunctionDescriptor FINISH_DESCRIPTOR = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG);

    /** {@code (sums, queries)}. */
    public static final FunctionDescriptor CLEAR_DESCRIPTOR =
            FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG);

    /** Queries of a block in any instruction set. */
    public static final int MOST_QUERIES = 12;

    // Statistics of a block, 16 lanes each, lane = query.
    public static final int MAX = 0;
    public static final int TOTAL = 64;
    public static final int CORRECTION = 128;
    /** Room for the statistics of a block, and for words that begin at its last query. */
    public static final int STATS_BYTES = 256;

    /** A query's weights of a tile, or 16 of its sums. */
    public static final int WORD_BYTES = 64;
    /** Weights as they are summed, then as they weigh V: the same but for quantised pages. */
    public static final int VALUE_WEIGHTS = (MOST_QUERIES + 1) * WORD_BYTES;

    /** Room for the weights of a block, and for words that begin at the last of them. */
    public static final int WEIGHTS_BYTES = 2 * VALUE_WEIGHTS;

    public static final int TILE = KvLayout.TILE;

    protected static final Gp STATS = R8;
    protected static final Gp WEIGHTS = R10;
    protected static final Gp LAST_LANES = R13;
    /** The tile, and in it the positions that are seen. */
    protected static final Gp HERE = RAX;

    protected static final Gp POSITIONS = R12;
    protected static final Gp COUNT = RBX;
    private static final Gp Q = RDI;
    private static final Gp TILES = RSI;
    private static final Gp TILE_COUNT = RDX;
    private static final Gp LAST_POSITIONS = RCX;
    private static final Gp SUMS = R9;
    private static final Gp NEXT = R14;
    private static final Gp KV = R11;
    private static final Gp FACTOR = RBP;

    protected final Assembler a = new Assembler();
    protected final KvLayout layout;
    protected final int queries;
    /** Numbers in a register. */
    protected final int lanes;
    /** Registers that hold a head's numbers. */
    protected final int words;

    private final int allHeads;
    private final int heads;

    /**
     * Writes for a block.
     *
     * @param allHeads query heads of a row
     * @param rows rows of the block
     * @param heads heads of the block; {@code rows × heads} is at most {@link KernelWriter#mostQueries}
     * @param lanes numbers in a register
     */
    protected AttentionCode(KvLayout layout, int allHeads, int rows, int heads, int lanes) {
        this.layout = layout;
        this.allHeads = allHeads;
        this.heads = heads;
        this.lanes = lanes;
        queries = rows * heads;
        words = Math.ceilDiv(layout.headDim(), lanes);
    }

    /** Bytes of the sums of one query. */
    public static int sumBytes(KvLayout layout) {
        return Math.ceilDiv(layout.headDim(), TILE) * WORD_BYTES;
    }

    /** Keeps the scale, which comes in xmm0, and whatever else the whole function needs; what writes exponentials. */
    protected abstract ExponentialCode begin();

    /** Says which positions of a tile are seen: all, or {@link #POSITIONS} and {@link #LAST_LANES}. */
    protected abstract void see(boolean all);

    /** All scores become 0. */
    protected abstract void clearScores();

    /** Adds to every query's scores its product with the K of one dimension. */
    protected abstract void addKey(Mem key, int dimension);

    /** Scales the scores, which become weights in memory; maxima, corrections and corrected totals. */
    protected abstract void weigh(ExponentialCode exponential);

    /** Loads {@code count} registers of every query's sum, times its correction. */
    protected abstract void loadSums(int word, int count);

    /** Adds to {@code count} registers of every query's sum the V of one position with its weights. */
    protected abstract void addValue(int word, int count);

    /** A register by its number. */
    protected abstract Vec vec(int index);

    /** A register becomes 0. */
    protected abstract void clear(Vec register);

    /** Prepares {@link #storeTail}. */
    protected abstract void beginTail();

    /** Stores the lanes of a head's last register that belong to it. */
    protected abstract void storeTail(Mem to, Vec from);

    public final MachineCode assemble() {
        Gp[] saved = {RBX, RBP, R12, R13, R14};
        for (Gp register : saved) {
            a.push(register);
        }
        int stackArguments = Long.BYTES * (saved.length + 1);
        a.mov(WEIGHTS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + Long.BYTES));
        ExponentialCode exponential = begin();

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

    private void beginTile() {
        Label last = a.label();
        Label known = a.label();
        a.mov(HERE, at(TILES));
        a.add(TILES, Long.BYTES);
        a.cmp(TILE_COUNT, 1);
        a.jz(last);
        a.mov(NEXT, at(TILES));
        a.mov(POSITIONS, TILE);
        see(true);
        a.jmp(known);
        a.bind(last);
        a.mov(NEXT, HERE);
        a.mov(POSITIONS, LAST_POSITIONS);
        see(false);
        a.bind(known);
    }

    /** Scores of all queries. The lines of the next tile are asked for meanwhile. */
    private void scores() {
        clearScores();
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
            addKey(at(KV, u * keyBytes), u);
        }
        a.add(KV, unroll * keyBytes);
        a.add(NEXT, unroll * linesPerKey * WORD_BYTES);
        a.add(FACTOR, unroll * Float.BYTES);
        a.dec(COUNT);
        a.jnz(keys);
    }

    /** Corrects {@code count} registers of every query's sum and adds the tile's values. */
    private void sumValues(int word, int count) {
        loadSums(word, count);
        int bytes = layout.type().bytes();
        a.lea(KV, at(HERE, valueScalesOffset() + TILE * layout.type().scaleBytes() + word * lanes * bytes));
        a.lea(FACTOR, at(WEIGHTS, layout.type().isQuantized() ? VALUE_WEIGHTS : 0));
        a.mov(COUNT, POSITIONS);
        Label position = a.label();
        a.align(32);
        a.bind(position);
        addValue(word, count);
        a.add(KV, layout.headDim() * bytes);
        a.add(FACTOR, Float.BYTES);
        a.dec(COUNT);
        a.jnz(position);
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vmovups(sum(b, word + w), vec(b * 2 + w));
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

    /** A number of a block's query: of the dimension that {@link #addKey} is at, and {@code dimension} further. */
    protected final Mem query(int b, int dimension) {
        int head = b / heads * allHeads + b % heads;
        return at(FACTOR, (head * layout.headDim() + dimension) * Float.BYTES);
    }

    /** The weight of the position that {@link #addValue} is at. */
    protected final Mem weight(int b) {
        return at(FACTOR, b * WORD_BYTES);
    }

    /** A register of a query's sum. */
    protected final Mem sum(int b, int word) {
        return at(SUMS, b * sumBytes(layout) + word * lanes * Float.BYTES);
    }

    /** What {@link #addValue} multiplies, {@code numbers} further. */
    protected final Mem value(int numbers) {
        return at(KV, numbers * layout.type().bytes());
    }

    /** Numbers in the last of a head's registers. */
    protected final int tailLanes() {
        return layout.headDim() - (words - 1) * lanes;
    }

    /** From the tile's first byte, which is that of its scales where it has any. */
    private int keyOffset() {
        return Math.toIntExact(layout.keyTileOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    protected final int valueScalesOffset() {
        return Math.toIntExact(layout.valueScalesOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    /** Assembles the end: {@code out = sums / total} of queries that lie side by side in a row. */
    public final MachineCode assembleFinish() {
        beginTail();
        Label query = a.label();
        a.bind(query);
        a.vbroadcastss(vec(1), at(RSI));
        int registerBytes = lanes * Float.BYTES;
        for (int word = 0; word < words; word++) {
            a.vmovups(vec(0), at(RDI, word * registerBytes));
            a.vdivps(vec(0), vec(0), vec(1));
            if (word == words - 1) {
                storeTail(at(RDX, word * registerBytes), vec(0));
            } else {
                a.vmovups(at(RDX, word * registerBytes), vec(0));
            }
        }
        a.add(RDI, sumBytes(layout));
        a.add(RSI, Float.BYTES);
        a.add(RDX, layout.headDim() * Float.BYTES);
        a.dec(RCX);
        a.jnz(query);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** Assembles the beginning: sums become 0. */
    public final MachineCode assembleClear() {
        clear(vec(0));
        Label query = a.label();
        a.bind(query);
        for (int at = 0; at < sumBytes(layout); at += lanes * Float.BYTES) {
            a.vmovups(at(RDI, at), vec(0));
        }
        a.add(RDI, sumBytes(layout));
        a.dec(RSI);
        a.jnz(query);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }
}
