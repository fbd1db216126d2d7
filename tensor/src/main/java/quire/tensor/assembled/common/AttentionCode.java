package quire.tensor.assembled.common;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R12;
import static quire.tensor.x86.Gp.R13;
import static quire.tensor.x86.Gp.R14;
import static quire.tensor.x86.Gp.R15;
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

import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes an attention function: a block of queries against some tiles of 16 positions, equal to {@link Kernels#attend}
 * to the last bit. A query is one head of one row. A block is {@code rows} rows × {@code heads} heads that share their
 * KV head, so each number of K and V is loaded and converted to f32 once for all of them.
 *
 * <pre>
 *   for each tile:                                (the scores of two tiles together where queries are few)
 *     s[b] = 0                                      lane = position
 *     for d:        s[b] = fma(K[d], q[b][d], s[b])      K[d] 16 positions, q broadcast from the matrix
 *     s[b] × scale (× K's scales), the soft cap if there is one, −∞ where b does not see the position
 *     m'[b] = max(m[b], s[b]);  p[b] = exp(s[b] − m'[b])           to memory
 *     c = exp(m − m');  l = fma(l, c, Σ p)          lane = query
 *     for 2 registers of o at a time:               lane = dimension
 *       o[b] = o[b] × c[b]
 *       for j:      o[b] = fma(V[j], p[b][j], o[b])       V[j] two registers, p broadcast from memory
 * </pre>
 *
 * <p>With int8 pages, queries and weights are int8 too, and four products are added at once:
 *
 * <pre>
 *     for d in steps of 4:  s[b] = s[b] + K[d] · q[b][d]   K[d] 16 positions × 4 dimensions, 4 numbers of q broadcast
 *     p' = p × V's scales;  t = max p' / 127;  w = rint(p' / t)
 *     for 2 registers of o at a time:
 *       for j in steps of 4:  i[b] = i[b] + V[j] · w[b][j]
 *       o[b] = fma(i[b], t, o[b] × c[b])
 * </pre>
 *
 * <p>The instruction sets differ in their registers: a tile's scores need one register of AVX-512 or two of AVX2. A
 * block has as many queries as the registers allow. An object writes one function.
 */
public abstract class AttentionCode {
    /** Positions in a tile. */
    public static final int TILE = KvLayout.TILE;

    /** Maximum number of queries of a block in any instruction set. */
    public static final int MAX_QUERIES = 12;

    // Byte offsets in the statistics of a block; 16 lanes each, lane = query.

    /** The maximum of the scores, m. */
    public static final int MAX = 0;

    /** The sum of the exponentials, l. */
    public static final int TOTAL = 64;

    /** The factor of earlier sums, c. */
    public static final int CORRECTION = 128;

    /** The scale of a tile's integer weights, t. */
    protected static final int VALUE_SCALE = 192;

    /** Numbers that are needed only while weights are computed. */
    protected static final int TEMPORARY = 256;

    /** Size of the statistics of a block, and of a word that starts at its last query. */
    public static final int STATS_BYTES = 384;

    // The record of a query for int8 pages.

    /** Offset of the factor of the query's scores, f32. */
    public static final int QUERY_SCALE = 0;

    /** Offset of −128 × the sum of its numbers, int32, with which sums of products with K + 128 begin. */
    public static final int QUERY_START = 4;

    /** Offset of its numbers, int8. Behind them are zeros, as many as the layout's width has more than the head. */
    public static final int QUERY_NUMBERS = 8;

    /** Size of a query's weights for a tile, or of 16 of its sums, in bytes. */
    public static final int WORD_BYTES = 64;

    /** Offset of integer weights, which have 16 bytes for each query. */
    protected static final int INTEGER_WEIGHTS = (MAX_QUERIES + 1) * WORD_BYTES;

    /** Offset of a word for the instruction set. */
    protected static final int WEIGHTS_WORD = INTEGER_WEIGHTS + MAX_QUERIES * TILE;

    /** Size of the weights of a block. */
    public static final int WEIGHTS_BYTES = WEIGHTS_WORD + WORD_BYTES;

    private static final int LINE_BYTES = 64;

    /**
     * How many tiles before its use a tile is prefetched into the second-level cache. So many misses of the first level cannot
     * be under way at once that it could be filled as fast as memory is read.
     */
    public static final int TILES_AHEAD = 3;

    protected static final Gp STATS = R8;
    protected static final Gp WEIGHTS = R10;
    protected static final Gp LAST_LANES = R13;
    /** Address of the tile; {@link #POSITIONS} has the number of its positions that the block sees. */
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
    // While the scores of two tiles are computed.
    private static final Gp SECOND_KV = R15;
    private static final Gp SECOND_NEXT = POSITIONS;
    /** The address of the second of two tiles of int8. */
    protected static final Gp SECOND = SECOND_KV;
    /** The first register of the scores of the second of two tiles. Nothing else uses these registers then. */
    protected static final int SECOND_SCORES = 8;

    /** Receives the code. */
    protected final Assembler a = new Assembler();
    /** The layout of the pages. */
    protected final KvLayout layout;
    /** Number of queries of the block. */
    protected final int queries;
    /** Limit of the scores; 0 for none. */
    protected final float softCap;
    /** Floats in a register. */
    protected final int lanes;
    /** Number of registers that hold the numbers of a head. */
    protected final int words;

    /** Whether the products are those of integers. */
    protected final boolean quantized;

    private final int heads;
    /** Bytes from a query to the query of the next head, and to that of the next row. */
    private final int headBytes;

    private final int rowBytes;

    /**
     * Creates a writer for one block size.
     *
     * @param allHeads query heads of a row
     * @param rows rows of the block
     * @param heads heads of the block; {@code rows × heads} is at most {@link KernelWriter#maxQueries}
     * @param softCap limit of the scores; 0 for none
     * @param lanes floats in a register
     */
    protected AttentionCode(KvLayout layout, int allHeads, int rows, int heads, float softCap, int lanes) {
        this.layout = layout;
        this.heads = heads;
        quantized = layout.type().isQuantized();
        headBytes = quantized ? recordBytes(layout) : layout.headDim() * Float.BYTES;
        rowBytes = (quantized ? allHeads / layout.kvHeads() : allHeads) * headBytes;
        this.softCap = softCap;
        this.lanes = lanes;
        queries = rows * heads;
        words = Math.ceilDiv(layout.headDim(), lanes);
    }

    /** Size of the sums of one query in bytes. */
    public static int sumBytes(KvLayout layout) {
        return Math.ceilDiv(layout.headDim(), TILE) * WORD_BYTES;
    }

    /** Size of the record of a query for int8 pages. Records of the query heads that share a KV head follow each other. */
    public static int recordBytes(KvLayout layout) {
        return QUERY_NUMBERS + layout.width();
    }

    /**
     * Saves the scale, which is in xmm0, and loads the constants of the function. Returns the writer of exponentials.
     */
    protected abstract ExponentialCode begin();

    /**
     * Selects the positions of a tile that the block sees: all of them, or {@link #POSITIONS} and {@link #LAST_LANES}.
     */
    protected abstract void selectPositions(boolean all);

    /**
     * Whether the scores of two tiles are computed together where there are two. With few queries, those of one are too few
     * chains of multiply-adds for the processor. Registers from {@link #SECOND_SCORES} on must be free then.
     */
    protected abstract boolean pairs();

    /** Prepares the scores for their sums; the first is in register {@code first}. */
    protected abstract void clearScores(int first);

    /** Adds the products of one dimension of K and q, or of four of int8, to the scores of every query. */
    protected abstract void addKey(int first, Mem key, int step);

    /**
     * Turns the scores into weights, in memory, and updates maximums, corrections and totals.
     *
     * @param two whether the scores are those of two tiles of int8, which are at {@link #HERE} and {@link #SECOND}
     */
    protected abstract void weigh(ExponentialCode exponential, boolean two);

    /** Loads {@code count} registers of every query's sum and multiplies them by its correction. */
    protected abstract void loadSums(int word, int count);

    /** Adds the V of one position, times its weights, to {@code count} registers of every query's sum. */
    protected abstract void addValue(int word, int count);

    /**
     * Corrects {@code count} registers of every query's sum, from {@link #integerSum} on, and adds the products of int8 of one
     * tile, or of two.
     */
    protected abstract void addIntegers(int count, boolean two);

    /** The register with this number. */
    protected abstract Vec vec(int index);

    /** Sets a register to 0. */
    protected abstract void clear(Vec register);

    /** Prepares {@link #storeTail}. */
    protected abstract void beginTail();

    /** Stores the lanes of a head's last register that belong to the head. */
    protected abstract void storeTail(Mem to, Vec from);

    /**
     * The function that adds some tiles to the maximums, totals and sums of a block. Its arguments are {@code (q, tiles, tile
     * count, positions of the last tile, stats, sums, weights, lanes of the last tile, scale)}; the scale is a float. The lanes
     * may leave out positions before a window too. Behind the tiles are the addresses of {@link #TILES_AHEAD} more, which are
     * only prefetched.
     */
    public final MachineCode assemble() {
        Gp[] saved = {RBX, RBP, R12, R13, R14, R15};
        for (Gp register : saved) {
            a.push(register);
        }
        int stackArguments = Long.BYTES * (saved.length + 1);
        a.mov(WEIGHTS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + Long.BYTES));
        a.vmovss(xmm(0), at(RSP, stackArguments + 2 * Long.BYTES));
        ExponentialCode exponential = begin();

        Label tile = a.label();
        Label one = a.label();
        Label rest = a.label();
        Label end = a.label();
        a.align(32);
        a.bind(tile);
        if (pairs()) {
            a.cmp(TILE_COUNT, 1);
            a.jz(one);
            scoresOfTwo();
            beginTile(0);
            if (quantized) {
                a.mov(SECOND, at(TILES));
                a.add(TILES, Long.BYTES);
                selectPositions(2);
                addTwoTiles(exponential);
                a.jnz(tile);
                a.jmp(end);
            } else {
                a.mov(POSITIONS, TILE);
                selectPositions(true);
                addTile(exponential);
                for (int b = 0; b < queries; b++) {
                    a.vmovups(vec(b), vec(SECOND_SCORES + b));
                }
                beginTile(0);
                selectPositions(1);
                a.jmp(rest);
            }
            a.bind(one);
        }
        beginTile(TILES_AHEAD);
        selectPositions(1);
        scores();
        a.bind(rest);
        addTile(exponential);
        a.jnz(tile);
        a.bind(end);

        a.vzeroupper();
        for (int i = saved.length - 1; i >= 0; i--) {
            a.pop(saved[i]);
        }
        a.ret();
        return a.finish();
    }

    /** Takes the address of the next tile, and of the one that is {@code ahead} of it if that is not 0. */
    private void beginTile(int ahead) {
        a.mov(HERE, at(TILES));
        if (ahead > 0) {
            a.mov(NEXT, at(TILES, ahead * Long.BYTES));
        }
        a.add(TILES, Long.BYTES);
    }

    /** Selects the positions of the last of the {@code tiles} tiles that were begun. */
    private void selectPositions(int tiles) {
        Label last = a.label();
        Label known = a.label();
        a.cmp(TILE_COUNT, tiles);
        a.jz(last);
        a.mov(POSITIONS, TILE);
        selectPositions(true);
        a.jmp(known);
        a.bind(last);
        a.mov(POSITIONS, LAST_POSITIONS);
        selectPositions(false);
        a.bind(known);
    }

    /** Adds the values of a tile, whose scores are known; the last instruction counts it. */
    private void addTile(ExponentialCode exponential) {
        weigh(exponential, false);
        if (quantized) {
            sumIntegers(false);
        } else {
            for (int word = 0; word < words; word += 2) {
                sumValues(word, Math.min(2, words - word));
            }
        }
        a.dec(TILE_COUNT);
    }

    /** The same for two tiles of int8, of which only the second may have positions that the block does not see. */
    private void addTwoTiles(ExponentialCode exponential) {
        weigh(exponential, true);
        sumIntegers(true);
        a.sub(TILE_COUNT, 2);
    }

    /** Computes the scores of all queries and prefetches a later tile. */
    private void scores() {
        clearScores(0);
        a.lea(KV, at(HERE, keyOffset()));
        scores(new Gp[] {KV}, new Gp[] {NEXT});
    }

    /** The same for two tiles and the two after these; those of the second tile come into other registers. */
    private void scoresOfTwo() {
        clearScores(0);
        clearScores(SECOND_SCORES);
        a.mov(KV, at(TILES));
        a.mov(SECOND_KV, at(TILES, Long.BYTES));
        a.add(KV, keyOffset());
        a.add(SECOND_KV, keyOffset());
        a.mov(NEXT, at(TILES, TILES_AHEAD * Long.BYTES));
        a.mov(SECOND_NEXT, at(TILES, (TILES_AHEAD + 1) * Long.BYTES));
        scores(new Gp[] {KV, SECOND_KV}, new Gp[] {NEXT, SECOND_NEXT});
    }

    private void scores(Gp[] keys, Gp[] next) {
        int steps = quantized ? layout.width() / KvLayout.SIDE_BY_SIDE : layout.headDim();
        int unroll = steps % 4 == 0 ? 4 : steps % 2 == 0 ? 2 : 1;
        int keyBytes = TILE * layout.width() / steps * layout.type().bytes();
        int ahead = 2 * keyBytes; // K and V of a tile are as long as twice K
        int keysAndValues = steps * ahead;
        for (Gp tile : next) {
            for (int at = keysAndValues;
                    at < keysAndValues + 2 * TILE * layout.type().scaleBytes();
                    at += LINE_BYTES) {
                a.prefetcht1(at(tile, at)); // what the loop leaves, because scales are in between
            }
        }
        a.mov(FACTOR, Q);
        a.mov(COUNT, steps / unroll);
        Label dimensions = a.label();
        a.align(32);
        a.bind(dimensions);
        for (int u = 0; u < unroll; u++) {
            for (Gp tile : next) {
                for (int at = Math.ceilDiv(u * ahead, LINE_BYTES) * LINE_BYTES;
                        at < (u + 1) * ahead;
                        at += LINE_BYTES) {
                    a.prefetcht1(at(tile, at));
                }
            }
            for (int t = 0; t < keys.length; t++) {
                addKey(t * SECOND_SCORES, at(keys[t], u * keyBytes), u);
            }
        }
        for (int t = 0; t < keys.length; t++) {
            a.add(keys[t], unroll * keyBytes);
            a.add(next[t], unroll * ahead);
        }
        a.add(FACTOR, unroll * Float.BYTES);
        a.dec(COUNT);
        a.jnz(dimensions);
    }

    /** Corrects {@code count} registers of every query's sum and adds the tile's values to them. */
    private void sumValues(int word, int count) {
        loadSums(word, count);
        int bytes = layout.type().bytes();
        a.lea(KV, at(HERE, valueOffset() + word * lanes * bytes));
        a.mov(FACTOR, WEIGHTS);
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

    /** Corrects every query's sums and adds the tile's values to them, in integers. */
    private void sumIntegers(boolean two) {
        a.lea(KV, at(HERE, valueOffset()));
        if (two) {
            a.lea(SECOND, at(SECOND, valueOffset()));
        }
        a.mov(FACTOR, SUMS);
        // of a register of sums, and of the numbers of its dimensions, which are side by side
        int bytes = lanes * Float.BYTES;
        if (words > 1) {
            Label pair = a.label();
            a.mov(COUNT, words / 2);
            a.align(32);
            a.bind(pair);
            addIntegers(2, two);
            a.add(KV, 2 * bytes);
            if (two) {
                a.add(SECOND, 2 * bytes);
            }
            a.add(FACTOR, 2 * bytes);
            a.dec(COUNT);
            a.jnz(pair);
        }
        if (words % 2 == 1) {
            addIntegers(1, two);
        }
    }

    /** The number of query b, or four of int8, {@code step} steps after the current step of {@link #addKey}. */
    protected final Mem query(int b, int step) {
        return at(FACTOR, queryOffset(b) + (quantized ? QUERY_NUMBERS : 0) + step * Float.BYTES);
    }

    /** A number of the record of query b. */
    protected final Mem queryRecord(int b, int offset) {
        return at(Q, queryOffset(b) + offset);
    }

    private int queryOffset(int b) {
        return b / heads * rowBytes + b % heads * headBytes;
    }

    /** The V of four positions of {@link #addIntegers}. */
    protected final Mem integerValue(int tile, int word, int four) {
        return at(
                tile == 0 ? KV : SECOND,
                four * layout.width() * KvLayout.SIDE_BY_SIDE + word * lanes * KvLayout.SIDE_BY_SIDE);
    }

    /** One register of the sum of query b in {@link #addIntegers}. */
    protected final Mem integerSum(int b, int word) {
        return at(FACTOR, b * sumBytes(layout) + word * lanes * Float.BYTES);
    }

    /** The weight of query b for the current position of {@link #addValue}. */
    protected final Mem weight(int b) {
        return at(FACTOR, b * WORD_BYTES);
    }

    /** One register of the sum of query b. */
    protected final Mem sum(int b, int word) {
        return at(SUMS, b * sumBytes(layout) + word * lanes * Float.BYTES);
    }

    /** The V of the current position of {@link #addValue}, {@code numbers} further. */
    protected final Mem value(int numbers) {
        return at(KV, numbers * layout.type().bytes());
    }

    /** Number of lanes of a head's last register that belong to the head. */
    protected final int tailLanes() {
        return layout.headDim() - (words - 1) * lanes;
    }

    /** Offset of K from the start of the tile, which has its scales first if there are any. */
    private int keyOffset() {
        return Math.toIntExact(layout.keyTileOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    /** Offset of V from the start of the tile. */
    private int valueOffset() {
        return Math.toIntExact(layout.valueTileOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    /** Offset of V's scales from the start of the tile. */
    protected final int valueScalesOffset() {
        return Math.toIntExact(layout.valueScalesOffset(0, 0) - layout.keyScalesOffset(0, 0));
    }

    /**
     * The function for {@code out = sums / total} of adjacent queries of a row. Its arguments are {@code (sums, totals, out,
     * queries)}.
     */
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

    /**
     * The function for {@code sums = next sums × second factor + sums × first factor}, with a pair of factors for each query.
     * Its arguments are {@code (sums, sums of the next segment, pairs of factors, queries)}.
     */
    public final MachineCode assembleMerge() {
        Label query = a.label();
        a.bind(query);
        a.vbroadcastss(vec(1), at(RDX));
        a.vbroadcastss(vec(2), at(RDX, Float.BYTES));
        for (int at = 0; at < sumBytes(layout); at += lanes * Float.BYTES) {
            a.vmulps(vec(0), vec(1), at(RDI, at));
            a.vfmadd231ps(vec(0), vec(2), at(RSI, at));
            a.vmovups(at(RDI, at), vec(0));
        }
        a.add(RDI, sumBytes(layout));
        a.add(RSI, sumBytes(layout));
        a.add(RDX, 2 * Float.BYTES);
        a.dec(RCX);
        a.jnz(query);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** The function that sets sums to 0; its arguments are {@code (sums, queries)}. */
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
