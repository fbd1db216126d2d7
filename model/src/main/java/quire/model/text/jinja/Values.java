package quire.model.text.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import org.jspecify.annotations.Nullable;

/**
 * The values of templates, and the operators of Python on them.
 *
 * <pre>
 *   str  String        bool Boolean      None None.NONE     list List         dict  Map (insertion order)
 *   int  Long          float Double      undefined Undefined tuple Tuple       range Range
 *   int beyond 64 bits: BigInteger (never one that fits 64 bits)
 *   result of |safe: Markup;  of dict.items() …: View;  of |map, |select …: Stream, which is read once and lazily
 * </pre>
 */
final class Values {
    /** The key for Undefined. It can be looked up but is never stored. */
    private static final Undefined NOWHERE = new Undefined("undefined as a dict's key");

    private Values() {}

    /** None of Python. */
    enum None {
        NONE
    }

    /**
     * A name, attribute or item that does not exist. It prints as empty text; any other use is an error ({@code
     * reason}).
     */
    record Undefined(String reason) {
        JinjaError error() {
            return new JinjaError(reason);
        }
    }

    /**
     * A tuple. {@code names} are the names of its items if it is a named tuple, otherwise empty. It is comparable only
     * for hash tables, which then stay fast if many keys have the same hash.
     */
    record Tuple(List<Object> items, List<String> names) implements Comparable<Tuple> {
        Tuple(List<Object> items) {
            this(items, List.of());
        }

        @Override
        public int compareTo(Tuple other) {
            int order = Integer.compare(items.size(), other.items.size());
            for (int i = 0; order == 0 && i < items.size(); i++) {
                Object left = items.get(i);
                Object right = other.items.get(i);
                order = left instanceof String l && right instanceof String r
                        ? l.compareTo(r)
                        : left instanceof Long l && right instanceof Long r
                                ? l.compareTo(r)
                                : left instanceof Tuple l && right instanceof Tuple r ? l.compareTo(r) : 0;
            }
            return order;
        }

        /** The item of this name, or null. */
        @Nullable
        Object named(String name) {
            int index = names.indexOf(name);
            return index < 0 ? null : items.get(index);
        }
    }

    /**
     * Text that is marked safe, Markup in Python. Text that is added or inserted is escaped for HTML first, and methods
     * return text that is marked safe.
     */
    record Markup(String text) {}

    record View(String type, List<Object> items) {}

    /** A value that can change: {@code {% set ns.x = … %}} writes to it. */
    static final class Namespace {
        private final Map<String, Object> attributes;

        Namespace(Map<String, Object> attributes) {
            this.attributes = attributes;
        }

        Map<String, Object> attributes() {
            return attributes;
        }
    }

    /** The result of the function cycler: returns the items of a list in turn, again and again. */
    static final class Cycler {
        private final List<Object> items;
        private int position;

        Cycler(List<Object> items) {
            this.items = items;
        }

        @Nullable
        Object attribute(String name) {
            return switch (name) {
                case "current" -> items.get(position);
                case "pos" -> (long) position;
                case "items" -> new Tuple(items);
                case "next" ->
                    (Callable) args -> {
                        Args.Signature.of("").bind("cycler.next", args);
                        Object current = items.get(position);
                        position = (position + 1) % items.size();
                        return current;
                    };
                case "reset" ->
                    (Callable) args -> {
                        Args.Signature.of("").bind("cycler.reset", args);
                        position = 0;
                        return None.NONE;
                    };
                default -> null;
            };
        }
    }

    record Stream(Iterator<Object> items) {}

    record Range(long start, long stop, long step) {
        int size() {
            if (step > 0 ? start >= stop : start <= stop) {
                return 0;
            }
            return (int) (1 + (Math.abs(stop - start) - 1) / Math.abs(step));
        }

        long get(long index) {
            return start + index * step;
        }
    }

    /** A value that can be called: a macro, a function or a method. */
    interface Callable {
        Object call(Args args);
    }

    /** A list that a template writes in brackets. Unlike a list that it is given, it may change it. */
    static final class WrittenList extends ArrayList<Object> {
        private static final long serialVersionUID = 1L;

        WrittenList(List<Object> items) {
            super(items);
        }
    }

    /** Converts plain Java values (String, Number, Boolean, Collection, Map, null) to values of templates. A copy. */
    static Object fromJava(@Nullable Object java, Limits limits, int depth) {
        return switch (java) {
            case null -> None.NONE;
            case String s -> {
                limits.grantInput(s.length());
                yield s;
            }
            case Boolean b -> b;
            case Double d -> d;
            case Float f -> f.doubleValue();
            case BigDecimal d -> d.doubleValue();
            case BigInteger i when i.bitLength() > 63 -> i;
            case Number n -> n.longValue();
            case Map<?, ?> map -> {
                Map<Object, Object> dict = new LinkedHashMap<>();
                for (Map.Entry<?, ?> entry : map.entrySet()) {
                    String key = String.valueOf(entry.getKey());
                    limits.grantInput(key.length());
                    dict.put(key, fromJava(entry.getValue(), limits, Limits.deeper(depth)));
                }
                limits.grantInput(4L * dict.size());
                yield dict;
            }
            case Iterable<?> items -> {
                List<Object> list = new ArrayList<>();
                for (Object item : items) {
                    list.add(fromJava(item, limits, Limits.deeper(depth)));
                }
                limits.grantInput(4L * list.size());
                yield list;
            }
            default -> throw new JinjaError("a value of " + java.getClass() + " cannot be given to a template");
        };
    }

    static Object attributeOf(Object object, String name) {
        return new Undefined("'" + typeName(object) + " object' has no attribute '" + name + "'");
    }

    static String typeName(Object value) {
        return switch (value) {
            case String s -> "str";
            case Boolean b -> "bool";
            case Long l -> "int";
            case BigInteger i -> "int";
            case Double d -> "float";
            case None n -> "None";
            case List<?> l -> "list";
            case Map<?, ?> m -> "dict";
            case Tuple t -> "tuple";
            case Markup m -> "Markup";
            case Undefined u -> "Undefined";
            case View view -> view.type();
            case Range r -> "range";
            case Stream s -> "generator";
            case Namespace n -> "Namespace";
            case Cycler c -> "Cycler";
            default -> "function";
        };
    }

    static boolean truth(Object value) {
        return switch (value) {
            case Boolean b -> b;
            case String s -> !s.isEmpty();
            case None n -> false;
            case Undefined u -> false;
            case Long l -> l != 0;
            case Double d -> d != 0;
            case List<?> l -> !l.isEmpty();
            case Map<?, ?> m -> !m.isEmpty();
            case Tuple t -> !t.items().isEmpty();
            case Markup m -> !m.text().isEmpty();
            case View v -> !v.items().isEmpty();
            case Range r -> r.size() > 0;
            default -> true;
        };
    }

    /** len() of Python. */
    static int length(Object value) {
        return switch (value) {
            case String s -> s.codePointCount(0, s.length());
            case Markup m -> m.text().codePointCount(0, m.text().length());
            case Undefined u -> 0;
            case List<?> l -> l.size();
            case Map<?, ?> m -> m.size();
            case Tuple t -> t.items().size();
            case View v -> v.items().size();
            case Range r -> r.size();
            default -> throw new JinjaError("a value of type " + typeName(value) + " has no length");
        };
    }

    /** iter() of Python. */
    @SuppressWarnings("unchecked") // lists and dicts contain only values, see fromJava
    static Iterator<Object> iterate(Object value) {
        return switch (value) {
            case List<?> l -> (Iterator<Object>) Collections.unmodifiableList(l).iterator();
            case Tuple t -> t.items().iterator();
            case View v -> v.items().iterator();
            case Map<?, ?> m ->
                (Iterator<Object>) Collections.unmodifiableMap(m).keySet().iterator();
            case Stream s -> s.items();
            case Undefined u -> Collections.emptyIterator();
            case String s ->
                s.codePoints().mapToObj(c -> (Object) Character.toString(c)).iterator();
            case Markup m -> iterate(m.text());
            case Range r ->
                new Iterator<>() {
                    private int index;

                    @Override
                    public boolean hasNext() {
                        return index < r.size();
                    }

                    @Override
                    public Object next() {
                        if (!hasNext()) {
                            throw new NoSuchElementException();
                        }
                        return r.get(index++);
                    }
                };
            default -> throw new JinjaError("a value of type " + typeName(value) + " cannot be iterated over");
        };
    }

    static List<Object> toList(Object value, Limits limits) {
        List<Object> list = new ArrayList<>();
        for (Iterator<Object> items = iterate(value); items.hasNext(); ) {
            limits.charge(1);
            list.add(items.next());
        }
        return list;
    }

    // ---- comparison

    static boolean equal(Object left, Object right, Limits limits) {
        return equal(left, right, limits, 0);
    }

    private static boolean equal(Object left, Object right, Limits limits, int depth) {
        limits.charge(1);
        if (isNumber(left) && isNumber(right)) {
            return compareNumbers(left, right) == 0 && !isNaN(left) && !isNaN(right);
        }
        return switch (left) {
            case String s -> {
                limits.chargeChars(s.length());
                yield right instanceof Markup m ? s.equals(m.text()) : s.equals(right);
            }
            case Markup m -> {
                limits.chargeChars(m.text().length());
                yield m.text().equals(text(right));
            }
            case None n -> n == right;
            case Undefined u -> right instanceof Undefined;
            case List<?> l -> right instanceof List<?> r && equalItems(l, r, limits, Limits.deeper(depth));
            case Tuple l -> right instanceof Tuple r && equalItems(l.items(), r.items(), limits, Limits.deeper(depth));
            case Range l ->
                right instanceof Range r && equalItems(toList(l, limits), toList(r, limits), limits, depth + 1);
            case Map<?, ?> l -> {
                if (!(right instanceof Map<?, ?> r) || l.size() != r.size()) {
                    yield false;
                }
                int inner = Limits.deeper(depth);
                for (Map.Entry<?, ?> entry : l.entrySet()) {
                    Object other = r.get(entry.getKey());
                    if (other == null || !equal(entry.getValue(), other, limits, inner)) {
                        yield false;
                    }
                }
                yield true;
            }
            case View v
            when right instanceof View ->
                throw new JinjaError("comparing values of type " + v.type() + " is not supported");
            default -> left.equals(right);
        };
    }

    private static boolean equalItems(List<?> left, List<?> right, Limits limits, int depth) {
        if (left.size() != right.size()) {
            return false;
        }
        for (int i = 0; i < left.size(); i++) {
            if (!equal(left.get(i), right.get(i), limits, depth)) {
                return false;
            }
        }
        return true;
    }

    /** The order of Python for {@code <} and for sorting: numbers, strings, and lists or tuples item by item. */
    static int compare(Object left, Object right, Limits limits) {
        return compare(left, right, limits, 0);
    }

    private static int compare(Object left, Object right, Limits limits, int depth) {
        limits.charge(1);
        if (isNumber(left) && isNumber(right)) {
            return compareNumbers(left, right);
        }
        String leftText = text(left);
        String rightText = text(right);
        if (leftText != null && rightText != null) {
            limits.chargeChars(Math.min(leftText.length(), rightText.length()));
            return Text.compare(leftText, rightText);
        }
        List<?> l = left instanceof Tuple tuple ? tuple.items() : left instanceof List<?> list ? list : null;
        List<?> r = right instanceof Tuple tuple ? tuple.items() : right instanceof List<?> list ? list : null;
        if (l == null || r == null || left instanceof Tuple != right instanceof Tuple) {
            if (left instanceof Undefined undefined) {
                throw undefined.error();
            }
            if (right instanceof Undefined undefined) {
                throw undefined.error();
            }
            throw new JinjaError("values of type " + typeName(left) + " and " + typeName(right) + " have no order");
        }
        for (int i = 0; i < Math.min(l.size(), r.size()); i++) {
            if (!equal(l.get(i), r.get(i), limits, Limits.deeper(depth))) {
                return compare(l.get(i), r.get(i), limits, Limits.deeper(depth));
            }
        }
        return Integer.compare(l.size(), r.size());
    }

    /** Whether {@code left operator right} is true. Comparisons with NaN are false. */
    static boolean ordered(String operator, Object left, Object right, Limits limits) {
        int order = compare(left, right, limits);
        if (isNaN(left) || isNaN(right)) {
            return false;
        }
        return switch (operator) {
            case "<" -> order < 0;
            case "<=" -> order <= 0;
            case ">" -> order > 0;
            case ">=" -> order >= 0;
            default -> throw new IllegalArgumentException(operator);
        };
    }

    /** {@code item in container} of Python. */
    static boolean contains(Object container, Object item, Limits limits) {
        return switch (container) {
            case String s -> {
                String part = text(item);
                if (part == null) {
                    throw new JinjaError("'in <str>' needs a str on its left, not " + typeName(item));
                }
                limits.chargeChars((long) s.length() + part.length());
                yield Text.indexOf(s, part, 0) >= 0;
            }
            case Markup m -> contains(m.text(), item, limits);
            case Map<?, ?> map -> map.containsKey(key(item, limits));
            default -> {
                for (Iterator<Object> items = iterate(container); items.hasNext(); ) {
                    if (equal(items.next(), item, limits)) {
                        yield true;
                    }
                }
                yield false;
            }
        };
    }

    /** A value as the key of a dict: strings, None, numbers, and tuples of them. */
    static Object key(Object value, Limits limits) {
        return key(value, limits, 0);
    }

    private static Object key(Object value, Limits limits, int depth) {
        limits.charge(1);
        String text = text(value);
        if (text != null) {
            limits.chargeChars(text.length());
            return text;
        }
        return switch (value) {
            case None n -> n;
            case Long l -> l;
            case Boolean b -> b ? 1L : 0L;
            case Double d when d == Math.rint(d) && !d.isInfinite() -> whole(d);
            case Double d -> d;
            case BigInteger i -> i;
            case Undefined u -> NOWHERE;
            case Tuple t -> {
                List<Object> keys = new ArrayList<>();
                for (Object item : t.items()) {
                    keys.add(
                            item instanceof Tuple inner ? key(inner, limits, Limits.deeper(depth)) : key(item, limits));
                }
                yield new Tuple(keys);
            }
            default -> throw new JinjaError("a value of type " + typeName(value) + " cannot be a dict's key");
        };
    }

    /**
     * A key to store in a dict. Refuses keys whose type Python would keep but that would be stored as another type
     * here.
     */
    static Object storedKey(Object value, Limits limits) {
        if (value instanceof Boolean || value instanceof Double || value instanceof Undefined) {
            throw new JinjaError("a " + typeName(value) + " as a dict's key is not supported");
        }
        return key(value, limits);
    }

    // ---- numbers

    static boolean isNumber(Object value) {
        return value instanceof Long
                || value instanceof Double
                || value instanceof Boolean
                || value instanceof BigInteger;
    }

    private static boolean isNaN(Object value) {
        return value instanceof Double d && d.isNaN();
    }

    private static int compareNumbers(Object left, Object right) {
        Object l = number(left);
        Object r = number(right);
        if (l instanceof Long a && r instanceof Long b) {
            return Long.compare(a, b);
        }
        if (infinite(l) || infinite(r)) {
            return Double.compare(((Number) l).doubleValue(), ((Number) r).doubleValue());
        }
        return exact(l).compareTo(exact(r));
    }

    private static boolean infinite(Object number) {
        return number instanceof Double d && (d.isInfinite() || d.isNaN());
    }

    private static BigDecimal exact(Object number) {
        return switch (number) {
            case Double d -> new BigDecimal(d);
            case BigInteger i -> new BigDecimal(i);
            default -> BigDecimal.valueOf((Long) number);
        };
    }

    private static Object number(Object value) {
        return value instanceof Boolean b ? (Object) (b ? 1L : 0L) : value;
    }

    static Object unary(char operator, Object operand) {
        if (operand instanceof Undefined undefined) {
            throw undefined.error();
        }
        return switch (number(operand)) {
            case Long l -> operator == '-' ? whole(BigInteger.valueOf(l).negate()) : (Object) l;
            case BigInteger i -> operator == '-' ? whole(i.negate()) : (Object) i;
            case Double d -> operator == '-' ? -d : d;
            default -> throw new JinjaError("'" + operator + "' does not take a " + typeName(operand));
        };
    }

    /** An int: Long if it fits 64 bits. */
    static Object whole(BigInteger value) {
        return value.bitLength() > 63 ? (Object) value : (Object) value.longValue();
    }

    /** A finite float as an int; the fraction is cut off. */
    static Object whole(double value) {
        return Math.abs(value) < 1L << 53 ? (Object) (long) value : whole(new BigDecimal(value).toBigInteger());
    }

    private static BigInteger integer(Object number) {
        return number instanceof BigInteger i ? i : BigInteger.valueOf((Long) number);
    }

    /** float() of Python, for a number. */
    private static double toDouble(Object number) {
        double value = ((Number) number).doubleValue();
        if (number instanceof BigInteger && Double.isInfinite(value)) {
            throw new JinjaError("an int is too large for a float");
        }
        return value;
    }

    /** The operators + - * / // % ** of Python on numbers, + and * on strings and lists, and % for formatting. */
    static Object binary(String operator, Object left, Object right, Limits limits) {
        if (left instanceof Undefined undefined) {
            throw undefined.error();
        }
        if (operator.equals("%") && left instanceof String format) {
            return Format.percent(format, right, Map.of(), false, limits);
        }
        if (operator.equals("%") && left instanceof Markup format) {
            return new Markup(Format.percent(format.text(), right, Map.of(), true, limits));
        }
        if (right instanceof Undefined undefined) {
            throw undefined.error();
        }
        if (isNumber(left) && isNumber(right)) {
            Object l = number(left);
            Object r = number(right);
            if (l instanceof Long a && r instanceof Long b) {
                return arithmetic(operator, a, b, limits);
            }
            if (l instanceof Double || r instanceof Double) {
                return arithmetic(operator, toDouble(l), toDouble(r));
            }
            return arithmetic(operator, integer(l), integer(r), limits);
        }
        if (operator.equals("+")) {
            if (left instanceof String l && right instanceof String r) {
                limits.chargeChars((long) l.length() + r.length());
                return l + r;
            }
            if (text(left) != null && text(right) != null) {
                String l = Text.escape(left, limits);
                String r = Text.escape(right, limits);
                limits.chargeChars((long) l.length() + r.length());
                return new Markup(l + r);
            }
            if (left instanceof List<?> l && right instanceof List<?> r) {
                return concat(l, r, limits);
            }
            if (left instanceof Tuple l && right instanceof Tuple r) {
                return new Tuple(concat(l.items(), r.items(), limits));
            }
        }
        if (operator.equals("*") && number(right) instanceof Long times) {
            return repeat(left, times, limits);
        }
        if (operator.equals("*") && number(left) instanceof Long times) {
            return repeat(right, times, limits);
        }
        throw new JinjaError(
                "'" + operator + "' does not take " + typeName(left) + " and " + typeName(right) + " together");
    }

    private static List<Object> concat(List<?> left, List<?> right, Limits limits) {
        limits.charge((long) left.size() + right.size());
        List<Object> both = new ArrayList<>(left.size() + right.size());
        both.addAll(left);
        both.addAll(right);
        return both;
    }

    private static Object repeat(Object value, long times, Limits limits) {
        long count = Math.clamp(times, 0, Integer.MAX_VALUE);
        return switch (value) {
            case String s -> {
                limits.chargeChars(s.length() * count);
                yield s.repeat((int) count);
            }
            case Markup m -> new Markup((String) repeat(m.text(), times, limits));
            case List<?> l -> {
                limits.charge(l.size() * count);
                List<Object> repeated = new ArrayList<>();
                for (long i = 0; i < count && !l.isEmpty(); i++) {
                    repeated.addAll(l);
                }
                yield repeated;
            }
            case Tuple t -> new Tuple(toList(repeat(t.items(), times, limits), limits));
            default -> throw new JinjaError("'*' does not take " + typeName(value) + " and int together");
        };
    }

    private static Object arithmetic(String operator, long left, long right, Limits limits) {
        try {
            return switch (operator) {
                case "+" -> Math.addExact(left, right);
                case "-" -> Math.subtractExact(left, right);
                case "*" -> Math.multiplyExact(left, right);
                case "/" -> divide(left, right);
                case "//" -> Math.floorDivExact(left, nonZero(right));
                case "%" -> Math.floorMod(left, nonZero(right));
                default -> right >= 0 ? power(left, right) : power((double) left, (double) right);
            };
        } catch (ArithmeticException e) {
            return arithmetic(operator, BigInteger.valueOf(left), BigInteger.valueOf(right), limits);
        }
    }

    /** The same for ints of up to {@link Limits#INTEGER_BITS} bits. */
    private static Object arithmetic(String operator, BigInteger left, BigInteger right, Limits limits) {
        long words = left.bitLength() / 64L + right.bitLength() / 64 + 1;
        boolean linear = operator.equals("+") || operator.equals("-");
        limits.charge(linear ? words : 1 + words * words / 64);
        return switch (operator) {
            case "+" -> bounded(left.add(right));
            case "-" -> bounded(left.subtract(right));
            case "*" -> bounded(left.multiply(right));
            case "/" -> divide(left, nonZero(right));
            case "//" -> whole(floorDivide(left, nonZero(right))[0]);
            case "%" -> whole(floorDivide(left, nonZero(right))[1]);
            default -> right.signum() >= 0 ? power(left, right, limits) : power(toDouble(left), toDouble(right));
        };
    }

    private static Object bounded(BigInteger value) {
        if (value.bitLength() > Limits.INTEGER_BITS) {
            throw tooLarge();
        }
        return whole(value);
    }

    private static JinjaError tooLarge() {
        return new JinjaError("an int of more than " + Limits.INTEGER_BITS + " bits");
    }

    /** Quotient and remainder; the remainder has the sign of the divisor. */
    private static BigInteger[] floorDivide(BigInteger left, BigInteger right) {
        BigInteger[] parts = left.divideAndRemainder(right);
        if (parts[1].signum() != 0 && parts[1].signum() != right.signum()) {
            parts[0] = parts[0].subtract(BigInteger.ONE);
            parts[1] = parts[1].add(right);
        }
        return parts;
    }

    /**
     * The float closest to a quotient. It is rounded from 66 bits and one more bit, which is set if there is a
     * remainder.
     */
    private static Object divide(BigInteger left, BigInteger right) {
        int shift = Math.max(0, 66 - left.bitLength() + right.bitLength());
        BigInteger[] parts = left.abs().shiftLeft(shift).divideAndRemainder(right.abs());
        BigInteger bits = parts[0].shiftLeft(1);
        double quotient = Math.scalb((parts[1].signum() == 0 ? bits : bits.setBit(0)).doubleValue(), -shift - 1);
        if (Double.isInfinite(quotient)) {
            throw new JinjaError("the quotient of two ints is too large for a float");
        }
        return left.signum() == right.signum() ? quotient : -quotient;
    }

    private static Object power(BigInteger base, BigInteger exponent, Limits limits) {
        if (base.abs().compareTo(BigInteger.ONE) <= 0) {
            return exponent.signum() == 0 ? 1L : whole(exponent.testBit(0) ? base : base.abs());
        }
        long bits = base.abs().bitLength();
        if (exponent.bitLength() > 31 || (bits - 1) * exponent.longValue() > Limits.INTEGER_BITS) {
            throw tooLarge();
        }
        long words = bits * exponent.longValue() / 64 + 1;
        limits.charge(words * words / 16);
        return bounded(base.pow(exponent.intValue()));
    }

    private static Object divide(long left, long right) {
        // The quotient is rounded once; converting both numbers to double first would round several times.
        boolean exact = Math.abs(left) < 1L << 53 && Math.abs(right) < 1L << 53;
        return exact
                ? (Object) ((double) left / nonZero(right))
                : divide(BigInteger.valueOf(left), BigInteger.valueOf(nonZero(right)));
    }

    private static Object power(long base, long exponent) {
        long result = 1;
        long factor = base;
        for (long left = exponent; left > 0; left >>= 1) {
            if ((left & 1) == 1) {
                result = Math.multiplyExact(result, factor);
            }
            if (left > 1) {
                factor = Math.multiplyExact(factor, factor);
            }
        }
        return result;
    }

    private static Object power(double base, double exponent) {
        if (base == 0 && exponent < 0) {
            throw new JinjaError("0 to a negative power");
        }
        double result = StrictMath.pow(base, exponent);
        if (Double.isNaN(result) || Double.isInfinite(result)) {
            throw new JinjaError(base + " ** " + exponent + " is not a float");
        }
        return result;
    }

    private static Object arithmetic(String operator, double left, double right) {
        return switch (operator) {
            case "+" -> left + right;
            case "-" -> left - right;
            case "*" -> left * right;
            case "/" -> left / nonZero(right);
            case "//" -> Math.floor((left - floorMod(left, right)) / nonZero(right) + 0.5);
            case "%" -> floorMod(left, right);
            default -> power(left, right);
        };
    }

    private static double floorMod(double left, double right) {
        double remainder = left % nonZero(right);
        return remainder != 0 && remainder < 0 != right < 0
                ? remainder + right
                : remainder == 0 ? Math.copySign(0, right) : remainder;
    }

    private static long nonZero(long divisor) {
        if (divisor == 0) {
            throw new JinjaError("division by zero");
        }
        return divisor;
    }

    private static BigInteger nonZero(BigInteger divisor) {
        if (divisor.signum() == 0) {
            throw new JinjaError("division by zero");
        }
        return divisor;
    }

    private static double nonZero(double divisor) {
        if (divisor == 0) {
            throw new JinjaError("division by zero");
        }
        return divisor;
    }

    // ---- items and slices

    /** {@code object[key]}, or null if there is no such item; Jinja then looks for an attribute. */
    static @Nullable Object item(Object object, Object key, Limits limits) {
        if (object instanceof Map<?, ?> map) {
            boolean hashable = !(key instanceof List || key instanceof Map);
            return hashable ? map.get(key(key, limits)) : null;
        }
        if (object instanceof Markup markup) {
            Object item = item(markup.text(), key, limits);
            return item instanceof String s ? new Markup(s) : item;
        }
        if (!(number(key) instanceof Long index)) {
            return null;
        }
        int size =
                switch (object) {
                    case String s -> {
                        limits.chargeChars(s.length());
                        yield length(s);
                    }
                    case List<?> l -> l.size();
                    case Tuple t -> t.items().size();
                    case Range r -> r.size();
                    default -> -1;
                };
        long at = index < 0 ? index + size : index;
        if (at < 0 || at >= size) {
            return null;
        }
        return switch (object) {
            case String s -> Character.toString(s.codePointAt(s.offsetByCodePoints(0, (int) at)));
            case List<?> l -> l.get((int) at);
            case Tuple t -> t.items().get((int) at);
            case Range r -> r.get(at);
            default -> null;
        };
    }

    /** {@code object[start:stop:step]}; None for a part that is missing. */
    static Object slice(Object object, Object start, Object stop, Object step, Limits limits) {
        return switch (object) {
            case String s -> {
                limits.chargeChars(s.length());
                int[] points = s.codePoints().toArray();
                StringBuilder out = new StringBuilder();
                forSlice(points.length, start, stop, step, i -> out.appendCodePoint(points[i]));
                yield out.toString();
            }
            case Markup m -> new Markup((String) slice(m.text(), start, stop, step, limits));
            case List<?> l -> slice(l, start, stop, step, limits);
            case Tuple t -> new Tuple(slice(t.items(), start, stop, step, limits));
            case Range r -> {
                Bounds bounds = bounds(r.size(), start, stop, step);
                if (Math.multiplyHigh(r.step(), bounds.by()) != (r.step() * bounds.by()) >> 63) {
                    throw new JinjaError("a range with a step beyond 64 bits");
                }
                yield new Range(r.get(bounds.from()), r.get(bounds.to()), r.step() * bounds.by());
            }
            case Undefined u -> throw u.error();
            default -> throw new JinjaError("a value of type " + typeName(object) + " cannot be sliced");
        };
    }

    private static List<Object> slice(List<?> list, Object start, Object stop, Object step, Limits limits) {
        List<Object> out = new ArrayList<>();
        forSlice(list.size(), start, stop, step, i -> {
            limits.charge(1);
            out.add(list.get(i));
        });
        return out;
    }

    private record Bounds(long from, long to, long by) {}

    private static Bounds bounds(int size, Object start, Object stop, Object step) {
        long by = bound(step, 1, Long.MAX_VALUE, Long.MIN_VALUE + 1);
        if (by == 0) {
            throw new JinjaError("the step of a slice cannot be 0");
        }
        long low = by > 0 ? 0 : -1;
        long high = by > 0 ? size : size - 1L;
        long from = wrap(bound(start, by > 0 ? low : high, Long.MAX_VALUE, Long.MIN_VALUE), start, size, low, high);
        long to = wrap(bound(stop, by > 0 ? high : low, Long.MAX_VALUE, Long.MIN_VALUE), stop, size, low, high);
        return new Bounds(from, to, by);
    }

    private static void forSlice(
            int size, Object start, Object stop, Object step, java.util.function.IntConsumer visit) {
        Bounds bounds = bounds(size, start, stop, step);
        long by = Math.clamp(bounds.by(), -size - 1L, size + 1L);
        for (long i = bounds.from(); by > 0 ? i < bounds.to() : i > bounds.to(); i += by) {
            visit.accept((int) i);
        }
    }

    private static long bound(Object value, long otherwise, long max, long min) {
        return switch (number(value)) {
            case None n -> otherwise;
            case Long l -> Math.clamp(l, min, max);
            case BigInteger i -> i.signum() < 0 ? min : max;
            default -> throw new JinjaError("a slice's bounds are integers, not " + typeName(value));
        };
    }

    private static long wrap(long bound, Object given, int size, long low, long high) {
        long wrapped = given != None.NONE && bound < 0 ? bound + size : bound;
        return Math.clamp(wrapped, low, Math.max(low, high));
    }

    /** The text of a string or of text marked safe; null for other values. */
    static @Nullable String text(Object value) {
        return value instanceof String s ? s : value instanceof Markup m ? m.text() : null;
    }
}
