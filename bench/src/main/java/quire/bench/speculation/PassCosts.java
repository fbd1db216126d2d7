package quire.bench.speculation;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.bench.measure.Quantiles;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * The time of a pass of a model, and of its draft model, for different numbers of rows. Every row has logits. There is
 * no engine.
 */
final class PassCosts {
    private static final int[] ROWS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 32, 64};
    private static final int CONTEXT = 64;
    /**
     * Number of successive measured passes of one size. One pass before them is not measured, because it finds other
     * data in the caches. An engine also runs many passes of one size in succession.
     */
    private static final int PASSES_IN_A_ROW = 3;

    private static final int MIN_SAMPLES = 3;
    private static final int PAGE_TOKENS = 16;

    private PassCosts() {}

    /**
     * Measures passes of all sizes, alternating.
     *
     * @param draft a draft model, or null
     * @param seconds time for each model; the first half warms up
     * @return a table: for each number of rows, the median time of a pass in microseconds
     */
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
        int maxRows = ROWS[ROWS.length - 1];
        try (Gguf file = Gguf.open(path)) {
            ModelConfig shape = ModelConfig.from(file);
            int context = Math.min(CONTEXT, shape.contextLength() - maxRows);
            int pages = (context + maxRows + PAGE_TOKENS - 1) / PAGE_TOKENS;
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, PAGE_TOKENS, pages, maxRows, maxRows);
            try (Decoder decoder = Decoder.load(file, shape, KernelSets.best(), team, capacity)) {
                int[] tokens = new int[context + maxRows];
                int[] table = IntStream.range(0, pages).toArray();
                Batch batch = new Batch(maxRows, 1);
                List<List<Double>> times = new ArrayList<>();
                Arrays.stream(ROWS).forEach(rows -> times.add(new ArrayList<>()));
                long begin = System.nanoTime();
                double spent = 0;
                while (spent < seconds || times.getFirst().size() < MIN_SAMPLES) {
                    spent = (System.nanoTime() - begin) / 1e9;
                    for (int i = 0; i < ROWS.length; i++) {
                        batch.clear();
                        batch.add(tokens, context, context + ROWS[i], table, ROWS[i]);
                        batch.setState(0, 0, 0, Batch.Start.ANY);
                        decoder.forward(batch);
                        long from = System.nanoTime();
                        for (int k = 0; k < PASSES_IN_A_ROW; k++) {
                            decoder.forward(batch);
                        }
                        double micros = (System.nanoTime() - from) / 1e3 / PASSES_IN_A_ROW;
                        if (spent > seconds / 2) { // the JIT compiler has done its work
                            times.get(i).add(micros);
                        }
                    }
                }
                return times.stream().mapToDouble(Quantiles::median).toArray();
            }
        }
    }
}
