package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import quire.engine.EngineConfig;
import quire.engine.FakeTokenizer;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.Requests;
import quire.engine.SamplingParams;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;
import quire.engine.schedule.EngineLoop;
import quire.engine.schedule.StepCost;
import quire.model.Batch;
import quire.model.Model;
import quire.tensor.FloatMatrix;

/** Speculation does not change the distribution of answers. */
class CouplingTest {
    private static final int DRAWS = 100_000;
    private static final int VOCABULARY = 12;
    /** Tokens of an answer. */
    private static final int ANSWER = 4;

    /** A model whose logits depend only on the last token and the position, so that every distribution is known. */
    private static final class TableModel implements Model {
        private final Arena arena = Arena.ofShared();
        private final FloatMatrix logits = FloatMatrix.allocate(arena, 512, VOCABULARY);
        private final double sharpness;

        TableModel(double sharpness) {
            this.sharpness = sharpness;
        }

        float logit(int last, int position, int token) {
            double wave = StrictMath.sin(1.7 * token + 0.9 * last + 0.31 * position);
            return (float) (sharpness * wave);
        }

        @Override
        public void copyPage(int from, int to) {
            throw new UnsupportedOperationException("this model has no pages");
        }

        @Override
        public long pageBytes() {
            return 1;
        }

        @Override
        public void exportPage(int page, int windowPage, MemorySegment to) {
            throw new UnsupportedOperationException("this model has no pages");
        }

        @Override
        public void importPage(int page, int windowPage, MemorySegment from) {
            throw new UnsupportedOperationException("this model has no pages");
        }

        @Override
        public FloatMatrix forward(Batch batch) {
            int logitRow = 0;
            for (int s = 0; s < batch.sequences(); s++) {
                int end = batch.firstRow(s) + batch.rowCount(s);
                for (int row = end - batch.logitRows(s); row < end; row++) {
                    for (int token = 0; token < VOCABULARY; token++) {
                        logits.set(logitRow, token, logit(batch.tokens()[row], batch.positions()[row], token));
                    }
                    logitRow++;
                }
            }
            return logits;
        }

        @Override
        public int vocabularySize() {
            return VOCABULARY;
        }

        @Override
        public int contextLength() {
            return 16;
        }

        @Override
        public int pageTokens() {
            return 16;
        }

        @Override
        public int pageCount() {
            return 64;
        }

        @Override
        public int maxBatchTokens() {
            return 512;
        }

        @Override
        public int maxLogitRows() {
            return 512;
        }

        @Override
        public void close() {
            arena.close();
        }
    }

    private static SamplingParams.Builder sampling() {
        return SamplingParams.builder().maxTokens(ANSWER).ignoreEndOfText(true);
    }

    @Test
    void draws_temperatures_equalTheModel() {
        assertEqualsTheModel(sampling().temperature(1));
        assertEqualsTheModel(sampling().temperature(0.5));
        assertEqualsTheModel(sampling().temperature(2));
    }

    @Test
    void draws_filters_equalTheModel() {
        assertEqualsTheModel(sampling().topP(0.8));
        assertEqualsTheModel(sampling().minP(0.15));
        assertEqualsTheModel(sampling().temperature(1.5).topK(5));
    }

    @Test
    void draws_penaltiesAndBias_equalTheModel() {
        assertEqualsTheModel(sampling().repetitionPenalty(1.8));
        assertEqualsTheModel(sampling().presencePenalty(1).frequencyPenalty(0.7));
        assertEqualsTheModel(sampling().logitBias(Map.of(3, 1.5f, 4, -2f)));
    }

    /**
     * Draws many answers with speculation. Compares each token with its conditional distribution, which is computed
     * directly from the definition in {@link SamplingParams}.
     */
    private static void assertEqualsTheModel(SamplingParams.Builder params) {
        TableModel model = new TableModel(1.5);
        TableModel draft = new TableModel(1.1); // similar, but not equal
        int sequences = 64;
        EngineConfig config = Requests.config(sequences, 512, 16);
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .drafts(context -> {
                    CostModel cost = CostModel.unknown(512);
                    Drafter[] drafters = {new ModelDrafter(draft, cost, StepCost.NONE, 0, context)};
                    return new Speculator(drafters, DraftPolicy.always(2, drafters), cost, context);
                })
                .nanoClock(() -> 0)
                .build();
        int prompt = 2;
        SplittableRandom seeds = new SplittableRandom(11);
        // By the tokens of the answer so far: how often each next token was drawn.
        Map<List<Integer>, long[]> seen = new HashMap<>();
        List<TokenStream> streams = new ArrayList<>();
        for (int drawn = 0; drawn < DRAWS; drawn += ANSWER) {
            streams.add(loop.submit(new Request(
                    new int[] {prompt}, params.seed(seeds.nextLong()).build())));
            if (streams.size() == sequences) {
                drain(loop, streams, seen);
            }
        }
        drain(loop, streams, seen);
        SpeculationCounts stats = loop.tracker().stats().speculation().counts();
        assertThat(stats.acceptedTokens()).as("accepted draft tokens").isGreaterThan(DRAWS / 10);
        assertThat(stats.draftTokens() - stats.acceptedTokens()).isGreaterThan(DRAWS / 100);

        double chiSquared = 0;
        int freedom = 0;
        SamplingParams built = params.build();
        for (Map.Entry<List<Integer>, long[]> entry : seen.entrySet()) {
            long[] counts = entry.getValue();
            double[] expected = distribution(model, built, prompt, entry.getKey());
            long total = Arrays.stream(counts).sum();
            // Tokens that are expected fewer than 5 times form one cell, as usual.
            double rareExpected = 0;
            long rareSeen = 0;
            int cells = 0;
            for (int token = 0; token < VOCABULARY; token++) {
                double mean = expected[token] * total;
                if (mean == 0) {
                    assertThat(counts[token]).as("excluded token %d", token).isZero();
                } else if (mean < 5) {
                    rareExpected += mean;
                    rareSeen += counts[token];
                } else {
                    chiSquared += (counts[token] - mean) * (counts[token] - mean) / mean;
                    cells++;
                }
            }
            if (rareExpected >= 5) {
                chiSquared += (rareSeen - rareExpected) * (rareSeen - rareExpected) / rareExpected;
                cells++;
            }
            freedom += Math.max(0, cells - 1);
        }
        assertThat(freedom).isGreaterThan(10);
        // Wilson and Hilferty: the cube root of chi-squared divided by its degrees of freedom is nearly normal. The
        // limit is 4 sigma; seeds are fixed.
        double h = 2.0 / (9 * freedom);
        double sigma = (StrictMath.cbrt(chiSquared / freedom) - (1 - h)) / StrictMath.sqrt(h);
        assertThat(sigma)
                .as("%s: chi-squared %s of %d", built, chiSquared, freedom)
                .isBetween(-4.0, 4.0);
        model.close();
        draft.close();
    }

    private static void drain(EngineLoop loop, List<TokenStream> streams, Map<List<Integer>, long[]> seen) {
        while (loop.doWork() > 0) {}
        for (TokenStream stream : streams) {
            List<Integer> history = new ArrayList<>();
            for (Output output = stream.poll(); output != null; output = stream.poll()) {
                seen.computeIfAbsent(List.copyOf(history), key -> new long[VOCABULARY])[output.token()]++;
                history.add(output.token());
            }
            assertThat(history).hasSize(ANSWER);
        }
        streams.clear();
    }

    private static double[] distribution(TableModel model, SamplingParams params, int prompt, List<Integer> answer) {
        int last = answer.isEmpty() ? prompt : answer.getLast();
        double[] logits = new double[VOCABULARY];
        for (int token = 0; token < VOCABULARY; token++) {
            double logit = model.logit(last, answer.size(), token);
            long count = Collections.frequency(answer, token);
            if (count > 0 || token == prompt) {
                logit = logit > 0 ? logit / params.repetitionPenalty() : logit * params.repetitionPenalty();
            }
            logit -= count * params.frequencyPenalty() + (count > 0 ? params.presencePenalty() : 0);
            logits[token] = logit + params.logitBias().getOrDefault(token, 0f);
        }
        List<Integer> order = new ArrayList<>();
        for (int token = 0; token < VOCABULARY; token++) {
            order.add(token);
        }
        order.sort((a, b) -> logits[a] == logits[b] ? Integer.compare(a, b) : Double.compare(logits[b], logits[a]));
        double best = logits[order.getFirst()];
        double[] weights = new double[VOCABULARY];
        double sum = 0;
        int kept = params.topK() == 0 ? VOCABULARY : Math.min(params.topK(), VOCABULARY);
        for (int token : order.subList(0, kept)) {
            weights[token] = StrictMath.exp((logits[token] - best) / params.temperature());
            sum += weights[token];
        }
        double cumulated = 0;
        for (int token : order) {
            boolean inside = cumulated < params.topP() * sum && weights[token] >= params.minP();
            cumulated += weights[token];
            weights[token] = inside ? weights[token] : 0;
        }
        double total = Arrays.stream(weights).sum();
        return Arrays.stream(weights).map(weight -> weight / total).toArray();
    }
}
