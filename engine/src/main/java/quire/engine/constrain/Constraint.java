package quire.engine.constrain;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the text of an answer must be: JSON, JSON of a schema, a text that matches a regular expression or a grammar, one of
 * several choices, or {@linkplain Part parts} of these and of free text. The answer ends exactly where the text is
 * complete. If the answer is cut off by its maximum number of
 * tokens or by a stop string, the text so far is a beginning of an allowed text.
 *
 * <p>The factory methods compile on the calling thread, in some tenths of a millisecond for usual schemas. They refuse
 * what is malformed, too large or not computed. A constraint depends on no tokenizer, and is immutable and thread-safe.
 * Two constraints are equal if they were made from the same text or schema.
 */
public final class Constraint {
    /** Most states of a compiled constraint. */
    private static final int LIMIT = 200_000;

    /** Most characters of a schema, a regular expression or all choices. */
    private static final int MAX_LENGTH = 1 << 20;

    private static final int MAX_NESTING = 200;

    /** The message for a constraint that no text satisfies. */
    public static final String UNSATISFIABLE = "no text satisfies the constraint";

    private final String source;
    private final Compiler compiler;
    private final @Nullable TextLimit limit;
    private final Expressions expressions;
    private final int start;

    private interface Compiler {
        int compile(Expressions expressions);
    }

    private Constraint(String source, Compiler compiler) {
        this.source = source;
        this.compiler = compiler;
        this.limit = null;
        expressions = new Expressions(LIMIT);
        try {
            start = expressions.freeze(compiler.compile(expressions));
            expressions.allowedBytes(start); // finds constraints that exceed the limits at once
        } catch (ConstraintException e) {
            throw new InvalidConstraintException("", "the constraint is too large: " + e.getMessage());
        }
        if (start == Expressions.NONE) {
            throw new InvalidConstraintException("", UNSATISFIABLE);
        }
    }

    private Constraint(Constraint unlimited, TextLimit limit) {
        source = unlimited.source + " limit " + limit;
        compiler = unlimited.compiler;
        this.limit = limit;
        expressions = unlimited.expressions;
        start = unlimited.start;
    }

    /**
     * The same constraint with a limit for the first part of the answer. The text of that part must be free: any text up to
     * {@link TextLimit#end}, as {@link Part.Until} makes it.
     */
    public Constraint withLimit(TextLimit value) {
        return new Constraint(this, value);
    }

    /** The limit for the first part of the answer; null for none. */
    @Nullable
    TextLimit limit() {
        return limit;
    }

    /** Any JSON object. */
    public static Constraint json() {
        return jsonSchema(Map.of("type", "object"));
    }

    /** As {@link #jsonSchema(Object, PropertyOrder)}, with properties in the order {@link PropertyOrder#GUIDED}. */
    public static Constraint jsonSchema(Object schema) {
        return jsonSchema(schema, PropertyOrder.GUIDED);
    }

    /**
     * JSON that a schema of draft 2020-12 or draft 7 describes. {@code docs/constraints.md} lists the keywords.
     *
     * @param schema as JSON libraries read it: {@code Map} with its entries in order, {@code List}, {@code String},
     *     {@code Boolean}, {@code Number}, null; a number with a fraction as {@code BigDecimal} if it must be exact
     * @throws InvalidConstraintException naming the keyword by its JSON pointer
     */
    public static Constraint jsonSchema(Object schema, PropertyOrder order) {
        StringBuilder source = new StringBuilder("schema ").append(order).append(' ');
        write(schema, source, 0);
        return new Constraint(source.toString(), expressions -> JsonSchema.compile(schema, order, expressions));
    }

    /**
     * A text that matches a regular expression as a whole.
     *
     * @param expression in the syntax of ECMAScript with the flag {@code u}, without look-behind, back-references and
     *     word boundaries
     * @throws InvalidConstraintException naming what is malformed or not computed
     */
    public static Constraint regex(String expression) {
        checkLength(expression.length());
        return new Constraint(
                "regex " + expression,
                expressions -> RegularExpression.whole(expression, expressions, new Characters(expressions, false)));
    }

    /**
     * A text that the rule {@code root} of a grammar derives.
     *
     * @param grammar in llama.cpp's notation (GBNF), without names of tokens and without rules that refer to themselves before
     *     their first character
     * @throws InvalidConstraintException naming the line and what is malformed or not computed
     */
    public static Constraint grammar(String grammar) {
        checkLength(grammar.length());
        return new Constraint("grammar " + grammar, expressions -> Grammar.compile(grammar, expressions));
    }

    /**
     * One of these texts.
     *
     * @throws InvalidConstraintException if there are none, or one is empty
     */
    public static Constraint choice(List<String> texts) {
        StringBuilder source = new StringBuilder("choice ");
        for (String text : texts) {
            if (text.isEmpty()) {
                throw new InvalidConstraintException("", "a choice is empty; it needs at least one character");
            }
            write(text, source, 0);
        }
        if (texts.isEmpty()) {
            throw new InvalidConstraintException("", "there are no choices");
        }
        List<String> all = List.copyOf(texts);
        return new Constraint(
                source.toString(),
                expressions -> expressions.alt(all.stream()
                        .mapToInt(text -> expressions.literal(text.getBytes(StandardCharsets.UTF_8)))
                        .toArray()));
    }

    /**
     * A text made of parts, such as free text and then JSON of a schema.
     *
     * @throws InvalidConstraintException as the factories of the parts; an empty text cannot be repeated
     */
    public static Constraint of(Part part) {
        StringBuilder source = new StringBuilder("parts ");
        write(part, source, 0);
        return new Constraint(source.toString(), expressions -> Part.compile(part, expressions));
    }

    private static void write(Part part, StringBuilder out, int nesting) {
        if (nesting > MAX_NESTING) {
            throw new InvalidConstraintException("", "the parts are nested more than " + MAX_NESTING + " deep");
        }
        out.append(part.getClass().getSimpleName());
        switch (part) {
            case Part.Text text -> write(text.text(), out, 0);
            case Part.Json json -> write(json.schema(), out, 0);
            case Part.Regex regex -> write(regex.expression(), out, 0);
            case Part.Whole whole -> write(whole.constraint().source, out, 0);
            case Part.Sequence sequence -> writeAll(sequence.parts(), out, nesting);
            case Part.OneOf choice -> writeAll(choice.parts(), out, nesting);
            case Part.Repeated repeated -> write(repeated.part(), out, nesting + 1);
            case Part.Pairs pairs -> {
                write(pairs.separator(), out, 0);
                out.append('(');
                for (Part.Pair pair : pairs.pairs()) {
                    write(pair.name(), out, 0);
                    out.append(pair.isRequired());
                    write(pair.rest(), out, nesting + 1);
                }
                out.append(')');
            }
            case Part.FreeText free -> {
                write(free.without(), out, 0);
                write(free.notAtStart(), out, 0);
            }
            case Part.Until until -> {
                write(until.end(), out, 0);
                write(until.without(), out, 0);
            }
        }
        checkLength(out.length());
    }

    private static void writeAll(List<Part> parts, StringBuilder out, int nesting) {
        out.append('(');
        parts.forEach(each -> write(each, out, nesting + 1));
        out.append(')');
    }

    private static void checkLength(int length) {
        if (length > MAX_LENGTH) {
            throw new InvalidConstraintException("", "the constraint is longer than " + MAX_LENGTH + " characters");
        }
    }

    /** Writes a value so that different values have different texts. */
    private static void write(@Nullable Object value, StringBuilder out, int nesting) {
        if (nesting > MAX_NESTING) {
            throw new InvalidConstraintException("", "the schema is nested more than " + MAX_NESTING + " deep");
        }
        switch (value) {
            case null -> out.append("null,");
            case Boolean b -> out.append(b).append(',');
            case Double d
            when !Double.isFinite(d) ->
                throw new InvalidConstraintException("", "a schema cannot hold the number " + d);
            case Float f
            when !Float.isFinite(f) -> throw new InvalidConstraintException("", "a schema cannot hold the number " + f);
            case Number n -> out.append(new BigDecimal(n.toString())).append(',');
            case String s -> out.append(s.length()).append(':').append(s);
            case List<?> list -> {
                out.append('[');
                list.forEach(element -> write(element, out, nesting + 1));
                out.append(']');
            }
            case Map<?, ?> map -> {
                out.append('{');
                map.forEach((name, child) -> {
                    write(String.valueOf(name), out, nesting + 1);
                    write(child, out, nesting + 1);
                });
                out.append('}');
            }
            default ->
                throw new InvalidConstraintException(
                        "", "a schema cannot hold a " + value.getClass().getName());
        }
        checkLength(out.length());
    }

    /** The expression for the same texts, beside others. */
    int compile(Expressions others) {
        return compiler.compile(others);
    }

    /**
     * Whether a whole text satisfies the constraint, as an answer that ends by itself does. A text can be valid JSON of a
     * schema and still not match, because a constraint allows one form of each value: see {@code docs/constraints.md}.
     */
    public boolean matches(String text) {
        Expressions own = new Expressions(expressions, LIMIT);
        return own.matches(start, Part.bytes(text));
    }

    /** A copy of the expressions, for one automaton. */
    Expressions expressions(int states) {
        return new Expressions(expressions, expressions.size() + states);
    }

    /** The expression for the whole text. */
    int start() {
        return start;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Constraint constraint && source.equals(constraint.source);
    }

    @Override
    public int hashCode() {
        return source.hashCode();
    }

    @Override
    public String toString() {
        return source.length() > 100 ? source.substring(0, 100) + '…' : source;
    }
}
