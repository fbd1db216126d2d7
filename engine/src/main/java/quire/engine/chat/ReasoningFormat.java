package quire.engine.chat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.Tokenizer;

/**
 * How a model marks its reasoning, which comes before the answer. It is found out from the model's chat template.
 *
 * @param start the text before the reasoning; in many templates the prompt ends with it
 * @param end the text behind the reasoning
 * @param channels whether the answer consists of messages on channels, of which one is for the reasoning
 */
public record ReasoningFormat(String start, String end, boolean channels) {
    private static final Part SPACE = new Part.Regex("[ \\n]{0,4}");

    private static final List<ReasoningFormat> KNOWN = List.of(
            new ReasoningFormat("<think>", "</think>"),
            new ReasoningFormat("[THINK]", "[/THINK]"),
            new ReasoningFormat("<seed:think>", "</seed:think>"),
            new ReasoningFormat("<|channel>thought", "<channel|>"),
            new ReasoningFormat("<|START_THINKING|>", "<|END_THINKING|>"));

    /** A format without channels. */
    public ReasoningFormat(String start, String end) {
        this(start, end, false);
    }

    private static final String THOUGHT = "§thought§";
    private static final String TEXT = "§text§";

    /** Where an answer begins, by its prompt. */
    public enum Beginning {
        /** Within the reasoning: the prompt ends with its start. */
        REASONING,
        /** Behind the reasoning: the prompt ends with its end. */
        ANSWER,
        /** The model decides. */
        EITHER
    }

    /**
     * Finds out the format by rendering a few conversations. A template either writes the field {@code reasoning_content} of
     * an earlier answer between two marks, or writes well-known marks itself, or removes them from its text.
     *
     * @return null if the template knows no reasoning
     */
    public static @Nullable ReasoningFormat of(ChatTemplate template, Tokenizer tokenizer) {
        return of(template, ControlTokens.of(tokenizer));
    }

    static @Nullable ReasoningFormat of(ChatTemplate template, ControlTokens control) {
        Channels channels = Channels.of(template, control);
        if (channels != null) {
            return channels.reasoning();
        }
        KnownForm form = KnownForm.of(template);
        ReasoningFormat ofForm = form == null ? null : form.reasoning(control);
        if (ofForm != null) {
            return ofForm;
        }
        String plain = answer(template, TEXT, null);
        String with = answer(template, TEXT, THOUGHT);
        if (plain != null && with != null && with.contains(THOUGHT) && with.indexOf(TEXT) > with.indexOf(THOUGHT)) {
            String before = with.substring(0, with.indexOf(THOUGHT)).strip();
            String end = with.substring(with.indexOf(THOUGHT) + THOUGHT.length(), with.lastIndexOf(TEXT))
                    .strip();
            for (ReasoningFormat known : KNOWN) {
                if (before.endsWith(known.start) && end.startsWith(known.end)) {
                    return known.marked(control);
                }
            }
            int tag = Math.max(before.lastIndexOf('<'), before.lastIndexOf('['));
            String start = tag < 0 ? "" : before.substring(tag);
            if (start.matches("<[^<>\\s]+>|\\[[^\\[\\]\\s]+]") && end.matches("<[^<>\\s]+>|\\[[^\\[\\]\\s]+]")) {
                return new ReasoningFormat(start, end).marked(control);
            }
        }
        String prompt = prompt(template);
        for (ReasoningFormat known : KNOWN) {
            String text = answer(template, known.start + THOUGHT + known.end + TEXT, null);
            boolean isRemoved = text != null && text.contains(TEXT) && !text.contains(THOUGHT);
            boolean isNamed = known.isNamed(prompt) || (plain != null && known.isNamed(plain));
            if (isRemoved || isNamed || known.beginning(prompt) != Beginning.EITHER) {
                return known.marked(control);
            }
        }
        return null;
    }

    private boolean isNamed(String text) {
        return text.contains(start) && text.contains(end);
    }

    private ReasoningFormat marked(ControlTokens control) {
        return new ReasoningFormat(control.marked(start), control.marked(end));
    }

    private static @Nullable String answer(ChatTemplate template, String text, @Nullable String reasoning) {
        Map<String, Object> answer = new LinkedHashMap<>(Map.of("role", "assistant", "content", text));
        if (reasoning != null) {
            answer.put("reasoning_content", reasoning);
        }
        try {
            return template.render(List.of(Map.of("role", "user", "content", "probe"), answer), List.of(), false);
        } catch (ChatTemplateException e) {
            return null;
        }
    }

    private static String prompt(ChatTemplate template) {
        try {
            return template.render(List.of(Map.of("role", "user", "content", "probe")), List.of(), true);
        } catch (ChatTemplateException e) {
            return "";
        }
    }

    /** Where the answer to a rendered prompt begins. */
    public Beginning beginning(String prompt) {
        if (channels) {
            return Beginning.EITHER; // the prompt ends with the beginning of a head, which also follows reasoning
        }
        String text = prompt.stripTrailing();
        return text.endsWith(spelled(start))
                ? Beginning.REASONING
                : text.endsWith(spelled(end)) ? Beginning.ANSWER : Beginning.EITHER;
    }

    /** Whether answers are read correctly only with their control tokens. */
    public boolean hasControlTokens() {
        return (start + end).indexOf(Part.CONTROL_MARK) >= 0;
    }

    /** The format for display. */
    public String describe() {
        return spelled(start) + "REASONING" + spelled(end);
    }

    private static String spelled(String text) {
        return text.replace(String.valueOf(Part.CONTROL_MARK), "");
    }

    /**
     * A constraint for the text behind the reasoning, which stays free.
     *
     * @param answer what the text behind it must be
     */
    public Constraint before(Constraint answer, Beginning beginning) {
        if (channels) {
            return new Channels(hasControlTokens()).constraint(List.of(), ToolCallFormat.Choice.NONE, answer);
        }
        if (beginning == Beginning.ANSWER) {
            return answer;
        }
        Part whole = new Part.Whole(answer);
        Part behind = Part.sequence(SPACE, whole);
        Part reasoned = Part.sequence(new Part.Until(end, List.of()), behind);
        // Some models begin an answer without reasoning with the end of it.
        return Constraint.of(
                beginning == Beginning.REASONING
                        ? reasoned
                        : Part.oneOf(
                                Part.sequence(SPACE, new Part.Text(start), reasoned),
                                Part.sequence(new Part.Text(end), behind),
                                whole));
    }
}
