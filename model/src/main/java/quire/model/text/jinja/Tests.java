package quire.model.text.jinja;

import static java.util.Map.entry;

import java.util.List;
import java.util.Map;
import quire.model.text.jinja.Args.Bound;
import quire.model.text.jinja.Args.Signature;
import quire.model.text.jinja.Values.*;

/** The tests, which follow {@code is}, by name. */
final class Tests {
    private interface Test {
        boolean holds(Object value, Bound args, Limits limits);
    }

    private record Entry(Signature signature, Test test) {}

    private static final Map<String, Entry> TESTS = Map.ofEntries(
            test("defined", "", (v, a, l) -> !(v instanceof Undefined)),
            test("undefined", "", (v, a, l) -> v instanceof Undefined),
            test("none", "", (v, a, l) -> v == None.NONE),
            test("boolean", "", (v, a, l) -> v instanceof Boolean),
            test("true", "", (v, a, l) -> v.equals(true)),
            test("false", "", (v, a, l) -> v.equals(false)),
            test("integer", "", (v, a, l) -> isInt(v) && !(v instanceof Boolean)),
            test("float", "", (v, a, l) -> v instanceof Double),
            test("number", "", (v, a, l) -> Values.isNumber(v)),
            test("string", "", (v, a, l) -> Values.text(v) != null),
            test("mapping", "", (v, a, l) -> v instanceof Map),
            test("sequence", "", (v, a, l) -> isSequence(v)),
            test("iterable", "", (v, a, l) -> isSequence(v) || v instanceof View || v instanceof Values.Stream),
            test("callable", "", (v, a, l) -> v instanceof Callable || v instanceof Undefined),
            test("lower", "", (v, a, l) -> isCased(v, false, l)),
            test("upper", "", (v, a, l) -> isCased(v, true, l)),
            test("odd", "", (v, a, l) -> Values.equal(Values.binary("%", number(v), 2L, l), 1L, l)),
            test("even", "", (v, a, l) -> Values.equal(Values.binary("%", number(v), 2L, l), 0L, l)),
            test("divisibleby", "num", (v, a, l) -> Values.equal(Values.binary("%", number(v), a.get(0), l), 0L, l)),
            test("sameas", "other", (v, a, l) -> isSame(v, a.get(0))),
            test("escaped", "", (v, a, l) -> v instanceof Markup),
            test("in", "seq", (v, a, l) -> Values.contains(a.get(0), v, l)),
            test("filter", "", (v, a, l) -> Filters.exists(Text.str(v, l))),
            test("test", "", (v, a, l) -> exists(Text.str(v, l))),
            comparison("==", "=="),
            comparison("eq", "=="),
            comparison("equalto", "=="),
            comparison("!=", "!="),
            comparison("ne", "!="),
            comparison("<", "<"),
            comparison("lt", "<"),
            comparison("lessthan", "<"),
            comparison("<=", "<="),
            comparison("le", "<="),
            comparison(">", ">"),
            comparison("gt", ">"),
            comparison("greaterthan", ">"),
            comparison(">=", ">="),
            comparison("ge", ">="));

    private Tests() {}

    static boolean exists(String name) {
        return TESTS.containsKey(name);
    }

    static boolean apply(String name, Object value, Args args, Limits limits) {
        Entry entry = TESTS.get(name);
        if (entry == null) {
            throw new JinjaError("test '" + name + "' is not supported");
        }
        return entry.test.holds(value, entry.signature.bind("test '" + name + "'", args), limits);
    }

    private static Map.Entry<String, Entry> test(String name, String parameters, Test test) {
        return entry(name, new Entry(Signature.of(parameters), test));
    }

    private static Map.Entry<String, Entry> comparison(String name, String operator) {
        return test(name, "other /", (v, a, l) -> switch (operator) {
            case "==" -> Values.equal(v, a.get(0), l);
            case "!=" -> !Values.equal(v, a.get(0), l);
            default -> Values.ordered(operator, v, a.get(0), l);
        });
    }

    private static boolean isCased(Object value, boolean upper, Limits limits) {
        String text = Text.str(value, limits);
        limits.chargeChars(text.length());
        return Methods.isCased(text, upper);
    }

    private static boolean isInt(Object value) {
        return value instanceof Long || value instanceof java.math.BigInteger;
    }

    private static Object number(Object value) {
        if (Values.text(value) != null) {
            throw new JinjaError("a str has no remainder");
        }
        return value;
    }

    private static boolean isSequence(Object value) {
        return value instanceof List
                || value instanceof Map
                || value instanceof Tuple
                || value instanceof Range
                || value instanceof Undefined
                || Values.text(value) != null;
    }

    @SuppressWarnings("ReferenceEquality") // the test compares identity
    private static boolean isSame(Object value, Object other) {
        if (value instanceof Boolean || value instanceof None || other instanceof Boolean || other instanceof None) {
            return value.equals(other);
        }
        if (value == other) {
            return true;
        }
        if (value.getClass() != other.getClass() || value instanceof List || value instanceof Map) {
            return false;
        }
        throw new JinjaError("test 'sameas' of values of type " + Values.typeName(value) + " is not supported");
    }
}
