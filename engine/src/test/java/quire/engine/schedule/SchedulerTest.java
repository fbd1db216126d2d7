package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import quire.engine.Answer;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.FinishReason;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.TokenStream;

/** Which sequences are computed in which step. A token takes a microsecond in this test. */
class SchedulerTest {
    private static final int BUDGET = 64;
    private static final int PAGE_TOKENS = 16;
    private static final long TOKEN_NANOS = 1_000;

    private static final AtomicInteger REQUESTS = new AtomicInteger();

    private final List<Integer> stepTokens = new ArrayList<>();
    private FakeModel model = model(1_000);
    private long nanos;

    private static FakeModel model(int pages) {
        return new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 1_000_000, PAGE_TOKENS, pages, BUDGET, 16);
    }

    @AfterEach
    void close() {
        model.close();
    }

    private EngineLoop loop(Duration target) {
        return loop(target, rows -> (double) rows * TOKEN_NANOS);
    }

    /** @param cost nanoseconds of a step, by its tokens */
    private EngineLoop loop(Duration target, IntToDoubleFunction cost) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(16)
                .maxBatchedTokens(BUDGET)
                .targetTokenGap(target)
                .threads(1)
                .build();
        model.onForward(batch -> {
            stepTokens.add(batch.rows());
            nanos += (long) cost.applyAsDouble(batch.rows());
        });
        return EngineLoop.builder(model, new FakeTokenizer(), config)
                .cost(new FixedCost(cost))
                .nanoClock(() -> nanos)
                .build();
    }

    private record FixedCost(IntToDoubleFunction nanos) implements StepCost {
        @Override
        public double predict(int rows, long contexts, long positions) {
            return rows == 0 ? 0 : nanos.applyAsDouble(rows);
        }

        @Override
        public void observe(int rows, long contexts, long positions, long took) {
            // the cost is fixed
        }

        @Override
        public double[] start() {
            return new double[0];
        }
    }

    private static TokenStream submit(EngineLoop loop, int promptTokens, int maxTokens) {
        return loop.submit(request(promptTokens, maxTokens));
    }

    /** A request that shares no pages with others, whose prompts begin with the same tokens. */
    private static Request request(int promptTokens, int maxTokens) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(maxTokens)
                .temperature(0)
                .ignoreEndOfText(true)
                .build();
        int[] prompt = IntStream.range(0, promptTokens)
                .map(i -> i * 7 % FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
        return new Request(prompt, params, "request " + REQUESTS.incrementAndGet());
    }

    private static Request of(String tenant, Request request) {
        return request.withScheduling(request.scheduling().withTenant(tenant, 1));
    }

    /** Steps until a stream has a token. */
    private static int stepsToToken(EngineLoop loop, TokenStream stream) {
        for (int steps = 1; ; steps++) {
            assertThat(loop.doWork()).isPositive();
            loop.checkIntegrity();
            if (stream.poll() != null) {
                return steps;
            }
        }
    }

    @Test
    void plan_shortPromptsBesideLongOnes_startAtOnce() {
        EngineLoop loop = loop(Duration.ZERO);
        for (int i = 0; i < 3; i++) {
            submit(loop, 4_000, 2);
        }
        loop.doWork();

        assertThat(stepsToToken(loop, submit(loop, 1, 1))).isEqualTo(1);
        assertThat(stepsToToken(loop, submit(loop, 32, 1))).isEqualTo(1);
        assertThat(stepsToToken(loop, submit(loop, 64, 1))).isEqualTo(2);
    }

    @Test
    void plan_longPromptBesideShortOnes_keepsHalfOfTheBudget() {
        EngineLoop loop = loop(Duration.ZERO);
        TokenStream longest = submit(loop, 3_200, 1);
        loop.doWork();
        int steps = 1;
        for (; longest.poll() == null; steps++) {
            submit(loop, 31, 1);
            submit(loop, 31, 1);
            loop.doWork();
        }
        assertThat(steps).isLessThanOrEqualTo(3_200 / (BUDGET / 2) + 1);
    }

    @Test
    void plan_promptBesideDecoding_staysWithinTheTargetForTheTokenGap() {
        EngineLoop loop = loop(Duration.ofNanos(20 * TOKEN_NANOS));
        TokenStream decoding = submit(loop, 4, 200);
        stepsToToken(loop, decoding);
        submit(loop, 500, 1);
        stepTokens.clear();
        for (int i = 0; i < 10; i++) {
            assertThat(stepsToToken(loop, decoding)).isEqualTo(1);
        }
        assertThat(stepTokens).containsOnly(20);
    }

    /** One token decodes, and prompts get a quarter of the other 39: 4 the short one, 5 the long one. */
    @Test
    void plan_stepWithAShortPrompt_isShorter() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        TokenStream decoding = submit(loop, 4, 200);
        stepsToToken(loop, decoding);
        submit(loop, 2_000, 1);
        loop.doWork();
        TokenStream small = submit(loop, 4, 1);
        stepTokens.clear();
        assertThat(stepsToToken(loop, small)).isEqualTo(1);
        assertThat(stepTokens).containsExactly(1 + 39 / 4);
    }

    /** So many short prompts that they would not fit into a light step: all start at once, and the oldest gets as much. */
    @Test
    void plan_stepWithManyShortPrompts_startsAllOfThem() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        stepsToToken(loop, submit(loop, 4, 200));
        submit(loop, 2_000, 1);
        loop.doWork();
        List<TokenStream> small =
                IntStream.range(0, 4).mapToObj(i -> submit(loop, 4, 1)).toList();
        stepTokens.clear();
        loop.doWork();
        assertThat(small).allSatisfy(stream -> assertThat(stream.poll()).isNotNull());
        assertThat(stepTokens).containsExactly(1 + 16 + 16);
    }

    @Test
    void plan_shortPromptWhileNobodyDecodes_getsAShortStep() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        submit(loop, 2_000, 1);
        loop.doWork();
        assertThat(stepTokens).containsExactly(BUDGET);
        assertThat(stepsToToken(loop, submit(loop, 4, 1))).isEqualTo(1);
        assertThat(stepTokens).containsExactly(BUDGET, 10);
    }

    /** A short prompt in every step: every other step has room for a quarter beside it, and the oldest gets half of each. */
    @Test
    void plan_shortPromptInEachStep_longPromptGetsHalf() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        submit(loop, 1, 2_000);
        loop.doWork();
        TokenStream longest = submit(loop, 2_000, 1);
        loop.doWork();
        stepTokens.clear();
        int steps = 0;
        for (; longest.poll() == null; steps++) {
            submit(loop, 4, 1);
            loop.doWork();
            loop.checkIntegrity();
        }
        for (int i = 0; i < steps - 2; i += 2) {
            assertThat(stepTokens.get(i) + stepTokens.get(i + 1))
                    .as("steps " + i + " and " + (i + 1))
                    .isEqualTo(10 + 10 + 4);
        }
        assertThat(steps).isLessThanOrEqualTo(2 * 2_000 / (10 + 10 + 4 - 2) * 2);
    }

    /** The short prompt is the first in the order, since its tenant has had nothing. Long ones of another tenant follow. */
    @Test
    void plan_shortPromptBeforeLongOnesOfAnotherTenant_getsAShortStep() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        stepsToToken(loop, loop.submit(of("many", request(4, 2_000))));
        for (int i = 0; i < 4; i++) {
            loop.submit(of("many", request(2_000, 1)));
        }
        loop.doWork();
        TokenStream small = loop.submit(of("few", request(4, 1)));
        stepTokens.clear();
        assertThat(stepsToToken(loop, small)).isEqualTo(1);
        assertThat(stepTokens.getFirst()).isLessThanOrEqualTo(1 + 39 / 4 + 1);
    }

    /** Both long prompts are cut, since neither would end in a step of its own. */
    @Test
    void plan_shortPromptBesideSeveralLongOnes_getsAShortStep() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        stepsToToken(loop, submit(loop, 4, 2_000));
        submit(loop, 2_000, 1);
        submit(loop, 1_000, 1);
        loop.doWork();
        TokenStream small = submit(loop, 4, 1);
        stepTokens.clear();
        assertThat(stepsToToken(loop, small)).isEqualTo(1);
        assertThat(stepTokens.getFirst()).isLessThanOrEqualTo(1 + 39 / 4 + 1);
    }

    /** The first prompt needs 30 of the 39 tokens, and the half that it always gets is 20. */
    @Test
    void plan_firstPromptThatIsTheShortest_endsInOneStep() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        stepsToToken(loop, submit(loop, 4, 2_000));
        TokenStream first = submit(loop, 30, 1);
        submit(loop, 2_000, 1);
        assertThat(stepsToToken(loop, first)).isEqualTo(1);
    }

    /** After a short prompt the next one may come at any time; ten targets later nobody expects it. */
    @Test
    void plan_afterAShortPrompt_longPromptsGetShortStepsForAWhile() {
        EngineLoop loop = loop(Duration.ofNanos(40 * TOKEN_NANOS));
        submit(loop, 1, 2_000);
        loop.doWork();
        submit(loop, 10_000, 1);
        loop.doWork();
        stepTokens.clear();
        loop.doWork();
        submit(loop, 4, 1);
        loop.doWork();
        long begin = nanos;
        while (nanos - begin < 600 * TOKEN_NANOS) {
            loop.doWork();
        }
        int expected = 400 / 10; // steps of 10 tokens in ten targets of 40
        assertThat(stepTokens.getFirst()).isEqualTo(40);
        assertThat(stepTokens.subList(1, expected)).containsOnly(10);
        assertThat(stepTokens.getLast()).isEqualTo(40);
    }

    /** Each step costs as much as 100 tokens, so small steps are dear: long prompts get more than a third of the time. */
    @Test
    void plan_afterAShortPrompt_longPromptsGetStepsThatAreEfficient() {
        EngineLoop loop = loop(Duration.ofNanos(120 * TOKEN_NANOS), rows -> (100.0 + rows) * TOKEN_NANOS);
        submit(loop, 1, 2_000);
        loop.doWork();
        submit(loop, 10_000, 1);
        loop.doWork();
        submit(loop, 4, 1);
        loop.doWork();
        stepTokens.clear();
        loop.doWork();
        loop.doWork();
        // 50 tokens would take half as long as decoding; (100 + 59) / 59 is less than 1.1 × (100 + 64) / 64
        assertThat(stepTokens).containsOnly(1 + 50 + PromptPace.LEAST_TOKENS);
    }

    @Test
    void plan_decodingThatTakesTheWholeTarget_leavesPromptsAsMuchTime() {
        EngineLoop loop = loop(Duration.ofNanos(TOKEN_NANOS));
        List<TokenStream> decoding =
                IntStream.range(0, 12).mapToObj(i -> submit(loop, 4, 200)).toList();
        loop.doWork();
        submit(loop, 500, 1);
        stepTokens.clear();
        for (int i = 0; i < 10; i++) {
            loop.doWork();
        }
        assertThat(stepTokens).containsOnly(24);
        assertThat(decoding).allSatisfy(stream -> assertThat(stream.poll()).isNotNull());
    }

    @Test
    void plan_promptAlone_takesTheWholeBudgetWhateverTheTarget() {
        EngineLoop loop = loop(Duration.ofNanos(TOKEN_NANOS));
        submit(loop, 500, 1);
        loop.doWork();
        assertThat(stepTokens).containsExactly(BUDGET);
    }

    /** The head of the queue needs more pages than are free; small requests need one or two pages. */
    @Test
    void plan_headThatDoesNotFit_isPassedBySmallRequestsAndStartsAsIfTheyWereNotThere() {
        model.close();
        model = model(64);
        EngineLoop loop = loop(Duration.ZERO);
        TokenStream first = submit(loop, 8 * PAGE_TOKENS - 1, 60);
        stepsToToken(loop, first);
        TokenStream head = submit(loop, 60 * PAGE_TOKENS, 1);
        TokenStream small = submit(loop, 20, 200);

        assertThat(stepsToToken(loop, small)).isEqualTo(1);
        assertThat(loop.tracker().stats().waiting()).isEqualTo(1);

        while (read(first)) {
            loop.doWork();
        }
        assertThat(stepsToToken(loop, head)).isLessThanOrEqualTo(60 * PAGE_TOKENS / (BUDGET / 2) + 1);
    }

    /** Short requests pass the head of the queue, but it gets every other of the rows that become free. */
    @Test
    void plan_rowsThatBecomeFree_areForTheShortestAndForTheHeadByTurns() {
        EngineLoop loop = loop(Duration.ZERO);
        submit(loop, 10_000, 1);
        IntStream.range(0, 15).forEach(i -> submit(loop, 4, i == 0 ? 1 : i == 1 ? 8 : 200));
        loop.doWork();
        TokenStream head = submit(loop, 2_000, 1);
        TokenStream passing = submit(loop, 4, 200);
        TokenStream other = submit(loop, 4, 200);
        while (loop.scheduler().waiting().size() > 1) {
            loop.doWork();
            loop.checkIntegrity();
        }
        assertThat(passing.poll()).isNotNull();
        assertThat(other.poll()).isNull();
        assertThat(loop.scheduler().running()).hasSize(16).anyMatch(sequence -> sequence.promptLength() == 2_000);
        assertThat(head.poll()).isNull();
    }

    /** The head takes a row in place of a shorter request, with one token: the shortest running prompt keeps its tokens. */
    @Test
    void plan_rowForTheHead_leavesTheShortestPromptItsTokens() {
        EngineLoop loop = loop(Duration.ZERO);
        submit(loop, 6_000, 1);
        submit(loop, 2_000, 1);
        IntStream.range(0, 14).forEach(i -> submit(loop, 4, i == 0 ? 10 : i == 1 ? 20 : 200));
        while (!isRunning(loop, 2_000)) {
            loop.doWork();
        }
        TokenStream head = submit(loop, 3_000, 1);
        submit(loop, 4, 200);
        submit(loop, 4, 200);
        while (!isRunning(loop, 3_000)) {
            int before = computed(loop, 2_000);
            loop.doWork();
            loop.checkIntegrity();
            int decoding = loop.scheduler().running().size() - (isRunning(loop, 3_000) ? 3 : 2);
            assertThat(computed(loop, 2_000) - before)
                    .isGreaterThanOrEqualTo((BUDGET - decoding) / 2 - 5); // of a short one, and of the head
        }
        assertThat(computed(loop, 3_000)).isOne();
        assertThat(loop.scheduler().waiting()).hasSize(1);
        assertThat(head.poll()).isNull();
    }

    private static boolean isRunning(EngineLoop loop, int promptTokens) {
        return loop.scheduler().running().stream().anyMatch(sequence -> sequence.promptLength() == promptTokens);
    }

    /** Computed tokens of the running request with such a prompt. */
    private static int computed(EngineLoop loop, int promptTokens) {
        return loop.scheduler().running().stream()
                .filter(sequence -> sequence.promptLength() == promptTokens)
                .findFirst()
                .orElseThrow()
                .computed;
    }

    /** The bound in time changes which tokens a step computes, and never what comes out. */
    @Test
    void plan_anyTargetForTheTokenGap_answersAreAsAlone() {
        int context = 100;
        for (int target : new int[] {1, 5, 20, 63}) {
            model.close();
            model = model(60);
            EngineLoop loop = loop(Duration.ofNanos(target * TOKEN_NANOS));
            SplittableRandom random = new SplittableRandom(target);
            List<Request> requests = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                int[] prompt = random.ints(1 + random.nextInt(60), 0, FakeTokenizer.VOCABULARY_SIZE)
                        .toArray();
                requests.add(new Request(
                        prompt,
                        SamplingParams.builder()
                                .maxTokens(1 + random.nextInt(context - prompt.length))
                                .seed(i)
                                .logprobs(2)
                                .build()));
            }
            assertThat(answers(loop, requests)).isEqualTo(alone(requests, context));
        }
    }

    /** A small request passes a head that does not fit; later the head takes pages back. Nobody's answer changes. */
    @Test
    void plan_smallRequestsPassTheHead_answersAreAsAlone() {
        model.close();
        model = model(64);
        EngineLoop loop = loop(Duration.ZERO);
        List<Request> requests =
                new ArrayList<>(List.of(request(8 * PAGE_TOKENS - 1, 60), request(60 * PAGE_TOKENS, 5)));
        for (int i = 0; i < 8; i++) {
            requests.add(request(10 + i, 150));
        }
        List<Answer> expected = alone(requests, 64 * PAGE_TOKENS);

        assertThat(answers(loop, requests)).isEqualTo(expected);
        assertThat(loop.tracker().stats().preemptions())
                .as("pages that the head took back")
                .isPositive();
    }

    private static List<Answer> alone(List<Request> requests, int context) {
        return requests.stream().map(request -> Answer.alone(request, context)).toList();
    }

    private static List<Answer> answers(EngineLoop loop, List<Request> requests) {
        List<TokenStream> streams = requests.stream().map(loop::submit).toList();
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        List<Answer> answers = new ArrayList<>();
        for (TokenStream stream : streams) {
            Answer.Reader reader = new Answer.Reader();
            reader.poll(stream);
            answers.add(reader.end(stream.finish()));
        }
        return answers;
    }

    private static boolean read(TokenStream stream) {
        while (stream.poll() != null) {
            // reads all available tokens
        }
        return !((OutputQueue) stream).hasEnded();
    }

    private static TokenStream submit(EngineLoop loop, int promptTokens, int maxTokens, Scheduling scheduling) {
        Request request = request(promptTokens, maxTokens);
        return loop.submit(new Request(request.prompt(), request.params(), request.cacheSalt(), scheduling));
    }

    /** The order of three prompts that fill a step each is that of their priorities, not of their arrivals. */
    @Test
    void plan_lowerPriorityNumber_isComputedFirst() {
        EngineLoop loop = loop(Duration.ZERO);
        TokenStream last = submit(loop, BUDGET, 1, Scheduling.DEFAULT.withPriority(7));
        TokenStream middle = submit(loop, BUDGET, 1);
        TokenStream first = submit(loop, BUDGET, 1, Scheduling.DEFAULT.withPriority(-1));

        assertThat(stepsToToken(loop, first)).isEqualTo(1);
        assertThat(stepsToToken(loop, middle)).isEqualTo(1);
        assertThat(stepsToToken(loop, last)).isEqualTo(1);
    }

    /** A short prompt with a higher number gets what the long one leaves: nothing, until its last step. */
    @Test
    void plan_shortPromptWithAHigherNumber_waitsForTheLongOne() {
        EngineLoop loop = loop(Duration.ZERO);
        submit(loop, 2 * BUDGET + 10, 1);
        TokenStream small = submit(loop, 4, 1, Scheduling.DEFAULT.withPriority(1));

        assertThat(stepsToToken(loop, small)).isEqualTo(3);
        assertThat(stepTokens).containsExactly(BUDGET, BUDGET, 10 + 4);
    }

    /** All rows are taken by answers with a higher number: the last one gives its row, and its answer stays the same. */
    @Test
    void plan_lowerNumberWhileAllRowsAreTaken_takesARow() {
        EngineLoop loop = loop(Duration.ZERO);
        List<Request> requests =
                IntStream.range(0, 16).mapToObj(i -> request(4, 40)).toList();
        List<TokenStream> streams = requests.stream().map(loop::submit).toList();
        loop.doWork();
        TokenStream equal = submit(loop, 4, 1);
        TokenStream urgent = submit(loop, 4, 1, Scheduling.DEFAULT.withPriority(-1));

        assertThat(stepsToToken(loop, urgent)).isEqualTo(1);
        assertThat(equal.poll()).isNull();
        assertThat(loop.tracker().stats().preemptions()).isEqualTo(1);
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        for (int i = 0; i < streams.size(); i++) {
            Answer.Reader reader = new Answer.Reader();
            reader.poll(streams.get(i));
            assertThat(reader.end(streams.get(i).finish())).isEqualTo(Answer.alone(requests.get(i), 100));
        }
    }

    private static final Scheduling BACKGROUND = Scheduling.DEFAULT.withPriority(Scheduling.BACKGROUND);

    /** Answers and prompts of the background stop while another request is computed, go on after it, and stay the same. */
    @Test
    void plan_background_isComputedOnlyWhileNothingElseIs() {
        EngineLoop loop = loop(Duration.ZERO);
        Request answering = request(4, 20).withScheduling(BACKGROUND);
        Request reading = request(3 * BUDGET, 2).withScheduling(BACKGROUND);
        List<TokenStream> streams = List.of(loop.submit(answering), loop.submit(reading));
        loop.doWork();
        TokenStream live = submit(loop, 4, 3);
        stepTokens.clear();

        assertThat(stepsToToken(loop, live)).isEqualTo(1);
        assertThat(stepsToToken(loop, live)).isEqualTo(1);
        assertThat(stepsToToken(loop, live)).isEqualTo(1);
        assertThat(stepTokens).containsExactly(4, 1, 1);
        loop.doWork();
        assertThat(stepTokens.getLast()).isEqualTo(BUDGET);
        while (loop.doWork() > 0) {
            loop.checkIntegrity();
        }
        assertThat(loop.tracker().stats().preemptions()).isZero();
        for (int i = 0; i < streams.size(); i++) {
            Answer.Reader reader = new Answer.Reader();
            reader.poll(streams.get(i));
            assertThat(reader.end(streams.get(i).finish()))
                    .isEqualTo(Answer.alone(List.of(answering, reading).get(i), 1_000));
        }
    }

    /** The background fills rows and pages; what it has is given to the first request that comes. */
    @Test
    void plan_backgroundWithAllRowsOrPages_givesThemUp() {
        for (int pages : new int[] {1_000, 16}) {
            model.close();
            model = model(pages);
            EngineLoop loop = loop(Duration.ZERO);
            for (int i = 0; i < 16; i++) {
                loop.submit(request(12, 40).withScheduling(BACKGROUND));
            }
            for (int i = 0; i < 8; i++) {
                loop.doWork();
            }
            assertThat(stepsToToken(loop, submit(loop, 200, 1))).isEqualTo(4);
            assertThat(loop.tracker().stats().preemptions()).isPositive();
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
            }
        }
    }

    /** 100 tokens of time are over after two steps: the answer ends, and its pages are free in the step after that. */
    @Test
    void plan_timeoutOfARunningAnswer_endsItAndFreesItsPages() {
        EngineLoop loop = loop(Duration.ZERO);
        Scheduling short100 = Scheduling.DEFAULT.withTimeout(Duration.ofNanos(100 * TOKEN_NANOS));
        TokenStream late = submit(loop, 1_000, 5, short100);
        loop.doWork();
        loop.doWork();
        assertThat(loop.pages().used()).isPositive();
        loop.doWork();
        assertThat(stepTokens).containsExactly(BUDGET, BUDGET);
        assertThat(late.poll()).isNull();
        assertThat(late.finish()).isEqualTo(new TokenStream.Finish(FinishReason.TIMEOUT, "", null, 1_000, 0, null));
        assertThat(loop.pages().used()).isZero();
        loop.checkIntegrity();
    }

    @Test
    void plan_timeoutOfAWaitingRequest_endsItWithoutComputingIt() {
        EngineLoop loop = loop(Duration.ZERO);
        IntStream.range(0, 16).forEach(i -> submit(loop, 4, 100));
        loop.doWork();
        Scheduling short40 = Scheduling.DEFAULT.withTimeout(Duration.ofNanos(40 * TOKEN_NANOS));
        TokenStream late = submit(loop, 4, 5, short40);
        for (int i = 0; i < 3; i++) {
            assertThat(((OutputQueue) late).hasEnded()).isFalse();
            loop.doWork();
        }
        loop.doWork();
        assertThat(late.finish().reason()).isEqualTo(FinishReason.TIMEOUT);
        assertThat(loop.tracker().stats().finished()).containsEntry(FinishReason.TIMEOUT, 1L);
    }

    /** "b" may begin the stop string, so it is held back; when the time is over, it is sent. */
    @Test
    void plan_timeoutWithTextHeldBack_sendsTheText() {
        model.close();
        model = model(10);
        EngineLoop loop = loop(Duration.ZERO);
        Request request = request(4, 50);
        Answer alone = Answer.alone(request, 160);
        String stop = alone.text() + "!";
        SamplingParams params = request.params().toBuilder().stop(List.of(stop)).build();
        TokenStream late = loop.submit(new Request(
                request.prompt(), params, null, Scheduling.DEFAULT.withTimeout(Duration.ofNanos(20 * TOKEN_NANOS))));
        Answer.Reader reader = new Answer.Reader();
        while (loop.doWork() > 0) {
            reader.poll(late);
        }
        Answer answer = reader.end(late.finish());
        assertThat(answer.finish().reason()).isEqualTo(FinishReason.TIMEOUT);
        assertThat(answer.finish().text()).isNotEmpty().isEqualTo(answer.text());
        assertThat(answer.isPrefixOf(alone)).isTrue();
    }

    @Test
    void plan_headThatDoesNotFit_isNotPassedByALargeRequest() {
        model.close();
        model = model(64);
        EngineLoop loop = loop(Duration.ZERO);
        stepsToToken(loop, submit(loop, 8 * PAGE_TOKENS - 1, 60));
        submit(loop, 60 * PAGE_TOKENS, 1);
        submit(loop, 20 * PAGE_TOKENS, 1);
        loop.doWork();
        assertThat(loop.tracker().stats().waiting()).isEqualTo(2);
    }

    /**
     * The largest possible length of a request takes no memory. If it did, 512 requests of a million positions would
     * take 2 GB, and their page tables half a gigabyte.
     */
    @Test
    void submit_contextOfAMillionPositions_takesMemoryForTokensThatExist() {
        EngineLoop loop = loop(Duration.ZERO);
        long before = allocated();
        for (int i = 0; i < 512; i++) {
            submit(loop, 4, 900_000);
        }
        for (int i = 0; i < 8; i++) {
            loop.doWork();
        }
        assertThat(allocated() - before).isLessThan(64 << 20);
    }

    private static long allocated() {
        return ((com.sun.management.ThreadMXBean) java.lang.management.ManagementFactory.getThreadMXBean())
                .getCurrentThreadAllocatedBytes();
    }
}
