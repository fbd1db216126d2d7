package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import quire.engine.Answer;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.PrefixCacheStats;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.SavedStateStats;
import quire.engine.Scheduling;
import quire.engine.Speculation;
import quire.engine.TokenStream;
import quire.engine.speculate.CostModel;
import quire.engine.speculate.DraftPolicy;
import quire.engine.speculate.Speculator;

/** How many tokens are computed when requests begin with the same tokens. */
class PrefixCacheTest {
    private static final int PAGE = 16;
    private static final int CONTEXT = 1_200;
    private static final int BUDGET = 64;

    private int rows;
    private int draftRows;
    private int savedStates; // of a recurrent model; 0 for another one
    private Runnable duringStep = () -> {};

    private EngineLoop loop(int pages, UnaryOperator<EngineConfig.Builder> config, FakeModel... draft) {
        EngineConfig built = config.apply(EngineConfig.builder()
                        .maxSequences(8)
                        .maxBatchedTokens(BUDGET)
                        .threads(1)
                        .speculation(
                                draft.length > 0
                                        ? new Speculation(4, false, Path.of("draft.gguf"), null)
                                        : Speculation.off()))
                .build();
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, pages, BUDGET, BUDGET);
        model.onForward(batch -> {
            rows += batch.rows();
            duringStep.run();
        });
        if (savedStates > 0) {
            model.withStates(8, savedStates);
        }
        EngineLoop.Builder loop = EngineLoop.builder(model, new FakeTokenizer(), built)
                .reserve(new PageReserve(0, 0)); // so that pages run out
        if (draft.length > 0) {
            CostModel cost = CostModel.unknown(BUDGET);
            Speculator.Setup setup =
                    new Speculator.Setup(built, cost, new Speculator.Draft(draft[0], cost), DraftPolicy::of);
            loop.drafts(context -> Speculator.of(setup, context));
        }
        return loop.build();
    }

    private EngineLoop loop(int pages) {
        return loop(pages, config -> config);
    }

    /** Tokens that are different for different seeds from the first one on. */
    private static int[] text(int seed, int length) {
        return IntStream.range(0, length)
                .map(i -> (seed + i * 7 + i / 90) % FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
    }

    private static int[] join(int[]... parts) {
        return IntStream.range(0, parts.length)
                .flatMap(i -> IntStream.of(parts[i]))
                .toArray();
    }

    private static Request request(int[] prompt, int maxTokens) {
        return new Request(
                prompt,
                SamplingParams.builder()
                        .maxTokens(maxTokens)
                        .temperature(0)
                        .ignoreEndOfText(true)
                        .build());
    }

    /** Runs until nothing is left to do; returns the tokens of the text. */
    private static int[] finish(EngineLoop loop, Request request, TokenStream stream) {
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        Answer.Reader reader = new Answer.Reader();
        reader.poll(stream);
        Answer answer = reader.end(stream.finish());
        assertThat(answer).isEqualTo(Answer.alone(request, CONTEXT));
        return join(
                request.prompt(),
                answer.tokens().stream().mapToInt(Integer::intValue).toArray());
    }

    private static int[] answer(EngineLoop loop, Request request) {
        return finish(loop, request, loop.submit(request));
    }

    private int rowsOf(EngineLoop loop, Request request) {
        int before = rows;
        answer(loop, request);
        return rows - before;
    }

    @Test
    void submit_samePromptAgain_computesItsLastPageOnly() {
        EngineLoop loop = loop(100);
        Request request = request(text(1, 500), 1);

        assertThat(rowsOf(loop, request)).isEqualTo(500);
        assertThat(rowsOf(loop, request)).isEqualTo(500 % PAGE);
        assertThat(rowsOf(loop, request(text(1, 496), 1))).isEqualTo(PAGE);

        PrefixCacheStats stats = loop.tracker().stats().prefixCache();
        assertThat(stats.queriedTokens()).isEqualTo(500 + 500 + 496);
        assertThat(stats.hitTokens()).isEqualTo(496 + 480);
        assertThat(loop.tracker().stats().promptTokens()).isEqualTo(500 + 4 + 16);
        assertThat(stats.cachedPages()).isEqualTo(31);
        assertThat(loop.tracker().stats().savedStates()).isEqualTo(SavedStateStats.NONE);
    }

    @Test
    void states_samePromptAgain_beginsBehindItsLastPage() {
        savedStates = 32;
        EngineLoop loop = loop(100);
        Request request = request(text(1, 500), 1);

        assertThat(rowsOf(loop, request)).isEqualTo(500);
        assertThat(rowsOf(loop, request)).isEqualTo(500 - 496);
        assertThat(rowsOf(loop, request(text(1, 496), 1)))
                .as("before the answer's header")
                .isEqualTo(496 - 480);
        assertThat(rowsOf(loop, request(join(text(1, 490), text(2, 30)), 1)))
                .as("another answer's header")
                .isEqualTo(520 - 480);
    }

    /** The second text shows where others like it part, the third one begins there. */
    @Test
    void states_textsThatPart_beginWhereTheyPart() {
        savedStates = 32;
        for (int length : new int[] {200, 150}) { // at the end of a chunk, and in its middle
            EngineLoop loop = loop(200);
            int[] common = text(1, length);
            assertThat(rowsOf(loop, request(join(common, text(2, 100)), 1))).isEqualTo(length + 100);
            assertThat(rowsOf(loop, request(join(common, text(3, 100)), 1))).isEqualTo(length + 100);
            assertThat(rowsOf(loop, request(join(common, text(4, 100)), 1))).isEqualTo(100 + length % PAGE);
        }
    }

    /** One prompt computes the common beginning, the others wait for its state. */
    @Test
    void states_promptsTogether_computeTheirBeginningOnce() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        List<Request> requests = new ArrayList<>();
        List<TokenStream> streams = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            requests.add(request(join(text(1, 300), text(2 + i, 40 + i)), 1));
            streams.add(loop.submit(requests.get(i)));
        }
        for (int i = 0; i < 5; i++) {
            finish(loop, requests.get(i), streams.get(i));
        }
        assertThat(rows).isEqualTo(340 + 41 + 42 + 43 + 44 + 4 * (300 - 288));
    }

    /** The texts of three prompts part at two places, and a state is saved at both. */
    @Test
    void states_promptsTogetherThatPartAtTwoPlaces_computeTheirBeginningsOnce() {
        savedStates = 32;
        int[] text = text(1, 400);
        Request first = request(text, 1);
        Request far = request(join(Arrays.copyOf(text, 300), text(2, 110)), 1);
        Request near = request(join(Arrays.copyOf(text, 100), text(3, 320)), 1);
        assertThat(rowsTogether(loop(200), first, far, near)).isEqualTo(400 + (410 - 288) + (420 - 96));
        assertThat(rowsTogether(loop(200), first, near, far)).isEqualTo(400 + (410 - 288) + (420 - 96));
    }

    private int rowsTogether(EngineLoop loop, Request... requests) {
        int before = rows;
        List<TokenStream> streams = Arrays.stream(requests).map(loop::submit).toList();
        for (int i = 0; i < requests.length; i++) {
            finish(loop, requests[i], streams.get(i));
        }
        return rows - before;
    }

    /** The only state is saved where they part, although the first prompt goes on. */
    @Test
    void states_oneForPromptsTogether_isSavedWhereTheyPart() {
        savedStates = 1;
        int[] text = text(1, 300);
        assertThat(rowsTogether(loop(200), request(join(text, text(2, 40)), 1), request(join(text, text(3, 41)), 1)))
                .isEqualTo(340 + (341 - 288));
    }

    /** A prompt computes at least its last token, so the first one saves a state for it a page before. */
    @Test
    void states_promptThatAnotherBeginsWith_isComputedOnce() {
        savedStates = 32;
        assertThat(rowsTogether(loop(200), request(text(1, 200), 1), request(text(1, 96), 1)))
                .isEqualTo(200 + (96 - 80));
    }

    /** What a step shares with another one may be less than a page from where that one is. */
    @Test
    void states_promptWhoseRestIsShort_waitsForTheStateOfAnother() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        loop.submit(request(text(9, 10), 50));
        loop.doWork();
        Request request = request(text(1, 78), 1);
        loop.submit(request);
        loop.doWork();
        assertThat(loop.scheduler().running().get(1).computed).isEqualTo(BUDGET - 1);
        TokenStream again = loop.submit(request);

        finish(loop, request, again);

        assertThat(again.cachedTokens()).isEqualTo(64);
    }

    @Test
    void states_promptThatHasAllThatItShares_doesNotWait() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        loop.submit(request(join(text(1, 64), text(2, 200)), 1));
        loop.doWork();
        TokenStream second = loop.submit(request(join(text(1, 64), text(3, 20)), 1));

        loop.doWork();

        assertThat(second.poll()).isNotNull();
        assertThat(second.cachedTokens()).isEqualTo(64);
    }

    /** A preempted prompt forgets the place where another one parted from it that has left. */
    @Test
    void states_promptThatWasPreempted_savesThoseThatOthersWaitFor() {
        savedStates = 32;
        EngineLoop loop = loop(200, config -> config.maxSequences(2));
        loop.submit(later(text(1, 300)));
        TokenStream gone = loop.submit(later(join(text(1, 85), text(2, 50))));
        loop.doWork();
        gone.close();
        loop.submit(request(text(3, 2 * BUDGET), 2));
        loop.submit(request(text(4, 20), 1));
        for (int step = 0; step < 3; step++) {
            loop.doWork();
        }
        assertThat(loop.tracker().stats().preemptions()).isEqualTo(1);
        assertThat(loop.scheduler().running()).isEmpty();
        Request request = later(join(text(1, 115), text(2, 50)));
        TokenStream stream = loop.submit(request);

        finish(loop, request, stream);

        assertThat(stream.cachedTokens()).isEqualTo(112);
    }

    private static Request later(int[] prompt) {
        return new Request(prompt, request(prompt, 1).params(), null, Scheduling.DEFAULT.withPriority(1));
    }

    /** A prompt in the background gets no tokens while others have some. */
    @Test
    void states_promptBesideOneThatPauses_doesNotWaitForIt() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        Request paused = request(text(1, 200), 1);
        Scheduling background = Scheduling.DEFAULT.withPriority(Scheduling.BACKGROUND);
        loop.submit(new Request(paused.prompt(), paused.params(), null, background));
        loop.doWork();
        loop.submit(request(text(5, 300), 1));
        loop.submit(request(text(1, 120), 1));

        loop.doWork();

        List<Sequence> running = loop.scheduler().running();
        assertThat(running).hasSize(3);
        assertThat(running.get(2).computed).as("pauses").isEqualTo(64);
        assertThat(running.get(1).cachedTokens).isEqualTo(64);
        assertThat(running.get(1).computed).isGreaterThan(64);
    }

    /** A prompt that is farther than a shorter one with the same beginning goes on. */
    @Test
    void states_promptBesideOneBehindIt_doesNotWaitForIt() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        loop.submit(request(text(9, 10), 50));
        loop.doWork();
        loop.submit(request(text(5, 300), 1));
        loop.submit(request(text(1, 200), 1));
        loop.doWork();
        Sequence farther = loop.scheduler().running().getLast();
        assertThat(farther.computed).isEqualTo(31);
        TokenStream shorter = loop.submit(request(text(1, 40), 1));

        loop.doWork();

        assertThat(shorter.poll()).isNotNull();
        assertThat(shorter.cachedTokens()).isEqualTo(16);
        assertThat(farther.computed).isGreaterThan(31);
    }

    @Test
    void states_promptOfAnotherSalt_doesNotWait() {
        savedStates = 32;
        EngineLoop loop = loop(200);
        Request request = request(text(1, 500), 1);
        TokenStream first = loop.submit(request);
        TokenStream salted = loop.submit(new Request(request.prompt(), request.params(), "tenant"));
        loop.doWork();

        List<Sequence> running = loop.scheduler().running();
        assertThat(running).hasSize(2).allSatisfy(sequence -> assertThat(sequence.computed)
                .isPositive());
        finish(loop, request, first);
        finish(loop, request, salted);
    }

    @Test
    void states_nextTurnOfAChat_beginsBehindTheAnswer() {
        savedStates = 32;
        EngineLoop loop = loop(100);
        int[] text = answer(loop, request(text(1, 200), 100));
        assertThat(loop.tracker().stats().savedStates())
                .as("at 192, the end of the prompt, where that of 64 has moved to, and at 288")
                .isEqualTo(new SavedStateStats(32, 2, 0, 2, 0));

        assertThat(rowsOf(loop, request(join(text, text(2, 20)), 1))).isEqualTo(320 - 288);
        assertThat(loop.tracker().stats().savedStates())
                .as("at 304 and 320 too")
                .isEqualTo(new SavedStateStats(32, 4, 1, 4, 0));
    }

    /** One state for all: each save takes it from another text. */
    @Test
    void states_one_isUsedAsLongAsItIsThere() {
        savedStates = 1;
        EngineLoop loop = loop(200);
        Request first = request(text(1, 100), 1);
        Request second = request(text(2, 100), 1);

        assertThat(rowsOf(loop, first)).isEqualTo(100); // saves it at 80
        assertThat(rowsOf(loop, first)).isEqualTo(100 - 80); // begins with it, so it has none to save at 96
        assertThat(rowsOf(loop, second)).isEqualTo(100); // in place of that of the first, which was used
        assertThat(rowsOf(loop, first)).isEqualTo(100); // in place of that of the second, which nobody has used
        assertThat(loop.tracker().stats().savedStates()).isEqualTo(new SavedStateStats(1, 1, 1, 3, 1));
    }

    /** Two for one sequence are enough for the end of its prompt and its last page. */
    @Test
    void states_twoForOneSequence_areSavedBoth() {
        savedStates = 2;
        EngineLoop loop = loop(100);
        int[] text = answer(loop, request(text(1, 200), 100));

        assertThat(rowsOf(loop, request(join(text, text(2, 20)), 1))).isEqualTo(320 - 288);
    }

    /** Where others would lose theirs, a sequence has the state at the end of its prompt, and none for its answer. */
    @Test
    void states_fewerThanTwoForEachSequence_areThoseOfPrompts() {
        for (int states : new int[] {3, 4}) {
            savedStates = states;
            EngineLoop loop = loop(200);
            rowsTogether(loop, request(text(1, 60), 30), request(text(2, 60), 30));
            int saved = states == 3 ? 2 : 4;
            assertThat(loop.tracker().stats().savedStates()).isEqualTo(new SavedStateStats(states, saved, 0, saved, 0));
        }
    }

    /** A page that draft tokens have filled gets its state in the next step. */
    @Test
    void states_pagesFilledByDraftTokens_haveOne() {
        for (int i = 0; i < 5; i++) {
            savedStates = 32;
            FakeModel draft = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, 100, BUDGET, 8);
            EngineLoop loop = loop(100, config -> config, draft);
            int[] text = answer(loop, request(text(1, 200 + i), 100));
            assertThat(loop.tracker().stats().speculation().counts().acceptedTokens())
                    .isGreaterThan(50);

            assertThat(rowsOf(loop, request(join(text, text(2, 20)), 1))).isEqualTo(320 + i - 288);
        }
    }

    @Test
    void states_cacheOffAndOn_staySaved() {
        savedStates = 1;
        EngineLoop loop = loop(200);
        Request first = request(text(1, 100), 1);
        answer(loop, first);
        loop.setPrefixCaching(false);
        assertThat(rowsOf(loop, request(text(2, 100), 1))).isEqualTo(100);
        loop.setPrefixCaching(true);
        assertThat(rowsOf(loop, first)).isEqualTo(100 - 80);
    }

    @Test
    void states_cacheOffInTheStepThatSavesOne_areFree() {
        savedStates = 1;
        EngineLoop loop = loop(200);
        duringStep = () -> loop.setPrefixCaching(false);
        answer(loop, request(text(1, 60), 1));
        assertThat(loop.tracker().stats().savedStates()).isEqualTo(new SavedStateStats(1, 0, 0, 0, 0));
        duringStep = () -> {};
        loop.setPrefixCaching(true);
        answer(loop, request(text(2, 60), 1));
        assertThat(loop.tracker().stats().savedStates()).isEqualTo(new SavedStateStats(1, 1, 0, 1, 0));
    }

    @Test
    void submit_withoutTheCache_computesAll() {
        EngineLoop loop = loop(100, config -> config.prefixCache(false));
        Request request = request(text(1, 500), 1);

        assertThat(rowsOf(loop, request)).isEqualTo(500);
        assertThat(rowsOf(loop, request)).isEqualTo(500);
        assertThat(loop.tracker().stats().prefixCache().cachedPages()).isZero();
    }

    @Test
    void setPrefixCaching_offAndOn_changesWhatIsComputed() {
        EngineLoop loop = loop(100);
        Request request = request(text(1, 500), 1);
        loop.setPrefixCaching(false);
        assertThat(rowsOf(loop, request)).isEqualTo(500);
        loop.setPrefixCaching(true);
        assertThat(rowsOf(loop, request)).isEqualTo(500);
        loop.setPrefixCaching(false);
        assertThat(rowsOf(loop, request)).isEqualTo(500);
        loop.setPrefixCaching(true);
        assertThat(rowsOf(loop, request)).isEqualTo(4);
    }

    /** The pages that decoding fills are cached too. */
    @Test
    void submit_nextTurnOfAChat_computesItsNewTokensOnly() {
        EngineLoop loop = loop(100);
        int[] text = answer(loop, request(text(1, 100), 100));

        assertThat(rowsOf(loop, request(join(text, text(2, 20)), 1))).isEqualTo(220 - 199 / PAGE * PAGE);
    }

    @Test
    void submit_otherSalt_computesAll() {
        EngineLoop loop = loop(100);
        SamplingParams params = request(text(1, 1), 1).params();
        for (String salt : new String[] {null, "one", "two"}) {
            assertThat(rowsOf(loop, new Request(text(1, 100), params, salt))).isEqualTo(100);
            assertThat(rowsOf(loop, new Request(text(1, 100), params, salt))).isEqualTo(4);
        }
    }

    /** Log probabilities of the prompt need each of its positions; their pages serve others all the same. */
    @Test
    void submit_promptLogprobs_computesAllAndTakesNoCachedPage() {
        EngineLoop loop = loop(100);
        Request plain = request(text(1, 100), 1);
        SamplingParams params = plain.params().toBuilder().promptLogprobs(1).build();
        assertThat(rowsOf(loop, plain)).isEqualTo(100);
        assertThat(rowsOf(loop, new Request(text(1, 100), params))).isEqualTo(100);
        assertThat(rowsOf(loop, new Request(text(2, 100), params))).isEqualTo(100);
        assertThat(rowsOf(loop, request(text(2, 100), 1))).isEqualTo(100 % PAGE);
    }

    /** In each step one of them computes the pages that all need; the others use them in the next step. */
    @Test
    void submit_requestsThatArriveTogether_computeTheirBeginningOnce() {
        EngineLoop loop = loop(200);
        int[] shared = text(1, 30 * PAGE);
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            requests.add(request(join(shared, text(10 + i, 20)), 1));
        }
        List<TokenStream> streams = requests.stream().map(loop::submit).toList();
        for (int i = 0; i < streams.size(); i++) {
            finish(loop, requests.get(i), streams.get(i));
        }
        assertThat(rows).isEqualTo(30 * PAGE + 8 * 20);
        assertThat(streams.stream().mapToInt(TokenStream::cachedTokens).sum()).isEqualTo(7 * 30 * PAGE);
    }

    /** What is in the middle of a page is copied, so each further answer computes the last token of the prompt only. */
    @Test
    void submit_eightAnswersToOnePrompt_computeItOnceAndHoldItOnce() {
        for (int length : new int[] {1_000, 992}) {
            rows = 0;
            EngineLoop loop = loop(200);
            List<Request> requests = IntStream.range(0, 8)
                    .mapToObj(seed -> new Request(
                            text(1, length),
                            SamplingParams.builder()
                                    .maxTokens(20)
                                    .seed(seed)
                                    .ignoreEndOfText(true)
                                    .build()))
                    .toList();
            List<TokenStream> streams = requests.stream().map(loop::submit).toList();
            while (loop.tracker().stats().generationTokens() < 8) {
                loop.doWork();
                loop.checkIntegrity();
            }
            assertThat(rows).isEqualTo(length + 7 + 1); // the first answer has its second token already
            assertThat(loop.tracker().stats().promptTokens()).isEqualTo(length + 7);
            int whole = (length - 1) / PAGE;
            assertThat(loop.tracker().stats().usedPages()).isBetween(whole + 8, whole + 8 + 1);
            for (int i = 0; i < 8; i++) {
                finish(loop, requests.get(i), streams.get(i));
            }
        }
    }

    /**
     * They are too long for one step together, so some have computed nothing yet when others have computed the prompt, which
     * fills no page. With one salt they copy it.
     */
    @Test
    void submit_answersToOnePromptWithOtherSalts_shareNothing() {
        for (boolean others : new boolean[] {false, true}) {
            EngineLoop loop = loop(200);
            SamplingParams params = request(text(1, 1), 30).params();
            for (int i = 0; i < 8; i++) {
                loop.submit(new Request(text(1, 15), params, "salt " + (others ? i : 0)));
            }
            while (loop.tracker().stats().generationTokens() < 8) {
                loop.doWork();
            }
            assertThat(loop.tracker().stats().running()).isEqualTo(8);
            long hits = loop.tracker().stats().prefixCache().hitTokens();
            assertThat(loop.tracker().stats().promptTokens()).isEqualTo(8 * 15 - hits);
            assertThat(hits)
                    .isEqualTo(others ? 0 : 3 * 14); // a step has room for four of them, and a part of the fifth
        }
    }

    /** With one salt the second waits for the page of the first. With two it would wait in vain, and learn what the other asks. */
    @Test
    void submit_samePromptWithAnotherSalt_doesNotWaitForIt() {
        for (boolean others : new boolean[] {false, true}) {
            rows = 0;
            EngineLoop loop = loop(200);
            SamplingParams params = request(text(1, 1), 30).params();
            for (int i = 0; i < 2; i++) {
                loop.submit(new Request(text(1, 20), params, "salt " + (others ? i : 0)));
            }
            loop.doWork();
            assertThat(rows).isEqualTo(others ? 40 : 20);
        }
    }

    @Test
    void close_theOneThatComputesSharedPages_anotherContinues() {
        EngineLoop loop = loop(200);
        int[] shared = text(1, 30 * PAGE);
        TokenStream first = loop.submit(request(join(shared, text(2, 20)), 1));
        Request request = request(join(shared, text(3, 20)), 1);
        TokenStream second = loop.submit(request);
        loop.doWork();
        loop.doWork();
        int computed = rows;
        first.close();

        finish(loop, request, second);

        assertThat(rows).isEqualTo(shared.length + 20);
        assertThat(second.cachedTokens()).isEqualTo(computed);
    }

    /** A short prompt that shares its beginning with a long one is not slower than without it. */
    @Test
    void plan_shortPromptBesideALongOneWithTheSameBeginning_isNotDelayed() {
        EngineLoop loop = loop(200);
        int[] shared = text(1, 2 * PAGE);
        loop.submit(request(join(shared, text(2, 900)), 1));
        TokenStream small = loop.submit(request(join(shared, text(3, 5)), 1));

        loop.doWork();
        loop.doWork();

        assertThat(small.poll()).isNotNull();
        assertThat(small.cachedTokens()).isEqualTo(2 * PAGE);
    }

    /** The younger request gives its pages to the older one, and finds those again that nobody needed. */
    @Test
    void plan_preemptedSequence_findsItsPagesAgain() {
        EngineLoop loop = loop(21);
        Request older = request(text(1, 8 * PAGE), 5 * PAGE);
        Request younger = request(text(2, 10 * PAGE - 1), 40);
        TokenStream first = loop.submit(older);
        TokenStream second = loop.submit(younger);
        finish(loop, older, first);
        finish(loop, younger, second);

        assertThat(loop.tracker().stats().preemptions()).isPositive();
        int all = older.prompt().length + 5 * PAGE - 1 + younger.prompt().length + 39;
        assertThat(rows).isBetween(all, all + 5 * PAGE);
        assertThat(second.cachedTokens()).isZero(); // it has computed all of its prompt itself
    }

    /** Eight requests of 15 pages fit into 30, because they share 14. */
    @Test
    void plan_sharedPages_countOnceForAdmission() {
        EngineLoop loop = loop(30);
        int[] shared = text(1, 14 * PAGE);
        answer(loop, request(join(shared, text(2, 4)), 1));
        for (int i = 0; i < 8; i++) {
            loop.submit(request(join(shared, text(10 + i, 4)), 12));
        }
        loop.doWork();

        assertThat(loop.tracker().stats().running()).isEqualTo(8);
        assertThat(loop.tracker().stats().usedPages()).isEqualTo(14 + 8);
    }

    /** Draft tokens reach beyond the end of a page in many steps, and nearly all of them are rejected. */
    @Test
    void draft_rejectedTokensThatFillAPage_enterNoIndex() {
        FakeModel draft = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, 100, BUDGET, 8).differing(1);
        EngineLoop loop = loop(100, config -> config, draft);
        Request request = request(text(1, 50), 100);
        TokenStream stream = loop.submit(request);
        int written = 0;
        while (loop.doWork() > 0) {
            for (Sequence sequence : loop.scheduler().running()) {
                assertThat(loop.pages().indexed(sequence.row)).isEqualTo(sequence.computed / PAGE);
                written += loop.pages().held(sequence.row) > sequence.length() / PAGE + 1 ? 1 : 0;
            }
        }
        int[] text = finish(loop, request, stream);

        assertThat(loop.tracker().stats().speculation().counts().draftTokens()).isGreaterThan(100);
        assertThat(loop.tracker().stats().speculation().counts().acceptedTokens())
                .as("right by chance")
                .isLessThan(10);
        assertThat(written)
                .as("steps after which a page held rejected tokens alone")
                .isPositive();
        assertThat(loop.tracker().stats().prefixCache().cachedPages()).isEqualTo(149 / PAGE);
        assertThat(rowsOf(loop, request(join(text, text(2, 20)), 1))).isEqualTo(170 - 149 / PAGE * PAGE);
    }

    @Test
    void draft_nextTurnOfAChat_findsTheDraftModelsPages() {
        FakeModel draft = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, 100, BUDGET, 8).differing(4);
        draft.onForward(batch -> draftRows += batch.rows());
        EngineLoop loop = loop(100, config -> config, draft);
        int[] text = answer(loop, request(text(1, 200), 100));
        int first = draftRows;
        assertThat(first).isGreaterThan(300);

        answer(loop, request(join(text, text(2, 20)), 20));

        assertThat(loop.tracker().stats().speculation().counts().acceptedTokens())
                .isPositive();
        assertThat(draftRows - first).isLessThan(150);
    }

    /** The large model computes a prompt, but the draft model does not, because the answer has one token. */
    @Test
    void draft_pagesThatOnlyTheLargeModelHasComputed_areReadByTheDraftModel() {
        FakeModel draft = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, 100, BUDGET, 8);
        draft.onForward(batch -> draftRows += batch.rows());
        EngineLoop loop = loop(100, config -> config, draft);
        answer(loop, request(text(1, 200), 1));
        assertThat(draftRows).isZero();

        answer(loop, request(text(1, 200), 30));

        assertThat(draftRows).isGreaterThan(200);
        assertThat(loop.tracker().stats().speculation().counts().acceptedTokens())
                .isPositive();
    }
}
