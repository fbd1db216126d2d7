package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/** The files of the web page, and what it asks for. */
@Timeout(60)
class PageTest {
    private static final Pattern FILE = Pattern.compile("(?:href|src)=\"(page/[^\"]+)\"");
    private static final Pattern MODULE = Pattern.compile("from '\\./([a-z]+\\.js)'");

    @Test
    void page_hasAllItsFiles_andAStrictPolicy() throws Exception {
        ServerConfig key = TestServer.config().apiKeys(List.of("k")).build();
        try (TestServer server = TestServer.builder().config(key).start()) {
            HttpResponse<String> index = server.get("/");

            assertThat(index.statusCode()).isEqualTo(200);
            assertThat(index.headers().firstValue("Content-Type")).hasValue("text/html; charset=utf-8");
            assertThat(index.headers().firstValue("Content-Security-Policy").orElseThrow())
                    .contains("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'")
                    .doesNotContain("unsafe");
            assertThat(index.body()).doesNotContain("<script>", " style=", " onclick=", "http:", "https:");
            List<String> files = FILE.matcher(index.body())
                    .results()
                    .map(found -> found.group(1))
                    .toList();
            assertThat(files).hasSize(3);
            for (String file : files) {
                assertThat(server.get("/" + file).statusCode()).as(file).isEqualTo(200);
            }
        }
    }

    @Test
    void modules_importFilesThatExist() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (String name : List.of("main.js", "chat.js", "engine.js", "api.js", "markdown.js", "dom.js")) {
                HttpResponse<String> module = server.get("/page/" + name);
                assertThat(module.headers().firstValue("Content-Type")).hasValue("text/javascript; charset=utf-8");
                assertThat(module.body()).doesNotContain("innerHTML", "eval(", "http://", "https://");
                for (MatchResult imported :
                        MODULE.matcher(module.body()).results().toList()) {
                    assertThat(server.get("/page/" + imported.group(1)).statusCode())
                            .as(imported.group(1))
                            .isEqualTo(200);
                }
            }
            assertThat(server.get("/page/").statusCode()).isEqualTo(404);
            assertThat(server.get("/page/..%2Findex.html").statusCode()).isEqualTo(404);
            assertThat(server.get("/page/package-info.class").statusCode()).isEqualTo(404);
        }
    }

    @Test
    void noPage_isNotFound() throws Exception {
        try (TestServer server = TestServer.builder()
                .config(TestServer.config().page(false).build())
                .start()) {
            assertThat(server.get("/").statusCode()).isEqualTo(404);
            assertThat(server.get("/page/main.js").statusCode()).isEqualTo(404);
            assertThat(server.get("/v1/engine").statusCode()).isEqualTo(200);
        }
    }

    /** A request runs until the test lets it go. */
    @Test
    void engine_showsRequestsAndPages_withIdsForTheirOwnerAlone() throws Exception {
        Semaphore steps = new Semaphore(2);
        ServerConfig keys = TestServer.config().apiKeys(List.of("a", "b")).build();
        try (TestServer server = TestServer.builder()
                .config(keys)
                .context(8192)
                .onForward(batch -> steps.acquireUninterruptibly())
                .start()) {
            CompletableFuture<HttpResponse<String>> answer = CompletableFuture.supplyAsync(() -> post(server));
            while (server.engine.stats().steps() < 2) {
                Thread.onSpinWait();
            }
            JsonNode view = look(server, "a", steps);
            JsonNode row = view.get("running").get(0);
            assertThat(row.get("id").stringValue()).isEqualTo("mine");
            assertThat(row.get("prompt_tokens").intValue()).isEqualTo(6); // one begins the text
            assertThat(row.get("max_tokens").intValue()).isEqualTo(8006);
            assertThat(view.get("stats").get("used_pages").intValue())
                    .isEqualTo(row.get("pages").intValue());
            int pages = 0;
            for (JsonNode run : view.get("pages").values()) {
                pages += run.get(1).intValue();
            }
            assertThat(pages).isEqualTo(view.get("stats").get("total_pages").intValue());

            JsonNode other = look(server, "b", steps);
            assertThat(other.get("running").get(0).get("id").isNull()).isTrue();
            steps.release(100_000);
            assertThat(answer.join().statusCode()).isEqualTo(200);
            assertThat(server.get("/v1/engine").statusCode()).isEqualTo(401);
        }
    }

    /** Asks for the engine, and lets it compute step by step until it has answered. */
    private static JsonNode look(TestServer server, String key, Semaphore steps) {
        CompletableFuture<JsonNode> view = CompletableFuture.supplyAsync(() -> engine(server, key));
        while (server.server.activeRequests() < 2 && !view.isDone()) {
            Thread.onSpinWait();
        }
        while (!view.isDone()) {
            if (steps.hasQueuedThreads()) {
                steps.release();
            }
            Thread.onSpinWait();
        }
        return view.join();
    }

    private static HttpResponse<String> post(TestServer server) {
        try {
            return server.post(
                    "/v1/completions",
                    "{\"model\":\"fake\",\"prompt\":\"hello\",\"max_tokens\":8000,\"ignore_eos\":true}",
                    "Authorization",
                    "Bearer a",
                    "X-Request-Id",
                    "mine");
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static JsonNode engine(TestServer server, String key) {
        try {
            return TestServer.json(server.get("/v1/engine", "Authorization", "Bearer " + key));
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
