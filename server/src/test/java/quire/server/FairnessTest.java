package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;

/** No client keeps the server's memory or connections from others. */
@Timeout(60)
class FairnessTest {
    private static final String GOOD = "{\"model\":\"fake\",\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":2}";
    private static final int MAX_BODY = 1 << 20;
    private static final int MAX_CONNECTIONS = 8;

    private final List<RawClient> clients = new ArrayList<>();
    private final Semaphore steps = new Semaphore(0);

    @AfterEach
    void close() throws IOException {
        for (RawClient client : clients) {
            client.close();
        }
    }

    private RawClient client(int host, TestServer server) throws IOException {
        RawClient client = RawClient.at(host, server);
        clients.add(client);
        return client;
    }

    /** A request whose body is as large as allowed: JSON with spaces behind it. */
    private static String large() {
        return RawClient.post("/v1/completions", GOOD + " ".repeat(MAX_BODY - GOOD.length()));
    }

    /** A server whose clients may pause for as long as the test takes. */
    private static TestServer patient() {
        return TestServer.builder()
                .config(TestServer.config()
                        .maxBodyBytes(MAX_BODY)
                        .bodyGrace(Duration.ofHours(1))
                        .readTimeout(Duration.ofHours(1))
                        .build())
                .start();
    }

    @Test
    void bodies_heldBackByOneAddress_leaveRoomForOthers() throws Exception {
        try (TestServer server = patient()) {
            String request = large();
            int head = request.indexOf("\r\n\r\n") + 2;
            String expecting = request.substring(0, head) + "Expect: 100-continue\r\n\r\n";
            String body = request.substring(head + 2);
            List<RawClient> holders = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                RawClient holder = client(1, server).send(expecting);
                assertThat(holder.response().status()).isEqualTo(100);
                holders.add(holder.send(body.substring(0, body.length() - 1)));
            }
            // These four fill the share of their address.
            RawClient.Response refused = client(1, server).send(expecting).response();
            assertThat(refused.status()).isEqualTo(429);
            assertThat(refused.headers()).containsKey("retry-after");
            // Small bodies have a share of their own, and other addresses find room for large ones.
            assertThat(client(1, server)
                            .send(RawClient.post("/v1/completions", GOOD))
                            .response()
                            .status())
                    .isEqualTo(200);
            assertThat(client(2, server).send(request).response().status()).isEqualTo(200);
            // Bodies that have begun are not refused for others, and give their memory back.
            for (RawClient holder : holders) {
                assertThat(holder.send(" ").response().status()).isEqualTo(200);
            }
            assertThat(client(1, server).send(request).response().status()).isEqualTo(200);
        }
    }

    @Test
    void bodies_ofUnknownLength_giveTheirMemoryBack() throws Exception {
        try (TestServer server = patient()) {
            String head = RawClient.chunkedHead("/v1/completions");
            String body = GOOD + " ".repeat(MAX_BODY - GOOD.length());
            String chunk = Integer.toHexString(MAX_BODY) + "\r\n" + body + "\r\n0\r\n\r\n";
            RawClient good = client(1, server);
            for (int i = 0; i < 20; i++) { // more than the memory for bodies, if one kept a part of it
                assertThat(good.send(head + chunk).response().status()).isEqualTo(200);
            }
        }
    }

    @Test
    void body_heldBack_isRefusedAndGivesItsMemoryBack() throws Exception {
        ServerConfig config = TestServer.config()
                .maxBodyBytes(MAX_BODY)
                .bodyGrace(Duration.ofSeconds(5))
                .build();
        ManualTimers time = new ManualTimers();
        try (TestServer server =
                TestServer.builder().config(config).timers(time).start()) {
            String request = large();
            int head = request.indexOf("\r\n\r\n") + 2;
            for (int i = 0; i < 4; i++) {
                RawClient holder = client(1, server);
                holder.send(request.substring(0, head) + "Expect: 100-continue\r\n\r\n");
                assertThat(holder.response().status()).isEqualTo(100); // its memory is taken
                holder.send(request.substring(head + 2, request.length() - 1));
            }
            time.advance(Duration.ofSeconds(5).plusMillis(1));
            for (RawClient holder : List.copyOf(clients)) {
                RawClient.Response response = holder.response();
                assertThat(response.status()).isEqualTo(408);
                assertThat(response.body()).contains("request_timeout");
                assertThat(holder.rest()).isEmpty();
            }
            assertThat(client(1, server).send(request).response().status()).isEqualTo(200);
        }
    }

    @Test
    void refusals_ofAClientThatDoesNotWait_comeLaterEachTime() throws Exception {
        ManualTimers time = new ManualTimers();
        Semaphore begun = new Semaphore(0);
        try (TestServer server = oneByOne(time, begun);
                Permits _ = () -> steps.release(1000)) {
            fillQueue(server, begun);
            String request = RawClient.post("/v1/completions", GOOD);
            RawClient client = client(1, server);
            assertThat(client.send(request).response().status()).isEqualTo(429);
            assertRefusedAfter(new int[] {1, 1, 2, 3, 5, 5}, client, request, server, time);
            RawClient other = client(1, server);
            assertThat(other.send(request + request).response().status())
                    .as("on another connection")
                    .isEqualTo(429);
            assertThat(other.hasInput())
                    .as("the second of two that came together")
                    .isFalse();
            time.advance(Duration.ofMillis(50));
            assertThat(other.response().status()).isEqualTo(429);

            steps.release(1000);
            server.awaitIdle();
            client.send(request);
            time.advance(Duration.ofMillis(250));
            assertThat(client.response().status()).isEqualTo(200);
            server.awaitIdle();
            steps.drainPermits();
            begun.drainPermits();
            fillQueue(server, begun);
            assertThat(client.send(request).response().status())
                    .as("at once after an answer")
                    .isEqualTo(429);
        }
    }

    /** A server that runs one request, and in whose queue one may wait. */
    private TestServer oneByOne(ManualTimers time, Semaphore begun) {
        return TestServer.builder()
                .maxSequences(1)
                .maxQueued(1)
                .timers(time)
                .onForward(batch -> {
                    begun.release();
                    steps.acquireUninterruptibly();
                })
                .start();
    }

    /** Each successive request on a connection is refused after so many ticks of 50 ms, and not before. */
    private void assertRefusedAfter(
            int[] allTicks, RawClient client, String request, TestServer server, ManualTimers time) throws IOException {
        try (RawClient probe = client(1, server)) {
            for (int ticks : allTicks) {
                client.send(request);
                time.advance(Duration.ofMillis(50 * ticks - 1));
                for (int i = 0; i < 2; i++) { // so that the event loop has read all that was sent
                    assertThat(probe.send(RawClient.get("/health/live"))
                                    .response()
                                    .status())
                            .isEqualTo(200);
                }
                assertThat(client.hasInput()).isFalse();
                time.advance(Duration.ofMillis(1));
                assertThat(client.response().status()).isEqualTo(429);
            }
        }
    }

    /**
     * A user's name is in the body, so the queue is full for the user only when the body's JSON is there. A prompt that is none
     * shows that no more is read.
     */
    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '|',
            value = {
                "/v1/completions, |{\"prompt\":{},\"user\":\"ann\"}|",
                "/v1/completions, |{\"prompt\":{},\"safety_identifier\":\"ann\"}|",
                "/infill, |{\"input_prefix\":{},\"user\":\"ann\"}|",
                "/v1/chat/completions, |{\"messages\":{},\"user\":\"ann\"}|",
                "/v1/responses, |{\"input\":{},\"user\":\"ann\"}|",
                "/v1/messages, |{\"messages\":{},\"metadata\":{\"user_id\":\"ann\"}}|",
                "/v1/embeddings, |{\"input\":{},\"user\":\"ann\"}|",
                "/v1/rerank, |{\"query\":{},\"user\":\"ann\"}|",
                "/v1/score, |{\"text_1\":{},\"user\":\"ann\"}|"
            })
    void request_ofAUserWhoseQueueIsFull_isRefusedBeforeItsPromptIsRead(String path, String body) throws Exception {
        ManualTimers time = new ManualTimers();
        Semaphore begun = new Semaphore(0);
        try (TestServer server = oneByOne(time, begun);
                Permits _ = () -> steps.release(1000)) {
            fillQueue(server, begun, "user ann");
            RawClient client = client(1, server);
            RawClient.Response refused = client.send(RawClient.post(path, body)).response();
            assertThat(refused.status()).isEqualTo(429);
            assertThat(refused.headers()).containsKey("retry-after").doesNotContainKey("connection");
            assertThat(refused.body()).contains("the queue is full: 1 requests wait already");
            RawClient other = client(1, server);
            assertThat(other.send(RawClient.post(path, body.replace("ann", "bob")))
                            .response()
                            .status())
                    .as("another user's request is read, and its prompt is none")
                    .isEqualTo(400);
            assertThat(other.send(RawClient.get("/metrics")).response().body())
                    .contains(
                            "quire_http_responses_total{model_name=\"fake\",status=\"429\"} 1\n",
                            "quire_request_started_total{model_name=\"fake\"} 2\n");
            assertRefusedAfter(new int[] {1}, client, RawClient.post(path, body), server, time);
        }
    }

    @Test
    void refusals_ofAUserWhoDoesNotWait_comeLaterEachTime() throws Exception {
        ManualTimers time = new ManualTimers();
        Semaphore begun = new Semaphore(0);
        try (TestServer server = oneByOne(time, begun);
                Permits _ = () -> steps.release(1000)) {
            fillQueue(server, begun, "user ann");
            String request = RawClient.post("/v1/completions", GOOD.replace("{", "{\"user\":\"ann\","));
            RawClient client = client(1, server);
            assertThat(client.send(request).response().status()).isEqualTo(429);
            assertRefusedAfter(new int[] {1, 1, 2, 3, 5, 5}, client, request, server, time);
            steps.release(1000);
            server.awaitIdle();
            client.send(request);
            time.advance(Duration.ofMillis(250));
            assertThat(client.response().status()).isEqualTo(200);
            assertThat(client.send(request).response().status())
                    .as("at once after an answer")
                    .isEqualTo(200);
        }
    }

    private static void fillQueue(TestServer server, Semaphore begun) throws InterruptedException {
        fillQueue(server, begun, "address 127.0.0.1"); // as the clients of the tests
    }

    /** One request of a tenant runs, and one waits, which is all that may. */
    private static void fillQueue(TestServer server, Semaphore begun, String tenant) throws InterruptedException {
        Request request = new Request(
                new int[] {3}, SamplingParams.builder().build(), null, Scheduling.DEFAULT.withTenant(tenant, 1));
        server.engine.submit(request);
        begun.acquire();
        server.engine.submit(request);
    }

    private TestServer narrow() {
        return TestServer.builder()
                .config(TestServer.config()
                        .maxConnections(MAX_CONNECTIONS)
                        .readTimeout(Duration.ofHours(1))
                        .build())
                .onForward(batch -> steps.acquireUninterruptibly())
                .start();
    }

    @Test
    void connections_idle_makeRoomAndTheOldestGoesFirst() throws Exception {
        try (TestServer server = narrow()) {
            for (int i = 0; i < MAX_CONNECTIONS; i++) {
                RawClient idle = client(1, server);
                assertThat(idle.send(RawClient.get("/v1/models")).response().status())
                        .isEqualTo(200);
            }
            // The first one is used again, so the second one is the oldest.
            assertThat(clients.get(0)
                            .send(RawClient.get("/v1/models"))
                            .response()
                            .status())
                    .isEqualTo(200);
            RawClient late = client(2, server);
            assertThat(late.send(RawClient.get("/v1/models")).response().status())
                    .isEqualTo(200);
            assertThat(clients.get(1).rest()).isEmpty();
            assertThat(clients.get(0)
                            .send(RawClient.get("/v1/models"))
                            .response()
                            .status())
                    .isEqualTo(200);
        }
    }

    @Test
    void connections_allBusy_refuseFurtherRequestsAndAnswerProbes() throws Exception {
        try (TestServer server = narrow();
                Permits _ = () -> steps.release(1000)) {
            RawClient other = client(2, server);
            assertThat(other.send(RawClient.get("/v1/models")).response().status())
                    .isEqualTo(200);
            List<RawClient> busy = new ArrayList<>();
            for (int i = 1; i < MAX_CONNECTIONS; i++) {
                RawClient client = client(1, server);
                client.send(RawClient.post("/v1/completions", GOOD.replace("{", "{\"stream\":true,")));
                client.lineWith("200 OK");
                busy.add(client);
            }
            // The idle connection of a client with fewer connections stays.
            RawClient refused = client(1, server).send(RawClient.get("/v1/models"));
            RawClient.Response response = refused.response();
            assertThat(response.status()).isEqualTo(503);
            assertThat(response.headers())
                    .containsEntry("connection", "close")
                    .containsKey("retry-after")
                    .doesNotContainKey("keep-alive");
            assertThat(response.body()).contains("\"error\"").contains("8 connections");
            assertThat(refused.rest()).isEmpty();
            RawClient probe = client(1, server).send(RawClient.get("/health/live"));
            assertThat(probe.response().status()).isEqualTo(200);
            assertThat(probe.rest()).isEmpty();
            assertThat(other.send(RawClient.get("/v1/models")).response().status())
                    .isEqualTo(200);
            // A connection that found no room gets it when there is some at its request.
            RawClient waiting = client(1, server);
            steps.release(1000);
            for (RawClient client : busy) {
                client.lineWith("[DONE]");
                client.close();
            }
            while (server.server.openConnections() > 2) {
                Thread.onSpinWait(); // until the server has seen that they are closed
            }
            assertThat(waiting.send(RawClient.get("/v1/models")).response().headers())
                    .containsEntry("keep-alive", "timeout=3600");
        }
    }

    @Test
    void connections_surplus_areClosedFromTheOldestOn() throws Exception {
        try (TestServer server = narrow();
                Permits _ = () -> steps.release(1000)) {
            for (int i = 0; i < MAX_CONNECTIONS; i++) {
                RawClient client = client(1, server);
                client.send(RawClient.post("/v1/completions", GOOD.replace("{", "{\"stream\":true,")));
                client.lineWith("200 OK");
            }
            RawClient oldest = client(1, server);
            for (int i = 0; i < 64; i++) {
                client(1, server);
            }
            assertThat(oldest.rest()).isEmpty();
            while (server.server.openConnections() != MAX_CONNECTIONS + 64) {
                Thread.onSpinWait(); // the last ones may not have been accepted yet
            }
        }
    }

    @Test
    void responses_haveADateAndTheIdleTimeout() throws Exception {
        try (TestServer server = TestServer.start()) {
            RawClient.Response response =
                    client(1, server).send(RawClient.get("/health/live")).response();
            assertThat(response.headers()).containsEntry("keep-alive", "timeout=60");
            assertThat(response.headers().get("date"))
                    .matches("[A-Z][a-z]{2}, \\d{2} [A-Z][a-z]{2} \\d{4} \\d{2}:\\d{2}:\\d{2} GMT");
        }
    }
}
