package quire.engine.constrain;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/**
 * Expressions for JSON numbers between bounds. A number with a bound is written in plain decimals, without exponent;
 * 0 has no sign.
 *
 * <pre>
 *   at least 27.5     more digits          [1-9][0-9]{2,} fraction?
 *                     a larger digit       [3-9][0-9] fraction?,  2[8-9] fraction?
 *                     the same digits      27.[6-9][0-9]*,  27.5[0-9]*
 * </pre>
 */
final class Decimals {
    /** Most digits of a bound. */
    private static final int MAX_DIGITS = 400;

    private final Expressions expressions;
    private final int digits;
    private final int fraction;

    Decimals(Expressions expressions) {
        this.expressions = expressions;
        digits = expressions.rep(expressions.range('0', '9'), 0, Expressions.UNLIMITED);
        fraction = expressions.optional(
                expressions.seq(text("."), expressions.rep(expressions.range('0', '9'), 1, Expressions.UNLIMITED)));
    }

    /** A bound of a number. */
    record Bound(BigDecimal value, boolean strict) {}

    static boolean isTooLong(BigDecimal value) {
        return Math.abs((long) value.scale()) + value.precision() > MAX_DIGITS;
    }

    /** Any JSON number. An exponent has at most two digits, because few programs can read larger ones. */
    int number() {
        int sign = expressions.optional(text("-"));
        int exponent = expressions.optional(expressions.seq(
                expressions.alt(text("e"), text("E")),
                expressions.seq(
                        expressions.optional(expressions.alt(text("+"), text("-"))),
                        expressions.rep(expressions.range('0', '9'), 1, 2))));
        return expressions.seq(sign, expressions.seq(natural(), expressions.seq(fraction, exponent)));
    }

    /** Any integer: without fraction and exponent. */
    int integer() {
        return expressions.alt(
                text("0"),
                expressions.seq(expressions.optional(text("-")), expressions.seq(expressions.range('1', '9'), digits)));
    }

    /** Any number in plain decimals. */
    int plain() {
        return between(null, null);
    }

    /** Numbers in plain decimals between two bounds; null for none. */
    int between(@Nullable Bound low, @Nullable Bound high) {
        Bound zero = new Bound(BigDecimal.ZERO, false);
        int positive = Expressions.NONE;
        if (high == null || high.value.signum() >= 0) {
            positive = expressions.and(
                    atLeast(low == null || low.value.signum() < 0 ? zero : low), high == null ? any() : atMost(high));
        }
        int negative = Expressions.NONE;
        if (low == null || low.value.signum() < 0) {
            Bound least = high == null || high.value.signum() >= 0
                    ? new Bound(BigDecimal.ZERO, true)
                    : new Bound(high.value.negate(), high.strict);
            negative = expressions.seq(
                    text("-"),
                    expressions.and(
                            atLeast(least), low == null ? any() : atMost(new Bound(low.value.negate(), low.strict))));
        }
        return expressions.alt(positive, negative);
    }

    private int any() {
        return expressions.seq(natural(), fraction);
    }

    private int natural() {
        return expressions.alt(text("0"), expressions.seq(expressions.range('1', '9'), digits));
    }

    private int atLeast(Bound bound) {
        String whole = whole(bound.value);
        String rest = rest(bound.value);
        int longer = expressions.seq(
                expressions.range('1', '9'),
                expressions.rep(expressions.range('0', '9'), whole.length(), Expressions.UNLIMITED));
        int result = expressions.seq(longer, fraction);
        for (int i = 0; i < whole.length(); i++) {
            result = expressions.alt(
                    result,
                    expressions.seq(
                            text(whole.substring(0, i)),
                            expressions.seq(
                                    above(whole.charAt(i)),
                                    expressions.seq(exactly(whole.length() - 1 - i), fraction))));
        }
        return expressions.alt(result, expressions.seq(text(whole), fractionAtLeast(rest, bound.strict)));
    }

    private int fractionAtLeast(String rest, boolean strict) {
        int more = expressions.seq(
                expressions.rep(text("0"), 0, Expressions.UNLIMITED),
                expressions.seq(expressions.range('1', '9'), digits));
        if (rest.isEmpty()) {
            return strict ? expressions.seq(text("."), more) : fraction;
        }
        int result = expressions.seq(text(rest), strict ? more : digits);
        for (int i = 0; i < rest.length(); i++) {
            result = expressions.alt(
                    result,
                    expressions.seq(text(rest.substring(0, i)), expressions.seq(above(rest.charAt(i)), digits)));
        }
        return expressions.seq(text("."), result);
    }

    private int atMost(Bound bound) {
        String whole = whole(bound.value);
        String rest = rest(bound.value);
        int result = Expressions.NONE;
        if (whole.length() > 1) {
            int shorter = expressions.alt(
                    text("0"),
                    expressions.seq(
                            expressions.range('1', '9'),
                            expressions.rep(expressions.range('0', '9'), 0, whole.length() - 2)));
            result = expressions.seq(shorter, fraction);
        }
        for (int i = 0; i < whole.length(); i++) {
            int least = i == 0 && whole.length() > 1 ? '1' : '0';
            result = expressions.alt(
                    result,
                    expressions.seq(
                            text(whole.substring(0, i)),
                            expressions.seq(
                                    expressions.range(least, whole.charAt(i) - 1),
                                    expressions.seq(exactly(whole.length() - 1 - i), fraction))));
        }
        return expressions.alt(result, expressions.seq(text(whole), fractionAtMost(rest, bound.strict)));
    }

    private int fractionAtMost(String rest, boolean strict) {
        int zeros = expressions.rep(text("0"), 0, Expressions.UNLIMITED);
        if (rest.isEmpty()) {
            return strict ? Expressions.NONE : expressions.optional(expressions.seq(text(".0"), zeros));
        }
        int result = strict ? Expressions.NONE : expressions.seq(text(rest), zeros);
        for (int i = 0; i < rest.length(); i++) {
            int prefix = text(rest.substring(0, i));
            int lower = expressions.seq(expressions.range('0', rest.charAt(i) - 1), digits);
            result = expressions.alt(result, expressions.seq(prefix, i == 0 ? lower : expressions.optional(lower)));
        }
        return expressions.optional(expressions.seq(text("."), result));
    }

    private int above(char digit) {
        return expressions.range(digit + 1, '9');
    }

    private int exactly(int count) {
        return expressions.rep(expressions.range('0', '9'), count, count);
    }

    private int text(String text) {
        return expressions.literal(text.getBytes(StandardCharsets.US_ASCII));
    }

    private static String whole(BigDecimal value) {
        String text = value.toPlainString();
        int point = text.indexOf('.');
        return point < 0 ? text : text.substring(0, point);
    }

    private static String rest(BigDecimal value) {
        String text = value.signum() == 0 ? "0" : value.stripTrailingZeros().toPlainString();
        int point = text.indexOf('.');
        return point < 0 ? "" : text.substring(point + 1);
    }
}
