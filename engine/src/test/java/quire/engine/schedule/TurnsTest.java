package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import quire.engine.EngineConfig;
import quire.engine.EngineStats;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.Speculation;
import quire.engine.TokenStream;

/** Short requests of one tenant beside the many long ones of another, on a {@link SlowModel}. */
class TurnsTest {
    private static final int ROWS = 24;
    private static final int LONG_PROMPT = 420;
    private static final int LONG_ANSWER = 128;
    private static final int SHORT_PROMPT = 17;
    private static final int SHORT_ANSWER = 16;

    private static final Duration TARGET = Duration.ofMillis(200);

    private final SlowModel slow = new SlowModel();
    private FakeModel model;
    private EngineLoop loop;
    private final SplittableRandom random = new SplittableRandom(3);
    private final List<TokenStream> hosts = new ArrayList<>();
    private final Map<TokenStream, Long> hostToLast = new HashMap<>(); // when it had its last token
    private final List<Double> gaps = new ArrayList<>(); // milliseconds between tokens of hosts

    @BeforeEach
    void open() {
        open(TARGET);
    }

    private void open(Duration target) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(ROWS + 8)
                .maxBatchedTokens(512)
                .maxQueuedRequests(1_000)
                .maxQueuedTokens(1 << 24)
                .targetTokenGap(target)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        model = slow.model(config, 1_024, (ROWS + 8) * 560 / config.pageTokens());
        loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .cost(slow)
                .nanoClock(() -> slow.nanos)
                .build();
    }

    @AfterEach
    void close() {
        model.close();
    }

    private TokenStream submit(String tenant, int prompt, int answer) {
        return submit(tenant, prompt, answer, 0);
    }

    private TokenStream submit(String tenant, int prompt, int answer, int priority) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(answer)
                .temperature(0)
                .ignoreEndOfText(true)
                .build();
        int[] tokens = random.ints(prompt, 0, FakeTokenizer.VOCABULARY_SIZE).toArray();
        return loop.submit(new Request(
                tokens, params, null, Scheduling.DEFAULT.withTenant(tenant, 1).withPriority(priority)));
    }

    /** A step, with so many long requests at any time. */
    private void step(int many) {
        while (hosts.size() < many) {
            hosts.add(submit("many", LONG_PROMPT, LONG_ANSWER));
        }
        assertThat(loop.doWork()).isPositive();
        loop.checkIntegrity();
        for (int i = hosts.size() - 1; i >= 0; i--) {
            TokenStream host = hosts.get(i);
            if (host.poll() != null) {
                Long last = hostToLast.put(host, slow.nanos);
                if (last != null) {
                    gaps.add((double) (slow.nanos - last) / SlowModel.MILLI);
                }
            }
            if (((OutputQueue) host).hasEnded()) {
                hosts.remove(i);
                hostToLast.remove(host);
            }
        }
    }

    /** What became of short requests. */
    private static final class Guests {
        final List<Double> firstMillis = new ArrayList<>();
        long submitted;
        int answered;
        int tokens;
    }

    /**
     * Short requests, the next one a millisecond after the beginning of the step that follows the answer.
     *
     * @param many long requests beside them at any time
     */
    private Guests guests(int count, int many) {
        return guests(count, many, SHORT_ANSWER);
    }

    private Guests guests(int count, int many, int answer) {
        Guests guests = new Guests();
        for (int i = 0; i < count; i++) {
            List<TokenStream> sent = new ArrayList<>();
            if (many == 0) {
                guests.submitted = slow.nanos;
                sent.add(submit("few", SHORT_PROMPT, answer));
            } else {
                slow.inStep = () -> {
                    slow.inStep = () -> {};
                    guests.submitted = slow.nanos;
                    sent.add(submit("few", SHORT_PROMPT, answer));
                };
            }
            boolean answered = false;
            do {
                step(many);
                while (!sent.isEmpty() && sent.getFirst().poll() != null) {
                    guests.tokens++;
                    if (!answered) {
                        guests.firstMillis.add((double) (slow.nanos - guests.submitted) / SlowModel.MILLI);
                        answered = true;
                        guests.answered++;
                    }
                }
            } while (sent.isEmpty() || !((OutputQueue) sent.getFirst()).hasEnded());
        }
        return guests;
    }

    private Guests nobody() {
        for (int i = 0; i < 200; i++) {
            step(ROWS);
        }
        return new Guests();
    }

    /** Runs until the long requests are spread over all states. */
    private void warmUp() {
        for (int i = 0; i < 300; i++) {
            step(ROWS);
        }
        gaps.clear();
    }

    /** The work of the long requests in milliseconds of whole steps, by the time that it took. */
    private double workOfHosts(Supplier<Guests> steps) {
        EngineStats before = loop.tracker().stats();
        long begin = slow.nanos;
        Guests guests = steps.get();
        EngineStats after = loop.tracker().stats();
        double prompts = after.promptTokens() - before.promptTokens() - (double) guests.answered * SHORT_PROMPT;
        double answers = after.generationTokens() - before.generationTokens() - guests.tokens;
        return (prompts * 1.82 + answers * (1.75 + 2.7)) * SlowModel.MILLI / (slow.nanos - begin);
    }

    @Test
    void begin_shortRequestsBesideManyLongOnes_firstTokenTakesAtMostThreeTimesAsLong() {
        double alone = Collections.max(guests(5, 0).firstMillis);
        warmUp();
        guests(1, ROWS);
        Guests beside = guests(100, ROWS);
        assertThat(Collections.max(beside.firstMillis)).isLessThanOrEqualTo(3 * alone);
        assertThat(Collections.max(gaps)).isLessThanOrEqualTo(1.5 * longestStep());
    }

    /** The answer takes longer than the next request is expected after a prompt. */
    @Test
    void begin_requestsOfAClientWithLongAnswers_firstTokenTakesAtMostThreeTimesAsLong() {
        double alone = Collections.max(guests(5, 0).firstMillis);
        warmUp();
        guests(1, ROWS, 100);
        Guests beside = guests(10, ROWS, 100);
        assertThat(Collections.max(beside.firstMillis)).isLessThanOrEqualTo(3 * alone);
    }

    @Test
    void begin_shortRequestsBesideManyLongOnes_hostsKeepTheirSpeed() {
        warmUp();
        double without = workOfHosts(this::nobody);
        double with = workOfHosts(() -> guests(100, ROWS));
        // The short requests take some of the time too.
        assertThat(with / without).isGreaterThan(0.85);
    }

    /** Sequences that the last step left out although they decode. */
    private long leftOut() {
        return loop.scheduler().running().stream()
                .filter(sequence -> sequence.isLeftOut)
                .count();
    }

    /** Whether any of the next steps leaves a sequence out. */
    private boolean leavesOut(int steps) {
        boolean does = false;
        for (int i = 0; i < steps; i++) {
            step(ROWS);
            does |= leftOut() > 0;
        }
        return does;
    }

    @Test
    void begin_guest_getsAStepOfItsOwn() {
        warmUp();
        assertThat(leftOut()).isZero();
        List<Integer> rows = new ArrayList<>();
        slow.beforeStep = batch -> rows.add(batch.rows());
        TokenStream guest = submit("few", SHORT_PROMPT, SHORT_ANSWER);
        step(ROWS);
        assertThat(guest.poll()).isNotNull();
        assertThat(rows).containsExactly(SHORT_PROMPT);
        assertThat(leftOut()).isGreaterThan(ROWS / 8);
    }

    @Test
    void begin_guestsThatKeepComing_hostsKeepTheirGapsAndPrompts() {
        warmUp();
        double without = workOfHosts(this::nobody);
        gaps.clear();
        Guests guests = new Guests();
        List<TokenStream> sent = new ArrayList<>();
        double with = workOfHosts(() -> {
            for (int i = 0; i < 400; i++) {
                sent.add(submit("few", SHORT_PROMPT, 1));
                step(ROWS);
                sent.stream()
                        .filter(stream -> stream.poll() != null)
                        .forEach(stream -> guests.tokens = ++guests.answered);
            }
            return guests;
        });
        assertThat(Collections.max(gaps)).isLessThanOrEqualTo(1.5 * longestStep());
        assertThat(with / without).isGreaterThan(0.4);
    }

    /** Milliseconds of a step with a token of each answer under way and as many prompt tokens as the target allows. */
    private double longestStep() {
        long contexts = (long) ROWS * (LONG_PROMPT + LONG_ANSWER);
        return Math.max((double) TARGET.toMillis(), 2.0 * slow.predict(ROWS, contexts, contexts) / SlowModel.MILLI);
    }

    @Test
    void begin_tenTargetsAfterTheLastGuest_nothingIsLeftOut() {
        warmUp();
        guests(1, ROWS);
        assertThat(leavesOut(3)).isTrue();
        long begin = slow.nanos;
        while (slow.nanos - begin < 10 * TARGET.toNanos()) {
            step(ROWS);
        }
        assertThat(leavesOut(100)).isFalse();
    }

    /** The tenant of the short request has most of what runs. */
    @Test
    void begin_shortRequestOfTheLargeTenant_leavesNothingOut() {
        submit("other", LONG_PROMPT, LONG_ANSWER);
        warmUp();
        submit("many", SHORT_PROMPT, SHORT_ANSWER);
        assertThat(leavesOut(100)).isFalse();
    }

    @Test
    void begin_shortRequestWithAHigherNumber_leavesNothingOut() {
        warmUp();
        submit("few", SHORT_PROMPT, SHORT_ANSWER, 1);
        assertThat(leavesOut(100)).isFalse();
    }

    @Test
    void begin_noTarget_leavesNothingOut() {
        close();
        open(Duration.ZERO);
        warmUp();
        submit("few", SHORT_PROMPT, SHORT_ANSWER);
        assertThat(leavesOut(100)).isFalse();
    }
}
