package quire.cli.command;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.Callable;
import org.jline.terminal.Terminal;
import org.jline.terminal.TerminalBuilder;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.cli.option.EngineOptions;
import quire.cli.option.ModelOption;
import quire.cli.option.SamplingOptions;
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.ChatTemplate;

/** Talks to a model at the terminal. */
@Command(
        name = "chat",
        mixinStandardHelpOptions = true,
        description = {
            "Talk to a model at the terminal.",
            "Ctrl-C stops an answer, Ctrl-D ends the chat, /help lists the commands."
        })
public final class ChatCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(names = "--system", paramLabel = "TEXT", description = "Instructions for the model (the system message).")
    private @Nullable String system;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Maximum tokens of an answer; -1 for no limit (default: up to the end of the context).")
    private @Nullable Integer maxTokens;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws IOException, InterruptedException {
        sampling.check(maxTokens);
        try (Engine engine = Engine.open(model.path(), options.config(model, 1), EngineListener.NONE);
                Terminal terminal = TerminalBuilder.builder().dumb(true).build()) {
            ChatTemplate template = engine.chatTemplate();
            if (template == null) {
                throw new IllegalArgumentException(
                        engine.chatTemplateError() + "; quire generate continues plain text with this model");
            }
            ChatSession.Assistant assistant = messages -> {
                int[] prompt = engine.tokenizer().encode(template.render(messages, List.of(), true), false, true);
                int room = engine.maxContext() - prompt.length;
                if (room < 1) {
                    return null;
                }
                int limit =
                        maxTokens == null || maxTokens == SamplingOptions.NO_LIMIT ? room : Math.min(room, maxTokens);
                SamplingParams params =
                        sampling.params(limit, engine.recommendedSampling()).build();
                return engine.submit(new Request(prompt, params));
            };
            new ChatSession(terminal, assistant, system).run();
        }
        return 0;
    }
}
