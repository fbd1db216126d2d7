package quire.tensor.scalar;

import java.lang.foreign.MemorySegment;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.StateCall;
import quire.tensor.WeightMatrix;

/** The checks of arguments that every kernel set makes in each call. */
public final class Shapes {
    private Shapes() {}

    /** Checks the size of a weight matrix. */
    public static void checkShape(ElementType type, int rows, int columns) {
        if (rows < 1 || columns < 1) {
            throw new IllegalArgumentException("a weight matrix has rows and columns, not " + rows + " × " + columns);
        }
        if (columns % type.blockElements() != 0) {
            throw new IllegalArgumentException("a row of " + columns + " numbers is not a whole number of " + type
                    + " blocks of " + type.blockElements());
        }
    }

    /** Checks {@link Kernels#pack}. */
    public static void checkPack(ElementType type, int rows, int columns, MemorySegment source) {
        checkShape(type, rows, columns);
        long expected = type.byteSize((long) rows * columns);
        if (source.byteSize() != expected) {
            throw new IllegalArgumentException("a " + type + " matrix of " + rows + " × " + columns + " takes "
                    + expected + " bytes, but its source has " + source.byteSize());
        }
    }

    /** Checks {@link Kernels#multiply}. */
    public static void checkMultiply(
            WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts) {
        if (x.values().columns() != w.columns() || y.columns() != w.rows()) {
            throw new IllegalArgumentException("a weight matrix of " + w.rows() + " outputs × " + w.columns()
                    + " inputs cannot take rows of " + x.values().columns() + " to rows of " + y.columns());
        }
        checkRows(x.values(), 0, rows);
        checkRows(y, 0, rows);
        if (w.type().isQuantized() && !x.isQuantized()) {
            throw new IllegalArgumentException(
                    w.type() + " weights need quantised activations: allocate them with quantized = true");
        }
        if (from < 0 || from >= to || to > parts) {
            throw new IllegalArgumentException("parts [" + from + ", " + to + ") are not some of " + parts);
        }
    }

    /** Checks {@link Kernels#quantize}. */
    public static void checkQuantize(Activations x, int from, int to) {
        if (!x.isQuantized()) {
            throw new IllegalArgumentException("these activations were allocated without an int8 form");
        }
        checkRows(x.values(), from, to);
    }

    /** Checks that x has rows {@code [from, to)}. */
    public static void checkRows(FloatMatrix x, int from, int to) {
        if (from < 0 || to < from || to > x.rows()) {
            throw new IllegalArgumentException("rows [" + from + ", " + to + ") are not in [0, " + x.rows() + ")");
        }
    }

    /** Checks that x and y have rows {@code [from, to)} and equally long rows. */
    public static void checkSame(FloatMatrix x, FloatMatrix y, int from, int to) {
        if (x.columns() != y.columns()) {
            throw new IllegalArgumentException(
                    "rows of " + x.columns() + " and of " + y.columns() + " numbers must be equally long");
        }
        checkRows(x, from, to);
        checkRows(y, from, to);
    }

    /** Checks that vector has one row of the length of y's rows. */
    public static void checkOneRow(FloatMatrix vector, FloatMatrix y) {
        if (vector.rows() < 1 || vector.columns() != y.columns()) {
            throw new IllegalArgumentException("one row of " + y.columns() + " numbers is needed, not " + vector.rows()
                    + " rows of " + vector.columns());
        }
    }

    /** Checks {@link Kernels#addRow}. */
    public static void checkAddRow(FloatMatrix x, int from, FloatMatrix y, int to) {
        if (x.columns() != y.columns()) {
            throw new IllegalArgumentException(
                    "rows of " + x.columns() + " and of " + y.columns() + " numbers must be equally long");
        }
        checkRows(x, from, from + 1);
        checkRows(y, to, to + 1);
    }

    /** Checks {@link Kernels#multiplyRow} and {@link Kernels#addProduct}. */
    public static void checkThreeRows(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        checkAddRow(a, rowA, y, to);
        checkAddRow(b, rowB, y, to);
    }

    /** Checks {@link Kernels#advance} and {@link Kernels#advanceDelta}. */
    public static void checkAdvance(StateCall call) {
        int values = call.state().columns();
        checkRows(call.state(), call.stateRow(), call.stateRow() + call.keys());
        checkRows(call.inputs(), call.row(), call.row() + 1);
        checkRows(call.out(), call.outRow(), call.outRow() + 1);
        checkColumns(call.inputs(), call.valueColumn(), values);
        checkColumns(call.inputs(), call.keyColumn(), call.keys());
        checkColumns(call.inputs(), call.queryColumn(), call.keys());
        checkColumns(call.out(), call.outColumn(), values);
    }

    /** Checks {@link Kernels#advanceSelective}. */
    public static void checkAdvanceSelective(StateCall call) {
        checkAdvance(call);
        int values = call.state().columns();
        checkRows(call.steps(), call.stepRow(), call.stepRow() + 1);
        checkRows(call.rates(), 0, call.keys());
        checkRows(call.skips(), 0, 1);
        checkColumns(call.steps(), call.valueColumn(), values);
        checkColumns(call.rates(), call.valueColumn(), values);
        checkColumns(call.skips(), call.valueColumn(), values);
    }

    private static void checkColumns(FloatMatrix x, int first, int count) {
        if (first < 0 || first + (long) count > x.columns()) {
            throw new IllegalArgumentException(
                    count + " numbers from " + first + " on are not in rows of " + x.columns() + " numbers");
        }
    }

    /** Checks {@link Kernels#softCap}. */
    public static void checkSoftCap(FloatMatrix x, float cap, int from, int to) {
        checkRows(x, from, to);
        if (!(cap > 0 && cap < Float.POSITIVE_INFINITY)) {
            throw new IllegalArgumentException("a soft cap is positive, not " + cap);
        }
    }

    /** Checks {@link Kernels#rope}. */
    public static void checkRope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        checkRows(x, from, to);
        if (headDim < 1 || x.columns() % headDim != 0) {
            throw new IllegalArgumentException(
                    "rows of " + x.columns() + " numbers are not a whole number of heads of " + headDim);
        }
        if (cosSin.columns() > headDim || cosSin.columns() % 2 != 0) {
            throw new IllegalArgumentException(cosSin.columns()
                    + " rotated dimensions: the number must be even and at most the head's " + headDim);
        }
        for (int row = from; row < to; row++) {
            if (positions[row] < 0 || positions[row] >= cosSin.rows()) {
                throw new IllegalArgumentException(
                        "position " + positions[row] + " is outside the rotary table of " + cosSin.rows());
            }
        }
    }

    /** Checks {@link Kernels#storeKv}. */
    public static void checkStoreKv(KvLayout layout, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        int width = layout.kvHeads() * layout.headDim();
        if (k.columns() != width || v.columns() != width) {
            throw new IllegalArgumentException(
                    "rows of K and V must have " + width + " numbers, not " + k.columns() + " and " + v.columns());
        }
        checkRows(k, row, row + 1);
        checkRows(v, row, row + 1);
        if (page < 0 || slot < 0 || slot >= layout.pageTokens()) {
            throw new IllegalArgumentException("page " + page + " must not be negative, and slot " + slot
                    + " must be in [0, " + layout.pageTokens() + ")");
        }
    }

    /** Checks {@link Kernels#attend}. */
    public static void checkAttend(AttentionCall call, int heads, int maxRows) {
        KvLayout layout = call.layout();
        FloatMatrix q = call.q();
        int firstRow = call.firstRow();
        int rowCount = call.rowCount();
        int firstPosition = call.firstPosition();
        int kvHead = call.kvHead();
        if (rowCount < 1 || rowCount > maxRows) {
            throw new IllegalArgumentException(rowCount + " query rows: one call takes 1 to " + maxRows);
        }
        if (q.columns() != heads * layout.headDim() || kvHead < 0 || kvHead >= layout.kvHeads()) {
            throw new IllegalArgumentException("KV head " + kvHead + " of " + layout.kvHeads() + " and rows of "
                    + q.columns() + " do not fit working memory made for " + heads + " heads of "
                    + layout.headDim());
        }
        checkRows(q, firstRow, firstRow + rowCount);
        int pageCount = call.pageTable().length;
        long room = (long) pageCount * layout.pageTokens();
        if (firstPosition < 0 || (long) firstPosition + rowCount > room) {
            throw new IllegalArgumentException("positions [" + firstPosition + ", " + ((long) firstPosition + rowCount)
                    + ") of " + room + ": " + pageCount + " pages of " + layout.pageTokens());
        }
        checkSame(q, call.out(), firstRow, firstRow + rowCount);
        FloatMatrix sinks = call.sinks();
        if (call.window() < 0 || (sinks != null && sinks.columns() != heads)) {
            throw new IllegalArgumentException("a window of " + call.window() + " positions and "
                    + (sinks == null ? 0 : sinks.columns()) + " sinks of " + heads
                    + " heads: a window is positive or 0 for none, and each head has one sink");
        }
    }

    /** The number of segments that the rows of a call see. */
    public static int segments(AttentionCall call) {
        int last = (call.firstPosition() + call.rowCount() - 1) / KvLayout.SEGMENT;
        return last - call.firstSegment(call.firstPosition()) + 1;
    }

    /** Checks that the results of some segments fit {@code partials}, for {@code heads} query heads of a row. */
    public static void checkPartials(AttentionCall call, int heads, FloatMatrix partials, int at, int segments) {
        int rows = call.rowCount() * (heads / call.layout().kvHeads());
        if (partials.columns() != call.layout().headDim() + 2) {
            throw new IllegalArgumentException("results of segments have rows of head dim + 2 = "
                    + (call.layout().headDim() + 2) + " numbers, not " + partials.columns());
        }
        checkRows(partials, at, Math.addExact(at, Math.multiplyExact(rows, segments)));
    }

    /** Checks that the KV heads divide the query heads. */
    public static void checkHeads(KvLayout layout, int heads) {
        if (heads < 1 || heads % layout.kvHeads() != 0) {
            throw new IllegalArgumentException(
                    heads + " query heads cannot share " + layout.kvHeads() + " KV heads evenly");
        }
    }
}
