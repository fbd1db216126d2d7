package quire.cli.command;

import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.jline.reader.EndOfFileException;
import org.jline.reader.LineReader;
import org.jline.reader.LineReaderBuilder;
import org.jline.reader.UserInterruptException;
import org.jline.terminal.Terminal;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.TypeConversionException;
import quire.cli.option.FilePath;
import quire.cli.output.Json;
import quire.engine.FinishReason;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.TokenStream;
import quire.model.text.ChatTemplateException;

/**
 * A conversation at a terminal, with the line editing and the history of JLine. A line that begins with {@code /} is a
 * command and is never sent to the model; every other line is a message.
 */
final class ChatSession {
    private static final String PROMPT = "> ";

    private static final List<String> HELP = List.of(
            "/help           list the commands",
            "/clear          forget the conversation; the instructions stay",
            "/system TEXT    change the instructions (the system message); without TEXT, show them",
            "/save FILE      write the conversation to a new file, as JSON with the messages of an API request",
            "/exit           end the chat, as Ctrl-D does",
            "Ctrl-C stops an answer. To send a line that begins with /, put a blank before it.");

    /** Answers a conversation. */
    @FunctionalInterface
    interface Assistant {
        /**
         * Begins to answer the last message.
         *
         * @return the answer, or null if the conversation leaves no room for one
         * @throws ChatTemplateException if the model's template refuses the messages
         */
        @Nullable
        TokenStream answer(List<Map<String, String>> messages);
    }

    private final Terminal terminal;
    private final LineReader reader;
    private final Assistant assistant;
    private final List<Map<String, String>> messages = new ArrayList<>();
    private final AtomicReference<@Nullable TokenStream> answering = new AtomicReference<>();
    private @Nullable String system;

    /** Ctrl-C came since the last message; it may come before the answer's stream exists. */
    private volatile boolean interrupted;

    /** @param system the instructions at the beginning, or null */
    ChatSession(Terminal terminal, Assistant assistant, @Nullable String system) {
        this.terminal = terminal;
        this.assistant = assistant;
        this.system = system;
        reader = LineReaderBuilder.builder()
                .terminal(terminal)
                // otherwise JLine would replace ! by earlier lines, and remove backslashes
                .option(LineReader.Option.DISABLE_EVENT_EXPANSION, true)
                .build();
    }

    /** Reads lines and answers them, until {@code /exit} or the end of the input. */
    void run() throws InterruptedException {
        terminal.handle(Terminal.Signal.INT, signal -> {
            interrupted = true;
            TokenStream stream = answering.get();
            if (stream != null) {
                stream.close();
            }
        });
        while (true) {
            String line;
            try {
                line = reader.readLine(PROMPT);
            } catch (UserInterruptException e) {
                continue; // Ctrl-C at the prompt discards the line
            } catch (EndOfFileException e) {
                return;
            }
            if (line.startsWith("/")) {
                if (!command(line.strip())) {
                    return;
                }
            } else if (!line.isBlank()) {
                converse(line.strip());
            }
        }
    }

    /** Runs a command; false ends the chat. */
    private boolean command(String line) {
        int blank = line.indexOf(' ');
        String name = blank < 0 ? line : line.substring(0, blank);
        String argument = blank < 0 ? "" : line.substring(blank).strip();
        switch (name) {
            case "/exit", "/quit" -> {
                return false;
            }
            case "/help" -> HELP.forEach(this::say);
            case "/clear" -> messages.clear();
            case "/system" -> {
                if (argument.isEmpty()) {
                    say(system == null ? "There are no instructions." : system);
                } else {
                    system = argument;
                }
            }
            case "/save" -> save(argument);
            default ->
                say("There is no command " + name
                        + "; /help lists the commands. To send this line to the model, put a blank before it.");
        }
        return true;
    }

    private void save(String file) {
        if (file.isEmpty()) {
            say("/save needs the name of a file: /save chat.json");
            return;
        }
        try {
            Path path = new FilePath().convert(file);
            Files.writeString(path, Json.write(Map.of("messages", withSystem())), StandardOpenOption.CREATE_NEW);
            say("Saved to " + path + ".");
        } catch (FileAlreadyExistsException e) {
            say(file + " exists already; choose another name.");
        } catch (IOException e) {
            say(file + " cannot be written: " + e);
        } catch (TypeConversionException | InvalidPathException e) {
            say(e.getMessage());
        }
    }

    private List<Map<String, String>> withSystem() {
        List<Map<String, String>> all = new ArrayList<>();
        if (system != null) {
            all.add(Map.of("role", "system", "content", system));
        }
        all.addAll(messages);
        return all;
    }

    /** Sends a message and prints the answer. Without an answer, the message is removed from the conversation. */
    private void converse(String text) throws InterruptedException {
        interrupted = false;
        messages.add(Map.of("role", "user", "content", text));
        try (TokenStream stream = assistant.answer(withSystem())) {
            if (stream == null) {
                messages.removeLast();
                say("The conversation fills the context of the model; /clear begins a new one.");
                return;
            }
            watch(stream);
            String answer = print(stream);
            if (answer == null) {
                messages.removeLast();
            } else {
                messages.add(Map.of("role", "assistant", "content", answer));
            }
        } catch (ChatTemplateException | InvalidRequestException e) {
            messages.removeLast();
            say("quire: " + e.getMessage());
        } finally {
            answering.set(null);
        }
    }

    /** Lets Ctrl-C stop this answer. A Ctrl-C that came before the stream existed also stops it. */
    private void watch(TokenStream stream) {
        answering.set(stream);
        if (interrupted) {
            stream.close();
        }
    }

    /** Prints an answer as it comes; returns null if it failed or was stopped before its first word. */
    private @Nullable String print(TokenStream stream) throws InterruptedException {
        StringBuilder text = new StringBuilder();
        for (Output output = stream.next(); output != null; output = stream.next()) {
            text.append(output.text());
            terminal.writer().print(output.text());
            terminal.flush();
        }
        TokenStream.Finish finish = stream.finish();
        text.append(finish.text());
        boolean stopped = finish.reason() == FinishReason.CANCELLED;
        say(finish.text() + (stopped ? " [stopped]" : ""));
        if (finish.error() != null) {
            say("quire: " + finish.error());
            return null;
        }
        return stopped && text.isEmpty() ? null : text.toString();
    }

    private void say(@Nullable String text) {
        terminal.writer().println(text);
        terminal.flush();
    }
}
