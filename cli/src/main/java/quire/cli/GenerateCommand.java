package quire.cli;

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
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;

@Command(
        name = "generate",
        mixinStandardHelpOptions = true,
        description = "Continue a text: the completion alone on standard output, timings on standard error.")
final class GenerateCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(names = "--prompt", paramLabel = "TEXT", required = true, description = "The text to continue.")
    private String prompt;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Most tokens to generate (default: up to the end of the context).")
    private @Nullable Integer maxTokens;

    @Option(names = "--json", description = "Print one JSON object with text, finish reason, tokens and timings.")
    private boolean json;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws InterruptedException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        long begin = System.nanoTime();
        try (Engine engine = Engine.open(model.path(), options.config(model, 1), EngineListener.NONE)) {
            long loaded = System.nanoTime();
            int[] tokens = engine.tokenizer().encodePrompt(prompt, true, false);
            int limit = maxTokens == null ? Math.max(1, engine.maxContext() - tokens.length) : maxTokens;
            SamplingParams params = sampling.params(limit).build();
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
                double promptSeconds = (first - loaded) / 1e9;
                double decodeSeconds = (end - first) / 1e9;
                if (json) {
                    Map<String, Object> object = new LinkedHashMap<>();
                    object.put("text", text.toString());
                    object.put("finish_reason", finish.reason().name().toLowerCase(Locale.ROOT));
                    object.put("prompt_tokens", finish.promptTokens());
                    object.put("completion_tokens", finish.completionTokens());
                    object.put("accepted_draft_tokens", stream.acceptedTokens());
                    object.put("rejected_draft_tokens", stream.rejectedTokens());
                    object.put("seed", params.seed());
                    object.put("load_seconds", (loaded - begin) / 1e9);
                    object.put("time_to_first_token_seconds", promptSeconds);
                    object.put("decode_seconds", decodeSeconds);
                    out.println(Json.write(object));
                } else {
                    out.print(finish.text());
                    out.println();
                }
                System.err.printf(
                        Locale.ROOT,
                        "load %.2f s · prompt %d tokens in %.3f s · %d tokens at %.1f tokens/s · %s%n",
                        (loaded - begin) / 1e9,
                        finish.promptTokens(),
                        promptSeconds,
                        finish.completionTokens(),
                        Math.max(0, finish.completionTokens() - 1) / Math.max(decodeSeconds, 1e-9),
                        finish.reason().name().toLowerCase(Locale.ROOT));
            }
        }
        return 0;
    }
}
