package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jline.terminal.Terminal;
import org.jline.terminal.impl.DumbTerminal;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.cli.output.Json;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;
import quire.model.text.ChatTemplateException;

/**
 * A chat at a terminal of bytes: the lines are typed before it begins, and the model repeats every message in capitals.
 */
@Timeout(60)
class ChatSessionTest {
    @TempDir
    private Path folder;

    /** The conversations that the model was asked to answer. */
    private final List<List<Map<String, String>>> conversations = new ArrayList<>();

    @Test
    void message_anyLine_isAnsweredWithTheWholeConversation() throws Exception {
        String screen = chat("hello", "wow!what \\ a 'day", "/exit");
        assertThat(screen).contains("HELLO", "WOW!WHAT \\ A 'DAY");
        assertThat(conversations)
                .containsExactly(
                        List.of(user("hello")), List.of(user("hello"), assistant("HELLO"), user("wow!what \\ a 'day")));
    }

    @Test
    void input_ends_endsTheChat() throws Exception {
        chat("hello");
        assertThat(conversations).hasSize(1);
    }

    @Test
    void help_listsEveryCommandAndIsNotSent() throws Exception {
        String screen = chat("/help", "/exit");
        assertThat(screen).contains("/clear", "/system TEXT", "/save FILE", "/exit", "Ctrl-C");
        assertThat(conversations).isEmpty();
    }

    @Test
    void unknownCommand_givesAHintAndIsNotSent() throws Exception {
        String screen = chat("/hlep me", "/exit");
        assertThat(screen).contains("There is no command /hlep; /help lists the commands.");
        assertThat(conversations).isEmpty();
    }

    @Test
    void slashBehindABlank_isSent() throws Exception {
        chat(" /etc/passwd is what?", "/exit");
        assertThat(conversations).containsExactly(List.of(user("/etc/passwd is what?")));
    }

    @Test
    void exit_endsTheChatBeforeTheNextLine() throws Exception {
        chat("/exit", "hello");
        assertThat(conversations).isEmpty();
    }

    @Test
    void clear_forgetsTheConversationButNotTheInstructions() throws Exception {
        chat("hello", "/system Be brief.", "/clear", "again", "/exit");
        assertThat(conversations.getLast()).containsExactly(system("Be brief."), user("again"));
    }

    @Test
    void system_text_replacesTheInstructionsAndKeepsTheConversation() throws Exception {
        String screen = chatWithSystem("Rhyme.", "hello", "/system  Be brief. ", "/system", "again", "/exit");
        assertThat(screen).contains("Be brief.");
        assertThat(conversations)
                .containsExactly(
                        List.of(system("Rhyme."), user("hello")),
                        List.of(system("Be brief."), user("hello"), assistant("HELLO"), user("again")));
    }

    @Test
    void save_newFile_writesTheMessagesAndNeverOverwrites() throws Exception {
        Path file = folder.resolve("my chat.json");
        String screen = chatWithSystem("Rhyme.", "hello", "/save " + file, "more", "/save " + file, "/save", "/exit");
        assertThat(screen).contains("Saved to " + file, file + " exists already", "/save needs the name of a file");
        assertThat(Json.read(Files.readString(file)))
                .isEqualTo(Map.of("messages", List.of(system("Rhyme."), user("hello"), assistant("HELLO"))));
    }

    @Test
    void save_folderThatIsMissing_saysSoAndGoesOn() throws Exception {
        String screen = chat("/save " + folder.resolve("none/chat.json"), "hello", "/exit");
        assertThat(screen).contains("cannot be written", "HELLO");
    }

    @Test
    void interrupt_duringAnAnswer_stopsTheAnswerAlone() throws Exception {
        String screen = chat("count INTERRUPT forever", "hello", "/exit");
        assertThat(screen).contains("COUNT  [stopped]", "HELLO").doesNotContain("FOREVER");
        assertThat(conversations.getLast())
                .containsExactly(user("count INTERRUPT forever"), assistant("COUNT "), user("hello"));
    }

    @Test
    void interrupt_beforeTheFirstWord_dropsTheMessage() throws Exception {
        chat("INTERRUPT", "hello", "/exit");
        assertThat(conversations.getLast()).containsExactly(user("hello"));
    }

    @Test
    void message_noRoom_isDroppedWithAHint() throws Exception {
        String screen = chat("hello", "FULL", "again", "/exit");
        assertThat(screen).contains("/clear begins a new one");
        assertThat(conversations.getLast()).containsExactly(user("hello"), assistant("HELLO"), user("again"));
    }

    @Test
    void message_templateRefuses_isDroppedAndTheChatGoesOn() throws Exception {
        String screen = chat("REFUSE", "again", "/exit");
        assertThat(screen).contains("quire: roles must alternate", "AGAIN");
        assertThat(conversations.getLast()).containsExactly(user("again"));
    }

    private static Map<String, String> user(String content) {
        return Map.of("role", "user", "content", content);
    }

    private static Map<String, String> assistant(String content) {
        return Map.of("role", "assistant", "content", content);
    }

    private static Map<String, String> system(String content) {
        return Map.of("role", "system", "content", content);
    }

    private String chat(String... lines) throws IOException, InterruptedException {
        return chatWithSystem(null, lines);
    }

    private String chatWithSystem(@Nullable String system, String... lines) throws IOException, InterruptedException {
        String typed = String.join("\n", lines) + "\n";
        ByteArrayOutputStream screen = new ByteArrayOutputStream();
        try (Terminal terminal = new DumbTerminal(
                "test",
                Terminal.TYPE_DUMB,
                new ByteArrayInputStream(typed.getBytes(StandardCharsets.UTF_8)),
                screen,
                StandardCharsets.UTF_8)) {
            new ChatSession(terminal, messages -> answer(terminal, messages), system).run();
        }
        return screen.toString(StandardCharsets.UTF_8);
    }

    private @Nullable TokenStream answer(Terminal terminal, List<Map<String, String>> messages) {
        String message = String.valueOf(messages.getLast().get("content"));
        if (message.equals("FULL")) {
            return null;
        }
        if (message.equals("REFUSE")) {
            throw new ChatTemplateException("roles must alternate");
        }
        conversations.add(messages);
        return new CapitalStream(terminal, message);
    }

    /** Answers word by word; the word INTERRUPT is a Ctrl-C. */
    private static final class CapitalStream implements TokenStream {
        private final Terminal terminal;
        private final List<String> words;
        private boolean closed;
        private int token;

        CapitalStream(Terminal terminal, String message) {
            this.terminal = terminal;
            words = new ArrayList<>(List.of(message.toUpperCase(Locale.ROOT).split("(?<= )")));
        }

        @Override
        public @Nullable Output next() {
            if (!words.isEmpty() && words.getFirst().startsWith("INTERRUPT")) {
                terminal.raise(Terminal.Signal.INT);
            }
            return closed ? null : poll();
        }

        @Override
        public boolean await(Duration timeout) {
            return true;
        }

        @Override
        public @Nullable Output poll() {
            return words.isEmpty() ? null : new Output(token++, words.removeFirst(), null);
        }

        @Override
        public Finish finish() {
            return new Finish(closed ? FinishReason.CANCELLED : FinishReason.STOP, "", null, 1, token, null);
        }

        @Override
        public List<Logprobs> promptLogprobs() {
            return List.of();
        }

        @Override
        public SpeculationCounts speculation() {
            return SpeculationCounts.NONE;
        }

        @Override
        public int cachedTokens() {
            return 0;
        }

        @Override
        public void close() {
            closed = true;
        }
    }
}
