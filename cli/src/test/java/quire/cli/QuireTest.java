package quire.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static quire.cli.CommandRun.run;
import static quire.cli.CommandRun.runWith;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.Gguf;
import quire.model.format.GgufWriter;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.machine.KernelSets;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Runs every command as a user does: with arguments. Checks standard output, standard error and the exit code. */
class QuireTest {
    private static final Path SHARED = Path.of(System.getProperty("quire.shared", "../shared"));
    private static final Path STORIES = SHARED.resolve("models/stories260K.gguf");

    @TempDir
    private static Path folder;

    private static String model;

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
        CommandRun result = run(
                "generate",
                "--model",
                STORIES.toString(),
                "--prompt",
                "Once upon a time",
                "--temperature",
                "0",
                "--max-tokens",
                "256");
        assertThat(result.code()).isZero();
        assertThat("Once upon a time" + result.out()).startsWith(published);
    }

    @Test
    void modelInParts_anyPart_isTheSameModel() {
        String whole = run("generate", "--model", model, "--prompt", "the", "--max-tokens", "9", "--temperature", "0")
                .out();
        List<Path> parts = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 1)
                .writeParts(folder, "parts", 3);
        for (Path part : parts) {
            CommandRun result = run(
                    "generate",
                    "--model",
                    part.toString(),
                    "--prompt",
                    "the",
                    "--max-tokens",
                    "9",
                    "--temperature",
                    "0");
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(result.out()).isEqualTo(whole);
        }
        assertThat(run("inspect", parts.get(1).toString()).out()).startsWith(parts.getFirst() + ": GGUF v3, 3 files, ");
        JsonNode json = JsonMapper.shared()
                .readTree(run("inspect", "--json", parts.get(2).toString()).out());
        assertThat(json.get("files")).hasSize(3);
        assertThat(json.get("file").asString()).isEqualTo(parts.getFirst().toString());
        // The memory that is free changes from run to run.
        assertThat(run("plan", parts.get(1).toString(), "--memory", "8GiB").out())
                .isEqualTo(run("plan", model, "--memory", "8GiB").out());
    }

    @Test
    void generate_sameSeed_sameText() {
        String[] args = {
            "generate", "--model", model, "--prompt", "the", "--max-tokens", "20", "--temperature", "1", "--seed", "7"
        };
        CommandRun first = run(args);
        assertThat(first.code()).as(first.err()).isZero();
        assertThat(first.out()).isNotBlank();
        assertThat(first.err()).contains("tokens/s");
        assertThat(run(args).out()).isEqualTo(first.out());
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "4294967295"})
    void generate_seedThatMeansNone_givesDifferentTexts(String seed) {
        Set<String> texts = new HashSet<>();
        for (int i = 0; i < 5; i++) {
            CommandRun result = run(
                    "generate",
                    "--model",
                    model,
                    "--prompt",
                    "the",
                    "--max-tokens",
                    "20",
                    "--temperature",
                    "1",
                    "--seed",
                    seed);
            assertThat(result.code()).as(result.err()).isZero();
            texts.add(result.out());
        }
        assertThat(texts).hasSizeGreaterThan(1);
    }

    @ParameterizedTest
    @CsvSource({
        "--seed -2, --seed 18446744073709551614",
        "--seed 7 --top-k -1, --seed 7 --top-k 0",
        "--seed 7 --top-k -7, --seed 7",
    })
    void generate_valuesThatMeanTheSame_giveTheSameText(String options, String others) {
        String[] plain = {"generate", "--model", model, "--prompt", "the", "--max-tokens", "20", "--temperature", "1"};
        CommandRun result = run(with(plain, options.split(" ")));
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).isEqualTo(run(with(plain, others.split(" "))).out());
    }

    @Test
    void generate_maxTokensOfMinusOne_isNoLimit() {
        String[] plain = {"generate", "--model", model, "--prompt", "the", "--temperature", "0"};
        CommandRun result = run(with(plain, "--max-tokens", "-1"));
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).isEqualTo(run(plain).out());
    }

    @Test
    void generate_promptFileOrStandardInput_isThePrompt(@TempDir Path folder) throws IOException {
        Path file = Files.writeString(folder.resolve("prompt.txt"), "na\u00efve");
        String[] plain = {"generate", "--model", model, "--max-tokens", "9", "--temperature", "0"};
        CommandRun text = run(with(plain, "--prompt", "na\u00efve"));
        assertThat(text.code()).as(text.err()).isZero();
        assertThat(run(with(plain, "--prompt-file", file.toString())).out()).isEqualTo(text.out());
        assertThat(runWith("na\u00efve", with(plain, "--prompt-file", "-")).out())
                .isEqualTo(text.out());

        Files.write(file, new byte[] {'n', 'a', (byte) 0xEF});
        assertThat(run(with(plain, "--prompt-file", file.toString())).err())
                .isEqualTo("quire: " + file + " is not UTF-8; convert it" + System.lineSeparator());
        CommandRun both = run(with(plain, "--prompt", "x", "--prompt-file", file.toString()));
        assertThat(both.code()).isEqualTo(2);
        assertThat(both.err()).contains("--prompt", "--prompt-file", "exclusive");
    }

    @Test
    void generate_json_isOneObjectWithTheSameText() {
        String text = run("generate", "--model", model, "--prompt", "the", "--max-tokens", "9", "--temperature", "0")
                .out();
        CommandRun result = run(
                "generate", "--model", model, "--prompt", "the", "--max-tokens", "9", "--temperature", "0", "--json");
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("text").asString() + "\n").isEqualTo(text);
        assertThat(json.get("completion_tokens").asInt()).isEqualTo(9);
        assertThat(json.get("finish_reason").asString()).isEqualTo("length");
    }

    @Test
    void generate_recommendedSampling_isTheDefault(@TempDir Path folder) {
        String file = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 3)
                .uint32("general.sampling.top_k", 1)
                .uint32("general.sampling.mirostat", 2)
                .write(folder.resolve("recommending.gguf"))
                .toString();
        String[] plain = {"generate", "--model", file, "--prompt", "the", "--max-tokens", "9", "--seed", "7"};
        String greedy = run(with(plain, "--temperature", "0")).out();

        assertThat(run(plain).out()).isEqualTo(greedy);
        assertThat(run(with(plain, "--temperature", "3", "--top-k", "0")).out())
                .isEqualTo(run(with(plain, "--temperature", "3", "--ignore-recommended-sampling"))
                        .out())
                .isNotEqualTo(greedy);
        assertThat(run("inspect", file).out())
                .contains("recommended sampling: top_k 1")
                .contains("general.sampling.mirostat");
        assertThat(JsonMapper.shared()
                        .readTree(run("inspect", "--json", file).out())
                        .get("recommended_sampling"))
                .isEqualTo(JsonMapper.shared().readTree("{\"top_k\":1}"));
    }

    private static String[] with(String[] args, String... more) {
        String[] all = Arrays.copyOf(args, args.length + more.length);
        System.arraycopy(more, 0, all, args.length, more.length);
        return all;
    }

    @Test
    void generate_speculation_changesOnlyTheCounts() {
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
        String[] fixed = plain.clone();
        fixed[fixed.length - 1] = "4";
        String[] drafted = Arrays.copyOf(fixed, fixed.length + 2);
        drafted[fixed.length] = "--draft";
        drafted[fixed.length + 1] = model; // the model is its own draft model, so every draft token is right
        JsonNode expected = JsonMapper.shared().readTree(run(plain).out());
        JsonNode withLookup = JsonMapper.shared().readTree(run(fixed).out());
        JsonNode withDraftModel = JsonMapper.shared().readTree(run(drafted).out());

        assertThat(withLookup.get("text")).isEqualTo(expected.get("text"));
        assertThat(withDraftModel.get("text")).isEqualTo(expected.get("text"));
        assertThat(expected.get("accepted_draft_tokens").intValue()).isZero();
        assertThat(withDraftModel.get("accepted_draft_tokens").intValue()).isPositive();
        assertThat(run("plan", "--model", model, "--draft", model).out()).contains("draft weights", "draft KV pages");
    }

    @Test
    void inspect_model_namesMetadataTensorsAndTypes() {
        CommandRun result = run("inspect", model);
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out())
                .contains("general.architecture", "llama", "blk.1.ffn_down.weight", "Q8_0", "tokenizer gpt2 of 321");
        assertThat(result.out()).contains("chat template default: content text ");
        JsonNode json =
                JsonMapper.shared().readTree(run("inspect", model, "--json").out());
        assertThat(json.at("/chat_templates/default/system role").asString()).isEqualTo("supported");
        assertThat(json.get("metadata").get("llama.block_count").asInt()).isEqualTo(2);
        assertThat(json.get("tensors").size()).isGreaterThan(18);
    }

    @Test
    void inspect_templateWithTools_printsTheFormOfItsCalls(@TempDir Path folder) {
        String file = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 3)
                .without("tokenizer.chat_template")
                .string(
                        "tokenizer.chat_template",
                        "{{ tools | tojson if tools }}{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ (m.content or '') }}"
                                + "{% for c in m.tool_calls or [] %}{{ '<call>' ~ c.function.name ~ ':' ~"
                                + " (c.function.arguments | tojson) ~ '</call>' }}{% endfor %}{% endfor %}")
                .write(folder.resolve("calling.gguf"))
                .toString();
        CommandRun shown = run("inspect", file);
        assertThat(shown.out()).as(shown.err()).contains("form of calls <call>NAME:ARGUMENTS</call>");
        assertThat(JsonMapper.shared()
                        .readTree(run("inspect", "--json", file).out())
                        .at("/chat_templates/default/form of calls")
                        .asString())
                .isEqualTo("<call>NAME:ARGUMENTS</call>");
    }

    @Test
    void inspect_spellingsTwice_countsThem(@TempDir Path folder) {
        GgufWriter writer = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 3);
        String[] tokens;
        try (Gguf file = Gguf.open(Path.of(model))) {
            tokens = file.strings("tokenizer.ggml.tokens");
        }
        tokens[tokens.length - 1] = tokens[0];
        String file = writer.without("tokenizer.ggml.tokens")
                .strings("tokenizer.ggml.tokens", List.of(tokens))
                .write(folder.resolve("twice.gguf"))
                .toString();

        assertThat(run("inspect", file).out()).contains("of 321 tokens, 1 with the same spelling as another token");
        assertThat(run("inspect", model).out()).doesNotContain("same spelling");
    }

    @Test
    void inspect_check_printsChecksumAndDamagedTensors() throws Exception {
        CommandRun sound = run("inspect", "--check", model);
        assertThat(sound.code()).as(sound.err()).isZero();
        String sum = HexFormat.of()
                .formatHex(MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(Path.of(model))));
        assertThat(sound.out()).contains("SHA-256 " + sum, "tensors checked: all numbers are finite");

        RandomModels.Shape shape = RandomModels.Shape.tiny();
        float[] norm = new float[shape.hidden()];
        Arrays.fill(norm, 5, 8, Float.NaN);
        String damaged = RandomModels.writer(shape, ElementType.Q8_0, 1)
                .withoutTensor("output_norm.weight")
                .tensor("output_norm.weight", ElementType.F32, norm, shape.hidden())
                .withoutTensor("output.weight")
                .tensor(
                        "output.weight",
                        ElementType.F32,
                        new float[shape.hidden() * RandomModels.VOCABULARY_SIZE],
                        shape.hidden(),
                        RandomModels.VOCABULARY_SIZE)
                .write(folder.resolve("broken-numbers.gguf"))
                .toString();
        CommandRun result = run("inspect", "--check", damaged);
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.out())
                .contains(
                        "damaged: tensor output_norm.weight has 3 numbers that are infinite or NaN, the first in row 0"
                                + " at column 5",
                        "may be damaged: tensor output.weight is 0 throughout",
                        "1 damaged; download the file again");
        JsonNode check = JsonMapper.shared()
                .readTree(run("inspect", "--check", "--json", damaged).out())
                .get("check");
        assertThat(check.get("damaged").size()).isEqualTo(1);
        assertThat(check.get("zero").get(0).asString()).isEqualTo("output.weight");
        assertThat(check.get("sha256").get("broken-numbers.gguf").asString()).hasSize(64);
        assertThat(run("generate", "--model", damaged, "--prompt", "x").err())
                .contains("tensor output_norm.weight has 3 numbers that are infinite or NaN");
    }

    @Test
    void plan_llama2Shape_printsTwoGibibytesASequence() {
        CommandRun result = run("plan", "--shape", "layers=32,kvHeads=32,headDim=128", "--context", "4096");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).contains("2 GiB");
        assertThat(result.out()).contains("512 KiB");
    }

    @Test
    void plan_model_saysWhatFits() {
        CommandRun result = run("plan", "--model", model, "--context", "128", "--sequences", "4");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).contains("weights", "KV", "4");
    }

    /** The second run maps what the first one has written. */
    @Test
    void generate_packedCache_writesItOnceAndAnswersTheSame() throws IOException {
        assumeTrue(KernelSets.best().keepsPacked());
        Path cache = folder.resolve("packed");
        String[] args = {
            "generate",
            "--model",
            model,
            "--prompt",
            "x",
            "--max-tokens",
            "8",
            "--seed",
            "3",
            "--packed-cache",
            cache.toString()
        };
        String expected = run(Arrays.copyOf(args, args.length - 2)).out();
        assertThat(run(args).out()).isEqualTo(expected);
        FileTime old = FileTime.fromMillis(1_000_000_000_000L);
        try (Stream<Path> files = Files.list(cache)) {
            Path file = files.toList().getFirst();
            Files.setLastModifiedTime(file, old);
            assertThat(run(args).out()).isEqualTo(expected);
            assertThat(Files.getLastModifiedTime(file)).isEqualTo(old);
        }
    }

    @Test
    void generate_packedCacheThatIsAFile_isRefused() {
        assumeTrue(KernelSets.best().keepsPacked());
        assertThat(run("generate", "--model", model, "--prompt", "x", "--packed-cache", model)
                        .err())
                .contains("--packed-cache is " + model + ", which is no folder");
    }

    /** 128 tokens are 8 pages of 4 KiB; of the 4 pages in memory one sequence has 3. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void plan_contextBeyondThePool_hasTheRestOnDisk() {
        CommandRun result = run(
                "plan",
                "--model",
                model,
                "--max-context",
                "128",
                "--kv-cache",
                "16KiB",
                "--max-sequences",
                "1",
                "--kv-disk",
                folder.resolve("plan.kv").toString(),
                "--kv-disk-size",
                "16MiB",
                "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode plan = JsonMapper.shared().readTree(result.out());
        assertThat(plan.get("pages").asInt()).isEqualTo(4);
        assertThat(plan.get("overflow_pages").asInt()).isEqualTo(5);
    }

    @Test
    void plan_severalModels_printsEachAndTheSum() throws IOException {
        Path set = Files.writeString(
                folder.resolve("set.json"),
                "{\"story\": {\"model\": \"" + model + "\", \"kv-cache\": \"2MiB\"}, \"tale\": {\"model\": \"" + model
                        + "\"}}");
        CommandRun result = run("plan", "--models", set.toString(), "--memory", "1GiB");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out().lines().toList())
                .satisfiesExactly(
                        story -> assertThat(story).startsWith("story ").contains("of KV pages"),
                        tale -> assertThat(tale).startsWith("tale ").contains("of KV pages"),
                        all -> assertThat(all).startsWith("all ").contains("of 1.00 GiB that all may take together"));
        JsonNode plan = JsonMapper.shared()
                .readTree(run("plan", "--models", set.toString(), "--memory", "1GiB", "--json")
                        .out());
        assertThat(plan.get("bytes").asLong())
                .isEqualTo(plan.at("/models/0/bytes").asLong()
                        + plan.at("/models/1/bytes").asLong());
        assertThat(plan.get("usable_bytes").asLong()).isEqualTo(1L << 30);
        assertThat(run("plan", "--models", set.toString(), "--memory", "1MiB").err())
                .contains("the model story", "all models together may take");
        assertThat(run("plan", "--models", set.toString(), "--context", "9").err())
                .contains("--context is for one model");
        assertThat(run("plan", "--models", set.toString(), model).err()).contains("exclude each other");
    }

    @Test
    void plan_typeThatIsLargerInMemory_printsBothSizes() {
        String file = RandomModels.write(folder, RandomModels.Shape.plain(ElementType.IQ2_XXS), ElementType.IQ2_XXS, 1)
                .toString();
        assertThat(run("plan", "--model", file).out())
                .containsPattern("IQ2_XXS weights .*2\\.06 bits; the kernels read");
        JsonNode type = JsonMapper.shared()
                .readTree(run("plan", "--model", file, "--json").out())
                .at("/quantised_weights/0");
        assertThat(type.get("type").asString()).isEqualTo("IQ2_XXS");
        assertThat(type.get("bytes_packed").asLong())
                .isGreaterThan(type.get("bytes_in_file").asLong());
        assertThat(run("plan", "--model", model).out()).doesNotContain("Q8_0 weights");
    }

    @Test
    void tokenize_text_printsIds() {
        CommandRun result = runWith("hello the", "tokenize", "--model", model, "--no-special");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out().strip()).matches("\\d+( \\d+)*");
        CommandRun special = runWith("hello the", "tokenize", "--model", model);
        assertThat(special.out().strip())
                .isIn(
                        result.out().strip(),
                        RandomModels.BOS + " " + result.out().strip());
    }

    @Test
    void tokenize_vocabularyOnlyFile_works() {
        Path vocabulary = SHARED.resolve("vocab/gpt-2.gguf");
        assumeTrue(Files.exists(vocabulary));
        assertThat(runWith("Hello world", "tokenize", "--model", vocabulary.toString(), "--no-special")
                        .out())
                .isEqualTo("15496 995" + System.lineSeparator());
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
                "generate --model MODEL --prompt x --speculation off --draft MODEL",
                "generate --model MODEL --prompt x --kv-cache 7XB",
                "plan --shape layers=32",
                "plan --shape layers=x,kvHeads=1,headDim=1",
                "plan --shape layers=0,kvHeads=1,headDim=1",
                "serve --model MODEL --port 99999",
                "nonsense",
                "generate --model MODEL"
            })
    void run_mistake_oneLineAndANonZeroCode(String line) {
        CommandRun result = run(line.replace("MODEL", model).split(" "));
        assertThat(result.code()).isPositive();
        assertThat(result.out()).isEmpty();
        assertThat(result.err()).startsWith("quire: ").doesNotContain("\tat ");
        assertThat(result.err().lines().filter(each -> !each.startsWith("Try: ")))
                .as(result.err())
                .hasSize(1);
    }

    @Test
    void run_noModel_usesTheBuiltInOneAndSaysSo() {
        CommandRun result =
                run("generate", "--prompt", "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n");
        assertThat(result.err().lines().toList().getFirst()).contains("quire-tiny", "--model FILE.gguf");
        assertThat(result.out()).isNotBlank();
        assertThat(result.code()).isZero();
    }

    @Test
    void kernels_anySet_listsTheSetsAndItsCode() {
        CommandRun result = run("kernels");
        assertThat(result.code()).isZero();
        assertThat(result.out())
                .contains(KernelSets.names())
                .contains(KernelSets.best().reason());
        assertThat(run("kernels", "nonsense").err()).contains("quire kernels lists them");
        assertThat(run("kernels", "--kernels", "scalar").out()).contains("The set scalar has no assembled code");
        for (String set : List.of("avx512vnni", "avx2")) {
            if (KernelSets.obstacle(set) == null) {
                List<String> listed = run("kernels", "--kernels", set)
                        .out()
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
    void kernels_name_printsTheWholeCode(String set) {
        String obstacle = KernelSets.obstacle(set);
        assumeTrue(obstacle == null, obstacle);
        boolean objdump = Files.isExecutable(Path.of("/usr/bin/objdump"));
        Map<String, String> nameToInstruction = Map.of(
                "attend-f16-4-of-64-over-1-x1",
                "vcvtph2ps",
                "attend-q8_0-4-of-128-over-1-x1",
                set.startsWith("avx512") ? "vpdpbusd" : "vpmaddubsw",
                "q4_0-x1",
                "vfmadd",
                "swiglu",
                "vfmadd");
        nameToInstruction.forEach((name, instruction) -> {
            CommandRun result = run("kernels", name, "--kernels", set);
            assertThat(result.code()).as(result.err()).isZero();
            List<String> lines = result.out().lines().toList();
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
    @ValueSource(strings = {"generate --model MODEL --prompt x", "kernels"})
    void kernelsOption_unknownOrImpossibleSet_saysWhyAndWhichSetsRun(String line) {
        String[] args = (line.replace("MODEL", model) + " --kernels avx3").split(" ", -1);
        CommandRun wrong = run(args);
        assertThat(wrong.code()).isEqualTo(2);
        assertThat(wrong.err())
                .startsWith("quire: --kernels takes one of " + String.join(", ", KernelSets.names()) + ", not 'avx3'")
                .doesNotContain("private", "Could not invoke");
        for (String name : KernelSets.names()) {
            String obstacle = KernelSets.obstacle(name);
            if (obstacle != null) {
                args[args.length - 1] = name;
                CommandRun impossible = run(args);
                assertThat(impossible.code()).isEqualTo(2);
                assertThat(impossible.err())
                        .startsWith("quire: the " + name + " kernels cannot run here: " + obstacle)
                        .contains("scalar")
                        .doesNotContain("private", "Could not invoke");
            }
        }
    }

    @Test
    void run_debug_showsTheStackTrace() {
        assertThat(run("inspect", "/no/such/file.gguf", "--debug").err()).contains("\tat ");
    }

    @Test
    void help_namesCommandsAndOptions() {
        CommandRun result = run("help");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("serve", "chat", "generate", "inspect", "plan", "tokenize");
        assertThat(run("help", "serve").out()).contains("--max-sequences", "--api-key");
        assertThat(run("--version").out()).startsWith("quire ").doesNotContain("${");
    }
}
