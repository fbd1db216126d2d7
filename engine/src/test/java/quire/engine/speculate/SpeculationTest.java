package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.EngineStats;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.Requests;
import quire.engine.SamplingParams;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;
import quire.engine.schedule.EngineLoop;
import quire.engine.schedule.Reserves;
import quire.model.BuiltInModel;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.Workers;

/** Which steps speculation saves, which budget and pages it may use, and which drafts it refuses. */
class SpeculationTest {
    private static final int CONTEXT = 64;
    private static final int SEQUENCES = 4;
    private static final String TOKENS = "tokenizer.ggml.tokens";

    private static EngineLoop loop(FakeModel model, FakeModel draft, int draftTokens) {
        EngineConfig config = Requests.config(SEQUENCES, 40, 4 * 16);
        return EngineLoop.builder(model, new FakeTokenizer(), config)
                .workers(new Workers(2))
                .drafts(context -> Speculator.of(
                        new Speculator.Setup(
                                config.withSpeculation(new Speculation(draftTokens, false, Path.of("fake"), null)),
                                CostModel.unknown(40),
                                new Speculator.Draft(draft, CostModel.unknown(40)),
                                DraftPolicy::of),
                        context))
                .nanoClock(() -> 0)
                .build();
    }

    private static FakeModel model(int pages) {
        return new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, 4, pages, 40, 40);
    }

    /** A request with random sampling parameters that ends with its length. */
    private static Request endless(SplittableRandom random) {
        SamplingParams.Builder params = SamplingParams.builder()
                .maxTokens(1 + random.nextInt(40))
                .seed(random.nextLong())
                .temperature(random.nextInt(3) == 0 ? 0 : 1)
                .ignoreEndOfText(true);
        if (random.nextBoolean()) {
            params.repetitionPenalty(1.4).frequencyPenalty(0.6).presencePenalty(0.3);
        }
        int[] prompt = random.ints(1 + random.nextInt(20), 0, FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
        return new Request(prompt, params.build());
    }

    /** With equal logits, history and noise, every draft token must be accepted. */
    @Test
    void draftModel_sameAsTheModel_isAlwaysRight() {
        for (int pages : new int[] {SEQUENCES * CONTEXT / 4, 20}) { // enough, and too few
            FakeModel model = model(pages);
            FakeModel draft = model(pages);
            EngineLoop loop = loop(model, draft, 5);
            SplittableRandom random = new SplittableRandom(3);
            List<TokenStream> streams = new ArrayList<>();
            for (int i = 0; i < 200; i++) {
                streams.add(loop.submit(endless(random)));
            }
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
            }
            EngineStats stats = loop.tracker().stats();
            assertThat(stats.speculation().counts().acceptedTokens())
                    .isEqualTo(stats.speculation().counts().draftTokens())
                    .isGreaterThan(stats.generationTokens() / 2);
            assertThat(stats.preemptions() > 0).isEqualTo(pages == 20);
            assertThat(streams)
                    .allSatisfy(stream -> assertThat(stream.rejectedTokens()).isZero());
            model.close();
            draft.close();
        }
    }

    @Test
    void rightDrafts_oneSequence_takeFewerSteps() {
        FakeModel model = model(16);
        FakeModel draft = model(16);
        EngineLoop loop = loop(model, draft, 4);
        TokenStream stream = loop.submit(Requests.of("abc", 41));
        int steps = 0;
        while (loop.doWork() > 0) {
            steps++;
        }
        // The prompt's step yields 1 token, each other step 4 draft tokens and one more.
        assertThat(steps).isEqualTo(1 + 40 / 5);
        assertThat(stream.acceptedTokens()).isEqualTo(32);
        SpeculationCounts stats = loop.tracker().stats().speculation().counts();
        assertThat(stats.decisions().get(4)).isEqualTo(8);
        assertThat(stats.acceptedAt().subList(0, 5)).containsExactly(8L, 8L, 8L, 8L, 0L);
        model.close();
        draft.close();
    }

    /** A token takes a microsecond in both models. The draft model must read a prompt of 300 tokens before it is of use. */
    @Test
    void draftModel_readsAPrompt_withinTheTargetForTheTokenGap() {
        int batch = 64;
        AtomicLong nanos = new AtomicLong();
        List<Integer> draftRows = new ArrayList<>();
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 4, 200, batch, 40)
                .onForward(step -> nanos.addAndGet(1000L * step.rows()));
        FakeModel draft = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 4, 200, batch, 40).onForward(step -> {
            draftRows.add(step.rows());
            nanos.addAndGet(1000L * step.rows());
        });
        EngineConfig config = EngineConfig.builder()
                .maxSequences(4)
                .maxBatchedTokens(batch)
                .threads(1)
                .targetTokenGap(Duration.ofNanos(20_000))
                .speculation(new Speculation(4, false, Path.of("fake"), null))
                .build();
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .drafts(context -> Speculator.of(
                        new Speculator.Setup(
                                config, linear(batch), new Speculator.Draft(draft, linear(batch)), DraftPolicy::of),
                        context))
                .nanoClock(nanos::get)
                .build();
        TokenStream stream = loop.submit(Requests.of("x".repeat(300), 100));
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        // One decoding token takes 1 of the 20 microseconds; the cost models know this to a few percent.
        assertThat(draftRows).allMatch(rows -> rows <= 21);
        assertThat(draftRows.getFirst()).isGreaterThanOrEqualTo(17);
        assertThat(stream.acceptedTokens()).isGreaterThan(50);
        model.close();
        draft.close();
    }

    /** Knows that a row takes a microsecond. */
    private static CostModel linear(int maxRows) {
        CostModel cost = new CostModel(maxRows, 1000);
        SplittableRandom random = new SplittableRandom(1);
        for (int i = 0; i < 20_000; i++) {
            int rows = 1 + random.nextInt(maxRows);
            cost.observe(rows, 0, 0, 1000L * rows);
        }
        return cost;
    }

    @Test
    void budget_full_isNeverExceeded() {
        EngineConfig config = Requests.config(4, 4, 16).withSpeculation(new Speculation(8, true, null, null));
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, 4, 64, 4, 4);
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .nanoClock(() -> 0)
                .build();
        for (int i = 0; i < 4; i++) {
            loop.submit(new Request(
                    new int[] {5, 5, 5, 5},
                    SamplingParams.builder()
                            .maxTokens(20)
                            .temperature(0)
                            .ignoreEndOfText(true)
                            .build()));
        }
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        // Four running sequences fill each step; the fake model throws if a step has more tokens.
        assertThat(loop.tracker().stats().generationTokens()).isEqualTo(80);
        model.close();
    }

    /**
     * The older sequence could use draft tokens, and the younger one needs a page soon. If draft tokens took the last
     * page, the younger sequence would be preempted.
     */
    @Test
    void pages_few_draftsLeaveOneForEachRunningSequence() {
        for (int left = 1; left <= 3; left++) { // free pages after both have started
            FakeModel model = model(3 + left);
            Drafter[] drafters = {
                FakeDrafters.of(FakeDrafters.Kind.WRONG, sequence -> new int[0], new SplittableRandom(1))
            };
            EngineConfig config = Requests.config(2, 40, 16);
            EngineLoop loop = Reserves.onePageEach(EngineLoop.builder(model, new FakeTokenizer(), config))
                    .drafts(context -> new Speculator(
                            drafters,
                            drafts -> {
                                if (drafts.size() > 0) {
                                    drafts.assign(0, 0, 0, drafts.offered(0, 0)); // the older one
                                }
                            },
                            CostModel.unknown(40),
                            context))
                    .nanoClock(() -> 0)
                    .build();
            loop.submit(Requests.of("abc", 8)); // with BOS 4 tokens: 2 pages at the start, 3 at the end
            loop.submit(Requests.of("ab", 4)); // 3 tokens: 1 page at the start, 2 at the end
            loop.doWork();

            boolean enough = left == 3; // one for the draft tokens and one for each sequence
            SpeculationCounts stats = loop.tracker().stats().speculation().counts();
            assertThat(loop.pages().used()).as("%d left", left).isEqualTo(enough ? 4 : 3);
            assertThat(stats.draftTokens()).as("%d left", left).isEqualTo(enough ? 7 : 4);
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
            }
            assertThat(loop.tracker().stats().preemptions()).as("%d left", left).isZero();
            model.close();
        }
    }

    @Test
    void open_draftOfAnotherVocabulary_saysHowManyTokensItHas(@TempDir Path folder) throws Exception {
        Path other = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.F32, 1);
        assertDraftIsRefused(
                BuiltInModel.QUIRE_TINY.path(),
                other,
                "it has " + RandomModels.VOCABULARY_SIZE + " tokens, the model 2048");
    }

    @Test
    void open_draftWithAnotherSpelling_saysWhichTokenDiffers(@TempDir Path folder) throws Exception {
        RandomModels.Shape shape = RandomModels.Shape.tiny();
        Path file = RandomModels.write(folder, shape, ElementType.F32, 1);
        List<String> tokens = new ArrayList<>();
        try (Gguf gguf = Gguf.open(file)) {
            tokens.addAll(List.of(gguf.strings(TOKENS)));
        }
        int last = tokens.size() - 1;
        assertThat(tokens.set(last, "<|other|>")).isEqualTo("<|pad|>");
        Path other = RandomModels.writer(shape, ElementType.F32, 1)
                .without(TOKENS)
                .strings(TOKENS, tokens)
                .write(folder.resolve("other.gguf"));
        assertDraftIsRefused(file, other, "token " + last + " is \"<|other|>\" there and \"<|pad|>\" in the model");
    }

    private static void assertDraftIsRefused(Path file, Path draft, String reason) {
        EngineConfig config = Requests.config(1, 16, 16).withSpeculation(Speculation.auto(draft));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Engine.open(file, config, EngineListener.NONE).close())
                .withMessage("the draft model " + draft + " does not fit: " + reason
                        + "; choose a draft model of the same family, or none");
    }

    @Test
    void speculation_outOfRange_isNamed() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new Speculation(17, true, null, null))
                .withMessageContaining("1 to 16 draft tokens, not 17");
        assertThat(Speculation.off().isOn()).isFalse();
        assertThat(new Speculation(4, false, null, null).isOn()).isFalse();
        assertThat(Requests.config(8, 512, 16).maxLogitRows()).isEqualTo(24);
        assertThat(Requests.config(8, 20, 16).maxLogitRows()).isEqualTo(20);
        assertThat(Requests.config(8, 512, 16)
                        .withSpeculation(Speculation.auto(null))
                        .maxLogitRows())
                .isEqualTo(24);
        assertThat(Requests.config(8, 20, 16)
                        .withSpeculation(new Speculation(4, true, null, null))
                        .maxLogitRows())
                .isEqualTo(20);
    }
}
