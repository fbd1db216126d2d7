package quire.engine.sample;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.Logprobs;
import quire.engine.SamplingParams;
import quire.tensor.FloatMatrix;

class SamplerTest {
    private static final int[] NOTHING = {};

    // ---- the plain formulas of the documentation, on logits with penalties and bias ----

    private static int plainChoose(float[] row, SamplingParams params, int position) {
        List<Integer> kept = byLikelihood(row);
        double t = params.temperature();
        if (t == 0) {
            return kept.getFirst();
        }
        kept = plainKept(row, params, position);
        int chosen = -1;
        double best = Double.NEGATIVE_INFINITY;
        double max = row[kept.getFirst()];
        for (int token : kept.stream().sorted().toList()) {
            double score = (row[token] - max) * (1 / t) + Sampler.gumbel(params.seed(), position, token);
            if (score > best) {
                best = score;
                chosen = token;
            }
        }
        return chosen;
    }

    private static List<Integer> plainKept(float[] row, SamplingParams params, int position) {
        List<Integer> kept = byLikelihood(row);
        double t = params.temperature();
        if (params.topNSigma() > 0) {
            double[] finite = kept.stream()
                    .filter(token -> row[token] > Float.NEGATIVE_INFINITY)
                    .mapToDouble(token -> row[token])
                    .toArray();
            double mean = Arrays.stream(finite).average().orElseThrow();
            double variance = Arrays.stream(finite)
                    .map(x -> (x - mean) * (x - mean))
                    .average()
                    .orElseThrow();
            double least = row[kept.getFirst()] - params.topNSigma() * Math.sqrt(variance);
            kept = kept.stream()
                    .filter(token -> row[token] >= least * (1 + Math.signum(-least) * 1e-12))
                    .toList();
        }
        if (params.topK() > 0) {
            kept = kept.subList(0, Math.min(params.topK(), kept.size()));
        }
        if (params.typicalP() < 1) {
            kept = plainTypical(row, kept, params);
        }
        double max = row[kept.getFirst()];
        if (params.topP() < 1) {
            double total = 0;
            for (int token : kept) {
                total += StrictMath.exp((row[token] - max) / t);
            }
            double sum = 0;
            int count = 0;
            while (sum < params.topP() * total || count == 0) {
                sum += StrictMath.exp((row[kept.get(count++)] - max) / t);
            }
            kept = kept.subList(0, count);
        }
        kept = kept.stream()
                .filter(token -> StrictMath.exp((row[token] - max) / t) >= params.minP() * (1 - 1e-12))
                .toList();
        if (Sampler.excludesTopChoices(params, position)) {
            double total = kept.stream()
                    .mapToDouble(token -> StrictMath.exp((row[token] - max) / t))
                    .sum();
            long top = kept.stream()
                    .filter(token -> StrictMath.exp((row[token] - max) / t) >= params.xtcThreshold() * total - 1e-12)
                    .count();
            kept = kept.subList((int) Math.max(top - 1, 0), kept.size());
        }
        return kept;
    }

    /** The tokens whose −ln p is nearest to the entropy, in the order of {@code kept}. */
    private static List<Integer> plainTypical(float[] row, List<Integer> kept, SamplingParams params) {
        double max = row[kept.getFirst()];
        double inverse = Math.min(1 / params.temperature(), Double.MAX_VALUE);
        Map<Integer, Double> weight = new HashMap<>();
        double total = 0;
        double mean = 0;
        for (int token : kept) {
            double scaled = (row[token] - max) * inverse;
            weight.put(token, StrictMath.exp(scaled));
            total += StrictMath.exp(scaled);
            mean += scaled < -60 ? 0 : StrictMath.exp(scaled) * scaled;
        }
        double centre = mean / total;
        List<Integer> byDistance = kept.stream()
                .sorted(Comparator.<Integer>comparingDouble(
                                token -> (float) Math.abs((row[token] - max) * inverse - centre))
                        .thenComparing(Comparator.naturalOrder()))
                .toList();
        Set<Integer> typical = new HashSet<>();
        double sum = 0;
        for (int token : byDistance) {
            if (sum > params.typicalP() * total) {
                break;
            }
            typical.add(token);
            sum += requireNonNull(weight.get(token));
        }
        return kept.stream().filter(typical::contains).toList();
    }

    private static List<Integer> byLikelihood(float[] row) {
        return IntStream.range(0, row.length)
                .boxed()
                .sorted(Comparator.<Integer>comparingDouble(token -> -(row[token] + 0.0))
                        .thenComparing(Comparator.naturalOrder()))
                .toList();
    }

    // ---- helpers ----

    private static FloatMatrix matrix(Arena arena, float[]... rows) {
        FloatMatrix matrix = FloatMatrix.allocate(arena, rows.length, rows[0].length);
        for (int row = 0; row < rows.length; row++) {
            for (int column = 0; column < rows[row].length; column++) {
                matrix.set(row, column, rows[row][column]);
            }
        }
        return matrix;
    }

    private static int choose(float[] row, SamplingParams params, int position) {
        try (Arena arena = Arena.ofConfined()) {
            return new Sampler(row.length)
                    .choose(matrix(arena, row), 0, params, new TokenHistory(params, NOTHING), position);
        }
    }

    private static float[] randomRow(Random random, int size) {
        float[] row = new float[size];
        double spread = Math.pow(10, random.nextDouble() * 4 - 2.5);
        double centre = random.nextGaussian() * 20;
        int kind = random.nextInt(5);
        for (int token = 0; token < size; token++) {
            double logit = centre + random.nextGaussian() * spread;
            row[token] = switch (kind) {
                case 0 -> (float) Math.rint(logit);
                case 1 -> random.nextInt(3) == 0 ? Float.NEGATIVE_INFINITY : (float) logit;
                case 2 -> 0f * (random.nextBoolean() ? 1 : -1);
                default -> (float) logit;
            };
        }
        row[random.nextInt(size)] = (float) (centre + spread * random.nextDouble() * 8);
        return row;
    }

    private static SamplingParams randomParams(Random random, int vocabulary) {
        var builder = SamplingParams.builder().seed(random.nextLong());
        builder.temperature(
                switch (random.nextInt(6)) {
                    case 0 -> 0;
                    case 1 -> Math.pow(10, random.nextDouble() * -40);
                    case 2 -> random.nextDouble() * 100;
                    default -> 0.2 + random.nextDouble() * 1.8;
                });
        if (random.nextInt(3) == 0) {
            builder.topK(1 + random.nextInt(random.nextBoolean() ? 8 : vocabulary + 3));
        }
        if (random.nextInt(3) == 0) {
            builder.topP(1 - random.nextDouble() * (random.nextBoolean() ? 1 : 0.1));
        }
        if (random.nextInt(3) == 0) {
            builder.minP(Math.pow(random.nextDouble(), 3));
        }
        if (random.nextInt(4) == 0) {
            builder.topNSigma(random.nextDouble() * 3);
        }
        if (random.nextInt(4) == 0) {
            builder.typicalP(0.01 + 0.98 * random.nextDouble());
        }
        if (random.nextInt(4) == 0) {
            builder.xtc(random.nextDouble(), random.nextDouble() * 0.6);
        }
        return builder.build();
    }

    // ---- choice ----

    @Test
    void choose_randomRowsAndParams_equalsThePlainFormulas() {
        Random random = new Random(1);
        for (int size : new int[] {1, 2, 5, 64, 333, 3000}) {
            Sampler sampler = new Sampler(size);
            for (int round = 0; round < (size > 1000 ? 150 : 1000); round++) {
                float[] row = randomRow(random, size);
                SamplingParams params = randomParams(random, size);
                int position = random.nextInt(100_000);
                try (Arena arena = Arena.ofConfined()) {
                    int chosen =
                            sampler.choose(matrix(arena, row), 0, params, new TokenHistory(params, NOTHING), position);
                    assertThat(chosen).as("%s round %d", params, round).isEqualTo(plainChoose(row, params, position));
                }
            }
        }
    }

    @Test
    void choose_realisticVocabulary_equalsThePlainFormulas() {
        Random random = new Random(2);
        int size = 50_000;
        Sampler sampler = new Sampler(size);
        List<SamplingParams> cases = List.of(
                SamplingParams.builder().build(),
                SamplingParams.builder().topK(50).build(),
                SamplingParams.builder().topP(0.93).build(),
                SamplingParams.builder()
                        .temperature(1.7)
                        .topK(20_000)
                        .topP(0.61)
                        .build(),
                SamplingParams.builder().temperature(50).build(),
                SamplingParams.builder().temperature(0).build());
        for (int round = 0; round < 12; round++) {
            float[] row = new float[size];
            for (int token = 0; token < size; token++) {
                row[token] = (float) (random.nextGaussian() * 2.5);
            }
            for (int likely = 0; likely < 20; likely++) {
                row[random.nextInt(size)] = 8 + random.nextFloat() * 6;
            }
            try (Arena arena = Arena.ofConfined()) {
                FloatMatrix matrix = matrix(arena, row);
                SamplingParams params = cases.get(round % cases.size());
                assertThat(sampler.choose(matrix, 0, params, new TokenHistory(params, NOTHING), round))
                        .isEqualTo(plainChoose(row, params, round));
            }
        }
    }

    @Test
    void choose_anyRowOfAnyBatchAfterAnyOtherWork_isTheSame() {
        Random random = new Random(3);
        int size = 200;
        float[][] rows = new float[16][];
        for (int row = 0; row < rows.length; row++) {
            rows[row] = randomRow(random, size);
        }
        Sampler used = new Sampler(size);
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, rows);
            for (int round = 0; round < 500; round++) {
                int row = random.nextInt(rows.length);
                SamplingParams params = randomParams(random, size);
                int chosen = used.choose(matrix, row, params, new TokenHistory(params, NOTHING), round);
                assertThat(chosen).isEqualTo(choose(rows[row], params, round));
            }
        }
    }

    @Test
    void choose_withPenaltiesAndBias_doesNotModifyTheLogits() {
        float[] row = {1, -2, 3, 0};
        SamplingParams params = SamplingParams.builder()
                .repetitionPenalty(1.5)
                .frequencyPenalty(1)
                .logitBias(Map.of(3, 50f))
                .build();
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, row);
            new Sampler(4).choose(matrix, 0, params, new TokenHistory(params, new int[] {0, 1, 2}), 0);
            assertThat(matrix.segment().toArray(ValueLayout.JAVA_FLOAT)).startsWith(row);
        }
    }

    @Test
    void choose_greedyWithTies_takesTheLowerId() {
        SamplingParams greedy = SamplingParams.builder().temperature(0).build();

        assertThat(choose(new float[] {1, 7, 3, 7, 7}, greedy, 0)).isEqualTo(1);
        assertThat(choose(new float[] {-1, -0f, 0f}, greedy, 0)).isEqualTo(1);
        assertThat(choose(new float[] {Float.NEGATIVE_INFINITY, -9, -9}, greedy, 0))
                .isEqualTo(1);
    }

    @Test
    void choose_topKAmongTies_keepsTheLowerIds() {
        float[] row = {0, 5, 5, 5, 5};
        for (int position = 0; position < 200; position++) {
            assertThat(choose(row, SamplingParams.builder().topK(2).build(), position))
                    .isBetween(1, 2);
        }
    }

    @Test
    void choose_topPOfZero_takesTheLikeliest() {
        assertThat(tokens(
                        new float[] {1, 3, 2}, SamplingParams.builder().topP(0).build()))
                .containsExactly(1);
    }

    /** The examples of the class comments and of llama.cpp's own tests of its filters. */
    @Test
    void choose_filtersAtTheirEdges_keepTheRightTokens() {
        float[] falling = logs(0.4, 0.3, 0.2, 0.1);
        assertThat(tokens(logs(0.5, 0.5), SamplingParams.builder().xtc(1, 0.5).build()))
                .as("XTC at exactly the threshold")
                .containsExactly(1);
        assertThat(tokens(logs(0.5, 0.5), SamplingParams.builder().xtc(1, 0.51).build()))
                .containsExactly(0, 1);
        assertThat(tokens(falling, SamplingParams.builder().xtc(1, 0.099).build()))
                .containsExactly(3);
        assertThat(tokens(falling, SamplingParams.builder().xtc(1, 0.19).build()))
                .containsExactly(2, 3);
        assertThat(tokens(falling, SamplingParams.builder().xtc(1, 0.35).build()))
                .as("XTC with one token above the threshold")
                .containsExactly(0, 1, 2, 3);
        assertThat(tokens(
                        logs(0.97, 0.01, 0.01, 0.01),
                        SamplingParams.builder().typicalP(0.5).build()))
                .containsExactly(0);
        assertThat(tokens(
                        logs(0.4, 0.2, 0.2, 0.2),
                        SamplingParams.builder().typicalP(0.5).build()))
                .as("typical-p excludes the likeliest token")
                .containsExactly(1, 2, 3);
        assertThat(tokens(logs(0.5, 0.5), SamplingParams.builder().typicalP(0.5).build()))
                .as("typical-p goes on at exactly its sum")
                .containsExactly(0, 1);
        assertThat(tokens(falling, SamplingParams.builder().topNSigma(1e-9).build()))
                .containsExactly(0);
        assertThat(tokens(
                        new float[] {4, 3, Float.NEGATIVE_INFINITY, 2},
                        SamplingParams.builder().topNSigma(1.3).build()))
                .as("deviation 0.816 over the finite logits")
                .containsExactly(0, 1);
    }

    private static float[] logs(double... probabilities) {
        float[] row = new float[probabilities.length];
        for (int token = 0; token < row.length; token++) {
            row[token] = (float) StrictMath.log(probabilities[token]);
        }
        return row;
    }

    /** All tokens that are chosen at any of many positions. */
    private static Set<Integer> tokens(float[] row, SamplingParams params) {
        Set<Integer> seen = new TreeSet<>();
        for (int position = 0; position < 500; position++) {
            seen.add(choose(row, params, position));
        }
        return seen;
    }

    @Test
    void choose_topPOfEquallyLikelyTokens_keepsExactlyTheFractionInIdOrder() {
        float[] row = new float[8];
        int[] seen = new int[8];
        for (int position = 0; position < 500; position++) {
            seen[choose(row, SamplingParams.builder().topP(0.5).build(), position)]++;
        }
        assertThat(Arrays.copyOf(seen, 4)).doesNotContain(0);
        assertThat(Arrays.copyOfRange(seen, 4, 8)).containsOnly(0);
    }

    @ParameterizedTest
    @ValueSource(strings = {"alike", "two values", "close", "far below the likeliest"})
    void choose_manyTokensInOneBucket_equalsThePlainFormulas(String spread) {
        int size = 20_000;
        Random random = new Random(6);
        float[] row = new float[size];
        for (int token = 0; token < size; token++) {
            row[token] = switch (spread) {
                case "alike" -> 3;
                case "two values" -> random.nextBoolean() ? 3 : Math.nextDown(3f);
                case "close" -> 3 - random.nextFloat() / 1000;
                default -> token == 77 ? 90 : random.nextFloat();
            };
        }
        for (int kept : new int[] {1, 2, 255, 256, 257, size / 2, size - 1}) {
            for (int position = 0; position < 4; position++) {
                SamplingParams topK = SamplingParams.builder()
                        .topK(kept)
                        .temperature(50)
                        .seed(kept)
                        .build();
                SamplingParams topP = SamplingParams.builder()
                        .topP((kept - 0.5) / size)
                        .temperature(50)
                        .seed(kept)
                        .build();
                assertThat(choose(row, topK, position)).isEqualTo(plainChoose(row, topK, position));
                assertThat(choose(row, topP, position)).isEqualTo(plainChoose(row, topP, position));
            }
        }
    }

    @Test
    void choose_narrowestFilters_chooseTheLikeliest() {
        float[] row = {1, 2, 2.001f, 0};
        for (int position = 0; position < 100; position++) {
            assertThat(choose(row, SamplingParams.builder().topK(1).build(), position))
                    .isEqualTo(2);
            assertThat(choose(
                            row, SamplingParams.builder().topP(Double.MIN_VALUE).build(), position))
                    .isEqualTo(2);
            assertThat(choose(row, SamplingParams.builder().minP(1).build(), position))
                    .isEqualTo(2);
            assertThat(choose(
                            row,
                            SamplingParams.builder()
                                    .temperature(Double.MIN_VALUE)
                                    .build(),
                            position))
                    .isEqualTo(2);
        }
    }

    @Test
    void choose_excludedTokens_areNeverChosenWhateverTheirBias() {
        float[] row = {Float.NEGATIVE_INFINITY, -50, Float.NEGATIVE_INFINITY};
        SamplingParams params = SamplingParams.builder()
                .temperature(100)
                .logitBias(Map.of(0, 100f, 1, -100f))
                .build();
        for (int position = 0; position < 200; position++) {
            assertThat(choose(row, params, position)).isEqualTo(1);
        }
    }

    @Test
    void choose_extremeFiniteLogits_stayOrdered() {
        float[] row = {-Float.MAX_VALUE, Float.MAX_VALUE, 0, Float.MIN_VALUE};
        for (SamplingParams params : List.of(
                SamplingParams.builder().build(),
                SamplingParams.builder()
                        .temperature(100)
                        .topK(3)
                        .topP(0.99)
                        .minP(0.1)
                        .build(),
                SamplingParams.builder().temperature(1e-300).build(),
                SamplingParams.builder().temperature(0).build())) {
            assertThat(choose(row, params, 9)).as("%s", params).isEqualTo(1);
        }
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY})
    void choose_brokenLogit_namesTheToken(float broken) {
        float[] row = {0, 1, 2, broken, Float.NEGATIVE_INFINITY};
        for (double temperature : new double[] {0, 1}) {
            SamplingParams params = SamplingParams.builder()
                    .temperature(temperature)
                    .logitBias(Map.of(3, -100f))
                    .build();
            assertThatThrownBy(() -> choose(row, params, 0))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("token 3")
                    .hasMessageContaining(String.valueOf(broken));
        }
    }

    @Test
    void choose_allTokensExcluded_isReported() {
        float[] row = new float[3];
        Arrays.fill(row, Float.NEGATIVE_INFINITY);

        assertThatThrownBy(() -> choose(row, SamplingParams.builder().build(), 0))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("all 3 tokens");
    }

    @Test
    void choose_afterABrokenRow_isRight() {
        SamplingParams params = SamplingParams.builder().topP(0.8).build();
        float[] good = {1, 2, 3, 4};
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, new float[] {0, Float.NaN, 0, 0}, good);
            Sampler sampler = new Sampler(4);
            TokenHistory history = new TokenHistory(params, NOTHING);
            assertThatThrownBy(() -> sampler.choose(matrix, 0, params, history, 0))
                    .isInstanceOf(IllegalStateException.class);
            assertThat(sampler.choose(matrix, 1, params, history, 5)).isEqualTo(choose(good, params, 5));
        }
    }

    @Test
    void choose_rowsOfAnotherWidth_areRefused() {
        assertThatThrownBy(() -> {
                    try (Arena arena = Arena.ofConfined()) {
                        SamplingParams params = SamplingParams.builder().build();
                        new Sampler(5)
                                .choose(
                                        matrix(arena, new float[] {1, 2}),
                                        0,
                                        params,
                                        new TokenHistory(params, NOTHING),
                                        0);
                    }
                })
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("rows of 2 logits for a vocabulary of 5");
    }

    // ---- statistics: seeds are fixed, so the result is the same in every run ----

    static List<SamplingParams> distributions() {
        var bias = Map.of(2, 0.7f, 5, -1.5f);
        return List.of(
                SamplingParams.builder().build(),
                SamplingParams.builder().temperature(0.5).build(),
                SamplingParams.builder().temperature(2.5).build(),
                SamplingParams.builder().topK(4).build(),
                SamplingParams.builder().topP(0.8).build(),
                SamplingParams.builder().minP(0.2).build(),
                SamplingParams.builder()
                        .temperature(1.5)
                        .topK(6)
                        .topP(0.85)
                        .minP(0.15)
                        .build(),
                SamplingParams.builder().repetitionPenalty(1.4).build(),
                SamplingParams.builder()
                        .presencePenalty(0.9)
                        .frequencyPenalty(0.4)
                        .logitBias(bias)
                        .build());
    }

    @ParameterizedTest
    @MethodSource("distributions")
    void choose_overManyPositions_followsTheExpectedDistribution(SamplingParams params) {
        float[] row = {1.5f, -0.5f, 0.3f, 1.1f, -1, 0.9f, 2, -2, 0, 0.3f};
        int[] prompt = {0, 1, 7};
        int[] output = {6, 6, 3, 1};
        TokenHistory history = new TokenHistory(params, prompt);
        for (int token : output) {
            history.append(token);
        }
        float[] adjusted = row.clone();
        history.adjust(adjusted);
        List<Integer> kept = plainKept(adjusted, params, 0);
        double[] expected = new double[row.length];
        for (int token : kept) {
            expected[token] = StrictMath.exp(adjusted[token] / params.temperature());
        }

        int draws = 100_000;
        int[] seen = new int[row.length];
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, row);
            Sampler sampler = new Sampler(row.length);
            for (int position = 0; position < draws; position++) {
                seen[sampler.choose(matrix, 0, params, history, position)]++;
            }
        }
        assertFollows(seen, expected);
    }

    @Test
    void choose_overManySeeds_followsTheExpectedDistribution() {
        float[] row = {0.2f, 1.4f, -0.7f, 0, 1, -3};
        double[] expected = new double[row.length];
        int[] seen = new int[row.length];
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, row);
            Sampler sampler = new Sampler(row.length);
            for (int seed = 0; seed < 100_000; seed++) {
                SamplingParams params = SamplingParams.builder().seed(seed).build();
                seen[sampler.choose(matrix, 0, params, new TokenHistory(params, NOTHING), 17)]++;
            }
        }
        for (int token = 0; token < row.length; token++) {
            expected[token] = StrictMath.exp(row[token]);
        }
        assertFollows(seen, expected);
    }

    @Test
    void choose_neighbouringPositionsAndSeeds_areIndependent() {
        float[] row = {0, 0.5f, 1, -0.5f};
        int size = row.length;
        int[] byPosition = new int[size * size];
        int[] bySeed = new int[size * size];
        double[] expected = new double[size * size];
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, row);
            Sampler sampler = new Sampler(size);
            SamplingParams one = SamplingParams.builder().seed(41).build();
            SamplingParams two = SamplingParams.builder().seed(42).build();
            TokenHistory history = new TokenHistory(one, NOTHING);
            for (int position = 0; position < 100_000; position += 2) {
                int first = sampler.choose(matrix, 0, one, history, position);
                byPosition[first * size + sampler.choose(matrix, 0, one, history, position + 1)]++;
                bySeed[first * size + sampler.choose(matrix, 0, two, history, position)]++;
            }
        }
        for (int pair = 0; pair < expected.length; pair++) {
            expected[pair] = StrictMath.exp(row[pair / size] + row[pair % size]);
        }
        assertFollows(byPosition, expected);
        assertFollows(bySeed, expected);
    }

    /** A chi-squared test that the right distribution fails for one seed in 10⁵. */
    private static void assertFollows(int[] seen, double[] weights) {
        double total = Arrays.stream(weights).sum();
        int draws = Arrays.stream(seen).sum();
        double chiSquared = 0;
        int freedom = -1;
        for (int index = 0; index < seen.length; index++) {
            if (weights[index] == 0) {
                assertThat(seen[index]).as("token %d, filtered out", index).isZero();
            } else {
                double expected = draws * weights[index] / total;
                chiSquared += (seen[index] - expected) * (seen[index] - expected) / expected;
                freedom++;
            }
        }
        // Wilson and Hilferty's approximation of the quantile at 4.26 standard deviations.
        double quantile = freedom * Math.pow(1 - 2.0 / (9 * freedom) + 4.26 * Math.sqrt(2.0 / (9 * freedom)), 3);
        assertThat(chiSquared).as("%s", Arrays.toString(seen)).isLessThan(quantile);
    }

    // ---- noise ----

    @Test
    void gumbel_fixedKeys_neverChanges() {
        assertThat(Sampler.gumbel(0, 0, 0)).isEqualTo(0.8517579327639433);
        assertThat(Sampler.gumbel(-1, 131_071, 128_255)).isEqualTo(1.9691133588050929);
        assertThat(Sampler.gumbel(42, 7, 1000)).isEqualTo(0.17802683833487631);
    }

    @Test
    void gumbel_anyKey_liesInItsRange() {
        Random random = new Random(5);
        double[] noise = IntStream.range(0, 100_000)
                .mapToDouble(any -> Sampler.gumbel(random.nextLong(), random.nextInt(), random.nextInt(1 << 22)))
                .sorted()
                .toArray();
        assertThat(noise[0]).isBetween(-3.7, -2.0);
        assertThat(noise[noise.length / 2]).isCloseTo(-Math.log(Math.log(2)), within(0.02));
        assertThat(noise[noise.length - 1]).isBetween(9.0, 36.8);
    }

    // ---- log probabilities ----

    @Test
    void logprobs_randomRows_equalThePlainFormula() {
        Random random = new Random(6);
        for (int round = 0; round < 300; round++) {
            int size = 1 + random.nextInt(400);
            float[] row = randomRow(random, size);
            int chosen = random.nextInt(size);
            int topCount = random.nextInt(SamplingParams.MAX_LOGPROBS + 1);
            double max = row[byLikelihood(row).getFirst()];
            double sum = 0;
            for (float logit : row) {
                sum += StrictMath.exp(logit - max);
            }
            double logSum = StrictMath.log(sum);
            List<Integer> likeliest = byLikelihood(row).stream()
                    .filter(token -> row[token] > Float.NEGATIVE_INFINITY)
                    .limit(topCount)
                    .toList();

            Logprobs logprobs;
            try (Arena arena = Arena.ofConfined()) {
                logprobs = new Sampler(size).logprobs(matrix(arena, row), 0, chosen, topCount);
            }

            assertThat(logprobs.topTokens()).containsExactly(likeliest.toArray(Integer[]::new));
            assertThat(logprobs.topLogprobs()).hasSameSizeAs(logprobs.topTokens());
            for (int index = 0; index < likeliest.size(); index++) {
                double expected = row[likeliest.get(index)] - max - logSum;
                assertThat((double) logprobs.topLogprobs()[index])
                        .isCloseTo(expected, within(1e-12 + 6e-8 * Math.abs(expected)));
            }
            if (row[chosen] == Float.NEGATIVE_INFINITY) {
                assertThat(logprobs.chosen()).isEqualTo(Float.NEGATIVE_INFINITY);
            } else {
                double expected = row[chosen] - max - logSum;
                assertThat((double) logprobs.chosen()).isCloseTo(expected, within(1e-12 + 6e-8 * Math.abs(expected)));
            }
        }
    }

    @Test
    void logprobs_anyRowOfAnyBatch_areTheSameBits() {
        Random random = new Random(7);
        float[][] rows = {randomRow(random, 500), randomRow(random, 500), randomRow(random, 500)};
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix together = matrix(arena, rows);
            Sampler used = new Sampler(500);
            for (int row = 0; row < rows.length; row++) {
                Logprobs company = used.logprobs(together, row, 3, 20);
                Logprobs alone = new Sampler(500).logprobs(matrix(arena, rows[row]), 0, 3, 20);
                assertThat(company.chosen()).isEqualTo(alone.chosen());
                assertThat(company.topTokens()).isEqualTo(alone.topTokens());
                assertThat(company.topLogprobs()).isEqualTo(alone.topLogprobs());
            }
        }
    }

    @Test
    void logprobs_brokenLogit_namesTheToken() {
        try (Arena arena = Arena.ofConfined()) {
            FloatMatrix matrix = matrix(arena, new float[] {1, Float.NaN});
            assertThatThrownBy(() -> new Sampler(2).logprobs(matrix, 0, 0, 1))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("token 1");
        }
    }

    @Test
    void exp_overItsRange_isAccurate() {
        List<Double> errors = new ArrayList<>();
        for (double x = -60; x <= 0; x += 0.00137) {
            errors.add(Math.abs(Sampler.exp(x) / StrictMath.exp(x) - 1));
        }
        assertThat(errors).allMatch(error -> error < 1e-13);
        assertThat(Sampler.exp(0)).isEqualTo(1);
        assertThat(Sampler.exp(Double.NEGATIVE_INFINITY)).isEqualTo(Sampler.exp(-60));
    }
}
