package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.openai.models.completions.CompletionCreateParams;
import java.time.Duration;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A stream whose tokens take long shows that it lives. */
@Timeout(60)
class HeartbeatTest {
    private static final String STREAM =
            "{\"model\":\"fake\",\"prompt\":\"hi\",\"max_tokens\":30,\"ignore_eos\":true,\"seed\":1,\"stream\":true}";

    private static final Duration HEARTBEAT = Duration.ofSeconds(10);

    private final Semaphore begun = new Semaphore(0);
    private final Semaphore steps = new Semaphore(0);
    private final ManualTimers time = new ManualTimers();

    private TestServer start(Duration heartbeat) {
        return TestServer.builder()
                .config(TestServer.config().heartbeat(heartbeat).build())
                .timers(time)
                .maxSequences(1)
                .onForward(batch -> {
                    begun.release();
                    steps.acquireUninterruptibly();
                })
                .start();
    }

    @Test
    void stream_withoutTokens_getsItsHeadAndSignsOfLife() throws Exception {
        try (TestServer server = start(HEARTBEAT);
                Permits _ = () -> steps.release(1000);
                RawClient running = new RawClient(server);
                RawClient queued = new RawClient(server)) {
            running.send(RawClient.post("/v1/completions", STREAM));
            running.lineWith("200 OK");
            begun.acquire(); // the head comes before the engine has seen the request
            queued.send(RawClient.post("/v1/completions", STREAM));
            queued.lineWith("200 OK");
            for (int i = 0; i < 3; i++) {
                time.advance(HEARTBEAT);
                for (RawClient client : new RawClient[] {running, queued}) {
                    assertThat(client.lineWith("waiting")).isEqualTo(": waiting");
                }
            }
            assertThat(server.engine.stats().waiting()).isEqualTo(1);
            steps.release(5); // a token may have no text
            running.lineWith("data: ");
            time.advance(HEARTBEAT);
            running.lineWith(": waiting"); // also between tokens
            steps.release(1000);
            running.lineWith("data: [DONE]");
            queued.lineWith("data: [DONE]");
        }
    }

    @Test
    void stream_withTokens_getsASignOfLifeOnlyAfterAWholePause() throws Exception {
        Duration half = HEARTBEAT.dividedBy(2);
        try (TestServer server = start(HEARTBEAT);
                Permits _ = () -> steps.release(1000);
                RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", STREAM));
            client.lineWith("200 OK");
            time.advance(half);
            steps.release(5);
            client.lineWith("data: ");
            time.advance(half); // a whole pause after the head, half of one after the token
            steps.release(1000);
            assertThat(client.rest("data: [DONE]")).doesNotContain("waiting");
        }
    }

    @Test
    void stream_withSignsOfLife_isReadByOpenAisClient() throws Exception {
        try (TestServer server = start(HEARTBEAT);
                Permits _ = () -> steps.release(1000)) {
            Thread.ofVirtual().start(() -> {
                time.awaitTimer(HEARTBEAT); // the stream has begun
                time.advance(HEARTBEAT);
                steps.release(1000);
            });
            try (var stream = server.openAi()
                    .completions()
                    .createStreaming(CompletionCreateParams.builder()
                            .model("fake")
                            .prompt("hi")
                            .maxTokens(3)
                            .build())) {
                assertThat(stream.stream().count()).isPositive();
            }
        }
    }

    @Test
    void stream_withoutHeartbeat_hasTokensOnly() throws Exception {
        try (TestServer server = start(Duration.ZERO);
                RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", STREAM));
            client.lineWith("200 OK");
            time.advance(Duration.ofHours(1));
            steps.release(1000);
            assertThat(client.rest("data: [DONE]")).doesNotContain("waiting");
        }
    }

    @Test
    void request_refusedBeforeItIsAdmitted_hasAnOrdinaryStatus() throws Exception {
        try (TestServer server = start(HEARTBEAT)) {
            assertThat(server.post("/v1/completions", STREAM.replace("30", "-7"))
                            .statusCode())
                    .isEqualTo(400);
        }
    }
}
