package quire.cli.command;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import quire.cli.option.KernelsOption;
import quire.cli.option.KvTypeOption;
import quire.cli.option.ModelAndText;
import quire.cli.option.Range;
import quire.cli.option.ThreadsOption;
import quire.cli.option.Utf8Text;
import quire.cli.output.Json;
import quire.model.ModelConfig;
import quire.model.TextScorer;
import quire.model.format.Gguf;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.machine.KernelSets;

/** Measures how well a model predicts a text. */
@Command(
        name = "perplexity",
        mixinStandardHelpOptions = true,
        description = {
            "Measure how well a model predicts a text: exp of the mean of −log p over its tokens. Smaller is better.",
            "The text is cut into chunks of --context tokens; a rest is left out. A chunk begins with BOS in place of its first"
                    + " token, if the model wants BOS. The predictions of its second half count, so that each has at least"
                    + " half a chunk before it. llama-perplexity computes the same."
        })
public final class PerplexityCommand implements Callable<Integer> {
    private static final int DEFAULT_CONTEXT = 512;
    private static final int MIN_CONTEXT = 4;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ModelAndText files;

    @Option(
            names = "--context",
            paramLabel = "N",
            description = "Tokens of a chunk (default: 512, or the model's context if that is shorter).")
    private @Nullable Integer context;

    @Mixin
    private KvTypeOption kvType;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Mixin
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    @Override
    public Integer call() throws IOException {
        Path text = files.text();
        try (Gguf file = Gguf.open(files.path())) {
            int most = ModelConfig.from(file).contextLength();
            int chunk = context == null ? Math.min(DEFAULT_CONTEXT, most) : context;
            Range.check(command, "--context", chunk, MIN_CONTEXT, most);
            Tokenizer tokenizer = Tokenizers.of(file);
            int[] tokens = tokenizer.encode(Utf8Text.of(text), true, false);
            if (tokens.length < 2 * chunk) {
                throw new IllegalArgumentException(text + " has " + tokens.length + " tokens, fewer than two chunks of "
                        + chunk + "; take a longer text or a smaller --context");
            }
            boolean beginsWithBos =
                    tokenizer.bos().isPresent() && tokens[0] == tokenizer.bos().getAsInt();
            OptionalInt bos = beginsWithBos ? tokenizer.bos() : OptionalInt.empty();
            try (TextScorer scorer = new TextScorer(file, KernelSets.best(), kvType.type(), threads.count(), chunk)) {
                print(measure(scorer, tokens, chunk, bos));
            }
        }
        return 0;
    }

    /**
     * @param chunks number of chunks
     * @param context tokens of a chunk
     * @param scored tokens that count
     * @param loss the mean of −log p
     * @param error the standard error of that mean
     */
    private record Result(int chunks, int context, int scored, double loss, double error) {}

    private static Result measure(TextScorer scorer, int[] tokens, int context, OptionalInt bos) {
        int chunks = tokens.length / context;
        int scored = context - 1 - context / 2;
        double sum = 0;
        double squares = 0;
        for (int i = 0; i < chunks; i++) {
            int[] chunk = Arrays.copyOfRange(tokens, i * context, (i + 1) * context);
            chunk[0] = bos.orElse(chunk[0]);
            for (double logprob : scorer.score(chunk, scored)) {
                sum -= logprob;
                squares += logprob * logprob;
            }
        }
        int count = chunks * scored;
        double mean = sum / count;
        double variance = Math.max(0, squares / count - mean * mean);
        return new Result(chunks, context, count, mean, Math.sqrt(variance / Math.max(1, count - 1)));
    }

    private void print(Result result) {
        double perplexity = Math.exp(result.loss);
        double error = result.error * perplexity;
        if (json) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("perplexity", perplexity);
            object.put("standard_error", error);
            object.put("mean_negative_logprob", result.loss);
            object.put("chunks", result.chunks);
            object.put("context", result.context);
            object.put("scored_tokens", result.scored);
            object.put("kv_type", kvType.type().name().toLowerCase(Locale.ROOT));
            System.out.println(Json.write(object));
        } else {
            System.out.printf(
                    Locale.ROOT,
                    "perplexity %.4f ± %.4f · %d chunks of %d tokens, %d tokens scored%n",
                    perplexity,
                    error,
                    result.chunks,
                    result.context,
                    result.scored);
        }
    }
}
