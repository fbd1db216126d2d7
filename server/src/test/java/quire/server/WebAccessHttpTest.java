package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.LogLines;

/** Which names, pages and keys a running server takes. */
@Timeout(60)
class WebAccessHttpTest {
    private static final String PAGE = "https://chat.example.com";
    private static final String BODY = "{\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":2}";

    private TestServer server = TestServer.builder().config(config().build()).start();

    private static ServerConfig.Builder config() {
        return ServerConfig.builder().port(0).corsOrigins(List.of(PAGE)).apiKeys(List.of("sesame", "second"));
    }

    @AfterEach
    void stop() {
        server.close();
    }

    private RawClient.Response send(String request) throws IOException {
        try (RawClient client = new RawClient(server)) {
            return client.send(request).response();
        }
    }

    private static String named(String request, String host) {
        return request.replace("Host: x", "Host: " + host);
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/models", "/health", "/health/live", "/metrics", "/nowhere"})
    void get_underAnotherName_isMisdirected(String path) throws IOException {
        RawClient.Response response = send(named(RawClient.get(path), "evil.example"));
        assertThat(response.status()).isEqualTo(421);
        assertThat(response.body()).contains("evil.example", "--allowed-host", "host_not_allowed");
    }

    @Test
    void request_withoutAName_isMisdirected() throws IOException {
        assertThat(send(RawClient.get("/health").replace("Host: x\r\n", "")).status())
                .isEqualTo(421);
        assertThat(send(RawClient.get("/health").replace("Host: x\r\n", "").replace("1.1", "1.0"))
                        .status())
                .isEqualTo(421);
        assertThat(send(named(RawClient.get("/health"), "localhost\r\nHost: evil.example"))
                        .status())
                .isEqualTo(400);
    }

    @Test
    void get_underTheServersOwnNames_isAnswered() throws Exception {
        assertThat(server.get("/health").statusCode()).isEqualTo(200); // 127.0.0.1
        assertThat(send(named(RawClient.get("/health"), "localhost:1")).status())
                .isEqualTo(200);
    }

    @Test
    void post_ofAnotherPage_isForbiddenAndNotRead() throws IOException {
        RawClient.Response response = send(named(
                RawClient.post("/v1/completions", BODY, "Origin: https://evil.example", "Authorization: Bearer sesame"),
                "localhost"));
        assertThat(response.status()).isEqualTo(403);
        assertThat(response.body()).contains("--cors-origin https://evil.example");
        assertThat(response.headers()).doesNotContainKey("access-control-allow-origin");
        assertThat(server.engine.stats().started()).isZero();
    }

    @Test
    void post_ofAnAllowedPage_isAnsweredWithTheHeadersOfCors() throws IOException {
        RawClient.Response response = send(named(
                RawClient.post("/v1/completions", BODY, "Origin: " + PAGE, "Authorization: Bearer sesame"),
                "localhost"));
        assertThat(response.status()).isEqualTo(200);
        assertThat(response.headers())
                .containsEntry("access-control-allow-origin", PAGE)
                .containsEntry("vary", "Origin");
        assertThat(response.headers().get("access-control-expose-headers")).contains("X-Request-Id");
    }

    @Test
    void error_forAnAllowedPage_canBeReadByIt() throws IOException {
        RawClient.Response response =
                send(named(RawClient.post("/v1/completions", BODY, "Origin: " + PAGE), "localhost"));
        assertThat(response.status()).isEqualTo(401);
        assertThat(response.headers()).containsEntry("access-control-allow-origin", PAGE);
    }

    @Test
    void preflight_ofAnAllowedPage_needsNoKey() throws IOException {
        String options = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: " + PAGE
                + "\r\nAccess-Control-Request-Method: POST\r\n"
                + "Access-Control-Request-Headers: authorization,content-type,x-stainless-os\r\n\r\n";
        try (RawClient client = new RawClient(server)) {
            RawClient.Response response = client.send(options).response(true);
            assertThat(response.status()).isEqualTo(204);
            assertThat(response.headers())
                    .containsEntry("access-control-allow-origin", PAGE)
                    .containsEntry("access-control-allow-headers", "authorization,content-type,x-stainless-os");
            assertThat(response.headers().get("access-control-allow-methods")).contains("POST");
            client.send(options.replace(PAGE, "https://evil.example"));
            assertThat(client.response().status()).isEqualTo(403);
        }
    }

    @Test
    void options_withoutAKey_isUnauthorized() throws IOException {
        assertThat(send("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        .status())
                .isEqualTo(401);
    }

    @Test
    void keys_each_isTaken() throws Exception {
        for (String key : List.of("sesame", "second")) {
            assertThat(server.get("/v1/models", "Authorization", "Bearer " + key)
                            .statusCode())
                    .isEqualTo(200);
        }
        for (String key : List.of("sesam", "sesames", "Sesame", "sesame,second", "")) {
            assertThat(server.get("/v1/models", "Authorization", "Bearer " + key)
                            .statusCode())
                    .isEqualTo(401);
        }
    }

    @Test
    void start_onAllAddressesWithoutAKey_warnsOnce() {
        ServerConfig open = ServerConfig.builder().host("0.0.0.0").port(0).build();
        try (LogLines log = new LogLines("quire.server")) {
            TestServer.builder().config(open).start().close();
            assertThat(log.lines())
                    .filteredOn(line -> line.startsWith("WARNING"))
                    .singleElement()
                    .asString()
                    .contains("0.0.0.0", "--api-key-file", "QUIRE_API_KEY")
                    .doesNotContain("\n");
        }
        try (LogLines log = new LogLines("quire.server")) {
            ServerConfig keyed = ServerConfig.builder()
                    .host("0.0.0.0")
                    .port(0)
                    .apiKey("sesame")
                    .build();
            TestServer.builder().config(keyed).start().close();
            assertThat(log.lines()).noneMatch(line -> line.startsWith("WARNING"));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", " ", "a b", "schlüssel", "a\nb"})
    void config_keyThatNoHeaderCarries_isRefused(String key) {
        assertThatThrownBy(() -> ServerConfig.builder().apiKey(key).build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("API key");
    }
}
