package quire.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * What passes of a model and of its draft cost by their number of rows, all with logits, without an engine around them;
 * and the most that speculation could make of that: with γ guesses of which each is right with probability α,
 *
 * <pre>
 *   speed-up  =  E × (pass(1) + rest) / (pass(γ + 1) + γ × draft(1) + rest)        E = (1 − α^(γ+1)) / (1 − α)
 * </pre>
 *
 * where rest is what a step takes beside its pass.
 */
final class PassCosts {
    private static final int[] ROWS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 32, 64};
    private static final int CONTEXT = 64;
    /** Passes of one size one after the other, as an engine makes them; one before them finds the caches cold. */
    private static final int IN_A_ROW = 3;

    private static final int FEWEST = 3;
    private static final int MOST_GUESSES = 8;

    private PassCosts() {}

    /** Rows with the microseconds of a pass, the median of many; the sizes take turns. */
    static List<Map<String, Object>> measure(Path model, @Nullable Path draft, int threads, double seconds) {
        try (Workers team = new Workers(threads)) {
            double[] large = measure(model, team, seconds);
            double[] small = draft == null ? new double[0] : measure(draft, team, seconds);
            List<Map<String, Object>> rows = new ArrayList<>();
            for (int i = 0; i < ROWS.length; i++) {
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("rows", ROWS[i]);
                row.put("model_microseconds", large[i]);
                row.put("times_one_row", large[i] / large[0]);
                if (draft != null) {
                    row.put("draft_microseconds", small[i]);
                }
                rows.add(row);
            }
            return rows;
        }
    }

    private static double[] measure(Path path, Workers team, double seconds) {
        int most = ROWS[ROWS.length - 1];
        try (Gguf file = Gguf.open(path)) {
            ModelConfig shape = ModelConfig.from(file);
            KvLayout layout = new KvLayout(KvType.F16, 16, shape.kvHeads(), shape.headDim());
            int context = Math.min(CONTEXT, shape.contextLength() - most);
            int pages = (context + most + 15) / 16;
            try (Decoder decoder = Decoder.load(
                    file, shape, KernelSets.best(), team, new Decoder.Capacity(layout, pages, most, most))) {
                int[] tokens = new int[context + most];
                int[] table = IntStream.range(0, pages).toArray();
                Batch batch = new Batch(most, 1);
                List<List<Double>> times = new ArrayList<>();
                Arrays.stream(ROWS).forEach(rows -> times.add(new ArrayList<>()));
                long begin = System.nanoTime();
                double spent = 0;
                while (spent < seconds || times.getFirst().size() < FEWEST) {
                    spent = (System.nanoTime() - begin) / 1e9;
                    for (int i = 0; i < ROWS.length; i++) {
                        batch.clear();
                        batch.add(tokens, context, context + ROWS[i], table, ROWS[i]);
                        decoder.forward(batch);
                        long from = System.nanoTime();
                        for (int k = 0; k < IN_A_ROW; k++) {
                            decoder.forward(batch);
                        }
                        double micros = (System.nanoTime() - from) / 1e3 / IN_A_ROW;
                        if (spent > seconds / 2) { // the compiler is done
                            times.get(i).add(micros);
                        }
                    }
                }
                return times.stream()
                        .mapToDouble(list -> PairedSpeed.quantile(list, 0.5))
                        .toArray();
            }
        }
    }

    /** E: tokens of a step with so many guesses. */
    static double tokensAStep(double acceptance, int guesses) {
        double sum = 1;
        double reach = 1;
        for (int i = 0; i < guesses; i++) {
            reach *= acceptance;
            sum += reach;
        }
        return sum;
    }

    /**
     * The best that these costs allow, by acceptance.
     *
     * @param costs what {@link #measure} found
     * @param restMicros what a step takes beside its pass
     */
    static List<Map<String, Object>> best(List<Map<String, Object>> costs, double restMicros) {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (double acceptance : new double[] {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1}) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("acceptance", acceptance);
            put(row, "free_guesses", costs, restMicros, acceptance, 0);
            if (costs.getFirst().get("draft_microseconds") instanceof Double pass) {
                put(row, "draft_model", costs, restMicros, acceptance, pass);
            }
            rows.add(row);
        }
        return rows;
    }

    private static void put(
            Map<String, Object> row,
            String name,
            List<Map<String, Object>> costs,
            double rest,
            double acceptance,
            double draftPass) {
        double best = 1;
        int bestGuesses = 0;
        double one = SpeculationPage.number(costs.getFirst(), "model_microseconds") + rest;
        for (Map<String, Object> cost : costs) {
            int guesses = (int) SpeculationPage.number(cost, "rows") - 1;
            double step = SpeculationPage.number(cost, "model_microseconds") + guesses * draftPass + rest;
            double speedup = tokensAStep(acceptance, guesses) * one / step;
            if (guesses <= 2 * MOST_GUESSES && speedup > best) {
                best = speedup;
                bestGuesses = guesses;
            }
        }
        row.put(name + "_speedup", best);
        row.put(name + "_tokens", bestGuesses);
    }
}
