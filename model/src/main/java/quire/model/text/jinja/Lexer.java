package quire.model.text.jinja;

import java.math.BigInteger;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import quire.model.text.jinja.Token.Kind;

/**
 * Divides a template into tokens, with the settings of transformers: {@code trim_blocks} removes a line break directly
 * after a block or comment, {@code lstrip_blocks} removes spaces between the start of a line and a block or comment. A
 * {@code -} beside a delimiter removes all whitespace there, {@code +} keeps it. One pass; the time is linear in the
 * length of the template.
 */
final class Lexer {
    /** Longest first: the first operator that matches is the right one. */
    private static final List<String> OPERATORS = List.of(
            "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
            "=", ".", ":", "|", ",", ";");

    private final String source;
    private final List<Token> tokens = new ArrayList<>();
    private int at;
    private int line = 1;
    private int countedTo;
    /** Whether the text before this position ended a line, so that spaces before the next block are indentation. */
    private boolean lineStarting = true;

    private Lexer(String source) {
        this.source = source;
    }

    /** All tokens; the last one is EOF. */
    static List<Token> tokenize(String template) {
        String source = template.replace("\r\n", "\n").replace('\r', '\n');
        // Jinja removes one line break at the end of a template.
        Lexer lexer = new Lexer(source.endsWith("\n") ? source.substring(0, source.length() - 1) : source);
        try {
            lexer.run();
        } catch (JinjaError e) {
            throw new JinjaError("line " + lexer.line() + ": " + e.getMessage());
        }
        return lexer.tokens;
    }

    private void run() {
        while (at < source.length()) {
            int open = nextOpening();
            if (open < 0) {
                add(Kind.DATA, source.substring(at));
                at = source.length();
                break;
            }
            char kind = source.charAt(open + 1);
            int inside = open + 2;
            char sign = signAt(inside);
            if (kind == '%' && rawTag(inside, "raw") > 0) {
                emitData(at, open, sign, true);
                raw(inside);
                continue;
            }
            emitData(at, open, sign, kind != '{');
            at = sign == 0 ? inside : inside + 1;
            if (kind == '#') {
                comment();
            } else {
                add(kind == '{' ? Kind.OUTPUT_BEGIN : Kind.BLOCK_BEGIN, "");
                tag(kind == '{');
            }
        }
        add(Kind.EOF, "");
    }

    private int nextOpening() {
        for (int i = source.indexOf('{', at); i >= 0 && i + 1 < source.length(); i = source.indexOf('{', i + 1)) {
            char next = source.charAt(i + 1);
            if (next == '{' || next == '%' || next == '#') {
                return i;
            }
        }
        return -1;
    }

    private char signAt(int i) {
        char c = i < source.length() ? source.charAt(i) : 0;
        return c == '-' || c == '+' ? c : 0;
    }

    /** Adds the text between two tags. Its end is stripped according to the sign of the next tag and lstrip_blocks. */
    private void emitData(int from, int to, char sign, boolean block) {
        int end = to;
        if (sign == '-') {
            while (end > from && Text.isSpace(source.charAt(end - 1))) {
                end--;
            }
        } else if (sign != '+' && block) {
            // Are there only spaces between the tag and the start of its line, which can be in earlier text?
            int start = to;
            while (start > from && source.charAt(start - 1) != '\n' && Text.isSpace(source.charAt(start - 1))) {
                start--;
            }
            if (start > from ? source.charAt(start - 1) == '\n' : lineStarting) {
                end = start;
            }
        }
        if (end > from) {
            add(Kind.DATA, source.substring(from, end));
        }
    }

    private void add(Kind kind, String text) {
        tokens.add(new Token(kind, text, text, line()));
    }

    /** The line of {@code at}. Lines are counted as the position moves. */
    private int line() {
        for (; countedTo < at; countedTo++) {
            if (source.charAt(countedTo) == '\n') {
                line++;
            }
        }
        return line;
    }

    private int skipSpace(int from) {
        int i = from;
        while (i < source.length() && Text.isSpace(source.charAt(i))) {
            i++;
        }
        return i;
    }

    /** The end of {@code [-+]? raw -?%}} at {@code inside}, or -1. For endraw, {@code +%}} is allowed too. */
    private int rawTag(int inside, String word) {
        int i = skipSpace(signAt(inside) == 0 ? inside : inside + 1);
        if (!source.startsWith(word, i)) {
            return -1;
        }
        i = skipSpace(i + word.length());
        if (source.startsWith("-%}", i)) {
            return skipSpace(i + 3);
        }
        boolean end = word.equals("endraw");
        if (end && source.startsWith("+%}", i)) {
            return i + 3;
        }
        if (!source.startsWith("%}", i)) {
            return -1;
        }
        return end && source.startsWith("\n", i + 2) ? i + 3 : i + 2;
    }

    private void raw(int inside) {
        consumeTo(rawTag(inside, "raw"));
        for (int open = source.indexOf("{%", at); open >= 0; open = source.indexOf("{%", open + 2)) {
            int end = rawTag(open + 2, "endraw");
            if (end > 0) {
                emitData(at, open, signAt(open + 2), true);
                consumeTo(end);
                return;
            }
        }
        throw new JinjaError("'{% raw %}' without '{% endraw %}'");
    }

    private void comment() {
        int end = source.indexOf("#}", at);
        if (end < 0) {
            throw new JinjaError("'{#' without '#}'");
        }
        char sign = end > at ? signAt(end - 1) : 0;
        consumeTo(afterEnd(end + 2, sign, true));
    }

    /** The position where text continues after a delimiter that ends at {@code end}. */
    private int afterEnd(int end, char sign, boolean trimNewline) {
        if (sign == '-') {
            return skipSpace(end);
        }
        return trimNewline && sign == 0 && source.startsWith("\n", end) ? end + 1 : end;
    }

    private void consumeTo(int end) {
        at = end;
        lineStarting = source.charAt(end - 1) == '\n';
    }

    private void tag(boolean output) {
        String close = output ? "}}" : "%}";
        Deque<Character> open = new ArrayDeque<>();
        while (true) {
            at = skipSpace(at);
            if (at >= source.length()) {
                throw new JinjaError("a tag is not closed: '" + close + "' is missing");
            }
            char c = source.charAt(at);
            if (open.isEmpty()) {
                boolean signed = (c == '-' || (c == '+' && !output)) && source.startsWith(close, at + 1);
                if (signed || source.startsWith(close, at)) {
                    add(output ? Kind.OUTPUT_END : Kind.BLOCK_END, "");
                    consumeTo(afterEnd(at + (signed ? 3 : 2), signed ? c : 0, !output));
                    return;
                }
            }
            if (c == '\'' || c == '"') {
                string(c);
            } else if (c >= '0' && c <= '9') {
                number();
            } else if (Character.isUnicodeIdentifierStart(source.codePointAt(at)) || c == '_') {
                name();
            } else {
                operator(open);
            }
        }
    }

    private void name() {
        int end = at;
        while (end < source.length()) {
            int c = source.codePointAt(end);
            if (!Character.isUnicodeIdentifierPart(c) || Character.isIdentifierIgnorable(c)) {
                break;
            }
            end += Character.charCount(c);
        }
        if (end - at > Limits.NAME_CHARS) {
            throw new JinjaError("a name of more than " + Limits.NAME_CHARS + " characters");
        }
        add(Kind.NAME, source.substring(at, end));
        at = end;
    }

    private void operator(Deque<Character> open) {
        for (String operator : OPERATORS) {
            if (source.startsWith(operator, at)) {
                char c = operator.charAt(0);
                switch (c) {
                    case '(' -> open.push(')');
                    case '[' -> open.push(']');
                    case '{' -> open.push('}');
                    case ')', ']', '}' -> {
                        if (open.isEmpty() || open.pop() != c) {
                            throw new JinjaError("unexpected '" + c + "'");
                        }
                    }
                    default -> {}
                }
                add(Kind.OPERATOR, operator);
                at += operator.length();
                return;
            }
        }
        throw new JinjaError("unexpected character " + Text.quote(Character.toString(source.codePointAt(at))));
    }

    /** The end of the digits at {@code from}, with single underscores between them; {@code from} if there are none. */
    private int digits(int from, int radix) {
        int i = from;
        while (i < source.length()) {
            boolean separated = i > from && source.charAt(i) == '_' && i + 1 < source.length();
            char c = source.charAt(separated ? i + 1 : i);
            if (c >= 0x80 || Character.digit(c, radix) < 0) {
                break;
            }
            i += separated ? 2 : 1;
        }
        return i;
    }

    private void number() {
        if (prefixedInteger()) {
            return;
        }
        int whole = digits(at, 10);
        int end = whole;
        boolean afterDot = at > 0 && source.charAt(at - 1) == '.';
        if (!afterDot && source.startsWith(".", end) && digits(end + 1, 10) > end + 1) {
            end = digits(end + 1, 10);
        }
        if (!afterDot && end < source.length() && (source.charAt(end) | 0x20) == 'e') {
            int exponent = signAt(end + 1) == 0 ? end + 1 : end + 2;
            end = digits(exponent, 10) > exponent ? digits(exponent, 10) : end;
        }
        String text = source.substring(at, end).replace("_", "");
        if (end > whole) {
            tokens.add(new Token(Kind.FLOAT, text, Double.parseDouble(text), line()));
        } else {
            if (text.length() > 1 && text.charAt(0) == '0' && !text.chars().allMatch(c -> c == '0')) {
                throw new JinjaError("number " + text + " begins with 0");
            }
            tokens.add(new Token(Kind.INTEGER, text, integer(text, 10), line()));
        }
        at = end;
    }

    /** Reads a number such as 0x1f, 0o17 or 0b11, if there is one here. */
    private boolean prefixedInteger() {
        int radix = source.charAt(at) != '0' || at + 1 >= source.length()
                ? 0
                : switch (source.charAt(at + 1) | 0x20) {
                    case 'x' -> 16;
                    case 'o' -> 8;
                    case 'b' -> 2;
                    default -> 0;
                };
        int from = source.startsWith("_", at + 2) ? at + 3 : at + 2;
        int end = radix == 0 ? from : digits(from, radix);
        if (radix == 0 || end == from) {
            return false;
        }
        String text = source.substring(from, end).replace("_", "");
        tokens.add(new Token(Kind.INTEGER, text, integer(text, radix), line()));
        at = end;
        return true;
    }

    private static Object integer(String digits, int radix) {
        if (digits.length() > Limits.INTEGER_DIGITS) {
            throw new JinjaError("an integer of more than " + Limits.INTEGER_DIGITS + " digits");
        }
        return Values.whole(new BigInteger(digits, radix));
    }

    private void string(char quote) {
        StringBuilder text = new StringBuilder();
        int i = at + 1;
        while (true) {
            if (i >= source.length()) {
                throw new JinjaError("a string is not closed: " + quote + " is missing");
            }
            char c = source.charAt(i);
            if (c == quote) {
                break;
            }
            if (c == '\\' && i + 1 < source.length()) {
                i = escape(i + 1, text);
            } else {
                text.append(c);
                i++;
            }
        }
        tokens.add(new Token(Kind.STRING, source.substring(at, i + 1), text.toString(), line()));
        at = i + 1;
    }

    /**
     * Appends the character of the escape sequence at {@code i}, after its backslash. Returns the end of the sequence.
     */
    private int escape(int i, StringBuilder text) {
        char c = source.charAt(i);
        int simple = "\\'\"abfnrtv".indexOf(c);
        if (simple >= 0) {
            text.append("\\'\"\u0007\b\f\n\r\t\u000b".charAt(simple));
            return i + 1;
        }
        return switch (c) {
            case '\n' -> i + 1;
            case 'x' -> codePoint(i + 1, 2, text);
            case 'u' -> codePoint(i + 1, 4, text);
            case 'U' -> codePoint(i + 1, 8, text);
            case 'N' -> throw new JinjaError("'\\N{…}' in a string is not supported");
            case '0', '1', '2', '3', '4', '5', '6', '7' -> {
                int end = i;
                int value = 0;
                while (end < i + 3 && end < source.length() && source.charAt(end) >= '0' && source.charAt(end) <= '7') {
                    value = value * 8 + source.charAt(end++) - '0';
                }
                text.append((char) value);
                yield end;
            }
            default -> {
                text.append('\\').append(c);
                yield i + 1;
            }
        };
    }

    private int codePoint(int from, int length, StringBuilder text) {
        int end = from + length;
        try {
            String hex = source.substring(from, end);
            if (!hex.chars().allMatch(c -> c < 0x80 && Character.digit(c, 16) >= 0)) {
                throw new JinjaError("'\\' with bad digits " + hex + " in a string");
            }
            text.appendCodePoint(Integer.parseUnsignedInt(hex, 16));
        } catch (IndexOutOfBoundsException | IllegalArgumentException e) {
            throw new JinjaError("an escape sequence in a string is not a character");
        }
        return end;
    }
}
