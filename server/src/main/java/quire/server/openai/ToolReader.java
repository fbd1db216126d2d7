package quire.server.openai;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.Tool;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.server.api.Fields;
import quire.server.api.ServedModel;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Reads {@code tools}, {@code tool_choice} and {@code parallel_tool_calls}, and OpenAI's older {@code functions} and {@code
 * function_call}. Keeps the constraints of the last requests, because an agent sends the same tools with every request.
 * Thread-safe.
 */
final class ToolReader {
    private static final int MAX_CONSTRAINTS = 32;

    private static final int MAX_NAME = 256;

    private static final Map<String, ?> NO_ARGUMENTS =
            Map.of("type", "object", "properties", Map.of(), "additionalProperties", false);

    /** A tool as the request has it. */
    private record Sent(Map<String, @Nullable Object> forTemplate, Tool tool, boolean strict, String path) {}

    private record Key(
            List<Tool> tools,
            List<Boolean> strict,
            Choice choice,
            boolean parallel,
            @Nullable Constraint text) {}

    private final ServedModel model;

    private final Recent<Key, Constraint> constraints = new Recent<>(MAX_CONSTRAINTS);

    ToolReader(ServedModel model) {
        this.model = model;
    }

    /** The tools of a request and what its answer may be. */
    record Read(ToolRequest request, @Nullable Constraint constraint) {}

    /**
     * Reads everything about tools.
     *
     * @param text what the text of the answer must be; null for anything
     * @throws HttpException 400 that names the parameter
     */
    Read read(Fields body, @Nullable Constraint text) {
        boolean legacy = isSent(body, "functions");
        if (legacy && isSent(body, "tools")) {
            throw HttpException.invalid(
                    "functions", "invalid_value", "'functions' and 'tools' are both sent: send only 'tools'.");
        }
        if (!legacy) {
            functionCall(body, List.of()); // without functions, none can be demanded
        }
        List<Sent> sent = legacy ? functions(body) : tools(body);
        Chosen chosen = legacy ? functionCall(body, sent) : toolChoice(body, sent);
        boolean parallel = !legacy && body.bool("parallel_tool_calls", true);
        ToolCallFormat format = model.toolCallFormat();
        if (sent.isEmpty()) {
            if (format == null || !format.isFramed()) {
                return new Read(ToolRequest.NONE, text);
            }
            ToolRequest framed = new ToolRequest(List.of(), List.of(), Choice.NONE, false, false, legacy, format);
            return new Read(framed, text == null ? null : framed.constraint(text));
        }
        if (chosen.choice == Choice.NONE) {
            // The model must not call tools, so the prompt has none.
            ToolRequest none = new ToolRequest(List.of(), List.of(), Choice.NONE, false, false, legacy, format);
            return new Read(none, none.constraint(text));
        }
        if (format == null) {
            throw HttpException.unsupported(
                    sent.getFirst().path.startsWith("functions") ? "functions" : "tools",
                    "'" + (legacy ? "functions" : "tools") + "' is not supported by this model: "
                            + model.toolCallError() + ".");
        }
        List<Map<String, @Nullable Object>> forTemplate =
                sent.stream().map(Sent::forTemplate).toList();
        List<Sent> callable = sent.stream()
                .filter(each -> chosen.names == null || chosen.names.contains(each.tool.name()))
                .toList();
        boolean forced = chosen.choice == Choice.REQUIRED;
        List<Tool> tools = callable.stream().map(Sent::tool).toList();
        Key key = new Key(tools, callable.stream().map(Sent::strict).toList(), chosen.choice, parallel, text);
        Constraint constraint = constraints.get(key, () -> constraint(format, callable, key, forced));
        return new Read(
                new ToolRequest(forTemplate, tools, chosen.choice, parallel, chosen.named, legacy, format), constraint);
    }

    /**
     * Compiles what the answer may be. A schema that cannot be enforced is an error if the request demands that it is:
     * with {@code strict}, or if the tool must be called. Otherwise the arguments of that tool may be any object.
     */
    private Constraint constraint(ToolCallFormat format, List<Sent> sent, Key key, boolean forced) {
        try {
            return format.constraint(key.tools, key.choice, key.parallel, key.text);
        } catch (InvalidConstraintException all) {
            List<Tool> possible = new ArrayList<>();
            for (Sent each : sent) {
                try {
                    format.checked(each.tool);
                    possible.add(each.tool);
                } catch (InvalidConstraintException e) {
                    if (each.strict || forced) {
                        throw HttpException.invalid(
                                each.path,
                                "invalid_value",
                                "'" + each.path + "' cannot be enforced: " + e.getMessage() + ".");
                    }
                    possible.add(format.loosened(each.tool));
                }
            }
            try {
                return format.constraint(possible, key.choice, key.parallel, key.text);
            } catch (InvalidConstraintException e) {
                throw HttpException.invalid(
                        "tools", "invalid_value", "'tools' cannot be enforced together: " + e.getMessage() + ".");
            }
        }
    }

    private static boolean isSent(Fields body, String name) {
        JsonNode value = body.get(name);
        return value != null && !Fields.isNeutral(value);
    }

    private static List<Sent> tools(Fields body) {
        List<Sent> tools = new ArrayList<>();
        Set<String> names = new HashSet<>();
        body.forEach("tools", "an array", (element, path) -> {
            Fields tool = Fields.of(element, path);
            tool.require("type");
            ChatPrompt.checkFunctionType(tool);
            Fields function = Fields.of(tool.require("function"), tool.path("function"));
            boolean strict = tool.bool("strict", false) || function.bool("strict", false);
            tools.add(new Sent(tool.plain(), tool(function, names), strict, function.path("parameters")));
        });
        return tools;
    }

    private static List<Sent> functions(Fields body) {
        List<Sent> tools = new ArrayList<>();
        Set<String> names = new HashSet<>();
        body.forEach("functions", "an array", (element, path) -> {
            Fields function = Fields.of(element, path);
            Map<String, @Nullable Object> tool = new LinkedHashMap<>();
            tool.put("type", "function");
            tool.put("function", function.plain());
            tools.add(new Sent(tool, tool(function, names), false, function.path("parameters")));
        });
        return tools;
    }

    private static Tool tool(Fields function, Set<String> names) {
        String name = Fields.string(function.require("name"), function.path("name"));
        if (name.isEmpty() || name.length() > MAX_NAME || !name.matches("[^\\s\"'\\\\<>\\p{Cntrl}]+")) {
            throw HttpException.invalid(
                    function.path("name"),
                    "invalid_value",
                    "Invalid value for '" + function.path("name") + "': must be 1 to " + MAX_NAME
                            + " characters without white space, quotes, backslashes and angle brackets.");
        }
        if (!names.add(name)) {
            throw HttpException.invalid(
                    function.path("name"),
                    "invalid_value",
                    "'" + function.path("name") + "' is '" + name + "', which another tool has already.");
        }
        JsonNode parameters = function.get("parameters");
        if (parameters == null || parameters.isEmpty()) {
            return new Tool(name, NO_ARGUMENTS);
        }
        String path = function.path("parameters");
        if (!parameters.isObject()) {
            throw Fields.wrongType(path, "a JSON schema", parameters);
        }
        Map<String, @Nullable Object> schema = new LinkedHashMap<>();
        parameters.properties().forEach(field -> schema.put(field.getKey(), ConstraintReader.plain(field.getValue())));
        Object type = schema.putIfAbsent("type", "object");
        if (type != null && !type.equals("object")) {
            throw HttpException.invalid(
                    path + ".type",
                    "invalid_value",
                    "'" + path + ".type' must be \"object\": the arguments of a tool are an object.");
        }
        return new Tool(name, schema);
    }

    /**
     * Which calls the answer has.
     *
     * @param names of the tools that may be called; null for all
     * @param named whether there is one, which must be called
     */
    private record Chosen(Choice choice, @Nullable Set<String> names, boolean named) {}

    private static final Chosen AUTO = new Chosen(Choice.AUTO, null, false);

    private static Chosen toolChoice(Fields body, List<Sent> sent) {
        JsonNode value = body.get("tool_choice");
        if (value == null || Fields.isNeutral(value)) {
            return AUTO;
        }
        String path = body.path("tool_choice");
        if (value.isString()) {
            return switch (value.stringValue()) {
                case "auto" -> AUTO;
                case "none" -> new Chosen(Choice.NONE, null, false);
                case "required", "any" -> {
                    requireTools(sent, path);
                    yield new Chosen(Choice.REQUIRED, null, false);
                }
                default -> throw invalidChoice(path);
            };
        }
        if (!value.isObject()) {
            throw invalidChoice(path);
        }
        Fields choice = Fields.of(value, path);
        String type = choice.string("type");
        if ("allowed_tools".equals(type)) {
            Fields allowed = choice.get("allowed_tools") == null
                    ? choice
                    : Fields.of(choice.require("allowed_tools"), choice.path("allowed_tools"));
            Set<String> names = new HashSet<>();
            allowed.forEach(
                    "tools",
                    "an array",
                    (element, at) -> names.add(known(functionName(Fields.of(element, at)), at, sent)));
            String mode = allowed.string("mode");
            if (names.isEmpty() || (mode != null && !mode.equals("auto") && !mode.equals("required"))) {
                throw invalidChoice(path);
            }
            return new Chosen("required".equals(mode) ? Choice.REQUIRED : Choice.AUTO, names, false);
        }
        ChatPrompt.checkFunctionType(choice);
        String name = known(functionName(choice), path, sent);
        return new Chosen(Choice.REQUIRED, Set.of(name), true);
    }

    private static String functionName(Fields choice) {
        boolean isFlat = choice.get("function") == null && choice.get("name") != null;
        Fields function = isFlat ? choice : Fields.of(choice.require("function"), choice.path("function"));
        return Fields.string(function.require("name"), function.path("name"));
    }

    private static Chosen functionCall(Fields body, List<Sent> sent) {
        JsonNode value = body.get("function_call");
        if (value == null || Fields.isNeutral(value)) {
            return AUTO;
        }
        String path = body.path("function_call");
        if (value.isObject()) {
            return new Chosen(
                    Choice.REQUIRED,
                    Set.of(known(Fields.string(Fields.of(value, path).require("name"), path + ".name"), path, sent)),
                    true);
        }
        return switch (Fields.string(value, path)) {
            case "auto" -> AUTO;
            case "none" -> new Chosen(Choice.NONE, null, false);
            default ->
                throw HttpException.invalid(
                        path,
                        "invalid_value",
                        "Invalid value for '" + path + "': must be \"auto\", \"none\" or {\"name\": …}.");
        };
    }

    private static String known(String name, String path, List<Sent> sent) {
        requireTools(sent, path);
        if (sent.stream().noneMatch(each -> each.tool.name().equals(name))) {
            throw HttpException.invalid(
                    path, "invalid_value", "'" + path + "' names '" + name + "', which is none of the tools.");
        }
        return name;
    }

    private static void requireTools(List<Sent> sent, String path) {
        if (sent.isEmpty()) {
            throw HttpException.invalid(
                    path,
                    "invalid_value",
                    "'" + path + "' demands a call, but the request has no tools: send 'tools'.");
        }
    }

    private static HttpException invalidChoice(String path) {
        return HttpException.invalid(
                path,
                "invalid_value",
                "Invalid value for '" + path + "': must be \"auto\", \"none\", \"required\", {\"type\": \"function\","
                        + " \"function\": {\"name\": …}} or {\"type\": \"allowed_tools\", …}.");
    }
}
