package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.SocketException;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** A malformed request gets an error in OpenAI's shape or a closed connection, and does not affect other clients. */
@Timeout(60)
class HostileHttpTest {
    private static final String GOOD = "{\"model\":\"fake\",\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":5}";
    private static final int MAX_BODY = 1 << 16;

    private final ManualTimers time = new ManualTimers();
    private TestServer server;

    @BeforeEach
    void start() {
        ServerConfig config = TestServer.config()
                .maxBodyBytes(MAX_BODY)
                .drainTimeout(Duration.ofSeconds(5))
                .bodyGrace(Duration.ofSeconds(5))
                .readTimeout(Duration.ofSeconds(60))
                .maxConnections(8)
                .build();
        server = TestServer.builder().config(config).timers(time).start();
    }

    /** After each test the server answers the next client, and no pages are in use. */
    @AfterEach
    void stop() throws IOException, InterruptedException {
        boolean answered = false;
        while (!answered) { // over its limit the server closes connections at once: try again until it accepts one
            try (RawClient probe = new RawClient(server)) {
                answered = probe.send(RawClient.get("/health")).response().status() > 0;
            } catch (EOFException | SocketException e) {
                // closed at the limit
            }
        }
        while (server.server.openConnections() > 4) {
            Thread.onSpinWait(); // the limit is 8: wait until the server has seen that the clients disconnected
        }
        assertThat(server.post("/v1/completions", GOOD).statusCode()).isEqualTo(200);
        assertThat(server.awaitIdle().usedPages()).isZero();
        server.close();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "nonsense",
                "[]",
                "\"text\"",
                "{\"model\":\"fake\",\"prompt\":\"hi\"",
                "{\"model\":\"fake\",\"prompt\":\"hi\"} trailing",
                "{\"model\":\"fake\",\"model\":\"fake\",\"prompt\":\"hi\"}",
                "{\"model\":\"fake\",\"prompt\":NaN}",
                "{'model':'fake','prompt':'hi'}",
            })
    void body_notJson_isABadRequest(String body) throws IOException, InterruptedException {
        HttpResponse<String> response = server.post("/v1/completions", body);
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("code").stringValue()).isEqualTo("invalid_json");
        assertClean(response.body());
    }

    @Test
    void body_nestedDeeply_isABadRequest() throws IOException, InterruptedException {
        HttpResponse<String> response =
                server.post("/v1/completions", "{\"x\":" + "[".repeat(20_000) + "]".repeat(20_000) + "}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertClean(response.body());
    }

    @Test
    void body_notUtf8_isABadRequest() throws IOException {
        byte[] bytes = GOOD.replace("hi", "h\u00e9").getBytes(StandardCharsets.ISO_8859_1);
        ByteArrayOutputStream request = new ByteArrayOutputStream();
        request.writeBytes(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        + "Content-Length: " + bytes.length + "\r\n\r\n")
                .getBytes(StandardCharsets.US_ASCII));
        request.writeBytes(bytes);
        try (RawClient client = new RawClient(server)) {
            RawClient.Response response = client.send(request.toByteArray()).response();
            assertThat(response.status()).isEqualTo(400);
            assertThat(response.body()).contains("UTF-8");
        }
    }

    @Test
    void body_withHalfASurrogatePair_isABadRequestThatNamesTheField() throws IOException, InterruptedException {
        HttpResponse<String> response = server.post("/v1/completions", "{\"model\":\"fake\",\"prompt\":\"a\\ud800b\"}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo("prompt");
    }

    @Test
    void body_declaredTooLarge_isRefusedBeforeItIsSent() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(String.join(
                    "\r\n",
                    "POST /v1/completions HTTP/1.1",
                    "Host: x",
                    "Content-Type: application/json",
                    "Expect: 100-continue",
                    "Content-Length: 999999999999",
                    "",
                    ""));
            assertThat(client.response().status()).isEqualTo(413);
        }
    }

    @Test
    void body_chunkedTooLarge_isRefusedAndTheAnswerArrives() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.chunkedHead("/v1/completions"));
            String chunk = "1000\r\n" + "x".repeat(4096) + "\r\n";
            for (int i = 0; i < 2 * MAX_BODY / 4096; i++) {
                client.send(chunk);
            }
            client.send("0\r\n\r\n");
            RawClient.Response response = client.response();
            assertThat(response.status()).isEqualTo(413);
            assertThat(response.headers()).containsEntry("connection", "close");
            assertThat(client.rest()).isEmpty();
        }
    }

    @Test
    void body_expectedByTheClient_isAskedForAndAnswered() throws IOException {
        try (RawClient client = new RawClient(server)) {
            String request = RawClient.post("/v1/completions", GOOD, "Expect: 100-continue");
            int head = request.indexOf("\r\n\r\n") + 4;
            client.send(request.substring(0, head));
            assertThat(client.response().status()).isEqualTo(100);
            client.send(request.substring(head));
            assertThat(client.response().status()).isEqualTo(200);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "text/plain",
                "multipart/form-data; boundary=x",
                "application/jsonp",
                "application/json; charset=latin1"
            })
    void contentType_other_isRefused(String type) throws IOException {
        try (RawClient client = new RawClient(server)) {
            String request = RawClient.post("/v1/completions", GOOD);
            String line = "Content-Type: application/json\r\n";
            client.send(request.replace(line, "Content-Type: " + type + "\r\n"));
            assertThat(client.response().status()).isEqualTo(415);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "application/json",
                "application/json; charset=utf-8",
                "application/json; charset=utf8",
                "application/json;",
                "APPLICATION/JSON;charset=\"UTF-8\"",
                "application/json; odata=verbose; charset=utf-8", // other parameters mean nothing for JSON
                "application/json; charset=utf-8; profile=\"a;b\"",
                "application/x-www-form-urlencoded", // what curl says when nobody tells it the type
                ""
            })
    void contentType_json_isAccepted(String type) throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", GOOD).replace("application/json", type));
            assertThat(client.response().status()).isEqualTo(200);
        }
    }

    @Test
    void contentType_missing_isThatOfJson() throws IOException {
        String line = "Content-Type: application/json\r\n";
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", GOOD).replace(line, ""));
            assertThat(client.response().status()).isEqualTo(200);
            client.send(RawClient.post("/v1/completions", "prompt=hi").replace(line, ""));
            assertThat(client.response().status()).isEqualTo(400);
        }
    }

    @Test
    void body_withAByteOrderMark_isRead() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", "\uFEFF" + GOOD));
            assertThat(client.response().status()).isEqualTo(200);
            client.send(RawClient.post("/v1/completions", "\uFEFF\uFEFF" + GOOD));
            RawClient.Response twice = client.response();
            assertThat(twice.status()).isEqualTo(400);
            assertThat(twice.body()).contains("line 1, column 1: expected a value, found the character U+FEFF");
        }
    }

    @Test
    void contentEncoding_gzip_isRefused() throws IOException, InterruptedException {
        assertThat(server.post("/v1/completions", GOOD, "Content-Encoding", "gzip")
                        .statusCode())
                .isEqualTo(415);
    }

    @Test
    void path_unknown_isNotFoundInOpenAisShape() throws IOException, InterruptedException {
        HttpResponse<String> response = server.get("/v1/unknown");
        assertThat(response.statusCode()).isEqualTo(404);
        JsonNode error = TestServer.error(response);
        assertThat(error.get("code").stringValue()).isEqualTo("unknown_url");
        assertThat(error.get("type").stringValue()).isEqualTo("invalid_request_error");
        assertThat(error.get("param").isNull()).isTrue();
        assertThat(response.headers().firstValue("x-request-id")).isPresent();
    }

    @Test
    void method_wrong_isNotAllowedAndNamesTheRightOnes() throws IOException, InterruptedException {
        HttpResponse<String> response = server.get("/v1/completions");
        assertThat(response.statusCode()).isEqualTo(405);
        assertThat(response.headers().firstValue("allow")).contains("POST, OPTIONS");
        assertThat(server.post("/metrics", "{}").statusCode()).isEqualTo(405);
    }

    @Test
    void methods_headAndOptions_haveNoBody() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send("HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
            RawClient.Response head = client.response(true);
            assertThat(head.status()).isEqualTo(200);
            assertThat(Integer.parseInt(head.headers().get("content-length"))).isPositive();
            client.send("OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n");
            RawClient.Response options = client.response(true);
            assertThat(options.status()).isEqualTo(204);
            assertThat(options.headers()).containsEntry("allow", "POST, OPTIONS");
            assertThat(options.headers()).doesNotContainKey("access-control-allow-origin");
            assertThat(client.send(RawClient.get("/health/live")).response().status())
                    .isEqualTo(200);
        }
    }

    /** The JDK's client, and so LangChain4j, offers HTTP/2 with every request. */
    @Test
    void upgrade_toHttp2_isNotTaken() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", GOOD)
                    .replace(
                            "Content-Type",
                            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings:"
                                    + " AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nContent-Type"));
            assertThat(client.response().status()).isEqualTo(200);
            client.send(RawClient.post("/v1/completions", GOOD));
            assertThat(client.response().status())
                    .as("the connection stays open")
                    .isEqualTo(200);
        }
    }

    @Test
    void requests_pipelined_areAnsweredInOrder() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", GOOD)
                    + RawClient.get("/v1/models")
                    + RawClient.post("/tokenize", "{\"prompt\":\"a\"}")
                    + RawClient.get("/nowhere")
                    + RawClient.post("/v1/completions", GOOD.replace("{", "{\"stream\":true,")));
            RawClient.Response first = client.response();
            assertThat(first.status()).isEqualTo(200);
            assertThat(first.body()).contains("text_completion");
            assertThat(client.response().body()).contains("\"list\"");
            assertThat(client.response().body()).contains("max_model_len");
            assertThat(client.response().status()).isEqualTo(404);
            assertThat(client.response().body()).endsWith("data: [DONE]\n\n");
        }
    }

    @Test
    void http10_client_getsTheStreamUntilTheConnectionEnds() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.post("/v1/completions", GOOD.replace("{", "{\"stream\":true,"))
                    .replace("HTTP/1.1", "HTTP/1.0"));
            RawClient.Response response = client.response();
            assertThat(response.headers()).doesNotContainKey("transfer-encoding");
            assertThat(response.body()).startsWith("data: {").endsWith("data: [DONE]\n\n");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "GET /health HTTP/9.9, 505",
        "GET /health HTTP/2.0, 505",
        "GET /health HTTP/0.9, 505",
        "PRI * HTTP/2.0, 505",
        "GET /health http/1.1, 400",
        "GET /health HTTP/01.1, 400",
        "GET /health FOO/1.1, 400",
        "GET /health HTTP/1, 400",
        "GET /health HTTP/1.1 x, 400",
        "GET /health, 400",
        "GET /health HTTP/1.2, 200",
        "GET /health HTTP/1.1, 200",
    })
    void version_anyOther_isAnsweredInHttp11(String line, int status) throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(line + "\r\nHost: x\r\nConnection: close\r\n\r\n");
            String answer = client.rest();
            assertThat(answer)
                    .startsWith("HTTP/1.1 " + status + " ")
                    .contains(status == 200 ? "\"status\":\"ok\"" : "\"error\":{\"message\":")
                    .containsIgnoringCase("connection: close");
        }
    }

    @Test
    void head_tooLarge_isRefused() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.get("/health/live", "X-Long: " + "x".repeat(20_000)));
            RawClient.Response response = client.response();
            assertThat(response.status()).isEqualTo(431);
            assertThat(response.body()).contains("\"error\"");
        }
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.get("/" + "x".repeat(10_000)));
            assertThat(client.response().status()).isEqualTo(414);
        }
    }

    @Test
    void bytes_random_neverStopTheServer() throws IOException {
        Random random = new Random(42);
        for (int i = 0; i < 100; i++) {
            byte[] bytes = RawClient.post("/v1/completions", GOOD).getBytes(StandardCharsets.UTF_8);
            if (i % 4 == 0) {
                random.nextBytes(bytes);
            } else {
                for (int j = 0; j <= i % 8; j++) {
                    bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
                }
            }
            RawClient client = new RawClient(server);
            try {
                client.send(bytes).send("\r\n\r\n");
            } catch (IOException e) {
                // the server may close the connection at once
            }
            client.reset();
        }
    }

    @Test
    void body_mutated_neverGivesAServerError() throws IOException, InterruptedException {
        Random random = new Random(43);
        String valid =
                "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}],"
                        + "\"max_tokens\":2,\"stop\":[\"x\"],\"logit_bias\":{\"5\":1},\"tools\":[],\"logprobs\":true,"
                        + "\"top_logprobs\":2,\"temperature\":0.5,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
        String[] pieces = {"null", "[]", "{}", "1e999", "-1", "\"\"", "true", "99999999999999999999", "[null]", ":", ","
        };
        for (int i = 0; i < 300; i++) {
            StringBuilder body = new StringBuilder(valid);
            for (int j = 0; j <= i % 3; j++) {
                int from = random.nextInt(body.length());
                int to = Math.min(body.length(), from + random.nextInt(12));
                body.replace(from, to, pieces[random.nextInt(pieces.length)]);
            }
            HttpResponse<String> response = server.post("/v1/chat/completions", body.toString());
            assertThat(response.statusCode()).as(body.toString()).isIn(200, 400, 404);
            if (response.statusCode() != 200) {
                assertThat(TestServer.error(response).get("message").stringValue())
                        .isNotBlank();
                assertClean(response.body());
            }
        }
    }

    @Test
    void client_sendingTooSlowly_isDisconnected() throws IOException {
        try (RawClient silent = new RawClient(server);
                RawClient inHead = new RawClient(server);
                RawClient inBody = new RawClient(server)) {
            inHead.send("POST /v1/completions HTTP/1.1\r\nHost:");
            String request = RawClient.post("/v1/completions", GOOD, "Expect: 100-continue");
            int body = request.indexOf("\r\n\r\n") + 4;
            inBody.send(request.substring(0, body));
            assertThat(inBody.response().status()).isEqualTo(100); // from now on the body is waited for
            inBody.send(request.substring(body, body + 10));
            while (server.server.openConnections() < 3) {
                Thread.onSpinWait(); // until all are accepted
            }
            time.advance(Duration.ofSeconds(5).plusMillis(1));
            RawClient.Response response = inBody.response();
            assertThat(response.status()).isEqualTo(408);
            assertThat(response.headers()).containsEntry("connection", "close");
            assertThat(response.body()).contains("too slowly");
            assertThat(inBody.rest()).isEmpty();
            while (server.server.openConnections() > 2) {
                Thread.onSpinWait(); // until the server has closed it
            }
            time.advance(Duration.ofSeconds(54)); // 59 s after they connected
            assertThat(server.server.openConnections()).isEqualTo(2);
            time.advance(Duration.ofSeconds(1));
            assertThat(silent.rest()).isEmpty();
            assertThat(inHead.rest()).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "gzip, chunked",
                "chunked, gzip",
                "xchunked",
                "identity",
                "chunked\r\nTransfer-Encoding: chunked",
                "gzip\r\nTransfer-Encoding: chunked",
            })
    void transferEncoding_other_isRefusedAndNothingBehindItIsARequest(String coding) throws IOException {
        for (String method : new String[] {"POST /v1/completions", "GET /v1/models"}) {
            try (RawClient client = new RawClient(server)) {
                client.send(method + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: "
                        + coding + "\r\n\r\n" + RawClient.get("/v1/models"));
                RawClient.Response response = client.response();
                assertThat(response.status()).isEqualTo(coding.startsWith("chunked,") ? 400 : 501);
                assertThat(response.headers()).containsEntry("connection", "close");
                assertThat(response.body()).contains("\"error\"");
                assertThat(client.rest()).isEmpty();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"ZZ\r\nabc", "-1\r\nabc", "FFFFFFFFFFFFFFFF\r\nabc", "\r\n", "2\r\n{}}}\r\n"})
    void body_inBrokenChunks_isToldSo(String chunks) throws IOException {
        String head = RawClient.chunkedHead("/v1/completions");
        for (String begin : new String[] {"", "2\r\n{ \r\n"}) {
            try (RawClient client = new RawClient(server)) {
                client.send(head + begin + chunks + "\r\n0\r\n\r\n" + RawClient.get("/v1/models"));
                RawClient.Response response = client.response();
                assertThat(response.status()).isEqualTo(400);
                assertThat(response.headers()).containsEntry("connection", "close");
                assertThat(response.body()).contains("chunks are malformed");
                assertThat(client.rest()).isEmpty();
            }
        }
    }

    @Test
    void body_inBrokenChunksThatNobodyReads_closesTheConnectionAfterTheAnswer() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send(RawClient.get("/v1/models", "Transfer-Encoding: chunked") + "ZZ\r\n");
            assertThat(client.response().status()).isEqualTo(200);
            assertThat(client.rest()).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"close", "CLOSE", "foo, close", "close ,foo", "keep-alive\r\nConnection: close"})
    void connection_clientSaysClose_isClosedAfterTheAnswer(String value) throws IOException {
        for (String request : new String[] {
            RawClient.get("/v1/models", "Connection: " + value),
            RawClient.post("/v1/completions", GOOD, "Connection: " + value),
            RawClient.post("/v1/completions", GOOD.replace("{", "{\"stream\":true,"), "Connection: " + value)
        }) {
            try (RawClient client = new RawClient(server)) {
                RawClient.Response response = client.send(request).response();
                assertThat(response.status()).isEqualTo(200);
                assertThat(response.headers())
                        .containsEntry("connection", "close")
                        .doesNotContainKey("keep-alive");
                assertThat(client.rest()).isEmpty();
            }
        }
    }

    @Test
    void version2_thatTheClientBeginsWith_getsOneAnswer() throws IOException {
        try (RawClient client = new RawClient(server)) {
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + RawClient.get("/v1/models"));
            assertThat(client.response().status()).isEqualTo(505);
            assertThat(client.rest()).isEmpty();
        }
    }

    @Test
    void requestId_valid_isEchoedAndAnyOtherIsReplaced() throws IOException, InterruptedException {
        assertThat(server.get("/v1/models", "X-Request-Id", "abc-1").headers().firstValue("x-request-id"))
                .contains("abc-1");
        assertThat(server.get("/v1/models", "X-Request-Id", "a b<script>")
                        .headers()
                        .firstValue("x-request-id")
                        .orElseThrow())
                .startsWith("req_");
    }

    private static void assertClean(String body) {
        assertThat(body).doesNotContain("Exception").doesNotContain("\\tat ").doesNotContain("quire.");
    }
}
