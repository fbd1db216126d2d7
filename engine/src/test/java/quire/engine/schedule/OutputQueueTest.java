package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.FinishReason;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;
import quire.engine.TokenStream;

@Timeout(60)
class OutputQueueTest {
    private static final TokenStream.Finish END = new TokenStream.Finish(FinishReason.STOP, "", null, 1, 0, null);

    private final OutputQueue queue = new OutputQueue(() -> {}, Timeline.NONE);

    @Test
    void await_nothingThere_returnsFalseAfterTheTimeout() throws InterruptedException {
        assertThat(queue.await(Duration.ZERO)).isFalse();
        assertThat(queue.await(Duration.ofMillis(1))).isFalse();
    }

    @Test
    void await_tokenOrEndThere_returnsTrueAtOnce() throws InterruptedException {
        queue.put(new Output(1, "a", null));
        assertThat(queue.await(Duration.ZERO)).isTrue();
        queue.next();
        assertThat(queue.await(Duration.ZERO)).isFalse();
        queue.end(END, SpeculationCounts.NONE, 0);
        assertThat(queue.await(Duration.ZERO)).isTrue();
        assertThat(queue.next()).isNull();
    }

    @Test
    void await_whileAnotherThreadWrites_isWoken() throws InterruptedException {
        Thread writer = Thread.ofVirtual().start(() -> {
            queue.put(new Output(1, "a", null));
            queue.wake();
        });
        assertThat(queue.await(Duration.ofDays(1))).isTrue();
        writer.join();
    }
}
