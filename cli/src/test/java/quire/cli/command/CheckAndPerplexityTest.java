package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.cli.CommandRun;
import quire.model.TextScorer;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;
import quire.tensor.machine.KernelSets;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class CheckAndPerplexityTest {
    private static final Path SHARED = Path.of(System.getProperty("quire.shared", "../shared"));

    @TempDir
    private Path folder;

    private Path model() {
        return RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.F32, 1);
    }

    private Path write(String name, String text) throws IOException {
        return Files.writeString(folder.resolve(name), text);
    }

    private static JsonNode json(CommandRun run) {
        assertThat(run.code()).as(run.err()).isZero();
        return JsonMapper.shared().readTree(run.out());
    }

    @Test
    void check_recordedArchitectures_agree() throws IOException {
        Path recorded = SHARED.resolve("architectures/llama.json");
        assumeTrue(Files.exists(recorded), () -> recorded + " is not here");
        String file = SHARED.resolve("architectures/llama.gguf").toString();
        CommandRun result = run("check", file, "--reference", recorded.toString());
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).contains("step  token  token here", "16 of 16 steps agree", "tolerance 0.05");

        CommandRun strict = run("check", file, "--reference", recorded.toString(), "--tolerance", "0", "--json");
        assertThat(strict.code()).isEqualTo(1);
        JsonNode object = JsonMapper.shared().readTree(strict.out());
        assertThat(object.get("agrees").asBoolean()).isFalse();
        assertThat(object.get("largest_difference").asDouble()).isBetween(0.0, 0.05);
        assertThat(object.get("outcomes")).hasSize(16);

        Path other = SHARED.resolve("architectures/llama-tied.json");
        assertThat(run("check", file, "--reference", other.toString()).code()).isEqualTo(1);
    }

    /** The reference is made here: the logits of the same model, with one of them moved. */
    @Test
    void check_oneLogprobMoved_namesTheStepAndTheToken() throws IOException {
        Path model = model();
        int[] tokens = {5, 6, 7, 8};
        StringBuilder steps = new StringBuilder();
        try (Gguf file = Gguf.open(model);
                TextScorer scorer = new TextScorer(file, KernelSets.best(), KvType.F16, 1, 8)) {
            double first = TextScorer.logprob(scorer.next(tokens, 0, 3), 0, 8);
            double second = TextScorer.logprob(scorer.next(tokens, 3, 4), 0, 9);
            steps.append(
                    "{\"token\":8,\"top\":[[8," + first + "]]},{\"token\":9,\"top\":[[9," + (second - 0.5) + "]]}");
        }
        Path reference = write("r.json", "{\"prompt\":[5,6,7],\"steps\":[" + steps + "]}");
        String[] command = {"check", model.toString(), "--reference", reference.toString(), "--json", "--tolerance"};
        JsonNode strict = JsonMapper.shared().readTree(run(with(command, "0.1")).out());
        JsonNode second = strict.get("outcomes").get(1);
        assertThat(strict.get("outcomes").get(0).get("largest_difference").asDouble())
                .isCloseTo(0, within(1e-9));
        assertThat(second.get("largest_difference").asDouble()).isCloseTo(0.5, within(1e-9));
        assertThat(second.get("agrees").asBoolean()).isFalse();
        // Tokens 8 and 9 are not the likeliest ones, so the exit code depends on the tolerance for that too.
        assertThat(run(with(command, "1000")).code()).isZero();
        assertThat(run(with(command, "0.1")).code()).isEqualTo(1);
    }

    private static String[] with(String[] command, String last) {
        String[] all = java.util.Arrays.copyOf(command, command.length + 1);
        all[command.length] = last;
        return all;
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "no json | is not a JSON object",
                "[] | is not a JSON object",
                "{} | prompt must be a list",
                "{\"prompt\":[1]} | steps must be a list",
                "{\"prompt\":[1],\"steps\":[]} | steps must be a list that is not empty",
                "{\"prompt\":[-1],\"steps\":[]} | prompt must be a token id",
                "{\"prompt\":[1],\"steps\":[3]} | steps[0] must be an object",
                "{\"prompt\":[1],\"steps\":[{\"token\":1,\"top\":[[1]]}]} | steps[0].top must be a list of pairs",
                "{\"prompt\":[1],\"steps\":[{\"token\":1.5,\"top\":[]}]} | steps[0].token must be a token id",
                "{\"prompt\":[1],\"steps\":[{\"token\":99999,\"top\":[]}]} | token 99999 is not in the model's vocabulary",
            })
    void check_referenceOfAnotherForm_isRefusedInOneLine(String text, String message) throws IOException {
        Path reference = write("r.json", text);
        CommandRun result = run("check", model().toString(), "--reference", reference.toString());
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).startsWith("quire: " + reference).contains(message);
        assertThat(result.err().strip().lines()).hasSize(1);
    }

    @Test
    void perplexity_text_isThatOfTheScoredHalves() throws IOException {
        Path model = model();
        Path text = write("text", "the cat and the dog ".repeat(20));
        JsonNode object = json(run("perplexity", model.toString(), text.toString(), "--context", "32", "--json"));
        double sum = 0;
        int count = 0;
        try (Gguf file = Gguf.open(model);
                TextScorer scorer = new TextScorer(file, KernelSets.best(), KvType.F16, 2, 32)) {
            Tokenizer tokenizer = Tokenizers.of(file);
            int[] tokens = tokenizer.encode(Files.readString(text), true, false);
            for (int start = 0; start + 32 <= tokens.length; start += 32) {
                int from = start;
                int[] chunk = IntStream.range(0, 32)
                        .map(i -> i == 0 ? tokens[0] : tokens[from + i])
                        .toArray();
                for (int i = 17; i < 32; i++) {
                    sum -= TextScorer.logprob(scorer.next(chunk, 0, i), 0, chunk[i]);
                    count++;
                }
            }
        }
        assertThat(object.get("scored_tokens").asInt())
                .isEqualTo(count)
                .isEqualTo(15 * object.get("chunks").asInt());
        assertThat(object.get("perplexity").asDouble()).isCloseTo(Math.exp(sum / count), within(1e-9));
        assertThat(run("perplexity", "--model", model.toString(), text.toString(), "--context", "32")
                        .out())
                .startsWith("perplexity ")
                .contains(" chunks of 32 tokens, " + count + " tokens scored");
    }

    @Test
    void perplexity_shortTextOrWrongContext_isRefused() throws IOException {
        String model = model().toString();
        Path text = write("text", "the cat");
        assertThat(run("perplexity", model, text.toString()).err())
                .contains("fewer than two chunks of 512; take a longer text or a smaller --context");
        assertThat(run("perplexity", model, text.toString(), "--context", "3").code())
                .isEqualTo(2);
        assertThat(run("perplexity", model, text.toString(), "--context", "513").code())
                .isEqualTo(2);
        assertThat(run("perplexity", model, folder.resolve("none").toString()).err())
                .contains("there is no such file");
        Path bytes = Files.write(folder.resolve("bytes"), new byte[] {(byte) 0xFF, 'a'});
        assertThat(run("perplexity", model, bytes.toString()).err()).contains("is not UTF-8");
        assertThat(run("perplexity").code()).isEqualTo(2);
    }

    @Test
    void scorer_longText_givesTheSameInPieces() {
        try (Gguf file = Gguf.open(model());
                TextScorer scorer = new TextScorer(file, KernelSets.best(), KvType.F16, 2, 100)) {
            int[] tokens = IntStream.range(0, 100).map(i -> 3 + i * 7 % 40).toArray();
            double[] all = scorer.score(tokens, 99);
            double[] last = scorer.score(tokens, 10);
            assertThat(List.of(all[89], all[98])).containsExactly(last[0], last[9]);
        }
    }
}
