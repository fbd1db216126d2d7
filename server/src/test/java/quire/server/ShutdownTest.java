package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.UncheckedIOException;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * A server that closes lets answers finish and refuses new requests. A client whose answer is cut short gets an error.
 */
@Timeout(60)
class ShutdownTest {
    private static final String STREAM =
            "{\"model\":\"fake\",\"prompt\":\"hi\",\"max_tokens\":30,\"ignore_eos\":true,\"stream\":true,\"seed\":1}";

    private final Semaphore steps = new Semaphore(0);
    private final CountDownLatch running = new CountDownLatch(1);
    private final ManualTimers time = new ManualTimers();

    private TestServer start(Duration drainTimeout) {
        return TestServer.builder()
                .config(TestServer.config().drainTimeout(drainTimeout).build())
                .timers(time)
                .onForward(batch -> {
                    running.countDown();
                    steps.acquireUninterruptibly();
                })
                .start();
    }

    @Test
    void close_whileARequestIsAnswered_finishesItAndRefusesNewOnes() throws Exception {
        try (TestServer server = start(Duration.ofSeconds(30));
                Permits _ = () -> steps.release(1000)) {
            assertThat(server.get("/health/ready").statusCode()).isEqualTo(200);
            RawClient client = new RawClient(server);
            client.send(RawClient.post("/v1/completions", STREAM));
            running.await();
            Thread closing = Thread.ofVirtual().start(server.server::close);
            while (server.get("/health/ready").statusCode() == 200) {
                Thread.onSpinWait();
            }
            assertThat(server.get("/health/live").statusCode()).isEqualTo(200);
            HttpResponse<String> refused = server.post("/v1/completions", STREAM);
            assertThat(refused.statusCode()).isEqualTo(503);
            assertThat(refused.headers().firstValue("retry-after")).isPresent();
            steps.release(1000);
            assertThat(client.response().body())
                    .contains("\"finish_reason\":\"length\"")
                    .endsWith("data: [DONE]\n\n");
            closing.join();
            assertThatThrownBy(() -> server.get("/health/live")).isInstanceOf(java.io.IOException.class);
        }
    }

    @Test
    void close_afterTheDrainTimeout_tellsTheClientAndEndsTheConnectionWithoutDone() throws Exception {
        Duration drain = Duration.ofSeconds(30);
        try (TestServer server = start(drain);
                Permits _ = () -> steps.release(1000)) {
            RawClient client = new RawClient(server);
            client.send(RawClient.post("/v1/completions", STREAM));
            running.await();
            Thread closing = Thread.ofVirtual().start(server.server::close);
            time.awaitTimer(drain);
            time.advance(drain);
            time.awaitTimer(Duration.ofSeconds(5)); // the answer was told to stop, and has this time for it
            steps.release(1);
            closing.join();
            String rest = client.rest();
            assertThat(rest).contains("\"error\"").contains("shutting down").doesNotContain("[DONE]");
            assertThat(server.engine.stats().usedPages()).isZero();
        }
    }

    @Test
    void engine_breaking_failsAnswersAndHealth() throws Exception {
        try (TestServer server = TestServer.builder()
                .onForward(batch -> {
                    throw new IllegalStateException("broken on purpose");
                })
                .start()) {
            HttpResponse<String> whole = server.post("/v1/completions", STREAM.replace("true,\"seed", "false,\"seed"));
            assertThat(whole.statusCode()).isEqualTo(500);
            assertThat(whole.body()).doesNotContain("broken on purpose").contains("req_");
            assertThat(server.post("/v1/completions", STREAM).statusCode()).isEqualTo(503);
            assertThat(server.get("/health/live").statusCode()).isEqualTo(503);
            assertThat(server.get("/health/ready").statusCode()).isEqualTo(503);
            assertThat(server.get("/metrics").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void start_onAPortInUse_throwsAnErrorThatNamesIt() {
        try (TestServer server = TestServer.start()) {
            ServerConfig config = TestServer.config().port(server.server.port()).build();
            assertThatThrownBy(() -> QuireServer.start(server.engine, config, new ServerMetrics()))
                    .isInstanceOf(UncheckedIOException.class)
                    .hasMessageContaining("cannot listen on 127.0.0.1:" + server.server.port());
        }
    }
}
