package quire.tensor.scalar;

import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;

/** Adds the results of attention's segments, for every kernel set. A result is a row: o, then m and l. */
public final class SegmentMerge {
    private SegmentMerge() {}

    /** Adds the result of a later segment to the result of those before. */
    static void add(FloatMatrix sum, int row, FloatMatrix part, int partRow) {
        int max = sum.columns() - 2;
        int total = sum.columns() - 1;
        float m = Math.max(sum.get(row, max), part.get(partRow, max));
        float c1 = FloatMath.exp(sum.get(row, max) - m);
        float c2 = FloatMath.exp(part.get(partRow, max) - m);
        for (int d = 0; d < max; d++) {
            sum.set(row, d, Math.fma(part.get(partRow, d), c2, sum.get(row, d) * c1));
        }
        sum.set(row, max, m);
        sum.set(row, total, Math.fma(part.get(partRow, total), c2, sum.get(row, total) * c1));
    }

    /** {@link Kernels#mergeSegments} for {@code heads} query heads of a row. */
    public static void merge(AttentionCall call, int heads, FloatMatrix partials, int at) {
        int headDim = call.layout().headDim();
        int group = heads / call.layout().kvHeads();
        int rows = call.rowCount() * group;
        int first = call.firstSegment(call.firstPosition());
        FloatMatrix out = call.out();
        for (int i = 0; i < rows; i++) {
            int position = call.firstPosition() + i / group;
            int segment = call.firstSegment(position);
            int sum = at + (segment - first) * rows + i;
            while (++segment <= position / KvLayout.SEGMENT) {
                add(partials, sum, partials, at + (segment - first) * rows + i);
            }
            int column = (call.kvHead() * group + i % group) * headDim;
            float total = partials.get(sum, headDim + 1);
            for (int d = 0; d < headDim; d++) {
                out.set(call.firstRow() + i / group, column + d, partials.get(sum, d) / total);
            }
        }
    }
}
