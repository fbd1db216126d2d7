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
 * A string is the bare text up to the tag behind it; of the keywords for strings only {@code enum} and {@code const} are
 * enforced. A value that may be a string or something else is JSON if it is JSON of the schema, else a string.
 */
final class TaggedArguments {
    /** What a value may be. */
    enum Kind {
        TEXT,
        JSON,
        EITHER
    }

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
        try {
            Constraint.jsonSchema(ofType(schema, type));
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
        Set<?> required = tool.parameters().get("required") instanceof List<?> list ? Set.copyOf(list) : Set.of();
        List<Part.Pair> arguments = new ArrayList<>();
        if (tool.parameters().get("properties") instanceof Map<?, ?> properties) {
            for (Object name : properties.keySet()) {
                arguments.add(new Part.Pair(
                        tags.before() + name,
                        value(tags, property(tool, String.valueOf(name))),
                        required.contains(name)));
            }
        }
        return new Part.Pairs(arguments, "");
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
        if (schema != null && schema.get("enum") instanceof List<?> values) {
            Part[] choices = values.stream()
                    .map(value -> value instanceof String text
                            ? string(tags, text)
                            : json(tags, Collections.singletonMap("const", value)))
                    .toArray(Part[]::new);
            return Part.sequence(Part.oneOf(choices), after);
        }
        if (schema != null && schema.get("const") instanceof String only) {
            return Part.sequence(string(tags, only), after);
        }
        Kind kind = kind(schema);
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

    /** Not free text and then the tag: the end of one and the beginning of the other could be a tag as well. */
    private static Part until(String end, String without) {
        String mark = String.valueOf(Part.CONTROL_MARK);
        List<String> excluded = new ArrayList<>(end.contains(mark) ? List.of() : List.of(mark));
        if (!without.isEmpty()) {
            excluded.add(without);
        }
        return new Part.Until(end, excluded);
    }

    /** A string of a list of values. */
    private static Part string(Tags tags, String text) {
        return tags.hasMarks()
                ? Part.oneOf(
                        new Part.Text(tags.text() + text),
                        new Part.Text(tags.text() + tags.open() + text + tags.close()))
                : new Part.Text(tags.text() + text);
    }
}
