package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import quire.engine.BeamSearch;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.OverloadedException;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.Speculation;
import quire.engine.TokenStream;

/** How tenants share the engine, by a clock that only steps move: 20 ms for a step and 0.1 ms for a token. */
class TenantsTest {
    private static final long MILLI = 1_000_000;
    private static final int ROWS = 16;
    private static final int BUDGET = 64;

    private final SplittableRandom random = new SplittableRandom(7);
    private final EngineLoop loop = loop(600, 512);
    private long nanos;

    /** @param pages of the model, of 16 tokens */
    private EngineLoop loop(int maxQueued, int pages) {
        return loop(maxQueued, pages, ROWS, BUDGET).build();
    }

    private EngineLoop.Builder loop(int maxQueued, int pages, int rows, int budget) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(rows)
                .maxBatchedTokens(budget)
                .maxQueuedRequests(maxQueued)
                .maxQueuedTokens(1 << 20)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, config.pageTokens(), pages, budget, rows)
                .onForward(batch -> nanos += 20 * MILLI + batch.rows() * MILLI / 10);
        return EngineLoop.builder(model, new FakeTokenizer(), config).nanoClock(() -> nanos);
    }

    /** A request with a random prompt, which shares no pages with others. */
    private Request request(String tenant, int weight, int promptTokens, int maxTokens) {
        int[] prompt =
                random.ints(promptTokens, 0, FakeTokenizer.VOCABULARY_SIZE).toArray();
        SamplingParams params = SamplingParams.builder()
                .maxTokens(maxTokens)
                .temperature(0)
                .ignoreEndOfText(true)
                .build();
        return new Request(prompt, params, null, Scheduling.DEFAULT.withTenant(tenant, weight));
    }

    private List<TokenStream> submit(int count, String tenant, int weight, int promptTokens, int maxTokens) {
        return submit(loop, count, tenant, weight, promptTokens, maxTokens);
    }

    private List<TokenStream> submit(
            EngineLoop to, int count, String tenant, int weight, int promptTokens, int maxTokens) {
        List<TokenStream> streams = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            streams.add(to.submit(request(tenant, weight, promptTokens, maxTokens)));
        }
        return streams;
    }

    private void step() {
        step(loop);
    }

    private static void step(EngineLoop engine) {
        assertThat(engine.doWork()).isPositive();
        engine.checkIntegrity();
    }

    private static int ended(List<TokenStream> streams) {
        return (int) streams.stream()
                .filter(stream -> ((OutputQueue) stream).hasEnded())
                .count();
    }

    /** The 99th percentile of the milliseconds to the first token of 100 short requests, one after another. */
    private double firstTokenOfShortRequests(EngineLoop engine, String tenant) {
        List<Long> times = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            long sent = nanos - random.nextInt(20) * MILLI; // during the last step
            TokenStream stream = engine.submit(request(tenant, 1, 20, 8));
            while (stream.poll() == null) {
                step(engine);
            }
            times.add(nanos - sent);
            while (!((OutputQueue) stream).hasEnded()) {
                step(engine);
            }
        }
        Collections.sort(times);
        return times.get(98) / (double) MILLI;
    }

    /** 600 prompts of 200 tokens are queued, and their answers take all rows. */
    @Test
    void firstToken_besideSixHundredLongPromptsOfAnother_comesWithinThreeTimesTheTimeAlone() {
        double alone = firstTokenOfShortRequests(loop, "short");
        submit(600, "long", 1, 200, 100);
        step();

        assertThat(firstTokenOfShortRequests(loop, "short")).isLessThan(3 * alone);
        assertThat(loop.tracker().stats().waiting()).as("still queued").isGreaterThan(300);
    }

    /** Six of the long ones fill the pages, while rows are free. Each short one takes the pages of one long one at most. */
    @Test
    void firstToken_besideLongPromptsThatFillThePages_comesWithinThreeTimesTheTimeAlone() {
        EngineLoop small = loop(600, 100);
        double alone = firstTokenOfShortRequests(small, "short");
        List<TokenStream> longer = submit(small, 600, "long", 1, 200, 200);
        for (int i = 0; i < 100; i++) {
            step(small);
        }
        assertThat(small.scheduler().running()).hasSizeLessThan(ROWS);
        long before = small.tracker().stats().preemptions();

        assertThat(firstTokenOfShortRequests(small, "short")).isLessThan(3 * alone);
        assertThat(small.tracker().stats().preemptions() - before).isLessThan(2 * 100);
        assertThat(ended(longer)).as("the long ones go on").isGreaterThan(5);
    }

    /** The same requests of one tenant: the short ones wait until a row is free. */
    @Test
    void firstToken_besideSixHundredLongPromptsOfTheSameTenant_comesLater() {
        double alone = firstTokenOfShortRequests(loop, "one");
        submit(600, "one", 1, 200, 100);
        step();

        assertThat(firstTokenOfShortRequests(loop, "one")).isGreaterThan(3 * alone);
    }

    /** While both have requests, tokens are in the ratio of the weights. */
    @Test
    void order_weightsOneAndThree_tokensInThisRatio() {
        List<TokenStream> light = submit(200, "light", 1, 40, 10);
        List<TokenStream> heavy = submit(200, "heavy", 3, 40, 10);
        while (ended(heavy) < 150) {
            step();
        }
        assertThat(ended(light)).isBetween(45, 55);
    }

    /** Requests of equal length, but the answers of one tenant are ten times as long as expected. */
    @Test
    void order_answersLongerThanExpected_tokensAreStillShared() {
        List<TokenStream> longer = submit(100, "longer", 1, 20, 200);
        List<TokenStream> shorter = submit(600 - 100, "shorter", 1, 20, 20);
        while (ended(longer) < 40) {
            step();
        }
        assertThat(40.0 * ended(shorter)).isBetween(0.75 * 40 * 220, 1.25 * 40 * 220);
    }

    /** A tenant that has had the engine for itself owes nothing later, and one that comes later has no credit. */
    @Test
    void order_afterATimeAlone_bothShareFromNowOn() {
        List<TokenStream> before = submit(200, "first", 1, 40, 10);
        while (ended(before) < 190) {
            step();
        }
        List<TokenStream> first = submit(100, "first", 1, 40, 10);
        List<TokenStream> second = submit(100, "second", 1, 40, 10);
        while (ended(first) + ended(second) < 100) {
            step();
        }
        assertThat(ended(second)).isBetween(45, 60);
    }

    /** Requests that were cancelled before they started do not count against their tenant. */
    @Test
    void order_afterCancellations_theOtherRequestsComeFirst() {
        submit(ROWS, "other", 1, 40, 100);
        step();
        List<TokenStream> cancelled = submit(200, "a", 1, 200, 100);
        TokenStream last = loop.submit(request("a", 1, 40, 10));
        List<TokenStream> others = submit(50, "b", 1, 40, 10);
        cancelled.forEach(TokenStream::close);
        while (!((OutputQueue) last).hasEnded()) {
            step();
        }
        assertThat(ended(others)).isLessThan(10);
    }

    /** The queue is full for the tenant that fills it, and has room for one request of another. */
    @Test
    void submit_queueFullOfOneTenant_acceptsAnother() {
        EngineLoop small = loop(8, 512);
        for (int i = 0; i < 8; i++) {
            small.submit(request("a", 1, 5, 5));
        }
        assertThatExceptionOfType(OverloadedException.class)
                .isThrownBy(() -> small.submit(request("a", 1, 5, 5)))
                .withMessageContaining("8 requests wait already");
        assertThatExceptionOfType(OverloadedException.class)
                .isThrownBy(() -> small.tracker().checkRoom("a"));
        small.tracker().checkRoom("b");
        small.submit(request("b", 1, 5, 5));
        assertThatExceptionOfType(OverloadedException.class)
                .as("there is a limit for new tenants too")
                .isThrownBy(() -> small.submit(request("c", 1, 5, 5)));
    }

    /** The background has an eighth of the queue, beside the queue of the others. */
    @Test
    void submit_background_hasPlacesOfItsOwn() {
        EngineLoop small = loop(16, 512);
        Request background = request("b", 1, 5, 5);
        background = background.withScheduling(background.scheduling().withPriority(Scheduling.BACKGROUND));
        for (int i = 0; i < 2; i++) {
            small.submit(background);
        }
        Request third = background;
        assertThatExceptionOfType(OverloadedException.class)
                .isThrownBy(() -> small.submit(third))
                .withMessageContaining("2 requests wait already");
        for (int i = 0; i < 16; i++) {
            small.submit(request("a", 1, 5, 5));
        }
        assertThatExceptionOfType(OverloadedException.class)
                .isThrownBy(() -> small.submit(request("a", 1, 5, 5)))
                .withMessageContaining("16 requests wait already");
        small.checkIntegrity();
        while (small.doWork() > 0) {
            small.checkIntegrity();
        }
        small.submit(third);
    }

    /** A tenant that runs nothing takes one row, and not the last one of a tenant. */
    @Test
    void plan_allRowsTaken_givesOneRowToATenantThatRunsNothing() {
        submit(ROWS, "many", 1, 4, 200);
        step();
        List<TokenStream> few = submit(2, "few", 1, 4, 50);
        step();
        assertThat(few.get(0).poll()).isNotNull();
        assertThat(few.get(1).poll()).isNull();
        assertThat(loop.tracker().stats().preemptions()).isEqualTo(1);
    }

    /**
     * A tenant's first prompt needs nearly all pages, its second one few, and another tenant's more than the second one has. The
     * other tenant must not take the first one's pages: it would take them back in the next step, and none would get on.
     */
    @Test
    void plan_tenantThatRunsNothing_takesNoPagesOfTheFirstOfAnother() {
        EngineLoop small = loop(600, 6, 4, 8).reserve(new PageReserve(0, 0)).build();
        List<TokenStream> streams = new ArrayList<>(submit(small, 1, "large", 1, 79, 1));
        step(small);
        streams.addAll(submit(small, 1, "large", 1, 14, 16));
        step(small);
        streams.addAll(submit(small, 1, "other", 1, 40, 8));
        for (int i = 0; i < 200 && ended(streams) < 3; i++) {
            step(small);
        }
        assertThat(ended(streams))
                .as("answers\n%s", small.scheduler().describe())
                .isEqualTo(3);
    }

    /** Requests of some tenants that take each other's pages: all get on, so all end. */
    @Test
    void randomRequests_fewPages_allEnd() {
        for (int seed = 0; seed < 1_000; seed++) {
            SplittableRandom sizes = new SplittableRandom(seed);
            int pages = 3 + sizes.nextInt(8);
            int rows = 2 + sizes.nextInt(5);
            EngineLoop.Builder parts = loop(600, pages, rows, rows + sizes.nextInt(16));
            EngineLoop small = (sizes.nextBoolean() ? parts.reserve(new PageReserve(0, 0)) : parts).build();
            List<TokenStream> streams = new ArrayList<>();
            int tenants = 2 + sizes.nextInt(2);
            for (int requests = 3 + sizes.nextInt(6); requests > 0; requests--) {
                int prompt = 1 + sizes.nextInt(sizes.nextBoolean() ? 20 : 16 * pages - 4);
                int answer = 1 + sizes.nextInt(Math.min(60, 16 * pages - prompt));
                String tenant = "tenant " + sizes.nextInt(tenants);
                streams.addAll(submit(small, 1, tenant, 1 + sizes.nextInt(2), prompt, answer));
                for (int i = sizes.nextInt(3); i > 0 && ended(streams) < streams.size(); i--) {
                    step(small);
                }
            }
            for (int i = 0; i < 3_000 && ended(streams) < streams.size(); i++) {
                step(small);
            }
            assertThat(ended(streams))
                    .as("answers of history %d\n%s", seed, small.scheduler().describe())
                    .isEqualTo(streams.size());
        }
    }

    @Test
    void withScheduling_ofARequest_keepsItsContent() {
        int[] prediction = {4, 5};
        Request request =
                new Request(new int[] {1}, SamplingParams.builder().build(), "salt", Scheduling.DEFAULT, prediction);
        Request other = request.withScheduling(Scheduling.DEFAULT.withTenant("a", 2));

        assertThat(other.scheduling().tenant()).isEqualTo("a");
        assertThat(other.prompt()).isSameAs(request.prompt());
        assertThat(other.params()).isSameAs(request.params());
        assertThat(other.cacheSalt()).isEqualTo("salt");
        assertThat(other.prediction()).isSameAs(prediction);
    }

    /** The second sequence does not fit, so the third one passes it. Then the first answer is longer than was expected. */
    @Test
    void advanced_longAnswerAfterASmallOneHasPassed_keepsTheOrderOfArrival() {
        List<Sequence> running = new ArrayList<>();
        List<Sequence> waiting = new ArrayList<>();
        Tenants tenants = new Tenants(running, waiting, List.of());
        List<Sequence> sequences = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            Sequence sequence = Sequences.started(new int[] {1, 2, 3}, 1_000);
            sequence.number = i;
            sequence.queuedTokens = 10;
            tenants.arrived(sequence);
            sequences.add(sequence);
        }
        double last = sequences.get(3).place;
        for (int i : new int[] {0, 2}) {
            running.add(sequences.get(i));
            tenants.started(sequences.get(i));
            sequences.get(i).wasStarted = true;
        }
        waiting.add(sequences.get(1));
        waiting.add(sequences.get(3));
        for (int token = 0; token < 100; token++) {
            Sequences.append(sequences.get(0), 1);
        }
        tenants.advanced(sequences.get(0));

        for (int i = 1; i < 4; i++) {
            assertThat(sequences.get(i - 1).isBefore(sequences.get(i))).isTrue();
        }
        assertThat(sequences.get(3).place).as("the place of the last one").isEqualTo(last + 90);
    }

    /** The member of a beam search waits, and its leader, whose place it has, runs. */
    @Test
    void ended_answerShorterThanExpected_movesMembersWithTheirLeader() {
        List<Sequence> running = new ArrayList<>();
        List<Sequence> waiting = new ArrayList<>();
        Tenants tenants = new Tenants(running, waiting, new ArrayList<>());
        SamplingParams params = SamplingParams.builder().temperature(0).build();
        BeamGroup group = new BeamGroup(new BeamSearch(2, 1, BeamSearch.EarlyStopping.YES), params, 8, new int[0]);
        List<Sequence> sequences = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            boolean isBeam = i == 1 || i == 2;
            Request request = new Request(
                    new int[] {1, 2, 3}, params, null, Scheduling.DEFAULT.withTenant(i == 3 ? "other" : "beams", 1));
            Sequence sequence = isBeam
                    ? new Sequence(request, new FakeTokenizer(), 8, null, new int[0], 0, closed -> {}, group.nextBeam())
                    : new Sequence(request, new FakeTokenizer(), 8, null, new int[0], 0, closed -> {});
            if (isBeam) {
                group.add(sequence);
            }
            sequence.number = i;
            sequence.queuedTokens = 100;
            tenants.arrived(sequence);
            sequences.add(sequence);
        }
        sequences.get(3).place = 50; // between where the leader is and where it will be
        for (int i = 0; i < 2; i++) {
            running.add(sequences.get(i));
            tenants.started(sequences.get(i));
        }
        waiting.add(sequences.get(3));
        waiting.add(sequences.get(2));
        assertThat(sequences.get(3).isBefore(sequences.get(2))).isTrue();

        running.removeFirst();
        tenants.ended(sequences.get(0), true);

        assertThat(sequences.get(1).place).isLessThan(50);
        assertThat(waiting).containsExactly(sequences.get(2), sequences.get(3));
    }
}
