package quire.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.withinPercentage;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.machine.KernelSets;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Every command as its user meets it: arguments in, two streams and an exit code out. */
class QuireTest {
    private static final Path SHARED = Path.of(System.getProperty("quire.shared", "../shared"));
    private static final Path STORIES = SHARED.resolve("models/stories260K.gguf");

    @TempDir
    private static Path folder;

    private static String model;

    private record Result(int code, String out, String err) {}

    @BeforeAll
    static void writeModel() {
        model = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1)
                .toString();
    }

    @Test
    void generate_realModelGreedy_printsThePublishedText() throws IOException {
        assumeTrue(Files.exists(STORIES));
        String published = Files.readString(SHARED.resolve("models/stories260K.md"))
                .lines()
                .filter(line -> line.startsWith("> "))
                .map(line -> line.substring(2))
                .reduce((a, b) -> a + "\n" + b)
                .orElseThrow();
        Result result = run(
                "generate",
                "--model",
                STORIES.toString(),
                "--prompt",
                "Once upon a time",
                "--temperature",
                "0",
                "--max-tokens",
                "256");
        assertThat(result.code).isZero();
        assertThat("Once upon a time" + result.out).startsWith(published);
    }

    @Test
    void generate_sameSeed_sameText() {
        String[] args = {
            "generate", "--model", model, "--prompt", "the", "--max-tokens", "20", "--temperature", "1", "--seed", "7"
        };
        Result first = run(args);
        assertThat(first.code).as(first.err).isZero();
        assertThat(first.out).isNotBlank();
        assertThat(first.err).contains("tokens/s");
        assertThat(run(args).out).isEqualTo(first.out);
    }

    @Test
    void generate_json_isOneObjectWithTheSameText() {
        String text =
                run("generate", "--model", model, "--prompt", "the", "--max-tokens", "9", "--temperature", "0").out;
        Result result = run(
                "generate", "--model", model, "--prompt", "the", "--max-tokens", "9", "--temperature", "0", "--json");
        JsonNode json = JsonMapper.shared().readTree(result.out);
        assertThat(json.get("text").asString() + "\n").isEqualTo(text);
        assertThat(json.get("completion_tokens").asInt()).isEqualTo(9);
        assertThat(json.get("finish_reason").asString()).isEqualTo("length");
    }

    @Test
    void generate_speculation_changesNothingButTheCounts() {
        String[] plain = {
            "generate",
            "--model",
            model,
            "--prompt",
            "the the the",
            "--max-tokens",
            "30",
            "--temperature",
            "0",
            "--json",
            "--speculation",
            "off"
        };
        String[] guessed = plain.clone();
        guessed[guessed.length - 1] = "4";
        String[] drafted = Arrays.copyOf(guessed, guessed.length + 2);
        drafted[guessed.length] = "--draft";
        drafted[guessed.length + 1] = model; // its own draft: always right
        JsonNode expected = JsonMapper.shared().readTree(run(plain).out);
        JsonNode looked = JsonMapper.shared().readTree(run(guessed).out);
        JsonNode itself = JsonMapper.shared().readTree(run(drafted).out);

        assertThat(looked.get("text")).isEqualTo(expected.get("text"));
        assertThat(itself.get("text")).isEqualTo(expected.get("text"));
        assertThat(expected.get("accepted_draft_tokens").intValue()).isZero();
        assertThat(itself.get("accepted_draft_tokens").intValue()).isPositive();
        assertThat(run("plan", "--model", model, "--draft", model).out).contains("draft weights", "draft KV pages");
    }

    @Test
    void inspect_model_namesMetadataTensorsAndTypes() {
        Result result = run("inspect", model);
        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out)
                .contains("general.architecture", "llama", "blk.1.ffn_down.weight", "Q8_0", "tokenizer gpt2 of 321");
        assertThat(result.out).contains("chat template default: content text ");
        JsonNode json = JsonMapper.shared().readTree(run("inspect", model, "--json").out);
        assertThat(json.at("/chat_templates/default/system role").asString()).isEqualTo("taken");
        assertThat(json.get("metadata").get("llama.block_count").asInt()).isEqualTo(2);
        assertThat(json.get("tensors").size()).isGreaterThan(18);
    }

    @Test
    void plan_llama2Shape_printsTwoGibibytesASequence() {
        Result result = run("plan", "--shape", "layers=32,kvHeads=32,headDim=128", "--context", "4096");
        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).contains("2 GiB");
        assertThat(result.out).contains("512 KiB");
    }

    @Test
    void plan_model_saysWhatFitsAndWhatBinds() {
        Result result = run("plan", "--model", model, "--context", "128", "--sequences", "4");
        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).contains("weights", "KV", "4");
    }

    @Test
    void tokenize_text_printsIds() {
        Result result = runWith("hello the", "tokenize", "--model", model, "--no-special");
        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out.strip()).matches("\\d+( \\d+)*");
        Result special = runWith("hello the", "tokenize", "--model", model);
        assertThat(special.out.strip()).isIn(result.out.strip(), RandomModels.BOS + " " + result.out.strip());
    }

    @Test
    void tokenize_vocabularyOnlyFile_works() {
        Path vocabulary = SHARED.resolve("vocab/gpt-2.gguf");
        assumeTrue(Files.exists(vocabulary));
        assertThat(runWith("Hello world", "tokenize", "--model", vocabulary.toString(), "--no-special").out)
                .isEqualTo("15496 995" + System.lineSeparator());
    }

    @Test
    void benchSpeculation_anyModel_writesOnePageAndItsNumbers(@TempDir Path out) throws IOException {
        RandomModels.Shape roomForChats = new RandomModels.Shape(1024, 64, 96, 2, 4, 2, 16, 16, false, false, false);
        String chatModel =
                RandomModels.write(out, roomForChats, ElementType.Q8_0, 1).toString();
        Result result = run(
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
        assertThat(result.code).as(result.err).isZero();
        JsonNode json = JsonMapper.shared().readTree(Files.readString(out.resolve("speculation.json")));
        assertThat(json.get("curve").size()).isEqualTo(2);
        assertThat(json.get("curve").get(0).get("tokens_a_step").asDouble()).isEqualTo(1);
        // Three right guesses and one of the model's own; the step that the end cuts short is not held against them.
        assertThat(json.get("curve").get(1).get("tokens_a_step").asDouble()).isEqualTo(4);
        // The first turn guesses too: 4 4 4 4 4 2, and 22 times 1.
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

    @Test
    void coupling_anyDistributions_isTheRaceOfTheSameNoise() {
        SplittableRandom random = new SplittableRandom(2);
        for (int round = 0; round < 100; round++) {
            double[] p = distribution(random, 1 + random.nextInt(9));
            double[] q = distribution(random, p.length);
            double expected = 0;
            double most = 0;
            for (int i = 0; i < p.length; i++) {
                double sum = 0;
                for (int j = 0; j < p.length; j++) {
                    sum += Math.max(p[j] / p[i], q[j] / q[i]);
                }
                expected += p[i] > 0 && q[i] > 0 ? 1 / sum : 0;
                most += Math.min(p[i], q[i]);
            }
            double coupling = AcceptanceRules.coupling(p, q);
            assertThat(coupling).isCloseTo(expected, within(1e-9));
            assertThat(coupling).isBetween(most / 2 - 1e-9, most + 1e-9);
        }
    }

    private static double[] distribution(SplittableRandom random, int size) {
        double[] values = new double[size];
        double sum = 0;
        for (int i = 0; i < size; i++) {
            values[i] = random.nextInt(4) == 0 && i > 0 ? 0 : random.nextDouble() + 1e-3;
            sum += values[i];
        }
        for (int i = 0; i < size; i++) {
            values[i] /= sum;
        }
        return values;
    }

    @Test
    void bench_json_hasEveryFigure() {
        Result result = run(
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
        assertThat(result.code).as(result.err).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out);
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

    @ParameterizedTest
    @ValueSource(
            strings = {
                "generate --model /no/such/file.gguf --prompt x",
                "inspect /no/such/file.gguf",
                "generate --model MODEL --prompt x --temperature -1",
                "generate --model MODEL --prompt x --max-tokens 0",
                "generate --model MODEL --prompt x --speculation 17",
                "generate --model MODEL --prompt x --speculation on",
                "generate --model MODEL --prompt x --draft /no/such/file.gguf",
                "bench speculation --model MODEL",
                "generate --model MODEL --prompt x --speculation off --draft MODEL",
                "generate --model MODEL --prompt x --kv-cache 7XB",
                "plan",
                "plan --shape layers=32",
                "plan --shape layers=x,kvHeads=1,headDim=1",
                "plan --shape layers=0,kvHeads=1,headDim=1",
                "bench --model MODEL --sequences 0",
                "serve --model MODEL --port 99999",
                "nonsense",
                "generate --model MODEL"
            })
    void run_mistake_oneLineAndANonZeroCode(String line) {
        Result result = run(line.replace("MODEL", model).split(" "));
        assertThat(result.code).isPositive();
        assertThat(result.out).isEmpty();
        assertThat(result.err).startsWith("quire: ").doesNotContain("\tat ");
        assertThat(result.err.lines().filter(each -> !each.startsWith("Try: ")))
                .as(result.err)
                .hasSize(1);
    }

    @Test
    void run_noModel_usesTheOneInTheBoxAndSaysSo() {
        Result result =
                run("generate", "--prompt", "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n");
        assertThat(result.err.lines().toList().getFirst()).contains("quire-tiny", "--model FILE.gguf");
        assertThat(result.out).isNotBlank();
        assertThat(result.code).isZero();
    }

    @Test
    void kernels_anySet_listsTheSetsAndItsCode() {
        Result result = run("kernels");
        assertThat(result.code).isZero();
        assertThat(result.out)
                .contains(KernelSets.names())
                .contains(KernelSets.best().reason());
        assertThat(run("kernels", "nonsense").err).contains("quire kernels lists them");
        assertThat(run("kernels", "--kernels", "scalar").out).contains("The compiler makes the code of scalar");
        for (String set : List.of("avx512vnni", "avx2")) {
            if (KernelSets.obstacle(set) == null) {
                List<String> listed = run("kernels", "--kernels", set)
                        .out
                        .lines()
                        .map(line -> line.split(" ", 2)[0])
                        .toList();
                assertThat(listed)
                        .contains("quantize", "rms-norm", "add", "swiglu", "rope", "store-f16", "store-q8_0")
                        .contains("f32-x1", "bf16-x1", "q4_0-x1", "q8_0-x4", "q4_k-x1", "q6_k-x1", "mxfp4-x1")
                        .contains("attend-f16-4-of-64-over-1-x1", "attend-f32-4-of-128-over-1-finish")
                        .contains("attend-q8_0-4-of-64-over-1-clear", "ceiling-int8", "cpuid");
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"avx512vnni", "avx2"})
    void kernels_ofName_endsWhereTheCodeEnds(String set) {
        String obstacle = KernelSets.obstacle(set);
        assumeTrue(obstacle == null, obstacle);
        boolean objdump = Files.isExecutable(Path.of("/usr/bin/objdump"));
        Map<String, String> nameToInstruction = Map.of(
                "attend-f16-4-of-64-over-1-x1",
                "vcvtph2ps",
                "attend-q8_0-4-of-128-over-1-x1",
                "vpmovsxbd",
                "q4_0-x1",
                "vfmadd",
                "swiglu",
                "vfmadd");
        nameToInstruction.forEach((name, instruction) -> {
            Result result = run("kernels", name, "--kernels", set);
            assertThat(result.code).as(result.err).isZero();
            List<String> lines = result.out.lines().toList();
            int end = lines.indexOf("constants:");
            assertThat(end).as(name).isPositive();
            List<String> code = lines.subList(0, end);
            if (objdump) {
                assertThat(code).noneMatch(line -> line.contains("(bad)"));
                assertThat(code).anyMatch(line -> line.contains(instruction));
                assertThat(code.getLast()).endsWith("ret");
            } else {
                assertThat(code.getLast()).endsWith("c3");
            }
            assertThat(lines.subList(end + 1, lines.size()))
                    .isNotEmpty()
                    .allMatch(line -> line.matches(" *[0-9a-f]+:\t([0-9a-f]{2} ?){1,16}"));
        });
    }

    @ParameterizedTest
    @ValueSource(strings = {"generate --model MODEL --prompt x", "bench --model MODEL", "kernels"})
    void kernelsOption_setThatIsNotThereOrCannotRun_saysWhyAndWhichCan(String line) {
        String[] args = (line.replace("MODEL", model) + " --kernels avx3").split(" ", -1);
        Result wrong = run(args);
        assertThat(wrong.code).isEqualTo(2);
        assertThat(wrong.err)
                .startsWith("quire: --kernels takes one of " + String.join(", ", KernelSets.names()) + ", not 'avx3'")
                .doesNotContain("private", "Could not invoke");
        for (String name : KernelSets.names()) {
            String obstacle = KernelSets.obstacle(name);
            if (obstacle != null) {
                args[args.length - 1] = name;
                Result impossible = run(args);
                assertThat(impossible.code).isEqualTo(2);
                assertThat(impossible.err)
                        .startsWith("quire: the " + name + " kernels cannot run here: " + obstacle)
                        .contains("scalar")
                        .doesNotContain("private", "Could not invoke");
            }
        }
    }

    @Test
    void run_debug_showsTheTrace() {
        assertThat(run("inspect", "/no/such/file.gguf", "--debug").err).contains("\tat ");
    }

    @Test
    void help_readsWell() {
        Result result = run("help");
        assertThat(result.code).isZero();
        assertThat(result.out).contains("serve", "chat", "generate", "inspect", "plan", "tokenize", "bench");
        assertThat(run("help", "serve").out).contains("--max-sequences", "--api-key");
        assertThat(run("--version").out).startsWith("quire ").doesNotContain("${");
    }

    private static Result run(String... args) {
        return runWith("", args);
    }

    private static Result runWith(String input, String... args) {
        InputStream in = System.in;
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
        ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
        try {
            System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
            System.setOut(new PrintStream(outBytes, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(errBytes, true, StandardCharsets.UTF_8));
            int code = Quire.run(args);
            return new Result(
                    code, outBytes.toString(StandardCharsets.UTF_8), errBytes.toString(StandardCharsets.UTF_8));
        } finally {
            System.setIn(in);
            System.setOut(out);
            System.setErr(err);
        }
    }
}
