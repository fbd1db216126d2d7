package quire.engine.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;

/**
 * Answers that consist of messages on channels, as gpt-oss writes them. The prompt ends with {@code <|start|>assistant}, and
 * the answer goes on with the head of its first message.
 *
 * <pre>
 *   &lt;|channel|>analysis&lt;|message|>reasoning&lt;|end|>
 *   &lt;|start|>assistant&lt;|channel|>commentary&lt;|message|>text before a call&lt;|end|>
 *   &lt;|start|>assistant&lt;|channel|>commentary to=functions.NAME &lt;|constrain|>json&lt;|message|>{…}      a call ends the answer,
 *   &lt;|start|>assistant&lt;|channel|>final&lt;|message|>text                                            and so does the text
 * </pre>
 *
 * <p>The receiver of a call may also stand before the channel, where the template writes it.
 *
 * @param control whether the marks are control tokens
 */
record Channels(boolean control) {
    private static final String TEXT = "§text§";

    private static final String CHANNEL = "<|channel|>";
    private static final String MESSAGE = "<|message|>";
    private static final String CONSTRAIN = "<|constrain|>";
    private static final String END = "<|end|>";
    private static final String START = "<|start|>";

    /** Ends of an answer: they are control tokens that end it, so they do not come here unless the marks are text. */
    private static final List<String> LAST = List.of("<|call|>", "<|return|>");

    private static final String RECEIVER = "to=";
    private static final String FUNCTIONS = "functions.";

    /** The channels of a template; null if it has none. */
    static @Nullable Channels of(ChatTemplate template, ControlTokens tokens) {
        try {
            String text = template.render(
                    List.of(Map.of("role", "user", "content", "probe"), Map.of("role", "assistant", "content", TEXT)),
                    List.of(),
                    false);
            return text.contains(CHANNEL + "final" + MESSAGE + TEXT)
                    ? new Channels(tokens.inside().contains(CHANNEL))
                    : null;
        } catch (ChatTemplateException e) {
            return null;
        }
    }

    private String mark(String spelling) {
        return control ? Part.control(spelling) : spelling;
    }

    /** What reasoning begins and ends with. */
    ReasoningFormat reasoning() {
        return new ReasoningFormat(head("analysis"), mark(END) + mark(START) + "assistant", true);
    }

    private String head(String channel) {
        return mark(CHANNEL) + channel + mark(MESSAGE);
    }

    /** A call for display. */
    String describe() {
        return CHANNEL + "commentary " + RECEIVER + FUNCTIONS + "NAME " + CONSTRAIN + "json" + MESSAGE + "ARGUMENTS";
    }

    // What an answer may be.

    /**
     * What an answer may be: any number of messages with reasoning or text, and then a text, a call, or one of both.
     *
     * @param tools that may be called
     * @param text what the last text must be; null for any text
     */
    Constraint constraint(List<Tool> tools, Choice choice, @Nullable Constraint text) {
        List<Part> last = new ArrayList<>();
        if (choice != Choice.REQUIRED) {
            Part head = text == null
                    ? new Part.Text(head("final"))
                    : Part.sequence(
                            new Part.Text(mark(CHANNEL) + "final"),
                            optional(" " + mark(CONSTRAIN) + "json"),
                            message());
            last.add(Part.sequence(head, text == null ? free() : new Part.Whole(text)));
        }
        if (choice != Choice.NONE) {
            for (Tool tool : tools) {
                Part kind = Part.oneOf(
                        new Part.Text(" " + mark(CONSTRAIN) + "json"), new Part.Text(" json"), new Part.Text(""));
                Part receiver = new Part.Text(" " + RECEIVER + FUNCTIONS + tool.name());
                Part channel = new Part.Text(mark(CHANNEL) + "commentary");
                last.add(Part.sequence(
                        Part.oneOf(Part.sequence(channel, receiver), Part.sequence(receiver, channel)),
                        kind,
                        message(),
                        new Part.Json(tool.parameters())));
            }
        }
        Part before = Part.sequence(
                Part.oneOf(new Part.Text(head("analysis")), new Part.Text(head("commentary"))),
                free(),
                new Part.Text(mark(END) + mark(START) + "assistant"));
        return Constraint.of(Part.sequence(new Part.Repeated(before), new Part.OneOf(last)));
    }

    private Part message() {
        return new Part.Text(mark(MESSAGE));
    }

    private static Part optional(String text) {
        return Part.oneOf(new Part.Text(text), new Part.Text(""));
    }

    /** Text without marks. */
    private Part free() {
        return new Part.FreeText(
                control ? List.of(String.valueOf(Part.CONTROL_MARK)) : List.of(END, START, CHANNEL, MESSAGE),
                List.of());
    }

    // Reading an answer.

    /** Reads one answer as it comes. Not thread-safe. */
    Reader reader(boolean apart) {
        return new Reader(apart);
    }

    /** The messages of one answer. An answer that does not begin with the head of a message is text. */
    final class Reader {
        private enum State {
            HEAD,
            REASONING,
            CONTENT,
            ARGUMENTS
        }

        private final boolean apart; // whether reasoning is not part of the text
        private final List<String> marks = new ArrayList<>();
        private final StringBuilder pending = new StringBuilder();
        private List<AnswerEvent> events = new ArrayList<>();
        private State state = State.HEAD;
        private int calls;
        private boolean hasArguments;

        private Reader(boolean apart) {
            this.apart = apart;
            marks.addAll(List.of(mark(CHANNEL), mark(END), mark(START)));
            if (!control) {
                marks.addAll(LAST);
            }
        }

        int calls() {
            return calls;
        }

        List<AnswerEvent> append(String text) {
            pending.append(text);
            return run(false);
        }

        List<AnswerEvent> finish() {
            return run(true);
        }

        private List<AnswerEvent> run(boolean finished) {
            while (state == State.HEAD ? head(finished) : body(finished)) {
                // until more text is needed
            }
            List<AnswerEvent> result = events;
            events = new ArrayList<>();
            return result;
        }

        /** Reads the head of a message; returns whether its text follows. */
        private boolean head(boolean finished) {
            String text = pending.toString();
            String rest = text.stripLeading();
            int end = text.indexOf(mark(MESSAGE));
            boolean isHead = rest.startsWith(mark(CHANNEL))
                    || rest.startsWith(RECEIVER)
                    || rest.startsWith(mark(START))
                    || mark(START).startsWith(rest)
                    || mark(CHANNEL).startsWith(rest)
                    || RECEIVER.startsWith(rest);
            if (!isHead && !rest.isEmpty()) {
                state = State.CONTENT;
                return true;
            }
            if (end < 0) {
                if (finished && !rest.isEmpty() && RECEIVER.startsWith(rest)) {
                    state = State.CONTENT; // only the beginning of a head is left out
                    return true;
                }
                return false;
            }
            String head = text.substring(0, end);
            pending.delete(0, end + mark(MESSAGE).length());
            int channel = head.indexOf(mark(CHANNEL));
            String name =
                    channel < 0 ? "" : head.substring(channel + mark(CHANNEL).length());
            int receiver = head.indexOf(RECEIVER + FUNCTIONS);
            if (receiver >= 0) {
                int from = receiver + RECEIVER.length() + FUNCTIONS.length();
                int to = from;
                while (to < head.length()
                        && " <\n".indexOf(head.charAt(to)) < 0
                        && head.charAt(to) != Part.CONTROL_MARK) {
                    to++;
                }
                events.add(new AnswerEvent.Call(calls++, head.substring(from, to)));
                hasArguments = false;
                state = State.ARGUMENTS;
            } else {
                state = name.startsWith("analysis") && apart ? State.REASONING : State.CONTENT;
            }
            return true;
        }

        /** Reads the text of a message; returns whether a mark ended it. */
        private boolean body(boolean finished) {
            int end = pending.length();
            int certain = pending.length();
            for (String mark : marks) {
                int at = AnswerParser.indexOf(pending, mark);
                end = at >= 0 ? Math.min(end, at) : end;
                certain = Math.min(certain, pending.length() - AnswerParser.beginning(pending, mark));
            }
            boolean ended = end < pending.length();
            int length = ended || finished ? end : AnswerParser.openControl(pending, certain);
            if (state == State.ARGUMENTS && !hasArguments && !ended && !finished && length == 1) {
                return false; // the brace waits, so that empty arguments come as one piece
            }
            emit(pending.substring(0, length));
            pending.delete(0, length);
            if (!ended) {
                return false;
            }
            if (state == State.ARGUMENTS && !hasArguments) {
                events.add(new AnswerEvent.Arguments(calls - 1, "{}"));
            }
            for (String mark : marks) {
                boolean beginsHead = mark.equals(mark(CHANNEL)) || mark.equals(mark(START));
                if (!beginsHead && pending.indexOf(mark) == 0) {
                    pending.delete(0, mark.length());
                    break;
                }
            }
            state = State.HEAD;
            return true;
        }

        private void emit(String text) {
            String shown = AnswerParser.withoutControl(text);
            if (shown.isEmpty()) {
                return;
            }
            switch (state) {
                case REASONING -> events.add(new AnswerEvent.Reasoning(shown));
                case ARGUMENTS -> {
                    hasArguments = true;
                    events.add(new AnswerEvent.Arguments(calls - 1, shown));
                }
                default -> events.add(new AnswerEvent.Content(shown));
            }
        }
    }
}
