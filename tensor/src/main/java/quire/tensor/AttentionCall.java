package quire.tensor;

import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of {@link Kernels#attend}. What stays the same for a model is given to the constructor; the rest is set
 * before each call. An object can be reused for any number of calls, so a worker that keeps one allocates nothing in a
 * step. Not thread-safe.
 */
public final class AttentionCall {
    private static final int[] NO_PAGES = {};

    private final KvLayout layout;
    private final float scale;
    private final FloatMatrix q;
    private final FloatMatrix out;

    private MemorySegment pages = MemorySegment.NULL;
    private int[] pageTable = NO_PAGES;
    private int kvHead;
    private int window;
    private boolean chunked;
    private float softCap;
    private @Nullable FloatMatrix sinks;
    private int firstRow;
    private int rowCount;
    private int firstPosition;

    /**
     * Creates a call without context and rows.
     *
     * @param layout how a page holds K and V
     * @param scale factor of every score, usually {@code 1 / sqrt(headDim)}
     * @param q queries, rows of {@code heads × headDim}
     * @param out results, in the shape of q
     */
    public AttentionCall(KvLayout layout, float scale, FloatMatrix q, FloatMatrix out) {
        this.layout = layout;
        this.scale = scale;
        this.q = q;
        this.out = out;
    }

    /**
     * Sets the keys and values that the queries attend to.
     *
     * @param layerPages the pages of one layer, one after the other
     * @param sequencePages index of the page that holds each {@code pageTokens} positions of the sequence
     * @param head index of the KV head; its query heads are {@code [head × heads / kvHeads, (head + 1) × heads /
     *     kvHeads)}
     * @return this
     */
    public AttentionCall context(MemorySegment layerPages, int[] sequencePages, int head) {
        pages = layerPages;
        pageTable = sequencePages;
        kvHead = head;
        return this;
    }

    /**
     * Sets what differs from plain causal attention in a layer; see {@link Kernels#attend}.
     *
     * @param positions number of positions that a query sees, its own included; 0 for all
     * @param cap limit of the scores, as of the working memory; 0 for none
     * @param perHead one number for each query head in one row, or null
     * @return this
     */
    public AttentionCall layer(int positions, float cap, @Nullable FloatMatrix perHead) {
        return layer(positions, false, cap, perHead);
    }

    /**
     * The same for windows that may be chunks.
     *
     * @param chunks whether a query sees no positions before the last multiple of {@code positions}, which may be its own
     * @return this
     */
    public AttentionCall layer(int positions, boolean chunks, float cap, @Nullable FloatMatrix perHead) {
        window = positions;
        chunked = chunks;
        softCap = cap;
        sinks = perHead;
        return this;
    }

    /**
     * Sets which rows of q are computed. They are consecutive positions of one sequence, and K and V must be stored up
     * to the last of them.
     *
     * @param first index of the first row in q and out
     * @param count number of rows, at most {@link Kernels#attentionRows}
     * @param position position of the first row
     * @return this
     */
    public AttentionCall rows(int first, int count, int position) {
        firstRow = first;
        rowCount = count;
        firstPosition = position;
        return this;
    }

    /** How a page holds K and V. */
    public KvLayout layout() {
        return layout;
    }

    /** Factor of every score. */
    public float scale() {
        return scale;
    }

    /** Queries, rows of {@code heads × headDim}. */
    public FloatMatrix q() {
        return q;
    }

    /** Results, in the shape of {@link #q}. */
    public FloatMatrix out() {
        return out;
    }

    /** The pages of one layer. */
    public MemorySegment pages() {
        return pages;
    }

    /** Index of the page that holds each {@code pageTokens} positions of the sequence. */
    public int[] pageTable() {
        return pageTable;
    }

    /** Index of the KV head. */
    public int kvHead() {
        return kvHead;
    }

    /** Number of positions that a query sees, its own included; 0 for all. */
    public int window() {
        return window;
    }

    /** Whether windows are chunks, which begin at multiples of their length. */
    public boolean chunked() {
        return chunked;
    }

    /** The first position that the query at {@code position} sees. It never falls when the position rises. */
    public int firstSeen(int position) {
        if (chunked && window > 0) {
            return position - position % window;
        }
        return window == 0 ? 0 : Math.max(0, position - window + 1);
    }

    /** The first segment that the query at {@code position} sees. */
    public int firstSegment(int position) {
        return firstSeen(position) / KvLayout.SEGMENT;
    }

    /** Limit of the scores; 0 for none. */
    public float softCap() {
        return softCap;
    }

    /** One number for each query head in one row; null for none. */
    public @Nullable FloatMatrix sinks() {
        return sinks;
    }

    /** The sinks with which the query at {@code position} begins {@code segment}; null for none. */
    public @Nullable FloatMatrix sinks(int segment, int position) {
        return segment == firstSegment(position) ? sinks : null;
    }

    /** Index of the first row in {@link #q} and {@link #out}. */
    public int firstRow() {
        return firstRow;
    }

    /** Number of rows. */
    public int rowCount() {
        return rowCount;
    }

    /** Position of the first row. */
    public int firstPosition() {
        return firstPosition;
    }
}
