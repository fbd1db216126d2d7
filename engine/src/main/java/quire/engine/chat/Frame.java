package quire.engine.chat;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;

/**
 * What stands around the parts of an answer, its text too, in the forms of a few families.
 *
 * <p>In some, the parts of an answer are sections:
 *
 * <pre>
 *   (prompt: before the reasoning) reasoning &lt;/think> &lt;response>text&lt;/response> &lt;tools>calls&lt;/tools>
 * </pre>
 *
 * <p>In others, each part is a message with a receiver, which is the user or a tool. The prompt ends within the head of the
 * first one:
 *
 * <pre>
 *   (prompt: >>>) all\ntext >>>NAME\n{…}
 * </pre>
 *
 * @param prompted what the prompt ends with, and each later message begins with; empty for sections
 * @param text before a text
 * @param reasoning before the reasoning; empty if there is none
 * @param close behind a message before the next; behind a text, where the parts are sections
 * @param others that are not part of the text either
 * @param head before the receiver; empty for sections
 */
record Frame(String prompted, String text, String reasoning, String close, List<String> others, String head) {
    Frame {
        others = List.copyOf(others);
    }

    /** Whether {@link #answer} is the whole of an answer. Else it begins behind its reasoning. */
    boolean isWhole() {
        return !head.isEmpty();
    }

    /** The texts in an answer that are not shown. */
    List<String> silent() {
        List<String> silent = new ArrayList<>(List.of(text));
        if (!reasoning.isEmpty()) {
            silent.add(reasoning);
        }
        if (!close.isEmpty()) {
            silent.add(close);
        }
        silent.addAll(others);
        return silent;
    }

    boolean hasControlTokens() {
        return (text + close).indexOf(Part.CONTROL_MARK) >= 0;
    }

    // What an answer of sections may be.

    /** The prompt may end with the text that stands before a text, so that may be missing. */
    Part beforeText() {
        return optional(text);
    }

    Part behindText() {
        return optional(close);
    }

    /** What may stand before calls if there is no text. */
    Part withoutText() {
        return Part.oneOf(new Part.Text(""), new Part.Text(text + close), new Part.Text(close));
    }

    private static Part optional(String mark) {
        return Part.oneOf(new Part.Text(""), new Part.Text(mark));
    }

    // What an answer of messages may be.

    /**
     * Any number of messages with reasoning, and then a text, calls, or both.
     *
     * @param calls without the mark before them; null for none
     * @param required whether there must be calls, and no text
     * @param wanted what the text must be; null for any text
     */
    Part answer(@Nullable Part calls, boolean required, @Nullable Constraint wanted) {
        Part rest = rest(false, calls, required, wanted);
        Part fromStart = rest(true, calls, required, wanted);
        if (reasoning.isEmpty()) {
            return fromStart;
        }
        Part thought = new Part.Until(close, List.of());
        return Part.oneOf(
                Part.sequence(
                        mark(reasoning, true),
                        thought,
                        new Part.Repeated(Part.sequence(mark(reasoning, false), thought)),
                        rest),
                fromStart);
    }

    private Part rest(boolean atStart, @Nullable Part calls, boolean required, @Nullable Constraint wanted) {
        List<Part> ways = new ArrayList<>();
        if (!required) {
            Part free = new Part.FreeText(
                    hasControlTokens() ? List.of(String.valueOf(Part.CONTROL_MARK)) : List.of(prompted), List.of());
            ways.add(Part.sequence(mark(text, atStart), wanted == null ? free : new Part.Whole(wanted)));
        }
        if (calls != null) {
            ways.add(Part.sequence(mark(head, atStart), calls));
            if (!required && wanted == null) {
                ways.add(Part.sequence(
                        mark(text, atStart),
                        new Part.Until(close.isEmpty() ? head : close, List.of()),
                        new Part.Text(close.isEmpty() ? "" : head),
                        calls));
            }
        }
        return new Part.OneOf(ways);
    }

    /** A mark, at the start of an answer without what the prompt has of it. */
    private Part mark(String text, boolean atStart) {
        return new Part.Text(atStart ? text.substring(prompted.length()) : text);
    }
}
