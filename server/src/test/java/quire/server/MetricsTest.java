package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.InputStream;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Tools that read the metrics of vLLM find every series, and the project's dashboard asks for series that exist. */
@Timeout(60)
class MetricsTest {
    private static final Pattern SAMPLE = Pattern.compile(
            "([a-z_:][a-z0-9_:]*)\\{([a-z_]+=\"(?:[^\"\\\\\\n]|\\\\.)*\"(?:,[a-z_]+=\"(?:[^\"\\\\\\n]|\\\\.)*\")*)} (\\S+)");
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
                assertThat(series.put(sample.group(1) + "{" + sample.group(2) + "}", Double.valueOf(sample.group(3))))
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
        TestServer server = TestServer.start();
        for (int i = 0; i < 3; i++) {
            assertThat(server.post(
                                    "/v1/completions",
                                    "{\"prompt\":\"Once upon a time there was a fox\",\"max_tokens\":20}")
                            .statusCode())
                    .isEqualTo(200);
        }
        server.awaitIdle();
        return server;
    }

    @Test
    void scrape_forToolsOfVllm_hasEverySeries() throws Exception {
        List<String> wanted;
        try (InputStream stream = MetricsTest.class.getResourceAsStream("vllm-series.txt")) {
            wanted = new String(Objects.requireNonNull(stream).readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .filter(line -> line.startsWith("vllm:"))
                    .distinct()
                    .toList();
        }
        assertThat(wanted).hasSizeGreaterThan(30);
        try (TestServer server = used()) {
            Map<String, Double> series = scrape(server);
            assertThat(names(series)).containsAll(wanted);
            for (String each : series.keySet()) {
                if (each.startsWith("vllm:")) {
                    assertThat(each).contains("{engine=\"0\",model_name=\"fake\"");
                }
            }
            String config = series.keySet().stream()
                    .filter(each -> each.startsWith("vllm:cache_config_info"))
                    .findFirst()
                    .orElseThrow();
            assertThat(config)
                    .contains("block_size=\"" + server.engine.pageTokens() + "\"")
                    .contains("num_gpu_blocks=\"" + server.engine.stats().totalPages() + "\"");
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
