package quire.cli.command;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.cli.option.EngineOptions;
import quire.cli.option.ModelOption;
import quire.cli.option.PromptOption;
import quire.cli.option.SamplingOptions;
import quire.cli.output.Json;
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;

/** Continues a text. */
@Command(
        name = "generate",
        mixinStandardHelpOptions = true,
        description = "Continue a text: only the new text goes to standard output, timings go to standard error.")
public final class GenerateCommand implements Callable<Integer> {
    /**
     * A speed is not meaningful with fewer tokens or in less time: one draft token or one pause of the machine changes
     * it too much.
     */
    private static final int MIN_TOKENS = 8;

    private static final double MIN_SECONDS = 0.05;

    @Mixin
    private ModelOption model;

    @Mixin
    private PromptOption prompt;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Maximum tokens to generate; -1 for no limit (default: up to the end of the context).")
    private @Nullable Integer maxTokens;

    @Option(
            names = "--json",
            description = "Print one JSON object with the text, why it ended, tokens and seconds. A speed is null for"
                    + " fewer than 8 tokens or less than 50 ms.")
    private boolean json;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws InterruptedException, IOException {
        sampling.check(maxTokens);
        String promptText = prompt.read();
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        long begin = System.nanoTime();
        try (Engine engine = Engine.open(model.path(), options.config(model, 1), EngineListener.NONE)) {
            long loaded = System.nanoTime();
            int[] tokens = engine.tokenizer().encodePrompt(promptText, true, false);
            int room = Math.max(1, engine.maxContext() - tokens.length);
            int limit = maxTokens == null || maxTokens == SamplingOptions.NO_LIMIT ? room : maxTokens;
            SamplingParams params =
                    sampling.params(limit, engine.recommendedSampling()).build();
            StringBuilder text = new StringBuilder();
            long first = 0;
            try (TokenStream stream = engine.submit(new Request(tokens, params))) {
                for (Output output = stream.next(); output != null; output = stream.next()) {
                    if (first == 0) {
                        first = System.nanoTime();
                    }
                    text.append(output.text());
                    if (!json) {
                        out.print(output.text());
                    }
                }
                TokenStream.Finish finish = stream.finish();
                long end = System.nanoTime();
                text.append(finish.text());
                if (finish.error() != null) {
                    throw new IllegalStateException(finish.error());
                }
                first = first == 0 ? end : first; // no token
                Timings timings = new Timings(
                        (loaded - begin) / 1e9,
                        finish.promptTokens(),
                        (first - loaded) / 1e9,
                        finish.completionTokens(),
                        (end - first) / 1e9);
                String reason = finish.reason().name().toLowerCase(Locale.ROOT);
                if (json) {
                    Map<String, @Nullable Object> object = new LinkedHashMap<>();
                    object.put("text", text.toString());
                    object.put("finish_reason", reason);
                    object.put("prompt_tokens", finish.promptTokens());
                    object.put("completion_tokens", finish.completionTokens());
                    object.put("accepted_draft_tokens", stream.acceptedTokens());
                    object.put("rejected_draft_tokens", stream.rejectedTokens());
                    object.put("seed", params.seed());
                    timings.put(object);
                    out.println(Json.write(object));
                } else {
                    out.print(finish.text());
                    out.println();
                }
                System.err.println(timings.line() + " · " + reason);
            }
        }
        return 0;
    }

    /**
     * How long the parts of a run took.
     *
     * @param loadSeconds until the model was ready
     * @param promptSeconds from the request to its first token
     * @param answerTokens tokens of the answer, the first one included
     * @param answerSeconds from the first token to the end
     */
    record Timings(double loadSeconds, int promptTokens, double promptSeconds, int answerTokens, double answerSeconds) {
        /** The first token belongs to the time of the prompt. */
        private int tokensAfterFirst() {
            return Math.max(0, answerTokens - 1);
        }

        /** One line for people. */
        String line() {
            return String.format(
                    Locale.ROOT,
                    "load %.2f s · prompt %d tokens in %.3f s%s · answer %d tokens, %d after the first in %.3f s%s",
                    loadSeconds,
                    promptTokens,
                    promptSeconds,
                    text(tokensPerSecond(promptTokens, promptSeconds)),
                    answerTokens,
                    tokensAfterFirst(),
                    answerSeconds,
                    text(tokensPerSecond(tokensAfterFirst(), answerSeconds)));
        }

        private static String text(@Nullable Double speed) {
            return speed == null ? " (too short for tokens/s)" : String.format(Locale.ROOT, " (%.1f tokens/s)", speed);
        }

        /** Adds the timings to a JSON object. */
        void put(Map<String, @Nullable Object> object) {
            object.put("load_seconds", loadSeconds);
            object.put("time_to_first_token_seconds", promptSeconds);
            object.put("decode_seconds", answerSeconds);
            object.put("prompt_tokens_per_second", tokensPerSecond(promptTokens, promptSeconds));
            object.put("decode_tokens_per_second", tokensPerSecond(tokensAfterFirst(), answerSeconds));
        }

        private static @Nullable Double tokensPerSecond(int tokens, double seconds) {
            return tokens < MIN_TOKENS || seconds < MIN_SECONDS ? null : Double.valueOf(tokens / seconds);
        }
    }
}
