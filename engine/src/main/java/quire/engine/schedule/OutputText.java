package quire.engine.schedule;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Part;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;

/**
 * Turns an answer's tokens into text: whole characters only, up to the first stop string.
 *
 * <p>A stop string may name a control token, such as the marker of the next turn. Control tokens have a spelling, but
 * are not part of the answer. So stop strings are searched in two texts: in the <i>shown</i> text, which is the answer,
 * and in the <i>spelled</i> text, which also contains the spellings of control tokens. The answer ends at the first
 * character that completes a stop string in one of them. If it completes several, the longest counts. The stop string
 * is not part of the answer. The result depends on the bytes of the tokens and not on where text tokens begin or end.
 *
 * <p>Shown text that may be the beginning of a stop string is held back.
 *
 * <pre>
 * stop "\nUser:"      released      held
 *   "Hello"           Hello
 *   "!\nUs"           Hello!        \nUs      the longest suffix of the text that is a prefix of a stop string
 *   "age"             Hello!\nUsage           it was not a stop string
 *
 * stop "\n&lt;|user|>"
 *   "Hello\n"         Hello         \n        followed by the control token &lt;|user|>: the answer is Hello
 * </pre>
 *
 * Each stop string has its own Knuth–Morris–Pratt automaton, with one state for each of the two texts. So the cost of a
 * character depends on the number of stop strings and not on the length of the answer.
 */
final class OutputText {
    private final Tokenizer tokenizer;
    private final boolean showControl;
    private final Detokenizer detokenizer;
    private final StopMatcher[] matchers;
    /** Shown characters that are not released yet. */
    private final StringBuilder held = new StringBuilder();
    /**
     * By index of a character in the spelled text, modulo the length: the number of shown characters before it. There
     * is an entry for as many of the last characters as the longest stop string has.
     */
    private final int[] shownBefore;

    private long spelled; // characters of the spelled text
    private int shown; // characters of the shown text
    private final boolean includeStop;
    private boolean mayStop = true;
    private @Nullable String stop;

    /** Starts an empty answer that does not show control tokens. */
    OutputText(Tokenizer tokenizer, List<String> stops) {
        this(tokenizer, stops, false, false);
    }

    /**
     * Starts an empty answer.
     *
     * @param includeStop whether a stop string is part of the answer that it ends
     * @param showControl whether control tokens are part of the answer, written as {@link Part#control} writes them. No
     *     stop string contains the marks, so none goes beyond a control token in the shown text
     */
    OutputText(Tokenizer tokenizer, List<String> stops, boolean includeStop, boolean showControl) {
        this.tokenizer = tokenizer;
        this.includeStop = includeStop;
        this.showControl = showControl;
        detokenizer = new Detokenizer(tokenizer);
        matchers = stops.stream().map(StopMatcher::new).toArray(StopMatcher[]::new);
        shownBefore = new int[stops.stream().mapToInt(String::length).max().orElse(0)];
    }

    /** Adds a token as {@link #append(int, boolean)} does, and a stop string may end the answer. */
    String append(int token) {
        return append(token, true);
    }

    /**
     * Adds a token; returns the text that is now certain to be part of the answer. Empty after a stop string.
     *
     * @param stops whether a stop string that this token completes ends the answer
     */
    String append(int token, boolean stops) {
        mayStop = stops;
        if (!tokenizer.isControl(token)) {
            return search(withoutMarks(detokenizer.append(token)), true);
        }
        String spelling = tokenizer.spelling(token);
        if (!showControl) {
            return matchers.length > 0 ? search(spelling, false) : "";
        }
        String before = search(withoutMarks(detokenizer.finish()), true);
        if (matchers.length == 0) {
            return before + Part.control(spelling);
        }
        before += search(spelling, false);
        return stop == null ? before + show(Part.control(spelling)) : before;
    }

    private String withoutMarks(String text) {
        return showControl && text.indexOf(Part.CONTROL_MARK) >= 0 ? text.replace(Part.CONTROL_MARK, '\uFFFD') : text;
    }

    /** Adds a control token to the shown text. Its spelling is in the spelled text already. */
    private String show(String control) {
        for (StopMatcher matcher : matchers) {
            matcher.inShown = 0;
        }
        held.append(control);
        shown += control.length();
        return release();
    }

    /** The stop string that ended the answer; null if there is none so far. */
    @Nullable
    String stop() {
        return stop;
    }

    /** The text held back so far, for an answer that ends before the model has ended it. */
    String held() {
        return held.toString();
    }

    /**
     * Ends the answer; returns the text held back, with U+FFFD for an incomplete character. That may complete a stop
     * string, so call {@link #stop} afterwards. Empty after a stop string.
     */
    String finish() {
        String rest = search(withoutMarks(detokenizer.finish()), true) + held;
        held.setLength(0);
        return rest;
    }

    /**
     * Ends the answer with a token that is not shown; otherwise as {@link #finish()}. If it is a control token, its
     * spelling may complete a stop string that began in the text held back.
     */
    String finish(int endToken) {
        String rest = search(withoutMarks(detokenizer.finish()), true);
        if (matchers.length > 0 && tokenizer.isControl(endToken)) {
            rest += search(tokenizer.spelling(endToken), false);
        }
        return rest + finish();
    }

    /**
     * Adds text; returns the shown text that no longer has to be held back. Empty after a stop string.
     *
     * @param isShown whether the text is part of the answer, and not the spelling of a control token
     */
    private String search(String text, boolean isShown) {
        if (matchers.length == 0) {
            return text;
        }
        if (stop != null || text.isEmpty()) {
            return "";
        }
        for (int index = 0; index < text.length(); index++) {
            char c = text.charAt(index);
            shownBefore[(int) (spelled++ % shownBefore.length)] = shown;
            if (isShown) {
                held.append(c);
                shown++;
            }
            StopMatcher longest = null;
            for (StopMatcher matcher : matchers) {
                boolean complete = matcher.accept(c, isShown);
                if (complete && !mayStop) {
                    matcher.passOver();
                } else if (complete && (longest == null || matcher.text.length() > longest.text.length())) {
                    longest = matcher;
                }
            }
            if (longest != null) {
                stop = longest.text;
                int cut = includeStop ? 0 : longest.inShown == stop.length() ? stop.length() : shownIn(stop.length());
                String before = held.substring(0, held.length() - cut);
                held.setLength(0);
                return before;
            }
        }
        return release();
    }

    /** Removes the text that need not be held back any more, and returns it. */
    private String release() {
        int open = 0;
        for (StopMatcher matcher : matchers) {
            open = Math.max(open, Math.max(matcher.inShown, shownIn(matcher.inSpelled)));
        }
        String certain = held.substring(0, held.length() - open);
        held.delete(0, held.length() - open);
        return certain;
    }

    /** How many of the last {@code count} characters of the spelled text are shown. */
    private int shownIn(int count) {
        return count == 0 ? 0 : shown - shownBefore[(int) ((spelled - count) % shownBefore.length)];
    }

    /** Searches both texts for one stop string. */
    private static final class StopMatcher {
        final String text;
        /**
         * {@code border[n]}: length of the longest proper prefix of the first n characters that is also their suffix.
         */
        private final int[] border;
        /** Length of the longest prefix of the stop string that is a suffix of the spelled text so far. */
        int inSpelled;
        /** The same for the shown text. */
        int inShown;

        StopMatcher(String text) {
            this.text = text;
            border = new int[text.length() + 1];
            for (int n = 2; n <= text.length(); n++) {
                border[n] = extend(border[n - 1], text.charAt(n - 1));
            }
        }

        /** Adds one character; returns whether it completes the stop string. */
        boolean accept(char c, boolean isShown) {
            inSpelled = extend(inSpelled, c);
            if (isShown) {
                inShown = extend(inShown, c);
            }
            return inSpelled == text.length() || inShown == text.length();
        }

        /** Searches on behind a stop string that does not count. */
        void passOver() {
            inSpelled = inSpelled == text.length() ? border[inSpelled] : inSpelled;
            inShown = inShown == text.length() ? border[inShown] : inShown;
        }

        private int extend(int length, char c) {
            while (length > 0 && text.charAt(length) != c) {
                length = border[length];
            }
            return text.charAt(length) == c ? length + 1 : 0;
        }
    }
}
