package quire.tensor.assembled;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.assembled.avx2.Avx2StoreCode;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.scalar.FloatMath;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCall;

/**
 * Attention with the functions of {@link AttentionCode}, and the working memory of one worker. The queries of a call
 * (rows × the query heads of the KV head) are divided into blocks. All blocks take a segment ({@link
 * KvLayout#SEGMENT}) before the next one, and its results are added to those of the segments before:
 *
 * <pre>
 *   group of 4 heads: a block is 3 rows × 4 heads         group of 16: 1 row × 12 heads, 1 row × 4 heads
 *
 *   tiles      0   1   2   3   4
 *   row p      ■■■■■■■■■■■■■■□            the tiles that all rows see completely: one call for the block;
 *   row p + 1  ■■■■■■■■■■■■■■■□           then one call for the other tiles of each row
 *   row p + 2  ■■■■■■■■■■■■■■■■ ■
 * </pre>
 */
final class AssembledAttention implements Kernels.AttentionScratch {
    /** Maximum number of rows of one call. */
    static final int ROWS = 48;

    private static final int TILE = KvLayout.TILE;
    private static final int ALL_LANES = 0xFFFF;
    /**
     * Tiles of one native call: a segment. The garbage collector has to wait for a call, so it should take only some tens of
     * microseconds.
     */
    private static final int CHUNK = KvLayout.SEGMENT / TILE;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;

    private final Code code;
    private final KvLayout layout;
    private final int heads;
    private final int group;
    private final float softCap;
    /** Size of the sums of one query in bytes. */
    private final int sumBytes;
    /** The addresses of a chunk's tiles, and of the tiles after them that are prefetched. */
    private final MemorySegment tiles;

    /** The function that quantises queries, and the queries of a call as integers; empty unless pages are. */
    private final MemorySegment quantize;

    private final MemorySegment integerQueries;
    /** Bytes from the query of a head to that of the next one, and from a row to the next one. */
    private final long queryBytes;

    private final long queryRowBytes;

    private final MemorySegment weights;
    private final MemorySegment stats;
    private final MemorySegment sums;

    // Results of the segments before, by row and head.
    private final MemorySegment merged;
    private final MemorySegment mergedTotals;
    private final float[] mergedMax;
    /** Two factors of each head of a row. */
    private final MemorySegment factors;

    /** The functions for one layout and number of heads, shared by all workers. */
    private static final class Code {
        final int blockRows;
        final int blockHeads;
        /** {@code [rows − 1][0: blockHeads heads, 1: the remaining heads]}. */
        final MemorySegment[][] attend;

        final MemorySegment finish;
        final MemorySegment merge;
        final MemorySegment clear;

        Code(KernelWriter writer, KvLayout layout, int heads, float softCap, CodeMemory memory) {
            int group = heads / layout.kvHeads();
            int most = writer.maxQueries();
            // all blocks get about the same number of heads; with several blocks for a row, each block has one row
            blockHeads = Math.ceilDiv(group, Math.ceilDiv(group, most));
            blockRows = most / blockHeads;
            int rest = group % blockHeads;
            String name = "attend-" + layout.type().name().toLowerCase(Locale.ROOT) + "-" + heads + "-of-"
                    + layout.headDim() + "-over-" + layout.kvHeads() + (softCap > 0 ? "-cap-" + softCap : "");
            attend = new MemorySegment[blockRows][2];
            for (int rows = 1; rows <= blockRows; rows++) {
                attend[rows - 1][0] = memory.install(
                        name + "-x" + rows,
                        writer.attention(layout, heads, rows, blockHeads, softCap)
                                .assemble());
                attend[rows - 1][1] = rest == 0
                        ? attend[rows - 1][0]
                        : memory.install(
                                name + "-x" + rows + "-rest",
                                writer.attention(layout, heads, rows, rest, softCap)
                                        .assemble());
            }
            finish = memory.install(
                    name + "-finish", writer.attention(layout, heads, 1, 1, 0).assembleFinish());
            merge = memory.install(
                    name + "-merge", writer.attention(layout, heads, 1, 1, 0).assembleMerge());
            clear = memory.install(
                    name + "-clear", writer.attention(layout, heads, 1, 1, 0).assembleClear());
        }
    }

    /** Allocates working memory. Functions are assembled once for each layout. */
    static final class Factory {
        private final KernelWriter writer;
        private final CodeMemory memory;
        private final MemorySegment quantize;
        private final Map<String, Code> shapeToCode = new HashMap<>();

        Factory(KernelWriter writer, CodeMemory memory) {
            this.writer = writer;
            this.memory = memory;
            quantize = memory.install("quantize-queries", Avx2StoreCode.assembleQueries());
        }

        AssembledAttention create(KvLayout layout, int heads, float softCap, Arena arena) {
            return new AssembledAttention(code(layout, heads, softCap), quantize, layout, heads, softCap, arena);
        }

        private Code code(KvLayout layout, int heads, float softCap) {
            synchronized (shapeToCode) {
                // the page size is not part of the key, because a tile is the same in pages of every size
                String shape =
                        layout.type() + " " + layout.headDim() + " " + layout.kvHeads() + " " + heads + " " + softCap;
                return shapeToCode.computeIfAbsent(shape, s -> new Code(writer, layout, heads, softCap, memory));
            }
        }

        /**
         * Assembles examples, so that the code can be listed without a model: 4 heads of 64 or 128 numbers that share a
         * KV head.
         */
        void assembleExamples() {
            for (KvLayout.KvType type : KvLayout.KvType.values()) {
                for (int headDim : new int[] {64, 128}) {
                    code(new KvLayout(type, TILE, 1, headDim), 4, 0);
                }
            }
        }
    }

    private AssembledAttention(
            Code code, MemorySegment quantize, KvLayout layout, int heads, float softCap, Arena arena) {
        this.code = code;
        this.quantize = quantize;
        this.layout = layout;
        this.heads = heads;
        this.softCap = softCap;
        group = heads / layout.kvHeads();
        sumBytes = AttentionCode.sumBytes(layout);
        int headBlocks = Math.ceilDiv(group, code.blockHeads);
        int blocks = Math.ceilDiv(ROWS, code.blockRows) * headBlocks;
        tiles = arena.allocate((long) (CHUNK + AttentionCode.TILES_AHEAD) * Long.BYTES, 64);
        boolean quantized = layout.type().isQuantized();
        queryBytes = quantized ? AttentionCode.recordBytes(layout) : (long) layout.headDim() * Float.BYTES;
        queryRowBytes = queryBytes * (quantized ? group : heads);
        integerQueries = arena.allocate(quantized ? ROWS * queryRowBytes : 0, 64);
        weights = arena.allocate(AttentionCode.WEIGHTS_BYTES, 64);
        stats = arena.allocate((long) blocks * AttentionCode.STATS_BYTES, 64);
        sums = arena.allocate((long) (ROWS + code.blockRows) * group * sumBytes, 64);
        merged = arena.allocate((long) ROWS * group * sumBytes, 64);
        mergedTotals = arena.allocate((long) ROWS * group * Float.BYTES, 64);
        mergedMax = new float[ROWS * group];
        factors = arena.allocate(2L * group * Float.BYTES, 64);
    }

    int heads() {
        return heads;
    }

    @Override
    public long byteSize() {
        return tiles.byteSize()
                + integerQueries.byteSize()
                + weights.byteSize()
                + stats.byteSize()
                + sums.byteSize()
                + merged.byteSize()
                + 2 * mergedTotals.byteSize()
                + factors.byteSize();
    }

    void attend(AttentionCall call) {
        check(call);
        quantizeQueries(call);
        int rowCount = call.rowCount();
        int first = call.firstSegment(call.firstPosition());
        int last = (call.firstPosition() + rowCount - 1) / KvLayout.SEGMENT;
        for (int segment = first; segment <= last; segment++) {
            computeSegment(call, segment);
            if (last > first) {
                mergeRows(call, segment);
            }
        }
        FloatMatrix out = call.out();
        long target = Addresses.of(out)
                + out.rowOffset(call.firstRow())
                + (long) call.kvHead() * group * layout.headDim() * Float.BYTES;
        for (int row = 0; row < rowCount; row++) {
            long rowTarget = target + row * (long) heads * layout.headDim() * Float.BYTES;
            if (last > first) {
                finish(merged.address() + sumsAt(row, 0), totalAt(row), group, rowTarget);
            } else {
                finish(row, rowTarget);
            }
        }
    }

    void attendSegment(AttentionCall call, int segment, FloatMatrix partials, int at) {
        check(call);
        quantizeQueries(call);
        computeSegment(call, segment);
        int headDim = layout.headDim();
        for (int i = 0; i < call.rowCount() * group; i++) {
            long to = partials.rowOffset(at + i);
            MemorySegment.copy(
                    sums, sumsAt(i / group, i % group), partials.segment(), to, (long) headDim * Float.BYTES);
            partials.set(at + i, headDim, stat(AttentionCode.MAX, i / group, i % group));
            partials.set(at + i, headDim + 1, stat(AttentionCode.TOTAL, i / group, i % group));
        }
    }

    private void check(AttentionCall call) {
        KvLayout from = call.layout();
        if (from.type() != layout.type()
                || from.headDim() != layout.headDim()
                || from.kvHeads() != layout.kvHeads()
                || call.softCap() != softCap
                || !call.pages().isNative()) {
            throw new IllegalArgumentException("this working memory was made for " + layout + " and a soft cap of "
                    + softCap + ", not for " + from + " and " + call.softCap());
        }
    }

    private void quantizeQueries(AttentionCall call) {
        if (!layout.type().isQuantized()) {
            return;
        }
        for (int row = 0; row < call.rowCount(); row++) {
            long from = floatQueries(call, row);
            long to = Addresses.of(integerQueries) + row * queryRowBytes;
            MachineCall.call(
                    quantize,
                    from,
                    to,
                    (long) group,
                    (long) layout.headDim(),
                    queryBytes,
                    MachineCall.bits(call.scale()));
        }
    }

    /** The address of the queries of a row. */
    private long floatQueries(AttentionCall call, int row) {
        return Addresses.of(call.q())
                + call.q().rowOffset(call.firstRow() + row)
                + (long) call.kvHead() * group * layout.headDim() * Float.BYTES;
    }

    /** Computes sums, maximums and totals of the queries for the positions of one segment. */
    private void computeSegment(AttentionCall call, int segment) {
        int rowCount = call.rowCount();
        int firstPosition = call.firstPosition();
        long q = layout.type().isQuantized() ? Addresses.of(integerQueries) : floatQueries(call, 0);
        clear(call, segment);
        int tileCount = (firstPosition + rowCount - 1) / TILE + 1;
        int first = Math.max(call.firstSeen(firstPosition) / TILE, segment * CHUNK);
        int end = Math.min(tileCount, (segment + 1) * CHUNK);
        findTiles(call, first, end, tileCount);
        for (int row = 0; row < rowCount; row += code.blockRows) {
            int rows = Math.min(code.blockRows, rowCount - row);
            attendBlocks(call, q + row * queryRowBytes, row, rows, first, end);
        }
    }

    /** Adds the results of a segment to those of the segments before. */
    private void mergeRows(AttentionCall call, int segment) {
        for (int row = 0; row < call.rowCount(); row++) {
            int position = call.firstPosition() + row;
            int first = call.firstSegment(position);
            if (segment < first || segment > position / KvLayout.SEGMENT) {
                continue;
            }
            for (int head = 0; head < group; head++) {
                int query = row * group + head;
                float max = stat(AttentionCode.MAX, row, head);
                float total = stat(AttentionCode.TOTAL, row, head);
                if (segment > first) {
                    float m = Math.max(mergedMax[query], max);
                    float c1 = FloatMath.exp(mergedMax[query] - m);
                    float c2 = FloatMath.exp(max - m);
                    total = Math.fma(total, c2, mergedTotals.getAtIndex(FLOAT, query) * c1);
                    max = m;
                    factors.setAtIndex(FLOAT, 2L * head, c1);
                    factors.setAtIndex(FLOAT, 2L * head + 1, c2);
                }
                mergedMax[query] = max;
                mergedTotals.setAtIndex(FLOAT, query, total);
            }
            if (segment == first) {
                MemorySegment.copy(sums, sumsAt(row, 0), merged, sumsAt(row, 0), (long) group * sumBytes);
            } else {
                merge(row);
            }
        }
    }

    private void merge(int row) {
        MachineCall.call(
                code.merge,
                merged.address() + sumsAt(row, 0),
                sums.address() + sumsAt(row, 0),
                factors.address(),
                (long) group);
    }

    /** The maximum or the total of a query for the segment that was computed last. */
    private float stat(int which, int row, int head) {
        int blockRow = row / code.blockRows * code.blockRows;
        int blockHead = head / code.blockHeads * code.blockHeads;
        int blockHeads = Math.min(code.blockHeads, group - blockHead);
        int query = (row - blockRow) * blockHeads + head - blockHead;
        return stats.get(FLOAT, statsAt(row, head) + which + query * (long) Float.BYTES);
    }

    private long totalAt(int row) {
        return mergedTotals.address() + row * (long) group * Float.BYTES;
    }

    /**
     * Sets sums and totals to 0 and maximums to −∞, or, in the first segment of a row, to those of the sinks. Throws if the working memory is closed;
     * all of it is in one arena.
     */
    private void clear(AttentionCall call, int segment) {
        int rowCount = call.rowCount();
        int firstHead = call.kvHead() * group;
        for (int row = 0; row < rowCount; row += code.blockRows) {
            for (int head = 0; head < group; head += code.blockHeads) {
                long block = statsAt(row, head);
                int blockHeads = Math.min(code.blockHeads, group - head);
                for (int i = 0; i < AttentionCode.MAX_QUERIES; i++) {
                    FloatMatrix sinks = call.sinks(segment, call.firstPosition() + row + i / blockHeads);
                    float max =
                            sinks == null ? Float.NEGATIVE_INFINITY : sinks.get(0, firstHead + head + i % blockHeads);
                    stats.set(FLOAT, block + AttentionCode.MAX + i * (long) Float.BYTES, max);
                    stats.set(FLOAT, block + AttentionCode.TOTAL + i * (long) Float.BYTES, sinks == null ? 0f : 1f);
                }
            }
        }
        MachineCall.call(code.clear, sums.address(), (long) rowCount * group);
    }

    /**
     * Computes the addresses of tiles {@code [first, end)}, and of those that are prefetched meanwhile, and checks that they
     * are inside of the pages.
     */
    private void findTiles(AttentionCall call, int first, int end, int tileCount) {
        KvLayout from = call.layout();
        MemorySegment pages = call.pages();
        int[] pageTable = call.pageTable();
        int kvHead = call.kvHead();
        long pageBytes = from.pageBytes();
        long pageCount = pages.byteSize() / pageBytes;
        long address = Addresses.of(pages);
        for (int i = 0; i < end - first + AttentionCode.TILES_AHEAD; i++) {
            int position = Math.min(first + i, tileCount - 1) * TILE;
            int page = pageTable[position / from.pageTokens()];
            if (page < 0 || page >= pageCount) {
                throw new IllegalArgumentException("page " + page + " is not one of the " + pageCount + " pages");
            }
            long at = page * pageBytes + from.keyScalesOffset(position % from.pageTokens(), kvHead);
            tiles.set(LONG, i * (long) Long.BYTES, address + at);
        }
    }

    /**
     * Computes some rows, all heads of the group, for tiles {@code [first, end)}: first, for each row, its tiles before
     * the tiles that all rows see completely; then those tiles, in one call; then, for each row, its other tiles.
     */
    private void attendBlocks(AttentionCall call, long q, int row, int rows, int first, int end) {
        float scale = call.scale();
        int position = call.firstPosition() + row;
        int start = Math.max(first, (call.firstSeen(position + rows - 1) + TILE - 1) / TILE);
        int whole = Math.max(start, Math.min(end, (position + 1) / TILE));
        for (int head = 0; head < group; head += code.blockHeads) {
            int kind = group - head >= code.blockHeads ? 0 : 1;
            for (int i = 0; i < rows; i++) {
                attendRow(call, q, row, head, kind, i, first, first, Math.min(start, end));
            }
            if (end > start && whole > start) {
                attend(code.attend[rows - 1][kind], q, row, head, 0, first, start, whole, TILE, ALL_LANES, scale);
            }
            for (int i = 0; i < rows; i++) {
                attendRow(call, q, row, head, kind, i, first, whole, end);
            }
        }
    }

    /** Computes row {@code i} of a block, for those of the tiles {@code [from, to)} that it sees. */
    private void attendRow(
            AttentionCall call, long q, int row, int head, int kind, int i, int chunk, int from, int to) {
        int position = call.firstPosition() + row + i;
        int seen = call.firstSeen(position);
        int own = position / TILE + 1;
        int at = Math.max(from, seen / TILE);
        int end = Math.min(to, own);
        if (at < end && at * TILE < seen) {
            int last = at == own - 1 ? position % TILE + 1 : TILE;
            int lanes = ALL_LANES >>> (TILE - last) & ALL_LANES << seen % TILE;
            attend(code.attend[0][kind], q, row, head, i, chunk, at, at + 1, last, lanes, call.scale());
            at++;
        }
        if (at < end) {
            int last = end == own ? position % TILE + 1 : TILE;
            int lanes = ALL_LANES >>> (TILE - last);
            attend(code.attend[0][kind], q, row, head, i, chunk, at, end, last, lanes, call.scale());
        }
    }

    /**
     * Calls a function for the block that starts at {@code row} and {@code head}, from row {@code i} of the block on.
     */
    private void attend(
            MemorySegment function,
            long q,
            int row,
            int head,
            int i,
            int chunk,
            int from,
            int to,
            int lastPositions,
            int lastLanes,
            float scale) {
        int blockHeads = Math.min(code.blockHeads, group - head);
        int query = i * blockHeads;
        MachineCall.call(
                function,
                q + i * queryRowBytes + head * queryBytes,
                tiles.address() + (from - chunk) * (long) Long.BYTES,
                (long) (to - from),
                (long) lastPositions,
                stats.address() + statsAt(row, head) + query * (long) Float.BYTES,
                sums.address() + sumsAt(row, head) + query * (long) sumBytes,
                weights.address(),
                (long) lastLanes,
                MachineCall.bits(scale));
    }

    private void finish(int row, long target) {
        int blockRow = row / code.blockRows * code.blockRows;
        for (int head = 0; head < group; head += code.blockHeads) {
            int blockHeads = Math.min(code.blockHeads, group - head);
            int query = (row - blockRow) * blockHeads;
            finish(
                    sums.address() + sumsAt(blockRow, head) + query * (long) sumBytes,
                    stats.address() + statsAt(blockRow, head) + AttentionCode.TOTAL + query * (long) Float.BYTES,
                    blockHeads,
                    target + head * (long) layout.headDim() * Float.BYTES);
        }
    }

    private void finish(long querySums, long totals, int queries, long target) {
        MachineCall.call(code.finish, querySums, totals, target, (long) queries);
    }

    private long statsAt(int row, int head) {
        int headBlocks = (group + code.blockHeads - 1) / code.blockHeads;
        return ((long) row / code.blockRows * headBlocks + head / code.blockHeads) * AttentionCode.STATS_BYTES;
    }

    /** The sums of blocks follow each other without gaps. If a row has several blocks, each block has one row. */
    private long sumsAt(int row, int head) {
        return ((long) row * group + head) * sumBytes;
    }
}
