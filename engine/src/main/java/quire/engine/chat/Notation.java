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
 * may stand for {@code true}, {@code false} and {@code null}.
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
        Map<String, Part> pairs = new LinkedHashMap<>();
        Set<?> required = tool.parameters().get("required") instanceof List<?> list ? Set.copyOf(list) : Set.of();
        if (tool.parameters().get("properties") instanceof Map<?, ?> properties) {
            for (Object key : properties.keySet()) {
                String name = String.valueOf(key);
                Map<String, ?> schema = TaggedArguments.property(tool, name);
                Part value = value(schema == null ? Map.of() : schema, "/properties/" + name);
                pairs.put(name, value);
            }
        }
        return Part.sequence(joined(pairs, required), new Part.Text(close));
    }

    /** Pairs in any order, of which those that are not required may be missing. */
    private Part joined(Map<String, Part> pairs, Set<?> required) {
        return new Part.Pairs(
                pairs.entrySet().stream()
                        .map(pair -> new Part.Pair(
                                pair.getKey() + assign, pair.getValue(), required.contains(pair.getKey())))
                        .toList(),
                separator);
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
        if (schema.get("enum") instanceof List<?> choices) {
            return choice(choices);
        }
        if (schema.containsKey("const")) {
            return choice(Collections.singletonList(schema.get("const")));
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

    private Part choice(List<?> choices) {
        List<Part> ways = new ArrayList<>();
        for (Object choice : choices) {
            ways.add(
                    choice instanceof String text
                            ? new Part.Text(quote + text + quote)
                            : new Part.Json(Collections.singletonMap("const", choice)));
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
        String mark = String.valueOf(Part.CONTROL_MARK);
        return Part.sequence(
                new Part.Text(quote), new Part.Until(quote, quote.contains(mark) ? List.of() : List.of(mark)));
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
        Map<String, Part> pairs = new LinkedHashMap<>();
        if (schema.get("properties") instanceof Map<?, ?> properties) {
            properties.forEach(
                    (key, value) -> pairs.put(String.valueOf(key), value(child(value), place + "/properties/" + key)));
        }
        Set<?> required = schema.get("required") instanceof List<?> list ? Set.copyOf(list) : Set.of();
        return Part.sequence(new Part.Text("{"), joined(pairs, required), new Part.Text("}"));
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
                int colon = at == text.length() ? -1 : key(text, at);
                if (colon < 0) {
                    return INCOMPLETE;
                }
                json.append(AnswerParser.quoted(bare(text.subSequence(at, colon).toString())))
                        .append(": ");
                at = colon + 1;
            }
            at = read(text, at, json);
            if (at == INCOMPLETE) {
                return INCOMPLETE;
            }
        }
    }

    /** Where the colon behind a key is; −1 if it has not come. */
    private static int key(CharSequence text, int from) {
        char mark = text.charAt(from);
        int at = from;
        if (mark == '"' || mark == '\'') {
            at = text.toString().indexOf(mark, from + 1);
        }
        return at < 0 ? -1 : text.toString().indexOf(':', at);
    }

    /** A key without its quotes. */
    private String bare(String key) {
        String text = key.strip();
        for (String mark : List.of("\"", "'", quote)) {
            if (!mark.isEmpty() && text.length() >= 2 * mark.length() && text.startsWith(mark) && text.endsWith(mark)) {
                return text.substring(mark.length(), text.length() - mark.length());
            }
        }
        return text;
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
