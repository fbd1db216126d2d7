package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Computes feed-forward layers with experts ({@link Mixture}), on all workers. A row that chose an expert is an
 * <i>entry</i>. Entries are copied so that those of an expert follow each other; then an expert is a matrix product like
 * any other, and only the experts that a row of the batch chose are read. Each expert's entries begin with a tile, as
 * {@link Activations#from} needs:
 *
 * <pre>
 *   row 0 chose 5, 2     row 1 chose 2, 7     tile   0           1           2
 *                                             rows   row 0, 1    row 0       row 1
 *                                             expert 2           5           7
 * </pre>
 *
 * <p><b>The order of sums depends on the row alone.</b> A kernel computes an entry independently of the others. The
 * result of a row is {@code fma(weight, expert's result, sum)} from +0, over its experts by falling score, and then the
 * shared expert. Where weights come before experts, their inputs are {@code weight × x}, and the factor here is 1. Scores and weights are computed in double precision with {@link StrictMath}, experts ascending.
 *
 * <p>Between two barriers (│). Each worker groups the entries for itself, which takes no longer than waiting until one
 * has. The experts of a single row read the layer's inputs themselves, without the copies and their barrier:
 *
 * <pre>
 *   units    router, shared gate, up │                         │          │ gate, up │            │ down, shared down │
 *   rows                             │ choose, shared activate │          │          │            │                   │ sum
 *   entries                          │                         │ group,   │          │ activate,  │                   │
 *                                    │                         │ copy,    │          │ quantise   │                   │
 *                                    │                         │ quantise │          │            │                   │
 * </pre>
 */
final class MixtureLayers {
    /** A sum of weights below this counts as this, so that no weight becomes infinite. */
    private static final double SMALLEST_SUM = 0x1p-14;

    private final Mixture mixture;
    private final Activation activation;
    private final boolean gated;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;

    // One row for each token of the batch.
    private final FloatMatrix scores;
    private final List<FloatMatrix> firstOutputs;
    private final @Nullable FloatMatrix sharedFactor;
    private final @Nullable FloatMatrix sharedUp;
    /** First the gate: the activation is computed in place. */
    private final @Nullable Activations sharedActivated;

    private final @Nullable FloatMatrix sharedResult;

    // Entry i of row r is r × used + i.
    private final int[] chosen;
    private final float[] weights;

    // Rows of entries from each tile on.
    private final Activations[] inputs;
    private final FloatMatrix[] ups;
    /** First the gates: the activation is computed in place. */
    private final Activations[] activated;
    /** The memory of the inputs, which are not needed any more. */
    private final FloatMatrix[] results;

    private final FloatMatrix zeros;
    // By worker.
    private final Chooser[] choosers;
    private final Groups[] groups;

    /**
     * The weights of one layer.
     *
     * @param first the products of all rows: the router; then those of the shared expert, if there is one: its factor, if
     *     it has one, gate and up; only up where feed-forward layers have no gate
     * @param selectionBias added to the scores when experts are chosen, not to their weights; null if there is none
     * @param gate by expert, each with as many units as the first; up where feed-forward layers have no gate
     * @param up the same; empty where feed-forward layers have no gate
     * @param down the same
     * @param sharedDown of the shared expert; null if there is none
     */
    record Weights(
            List<Projection> first,
            @Nullable FloatMatrix selectionBias,
            List<Projection> gate,
            List<Projection> up,
            List<Projection> down,
            @Nullable Projection sharedDown) {

        /** Whether the inputs need to be quantised. */
        boolean readsQuantized() {
            return Products.anyQuantized(first) || Products.anyQuantized(gate) || Products.anyQuantized(up);
        }

        /** Multiply-adds for one row. */
        long multiplyAdds(Mixture mixture) {
            long expert = gate.getFirst().multiplyAdds()
                    + (up.isEmpty() ? 0 : up.getFirst().multiplyAdds())
                    + down.getFirst().multiplyAdds();
            return Products.multiplyAdds(first)
                    + mixture.used() * expert
                    + (sharedDown == null ? 0 : sharedDown.multiplyAdds());
        }
    }

    /** @param layers the weights of all layers that have experts; they say which rows are quantised */
    MixtureLayers(
            ModelConfig config,
            Mixture mixture,
            List<Weights> layers,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        this.mixture = mixture;
        this.activation = config.blocks().activation();
        gated = config.blocks().gated();
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        scores = FloatMatrix.allocate(arena, maxRows, mixture.experts());
        firstOutputs = new ArrayList<>(List.of(scores));
        int shared = mixture.sharedWidth();
        sharedFactor = mixture.sharedGate() ? FloatMatrix.allocate(arena, maxRows, 1) : null;
        if (sharedFactor != null) {
            firstOutputs.add(sharedFactor);
        }
        boolean sharedQuantized = layers.stream()
                .anyMatch(layer -> layer.sharedDown != null
                        && layer.sharedDown.weights().type().isQuantized());
        sharedActivated = shared > 0 ? Activations.allocate(arena, maxRows, shared, sharedQuantized) : null;
        sharedUp = shared > 0 ? allocateUp(arena, maxRows, shared) : null;
        if (sharedActivated != null && sharedUp != null) {
            firstOutputs.add(sharedActivated.values());
            if (gated) {
                firstOutputs.add(sharedUp);
            }
        }
        sharedResult = shared > 0 ? FloatMatrix.allocate(arena, maxRows, config.hidden()) : null;

        int entries = maxRows * mixture.used();
        chosen = new int[entries];
        weights = new float[entries];

        int tileCount = mostTiles(mixture, maxRows);
        int rows = tileCount * Activations.TILE_ROWS;
        boolean inputsQuantized =
                layers.stream().anyMatch(layer -> Products.anyQuantized(layer.gate) || Products.anyQuantized(layer.up));
        boolean activatedQuantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.down));
        Activations allInputs = Activations.allocate(arena, rows, config.hidden(), inputsQuantized);
        Activations allActivated = Activations.allocate(arena, rows, mixture.width(), activatedQuantized);
        FloatMatrix allUps = allocateUp(arena, rows, mixture.width());
        inputs = new Activations[tileCount];
        activated = new Activations[tileCount];
        ups = new FloatMatrix[tileCount];
        results = new FloatMatrix[tileCount];
        for (int tile = 0; tile < tileCount; tile++) {
            int row = tile * Activations.TILE_ROWS;
            inputs[tile] = allInputs.from(row);
            activated[tile] = allActivated.from(row);
            ups[tile] = allUps.from(row);
            results[tile] = inputs[tile].values();
        }
        zeros = FloatMatrix.allocate(arena, 1, config.hidden());
        choosers = new Chooser[workers.count()];
        groups = new Groups[workers.count()];
        for (int i = 0; i < choosers.length; i++) {
            choosers[i] = new Chooser(mixture);
            groups[i] = new Groups(mixture.experts(), entries);
        }
    }

    /** What the activation is multiplied with; ones if layers have no gate. */
    private FloatMatrix allocateUp(Arena arena, int rows, int width) {
        return gated ? FloatMatrix.allocate(arena, rows, width) : FloatMatrix.filled(arena, rows, width, 1f);
    }

    /** The most tiles that the entries of a batch need. */
    private static int mostTiles(Mixture mixture, int maxRows) {
        long entries = (long) maxRows * mixture.used();
        long groups = Math.min(mixture.experts(), entries);
        return Math.toIntExact((entries + groups * (Activations.TILE_ROWS - 1)) / Activations.TILE_ROWS);
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap. */
    static long byteSize(Mixture mixture, int hidden, int maxRows) {
        int rows = mostTiles(mixture, maxRows) * Activations.TILE_ROWS;
        int shared = mixture.sharedWidth();
        return Activations.byteSize(rows, hidden, true)
                + Activations.byteSize(rows, mixture.width(), true)
                + (shared > 0 ? Activations.byteSize(maxRows, shared, true) : 0)
                + (long) Float.BYTES * rows * mixture.width()
                + Float.BYTES * (mixture.experts() + 1L + shared + (shared > 0 ? hidden : 0)) * maxRows;
    }

    /**
     * Computes a layer for all rows of the batch. Called by every worker after a barrier.
     *
     * @param routed the inputs of the router and of the shared expert, quantised if a matrix needs that
     * @param x the inputs of the experts; may be the same
     * @param rows number of rows of the batch
     * @param from first row of this worker
     * @param to end of the rows of this worker
     * @param result gets the results; the worker's own rows are written without a barrier after them
     */
    void compute(
            int worker,
            Weights layer,
            Activations routed,
            Activations x,
            int rows,
            int from,
            int to,
            FloatMatrix result) {
        products.multiply(worker, layer.first, routed, rows, firstOutputs);
        workers.barrier(worker);
        choose(layer, choosers[worker], from, to);
        activateShared(layer, from, to);
        workers.barrier(worker);
        int entries = rows * mixture.used();
        int first = Workers.shareStart(entries, 1, worker, workers.active());
        int end = Workers.shareStart(entries, 1, worker + 1, workers.active());
        Groups own = groups[worker];
        own.group(chosen, entries);
        boolean copied = rows > 1 || mixture.weighsInputs();
        if (copied) {
            copy(x.values(), own, first, end);
            workers.barrier(worker);
        }
        multiplyGateUp(worker, layer, own, copied ? null : x);
        workers.barrier(worker);
        activate(layer, own, first, end);
        workers.barrier(worker);
        multiplyDown(worker, layer, own, rows);
        workers.barrier(worker);
        add(layer, own, result, from, to);
    }

    /** Chooses the experts of some rows. */
    private void choose(Weights layer, Chooser chooser, int from, int to) {
        products.addBias(layer.first.getFirst(), scores, from, to);
        for (int row = from; row < to; row++) {
            chooser.choose(scores, row, layer.selectionBias, chosen, weights);
        }
    }

    private void activateShared(Weights layer, int from, int to) {
        if (sharedUp != null && sharedActivated != null) {
            FloatMatrix gate = sharedActivated.values();
            int first = layer.first.size() - (gated ? 2 : 1);
            products.addBias(layer.first.get(first), gate, from, to);
            if (gated) {
                products.addBias(layer.first.get(first + 1), sharedUp, from, to);
            }
            kernels.activate(activation, gate, sharedUp, gate, from, to);
            products.quantize(sharedActivated, from, to);
        }
    }

    /** Copies the inputs of some entries to their places. */
    private void copy(FloatMatrix x, Groups own, int first, int end) {
        long bytes = (long) x.columns() * Float.BYTES;
        for (int entry = first; entry < end; entry++) {
            Activations to = inputs[own.tiles[chosen[entry]]];
            int place = own.places[entry];
            FloatMatrix values = to.values();
            MemorySegment.copy(
                    x.segment(), x.rowOffset(entry / mixture.used()), values.segment(), values.rowOffset(place), bytes);
            for (int i = 0; i < x.columns() && mixture.weighsInputs(); i++) {
                values.set(place, i, values.get(place, i) * weights[entry]);
            }
            products.quantize(to, place, place + 1);
        }
    }

    /** @param x the inputs of all experts; null if those of each were copied */
    private void multiplyGateUp(int worker, Weights layer, Groups own, @Nullable Activations x) {
        int gateUnits = layer.gate.getFirst().units();
        int upUnits = gated ? layer.up.getFirst().units() : 0;
        int each = gateUnits + upUnits;
        int units = own.count * each;
        for (long claimed = workers.claim(worker, units); claimed >= 0; claimed = workers.claim(worker, units)) {
            int end = Workers.endUnit(claimed);
            for (int unit = Workers.firstUnit(claimed); unit < end; ) {
                int group = unit / each;
                int expert = own.experts[group];
                int tile = own.groupTiles[group];
                Activations input = x == null ? inputs[tile] : x;
                int from = unit % each;
                int to = from + end - unit;
                if (from < gateUnits) {
                    to = Math.min(to, gateUnits);
                    kernels.multiply(
                            layer.gate.get(expert).weights(),
                            input,
                            own.rows[group],
                            activated[tile].values(),
                            from,
                            to,
                            gateUnits);
                } else {
                    to = Math.min(to, each);
                    kernels.multiply(
                            layer.up.get(expert).weights(),
                            input,
                            own.rows[group],
                            ups[tile],
                            from - gateUnits,
                            to - gateUnits,
                            upUnits);
                }
                unit += to - from;
            }
        }
    }

    private void activate(Weights layer, Groups own, int first, int end) {
        for (int entry = first; entry < end; entry++) {
            int expert = chosen[entry];
            int tile = own.tiles[expert];
            int place = own.places[entry];
            FloatMatrix gate = activated[tile].values();
            products.addBias(layer.gate.get(expert), gate, place, place + 1);
            if (gated) {
                products.addBias(layer.up.get(expert), ups[tile], place, place + 1);
            }
            kernels.activate(activation, gate, ups[tile], gate, place, place + 1);
            products.quantize(activated[tile], place, place + 1);
        }
    }

    private void multiplyDown(int worker, Weights layer, Groups own, int rows) {
        int each = layer.down.getFirst().units();
        int ofExperts = own.count * each;
        Projection shared = layer.sharedDown;
        int units = ofExperts + (shared == null ? 0 : shared.units());
        for (long claimed = workers.claim(worker, units); claimed >= 0; claimed = workers.claim(worker, units)) {
            int end = Workers.endUnit(claimed);
            int ofExpertsEnd = Math.min(end, ofExperts);
            int unit = Workers.firstUnit(claimed);
            while (unit < ofExpertsEnd) {
                int group = unit / each;
                int tile = own.groupTiles[group];
                int from = unit % each;
                int to = Math.min(each, from + ofExpertsEnd - unit);
                kernels.multiply(
                        layer.down.get(own.experts[group]).weights(),
                        activated[tile],
                        own.rows[group],
                        results[tile],
                        from,
                        to,
                        each);
                unit += to - from;
            }
            if (unit < end && shared != null && sharedActivated != null && sharedResult != null) {
                kernels.multiply(
                        shared.weights(),
                        sharedActivated,
                        rows,
                        sharedResult,
                        unit - ofExperts,
                        end - ofExperts,
                        shared.units());
            }
        }
    }

    /** Adds the results of each row's experts by falling score, then the shared expert's. */
    private void add(Weights layer, Groups own, FloatMatrix result, int from, int to) {
        for (int row = from; row < to; row++) {
            MemorySegment.copy(
                    zeros.segment(),
                    0,
                    result.segment(),
                    result.rowOffset(row),
                    zeros.segment().byteSize());
            for (int entry = row * mixture.used(); entry < (row + 1) * mixture.used(); entry++) {
                FloatMatrix expert = results[own.tiles[chosen[entry]]];
                int place = own.places[entry];
                products.addBias(layer.down.get(chosen[entry]), expert, place, place + 1);
                kernels.addRow(expert, place, mixture.weighsInputs() ? 1 : weights[entry], result, row);
            }
            if (layer.sharedDown != null && sharedResult != null) {
                products.addBias(layer.sharedDown, sharedResult, row, row + 1);
                float factor = sharedFactor == null ? 1 : (float) sigmoid(sharedFactor.get(row, 0));
                kernels.addRow(sharedResult, row, factor, result, row);
            }
        }
    }

    private static double sigmoid(double x) {
        return 1 / (1 + StrictMath.exp(-x));
    }

    /** The entries of a batch by expert. Each worker has its own, and all have the same numbers. */
    private static final class Groups {
        /** The number of experts in use; below, those experts ascending, with the number of their entries and their tiles. */
        int count;

        final int[] experts;
        final int[] rows;
        final int[] groupTiles;
        /** Which row of its expert's rows an entry is. */
        final int[] places;
        /** By expert: its first tile. */
        final int[] tiles;
        /** By expert: the number of its entries. */
        private final int[] counts;

        Groups(int expertCount, int entries) {
            int most = Math.min(expertCount, entries);
            experts = new int[most];
            rows = new int[most];
            groupTiles = new int[most];
            places = new int[entries];
            tiles = new int[expertCount];
            counts = new int[expertCount];
        }

        /** Gives the entries of each expert consecutive places, and each expert in use its tiles. */
        void group(int[] chosen, int entries) {
            Arrays.fill(counts, 0);
            for (int entry = 0; entry < entries; entry++) {
                places[entry] = counts[chosen[entry]]++;
            }
            count = 0;
            int tile = 0;
            for (int expert = 0; expert < counts.length; expert++) {
                if (counts[expert] > 0) {
                    tiles[expert] = tile;
                    experts[count] = expert;
                    rows[count] = counts[expert];
                    groupTiles[count++] = tile;
                    tile += Math.ceilDiv(counts[expert], Activations.TILE_ROWS);
                }
            }
        }
    }

    /** Chooses experts for one row at a time. Each worker has its own. */
    private static final class Chooser {
        private final Mixture mixture;
        /** The weight of each expert before it is normalised. */
        private final double[] values;
        /** What experts are chosen by. */
        private final double[] ranks;

        private final boolean[] taken;
        private final double[] groupRanks;
        private final boolean[] groupTaken;

        Chooser(Mixture mixture) {
            this.mixture = mixture;
            values = new double[mixture.experts()];
            ranks = new double[mixture.experts()];
            taken = new boolean[mixture.experts()];
            groupRanks = new double[mixture.groups()];
            groupTaken = new boolean[mixture.groups()];
        }

        /** Writes the entries of a row: experts by falling score, and their weights. */
        void choose(FloatMatrix scores, int row, @Nullable FloatMatrix bias, int[] chosen, float[] weights) {
            score(scores, row);
            for (int expert = 0; expert < ranks.length; expert++) {
                ranks[expert] = values[expert] + (bias == null ? 0 : bias.get(0, expert));
                taken[expert] = false;
            }
            if (mixture.groups() > 1) {
                leaveOutGroups();
            }
            int first = row * mixture.used();
            boolean ofNear = mixture.scoring() == Mixture.Scoring.SOFTMAX_OF_NEAR;
            double max = Double.NEGATIVE_INFINITY;
            for (int i = 0; i < mixture.used(); i++) {
                int best = best(ranks, taken);
                if (ofNear) {
                    values[best] = weightAmongNear(best);
                }
                taken[best] = true;
                chosen[first + i] = best;
                max = Math.max(max, values[best]);
            }
            boolean ofChosen = mixture.scoring() == Mixture.Scoring.SOFTMAX_OF_CHOSEN;
            double sum = 0;
            for (int i = first; i < first + mixture.used(); i++) {
                int expert = chosen[i];
                values[expert] = ofChosen ? StrictMath.exp(values[expert] - max) : values[expert];
                sum += values[expert];
            }
            double divisor = ofChosen ? sum : mixture.normalised() ? Math.max(sum, SMALLEST_SUM) : 1;
            for (int i = first; i < first + mixture.used(); i++) {
                weights[i] = (float) (values[chosen[i]] / divisor * mixture.scale());
            }
        }

        private void score(FloatMatrix scores, int row) {
            double max = Double.NEGATIVE_INFINITY;
            for (int expert = 0; expert < values.length; expert++) {
                values[expert] = scores.get(row, expert);
                max = Math.max(max, values[expert]);
            }
            switch (mixture.scoring()) {
                case SOFTMAX_OF_CHOSEN, SOFTMAX_OF_NEAR -> {}
                case SIGMOID -> {
                    for (int expert = 0; expert < values.length; expert++) {
                        values[expert] = sigmoid(values[expert]);
                    }
                }
                case SOFTMAX -> {
                    double sum = 0;
                    for (int expert = 0; expert < values.length; expert++) {
                        values[expert] = StrictMath.exp(values[expert] - max);
                        sum += values[expert];
                    }
                    for (int expert = 0; expert < values.length; expert++) {
                        values[expert] /= sum;
                    }
                }
            }
        }

        /** See {@link Mixture.Scoring#SOFTMAX_OF_NEAR}. Scores that are taken into account are not yet weights. */
        private double weightAmongNear(int best) {
            double score = values[best];
            double sum = 0;
            for (int expert = 0; expert < values.length; expert++) {
                double distance = score - values[expert];
                double scale = Math.max(score, Math.abs(values[expert]));
                if (expert == best || (!taken[expert] && !(distance / scale > Mixture.Scoring.NEAR))) {
                    sum += StrictMath.exp(-distance);
                }
            }
            return 1 / sum;
        }

        /** Marks the experts of all groups but the best as taken. */
        private void leaveOutGroups() {
            int size = ranks.length / mixture.groups();
            for (int group = 0; group < mixture.groups(); group++) {
                double highest = Double.NEGATIVE_INFINITY;
                double second = Double.NEGATIVE_INFINITY;
                for (int expert = group * size; expert < (group + 1) * size; expert++) {
                    if (ranks[expert] > highest) {
                        second = highest;
                        highest = ranks[expert];
                    } else if (ranks[expert] > second) {
                        second = ranks[expert];
                    }
                }
                groupRanks[group] = highest + second;
                groupTaken[group] = false;
            }
            Arrays.fill(taken, true);
            for (int i = 0; i < mixture.groupsUsed(); i++) {
                int best = best(groupRanks, groupTaken);
                groupTaken[best] = true;
                Arrays.fill(taken, best * size, (best + 1) * size, false);
            }
        }

        /** The index of the largest number that is not taken; of equal ones, and where all are NaN, the lowest. */
        private static int best(double[] numbers, boolean[] taken) {
            int best = -1;
            for (int i = 0; i < numbers.length; i++) {
                if (!taken[i] && (best < 0 || numbers[i] > numbers[best])) {
                    best = i;
                }
            }
            return best;
        }
    }
}
