package quire.server.api;

import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Finds the first fault in a text that is not JSON, and says in words where it is, what was expected and what is there:
 * {@code line 3, column 14, in $.messages[0]: expected a value, found '}'}. Lines and columns count from 1, columns in
 * characters.
 *
 * <p>This is a parser of RFC 8259 that keeps nothing. It runs only after {@link Json} has refused a text, whose parser
 * explains itself in words for Java programmers.
 */
final class JsonFault {
    private static final int END = -1;
    private static final int MAX_SHOWN = 40;

    private static final Pattern PLAIN_NAME = Pattern.compile("[A-Za-z_][A-Za-z0-9_]*");

    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");

    /** Words of other languages for values that JSON writes differently. */
    private static final Set<String> FOREIGN =
            Set.of("True", "False", "None", "TRUE", "FALSE", "NULL", "Null", "nil", "undefined", "NaN", "Infinity");

    private final String text;
    private final int maxNesting;
    private final StringBuilder path = new StringBuilder("$");
    private int at;
    private int depth;

    private JsonFault(String text, int maxNesting) {
        this.text = text;
        this.maxNesting = maxNesting;
    }

    /** Ends the search. */
    private static final class Found extends Exception {
        private static final long serialVersionUID = 1;

        Found(String words) {
            super(words, null, false, false);
        }
    }

    /**
     * The first fault.
     *
     * @param maxNesting most levels of objects and arrays
     * @return null if the text has none
     */
    static @Nullable String find(String text, int maxNesting) {
        JsonFault search = new JsonFault(text, maxNesting);
        try {
            search.value();
            search.space();
            if (search.peek() != END) {
                throw search.expected("nothing after the end of the value");
            }
            return null;
        } catch (Found e) {
            return String.valueOf(e.getMessage());
        }
    }

    private void value() throws Found {
        space();
        int c = peek();
        switch (c) {
            case '{' -> object();
            case '[' -> array();
            case '"' -> string();
            case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' -> number();
            default -> {
                for (String word : List.of("true", "false", "null")) {
                    if (word().equals(word)) {
                        at += word.length();
                        return;
                    }
                }
                throw expected("a value");
            }
        }
    }

    private void object() throws Found {
        enter();
        Set<String> names = new HashSet<>();
        int length = path.length();
        space();
        if (peek() == '}') {
            leave();
            return;
        }
        while (true) {
            space();
            if (peek() != '"') {
                throw expected(
                        names.isEmpty() ? "a field's name in double quotes or '}'" : "a field's name in double quotes");
            }
            int start = at;
            String name = string();
            if (!names.add(name)) {
                throw fault(start, "the field '" + shortened(name) + "' is there twice");
            }
            space();
            path.append(
                    PLAIN_NAME.matcher(name).matches() && name.length() <= MAX_SHOWN
                            ? "." + name
                            : "['" + shortened(name) + "']");
            if (peek() != ':') {
                throw expected("':' after the field's name");
            }
            at++;
            value();
            path.setLength(length);
            space();
            if (peek() == '}') {
                leave();
                return;
            }
            if (peek() != ',') {
                throw expected("',' or '}' after the field '" + shortened(name) + "'");
            }
            at++;
        }
    }

    private void array() throws Found {
        enter();
        int length = path.length();
        space();
        if (peek() == ']') {
            leave();
            return;
        }
        for (int index = 0; ; index++) {
            path.append('[').append(index).append(']');
            value();
            path.setLength(length);
            space();
            if (peek() == ']') {
                leave();
                return;
            }
            if (peek() != ',') {
                throw expected("',' or ']' after an element");
            }
            at++;
        }
    }

    private void enter() throws Found {
        if (++depth > maxNesting) {
            throw fault(at, "objects and arrays are nested in more than " + maxNesting + " levels");
        }
        at++;
    }

    private void leave() {
        depth--;
        at++;
    }

    /** Reads a string; returns it with its escapes resolved. */
    private String string() throws Found {
        int start = at++;
        StringBuilder content = new StringBuilder();
        while (true) {
            int c = peek();
            if (c == END) {
                throw fault(start, "the string that begins here does not end");
            } else if (c == '"') {
                at++;
                return content.toString();
            } else if (c == '\\') {
                escape(content);
            } else if (c < ' ') {
                throw fault(
                        at,
                        "in a string: found " + shown() + "; write "
                                + (c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u" + hex(c)));
            } else {
                content.append((char) c);
                at++;
            }
        }
    }

    private void escape(StringBuilder content) throws Found {
        int start = at++;
        int c = peek();
        int index = "\"\\/bfnrt".indexOf(c);
        if (c != END && index >= 0) {
            content.append("\"\\/\b\f\n\r\t".charAt(index));
            at++;
            return;
        }
        if (c != 'u') {
            throw fault(
                    start,
                    "in a string: expected one of \" \\ / b f n r t u after a backslash, found " + shown()
                            + "; write a backslash itself as \\\\");
        }
        at++;
        int unit = 0;
        for (int i = 0; i < 4; i++, at++) {
            int digit = peek() == END || peek() > 'f' ? -1 : Character.digit(peek(), 16);
            if (digit < 0) {
                throw fault(start, "in a string: expected four hexadecimal digits after \\u, found " + shown());
            }
            unit = unit * 16 + digit;
        }
        content.append((char) unit);
    }

    private void number() throws Found {
        var matcher = NUMBER.matcher(text).region(at, text.length());
        int start = at;
        if (!matcher.lookingAt()) {
            at++;
            throw expected("a digit after '-'");
        }
        at = matcher.end();
        int c = peek();
        boolean zero = text.substring(start, at).matches("-?0") && c >= '0' && c <= '9';
        if (zero) {
            throw fault(start, "a number begins with 0; write it without leading zeros");
        }
        if (c == '.' || ((c == 'e' || c == 'E') && text.substring(start, at).indexOf('e') < 0)) {
            at++;
            if (c != '.' && (peek() == '+' || peek() == '-')) {
                at++;
            }
            throw expected("a digit in the number");
        }
    }

    private void space() {
        while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private int peek() {
        return at < text.length() ? text.charAt(at) : END;
    }

    /** The letters, digits and signs of a word that begin here. */
    private String word() {
        int end = at;
        while (end < text.length() && end - at <= MAX_SHOWN && Character.isLetterOrDigit(text.charAt(end))) {
            end++;
        }
        return text.substring(at, end);
    }

    private Found expected(String what) {
        String word = word();
        String hint = "";
        if (FOREIGN.contains(word)) {
            hint = "; JSON writes true, false or null, and knows no other words";
        } else if (peek() == '\'' || peek() == '\u201c' || peek() == '\u201d') {
            hint = "; JSON writes names and texts in double quotes (\")";
        } else if ((peek() == '}' || peek() == ']') && lastIs(',')) {
            hint = "; JSON has no comma behind the last one";
        } else if (peek() == '/' || peek() == '#') {
            hint = "; JSON has no comments";
        }
        return fault(at, "expected " + what + ", found " + shown() + hint);
    }

    private boolean lastIs(char c) {
        return text.substring(0, at).stripTrailing().endsWith(String.valueOf(c));
    }

    private Found fault(int index, String words) {
        int line = 1;
        int lineStart = 0;
        for (int i = 0; i < index; i++) {
            char c = text.charAt(i);
            if (c == '\n' || (c == '\r' && (i + 1 == text.length() || text.charAt(i + 1) != '\n'))) {
                line++;
                lineStart = i + 1;
            }
        }
        int column = text.codePointCount(lineStart, index) + 1;
        String where = path.length() > 4 * MAX_SHOWN ? path.substring(0, 4 * MAX_SHOWN) + "…" : path.toString();
        return new Found(
                "line " + line + ", column " + column + (where.equals("$") ? "" : ", in " + where) + ": " + words);
    }

    /** What is here, for people. */
    private String shown() {
        int c = peek();
        String word = word();
        if (c == END) {
            return "the end";
        } else if (word.length() > 1) {
            return "'" + shortened(word) + "'";
        } else if (c == '\n' || c == '\r') {
            return "a line break";
        } else if (c == '\t') {
            return "a tab";
        } else if (c == '\'') {
            return "a single quote (')";
        }
        int whole = text.codePointAt(at);
        return Character.isISOControl(whole)
                        || Character.getType(whole) == Character.FORMAT
                        || Character.isSpaceChar(whole)
                ? "the character U+" + hex(whole).toUpperCase(Locale.ROOT)
                : "'" + Character.toString(whole) + "'";
    }

    private static String hex(int c) {
        return String.format("%04x", c);
    }

    private static String shortened(String text) {
        String plain = text.replaceAll("\\p{Cntrl}|\\p{Cs}", "?");
        return plain.length() > MAX_SHOWN ? plain.substring(0, MAX_SHOWN) + "…" : plain;
    }
}
