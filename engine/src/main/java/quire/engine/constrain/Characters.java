package quire.engine.constrain;

import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * How characters become bytes: as UTF-8, or as the inside of a JSON string. A JSON string has one spelling: only
 * {@code "}, {@code \} and control characters are escaped, the latter in their short form if they have one, otherwise
 * with four lower-case hexadecimal digits. So different strings have different texts.
 *
 * <p>A set of characters is an array of ranges: {@code {first, last, first, last …}}, ascending. Surrogates are no
 * characters.
 */
final class Characters {
    static final int MAX = 0x10FFFF;

    private final Expressions expressions;
    private final boolean json;
    private final Map<IntBuffer, Integer> known = new HashMap<>(); // sets, by their ranges

    /** @param json whether the characters are inside of a JSON string */
    Characters(Expressions expressions, boolean json) {
        this.expressions = expressions;
        this.json = json;
    }

    /** One character of a set. */
    int one(int[] ranges) {
        return known.computeIfAbsent(IntBuffer.wrap(ranges), set -> build(ranges));
    }

    private int build(int[] ranges) {
        List<Integer> parts = new ArrayList<>();
        int[] plain = ranges;
        if (json) {
            plain = without(without(without(ranges, 0, 0x1F), '"', '"'), '\\', '\\');
            parts.add(escapes(ranges));
        }
        plain = without(plain, Character.MIN_SURROGATE, Character.MAX_SURROGATE);
        for (int i = 0; i < plain.length; i += 2) {
            addUtf8(plain[i], plain[i + 1], parts);
        }
        return expressions.alt(parts.stream().mapToInt(Integer::intValue).toArray());
    }

    /** The escapes of a set's characters that need one. */
    private int escapes(int[] ranges) {
        long[] letters = new long[4]; // after the backslash
        long[][] digits = {new long[4], new long[4]}; // after u000 and after u001
        for (int i = 0; i < ranges.length; i += 2) {
            for (int c = ranges[i]; c <= Math.min(ranges[i + 1], '\\'); c++) {
                if (c < ' ' || c == '"' || c == '\\') {
                    String escape = escape(c);
                    long[] set = escape.length() == 2 ? letters : digits[c >> 4];
                    char last = escape.charAt(escape.length() - 1);
                    set[last >> 6] |= 1L << last;
                }
            }
        }
        int number = expressions.alt(
                expressions.seq(ascii("0"), expressions.bytes(digits[0])),
                expressions.seq(ascii("1"), expressions.bytes(digits[1])));
        return expressions.seq(
                ascii("\\"), expressions.alt(expressions.bytes(letters), expressions.seq(ascii("u00"), number)));
    }

    private int ascii(String text) {
        return expressions.literal(text.getBytes(StandardCharsets.US_ASCII));
    }

    /** Any character. */
    int any() {
        return one(new int[] {0, MAX});
    }

    /** The bytes of a text. */
    byte[] bytes(String text) {
        if (!json) {
            return text.getBytes(StandardCharsets.UTF_8);
        }
        StringBuilder spelled = new StringBuilder(text.length() + 8);
        text.chars().forEach(c -> {
            if (c < ' ' || c == '"' || c == '\\') {
                spelled.append(escape(c));
            } else {
                spelled.append((char) c);
            }
        });
        return spelled.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static String escape(int c) {
        return switch (c) {
            case '"' -> "\\\"";
            case '\\' -> "\\\\";
            case '\b' -> "\\b";
            case '\f' -> "\\f";
            case '\n' -> "\\n";
            case '\r' -> "\\r";
            case '\t' -> "\\t";
            default -> "\\u00%02x".formatted(c);
        };
    }

    /** Splits a range until all bytes but the first run over all their values or are the same. */
    private void addUtf8(int first, int last, List<Integer> parts) {
        for (int limit : new int[] {0x7F, 0x7FF, 0xFFFF}) {
            if (first <= limit && last > limit) {
                addUtf8(first, limit, parts);
                addUtf8(limit + 1, last, parts);
                return;
            }
        }
        int length = last <= 0x7F ? 1 : last <= 0x7FF ? 2 : last <= 0xFFFF ? 3 : 4;
        for (int i = 1; i < length; i++) {
            int mask = (1 << (6 * i)) - 1;
            if ((first & ~mask) != (last & ~mask)) {
                if ((first & mask) != 0) {
                    addUtf8(first, first | mask, parts);
                    addUtf8((first | mask) + 1, last, parts);
                    return;
                }
                if ((last & mask) != mask) {
                    addUtf8(first, (last & ~mask) - 1, parts);
                    addUtf8(last & ~mask, last, parts);
                    return;
                }
            }
        }
        byte[] low = Character.toString(first).getBytes(StandardCharsets.UTF_8);
        byte[] high = Character.toString(last).getBytes(StandardCharsets.UTF_8);
        int sequence = Expressions.EMPTY;
        for (int i = length - 1; i >= 0; i--) {
            sequence = expressions.seq(expressions.range(low[i] & 0xFF, high[i] & 0xFF), sequence);
        }
        parts.add(sequence);
    }

    /** The set without a range. */
    static int[] without(int[] ranges, int first, int last) {
        int[] result = new int[ranges.length + 2];
        int size = 0;
        for (int i = 0; i < ranges.length; i += 2) {
            if (ranges[i] < first) {
                result[size++] = ranges[i];
                result[size++] = Math.min(ranges[i + 1], first - 1);
            }
            if (ranges[i + 1] > last) {
                result[size++] = Math.max(ranges[i], last + 1);
                result[size++] = ranges[i + 1];
            }
        }
        return Arrays.copyOf(result, size);
    }

    /** All other characters. */
    static int[] complement(int[] ranges) {
        int[] result = {0, MAX};
        for (int i = 0; i < ranges.length; i += 2) {
            result = without(result, ranges[i], ranges[i + 1]);
        }
        return result;
    }

    /** The union of ranges in any order. */
    static int[] union(List<int[]> sets) {
        List<int[]> pairs = new ArrayList<>();
        for (int[] set : sets) {
            for (int i = 0; i < set.length; i += 2) {
                pairs.add(new int[] {set[i], set[i + 1]});
            }
        }
        pairs.sort((a, b) -> Integer.compare(a[0], b[0]));
        int[] result = new int[2 * pairs.size()];
        int size = 0;
        for (int[] pair : pairs) {
            if (size > 0 && pair[0] <= result[size - 1] + 1) {
                result[size - 1] = Math.max(result[size - 1], pair[1]);
            } else {
                result[size++] = pair[0];
                result[size++] = pair[1];
            }
        }
        return Arrays.copyOf(result, size);
    }
}
