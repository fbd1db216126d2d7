package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.LogLines;

/** What a server logs about requests. */
@Timeout(60)
class RequestLogHttpTest {
    private static final String BODY = "{\"prompt\":\"secret\",\"seed\":1,\"max_tokens\":5,\"ignore_eos\":true}";
    private static final String TIME = "\\d+\\.\\d{3}s";

    private static TestServer start(boolean logged) {
        return TestServer.builder()
                .config(TestServer.config().requestsLogged(logged).build())
                .start();
    }

    /** A closed server has written all lines. */
    private static List<String> lines(LogLines log, TestServer server) {
        server.close();
        return log.lines();
    }

    /** A client may have its answer before the server has logged it. */
    private static void awaitLines(LogLines log, int count) {
        while (log.lines().size() < count) {
            Thread.onSpinWait();
        }
    }

    @Test
    void requests_logged_haveOneLineEachWithoutContent() throws Exception {
        try (LogLines log = new LogLines("quire.server.requests")) {
            TestServer server = start(true);
            server.post("/v1/completions?key=secret", BODY);
            awaitLines(log, 1);
            server.post("/v1/completions", BODY.replace("{", "{\"stream\":true,"));
            awaitLines(log, 2);
            server.post("/v1/completions", "{\"prompt\":\"secret\",\"top_p\":7}");
            awaitLines(log, 3);
            server.post("/v1/completions", "{\"secret");
            awaitLines(log, 4);
            server.get("/v1/models");
            server.get("/nowhere");
            server.get("/metrics");

            List<String> lines = lines(log, server);

            String answered = "INFO 127\\.0\\.0\\.1 POST /v1/completions 200 in=\\d+ out=5 first=" + TIME + " total="
                    + TIME + " id=req_\\w+";
            assertThat(lines).hasSize(7).noneMatch(line -> line.contains("secret"));
            assertThat(lines.subList(0, 2)).allMatch(line -> line.matches(answered), answered);
            assertThat(lines.get(2)).contains(" POST /v1/completions 400 in=- out=- first=- total=");
            assertThat(lines.get(3)).contains(" POST /v1/completions 400 in=- out=- first=- total=");
            assertThat(lines.get(4)).contains(" GET /v1/models 200 ");
            assertThat(lines.get(5)).contains(" GET /nowhere 404 ");
            assertThat(lines.get(6)).contains(" GET /metrics 200 ");
        }
    }

    @Test
    void requests_notLogged_haveNoLine() throws Exception {
        try (LogLines log = new LogLines("quire.server.requests")) {
            TestServer server = start(false);
            server.post("/v1/completions", BODY);
            assertThat(lines(log, server)).isEmpty();
        }
    }

    @Test
    void clientThatLeaves_isNamed() throws Exception {
        Semaphore steps = new Semaphore(1);
        try (LogLines log = new LogLines("quire.server.requests")) {
            TestServer server = TestServer.builder()
                    .config(TestServer.config().requestsLogged(true).build())
                    .onForward(batch -> steps.acquireUninterruptibly())
                    .start();
            RawClient client = new RawClient(server);
            client.send(RawClient.post("/v1/completions", BODY.replace("{", "{\"stream\":true,")));
            client.lineWith("data: ");
            client.reset();
            while (server.server.openConnections() > 0) {
                Thread.onSpinWait();
            }
            steps.release(1000);
            assertThat(lines(log, server))
                    .singleElement()
                    .asString()
                    .matches(".* 200 in=\\d+ out=\\d first=.* end=client-left");
        }
    }

    @Test
    void errorsOfClients_areForTheDebugLevelAlone() throws Exception {
        try (LogLines log = new LogLines("quire.server")) {
            TestServer server = start(false);
            server.post("/v1/completions", "{\"prompt\":\"a\",\"top_p\":7}");
            server.get("/nowhere");
            List<String> lines = lines(log, server);
            assertThat(lines).filteredOn(line -> line.startsWith("FINE ")).hasSize(2);
            assertThat(lines).anyMatch(line -> line.contains(": 400 ") && line.contains("top_p"));
            assertThat(lines).noneMatch(line -> line.startsWith("WARNING") || line.startsWith("SEVERE"));
        }
    }

    @Test
    void ownFailures_haveOneStackTraceForAllRequests() throws Exception {
        try (LogLines log = new LogLines("quire.server")) {
            TestServer server = TestServer.builder()
                    .template((messages, tools, generate) -> {
                        throw new IllegalStateException("broken on purpose");
                    })
                    .start();
            String chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
            for (int i = 0; i < 3; i++) {
                assertThat(server.post("/v1/chat/completions", chat).statusCode())
                        .isEqualTo(500);
            }
            List<String> errors = lines(log, server).stream()
                    .filter(line -> line.startsWith("SEVERE"))
                    .toList();
            assertThat(errors).hasSize(3).allMatch(line -> line.contains("req_"));
            assertThat(errors).filteredOn(line -> line.contains(" with ")).hasSize(1);
            assertThat(errors.getLast()).contains("broken on purpose");
        }
    }
}
