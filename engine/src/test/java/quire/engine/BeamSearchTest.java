package quire.engine;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.BeamSearch.EarlyStopping;
import quire.engine.schedule.EngineLoop;
import quire.engine.schedule.KvPages;
import quire.model.BuiltInModel;
import quire.tensor.KvLayout.KvType;

class BeamSearchTest {
    private static final double[] PENALTIES = {1, 0, 2, 0.5, -1};
    private static final int[] WIDTHS = {1, 2, 4, 8};
    private static final List<EarlyStopping> STOPPINGS = List.of(EarlyStopping.values());
    private static final int CONTEXT = 60;

    /** A loop that a test moves step by step. After each one it checks the books and poisons the free pages. */
    private static final class Steps implements AutoCloseable {
        final FakeModel model;
        final EngineLoop loop;
        long nanos;
        int steps;

        Steps(EngineConfig config, int pageTokens, int pageCount) {
            model = new FakeModel(
                    FakeTokenizer.VOCABULARY_SIZE,
                    CONTEXT,
                    pageTokens,
                    pageCount,
                    config.maxBatchedTokens(),
                    config.maxLogitRows());
            loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .nanoClock(() -> nanos)
                    .build();
        }

        static Steps roomy(int maxSequences) {
            EngineConfig config = Requests.config(maxSequences, Math.max(16, maxSequences), 16);
            return new Steps(config, 4, maxSequences * CONTEXT / 4);
        }

        boolean step() {
            int rows = loop.doWork();
            nanos++;
            steps++;
            loop.checkIntegrity();
            KvPages pages = loop.pages();
            for (int page = 0; page < pages.total(); page++) {
                if (pages.isFree(page)) {
                    model.poison(page);
                }
            }
            if (steps > 20_000) {
                throw new AssertionError("no end");
            }
            return rows > 0;
        }

        void play() {
            while (step()) {
                // until there is nothing to do
            }
            assertThat(loop.pages().used()).isZero();
        }

        @Override
        public void close() {
            model.close();
        }
    }

    private static EngineConfig withoutCache(EngineConfig config) {
        return config.toBuilder().prefixCache(false).build();
    }

    private static List<BeamReference.Found> found(List<TokenStream> streams) {
        List<BeamReference.Found> found = new ArrayList<>();
        for (TokenStream stream : streams) {
            List<Integer> tokens = new ArrayList<>();
            List<String> logprobs = new ArrayList<>();
            for (Output output = stream.poll(); output != null; output = stream.poll()) {
                tokens.add(output.token());
                Logprobs row = output.logprobs();
                logprobs.add(row == null ? "" : Integer.toString(Float.floatToRawIntBits(row.chosen())));
            }
            assertThat(stream.finish().completionTokens()).isEqualTo(tokens.size());
            found.add(
                    new BeamReference.Found(tokens, logprobs, 0, stream.finish().reason()));
        }
        return found;
    }

    private static List<BeamReference.Found> withoutScores(List<BeamReference.Found> found) {
        return found.stream()
                .map(each -> new BeamReference.Found(each.tokens(), each.logprobs(), 0, each.reason()))
                .toList();
    }

    /** The rows of the fake model, each computed alone from its first token. */
    private static BeamReference reference(List<Integer> stopTokens, boolean ignoreEnd) {
        return new BeamReference(
                text -> {
                    SamplingParams params = SamplingParams.builder()
                            .temperature(0)
                            .maxTokens(1)
                            .logprobs(SamplingParams.MAX_LOGPROBS)
                            .build();
                    try (Steps alone = new Steps(withoutCache(Requests.config(1, CONTEXT, 16)), 4, CONTEXT)) {
                        TokenStream stream = alone.loop.submit(new Request(text, params));
                        alone.play();
                        return requireNonNull(requireNonNull(stream.poll()).logprobs());
                    }
                },
                token -> stopTokens.contains(token) || (!ignoreEnd && token == FakeTokenizer.EOS));
    }

    /** Random requests under random limits, in tiny pools and beside other requests. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4, 8})
    void submit_anyRequestInAnyCompany_findsWhatThePlainSearchFinds(int width) {
        long preemptions = 0;
        int ended = 0;
        int cut = 0;
        for (long seed = 0; seed < 60; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int[] prompt = random.ints(1 + random.nextInt(30), 3, FakeTokenizer.VOCABULARY_SIZE)
                    .toArray();
            int maxTokens = 1 + random.nextInt(CONTEXT - prompt.length - 1);
            boolean ignoreEnd = random.nextBoolean();
            List<Integer> stops = random.nextBoolean()
                    ? List.of()
                    : random.ints(6, 'a' + 2, 'z' + 2).distinct().boxed().toList();
            int minTokens = random.nextInt(3) == 0 ? random.nextInt(Math.min(maxTokens, 8)) : 0;
            SamplingParams params = SamplingParams.builder()
                    .temperature(0)
                    .maxTokens(maxTokens)
                    .minTokens(minTokens)
                    .stopTokens(stops)
                    .ignoreEndOfText(ignoreEnd)
                    .logprobs(random.nextInt(3))
                    .build();
            BeamSearch search = new BeamSearch(
                    width, PENALTIES[random.nextInt(PENALTIES.length)], STOPPINGS.get(random.nextInt(3)));
            int pageTokens = 1 + random.nextInt(9);
            int pageCount = (CONTEXT + pageTokens - 1) / pageTokens + random.nextInt(random.nextBoolean() ? 3 : 40);
            EngineConfig config = Requests.config(width + random.nextInt(4), width + 4 + random.nextInt(30), 16);
            config = random.nextInt(3) > 0 ? config : withoutCache(config);
            try (Steps steps = new Steps(config, pageTokens, pageCount)) {
                List<TokenStream> streams = null;
                int before = random.nextInt(3);
                int beside = random.nextInt(6);
                for (int i = 0; i < beside; i++) {
                    if (i == Math.min(before, beside - 1)) {
                        steps.step();
                        streams = steps.loop.submit(new Request(prompt, params), search);
                    }
                    steps.loop.submit(Requests.random(random, CONTEXT));
                }
                if (streams == null) {
                    streams = steps.loop.submit(new Request(prompt, params), search);
                }
                steps.play();
                preemptions += steps.loop.tracker().stats().preemptions();
                List<BeamReference.Found> expected =
                        reference(stops, ignoreEnd).search(prompt, maxTokens, minTokens, search);
                assertThat(found(streams))
                        .as("seed %d: %s, prompt %d, at most %d tokens", seed, search, prompt.length, maxTokens)
                        .isEqualTo(withoutScores(expected));
                for (BeamReference.Found each : expected) {
                    ended += each.reason() == FinishReason.STOP ? 1 : 0;
                    cut += each.reason() == FinishReason.LENGTH ? 1 : 0;
                }
            } catch (AssertionError | RuntimeException e) {
                throw new AssertionError("seed " + seed, e);
            }
        }
        assertThat(preemptions).isGreaterThanOrEqualTo(width == 1 ? 0 : 20);
        assertThat(ended).isGreaterThan(10 * width);
        assertThat(cut).isGreaterThan(10 * width);
    }

    @Test
    void submit_builtInModel_findsWhatThePlainSearchFinds() throws Exception {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(8)
                .maxBatchedTokens(64)
                .kvType(KvType.F16)
                .kvCacheBytes(16 << 20)
                .threads(1)
                .build();
        try (Engine engine = Engine.open(BuiltInModel.QUIRE_TINY.path(), config, EngineListener.NONE);
                Engine plain = Engine.open(BuiltInModel.QUIRE_TINY.path(), withoutCache(config), EngineListener.NONE)) {
            int[] prompt = engine.tokenizer().encode("Once upon a time", true, false);
            BeamReference reference = new BeamReference(
                    text -> {
                        SamplingParams one = SamplingParams.builder()
                                .temperature(0)
                                .maxTokens(1)
                                .logprobs(SamplingParams.MAX_LOGPROBS)
                                .build();
                        try (TokenStream stream = plain.submit(new Request(text, one))) {
                            return requireNonNull(requireNonNull(stream.next()).logprobs());
                        } catch (InterruptedException e) {
                            throw new IllegalStateException(e);
                        }
                    },
                    token -> engine.tokenizer().isEndOfGeneration(token));
            for (int width : WIDTHS) {
                BeamSearch search = new BeamSearch(width, PENALTIES[width % PENALTIES.length], EarlyStopping.NO);
                SamplingParams params = SamplingParams.builder()
                        .temperature(0)
                        .maxTokens(20)
                        .logprobs(0)
                        .build();
                List<TokenStream> streams = engine.submit(new Request(prompt, params), search);
                for (TokenStream stream : streams) {
                    while (!stream.await(Duration.ofSeconds(60))) {
                        // the model computes
                    }
                }
                List<BeamReference.Found> expected = withoutScores(reference.search(prompt, 20, 0, search));
                assertThat(read(streams)).as("%s", search).isEqualTo(expected);
            }
        }
    }

    private static List<BeamReference.Found> read(List<TokenStream> streams) throws InterruptedException {
        List<BeamReference.Found> found = new ArrayList<>();
        for (TokenStream stream : streams) {
            List<Integer> tokens = new ArrayList<>();
            List<String> logprobs = new ArrayList<>();
            for (Output output = stream.next(); output != null; output = stream.next()) {
                tokens.add(output.token());
                logprobs.add(Integer.toString(Float.floatToRawIntBits(
                        requireNonNull(output.logprobs()).chosen())));
            }
            found.add(
                    new BeamReference.Found(tokens, logprobs, 0, stream.finish().reason()));
        }
        return found;
    }

    @Test
    void submit_width1_isGreedy() {
        for (int i = 0; i < 20; i++) {
            Request request = Requests.of("a prompt " + i, 30);
            Answer greedy = Answer.alone(request, CONTEXT);
            try (Steps steps = Steps.roomy(1)) {
                TokenStream stream = steps.loop
                        .submit(request, new BeamSearch(1, 0, EarlyStopping.YES))
                        .getFirst();
                steps.play();
                Answer.Reader reader = new Answer.Reader();
                reader.poll(stream);
                assertThat(reader.end(stream.finish())).isEqualTo(greedy);
            }
        }
    }

    @Test
    void submit_beams_sharePages() {
        EngineConfig config = Requests.config(8, 64, 16);
        try (Steps steps = new Steps(config, 4, 8 * CONTEXT / 4)) {
            steps.loop.submit(Requests.of("x".repeat(41), 10), BeamSearch.ofWidth(8));
            int most = 0;
            while (steps.step()) {
                most = Math.max(most, steps.loop.pages().used());
            }
            // 42 tokens with BOS, 9 more are computed: 10 full pages of the prompt, and 3 for each beam behind them.
            assertThat(most).isBetween(11, 10 + 8 * 3);
        }
        // Without the prefix cache beams share the same pages.
        try (Steps steps = new Steps(withoutCache(config), 4, 8 * CONTEXT / 4)) {
            steps.loop.submit(Requests.of("x".repeat(41), 10), BeamSearch.ofWidth(8));
            int most = 0;
            while (steps.step()) {
                most = Math.max(most, steps.loop.pages().used());
            }
            assertThat(most).isBetween(11, 10 + 8 * 3);
            assertThat(steps.loop.tracker().stats().promptTokens()).isEqualTo(42);
            assertThat(steps.loop.tracker().stats().recomputedTokens()).isZero();
        }
    }

    @Test
    void submit_oneStepForEachToken_allBeamsTogether() {
        try (Steps steps = Steps.roomy(4)) {
            List<TokenStream> streams = steps.loop.submit(Requests.of("abc", 10), BeamSearch.ofWidth(4));
            steps.play();
            assertThat(steps.steps).isEqualTo(10 + 1); // the last one finds nothing to do
            assertThat(streams).allSatisfy(stream -> assertThat(
                            stream.timeline().events().stream().map(Timeline.Event::kind))
                    .contains(Timeline.Kind.STARTED, Timeline.Kind.FIRST_TOKEN, Timeline.Kind.ENDED)
                    .doesNotContain(Timeline.Kind.PREEMPTED));
            EngineStats stats = steps.loop.tracker().stats();
            assertThat(stats.finished().get(FinishReason.LENGTH)).isEqualTo(4);
            assertThat(stats.generationTokens()).isEqualTo(1 + 9 * 4);
        }
    }

    @Test
    void close_oneStream_cancelsAll() {
        try (Steps steps = Steps.roomy(4)) {
            List<TokenStream> streams = steps.loop.submit(Requests.of("abc", 30), BeamSearch.ofWidth(4));
            for (int i = 0; i < 5; i++) {
                steps.step();
            }
            streams.get(2).close();
            steps.play();
            assertThat(found(streams)).allSatisfy(each -> {
                assertThat(each.reason()).isEqualTo(FinishReason.CANCELLED);
                assertThat(each.tokens()).isEmpty();
            });
        }
    }

    @Test
    void timeout_givesTheBestBeams() {
        Request request = Requests.of("abc", 30);
        List<BeamReference.Found> first = new ArrayList<>();
        try (Steps steps = Steps.roomy(4)) { // with at most 5 tokens: the same beams, in the order of their scores
            Request shorter = new Request(
                    request.prompt(), request.params().toBuilder().maxTokens(5).build());
            List<TokenStream> streams = steps.loop.submit(shorter, BeamSearch.ofWidth(4));
            steps.play();
            first.addAll(found(streams));
        }
        try (Steps steps = Steps.roomy(4)) {
            Request late = request.withScheduling(Scheduling.DEFAULT.withTimeout(Duration.ofNanos(5)));
            List<TokenStream> streams = steps.loop.submit(late, BeamSearch.ofWidth(4));
            steps.play();
            List<BeamReference.Found> found = found(streams);
            assertThat(found).extracting(BeamReference.Found::reason).containsOnly(FinishReason.TIMEOUT);
            assertThat(found)
                    .extracting(BeamReference.Found::tokens)
                    .isEqualTo(first.stream().map(BeamReference.Found::tokens).toList());
        }
    }

    /** The whole search may have found better answers than those that had ended. */
    @Test
    void timeout_afterAnswersHaveEnded_isTheReasonOfAll() {
        List<Integer> ends = IntStream.range(3, FakeTokenizer.VOCABULARY_SIZE)
                .filter(token -> token % 8 == 0)
                .boxed()
                .toList();
        int cut = 0;
        for (int length = 1; length < 12; length++) {
            Request request = Requests.of("x".repeat(length), 30);
            Request late = new Request(
                            request.prompt(),
                            request.params().toBuilder().stopTokens(ends).build())
                    .withScheduling(Scheduling.DEFAULT.withTimeout(Duration.ofNanos(length + 15)));
            try (Steps steps = Steps.roomy(2)) {
                List<TokenStream> streams = steps.loop.submit(late, new BeamSearch(2, 1, EarlyStopping.NEVER));
                steps.play();
                List<BeamReference.Found> found = found(streams);
                boolean isLate = found.getFirst().reason() == FinishReason.TIMEOUT;
                assertThat(found).allMatch(each -> (each.reason() == FinishReason.TIMEOUT) == isLate);
                cut += isLate
                                && found.stream()
                                        .anyMatch(each ->
                                                ends.contains(each.tokens().getLast()))
                        ? 1
                        : 0;
            }
        }
        assertThat(cut).as("searches with an answer that had ended").isPositive();
    }

    @Test
    void timeout_beforeTheFirstToken_givesEmptyAnswers() {
        try (Steps steps = Steps.roomy(2)) {
            Request late =
                    Requests.of("x".repeat(50), 5).withScheduling(Scheduling.DEFAULT.withTimeout(Duration.ofNanos(1)));
            List<TokenStream> streams = steps.loop.submit(late, BeamSearch.ofWidth(2));
            steps.play();
            assertThat(found(streams)).allSatisfy(each -> {
                assertThat(each.reason()).isEqualTo(FinishReason.TIMEOUT);
                assertThat(each.tokens()).isEmpty();
            });
        }
    }

    @Test
    void submit_promptLogprobs_areInAllStreams() {
        try (Steps steps = Steps.roomy(4)) {
            Request request = Requests.of("abcdef", 5);
            Request scored = new Request(
                    request.prompt(),
                    request.params().toBuilder().promptLogprobs(0).build());
            List<TokenStream> streams = steps.loop.submit(scored, BeamSearch.ofWidth(3));
            TokenStream alone = steps.loop.submit(scored);
            steps.play();
            List<Float> expected =
                    alone.promptLogprobs().stream().map(Logprobs::chosen).toList();
            assertThat(expected).hasSize(6);
            assertThat(streams).allSatisfy(stream -> assertThat(stream.promptLogprobs().stream()
                            .map(Logprobs::chosen)
                            .toList())
                    .isEqualTo(expected));
        }
    }

    @Test
    void submit_parametersThatBeamsDoNotHave_areRefused() {
        SamplingParams.Builder greedy = SamplingParams.builder().temperature(0).maxTokens(5);
        assertRefused(greedy.build().toBuilder().temperature(0.7), "temperature");
        assertRefused(greedy.build().toBuilder().topK(5), "topK");
        assertRefused(greedy.build().toBuilder().repetitionPenalty(1.1), "repetitionPenalty");
        assertRefused(greedy.build().toBuilder().stop(List.of("x")), "stop");
        assertRefused(greedy.build().toBuilder().allowedTokens(List.of(3)), "allowedTokens");
        assertThatThrownBy(() -> new BeamSearch(129, 1, EarlyStopping.NO)).hasMessageContaining("from 1 to 128");
        assertThatThrownBy(() -> new BeamSearch(2, Double.NaN, EarlyStopping.NO))
                .hasMessageContaining("lengthPenalty");
        try (Steps steps = Steps.roomy(2)) {
            assertThatThrownBy(() -> steps.loop.submit(Requests.of("a", 3), BeamSearch.ofWidth(3)))
                    .isInstanceOf(InvalidRequestException.class)
                    .hasMessageContaining("maxSequences, which is 2");
        }
    }

    private static void assertRefused(SamplingParams.Builder params, String parameter) {
        try (Steps steps = Steps.roomy(2)) {
            Request request = new Request(new int[] {5}, params.build());
            assertThatThrownBy(() -> steps.loop.submit(request, BeamSearch.ofWidth(2)))
                    .isInstanceOfSatisfying(InvalidRequestException.class, e -> assertThat(e.parameter())
                            .isEqualTo(parameter))
                    .hasMessageContaining("together with beam search");
        }
    }
}
