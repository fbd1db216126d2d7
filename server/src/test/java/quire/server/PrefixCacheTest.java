package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.PrefixCacheStats;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** The prefix cache changes counts in the usage and in the metrics, and nothing else. */
@Timeout(60)
class PrefixCacheTest {
    private static final String PROMPT = "The fox and the bear went to the river. ";

    private static String body(String more) {
        return "{\"model\":\"fake\",\"prompt\":\"" + PROMPT + "\",\"max_tokens\":3,\"temperature\":0" + more + "}";
    }

    private static JsonNode answer(TestServer server, String more) throws Exception {
        return TestServer.json(server.post("/v1/completions", body(more)));
    }

    private static int cached(JsonNode answer) {
        return answer.get("usage")
                .get("prompt_tokens_details")
                .get("cached_tokens")
                .intValue();
    }

    @Test
    void usage_samePromptAgain_countsCachedTokens() throws Exception {
        try (TestServer server = TestServer.start()) {
            JsonNode first = answer(server, "");
            assertThat(cached(first)).isZero();

            JsonNode second = answer(server, "");

            int prompt = second.get("usage").get("prompt_tokens").intValue();
            assertThat(cached(second)).isBetween(prompt / 2, prompt - 1);
            assertThat(second.get("choices")).isEqualTo(first.get("choices"));
            PrefixCacheStats stats = server.engine.stats().prefixCache();
            assertThat(server.get("/metrics").body())
                    .contains("quire_prefix_cache_queries_total{model_name=\"fake\"} " + stats.queriedTokens())
                    .contains("quire_prefix_cache_hits_total{model_name=\"fake\"} " + cached(second))
                    .contains("quire_prefix_cache_evicted_pages_total{model_name=\"fake\"} 0")
                    .contains("quire_prefix_cache_usage_perc{model_name=\"fake\"} 0.")
                    .contains("quire_saved_states{model_name=\"fake\"} 0.0\n")
                    .contains("quire_saved_states_written_total{model_name=\"fake\"} 0\n")
                    .contains("quire_kv_disk_slots{model_name=\"fake\"} 0")
                    .contains("quire_kv_disk_hits_total{model_name=\"fake\"} 0");
        }
    }

    /** The only state is used by one of two prompts that are the same, then by none of two others. */
    @Test
    void metrics_modelWithSavedStates_countWhatTheyAreUsedFor() throws Exception {
        try (TestServer server = TestServer.builder().savedStates(1).start()) {
            for (String prompt : new String[] {"", "", "1", "2"}) {
                String body = "{\"prompt\":\"" + prompt + PROMPT + "\",\"max_tokens\":1}";
                assertThat(server.post("/v1/completions", body).statusCode()).isEqualTo(200);
            }
            assertThat(server.get("/metrics").body())
                    .contains("quire_saved_states{model_name=\"fake\"} 1.0\n")
                    .contains("quire_saved_states_used{model_name=\"fake\"} 1.0\n")
                    .contains("quire_saved_states_hits_total{model_name=\"fake\"} 1\n")
                    .contains("quire_saved_states_written_total{model_name=\"fake\"} 3\n")
                    .contains("quire_saved_states_evicted_unused_total{model_name=\"fake\"} 1\n");
        }
    }

    /** A text of nearly the whole context is longer than three quarters of the pages in memory. */
    @Test
    void metrics_longTextWithOverflowPages_countThoseInUse() throws Exception {
        List<Integer> used = new CopyOnWriteArrayList<>();
        CompletableFuture<TestServer> running = new CompletableFuture<>();
        try (TestServer server = TestServer.builder()
                .maxSequences(1)
                .overflowPages(40)
                .onForward(batch -> used.add(running.join().engine.stats().usedOverflowPages()))
                .start()) {
            running.complete(server);
            String before = server.get("/metrics").body();
            assertThat(before)
                    .contains("quire_kv_overflow_pages{model_name=\"fake\"} 40.0\n")
                    .contains("quire_kv_overflow_pages_used{model_name=\"fake\"} 0.0\n");
            String body =
                    "{\"prompt\":\"" + "x".repeat(TestServer.CONTEXT - 20) + "\",\"max_tokens\":9,\"temperature\":0}";
            assertThat(server.post("/v1/completions", body).statusCode()).isEqualTo(200);
        }
        assertThat(used.getLast()).isPositive();
    }

    @Test
    void stream_withUsage_countsCachedTokens() throws Exception {
        try (TestServer server = TestServer.start()) {
            answer(server, "");
            String events = server.post(
                            "/v1/completions", body(",\"stream\":true,\"stream_options\":{\"include_usage\":true}"))
                    .body();
            assertThat(events).containsPattern("\"prompt_tokens_details\":\\{\"cached_tokens\":[1-9]");
        }
    }

    /** The tokens of a prompt's whole pages, without its last token, which is always computed. */
    private static int wholePages(int promptTokens) {
        return (promptTokens - 1) / 16 * 16;
    }

    @Test
    void responses_withOtherIdsAndMetadata_shareTheirWholePages() throws Exception {
        String form = "{'model':'fake','max_output_tokens':2,'temperature':0,'store':false,'prompt_cache_key':'%1$s',"
                + "'client_metadata':{%2$s},'input':[{'type':'message','id':'msg_%1$s','role':'developer','content':["
                + "{'type':'input_text','text':'" + PROMPT + "'}]},{'type':'message','id':'msg_%1$s2','role':'user',"
                + "'content':'Who went?'}]}";
        try (TestServer server = TestServer.start()) {
            server.post("/v1/responses", form.formatted("a", "'x':'1','y':'2'").replace('\'', '"'));
            JsonNode usage = TestServer.json(server.post(
                            "/v1/responses",
                            form.formatted("b", "'y':'2','x':'3'").replace('\'', '"')))
                    .get("usage");
            assertThat(usage.get("input_tokens_details").get("cached_tokens").intValue())
                    .isEqualTo(wholePages(usage.get("input_tokens").intValue()))
                    .isPositive();
        }
    }

    /** Clients write the arguments of a call again: in another order, with defaults, and without blanks. */
    @Test
    void chat_withArgumentsThatTheClientChanged_findsTheTurnBefore() throws Exception {
        String tools = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"type\":"
                + "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"}}}}}]";
        String task = "{\"role\":\"user\",\"content\":\"" + PROMPT + "\"}";
        String chat = "{\"model\":\"fake\",\"temperature\":0,\"max_tokens\":100," + tools + ",\"messages\":[" + task;
        try (TestServer server = TestServer.builder()
                .template(ToolsTest.template())
                .script(prompt -> "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\", \"days\":"
                        + " 3}}</tool_call>")
                .start()) {
            JsonNode first = TestServer.json(server.post("/v1/chat/completions", chat + "]}"));
            JsonNode call =
                    first.get("choices").get(0).get("message").get("tool_calls").get(0);
            String id = call.get("id").stringValue();
            for (String arguments : new String[] {
                call.get("function").get("arguments").stringValue(), "{\"days\":3,\"unit\":\"C\",\"city\":\"Bern\"}"
            }) {
                for (String content : new String[] {"", ",\"content\":null", ",\"content\":\"\""}) {
                    String second = chat + ",{\"role\":\"assistant\"" + content + ",\"tool_calls\":[{\"id\":\"" + id
                            + "\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":"
                            + JsonNodeFactory.instance.stringNode(arguments)
                            + "}}]},{\"role\":\"tool\",\"tool_call_id\":\""
                            + id + "\",\"content\":\"sunny\"}]}";
                    HttpResponse<String> response = server.post("/v1/chat/completions", second);
                    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
                    assertThat(cached(TestServer.json(response)))
                            .isGreaterThanOrEqualTo(wholePages(
                                    first.get("usage").get("prompt_tokens").intValue()));
                }
            }
        }
    }

    /** Agents ask for a title, or for what to remember, between the turns of a task: other prompts of the same second. */
    @Test
    void sideRequests_betweenTheTurns_evictOlderPagesOnly() throws Exception {
        String form = "{\"model\":\"fake\",\"temperature\":0,\"max_tokens\":4,\"messages\":[%s]}";
        String message = "{\"role\":\"user\",\"content\":\"%s\"}";
        try (TestServer server =
                TestServer.builder().context(2048).maxSequences(1).start()) {
            for (String older : new String[] {"a", "b", "c"}) {
                server.post("/v1/chat/completions", form.formatted(message.formatted((older + "lder ").repeat(140))));
            }
            long evicted = server.engine.stats().prefixCache().evictedPages();
            String task = message.formatted("task ".repeat(160));
            JsonNode first = TestServer.json(server.post("/v1/chat/completions", form.formatted(task)));
            server.post("/v1/chat/completions", form.formatted(message.formatted("title ".repeat(50))));
            server.post("/v1/chat/completions", form.formatted(message.formatted("memory ".repeat(85))));

            JsonNode second = TestServer.json(server.post(
                    "/v1/chat/completions",
                    form.formatted(task + ",{\"role\":\"assistant\",\"content\":\"x\"}," + message.formatted("And?"))));

            assertThat(cached(second))
                    .isGreaterThanOrEqualTo(
                            wholePages(first.get("usage").get("prompt_tokens").intValue()) - 16)
                    .isGreaterThan(700);
            assertThat(server.engine.stats().prefixCache().evictedPages())
                    .as("the pages are full, so the requests between the turns evict others")
                    .isGreaterThan(evicted + 50);
        }
    }

    @Test
    void cacheSalt_another_sharesNothing() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (String salt : new String[] {"", ",\"cache_salt\":\"one\"", ",\"cache_salt\":\"two\""}) {
                assertThat(cached(answer(server, salt))).isZero();
                assertThat(cached(answer(server, salt))).isPositive();
            }
            assertThat(cached(answer(server, ",\"cache_salt\":\"\"")))
                    .as("empty: as if absent")
                    .isPositive();
            assertThat(server.post("/v1/completions", body(",\"cache_salt\":7")).statusCode())
                    .isEqualTo(400);
        }
    }
}
