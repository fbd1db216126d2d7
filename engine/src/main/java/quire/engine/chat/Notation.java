package quire.engine.chat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.Part;

/**
 * Arguments that are neither JSON nor tags: pairs with the values of a programming language, or with quotes of their own. The
 * bracket before the first pair is part of the text before the arguments.
 *
 * <pre>
 *   Gemma 4    call:NAME{ key:&lt;|"|>text&lt;|"|>,list:[1,true] }
 *   LFM2       NAME( key="text", list=[1, True] )
 * </pre>
 *
 * <p>The declared properties come in any order; others are not written. With quotes of their own, the texts within them are
 * bare: of the keywords for strings only {@code enum} and {@code const} are then enforced, and lists and objects may have only
 * the keywords for their elements and properties. Otherwise values are JSON, but {@code True}, {@code False} and {@code None}
 * may stand for {@code true}, {@code false} and {@code null}. What would not be read back as it is, is not written, as in
 * {@link TaggedArguments}.
 *
 * @param assign between a key and its value
 * @param separator between two pairs
 * @param close the bracket behind the last pair
 * @param quote before and after a text; empty for the strings of JSON
 */
record Notation(String assign, String separator, String close, String quote) {
    private static final int ANY_DEPTH = 2;

    private static final Set<String> ANNOTATIONS =
            Set.of("title", "description", "default", "examples", "$comment", "deprecated", "additionalProperties");

    private static final List<String> SCALARS = List.of("number", "boolean", "null");

    private static final Map<String, String> WORDS = Map.of("True", "true", "False", "false", "None", "null");

    private static final String NUMBER = "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?";

    /** A pair for display. */
    String describe() {
        return "KEY" + assign + (quote.isEmpty() ? "\"VALUE\"" : quote + "VALUE" + quote) + close;
    }

    // What arguments may be.

    /**
     * The arguments of a tool, with the closing bracket.
     *
     * @throws InvalidConstraintException if the schema has keywords that cannot be enforced in this form
     */
    Part part(Tool tool) {
        TaggedArguments.checkRoot(tool);
        return Part.sequence(pairs(tool.parameters(), "", tool), new Part.Text(close));
    }

    /**
     * Pairs in any order, of which those that are not required may be missing.
     *
     * @param tool whose arguments these are; null for an object within them
     */
    private Part pairs(Map<String, ?> schema, String place, @Nullable Tool tool) {
        TaggedArguments.PairWriter writer = new TaggedArguments.PairWriter() {
            @Override
            public boolean isName(String name) {
                return Notation.this.isName(name, tool == null);
            }

            @Override
            public String written(String name) {
                return name + assign;
            }

            @Override
            public Part value(String name, @Nullable Object of, String at) {
                Map<String, ?> known = tool == null ? child(of) : TaggedArguments.property(tool, name);
                return Notation.this.value(known == null ? Map.of() : known, at);
            }
        };
        return new Part.Pairs(TaggedArguments.pairs(schema, place, writer), separator);
    }

    /**
     * Whether a key is read back as it is.
     *
     * @param isInside whether it stands in an object, and not before an argument
     */
    private boolean isName(String name, boolean isInside) {
        List<String> others = isInside ? List.of(",", "}", "\"", "'") : List.of(",", close);
        return TaggedArguments.isReadBack(name, assign)
                && name.equals(name.strip())
                && !(isInside && isQuoted(name))
                && others.stream().noneMatch((name + assign)::startsWith);
    }

    private Part value(Map<String, ?> schema, String place) {
        if (quote.isEmpty()) {
            List<Part> ways = new ArrayList<>(List.of(new Part.Json(schema)));
            Constraint json = Constraint.jsonSchema(schema);
            WORDS.forEach((word, same) -> {
                if (json.matches(same)) {
                    ways.add(new Part.Text(word));
                }
            });
            return new Part.OneOf(ways);
        }
        List<@Nullable Object> values = TaggedArguments.values(schema);
        if (values != null) {
            return choice(values);
        }
        if (schema.get("anyOf") instanceof List<?> parts) {
            checkKeywords(schema, Set.of("anyOf"), place);
            List<Part> ways = new ArrayList<>();
            for (Object part : parts) {
                ways.add(value(child(part), place + "/anyOf/" + ways.size()));
            }
            return new Part.OneOf(ways);
        }
        Object type = schema.get("type");
        if (type == null) {
            checkKeywords(schema, Set.of(), place);
            return any(ANY_DEPTH);
        }
        List<Part> ways = new ArrayList<>();
        for (Object each : type instanceof List<?> several ? several : List.of(type)) {
            Map<String, Object> only = new LinkedHashMap<>(schema);
            only.put("type", each);
            switch (String.valueOf(each)) {
                case "string" -> ways.add(text());
                case "array" -> ways.add(array(only, place));
                case "object" -> ways.add(object(only, place));
                default -> ways.add(new Part.Json(only));
            }
        }
        return new Part.OneOf(ways);
    }

    private Part choice(List<@Nullable Object> choices) {
        List<Part> ways = new ArrayList<>();
        for (Object choice : choices) {
            if (!(choice instanceof String text)) {
                ways.add(new Part.Json(Collections.singletonMap("const", choice)));
            } else if (TaggedArguments.isReadBack(text, quote)) {
                ways.add(new Part.Text(quote + text + quote));
            }
        }
        return new Part.OneOf(ways);
    }

    private static Map<String, ?> child(@Nullable Object schema) {
        Map<String, Object> child = new LinkedHashMap<>();
        if (schema instanceof Map<?, ?> map) {
            map.forEach((key, value) -> child.put(String.valueOf(key), value));
        }
        return child;
    }

    private Part text() {
        return Part.sequence(new Part.Text(quote), TaggedArguments.until(quote, ""));
    }

    private Part array(Map<String, ?> schema, String place) {
        checkKeywords(schema, Set.of("type", "items"), place);
        return list(
                schema.containsKey("items") ? value(child(schema.get("items")), place + "/items") : any(ANY_DEPTH - 1));
    }

    private static Part list(Part element) {
        return Part.sequence(
                new Part.Text("["),
                Part.oneOf(
                        new Part.Text(""),
                        Part.sequence(element, new Part.Repeated(Part.sequence(new Part.Text(","), element)))),
                new Part.Text("]"));
    }

    private Part object(Map<String, ?> schema, String place) {
        checkKeywords(schema, Set.of("type", "properties", "required"), place);
        return Part.sequence(new Part.Text("{"), pairs(schema, place, null), new Part.Text("}"));
    }

    /** Any value, with lists in lists up to a depth. */
    private Part any(int depth) {
        Part scalar = Part.oneOf(text(), new Part.Json(Map.of("type", SCALARS)));
        return depth == 0 ? scalar : Part.oneOf(scalar, list(any(depth - 1)));
    }

    /** Checks that a schema has only these keywords, and some that have no effect. */
    static void checkKeywords(Map<String, ?> schema, Set<String> known, String place) {
        for (String keyword : schema.keySet()) {
            boolean isDefinition = keyword.equals("$defs") || keyword.equals("definitions");
            if (!known.contains(keyword)
                    && !ANNOTATIONS.contains(keyword)
                    && !isDefinition
                    && !keyword.startsWith("x-")) {
                throw refused(place + "/" + keyword, "'" + place + "/" + keyword + "'");
            }
        }
    }

    static InvalidConstraintException refused(String place, String what) {
        return new InvalidConstraintException(place, what + " is not supported in this model's form of tool calls");
    }

    // Reading.

    /** Stands for a value whose end has not come. */
    static final int INCOMPLETE = -1;

    /**
     * Reads a value and writes it as JSON.
     *
     * @return where it ends, or {@link #INCOMPLETE}
     */
    int read(CharSequence text, int from, StringBuilder json) {
        int at = space(text, from);
        if (at == text.length()) {
            return INCOMPLETE;
        }
        if (!quote.isEmpty()) {
            String rest = text.subSequence(at, Math.min(text.length(), at + quote.length()))
                    .toString();
            if (rest.equals(quote)) {
                int end = text.toString().indexOf(quote, at + quote.length());
                if (end < 0) {
                    return INCOMPLETE;
                }
                json.append(AnswerParser.quoted(
                        text.subSequence(at + quote.length(), end).toString()));
                return end + quote.length();
            }
            if (quote.startsWith(rest)) {
                return INCOMPLETE;
            }
        }
        return switch (text.charAt(at)) {
            case '"', '\'' -> string(text, at, json);
            case '[' -> group(text, at, ']', json);
            case '{' -> group(text, at, '}', json);
            default -> scalar(text, at, json);
        };
    }

    private static int string(CharSequence text, int from, StringBuilder json) {
        char mark = text.charAt(from);
        StringBuilder inside = new StringBuilder();
        for (int i = from + 1; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == mark) {
                json.append('"').append(inside).append('"');
                return i + 1;
            }
            if (c == '\\' && i + 1 < text.length()) {
                char next = text.charAt(++i);
                inside.append(next == '\'' ? "'" : "\\" + next);
            } else if (c == '"') {
                inside.append("\\\"");
            } else {
                inside.append(c);
            }
        }
        return INCOMPLETE;
    }

    /** A list, or an object with bare or quoted keys. */
    private int group(CharSequence text, int from, char end, StringBuilder json) {
        json.append(text.charAt(from));
        int at = from + 1;
        boolean isFirst = true;
        while (true) {
            at = space(text, at);
            if (at == text.length()) {
                return INCOMPLETE;
            }
            if (text.charAt(at) == end) {
                json.append(end);
                return at + 1;
            }
            if (!isFirst) {
                at = space(text, text.charAt(at) == ',' ? at + 1 : at);
                json.append(", ");
            }
            isFirst = false;
            if (end == '}') {
                at = at == text.length() ? INCOMPLETE : key(text, at, json);
                if (at == INCOMPLETE) {
                    return INCOMPLETE;
                }
                json.append(": ");
            }
            at = read(text, at, json);
            if (at == INCOMPLETE) {
                return INCOMPLETE;
            }
        }
    }

    private boolean isQuoted(String key) {
        return !quote.isEmpty() && key.length() >= 2 * quote.length() && key.startsWith(quote) && key.endsWith(quote);
    }

    /** Reads a key, bare or quoted, and the colon behind it; returns where they end, or {@link #INCOMPLETE}. */
    private int key(CharSequence text, int from, StringBuilder json) {
        char mark = text.charAt(from);
        if (mark == '"' || mark == '\'') {
            int end = string(text, from, json);
            int colon = end == INCOMPLETE ? -1 : text.toString().indexOf(':', end);
            return colon < 0 ? INCOMPLETE : colon + 1;
        }
        int colon = text.toString().indexOf(':', from);
        if (colon < 0) {
            return INCOMPLETE;
        }
        String key = text.subSequence(from, colon).toString().strip();
        json.append(AnswerParser.quoted(
                isQuoted(key) ? key.substring(quote.length(), key.length() - quote.length()) : key));
        return colon + 1;
    }

    private static int scalar(CharSequence text, int from, StringBuilder json) {
        int at = from;
        while (at < text.length() && ",]}) \n".indexOf(text.charAt(at)) < 0) {
            at++;
        }
        if (at == text.length()) {
            return INCOMPLETE;
        }
        String word = text.subSequence(from, at).toString();
        String value = WORDS.getOrDefault(word, word);
        if (value.matches(NUMBER) || WORDS.containsValue(value)) {
            json.append(value);
        } else {
            json.append(AnswerParser.quoted(value));
        }
        return at == from ? at + 1 : at; // a character that no value begins with
    }

    private static int space(CharSequence text, int from) {
        int at = from;
        while (at < text.length() && " \n\t".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        return at;
    }
}
