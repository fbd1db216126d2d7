package quire.engine.schedule;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;

/**
 * An answer's text as its tokens come: whole characters only, ended by the first stop string.
 *
 * <p>The answer ends at the first character with which some stop string is complete; if several end there, the longest
 * counts, so that no part of it is left behind. The stop string is not part of the answer. The text and the stop depend
 * on the bytes of the tokens alone, never on where tokens begin and end: characters are looked at one by one, and one
 * that may yet turn out to belong to a stop string is held back.
 *
 * <pre>
 * stop "\nUser:"      given out     held
 *   "Hello"           Hello
 *   "!\nUs"           Hello!        \nUs      the longest suffix of the text that is a prefix of a stop string
 *   "age"             Hello!\nUsage           no stop string after all
 * </pre>
 *
 * Each stop string is followed by its own Knuth–Morris–Pratt automaton, so a character costs a few steps a stop string,
 * however long the answer is.
 */
final class OutputText {
    private final Detokenizer detokenizer;
    private final StopMatcher[] matchers;
    private final StringBuilder held = new StringBuilder();
    private @Nullable String stop;

    /** Starts an empty answer. */
    OutputText(Tokenizer tokenizer, List<String> stops) {
        detokenizer = new Detokenizer(tokenizer);
        matchers = stops.stream().map(StopMatcher::new).toArray(StopMatcher[]::new);
    }

    /** Takes the next token; returns what became certain to be part of the answer. Empty once a stop string came. */
    String append(int token) {
        return stop == null ? take(detokenizer.append(token)) : "";
    }

    /** The stop string that ended the answer; null as long as none came. */
    @Nullable
    String stop() {
        return stop;
    }

    /**
     * Ends the answer; returns what was held back, with U+FFFD for an incomplete character. That may itself complete a
     * stop string, so ask for {@link #stop} afterwards. Empty once a stop string came.
     */
    String finish() {
        if (stop != null) {
            return "";
        }
        String text = take(detokenizer.finish());
        String rest = text + held;
        held.setLength(0);
        return rest;
    }

    private String take(String text) {
        if (matchers.length == 0 || text.isEmpty()) {
            return text;
        }
        for (int index = 0; index < text.length(); index++) {
            char c = text.charAt(index);
            held.append(c);
            StopMatcher longest = null;
            for (StopMatcher matcher : matchers) {
                if (matcher.advance(c) && (longest == null || matcher.text.length() > longest.text.length())) {
                    longest = matcher;
                }
            }
            if (longest != null) {
                stop = longest.text;
                String before = held.substring(0, held.length() - stop.length());
                held.setLength(0);
                return before;
            }
        }
        int open = 0;
        for (StopMatcher matcher : matchers) {
            open = Math.max(open, matcher.matched);
        }
        String certain = held.substring(0, held.length() - open);
        held.delete(0, held.length() - open);
        return certain;
    }

    /** Follows one stop string through the text. */
    private static final class StopMatcher {
        final String text;
        /** {@code border[n]}: length of the longest proper prefix of the first n characters that is also their suffix. */
        private final int[] border;
        /** Length of the longest prefix of the stop string that the text seen so far ends with. */
        int matched;

        StopMatcher(String text) {
            this.text = text;
            border = new int[text.length() + 1];
            for (int n = 2; n <= text.length(); n++) {
                border[n] = extend(border[n - 1], text.charAt(n - 1));
            }
        }

        /** Takes one character; returns whether the stop string is complete with it. */
        boolean advance(char c) {
            matched = extend(matched, c);
            return matched == text.length();
        }

        private int extend(int length, char c) {
            while (length > 0 && text.charAt(length) != c) {
                length = border[length];
            }
            return text.charAt(length) == c ? length + 1 : 0;
        }
    }
}
