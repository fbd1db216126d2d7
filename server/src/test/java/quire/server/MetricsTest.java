package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import quire.engine.Speculation;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Tools that read the metrics of vLLM find every series, and the project's dashboard asks for series that exist. */
@Timeout(60)
class MetricsTest {
    private static final Pattern SAMPLE = Pattern.compile(
            "([a-z_:][a-z0-9_:]*)(?:\\{([a-z_]+=\"(?:[^\"\\\\\\n]|\\\\.)*\"(?:,[a-z_]+=\"(?:[^\"\\\\\\n]|\\\\.)*\")*)})? (\\S+)");
    private static final Pattern QUERIED = Pattern.compile("quire_[a-z0-9_]+");

    /** A scrape after some requests, by series: name and labels. Checks the format. */
    private static Map<String, Double> scrape(TestServer server) throws Exception {
        Map<String, Double> series = new LinkedHashMap<>();
        Set<String> heads = new HashSet<>();
        String family = "";
        String text = server.get("/metrics").body();
        for (String line : text.split("\n", -1)) {
            if (line.startsWith("# HELP ")) {
                family = line.split(" ", -1)[2];
                assertThat(heads.add(family)).as("a second %s", line).isTrue();
            } else if (!line.startsWith("#") && !line.isEmpty()) {
                Matcher sample = SAMPLE.matcher(line);
                assertThat(sample.matches()).as(line).isTrue();
                assertThat(sample.group(1)).as(line).startsWith(family);
                String labels = sample.group(2) == null ? "" : sample.group(2);
                assertThat(series.put(sample.group(1) + "{" + labels + "}", Double.valueOf(sample.group(3))))
                        .as("a second %s", line)
                        .isNull();
            }
        }
        return series;
    }

    private static Set<String> names(Map<String, Double> series) {
        Set<String> names = new HashSet<>();
        series.keySet().forEach(each -> names.add(each.substring(0, each.indexOf('{'))));
        return names;
    }

    private static TestServer used() throws Exception {
        TestServer server = TestServer.builder()
                .speculation(new Speculation(4, true, null, null))
                .start();
        for (int i = 0; i < 3; i++) {
            assertThat(server.post(
                                    "/v1/completions",
                                    "{\"prompt\":\"Once upon a time there was a fox\",\"max_tokens\":20}")
                            .statusCode())
                    .isEqualTo(200);
        }
        assertThat(server.get("/v1/nothing").statusCode()).isEqualTo(404);
        server.awaitIdle();
        while (requests(scrape(server)) < 4) { // a client may have its answer before the server has counted it
            Thread.onSpinWait();
        }
        return server;
    }

    private static double requests(Map<String, Double> series) {
        return series.entrySet().stream()
                .filter(each -> each.getKey().startsWith("http_requests_total{"))
                .mapToDouble(Map.Entry::getValue)
                .sum();
    }

    /** Whether a series is one of a line of the file of series. */
    private static boolean matches(String series, String wanted) {
        String[] parts = wanted.split("[{}]", -1);
        if (!series.startsWith(parts[0] + "{")) {
            return false;
        }
        String labels = series.substring(parts[0].length() + 1);
        return parts.length == 1
                || Stream.of(parts[1].split(",", -1))
                        .allMatch(label -> labels.matches(
                                "(.*,)?" + Pattern.quote(label) + (label.endsWith("\"") ? "[,}].*" : "=\".*")));
    }

    @Test
    @EnabledOnOs(OS.LINUX) // elsewhere a process has fewer numbers
    void scrape_forToolsOfVllm_hasEverySeries() throws Exception {
        List<String> wanted;
        try (InputStream stream = MetricsTest.class.getResourceAsStream("series-of-tools.txt")) {
            wanted = new String(Objects.requireNonNull(stream).readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .filter(line -> !line.isEmpty() && !line.startsWith("#"))
                    .distinct()
                    .toList();
        }
        assertThat(wanted).hasSizeGreaterThan(90);
        try (TestServer server = used()) {
            Map<String, Double> series = scrape(server);
            assertThat(wanted)
                    .filteredOn(line -> series.keySet().stream().noneMatch(each -> matches(each, line)))
                    .isEmpty();
            for (String each : series.keySet()) {
                if (each.startsWith("vllm:")) {
                    assertThat(each).contains("{engine=\"0\",model_name=\"fake\"");
                }
            }
            assertThat(series.keySet())
                    .filteredOn(each -> each.startsWith("vllm:cache_config_info"))
                    .singleElement()
                    .matches(each -> matches(
                            each,
                            "vllm:cache_config_info{block_size=\"" + server.engine.pageTokens() + "\",num_gpu_blocks=\""
                                    + server.engine.stats().totalPages() + "\"}"));
            assertThat(series.keySet())
                    .filteredOn(each -> each.startsWith("vllm:lora_requests_info"))
                    .singleElement()
                    .matches(each ->
                            matches(each, "vllm:lora_requests_info{max_lora=\"0\",running_lora_adapters=\"\"}"));
        }
    }

    @Test
    void scrape_ofParts_addsUpToTheWhole() throws Exception {
        try (TestServer server = used()) {
            Map<String, Double> series = scrape(server);
            String of = "engine=\"0\",model_name=\"fake\"";
            double prompts = series.getOrDefault("vllm:prompt_tokens_total{" + of + "}", Double.NaN);
            double cached = series.getOrDefault("vllm:prompt_tokens_cached_total{" + of + "}", Double.NaN);
            assertThat(cached).isPositive(); // the second and the third prompt begin like the first
            assertThat(sum(series, "vllm:prompt_tokens_by_source_total")).isEqualTo(prompts);
            assertThat(sum(series, "vllm:prompt_tokens_cached_by_source_total")).isEqualTo(cached);
            assertThat(series.get("vllm:request_prefill_kv_computed_tokens_sum{" + of + "}"))
                    .isEqualTo(prompts - cached)
                    .isEqualTo(series.get("vllm:prompt_tokens_by_source_total{" + of + ",source=\"local_compute\"}"));
            assertThat(series.get("vllm:request_prefill_kv_computed_tokens_count{" + of + "}"))
                    .isEqualTo(3);
            assertThat(sum(series, "vllm:num_requests_waiting_by_reason"))
                    .isEqualTo(series.get("vllm:num_requests_waiting{" + of + "}"));
            assertThat(sum(series, "vllm:engine_sleep_state")).isEqualTo(1);
            assertThat(sum(series, "vllm:request_success_total"))
                    .isEqualTo(sum(series, "quire_request_success_total"))
                    .isEqualTo(3);
            assertThat(sum(series, "vllm:spec_decode_num_accepted_tokens_per_pos_total"))
                    .isEqualTo(series.get("vllm:spec_decode_num_accepted_tokens_total{" + of + "}"))
                    .isEqualTo(sum(series, "quire_spec_decode_num_accepted_tokens_total"));
        }
    }

    private static double sum(Map<String, Double> series, String name) {
        return series.entrySet().stream()
                .filter(each -> each.getKey().startsWith(name + "{"))
                .mapToDouble(Map.Entry::getValue)
                .sum();
    }

    @Test
    void requests_areCountedByRouteMethodAndStatus_withoutThoseOfOperators() throws Exception {
        try (TestServer server = used()) {
            for (String method : List.of("BREW", "STIR", "PUT")) { // no client makes a series of its own
                HttpRequest request = HttpRequest.newBuilder(URI.create(server.url() + "/v1/chat/completions"))
                        .method(method, HttpRequest.BodyPublishers.noBody())
                        .build();
                assertThat(server.http
                                .send(request, HttpResponse.BodyHandlers.ofString())
                                .statusCode())
                        .isEqualTo(405);
            }
            assertThat(server.get("/health").statusCode()).isEqualTo(200);
            while (requests(scrape(server)) < 7) {
                Thread.onSpinWait();
            }
            Map<String, Double> series = scrape(server);
            assertThat(series)
                    .containsEntry(
                            "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"}", 3.0)
                    .containsEntry("http_requests_total{handler=\"none\",method=\"GET\",status=\"4xx\"}", 1.0)
                    .containsEntry(
                            "http_requests_total{handler=\"/v1/chat/completions\",method=\"other\",status=\"4xx\"}",
                            2.0)
                    .containsEntry(
                            "http_requests_total{handler=\"/v1/chat/completions\",method=\"PUT\",status=\"4xx\"}", 1.0)
                    .containsEntry(
                            "http_request_duration_seconds_count{handler=\"/v1/completions\",method=\"POST\"}", 3.0);
            assertThat(requests(series)).isEqualTo(7); // neither /metrics nor /health
            assertThat(series.get("process_start_time_seconds{}")).isBetween(1.5e9, System.currentTimeMillis() * 1e-3);
        }
    }

    @Test
    void scrape_underBothNames_hasTheSameNumbers() throws Exception {
        try (TestServer server = used()) {
            Map<String, Double> series = scrape(server);
            int compared = 0;
            for (Map.Entry<String, Double> each : series.entrySet()) {
                Double own = series.get(each.getKey().replace("vllm:", "quire_").replace("{engine=\"0\",", "{"));
                if (each.getKey().startsWith("vllm:")
                        && own != null
                        && !each.getKey().contains("prompt_tokens_total")) {
                    assertThat(each.getValue()).as(each.getKey()).isEqualTo(own);
                    compared++;
                }
            }
            assertThat(compared).isGreaterThan(100);
            assertThat(series.get("vllm:prompt_tokens_total{engine=\"0\",model_name=\"fake\"}"))
                    .isEqualTo(series.getOrDefault("quire_prompt_tokens_total{model_name=\"fake\"}", Double.NaN)
                            + series.getOrDefault("quire_prefix_cache_hits_total{model_name=\"fake\"}", Double.NaN));
            assertThat(series.get("quire_request_decode_time_seconds_count{model_name=\"fake\"}"))
                    .isEqualTo(3);
            assertThat(series.get("quire_request_max_num_generation_tokens_sum{model_name=\"fake\"}"))
                    .isEqualTo(60);
            assertThat(series.get("quire_iteration_tokens_total_count{model_name=\"fake\"}"))
                    .isEqualTo(series.get("quire_iterations_total{model_name=\"fake\"}"));
        }
    }

    @Test
    void dashboard_asksForSeriesThatExist() throws Exception {
        JsonNode dashboard = Json.read(Files.readString(Path.of("..", "docs", "grafana.json")));
        List<String> expressions = new ArrayList<>();
        for (JsonNode panel : dashboard.get("panels").values()) {
            panel.get("targets")
                    .values()
                    .forEach(target -> expressions.add(target.get("expr").stringValue()));
        }
        assertThat(expressions).hasSizeGreaterThan(20);
        try (TestServer server = used()) {
            Set<String> names = names(scrape(server));
            for (String expression : expressions) {
                Matcher name = QUERIED.matcher(expression);
                int found = 0;
                for (; name.find(); found++) {
                    assertThat(names).as(expression).contains(name.group());
                }
                assertThat(found).as(expression).isPositive();
                assertThat(expression.chars().filter(c -> c == '(').count())
                        .as(expression)
                        .isEqualTo(expression.chars().filter(c -> c == ')').count());
            }
        }
    }
}
