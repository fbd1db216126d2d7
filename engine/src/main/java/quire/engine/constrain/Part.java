package quire.engine.constrain;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A part of an answer's text, from which {@link Constraint#of} makes a constraint. Immutable.
 *
 * <p>A text may contain control tokens: {@link #control} writes one so that no text can spell it.
 */
public sealed interface Part {
    /**
     * Stands before and after the spelling of a control token in a text. Unicode keeps this code for the inside of programs, and
     * where control tokens are written so, text from tokens has U+FFFD in its place. Half a surrogate pair would not do: it
     * may be half of a character.
     */
    char CONTROL_MARK = '\uFFFF';

    /** Stands for {@link #CONTROL_MARK} in bytes; UTF-8 does not have it. */
    byte CONTROL_BYTE = (byte) 0xFF;

    /** A control token as text. */
    static String control(String spelling) {
        return CONTROL_MARK + spelling + CONTROL_MARK;
    }

    /** This text exactly; may be empty. */
    record Text(String text) implements Part {}

    /**
     * JSON of a schema, as {@link Constraint#jsonSchema}.
     *
     * @param schema in the form that JSON libraries read; not copied
     */
    record Json(Object schema) implements Part {}

    /** A text that matches a regular expression, as {@link Constraint#regex}. */
    record Regex(String expression) implements Part {}

    /** What another constraint allows. */
    record Whole(Constraint constraint) implements Part {}

    /** These parts, one after the other. */
    record Sequence(List<Part> parts) implements Part {
        /** Copies the list. */
        public Sequence {
            parts = List.copyOf(parts);
        }
    }

    /** One of these parts. */
    record OneOf(List<Part> parts) implements Part {
        /** Copies the list. */
        public OneOf {
            parts = List.copyOf(parts);
        }
    }

    /** A part any number of times, also none. It must not match the empty text. */
    record Repeated(Part part) implements Part {}

    /**
     * A named part.
     *
     * @param name the text before it; not empty
     */
    record Pair(String name, Part rest, boolean isRequired) {}

    /** Pairs in any order, each once, or not at all if it is not required. No two have the same name. */
    record Pairs(List<Pair> pairs, String separator) implements Part {
        /** Copies the list. */
        public Pairs {
            pairs = List.copyOf(pairs);
        }
    }

    /**
     * Any text, control tokens included, but for some.
     *
     * @param without texts that it does not contain
     * @param notAtStart texts that it does not begin with, also not after white space
     */
    record FreeText(List<String> without, List<String> notAtStart) implements Part {
        /** Copies the lists. */
        public FreeText {
            without = List.copyOf(without);
            notAtStart = List.copyOf(notAtStart);
        }
    }

    /**
     * Any text, control tokens included, up to the first occurrence of another, which belongs to it.
     *
     * @param end the text that ends it
     * @param without texts that it does not contain
     */
    record Until(String end, List<String> without) implements Part {
        /** Copies the list. */
        public Until {
            without = List.copyOf(without);
        }
    }

    /** {@link Sequence}. */
    static Part sequence(Part... parts) {
        return new Sequence(Arrays.asList(parts));
    }

    /** {@link OneOf}. */
    static Part oneOf(Part... parts) {
        return new OneOf(Arrays.asList(parts));
    }

    /** The bytes of a text that may contain control tokens. */
    static byte[] bytes(String text) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(text.length() + 8);
        int from = 0;
        for (int mark = text.indexOf(CONTROL_MARK); mark >= 0; mark = text.indexOf(CONTROL_MARK, from)) {
            bytes.writeBytes(text.substring(from, mark).getBytes(StandardCharsets.UTF_8));
            bytes.write(CONTROL_BYTE);
            from = mark + 1;
        }
        bytes.writeBytes(text.substring(from).getBytes(StandardCharsets.UTF_8));
        return bytes.toByteArray();
    }

    /** The expression for the texts of a part. */
    static int compile(Part part, Expressions expressions) {
        return switch (part) {
            case Text text -> expressions.literal(bytes(text.text));
            case Json json -> JsonSchema.compile(json.schema, PropertyOrder.GUIDED, expressions);
            case Regex regex ->
                RegularExpression.whole(regex.expression, expressions, new Characters(expressions, false));
            case Whole whole -> whole.constraint.compile(expressions);
            case Sequence sequence -> {
                int rest = Expressions.EMPTY;
                for (Part each : sequence.parts.reversed()) {
                    rest = expressions.cat(compile(each, expressions), rest);
                }
                yield rest;
            }
            case OneOf choice ->
                expressions.alt(choice.parts.stream()
                        .mapToInt(each -> compile(each, expressions))
                        .toArray());
            case Repeated repeated -> expressions.rep(compile(repeated.part, expressions), 0, Expressions.UNLIMITED);
            case Pairs pairs -> {
                if (pairs.pairs.size() > Members.MAX) {
                    throw new InvalidConstraintException("", "there are more than " + Members.MAX + " pairs");
                }
                List<Members.Pair> all = pairs.pairs.stream()
                        .map(pair -> new Members.Pair(pair.name, compile(pair.rest, expressions), pair.isRequired))
                        .toList();
                int separator = expressions.literal(bytes(pairs.separator));
                yield expressions.members(new Members(
                        all, Expressions.NONE, separator, Expressions.EMPTY, 0, Expressions.UNLIMITED, false));
            }
            case FreeText free -> {
                List<Integer> forbidden = containing(free.without, expressions);
                int space = expressions.alt(
                        expressions.range('\t', '\n'), expressions.range('\r', '\r'), expressions.range(' ', ' '));
                for (String text : free.notAtStart) {
                    forbidden.add(expressions.seq(
                            expressions.rep(space, 0, Expressions.UNLIMITED), beginning(text, expressions)));
                }
                yield none(forbidden, expressions);
            }
            case Until until -> {
                int end = expressions.literal(bytes(until.end));
                int further = expressions.seq(end, expressions.seq(expressions.range(0, 0xFF), Expressions.ANYTHING));
                List<Integer> forbidden = containing(until.without, expressions);
                forbidden.add(expressions.seq(Expressions.ANYTHING, further));
                yield expressions.and(expressions.seq(Expressions.ANYTHING, end), none(forbidden, expressions));
            }
        };
    }

    private static List<Integer> containing(List<String> texts, Expressions expressions) {
        List<Integer> containing = new ArrayList<>();
        for (String text : texts) {
            containing.add(expressions.seq(Expressions.ANYTHING, beginning(text, expressions)));
        }
        return containing;
    }

    private static int none(List<Integer> forbidden, Expressions expressions) {
        return expressions.not(
                expressions.alt(forbidden.stream().mapToInt(Integer::intValue).toArray()));
    }

    private static int beginning(String text, Expressions expressions) {
        return expressions.seq(expressions.literal(bytes(text)), Expressions.ANYTHING);
    }
}
