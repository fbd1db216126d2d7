package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.EngineConfig;
import quire.engine.EngineView;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.Speculation;

/** What {@link EngineLoop#view} shows: pages of 16 tokens, two sequences at once, a step takes a millisecond. */
@Timeout(60)
class EngineViewTest {
    private static final int PAGES = 32;

    private long nanos;
    private final EngineLoop loop = loop();

    private EngineLoop loop() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxBatchedTokens(64)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        FakeModel model = FakeModel.fitting(config, PAGES * 16 / 2).onForward(batch -> nanos += 1_000_000);
        return EngineLoop.builder(model, new FakeTokenizer(), config)
                .nanoClock(() -> nanos)
                .build();
    }

    /** The same prompt for all: only its length differs. */
    private static Request request(String name, int promptTokens) {
        int[] prompt = IntStream.range(0, promptTokens).map(i -> i % 7).toArray();
        SamplingParams params =
                SamplingParams.builder().maxTokens(20).ignoreEndOfText(true).build();
        return new Request(prompt, params)
                .withScheduling(Scheduling.DEFAULT.withTenant("t-" + name, 1))
                .withName(name);
    }

    /** Asks from another thread. The next step answers: nothing is computed before the thread waits for the answer. */
    private EngineView view() {
        CompletableFuture<EngineView> view = new CompletableFuture<>();
        Thread asking = Thread.ofPlatform().start(() -> view.complete(ask()));
        while (asking.getState() != Thread.State.WAITING) {
            Thread.onSpinWait();
        }
        while (!view.isDone()) {
            loop.doWork();
        }
        return view.join();
    }

    private EngineView ask() {
        try {
            return loop.view();
        } catch (InterruptedException e) {
            throw new CompletionException(e);
        }
    }

    private static long count(EngineView view, int owner) {
        return Arrays.stream(view.pages()).filter(page -> page == owner).count();
    }

    @Test
    void idleEngine_hasFreePagesOnly() {
        EngineView view = view();

        assertThat(view.running()).isEmpty();
        assertThat(view.waiting()).isEmpty();
        assertThat(view.pages()).hasSize(PAGES).containsOnly(EngineView.FREE);
    }

    /** Both begin with the same three full pages; the third request waits for a row. */
    @Test
    void runningAndWaiting_withOwnAndSharedPages() {
        loop.submit(request("a", 60));
        loop.doWork(); // computes 60 tokens of a, and chooses its first one
        loop.submit(request("b", 50));
        loop.submit(request("c", 40));
        loop.doWork();

        EngineView view = view();

        assertThat(view.running()).extracting(EngineView.Row::name).containsExactly("a", "b");
        assertThat(view.waiting()).extracting(EngineView.Row::name).containsExactly("c");
        EngineView.Row first = view.running().getFirst();
        assertThat(first.tenant()).isEqualTo("t-a");
        assertThat(first.promptTokens()).isEqualTo(60);
        assertThat(first.maxTokens()).isEqualTo(80);
        assertThat(first.targetTokens()).isEqualTo(first.computedTokens() + 1).isGreaterThan(60);
        assertThat(first.nanos()).isEqualTo(1_000_000L * view.stats().steps());
        EngineView.Row second = view.running().get(1);
        assertThat(second.cachedTokens()).isEqualTo(49); // three pages, and one position of a page that was copied
        assertThat(count(view, EngineView.SHARED)).isEqualTo(3);
        assertThat(count(view, 0)).isEqualTo(first.pages() - 3);
        assertThat(count(view, 1)).isEqualTo(second.pages() - 3);
        assertThat(view.stats().usedPages()).isEqualTo(first.pages() + second.pages() - 3);
        assertThat(view.waiting().getFirst().started()).isFalse();
    }

    @Test
    void pagesOfAnEndedRequest_areCached() {
        loop.submit(request("a", 60));
        while (loop.doWork() > 0) {}

        EngineView view = view();

        assertThat(view.running()).isEmpty();
        assertThat(count(view, EngineView.CACHED)).isEqualTo(79 / 16);
        assertThat(count(view, EngineView.FREE)).isEqualTo(PAGES - 79 / 16);
    }

    @Test
    void endedEngine_cannotBeShown() {
        loop.tracker().close();
        loop.run();

        assertThatExceptionOfType(IllegalStateException.class)
                .isThrownBy(loop::view)
                .withMessage("the engine has ended");
    }
}
