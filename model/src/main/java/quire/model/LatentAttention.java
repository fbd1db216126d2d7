package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * The products around attention with a latent ({@link Architecture.Latent}). A position stores one latent and one rotated
 * key for all heads, as the only KV head. A head's matrix of keys is applied to its query and its matrix of values to its
 * result, so keys and values of single heads are never computed:
 *
 * <pre>
 *   x ──▶ [q_a ─▶ norm ─▶ q_b]  or  q ──┬─▶ per head: plain part ─▶ k_b ──▶ query  = [rotated part | latent part]
 *     │                                └─▶ per head: rotated part ────────┘
 *     └─▶ kv_a ─▶ latent ─▶ norm ──────────▶ key    = [rotated key  | latent]
 *              └▶ rotated key               value  = [zeros        | latent]
 *   attention ─▶ per head: latent part ─▶ v_b ─▶ values of all heads ─▶ output
 * </pre>
 *
 * <p>The rotated part comes first, because a rotation begins with the first number of a head. Rows of one head follow each
 * other, so the product of a head is a product like any other.
 */
final class LatentAttention {
    private final Architecture.Latent latent;
    private final int heads;
    private final int headDim;
    private final float epsilon;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;

    // One row for each token of the batch.
    /** Before its norm; null where layers make queries of the inputs. */
    private final @Nullable FloatMatrix queryLatent;

    private final @Nullable Activations queryNormed;
    private final FloatMatrix allQueries;
    private final FloatMatrix latents;
    private final FloatMatrix rotatedKeys;
    private final List<FloatMatrix> firstOutputs;
    private final List<FloatMatrix> queryOutputs;
    /** What attention computes: a latent for each head, behind numbers without meaning. */
    private final FloatMatrix attended;

    // By head, with a row for each token of the batch.
    private final Activations[] plainQueries;
    private final Activations[] attendedLatents;
    /** The memory of {@link #attendedLatents}, which is in use only after attention. */
    private final FloatMatrix[] latentQueries;

    private final FloatMatrix[] headValues;

    /**
     * The weights of one layer.
     *
     * @param first of the inputs: the queries or their latent, the latent of keys and values, the rotated keys
     * @param queryNorm norm of the queries' latent; null if queries are made of the inputs
     * @param query from the queries' latent to the queries; empty if they are made of the inputs
     * @param latentNorm norm of the latent of keys and values
     * @param keys by head: from the plain part of a query to its latent part
     * @param values by head: from an attended latent to the values
     */
    record Weights(
            List<Projection> first,
            @Nullable FloatMatrix queryNorm,
            List<Projection> query,
            FloatMatrix latentNorm,
            List<Projection> keys,
            List<Projection> values) {

        long multiplyAdds() {
            return Products.multiplyAdds(first)
                    + Products.multiplyAdds(query)
                    + Products.multiplyAdds(keys)
                    + Products.multiplyAdds(values);
        }
    }

    /** @param layers the weights of all layers; they say which rows are quantised */
    LatentAttention(
            ModelConfig config,
            Architecture.Latent latent,
            List<Weights> layers,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        this.latent = latent;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        heads = config.heads();
        headDim = config.headDim();
        epsilon = config.normEpsilon();
        boolean queryQuantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.query));
        boolean hasLatent = !layers.getFirst().query.isEmpty();
        queryLatent = hasLatent ? FloatMatrix.allocate(arena, maxRows, latent.queryRank()) : null;
        queryNormed = hasLatent ? Activations.allocate(arena, maxRows, latent.queryRank(), queryQuantized) : null;
        allQueries = FloatMatrix.allocate(arena, maxRows, heads * latent.queryDim());
        latents = FloatMatrix.allocate(arena, maxRows, latent.rank());
        rotatedKeys = FloatMatrix.allocate(arena, maxRows, latent.rotatedDim());
        firstOutputs = List.of(queryLatent == null ? allQueries : queryLatent, latents, rotatedKeys);
        queryOutputs = List.of(allQueries);
        attended = FloatMatrix.allocate(arena, maxRows, heads * headDim);

        int rows = rowsOfHead(maxRows);
        Activations plain = Activations.allocate(
                arena,
                heads * rows,
                latent.plainDim(),
                layers.stream().anyMatch(layer -> Products.anyQuantized(layer.keys)));
        Activations inLatents = Activations.allocate(
                arena,
                heads * rows,
                latent.rank(),
                layers.stream().anyMatch(layer -> Products.anyQuantized(layer.values)));
        FloatMatrix values = FloatMatrix.allocate(arena, heads * rows, latent.valueDim());
        plainQueries = new Activations[heads];
        attendedLatents = new Activations[heads];
        latentQueries = new FloatMatrix[heads];
        headValues = new FloatMatrix[heads];
        for (int head = 0; head < heads; head++) {
            plainQueries[head] = plain.from(head * rows);
            attendedLatents[head] = inLatents.from(head * rows);
            latentQueries[head] = attendedLatents[head].values();
            headValues[head] = values.from(head * rows);
        }
    }

    /** Each head begins with a tile, see {@link Activations#from}. */
    private static int rowsOfHead(int maxRows) {
        return Math.ceilDiv(maxRows, Activations.TILE_ROWS) * Activations.TILE_ROWS;
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap. */
    static long byteSize(ModelConfig config, Architecture.Latent latent, int maxRows) {
        int heads = config.heads();
        int headRows = Math.multiplyExact(heads, rowsOfHead(maxRows));
        long perRow = latent.queryRank()
                + (long) heads * latent.queryDim()
                + latent.rank()
                + latent.rotatedDim()
                + (long) heads * config.headDim();
        return Activations.byteSize(maxRows, latent.queryRank(), true)
                + Float.BYTES * perRow * maxRows
                + Activations.byteSize(headRows, latent.plainDim(), true)
                + Activations.byteSize(headRows, latent.rank(), true)
                + (long) Float.BYTES * headRows * latent.valueDim();
    }

    /** Where attention writes its results. */
    FloatMatrix attended() {
        return attended;
    }

    /**
     * Computes queries, keys and values before their rotation. Called by every worker after a barrier; the worker's own
     * rows are written without a barrier after them.
     *
     * @param x the inputs, quantised if a matrix needs that
     * @param rows number of rows of the batch
     * @param from first row of this worker
     * @param to end of the rows of this worker
     */
    void queriesKeysValues(
            int worker,
            Weights layer,
            Activations x,
            int rows,
            int from,
            int to,
            FloatMatrix queries,
            FloatMatrix keys,
            FloatMatrix values) {
        products.multiply(worker, layer.first, x, rows, firstOutputs);
        workers.barrier(worker);
        kernels.rmsNorm(latents, layer.latentNorm, epsilon, latents, from, to);
        for (int row = from; row < to; row++) {
            copy(rotatedKeys, row, 0, keys, row, 0, latent.rotatedDim());
            copy(latents, row, 0, keys, row, latent.rotatedDim(), latent.rank());
            copy(latents, row, 0, values, row, latent.rotatedDim(), latent.rank());
        }
        if (queryLatent != null && queryNormed != null && layer.queryNorm != null) {
            kernels.rmsNorm(queryLatent, layer.queryNorm, epsilon, queryNormed.values(), from, to);
            products.quantize(queryNormed, from, to);
            workers.barrier(worker);
            products.multiply(worker, layer.query, queryNormed, rows, queryOutputs);
            workers.barrier(worker);
        }
        for (int head = 0; head < heads; head++) {
            int inQueries = head * latent.queryDim();
            for (int row = from; row < to; row++) {
                copy(allQueries, row, inQueries, plainQueries[head].values(), row, 0, latent.plainDim());
                int rotated = inQueries + latent.plainDim();
                copy(allQueries, row, rotated, queries, row, head * headDim, latent.rotatedDim());
            }
            products.quantize(plainQueries[head], from, to);
        }
        workers.barrier(worker);
        multiplyHeads(worker, layer.keys, plainQueries, rows, latentQueries);
        workers.barrier(worker);
        for (int head = 0; head < heads; head++) {
            int inHead = head * headDim + latent.rotatedDim();
            for (int row = from; row < to; row++) {
                copy(latentQueries[head], row, 0, queries, row, inHead, latent.rank());
            }
        }
    }

    /** Computes the values of all heads from what attention has written. Called by every worker after a barrier. */
    void values(int worker, Weights layer, int rows, int from, int to, FloatMatrix result) {
        for (int head = 0; head < heads; head++) {
            int inHead = head * headDim + latent.rotatedDim();
            for (int row = from; row < to; row++) {
                copy(attended, row, inHead, attendedLatents[head].values(), row, 0, latent.rank());
            }
            products.quantize(attendedLatents[head], from, to);
        }
        workers.barrier(worker);
        multiplyHeads(worker, layer.values, attendedLatents, rows, headValues);
        workers.barrier(worker);
        for (int head = 0; head < heads; head++) {
            for (int row = from; row < to; row++) {
                copy(headValues[head], row, 0, result, row, head * latent.valueDim(), latent.valueDim());
            }
        }
    }

    /** Computes a product for each head. All matrices have as many units as the first. */
    private void multiplyHeads(int worker, List<Projection> matrices, Activations[] x, int rows, FloatMatrix[] y) {
        int each = matrices.getFirst().units();
        int units = heads * each;
        for (long claimed = workers.claim(worker, units); claimed >= 0; claimed = workers.claim(worker, units)) {
            int end = Workers.endUnit(claimed);
            for (int unit = Workers.firstUnit(claimed); unit < end; ) {
                int head = unit / each;
                int from = unit % each;
                int to = Math.min(each, from + end - unit);
                kernels.multiply(matrices.get(head).weights(), x[head], rows, y[head], from, to, each);
                unit += to - from;
            }
        }
    }

    private static void copy(
            FloatMatrix from, int fromRow, int fromColumn, FloatMatrix to, int toRow, int toColumn, int count) {
        MemorySegment.copy(
                from.segment(),
                from.rowOffset(fromRow) + fromColumn * (long) Float.BYTES,
                to.segment(),
                to.rowOffset(toRow) + toColumn * (long) Float.BYTES,
                count * (long) Float.BYTES);
    }
}
