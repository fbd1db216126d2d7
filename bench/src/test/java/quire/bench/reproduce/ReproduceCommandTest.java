package quire.bench.reproduce;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.cli.CommandRun;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.Workers;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** {@code quire bench reproduce} as a user runs it. */
class ReproduceCommandTest {
    @TempDir
    private static Path folder;

    private static String model;

    @BeforeAll
    static void writeModel() {
        RandomModels.Shape shape = new RandomModels.Shape(512, 64, 96, 2, 4, 2, 16, 16, false, false, false);
        model = RandomModels.write(folder, shape, ElementType.Q8_0, 1).toString();
    }

    @Test
    void reproduce_memory_isTheSumThatEveryPaperBeginsWith(@TempDir Path out) throws IOException {
        JsonNode memory = json(reproduce(out, "memory"), out).get("memory");
        assertThat(memory.get("bytes_per_token").asLong()).isEqualTo(2L * 32 * 32 * 128 * 2);
        assertThat(memory.get("sequence_bytes").asLong()).isEqualTo(2L << 30);
        JsonNode rows = rows(memory);
        // 24 GiB less 12.55 GiB of weights, 2 GiB each; with paging 32 pages of 8 MiB each.
        assertThat(rows.get(0).get("maximum_reserved").asInt()).isEqualTo(5);
        assertThat(rows.get(0).get("paged").asInt()).isEqualTo(45);
        assertThat(rows.get(1).get("maximum_reserved").asInt()).isEqualTo(13);
        assertThat(rows.get(2).get("maximum_reserved").asInt()).isEqualTo(33);
    }

    @Test
    void reproduce_add_keepsWhatWasMeasuredBefore(@TempDir Path out) throws IOException {
        CommandRun first = reproduce(out, "memory");
        assertThat(json(first, out).has("paging")).isFalse();
        JsonNode both = json(reproduce(out, "paging", "--add"), out);
        assertThat(both.has("memory")).isTrue();
        assertThat(both.get("paging").get("command").asString()).startsWith("quire bench reproduce paging --quick");
        JsonNode shared = tables(both.get("paging")).get(1);
        assertThat(shared.size()).isEqualTo(12);
        for (JsonNode row : shared) {
            assertThat(row.get("saved_%").asDouble()).isBetween(0.0, 90.0);
        }
        String page = Files.readString(out.resolve("reproduce.html"));
        assertThat(page)
                .contains(
                        "<h2>Paging</h2>", "<h2>The memory sum</h2>", "width=device-width", "prefers-color-scheme:dark")
                .doesNotContain("<script", "http://", "https://");
        assertThat(json(reproduce(out, "memory"), out).has("paging")).isFalse();
    }

    @Test
    void reproduce_all_isOnePageWithEveryReport(@TempDir Path out) throws IOException {
        CommandRun result = reproduce(out, "all", "--prompt", "128", "--requests", "9", "--threads", "2");
        JsonNode json = json(result, out);
        assertThat(json.propertyNames())
                .containsExactlyInAnyOrder(
                        "continuous-batching",
                        "paging",
                        "flash-attention",
                        "chunked-prefill",
                        "prefix-caching",
                        "memory");
        JsonNode policies = rows(json.get("continuous-batching"));
        assertThat(policies.size()).isEqualTo(2 * Policy.values().length);
        for (JsonNode row : policies) {
            assertThat(row.get("tokens_per_second").asDouble()).isPositive();
            assertThat(row.get("latency_p99_s").asDouble())
                    .isGreaterThanOrEqualTo(row.get("latency_p50_s").asDouble());
        }
        assertThat(policies.get(0).get("mean_sequences").asDouble()).isEqualTo(1); // one at a time
        assertThat(rows(json.get("flash-attention")).get(0).get("plain_memory").asString())
                .isEqualTo("1 MiB"); // 512 × 512 × 4 bytes
        assertThat(rows(json.get("chunked-prefill")).get(0).get("gap_p99_ms").asDouble())
                .isPositive();
        assertThat(rows(json.get("prefix-caching")).get(1).get("hits").asDouble())
                .isBetween(0.7, 0.95);
        String page = Files.readString(out.resolve("reproduce.html"));
        assertThat(page)
                .contains("<svg", "A100 by arithmetic", "arithmetic and not measured")
                .doesNotContain("NaN");
        assertThat(result.out()).contains("Continuous batching", "Policies", "reproduce.html");
    }

    @Test
    void attention_flashAndPlain_giveTheSameNumbers() {
        try (Workers workers = new Workers(1);
                FlashAttention attention = new FlashAttention(64)) {
            FlashAttention.Computed flash = attention.flash();
            FlashAttention.Computed plain = attention.plain(workers);
            for (int row = 0; row < 64; row++) {
                for (int column = 0; column < 64; column++) {
                    assertThat(flash.output().get(row, column))
                            .isCloseTo(plain.output().get(row, column), within(0.01f)); // keys and values are f16
                }
            }
            assertThat(plain.extraBytes()).isEqualTo(64 * 64 * 4);
        }
    }

    @Test
    void reproduce_tooManyRequests_isRefused(@TempDir Path out) {
        CommandRun result = run("bench", "reproduce", "--model", model, "--out", out.toString(), "--requests", "1025");
        assertThat(result.code()).isPositive();
        assertThat(result.err()).contains("--requests takes a number from 1 to 1024, not 1025");
    }

    @Test
    void reproduce_unknownName_isRefused(@TempDir Path out) {
        CommandRun result = run("bench", "reproduce", "pageing", "--model", model, "--out", out.toString());
        assertThat(result.code()).isPositive();
        assertThat(result.err()).contains("NAME is one of all, ", "not pageing");
    }

    private static CommandRun reproduce(Path out, String name, String... options) {
        String[] line = new String[options.length + 8];
        System.arraycopy(
                new String[] {"bench", "reproduce", name, "--quick", "--model", model, "--out", out.toString()},
                0,
                line,
                0,
                8);
        System.arraycopy(options, 0, line, 8, options.length);
        return run(line);
    }

    private static JsonNode json(CommandRun result, Path out) throws IOException {
        assertThat(result.code()).as(result.err()).isZero();
        return JsonMapper.shared().readTree(Files.readString(out.resolve("reproduce.json")));
    }

    /** The rows of a report's first table. */
    private static JsonNode rows(JsonNode report) {
        return tables(report).getFirst();
    }

    private static List<JsonNode> tables(JsonNode report) {
        List<JsonNode> tables = new ArrayList<>();
        for (JsonNode part : report.get("parts")) {
            if (part.has("rows")) {
                tables.add(part.get("rows"));
            }
        }
        return tables;
    }
}
