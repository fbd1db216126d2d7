package quire.server.openai;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.PropertyOrder;
import quire.server.api.Fields;
import quire.server.api.InvalidJsonException;
import quire.server.api.Json;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Reads what an answer's text must be: {@code response_format} of OpenAI, {@code structured_outputs} and the older
 * {@code guided_*} of vLLM, {@code json_schema}, {@code regex}, {@code grammar} and {@code ebnf} of other servers. They mean the same kinds of
 * constraints; a request may have one.
 */
final class ConstraintReader {
    /** Parameters that are a constraint themselves; {@link Fields#isNeutral neutral} values count as absent. */
    private static final List<String> NAMES = List.of(
            "response_format",
            "structured_outputs",
            "guided_json",
            "guided_regex",
            "guided_choice",
            "json_schema",
            "regex",
            "grammar",
            "guided_grammar",
            "ebnf");

    private static final String PROPERTY_ORDER = "property_order";

    private ConstraintReader() {}

    /**
     * The constraint of a request; null for none. Compiles it.
     *
     * @throws HttpException 400 naming the parameter, and the keyword of a schema by its JSON pointer
     */
    static @Nullable Constraint read(Fields body) {
        Constraint constraint = null;
        String first = "";
        PropertyOrder asked = propertyOrder(body);
        PropertyOrder order = asked == null ? PropertyOrder.GUIDED : asked;
        for (String name : NAMES) {
            JsonNode value = body.get(name);
            boolean isSchema = name.equals("guided_json") || name.equals("json_schema");
            if (value == null || (Fields.isNeutral(value) && !(isSchema && value.isObject()))) {
                continue;
            }
            Constraint read =
                    switch (name) {
                        case "response_format" -> responseFormat(body, value, asked);
                        case "structured_outputs" -> structuredOutputs(object(value, name), order);
                        case "guided_json", "json_schema" -> schema(value, name, order);
                        case "guided_choice" -> choice(value, name);
                        case "grammar", "guided_grammar", "ebnf" -> grammar(value, name);
                        default -> regex(value, name);
                    };
            if (read != null && constraint != null) {
                throw HttpException.invalid(
                        name, "invalid_value", "'" + first + "' and '" + name + "' are both sent: send one of them.");
            }
            if (read != null) {
                constraint = read;
                first = name;
            }
        }
        if (constraint == null && asked != null) {
            throw HttpException.invalid(
                    PROPERTY_ORDER,
                    "invalid_value",
                    "'" + PROPERTY_ORDER
                            + "' needs a schema: send response_format or structured_outputs too, or leave it"
                            + " out.");
        }
        return constraint;
    }

    /** The order that the request asks for; null for none. */
    private static @Nullable PropertyOrder propertyOrder(Fields body) {
        JsonNode value = body.get(PROPERTY_ORDER);
        if (value == null || Fields.isNeutral(value)) {
            return null;
        }
        String name = Fields.string(value, PROPERTY_ORDER);
        return switch (name) {
            case "any" -> PropertyOrder.ANY;
            case "guided" -> PropertyOrder.GUIDED;
            case "schema" -> PropertyOrder.SCHEMA;
            default ->
                throw HttpException.invalid(
                        PROPERTY_ORDER,
                        "invalid_value",
                        "Invalid value for '" + PROPERTY_ORDER
                                + "': must be \"any\", \"guided\" or \"schema\", but is \"" + name + "\".");
        };
    }

    /** @param asked the order of properties; null for the one that {@code strict} says */
    private static @Nullable Constraint responseFormat(Fields body, JsonNode value, @Nullable PropertyOrder asked) {
        String path = body.path("response_format");
        Fields format = object(value, path);
        String type = Fields.string(format.require("type"), path + ".type");
        return switch (type) {
            case "text" -> {
                allow(format, "type");
                yield null;
            }
            case "json_object" -> {
                allow(format, "type", "schema");
                JsonNode schema = format.get("schema"); // as llama.cpp's server takes it
                yield schema == null
                        ? Constraint.json()
                        : schema(schema, path + ".schema", asked == null ? PropertyOrder.GUIDED : asked);
            }
            case "json_schema" -> {
                allow(format, "type", "json_schema");
                Fields named = object(format.require("json_schema"), path + ".json_schema");
                allow(named, "name", "description", "schema", "strict");
                if (named.get("name") != null) {
                    named.string("name");
                }
                if (named.get("description") != null) {
                    named.string("description");
                }
                boolean strict = named.bool("strict", false);
                PropertyOrder order = strict ? PropertyOrder.SCHEMA : PropertyOrder.GUIDED; // as OpenAI documents it
                yield schema(named.require("schema"), path + ".json_schema.schema", asked == null ? order : asked);
            }
            default ->
                throw HttpException.unsupported(
                        path + ".type",
                        "Invalid value for '" + path + ".type': must be \"text\", \"json_object\" or \"json_schema\","
                                + " but is \"" + type + "\".");
        };
    }

    private static @Nullable Constraint structuredOutputs(Fields options, PropertyOrder order) {
        allow(
                options,
                "json",
                "regex",
                "choice",
                "json_object",
                "grammar",
                "structural_tag",
                "disable_fallback",
                "disable_any_whitespace",
                "disable_additional_properties",
                "whitespace_pattern");
        for (String name : List.of(
                "structural_tag", "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")) {
            JsonNode value = options.get(name);
            if (value != null && !Fields.isNeutral(value)) {
                throw HttpException.unsupported(
                        options.path(name),
                        "'" + options.path(name) + "' is not supported. Instead, use json, regex, choice or grammar.");
            }
        }
        options.bool("disable_fallback", false); // there is one way to compute a constraint
        Constraint constraint = null;
        for (String name : List.of("json", "regex", "choice", "grammar", "json_object")) {
            JsonNode value = options.get(name);
            String path = options.path(name);
            if (value == null || (Fields.isNeutral(value) && !(name.equals("json") && value.isObject()))) {
                continue;
            }
            if (constraint != null) {
                throw HttpException.invalid(
                        path, "invalid_value", "'" + path + "' is the second constraint: send only one.");
            }
            constraint = switch (name) {
                case "json" -> schema(value, path, order);
                case "regex" -> regex(value, path);
                case "choice" -> choice(value, path);
                case "grammar" -> grammar(value, path);
                default -> options.bool(name, false) ? Constraint.json() : null;
            };
        }
        return constraint;
    }

    /** A schema as an object, or as text that contains it. */
    private static Constraint schema(JsonNode value, String path, PropertyOrder order) {
        JsonNode schema = value;
        if (value.isString()) {
            try {
                schema = Json.parse(value.stringValue());
            } catch (InvalidJsonException e) {
                throw HttpException.invalid(
                        path, "invalid_value", "'" + path + "' is a text that is not JSON: " + e.getMessage() + ".");
            }
        }
        if (!schema.isObject() && !schema.isBoolean()) {
            throw Fields.wrongType(path, "a JSON schema", value);
        }
        Object tree = plain(schema);
        return compile(path, () -> Constraint.jsonSchema(tree == null ? Map.of() : tree, order));
    }

    private static Constraint regex(JsonNode value, String path) {
        String source = Fields.string(value, path);
        return compile(path, () -> Constraint.regex(source));
    }

    private static Constraint grammar(JsonNode value, String path) {
        String source = Fields.string(value, path);
        return compile(path, () -> Constraint.grammar(source));
    }

    private static Constraint choice(JsonNode value, String path) {
        if (!value.isArray()) {
            throw Fields.wrongType(path, "an array of strings", value);
        }
        List<String> texts = new ArrayList<>();
        int index = 0;
        for (JsonNode element : value.values()) {
            if (!element.isNull()) {
                texts.add(Fields.string(element, path + "[" + index + "]"));
            }
            index++;
        }
        return compile(path, () -> Constraint.choice(texts));
    }

    private static Constraint compile(String path, Supplier<Constraint> compiler) {
        try {
            return compiler.get();
        } catch (InvalidConstraintException e) {
            throw HttpException.invalid(
                    path, "invalid_value", "'" + path + "' cannot be used: " + e.getMessage() + ".");
        }
    }

    /** As {@link Fields#plain}, with exact numbers. */
    static @Nullable Object plain(JsonNode value) {
        return switch (value.getNodeType()) {
            case ARRAY -> {
                List<@Nullable Object> list = new ArrayList<>(value.size());
                value.values().forEach(element -> list.add(plain(element)));
                yield list;
            }
            case OBJECT -> {
                Map<String, @Nullable Object> map = new LinkedHashMap<>();
                value.properties().forEach(field -> map.put(field.getKey(), plain(field.getValue())));
                yield map;
            }
            case BOOLEAN -> value.booleanValue();
            case NUMBER -> value.numberValue();
            case STRING -> value.stringValue();
            case NULL, MISSING, BINARY, POJO -> null;
        };
    }

    private static Fields object(JsonNode value, String path) {
        if (!value.isObject()) {
            throw Fields.wrongType(path, "an object", value);
        }
        return Fields.of(value, path);
    }

    /** Refuses all other fields, except null. */
    private static void allow(Fields object, String... names) {
        for (String name : object.names()) {
            if (object.get(name) != null && !List.of(names).contains(name)) {
                throw HttpException.invalid(
                        object.path(name),
                        "unknown_parameter",
                        "Unknown parameter: '" + object.path(name) + "'. Known are " + String.join(", ", names) + ".");
            }
        }
    }
}
