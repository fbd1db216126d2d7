package quire.engine.chat;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.ToolCallFormat.Piece;
import quire.engine.chat.ToolCallFormat.Tags;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;

/**
 * Forms of answers that cannot be found out by comparing what a chat template writes. They are recognised by what the template
 * writes, and checked as all others: a call that the template writes must be read back.
 */
enum KnownForm {
    /** Sections between marks; the tag of each value names its type. */
    KIMI_K3("", "<|end_of_msg|>") {
        @Override
        boolean isOf(String text, String call) {
            return text.contains("<|open|>response<|sep|>" + TEXT + "<|close|>response<|sep|>");
        }

        @Override
        ToolCallFormat format(ControlTokens control) {
            String begin = "<|open|>call tool=\"";
            String end = "<|close|>call<|sep|>";
            String marker = control.marked("<|open|>tools<|sep|>");
            return new ToolCallFormat(
                    marker,
                    List.of(new Piece.Literal(marker + control.marked(begin))),
                    List.of(
                            new Piece.Literal("\" index=\""),
                            new Piece.Id("[0-9]{1,3}"),
                            new Piece.Literal(control.marked("\"<|sep|>"))),
                    List.of(new Piece.Literal(control.marked(end + begin))),
                    List.of(new Piece.Literal(control.marked(end + "<|close|>tools<|sep|>"))),
                    new Tags(
                            control.marked("<|open|>argument key=\""),
                            control.marked("\" type=\"string\"<|sep|>"),
                            control.marked("\" type=\"" + Tags.TYPE + "\"<|sep|>"),
                            control.marked("<|close|>argument<|sep|>"),
                            "",
                            "",
                            true),
                    null,
                    new Frame(
                            "",
                            control.marked("<|open|>response<|sep|>"),
                            control.marked(THINK_OPEN),
                            control.marked("<|close|>response<|sep|>"),
                            List.of(control.marked(THINK_CLOSE), control.marked("<|close|>message<|sep|>")),
                            ""));
        }

        @Override
        ReasoningFormat reasoning(ControlTokens control) {
            return new ReasoningFormat(control.marked(THINK_OPEN), control.marked(THINK_CLOSE));
        }
    },

    /** Each part is a message; a call is one to its tool, and names it twice. */
    MUSE("", "<|eot|>") {
        private static final String START = "<|start|>assistant";
        private static final String NEXT = "<|eom|>";
        private static final String SELF = " to=self<|message|>";
        private static final String CLOSE = "</atem:invoke>\n</atem:function_calls>";

        @Override
        boolean isOf(String text, String call) {
            return text.contains(START + " to=user<|message|>" + TEXT);
        }

        @Override
        ToolCallFormat format(ControlTokens control) {
            String head = control.marked(START + " to=");
            return new ToolCallFormat(
                    head,
                    List.of(new Piece.Literal(head)),
                    List.of(
                            new Piece.Literal(control.marked("<|message|><atem:function_calls>\n<atem:invoke name=\"")),
                            new Piece.Name(),
                            new Piece.Literal("\">\n")),
                    List.of(new Piece.Literal(control.marked(CLOSE + NEXT) + head)),
                    List.of(new Piece.Literal(control.marked(CLOSE))),
                    new Tags(
                            control.marked("<atem:parameter name=\""),
                            "\">",
                            "\">",
                            control.marked("</atem:parameter>\n"),
                            "",
                            "",
                            false),
                    null,
                    new Frame(
                            control.marked(START),
                            control.marked(START + " to=user<|message|>"),
                            control.marked(START + SELF),
                            control.marked(NEXT),
                            List.of(control.marked(START + "<|message|>")),
                            head));
        }

        @Override
        ReasoningFormat reasoning(ControlTokens control) {
            return new ReasoningFormat(control.marked(SELF), control.marked(NEXT));
        }
    },

    /** Each part is a message, and the prompt has the mark before the first. */
    FUNCTIONARY("", "<|eot_id|>") {
        @Override
        boolean isOf(String text, String call) {
            return text.contains(">>>all\n" + TEXT);
        }

        @Override
        ToolCallFormat format(ControlTokens control) {
            return new ToolCallFormat(
                    ">>>",
                    List.of(new Piece.Literal(">>>")),
                    List.of(new Piece.Literal("\n")),
                    List.of(new Piece.Literal(">>>")),
                    List.of(),
                    null,
                    null,
                    new Frame(">>>", ">>>all\n", "", "", List.of(), ">>>"));
        }
    },

    /** Lists and objects are elements within elements. */
    MINIMAX_M3("</mm:think>", "[e~[") {
        private static final String MARK = "]<]minimax[>[";

        @Override
        boolean isOf(String text, String call) {
            return call.contains(MARK + "<tool_call>\n" + MARK + "<invoke name=\"");
        }

        @Override
        ToolCallFormat format(ControlTokens control) {
            String marker = control.marked(MARK + "<tool_call>");
            String mark = control.marked(MARK);
            return new ToolCallFormat(
                    marker,
                    List.of(new Piece.Literal(marker + "\n" + mark + "<invoke name=\"")),
                    List.of(new Piece.Literal("\">")),
                    List.of(new Piece.Literal(mark + "</invoke>\n" + mark + "<invoke name=\"")),
                    List.of(new Piece.Literal(mark + "</invoke>\n" + control.marked(MARK + "</tool_call>"))),
                    null,
                    new Elements(mark),
                    null);
        }
    };

    private static final String TEXT = "§text§";
    private static final String THINK_OPEN = "<|open|>think<|sep|>";
    private static final String THINK_CLOSE = "<|close|>think<|sep|>";
    private static final Map<String, String> USER = Map.of("role", "user", "content", "probe");

    private final String noReasoning;
    private final String end;

    /**
     * @param noReasoning what an answer without reasoning begins with; empty for nothing
     * @param end the end token
     */
    KnownForm(String noReasoning, String end) {
        this.noReasoning = noReasoning;
        this.end = end;
    }

    /** Whether a template that writes an answer with a text and one with a call in this way has this form. */
    abstract boolean isOf(String text, String call);

    /** How calls are written. */
    abstract ToolCallFormat format(ControlTokens control);

    /** How reasoning is marked; null if that is found out as of other templates. */
    @Nullable
    ReasoningFormat reasoning(ControlTokens control) {
        return null;
    }

    /** The form of a template; null if it is none of these. */
    static @Nullable KnownForm of(ChatTemplate template) {
        String text = render(template, Map.of("role", "assistant", "content", TEXT));
        String call = render(
                template,
                Map.of(
                        "role",
                        "assistant",
                        "content",
                        "",
                        "tool_calls",
                        List.of(ToolCallProbe.call(0, "probe", Map.of("key", "value")))));
        for (KnownForm form : values()) {
            if (form.isOf(text, call)) {
                return form;
            }
        }
        return null;
    }

    private static String render(ChatTemplate template, Map<String, ?> answer) {
        try {
            return template.render(List.of(USER, answer), List.of(), false);
        } catch (ChatTemplateException e) {
            return "";
        }
    }

    /** An answer as the template writes it behind the prompt. */
    String answer(ChatTemplate template, Map<String, @Nullable Object> answer, List<Map<String, Object>> tools)
            throws UnknownFormatException {
        String prompt = template.render(List.of(USER), tools, true);
        String whole = template.render(List.of(USER, answer), tools, false);
        if (!whole.startsWith(prompt)) {
            throw new UnknownFormatException(
                    "the form of tool calls cannot be found out from the chat template: it writes an earlier answer in"
                            + " another way than it lets the model begin one");
        }
        String text = whole.substring(prompt.length());
        text = text.startsWith(noReasoning) ? text.substring(noReasoning.length()) : text;
        int to = text.indexOf(end);
        return to < 0 ? text : text.substring(0, to);
    }
}
