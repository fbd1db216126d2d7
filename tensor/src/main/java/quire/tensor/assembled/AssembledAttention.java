package quire.tensor.assembled;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.x86.CodeMemory;

/**
 * Attention with the functions of {@link AttentionCode}, and the working memory of one worker. The queries of a call
 * (rows × the query heads of the KV head) are divided into blocks. Tiles are processed in chunks: all blocks take a
 * chunk before the next chunk:
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
     * Tiles of one native call. The garbage collector has to wait for a call, so it should take only some tens of
     * microseconds.
     */
    private static final int CHUNK = 32;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;

    private static final MethodHandle ATTEND = handle(AttentionCode.DESCRIPTOR);
    private static final MethodHandle FINISH = handle(AttentionCode.FINISH_DESCRIPTOR);
    private static final MethodHandle CLEAR = handle(AttentionCode.CLEAR_DESCRIPTOR);

    private final Code code;
    private final KvLayout layout;
    private final int heads;
    private final int group;
    private final float softCap;
    /** Size of the sums of one query in bytes. */
    private final int sumBytes;
    /** The addresses of a chunk's tiles. */
    private final MemorySegment tiles;

    private final MemorySegment weights;
    private final MemorySegment stats;
    private final MemorySegment sums;

    private static MethodHandle handle(FunctionDescriptor descriptor) {
        return Linker.nativeLinker().downcallHandle(descriptor, Linker.Option.critical(false));
    }

    /** The functions for one layout and number of heads, shared by all workers. */
    private static final class Code {
        final int blockRows;
        final int blockHeads;
        /** {@code [rows − 1][0: blockHeads heads, 1: the remaining heads]}. */
        final MemorySegment[][] attend;

        final MemorySegment finish;
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
            clear = memory.install(
                    name + "-clear", writer.attention(layout, heads, 1, 1, 0).assembleClear());
        }
    }

    /** Allocates working memory. Functions are assembled once for each layout. */
    static final class Factory {
        private final KernelWriter writer;
        private final CodeMemory memory;
        private final Map<String, Code> shapeToCode = new HashMap<>();

        Factory(KernelWriter writer, CodeMemory memory) {
            this.writer = writer;
            this.memory = memory;
        }

        AssembledAttention create(KvLayout layout, int heads, float softCap, Arena arena) {
            return new AssembledAttention(code(layout, heads, softCap), layout, heads, softCap, arena);
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

    private AssembledAttention(Code code, KvLayout layout, int heads, float softCap, Arena arena) {
        this.code = code;
        this.layout = layout;
        this.heads = heads;
        this.softCap = softCap;
        group = heads / layout.kvHeads();
        sumBytes = AttentionCode.sumBytes(layout);
        int headBlocks = Math.ceilDiv(group, code.blockHeads);
        int blocks = Math.ceilDiv(ROWS, code.blockRows) * headBlocks;
        tiles = arena.allocate((long) CHUNK * Long.BYTES, 64);
        weights = arena.allocate(AttentionCode.WEIGHTS_BYTES, 64);
        stats = arena.allocate((long) blocks * AttentionCode.STATS_BYTES, 64);
        sums = arena.allocate((long) (ROWS + code.blockRows) * group * sumBytes, 64);
    }

    int heads() {
        return heads;
    }

    @Override
    public long byteSize() {
        return tiles.byteSize() + weights.byteSize() + stats.byteSize() + sums.byteSize();
    }

    void attend(AttentionCall call) {
        KvLayout from = call.layout();
        MemorySegment pages = call.pages();
        FloatMatrix queries = call.q();
        FloatMatrix out = call.out();
        int firstRow = call.firstRow();
        int rowCount = call.rowCount();
        int firstPosition = call.firstPosition();
        int kvHead = call.kvHead();
        if (from.type() != layout.type()
                || from.headDim() != layout.headDim()
                || from.kvHeads() != layout.kvHeads()
                || call.softCap() != softCap
                || !pages.isNative()) {
            throw new IllegalArgumentException("this working memory was made for " + layout + " and a soft cap of "
                    + softCap + ", not for " + from + " and " + call.softCap());
        }
        long headBytes = (long) layout.headDim() * Float.BYTES;
        long q = Addresses.of(queries) + queries.rowOffset(firstRow) + (long) kvHead * group * headBytes;
        long target = Addresses.of(out) + out.rowOffset(firstRow) + (long) kvHead * group * headBytes;
        long rowBytes = heads * headBytes;
        clear(call);
        int tileCount = (firstPosition + rowCount - 1) / TILE + 1;
        for (int first = call.firstSeen(firstPosition) / TILE; first < tileCount; first += CHUNK) {
            int end = Math.min(tileCount, first + CHUNK);
            findTiles(call, first, end);
            for (int row = 0; row < rowCount; row += code.blockRows) {
                int rows = Math.min(code.blockRows, rowCount - row);
                attendBlocks(call, q + row * rowBytes, row, rows, first, end);
            }
        }
        for (int row = 0; row < rowCount; row++) {
            finish(row, target + row * rowBytes);
        }
    }

    /**
     * Sets sums and totals to 0 and maximums to −∞, or to those of the sinks. Throws if the working memory is closed;
     * all of it is in one arena.
     */
    private void clear(AttentionCall call) {
        int rowCount = call.rowCount();
        FloatMatrix sinks = call.sinks();
        int firstHead = call.kvHead() * group;
        for (int row = 0; row < rowCount; row += code.blockRows) {
            for (int head = 0; head < group; head += code.blockHeads) {
                long block = statsAt(row, head);
                int blockHeads = Math.min(code.blockHeads, group - head);
                for (int i = 0; i < AttentionCode.MAX_QUERIES; i++) {
                    float max =
                            sinks == null ? Float.NEGATIVE_INFINITY : sinks.get(0, firstHead + head + i % blockHeads);
                    stats.set(FLOAT, block + AttentionCode.MAX + i * (long) Float.BYTES, max);
                    stats.set(FLOAT, block + AttentionCode.TOTAL + i * (long) Float.BYTES, sinks == null ? 0f : 1f);
                }
            }
        }
        try {
            CLEAR.invokeExact(code.clear, sums.address(), (long) rowCount * group);
        } catch (Throwable e) {
            throw new AssertionError("machine code throws nothing", e);
        }
    }

    /** Computes the addresses of tiles {@code [first, end)} and checks that they are inside of the pages. */
    private void findTiles(AttentionCall call, int first, int end) {
        KvLayout from = call.layout();
        MemorySegment pages = call.pages();
        int[] pageTable = call.pageTable();
        int kvHead = call.kvHead();
        long pageBytes = from.pageBytes();
        long pageCount = pages.byteSize() / pageBytes;
        long address = Addresses.of(pages);
        for (int tile = first; tile < end; tile++) {
            int position = tile * TILE;
            int page = pageTable[position / from.pageTokens()];
            if (page < 0 || page >= pageCount) {
                throw new IllegalArgumentException("page " + page + " is not one of the " + pageCount + " pages");
            }
            long at = page * pageBytes + from.keyScalesOffset(position % from.pageTokens(), kvHead);
            tiles.set(LONG, (tile - first) * (long) Long.BYTES, address + at);
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
        try {
            ATTEND.invokeExact(
                    function,
                    q + ((long) i * heads + head) * layout.headDim() * Float.BYTES,
                    tiles.address() + (from - chunk) * (long) Long.BYTES,
                    (long) (to - from),
                    (long) lastPositions,
                    stats.address() + statsAt(row, head) + query * (long) Float.BYTES,
                    sums.address() + sumsAt(row, head) + query * (long) sumBytes,
                    weights.address(),
                    (long) lastLanes,
                    scale);
        } catch (Throwable e) {
            throw new AssertionError("machine code throws nothing", e);
        }
    }

    private void finish(int row, long target) {
        int blockRow = row / code.blockRows * code.blockRows;
        for (int head = 0; head < group; head += code.blockHeads) {
            int blockHeads = Math.min(code.blockHeads, group - head);
            int query = (row - blockRow) * blockHeads;
            try {
                FINISH.invokeExact(
                        code.finish,
                        sums.address() + sumsAt(blockRow, head) + query * (long) sumBytes,
                        stats.address() + statsAt(blockRow, head) + AttentionCode.TOTAL + query * (long) Float.BYTES,
                        target + head * (long) layout.headDim() * Float.BYTES,
                        (long) blockHeads);
            } catch (Throwable e) {
                throw new AssertionError("machine code throws nothing", e);
            }
        }
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
