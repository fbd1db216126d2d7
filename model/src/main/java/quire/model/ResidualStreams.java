package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Several residual streams, of which blocks compute the first only (Gemma 3n's AltUp), and a short way around attention
 * (its LAuReL). Before a block, each stream is predicted from all of them, with factors that a router gives; behind it, what
 * the block has changed in the first stream corrects all:
 *
 * <pre>
 *   embedding ──┬───────────────────▶ stream 0
 *               └─▶ product, as long ─▶ streams 1 …
 *
 *   streams ─▶ predicted ──┬─▶ first ─▶ block ─▶ difference × factor ─▶ + ─▶ streams
 *                          └───────────────────────────────────────────┘
 *   normed ─▶ product ─▶ product ─▶ norm ─▶ + normed: the short way, which is added to attention's result, ÷ √2
 *
 *   stream 0 ──────────────────────▶ mean of all ─▶ output norm
 *   streams 1 … ─▶ product, as long ─┘
 * </pre>
 *
 * <p>"As long" means that a row gets the length of its row of stream 0.
 */
final class ResidualStreams {
    /** The least mean square of a row that gets another length. */
    private static final double LEAST_SQUARE = 1e-5;

    private final int count;
    private final float epsilon;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final Ends ends;

    // One row for each token of the batch.
    private final List<FloatMatrix> streams;
    private final List<FloatMatrix> predicted;
    private final Activations routed;
    /** What the router gives for each stream. */
    private final FloatMatrix modes;

    private final List<FloatMatrix> modesOutputs;
    private final Activations narrow;
    private final List<FloatMatrix> narrowOutputs;
    private final FloatMatrix around;
    private final List<FloatMatrix> aroundOutputs;
    private final List<FloatMatrix> firstOutputs;
    private final List<List<FloatMatrix>> lastOutputs;

    /**
     * The matrices of all streams but the first.
     *
     * @param first from the embedding
     * @param last to the mean
     */
    record Ends(List<Projection> first, List<List<Projection>> last) {}

    /**
     * The weights of one block.
     *
     * @param router from a normed row of the first stream to a number for each stream
     * @param routerNorm weights of its norm, divided by the width of the residual stream
     * @param predict a row for each pair of streams, the predicted one first: factors of the router's numbers
     * @param correct the same for each stream
     * @param scale of the first stream where the layer's input is added
     * @param narrow the first product of the short way
     * @param wide the second one
     * @param norm of its result
     */
    record Weights(
            List<Projection> router,
            FloatMatrix routerNorm,
            FloatMatrix predict,
            FloatMatrix correct,
            FloatMatrix scale,
            List<Projection> narrow,
            List<Projection> wide,
            FloatMatrix norm) {
        /** Multiply-adds for one row. */
        long multiplyAdds() {
            return 2 * Products.multiplyAdds(router) + Products.multiplyAdds(narrow) + Products.multiplyAdds(wide);
        }
    }

    /** @param blocks the weights of all blocks; they say which rows are quantised */
    ResidualStreams(
            ModelConfig config,
            Architecture.Streams sizes,
            Ends ends,
            List<Weights> blocks,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        count = sizes.count();
        epsilon = config.normEpsilon();
        this.ends = ends;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        int hidden = config.hidden();
        List<FloatMatrix> own = new ArrayList<>();
        List<FloatMatrix> next = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            own.add(FloatMatrix.allocate(arena, maxRows, hidden));
            next.add(FloatMatrix.allocate(arena, maxRows, hidden));
        }
        streams = List.copyOf(own);
        predicted = List.copyOf(next);
        firstOutputs = streams.subList(1, count);
        lastOutputs = predicted.subList(1, count).stream().map(List::of).toList();
        boolean routedQuantized = Stream.concat(blocks.stream().map(Weights::router), ends.last.stream())
                .anyMatch(Products::anyQuantized);
        routed = Activations.allocate(arena, maxRows, hidden, routedQuantized);
        modes = FloatMatrix.allocate(arena, maxRows, count);
        modesOutputs = List.of(modes);
        narrow = Activations.allocate(
                arena, maxRows, sizes.rank(), blocks.stream().anyMatch(block -> Products.anyQuantized(block.wide)));
        narrowOutputs = List.of(narrow.values());
        around = FloatMatrix.allocate(arena, maxRows, hidden);
        aroundOutputs = List.of(around);
    }

    /** An upper bound for the bytes that streams allocate outside of the Java heap. */
    static long byteSize(int hidden, Architecture.Streams sizes, int maxRows) {
        return Activations.byteSize(maxRows, hidden, true)
                + Activations.byteSize(maxRows, sizes.rank(), true)
                + (long) Float.BYTES * maxRows * ((2L * sizes.count() + 1) * hidden + sizes.count());
    }

    /** Whether the embeddings need to be quantised. */
    boolean readsQuantized() {
        return Products.anyQuantized(ends.first);
    }

    /** Whether the inputs of attention need to be quantised for the short way around it. */
    static boolean readsQuantized(Weights weights) {
        return Products.anyQuantized(weights.narrow);
    }

    /**
     * Makes the streams of the embeddings. Called by every worker after a barrier.
     *
     * @param embeddings the embeddings
     * @param x the same, quantised if a matrix needs that
     * @param from first row of this worker
     * @param to end of the rows of this worker
     */
    void begin(int worker, FloatMatrix embeddings, Activations x, int rows, int from, int to) {
        products.multiply(worker, ends.first, x, rows, firstOutputs);
        workers.barrier(worker);
        copy(embeddings, streams.getFirst(), from, to);
        for (FloatMatrix each : firstOutputs) {
            makeAsLong(embeddings, each, from, to);
        }
    }

    /**
     * Predicts all streams, and copies the first of them. Called by every worker.
     *
     * @param first gets the first stream's own rows
     */
    void predict(int worker, Weights weights, int rows, int from, int to, FloatMatrix first) {
        route(worker, weights, streams.getFirst(), rows, from, to);
        for (int i = 0; i < count; i++) {
            copy(streams.get(i), predicted.get(i), from, to);
            for (int row = from; row < to; row++) {
                for (int j = 0; j < count; j++) {
                    float factor = factor(weights.predict, i * count + j, row);
                    kernels.addRow(streams.get(j), row, factor, predicted.get(i), row);
                }
            }
        }
        copy(predicted.getFirst(), first, from, to);
    }

    /**
     * Computes the short way around attention. Called by every worker after a barrier.
     *
     * @param x what attention reads
     */
    void goAround(int worker, Weights weights, Activations x, int rows, int from, int to) {
        products.multiply(worker, weights.narrow, x, rows, narrowOutputs);
        workers.barrier(worker);
        products.quantize(narrow, from, to);
        workers.barrier(worker);
        products.multiply(worker, weights.wide, narrow, rows, aroundOutputs);
        workers.barrier(worker);
        kernels.rmsNorm(around, weights.norm, epsilon, around, from, to);
        kernels.add(x.values(), around, from, to);
    }

    /** The result of {@link #goAround}. */
    FloatMatrix around() {
        return around;
    }

    /**
     * Corrects all streams. Called by every worker.
     *
     * @param first the first stream behind the block; its own rows become what the layer's input is multiplied with
     */
    void correct(int worker, Weights weights, int rows, int from, int to, FloatMatrix first) {
        route(worker, weights, first, rows, from, to);
        for (int row = from; row < to; row++) {
            kernels.addRow(predicted.getFirst(), row, -1, first, row);
        }
        for (int i = 0; i < count; i++) {
            copy(predicted.get(i), streams.get(i), from, to);
            for (int row = from; row < to; row++) {
                kernels.addRow(first, row, 1 + factor(weights.correct, i, row), streams.get(i), row);
            }
        }
        for (int row = from; row < to; row++) {
            kernels.multiplyRow(streams.getFirst(), row, weights.scale, 0, first, row);
        }
    }

    /** Adds rows to all streams but the first. */
    void add(FloatMatrix x, int from, int to) {
        for (FloatMatrix each : firstOutputs) {
            kernels.add(x, each, from, to);
        }
    }

    /**
     * Joins the streams. Called by every worker.
     *
     * @param joined gets the own rows of the result
     */
    void end(int worker, int rows, int from, int to, FloatMatrix joined) {
        for (int i = 1; i < count; i++) {
            copy(streams.get(i), routed.values(), from, to);
            products.quantize(routed, from, to);
            workers.barrier(worker);
            products.multiply(worker, ends.last.get(i - 1), routed, rows, lastOutputs.get(i - 1));
            workers.barrier(worker);
            makeAsLong(streams.getFirst(), predicted.get(i), from, to);
        }
        copy(streams.getFirst(), joined, from, to);
        for (int i = 1; i < count; i++) {
            kernels.add(predicted.get(i), joined, from, to);
        }
        for (int row = from; row < to; row++) {
            for (int i = 0; i < joined.columns(); i++) {
                joined.set(row, i, joined.get(row, i) / count);
            }
        }
    }

    /** Lets the router give a number between −1 and 1 for each stream. */
    private void route(int worker, Weights weights, FloatMatrix x, int rows, int from, int to) {
        kernels.rmsNorm(x, weights.routerNorm, epsilon, routed.values(), from, to);
        products.quantize(routed, from, to);
        workers.barrier(worker);
        products.multiply(worker, weights.router, routed, rows, modesOutputs);
        workers.barrier(worker);
        kernels.softCap(modes, 1, from, to);
    }

    /** The sum of a row's numbers from the router, each with its factor. */
    private float factor(FloatMatrix factors, int index, int row) {
        float sum = 0;
        for (int i = 0; i < count; i++) {
            sum = Math.fma(factors.get(index, i), modes.get(row, i), sum);
        }
        return sum;
    }

    private static void copy(FloatMatrix x, FloatMatrix y, int from, int to) {
        long at = x.rowOffset(from);
        MemorySegment.copy(x.segment(), at, y.segment(), at, x.rowOffset(to) - at);
    }

    /** Gives rows of y the lengths of those of x. */
    private static void makeAsLong(FloatMatrix x, FloatMatrix y, int from, int to) {
        for (int row = from; row < to; row++) {
            float factor = (float) Math.sqrt(meanSquare(x, row) / Math.max(meanSquare(y, row), LEAST_SQUARE));
            for (int i = 0; i < y.columns(); i++) {
                y.set(row, i, y.get(row, i) * factor);
            }
        }
    }

    private static double meanSquare(FloatMatrix x, int row) {
        double sum = 0;
        for (int i = 0; i < x.columns(); i++) {
            double value = x.get(row, i);
            sum += value * value;
        }
        return sum / x.columns();
    }
}
