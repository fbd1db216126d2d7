package quire.engine.chat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.ToolCallFormat.Tags;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.Part;

/**
 * The arguments of one tool in a format with tags. The declared properties come in any order; others are not
 * written.
 * A string is the bare text up to the first tag that ends it; of the keywords for strings only {@code enum} and {@code
 * const} are enforced. A value that may be a string or something else is JSON if it is JSON of the schema, else a string.
 *
 * <p>What would not be read back as it is, is not written: strings with the tag that ends them or with control tokens, and
 * properties whose name contains the text behind names.
 */
final class TaggedArguments {
    /** What a value may be. */
    enum Kind {
        TEXT,
        JSON,
        EITHER
    }

    /** No value at all. */
    static final Part NOTHING = Part.oneOf();

    private static final List<String> DEFINITIONS = List.of("$defs", "definitions");

    private static final List<String> TYPES = List.of("null", "boolean", "number", "array", "object");

    private static final Set<String> ROOT_KEYWORDS = Set.of(
            "type",
            "properties",
            "required",
            "additionalProperties",
            "$schema",
            "$defs",
            "definitions",
            "title",
            "description",
            "$id",
            "$comment",
            "examples",
            "default");

    private TaggedArguments() {}

    /** The schema of a property with the definitions that it may refer to; null if it is not declared. */
    static @Nullable Map<String, ?> property(Tool tool, String name) {
        if (!(tool.parameters().get("properties") instanceof Map<?, ?> properties)
                || !(properties.get(name) instanceof Map<?, ?> schema)) {
            return null;
        }
        Map<String, Object> whole = new LinkedHashMap<>();
        schema.forEach((key, value) -> whole.put(String.valueOf(key), value));
        return withDefinitions(whole, tool.parameters());
    }

    /** A schema with the definitions that it may refer to. */
    static Map<String, ?> withDefinitions(Map<String, ?> schema, Map<String, ?> root) {
        Map<String, Object> whole = new LinkedHashMap<>(schema);
        for (String definitions : DEFINITIONS) {
            Object value = root.get(definitions);
            if (value != null) {
                whole.putIfAbsent(definitions, value);
            }
        }
        return whole;
    }

    /** What the values of a schema may be; {@link Kind#EITHER} for a schema that is refused, or null. */
    static Kind kind(@Nullable Map<String, ?> schema) {
        if (schema == null) {
            return Kind.EITHER;
        }
        if ("string".equals(schema.get("type"))) {
            return Kind.TEXT;
        }
        boolean text = isPossible(schema, "string");
        boolean other = isPossible(schema, TYPES);
        return text && other ? Kind.EITHER : text ? Kind.TEXT : Kind.JSON;
    }

    /** Whether a schema allows any value of a type, or of one of several. */
    static boolean isPossible(Map<String, ?> schema, Object type) {
        return isPossible(ofType(schema, type));
    }

    private static boolean isPossible(Map<String, ?> schema) {
        try {
            Constraint.jsonSchema(schema);
            return true;
        } catch (InvalidConstraintException e) {
            return !String.valueOf(e.getMessage()).contains(Constraint.UNSATISFIABLE);
        }
    }

    /** The values of a schema that have a type, or one of several. */
    private static Map<String, ?> ofType(Map<String, ?> schema, Object type) {
        return withDefinitions(Map.of("type", type, "allOf", List.of(schema)), schema);
    }

    /** Whether a value that may be a string is JSON of its schema instead. */
    static boolean isJson(String text, @Nullable Map<String, ?> schema) {
        if (text.startsWith("\"")) {
            return false;
        }
        try {
            return Constraint.jsonSchema(schema == null ? Map.of() : schema).matches(text);
        } catch (InvalidConstraintException e) {
            return false;
        }
    }

    /**
     * The arguments of a tool.
     *
     * @throws InvalidConstraintException if the schema has keywords at its root that cannot be enforced in this form
     */
    static Part part(Tags tags, Tool tool) {
        checkRoot(tool);
        PairWriter writer = new PairWriter() {
            @Override
            public boolean isName(String name) {
                return tags.isName(name);
            }

            @Override
            public String written(String name) {
                return tags.before() + tags.written(name);
            }

            @Override
            public Part value(String name, @Nullable Object schema, String place) {
                return TaggedArguments.value(tags, property(tool, name));
            }
        };
        return new Part.Pairs(pairs(tool.parameters(), "", writer), "");
    }

    /** How the properties of an object are written. */
    interface PairWriter {
        /** Whether a name is read back as it is. */
        boolean isName(String name);

        /** A name, with the text before it and behind it that all values have. */
        String written(String name);

        /** A value, and what follows it; {@link #NOTHING} if there is none that can be written. */
        Part value(String name, @Nullable Object schema, String place);
    }

    /**
     * The properties of a schema that can be written.
     *
     * @param place of the schema, as a JSON pointer
     * @throws InvalidConstraintException if one that cannot is required
     */
    static List<Part.Pair> pairs(Map<String, ?> schema, String place, PairWriter writer) {
        List<Part.Pair> pairs = new ArrayList<>();
        Set<?> required = schema.get("required") instanceof List<?> list ? Set.copyOf(list) : Set.of();
        if (schema.get("properties") instanceof Map<?, ?> properties) {
            for (Map.Entry<?, ?> property : properties.entrySet()) {
                String name = String.valueOf(property.getKey());
                boolean isRequired = required.contains(name);
                String at = place + "/properties/" + name;
                Part value = writer.isName(name) ? writer.value(name, property.getValue(), at) : NOTHING;
                if (!value.equals(NOTHING)) {
                    pairs.add(new Part.Pair(writer.written(name), value, isRequired));
                } else if (isRequired) {
                    throw new InvalidConstraintException(
                            at,
                            "'" + at + "' is required, and this model's form of tool calls cannot write it: its name,"
                                    + " or each value that it may have, contains the text that ends it there");
                }
            }
        }
        return pairs;
    }

    /** The values of {@code enum} or {@code const} that the rest of a schema allows; null if it has neither. */
    static @Nullable List<@Nullable Object> values(Map<String, ?> schema) {
        List<?> values = schema.get("enum") instanceof List<?> list
                ? list
                : schema.containsKey("const") ? Collections.singletonList(schema.get("const")) : null;
        if (values == null) {
            return null;
        }
        Map<String, Object> rest = new LinkedHashMap<>(schema);
        rest.keySet().removeAll(Set.of("enum", "title", "description"));
        boolean areTexts = rest.equals(Map.of("type", "string"));
        List<@Nullable Object> possible = new ArrayList<>();
        for (Object value : values) {
            if (rest.isEmpty() || (areTexts && value instanceof String)) {
                possible.add(value);
                continue;
            }
            Map<String, @Nullable Object> only = new LinkedHashMap<>(withDefinitions(Map.of(), schema));
            only.put("const", value);
            only.put("allOf", List.of(rest));
            if (isPossible(only)) {
                possible.add(value);
            }
        }
        return possible;
    }

    /** Whether a text with the text that ends it would be read up to there, and has no control token. */
    static boolean isReadBack(String text, String end) {
        return text.indexOf(Part.CONTROL_MARK) < 0 && (text + end).indexOf(end) == text.length();
    }

    /** Whether the JSON of a value contains a text, which then stands in a string. */
    static boolean contains(@Nullable Object value, String text) {
        return switch (value) {
            case String string -> AnswerParser.quoted(string).contains(text);
            case List<?> list -> list.stream().anyMatch(each -> contains(each, text));
            case Map<?, ?> map ->
                map.entrySet().stream()
                        .anyMatch(each -> contains(each.getKey(), text) || contains(each.getValue(), text));
            case null, default -> false;
        };
    }

    /** Checks the keywords at the root of a tool's schema, and that the schema is computed. */
    static void checkRoot(Tool tool) {
        Constraint.jsonSchema(tool.parameters()); // names what is not computed by its place
        for (String keyword : tool.parameters().keySet()) {
            if (!ROOT_KEYWORDS.contains(keyword) && !keyword.startsWith("x-")) {
                throw new InvalidConstraintException(
                        "/" + keyword, "'/" + keyword + "' is not supported there in this model's form of tool calls");
            }
        }
    }

    /** A value, and the tags before and after it. */
    private static Part value(Tags tags, @Nullable Map<String, ?> schema) {
        Part after = new Part.Text(tags.after());
        Kind kind = kind(schema);
        List<@Nullable Object> values = schema == null ? null : values(schema);
        if (values != null) {
            boolean endsAtTag = kind == Kind.EITHER && tags.text().equals(tags.json());
            List<Part> choices = new ArrayList<>();
            for (Object value : values) {
                if (value instanceof String text) {
                    choices.addAll(string(tags, text));
                } else if (!endsAtTag || !contains(value, tags.after())) {
                    choices.add(Part.sequence(json(tags, Collections.singletonMap("const", value)), after));
                }
            }
            return new Part.OneOf(choices);
        }
        Part json = Part.sequence(json(tags, schema == null ? Map.of() : schema), after);
        if (kind == Kind.JSON) {
            return json;
        }
        Part text = Part.sequence(new Part.Text(tags.text()), until(tags.after(), tags.open()));
        if (tags.hasMarks()) {
            text = Part.oneOf(
                    text,
                    Part.sequence(new Part.Text(tags.text() + tags.open()), until(tags.close() + tags.after(), "")));
        }
        return kind == Kind.TEXT || tags.text().equals(tags.json()) ? text : Part.oneOf(text, json);
    }

    /** The tag before a value that is no string, and the value. */
    private static Part json(Tags tags, Map<String, ?> schema) {
        if (!tags.hasTypes()) {
            return Part.sequence(new Part.Text(tags.json()), new Part.Json(schema));
        }
        List<Part> ways = new ArrayList<>();
        for (String type : TYPES) {
            if (isPossible(schema, type)) {
                ways.add(Part.sequence(
                        new Part.Text(tags.json().replace(Tags.TYPE, type)), new Part.Json(ofType(schema, type))));
            }
        }
        return new Part.OneOf(ways);
    }

    /**
     * A text without control tokens up to the first occurrence of its end, which belongs to it.
     *
     * @param without what the text does not contain either; empty for nothing
     */
    static Part until(String end, String without) {
        String mark = String.valueOf(Part.CONTROL_MARK);
        List<String> excluded = new ArrayList<>(List.of(mark));
        if (!without.isEmpty()) {
            excluded.add(without);
        }
        // Without a control token in it, free text and then the end could be an earlier end as well.
        return end.contains(mark)
                ? Part.sequence(new Part.FreeText(excluded, List.of()), new Part.Text(end))
                : new Part.Until(end, excluded);
    }

    /** The ways to write a string of a list of values, with the tag after it. */
    private static List<Part> string(Tags tags, String text) {
        List<Part> ways = new ArrayList<>();
        if (isReadBack(text, tags.after()) && (!tags.hasMarks() || !text.startsWith(tags.open()))) {
            ways.add(new Part.Text(tags.text() + text + tags.after()));
        }
        if (tags.hasMarks() && isReadBack(text, tags.close() + tags.after())) {
            ways.add(new Part.Text(tags.text() + tags.open() + text + tags.close() + tags.after()));
        }
        return ways;
    }
}
