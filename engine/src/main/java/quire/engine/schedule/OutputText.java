package quire.engine.schedule;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;

/**
 * Turns an answer's tokens into text: whole characters only, up to the first stop string.
 *
 * <p>The answer ends at the first character that completes a stop string. If it completes several, the longest counts.
 * The stop string is not part of the answer. The result depends on the bytes of the tokens and not on where tokens
 * begin or end. So text that may be the beginning of a stop string is held back.
 *
 * <pre>
 * stop "\nUser:"      released      held
 *   "Hello"           Hello
 *   "!\nUs"           Hello!        \nUs      the longest suffix of the text that is a prefix of a stop string
 *   "age"             Hello!\nUsage           it was not a stop string
 * </pre>
 *
 * Each stop string has its own Knuth–Morris–Pratt automaton. So the cost of a character depends on the number of stop
 * strings and not on the length of the answer.
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

    /** Adds a token; returns the text that is now certain to be part of the answer. Empty after a stop string. */
    String append(int token) {
        return stop == null ? release(detokenizer.append(token)) : "";
    }

    /** The stop string that ended the answer; null if there is none so far. */
    @Nullable
    String stop() {
        return stop;
    }

    /**
     * Ends the answer; returns the text held back, with U+FFFD for an incomplete character. That may complete a stop
     * string, so call {@link #stop} afterwards. Empty after a stop string.
     */
    String finish() {
        if (stop != null) {
            return "";
        }
        String text = release(detokenizer.finish());
        String rest = text + held;
        held.setLength(0);
        return rest;
    }

    /** Adds text; returns the text that no longer has to be held back. */
    private String release(String text) {
        if (matchers.length == 0 || text.isEmpty()) {
            return text;
        }
        for (int index = 0; index < text.length(); index++) {
            char c = text.charAt(index);
            held.append(c);
            StopMatcher longest = null;
            for (StopMatcher matcher : matchers) {
                if (matcher.accept(c) && (longest == null || matcher.text.length() > longest.text.length())) {
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

    /** Searches the text for one stop string. */
    private static final class StopMatcher {
        final String text;
        /**
         * {@code border[n]}: length of the longest proper prefix of the first n characters that is also their suffix.
         */
        private final int[] border;
        /** Length of the longest prefix of the stop string that is a suffix of the text so far. */
        int matched;

        StopMatcher(String text) {
            this.text = text;
            border = new int[text.length() + 1];
            for (int n = 2; n <= text.length(); n++) {
                border[n] = extend(border[n - 1], text.charAt(n - 1));
            }
        }

        /** Adds one character; returns whether it completes the stop string. */
        boolean accept(char c) {
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
