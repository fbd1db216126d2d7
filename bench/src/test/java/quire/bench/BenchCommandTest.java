package quire.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.withinPercentage;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.cli.CommandRun;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.machine.KernelSets;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** {@code quire bench} as a user runs it. The command line finds it as a service. */
class BenchCommandTest {
    @TempDir
    private static Path folder;

    /** A line of the list of commands. */
    private static final Pattern COMMAND = Pattern.compile("^  ([a-z][a-z-]*) ");

    private static String model;

    @BeforeAll
    static void writeModel() {
        model = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1)
                .toString();
    }

    /** A text that picocli cannot format is printed as it is, with a warning. */
    @Test
    void help_everyCommand_isFormatted() {
        assertThat(checkHelp(List.of())).isGreaterThan(20);
    }

    /** Returns the number of commands that were checked: this one, and those below it. */
    private static int checkHelp(List<String> command) {
        List<String> args = new ArrayList<>(command);
        args.add("--help");
        CommandRun help = run(args.toArray(String[]::new));
        assertThat(help.code()).as("%s: %s", args, help.err()).isZero();
        assertThat(help.err()).as(args.toString()).isEmpty();
        List<String> below = help.out()
                .lines()
                .dropWhile(line -> !line.equals("Commands:"))
                .skip(1)
                .takeWhile(line -> line.startsWith("  "))
                .map(COMMAND::matcher)
                .filter(Matcher::find)
                .map(matcher -> matcher.group(1))
                .filter(name -> !name.equals("help"))
                .toList();
        int checked = 1;
        for (String name : below) {
            List<String> longer = new ArrayList<>(command);
            longer.add(name);
            checked += checkHelp(longer);
        }
        return checked;
    }

    @Test
    void replay_traceOfAnEngine_saysThatDecisionsAreTheSame() throws Exception {
        Path trace = folder.resolve("trace");
        EngineConfig config =
                EngineConfig.builder().maxSequences(2).threads(1).trace(trace).build();
        try (Engine engine = Engine.open(Path.of(model), config, EngineListener.NONE);
                TokenStream answer = engine.submit(new Request(
                        new int[] {1, 2, 3},
                        SamplingParams.builder()
                                .maxTokens(4)
                                .ignoreEndOfText(true)
                                .build()))) {
            while (answer.next() != null) {
                // it is read to its end
            }
        }
        CommandRun result = run("bench", "replay", trace.toString());
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out())
                .startsWith("1 requests, ")
                .contains(" steps and 0 preemptions are decided as recorded");
    }

    @Test
    void bench_json_hasEveryFigure() {
        CommandRun result = run(
                "bench",
                "--model",
                model,
                "--prompt",
                "32",
                "--generate",
                "64",
                "--sequences",
                "1,3",
                "--threads",
                "2",
                "--kv-type",
                "q8_0",
                "--profile",
                "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("kv_type").asString()).isEqualTo("Q8_0");
        for (String field : List.of(
                "prompt_tokens_per_second",
                "load_seconds",
                "read_bandwidth_bytes_per_second",
                "int8_macs_per_second",
                "f32_macs_per_second")) {
            assertThat(json.get(field).asDouble()).as(field).isPositive();
        }
        assertThat(json.get("threads").asInt()).isEqualTo(2);
        assertThat(json.get("kernels").asString()).isNotEmpty();
        assertThat(json.get("decode").size()).isEqualTo(2);
        assertThat(json.get("decode").get(1).get("sequences").asInt()).isEqualTo(3);
        assertThat(json.get("decode").get(1).get("tokens_per_second").asDouble())
                .isPositive();
        assertThat(json.get("profiles").size()).isEqualTo(3);
        JsonNode step = json.get("profiles").get(2);
        assertThat(step.get("sequences").asInt()).isEqualTo(3);
        double seconds = 0;
        List<String> phases = new ArrayList<>();
        for (JsonNode phase : step.get("phases")) {
            seconds += phase.get("seconds").asDouble();
            phases.add(phase.get("phase").asString());
        }
        assertThat(seconds).isCloseTo(step.get("seconds").asDouble(), withinPercentage(0.1));
        assertThat(phases).contains("embedding", "q, k, v", "attention", "gate, up", "down", "head", "waiting");
    }

    @Test
    void benchPrefix_anyModel_measuresEveryShareOfHits() {
        CommandRun result = run(
                "bench", "prefix", "--model", model, "--prompt", "100", "--hits", "0,0.9", "--rounds", "1", "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode rows = JsonMapper.shared().readTree(result.out()).get("prefix");
        assertThat(rows.size()).isEqualTo(2);
        assertThat(rows.get(0).get("hits").asDouble()).isZero();
        assertThat(rows.get(1).get("hits").asDouble()).isBetween(0.7, 0.9);
        for (String column : List.of("first_token_speedup", "throughput_speedup")) {
            assertThat(rows.get(1).get(column).asDouble()).isPositive();
        }
    }

    @Test
    void benchPrefix_withAFile_writesPages(@TempDir Path out) {
        CommandRun result = run(
                "bench",
                "prefix",
                "--model",
                model,
                "--prompt",
                "64",
                "--generate",
                "1",
                "--sequences",
                "1",
                "--hits",
                "0",
                "--rounds",
                "1",
                "--kv-disk",
                out.resolve("pages.kv").toString(),
                "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode record = JsonMapper.shared().readTree(result.out());
        assertThat(record.get("kv_file_written_bytes").asLong()).isPositive();
        assertThat(record.get("kv_file_pages_left_out").asLong()).isNotNegative();
    }

    @Test
    void benchConstraints_anyModel_measuresMasksAndSpeed() {
        CommandRun result = run(
                "bench",
                "constraints",
                "--model",
                model,
                "--sequences",
                "2",
                "--generate",
                "8",
                "--rounds",
                "1",
                "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode record = JsonMapper.shared().readTree(result.out());
        assertThat(record.get("vocabulary_read_millis").asDouble()).isPositive();
        assertThat(record.get("masks").size()).isEqualTo(8);
        for (JsonNode row : record.get("masks")) {
            assertThat(row.get("cold_p50_micros").asDouble()).isPositive();
            assertThat(row.get("masks").asInt()).isPositive();
        }
        assertThat(record.get("speed").get(0).get("ratio").asDouble()).isPositive();
    }

    @Test
    void benchPrefix_allHits_isRefused() {
        CommandRun result = run("bench", "prefix", "--model", model, "--hits", "1");
        assertThat(result.code()).isNotZero();
        assertThat(result.err()).contains("--hits takes numbers from 0 to below 1, not 1.0");
    }

    @Test
    void benchSpeculation_anyModel_writesOnePageAndItsNumbers(@TempDir Path out) throws IOException {
        RandomModels.Shape roomForChats = new RandomModels.Shape(1024, 64, 96, 2, 4, 2, 16, 16, false, false, false);
        String chatModel =
                RandomModels.write(out, roomForChats, ElementType.Q8_0, 1).toString();
        CommandRun result = run(
                "bench",
                "speculation",
                "--model",
                chatModel,
                "--draft",
                chatModel,
                "--out",
                out.toString(),
                "--loads",
                "1,3",
                "--acceptances",
                "0,1",
                "--lengths",
                "3",
                "--tokens",
                "22",
                "--seconds",
                "0.01",
                "--threads",
                "1");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(Files.readString(out.resolve("speculation.json")));
        assertThat(json.get("curve").size()).isEqualTo(2);
        assertThat(json.get("curve").get(0).get("tokens_a_step").asDouble()).isEqualTo(1);
        // Three draft tokens that are right, and one more; draft tokens missing at the end do not count as rejected.
        assertThat(json.get("curve").get(1).get("tokens_a_step").asDouble()).isEqualTo(4);
        // The first turn has draft tokens, too: turns of 4 4 4 4 4 2 tokens, and 22 turns of 1 token.
        assertThat(json.get("curve").get(0).get("tokens_a_turn").asDouble()).isEqualTo(1);
        assertThat(json.get("curve").get(1).get("tokens_a_turn").asDouble()).isCloseTo(22 / 6.0, within(1e-9));
        for (JsonNode row : json.get("curve")) {
            assertThat(row.get("tokens_a_turn").asDouble()).isLessThanOrEqualTo(3 + 1);
            assertThat(row.get("seconds_a_case").asDouble()).isEqualTo(0.01);
        }
        assertThat(json.get("load").size()).isEqualTo(6); // both acceptances, and off against off
        assertThat(json.get("tasks").size()).isEqualTo(20);
        assertThat(json.get("rules").get("gumbel_coupling").asDouble()).isCloseTo(1, within(1e-9));
        assertThat(Files.readString(out.resolve("speculation.html"))).contains("<svg", "Never slower", "</html>");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "bench speculation --model MODEL",
                "bench --model MODEL --sequences 0",
                "bench --model MODEL --threads 0",
                "bench --model /no/such/file.gguf",
                "bench speculation --model MODEL --out DIR --tokens 2",
                "bench speculation --model MODEL --out DIR --parts costs,cost",
                "bench attack --attacks vanish,nonsense",
                "bench attack --url ftp://127.0.0.1",
                "bench attack --url http://127.0.0.1:8000 -- --max-sequences 2",
                "bench attack --seconds 5 --round-seconds 6",
                "bench attack-files --files 0",
                "bench overload --levels 1,0",
                "bench overload --deadline 0"
            })
    void bench_mistake_oneLineAndANonZeroCode(String line) {
        CommandRun result = run(line.replace("MODEL", model)
                .replace("DIR", folder.resolve("out").toString())
                .split(" "));
        assertThat(result.code()).isPositive();
        assertThat(result.out()).isEmpty();
        assertThat(result.err()).startsWith("quire: ").doesNotContain("\tat ");
        assertThat(result.err().lines().filter(each -> !each.startsWith("Try: ")))
                .as(result.err())
                .hasSize(1);
    }

    @Test
    void bench_unknownKernelSet_saysWhichSetsExist() {
        CommandRun wrong = run("bench", "--model", model, "--kernels", "avx3");
        assertThat(wrong.code()).isEqualTo(2);
        assertThat(wrong.err())
                .startsWith("quire: --kernels takes one of " + String.join(", ", KernelSets.names()) + ", not 'avx3'")
                .doesNotContain("private", "Could not invoke");
    }

    @Test
    void help_listsEveryCommand() {
        CommandRun result = run("help");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("serve", "chat", "generate", "inspect", "plan", "tokenize", "bench");
        assertThat(run("help", "bench").out())
                .contains("--profile", "speculation", "attack", "attack-files", "overload");
    }
}
