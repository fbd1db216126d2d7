package quire.cli;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicReference;
import org.jline.reader.EndOfFileException;
import org.jline.reader.LineReader;
import org.jline.reader.LineReaderBuilder;
import org.jline.reader.UserInterruptException;
import org.jline.terminal.Terminal;
import org.jline.terminal.TerminalBuilder;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.TokenStream;
import quire.model.text.ChatTemplate;

@Command(
        name = "chat",
        mixinStandardHelpOptions = true,
        description = {
            "Talk to a model here. Ctrl-C stops an answer, Ctrl-D ends the chat.",
            "/clear forgets the conversation, /exit ends it."
        })
final class ChatCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(names = "--system", paramLabel = "TEXT", description = "Instructions in front of the conversation.")
    private @Nullable String system;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Most tokens of an answer (default: up to the end of the context).")
    private @Nullable Integer maxTokens;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws IOException, InterruptedException {
        try (Engine engine = Engine.open(model.path(), options.config(model, 1), EngineListener.NONE);
                Terminal terminal = TerminalBuilder.builder().dumb(true).build()) {
            ChatTemplate template = engine.chatTemplate();
            if (template == null) {
                throw new IllegalArgumentException(
                        engine.chatTemplateError() + "; quire generate continues plain text with this model");
            }
            AtomicReference<@Nullable TokenStream> answering = new AtomicReference<>();
            terminal.handle(Terminal.Signal.INT, signal -> {
                TokenStream stream = answering.get();
                if (stream != null) {
                    stream.close();
                }
            });
            talk(engine, template, terminal, answering);
        }
        return 0;
    }

    private void talk(
            Engine engine, ChatTemplate template, Terminal terminal, AtomicReference<@Nullable TokenStream> answering)
            throws InterruptedException {
        LineReader reader = LineReaderBuilder.builder().terminal(terminal).build();
        List<Map<String, String>> messages = new ArrayList<>();
        clear(messages);
        while (true) {
            String line;
            try {
                line = reader.readLine("> ").strip();
            } catch (UserInterruptException e) {
                continue; // Ctrl-C at the prompt drops the line
            } catch (EndOfFileException e) {
                return;
            }
            switch (line) {
                case "" -> {
                    continue;
                }
                case "/exit", "/quit" -> {
                    return;
                }
                case "/clear" -> {
                    clear(messages);
                    continue;
                }
                default -> messages.add(Map.of("role", "user", "content", line));
            }
            String answer = answer(engine, template, messages, terminal, answering);
            if (answer == null) {
                messages.removeLast();
            } else {
                messages.add(Map.of("role", "assistant", "content", answer));
            }
        }
    }

    private void clear(List<Map<String, String>> messages) {
        messages.clear();
        if (system != null) {
            messages.add(Map.of("role", "system", "content", system));
        }
    }

    /** Streams an answer to the terminal; null when there is no room left for one. */
    private @Nullable String answer(
            Engine engine,
            ChatTemplate template,
            List<Map<String, String>> messages,
            Terminal terminal,
            AtomicReference<@Nullable TokenStream> answering)
            throws InterruptedException {
        int[] prompt = engine.tokenizer().encode(template.render(messages, List.of(), true), false, true);
        int room = engine.maxContext() - prompt.length;
        if (room < 1) {
            terminal.writer()
                    .println("The conversation fills the model's " + engine.maxContext()
                            + " tokens; /clear begins a new one.");
            terminal.flush();
            return null;
        }
        int limit = maxTokens == null ? room : Math.min(room, maxTokens);
        StringBuilder text = new StringBuilder();
        try (TokenStream stream =
                engine.submit(new Request(prompt, sampling.params(limit).build()))) {
            answering.set(stream);
            for (Output output = stream.next(); output != null; output = stream.next()) {
                text.append(output.text());
                terminal.writer().print(output.text());
                terminal.flush();
            }
            TokenStream.Finish finish = stream.finish();
            text.append(finish.text());
            terminal.writer().println(finish.text());
            if (finish.error() != null) {
                terminal.writer().println("quire: " + finish.error());
            }
            terminal.flush();
        } finally {
            answering.set(null);
        }
        return text.toString();
    }
}
