package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.EngineStats;
import quire.engine.FinishReason;

/** When a client disconnects, its pages are free within one step, in every state of its request. */
@Timeout(60)
class DepartureTest {
    private static final String LONG = "{\"model\":\"fake\",\"prompt\":\"hi\",\"max_tokens\":400,\"ignore_eos\":true";

    private static final Duration WRITE_TIMEOUT = Duration.ofSeconds(60);

    private final Semaphore steps = new Semaphore(0);

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void client_leavingInTheMiddle_endsItsAnswerInTheNextStep(boolean orderly) throws Exception {
        try (TestServer server = TestServer.builder()
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(10_000)) {
            RawClient client = new RawClient(server);
            client.send(RawClient.post("/v1/completions", LONG + ",\"stream\":true}"));
            steps.release(5);
            client.lineWith("data: ");
            depart(client, orderly);
            assertLeavesNothing(server);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void client_leavingWhileTheServerSendsNothing_isNoticed(boolean orderly) throws Exception {
        CountDownLatch running = new CountDownLatch(1);
        TestServer.Builder builder = TestServer.builder().onForward(batch -> {
            running.countDown();
            steps.acquireUninterruptibly();
        });
        try (TestServer server = builder.start();
                Permits _ = () -> steps.release(10_000)) {
            RawClient client = new RawClient(server);
            client.send(RawClient.post("/v1/completions", LONG + "}"));
            running.await();
            depart(client, orderly);
            assertLeavesNothing(server);
        }
    }

    @Test
    void client_leavingWhileItsRequestWaits_isRemovedFromTheQueue() throws Exception {
        CountDownLatch running = new CountDownLatch(1);
        TestServer.Builder builder = TestServer.builder().maxSequences(1).onForward(batch -> {
            running.countDown();
            steps.acquireUninterruptibly();
        });
        try (TestServer server = builder.start();
                Permits _ = () -> steps.release(10_000)) {
            RawClient first = new RawClient(server);
            first.send(RawClient.post("/v1/completions", LONG + "}"));
            running.await();
            RawClient second = new RawClient(server);
            second.send(RawClient.post(
                    "/v1/chat/completions",
                    "{\"model\":\"fake\",\"messages\":" + "[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}"));
            second.lineWith("assistant");
            assertThat(server.engine.stats().waiting()).isEqualTo(1);
            second.close();
            awaitConnections(server, 1);
            steps.release(1); // the engine removes it after the step that it is in
            while (server.engine.stats().waiting() > 0) {
                Thread.onSpinWait();
            }
            assertThat(server.engine.stats().running()).isEqualTo(1);
            first.close();
            assertLeavesNothing(server);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void client_endingItsSendingSide_getsItsWholeAnswer(boolean stream) throws Exception {
        CountDownLatch running = new CountDownLatch(1);
        TestServer.Builder builder = TestServer.builder().onForward(batch -> {
            running.countDown();
            steps.acquireUninterruptibly();
        });
        try (TestServer server = builder.start();
                Permits _ = () -> steps.release(10_000);
                RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", LONG + ",\"stream\":" + stream + "}"))
                    .endOutput();
            running.await();
            // The server has seen the end when it sends what only a client that is there ignores.
            if (stream) {
                String line = client.line();
                while (!line.startsWith(": ")) {
                    line = client.line();
                }
                steps.release(10_000);
                assertThat(client.rest()).contains("[DONE]");
            } else {
                assertThat(client.response().status()).isEqualTo(100);
                steps.release(10_000);
                RawClient.Response response = client.finalResponse();
                assertThat(response.status()).isEqualTo(200);
                assertThat(response.body()).contains("\"completion_tokens\":400");
                assertThat(client.rest()).isEmpty();
            }
            assertThat(server.awaitIdle().finished().get(FinishReason.LENGTH)).isEqualTo(1);
        }
    }

    @Test
    void client_endingItsSendingSideWithinARequest_isDisconnected() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (int end : new int[] {10, 140}) {
                try (RawClient client = new RawClient(server)) {
                    String request = RawClient.post("/v1/completions", LONG + "}");
                    client.send(request.substring(0, end)).endOutput();
                    assertThat(client.rest()).isEmpty();
                }
            }
            assertThat(server.engine.stats().started()).isZero();
        }
    }

    @Test
    void client_thatStopsReading_isDisconnected() throws Exception {
        ServerConfig config = TestServer.config()
                .readTimeout(Duration.ofHours(1))
                .writeTimeout(WRITE_TIMEOUT)
                .build();
        ManualTimers time = new ManualTimers();
        try (TestServer server =
                TestServer.builder().config(config).timers(time).start()) {
            // An answer of some hundred megabytes fills all buffers.
            String request = RawClient.post("/v1/completions", LONG + ",\"logprobs\":20,\"n\":128,\"stream\":true}");
            try (RawClient client = new RawClient(server, 1024)) {
                client.send(request);
                time.awaitTimer(WRITE_TIMEOUT);
                time.advance(WRITE_TIMEOUT.minusMillis(1));
                assertThat(server.server.openConnections()).isEqualTo(1);
                while (server.server.openConnections() > 0) {
                    time.advance(WRITE_TIMEOUT); // the first write that waited may have left after all
                }
            }
            EngineStats stats = server.awaitIdle();
            assertThat(stats.usedPages()).isZero();
            assertThat(stats.finished().get(FinishReason.CANCELLED)).isPositive();
        }
    }

    private static void depart(RawClient client, boolean orderly) throws IOException {
        if (orderly) {
            client.close();
        } else {
            client.reset();
        }
    }

    /**
     * Waits until the server has seen that clients have left. No step runs meanwhile: an answer that goes on would end by
     * itself on a slow machine.
     */
    private static void awaitConnections(TestServer server, int left) {
        while (server.server.openConnections() > left) {
            Thread.onSpinWait();
        }
    }

    /** Lets the step end in which the engine is; the answer must end with it. */
    private void assertLeavesNothing(TestServer server) throws InterruptedException {
        awaitConnections(server, 0);
        steps.release(1);
        EngineStats stats = server.awaitIdle();
        assertThat(stats.finished().get(FinishReason.CANCELLED)).isPositive();
        assertThat(stats.finished().get(FinishReason.LENGTH)).isZero();
        assertThat(stats.usedPages()).isZero();
        steps.release(10_000);
    }
}
