package quire.engine;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.Consumer;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import quire.model.Batch;
import quire.model.Model;
import quire.model.WindowLayers;
import quire.tensor.FloatMatrix;

/**
 * A model without weights whose answers reveal mistakes of the engine. Each slot of its KV cache holds a token and the
 * position that it was stored for. A row's logits are a hash of all tokens that it finds through the page table, from
 * position 0 to its own:
 *
 * <pre>
 *   page table  [ 5 2 ]      slot        0        1        2        3
 *                            page 5   (a, 0)   (b, 1)   (c, 2)   (d, 3)
 *                            page 2   (e, 4)   poison   poison   poison
 *   logits of position 4 = hash(a, b, c, d, e)
 * </pre>
 *
 * A wrong page, a wrong position, or a page that was freed too early or shared by mistake changes the hash and so the
 * answer. Reading a slot that was never written, or written for another position, throws. Rows of logits that were not
 * asked for are NaN. A position's vector is made of the same hash.
 *
 * <p>{@linkplain #withStates With states}, it is recurrent: a slot has the hash of the tokens before a position, and a sequence
 * that begins with the state of another text, or of another position, throws.
 */
public final class FakeModel implements Model {
    private static final long POISON = -1;

    private static final int VECTOR_WIDTH = 16;

    private final int vocabularySize;
    private final int contextLength;
    private final int pageTokens;
    private final int pageCount;
    private int overflowPages;
    private final int maxBatchTokens;
    private final int maxLogitRows;
    private long[] pages;
    private @Nullable WindowLayers windowLayers;
    private long[] windowPages = {};
    private @Nullable States states;
    private final Arena arena = Arena.ofShared();
    private final FloatMatrix logits;
    private final FloatMatrix vectors;
    private Consumer<Batch> onForward = batch -> {};
    private int otherEvery = Integer.MAX_VALUE;
    private IntPredicate contrary = position -> false;
    private @Nullable Script script;
    private volatile boolean closed;

    /**
     * A model whose slots are all poisoned.
     *
     * @param vocabularySize at least 2
     */
    public FakeModel(
            int vocabularySize,
            int contextLength,
            int pageTokens,
            int pageCount,
            int maxBatchTokens,
            int maxLogitRows) {
        this.vocabularySize = vocabularySize;
        this.contextLength = contextLength;
        this.pageTokens = pageTokens;
        this.pageCount = pageCount;
        this.maxBatchTokens = maxBatchTokens;
        this.maxLogitRows = maxLogitRows;
        pages = new long[pageCount * pageTokens];
        Arrays.fill(pages, POISON);
        logits = FloatMatrix.allocate(arena, maxLogitRows, vocabularySize);
        vectors = FloatMatrix.allocate(arena, maxBatchTokens, VECTOR_WIDTH);
    }

    /** A model for {@link FakeTokenizer} that fits a configuration, with pages for all its sequences. */
    public static FakeModel fitting(EngineConfig config, int contextLength) {
        return fitting(config, contextLength, FakeTokenizer.VOCABULARY_SIZE);
    }

    /** A model for any tokenizer that fits a configuration, with pages for all its sequences. */
    public static FakeModel fitting(EngineConfig config, int contextLength, int vocabularySize) {
        int pagesPerSequence = (contextLength + config.pageTokens() - 1) / config.pageTokens();
        return new FakeModel(
                vocabularySize,
                contextLength,
                config.pageTokens(),
                pagesPerSequence * config.maxSequences(),
                config.maxBatchedTokens(),
                config.maxLogitRows());
    }

    /**
     * Adds layers with a window, whose pages are apart. They hold the same cells; each row checks all cells that its window
     * sees. Call it before the engine is built.
     */
    public FakeModel withWindows(WindowLayers layers) {
        windowLayers = layers;
        windowPages = new long[layers.pageCount() * pageTokens];
        Arrays.fill(windowPages, POISON);
        return this;
    }

    /** Adds pages behind those in memory. Call it before the engine is built. */
    public FakeModel withOverflow(int count) {
        overflowPages = count;
        pages = new long[(pageCount + count) * pageTokens];
        Arrays.fill(pages, POISON);
        return this;
    }

    /**
     * Makes the model recurrent. Call it before the engine is built.
     *
     * @param slots sequences at once
     * @param saved states that can be saved; at least 1
     */
    public FakeModel withStates(int slots, int saved) {
        states = new States(slots, saved);
        return this;
    }

    /** What recurrent layers have: hashes of the tokens before a position. */
    private static final class States {
        private final long[] hashes; // of sequences and, behind them, saved ones
        private final int[] certain; // the position of each; −1 for none
        private final int[] ends; // behind draft tokens
        private final long[][] drafts; // by slot: cells of draft tokens, by position modulo the most of them
        private final int slots;

        States(int slots, int saved) {
            this.slots = slots;
            hashes = new long[slots + saved];
            certain = new int[hashes.length];
            ends = new int[hashes.length];
            drafts = new long[slots][Batch.MAX_DRAFT_ROWS];
            Arrays.fill(certain, -1);
        }

        /** Finds the state before the first row of a sequence, as far as it is there before the step. */
        void begin(Batch batch, int s) {
            int slot = batch.stateSlot(s);
            int first = batch.firstPosition(s);
            if (first == 0) {
                hashes[slot] = 0;
                certain[slot] = 0;
            } else if (batch.start(s) == Batch.Start.SAVED) {
                int from = slots + batch.source(s);
                require(certain[from] == first, "a saved state of position " + certain[from] + ", not " + first);
                hashes[slot] = hashes[from];
                certain[slot] = first;
            } else {
                require(batch.start(s) == Batch.Start.CONTINUES, "there are no states beside pages");
                require(
                        certain[slot] <= first && first <= ends[slot],
                        "a state of positions " + certain[slot] + " to " + ends[slot] + ", not " + first);
            }
        }

        /** Adds the rows of a sequence, checks its state, and saves those that are wanted. */
        void advance(Batch batch, int s, long[] cells) {
            int slot = batch.stateSlot(s);
            int first = batch.firstPosition(s);
            int end = first + batch.rowCount(s);
            int behind = end - batch.draftRows(s);
            int save = batch.firstSave(s);
            long hash = hashes[slot];
            for (int position = certain[slot]; position < behind; position++) {
                hash = mix(hash ^ (position < first ? drafts[slot][position % drafts[slot].length] : cells[position]));
                if (save < batch.lastSave(s) && batch.savePosition(save) == position + 1) {
                    int saved = slots + batch.saveTarget(save++);
                    hashes[saved] = hash;
                    certain[saved] = position + 1;
                }
            }
            require(save == batch.lastSave(s), "a state was to be saved before the step or behind it");
            long right = 0;
            for (int position = 0; position < behind; position++) {
                right = mix(right ^ cells[position]);
            }
            require(hash == right, "the state of sequence " + s + " is that of another text");
            hashes[slot] = hash;
            certain[slot] = behind;
            ends[slot] = end;
            for (int position = behind; position < end; position++) {
                drafts[slot][position % drafts[slot].length] = cells[position];
            }
        }
    }

    /** Poisons a page of the layers with a window. */
    public void poisonWindow(int page) {
        Arrays.fill(windowPages, page * pageTokens, (page + 1) * pageTokens, POISON);
    }

    /** Sets an action for the beginning of each step, on the engine thread. Call it before the engine runs. */
    public FakeModel onForward(Consumer<Batch> action) {
        onForward = action;
        return this;
    }

    /** Makes the model choose another token at about one position in {@code every}, like a draft model. */
    public FakeModel differing(int every) {
        otherEvery = every;
        return this;
    }

    /** Makes the model choose another token at the given positions, for greedy requests. */
    public FakeModel contraryAt(IntPredicate positions) {
        contrary = positions;
        return this;
    }

    /**
     * Makes the model answer by a script: its token is the likeliest by far, and a random one comes second. So the script
     * is followed at every usual temperature, and a constraint or a bias can still choose another token.
     */
    public FakeModel following(Script value) {
        script = value;
        return this;
    }

    /** Poisons a page: reading it throws until it is written again. */
    public void poison(int page) {
        Arrays.fill(pages, page * pageTokens, (page + 1) * pageTokens, POISON);
    }

    /** Whether {@link #close} was called. */
    public boolean isClosed() {
        return closed;
    }

    @Override
    public FloatMatrix forward(Batch batch) {
        require(!closed, "forward after close");
        onForward.accept(batch);
        require(batch.rows() > 0 && batch.rows() <= maxBatchTokens, "rows " + batch.rows());
        require(batch.logitCount() <= maxLogitRows, "logits rows " + batch.logitCount());
        logits.segment().asSlice(0, logits.rowOffset(maxLogitRows)).fill((byte) 0xFF); // NaN
        vectors.segment().asSlice(0, vectors.rowOffset(maxBatchTokens)).fill((byte) 0xFF);
        for (int s = 0; s < batch.sequences() && states != null; s++) {
            states.begin(batch, s);
        }
        for (int s = 0; s < batch.sequences(); s++) {
            for (int i = 0; i < batch.rowCount(s); i++) {
                int row = batch.firstRow(s) + i;
                int position = batch.positions()[row];
                require(position < contextLength, "position " + position);
                pages[slot(batch.pageTable(s), position)] = cell(batch.tokens()[row], position);
                if (windowLayers != null) {
                    int[] table = batch.windowTable(s);
                    windowPages[slot(table, position)] = cell(batch.tokens()[row], position);
                }
            }
        }
        int logitRow = 0;
        for (int s = 0; s < batch.sequences(); s++) {
            int end = batch.firstPosition(s) + batch.rowCount(s);
            checkWindows(batch, s, end);
            long hash = 0;
            int[] history = new int[end];
            long[] cells = new long[end];
            for (int position = 0; position < end; position++) {
                long cell = pages[slot(batch.pageTable(s), position)];
                require(
                        cell != POISON && cell >>> 32 == position,
                        "position " + position + " of sequence " + s + " reads a slot "
                                + (cell == POISON ? "that is free" : "of position " + (cell >>> 32)));
                hash = mix(hash ^ cell);
                cells[position] = cell;
                history[position] = (int) cell;
                if (batch.wantsVectors(s) && position >= batch.firstPosition(s)) {
                    fillVector(batch.firstRow(s) + position - batch.firstPosition(s), hash);
                }
                if (position >= end - batch.logitRows(s) && script != null) {
                    fillLogits(logitRow++, hash, script.next(history, position + 1));
                } else if (position >= end - batch.logitRows(s)) {
                    fillRandomLogits(logitRow++, hash, contrary.test(position + 1) ? 1 : 0);
                }
            }
            if (states != null) {
                states.advance(batch, s, cells);
            }
        }
        return logits;
    }

    /** Each row's window has the cells that the other layers have. */
    private void checkWindows(Batch batch, int s, int end) {
        WindowLayers layers = windowLayers;
        for (int row = batch.firstPosition(s); row < end && layers != null; row++) {
            for (int position = layers.firstSeen(row); position <= row; position++) {
                long cell = windowPages[slot(batch.windowTable(s), position)];
                require(
                        cell == pages[slot(batch.pageTable(s), position)],
                        "the window of position " + row + " of sequence " + s + " reads a slot "
                                + (cell == POISON ? "that is free" : "of position " + (cell >>> 32)) + " for "
                                + position);
            }
        }
    }

    @Override
    public boolean isRecurrent() {
        return states != null;
    }

    @Override
    public int savedStates() {
        return states == null ? 0 : states.hashes.length - states.slots;
    }

    @Override
    public @Nullable WindowLayers windowLayers() {
        return windowLayers;
    }

    @Override
    public void copyWindowPage(int from, int to) {
        System.arraycopy(windowPages, from * pageTokens, windowPages, to * pageTokens, pageTokens);
    }

    @Override
    public int vectorWidth() {
        return VECTOR_WIDTH;
    }

    @Override
    public FloatMatrix vectors() {
        return vectors;
    }

    @Override
    public void copyPage(int from, int to) {
        System.arraycopy(pages, from * pageTokens, pages, to * pageTokens, pageTokens);
    }

    @Override
    public long pageBytes() {
        return (windowLayers == null ? 1L : 2L) * pageTokens * Long.BYTES;
    }

    @Override
    public void exportPage(int page, int windowPage, MemorySegment to) {
        long bytes = (long) pageTokens * Long.BYTES;
        MemorySegment.copy(MemorySegment.ofArray(pages), page * bytes, to, 0, bytes);
        if (windowLayers != null) {
            MemorySegment.copy(MemorySegment.ofArray(windowPages), windowPage * bytes, to, bytes, bytes);
        }
    }

    @Override
    public void importPage(int page, int windowPage, MemorySegment from) {
        long bytes = (long) pageTokens * Long.BYTES;
        MemorySegment.copy(from, 0, MemorySegment.ofArray(pages), page * bytes, bytes);
        if (windowLayers != null) {
            MemorySegment.copy(from, bytes, MemorySegment.ofArray(windowPages), windowPage * bytes, bytes);
        }
    }

    private int slot(int[] pageTable, int position) {
        int page = pageTable[position / pageTokens];
        require(page >= 0, "page " + page);
        return page * pageTokens + position % pageTokens;
    }

    private static long cell(int token, int position) {
        return (long) position << 32 | token;
    }

    /**
     * Fills a row with logits uniform in [0, 8), plus a bonus for one kind of token at each position. Mostly that is
     * lower-case letters, so that stop strings occur; sometimes bytes of incomplete characters; sometimes the end
     * token.
     *
     * @param shift added to token ids, so that another token is likeliest
     */
    private void fillRandomLogits(int row, long history, int shift) {
        long hash = Long.remainderUnsigned(mix(history ^ 7), otherEvery) == 0 ? mix(history) : history;
        int mood = (int) (mix(~hash) & 63);
        for (int token = 0; token < vocabularySize; token++) {
            float logit = (mix(hash + token) >>> 40) * (8f / (1 << 24));
            boolean favoured = mood == 0
                    ? token == FakeTokenizer.EOS
                    : mood <= 4 ? FakeTokenizer.isHighByte(token) : FakeTokenizer.isLetter(token);
            logits.set(row, (token + shift) % vocabularySize, favoured ? logit + 8 : logit);
        }
    }

    /** Fills a row with numbers uniform in [−1, 1). */
    private void fillVector(int row, long history) {
        for (int i = 0; i < VECTOR_WIDTH; i++) {
            vectors.set(row, i, (mix(history ^ i << 8) >> 40) * (1f / (1 << 23)));
        }
    }

    /**
     * Fills a row with logits uniform in [0, 4): a random token gets 8 more, and the scripted one 30 instead. Where the
     * script has no token, no logit is a number.
     */
    private void fillLogits(int row, long history, int scripted) {
        if (scripted == Script.NO_TOKEN) {
            return; // forward has filled the matrix with NaN
        }
        int second = (int) Long.remainderUnsigned(mix(~history), vocabularySize);
        for (int token = 0; token < vocabularySize; token++) {
            float logit = (mix(history + token) >>> 40) * (4f / (1 << 24));
            logits.set(row, token, token == scripted ? 30 : token == second ? logit + 8 : logit);
        }
    }

    /** The finisher of SplitMix64. */
    private static long mix(long z) {
        long a = (z + 0x9E3779B97F4A7C15L) * 0xBF58476D1CE4E5B9L;
        long b = (a ^ a >>> 27) * 0x94D049BB133111EBL;
        return b ^ b >>> 31;
    }

    private static void require(boolean condition, String fault) {
        if (!condition) {
            throw new IllegalStateException("fake model: " + fault);
        }
    }

    @Override
    public int vocabularySize() {
        return vocabularySize;
    }

    @Override
    public int contextLength() {
        return contextLength;
    }

    @Override
    public int pageTokens() {
        return pageTokens;
    }

    @Override
    public int pageCount() {
        return pageCount;
    }

    @Override
    public int overflowPages() {
        return overflowPages;
    }

    @Override
    public int maxBatchTokens() {
        return maxBatchTokens;
    }

    @Override
    public int maxLogitRows() {
        return maxLogitRows;
    }

    @Override
    public void close() {
        require(!closed, "closed twice");
        closed = true;
        arena.close();
    }
}
