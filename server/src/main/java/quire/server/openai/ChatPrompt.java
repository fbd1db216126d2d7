package quire.server.openai;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.TemplateCapabilities;
import quire.server.api.Fields;
import quire.server.api.InvalidJsonException;
import quire.server.api.Json;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Renders OpenAI's {@code messages} and {@code tools} with the model's chat template.
 *
 * <p>OpenAI's older {@code function_call} and role {@code function} become calls and results of tools. Three more things are changed for the templates: line breaks join the parts of a content where the template takes no
 * parts; the role {@code developer}, OpenAI's newer name, becomes {@code system}; the arguments of earlier tool calls, which
 * come as JSON text, become values.
 */
final class ChatPrompt {
    private static final Set<String> ROLES = Set.of("system", "developer", "user", "assistant", "tool", "function");

    /** The id of a call that OpenAI's older messages have none for; nine characters, as some templates demand. */
    private static final String LEGACY_CALL_ID = "function0";

    /** Of messages, in which the chat template may read further fields. */
    private static final Parameters PARAMETERS = new Parameters(ParameterTable.ROWS, false);

    private ChatPrompt() {}

    /**
     * A rendered prompt.
     *
     * @param text as the chat template wrote it
     */
    @SuppressWarnings("ArrayRecordComponent") // not compared
    record Prompt(String text, int[] tokens) {}

    /**
     * Renders a request's messages.
     *
     * @param tools that the prompt describes
     * @param variables for the chat template
     * @param addGenerationPrompt whether to end with the text that begins the assistant's turn
     * @param encode converts the rendered text to tokens
     */
    static Prompt render(
            Engine engine,
            Fields body,
            List<Map<String, @Nullable Object>> tools,
            Map<String, @Nullable Object> variables,
            boolean addGenerationPrompt,
            Function<String, int[]> encode) {
        ChatTemplate template = engine.chatTemplate();
        List<Map<String, @Nullable Object>> messages = messages(body, template);
        if (template == null) {
            throw HttpException.invalid(
                    "messages",
                    "no_chat_template",
                    "This model cannot chat: " + engine.chatTemplateError() + ". Use /v1/completions.");
        }
        String text;
        try {
            text = variables.isEmpty()
                    ? template.render(messages, tools, addGenerationPrompt)
                    : template.render(messages, tools, addGenerationPrompt, variables);
            // A template without support for tools leaves them out. That is an error, so that tools are never ignored
            // silently.
            if (!tools.isEmpty() && template.capabilities().tools() == TemplateCapabilities.Answer.IGNORED) {
                throw HttpException.unsupported(
                        "tools", "'tools' is not supported: this model's chat template does not use them.");
            }
        } catch (ChatTemplateException e) {
            throw HttpException.invalid(
                    "messages", "invalid_value", "The model's chat template refuses the messages: " + e.getMessage());
        }
        int[] tokens = encode.apply(text);
        if (tokens.length == 0) {
            throw HttpException.invalid(
                    "messages",
                    "invalid_value",
                    "The model's chat template renders these messages as an empty prompt.");
        }
        return new Prompt(text, tokens);
    }

    private static List<Map<String, @Nullable Object>> messages(Fields body, @Nullable ChatTemplate template) {
        JsonNode array = body.require("messages");
        if (!array.isArray()) {
            throw Fields.wrongType("messages", "an array of messages", array);
        }
        if (array.isEmpty()) {
            throw HttpException.invalid("messages", "invalid_value", "'messages' is empty: send at least one message.");
        }
        List<Map<String, @Nullable Object>> messages = new ArrayList<>(array.size());
        for (JsonNode element : array.values()) {
            messages.add(message(Fields.of(element, "messages[" + messages.size() + "]"), template));
        }
        return messages;
    }

    private static Map<String, @Nullable Object> message(Fields message, @Nullable ChatTemplate template) {
        JsonNode named = message.require("role");
        String role = Fields.string(named, message.path("role"));
        if (!ROLES.contains(role)) {
            throw HttpException.invalid(
                    message.path("role"),
                    "invalid_value",
                    "Invalid value for '" + message.path("role")
                            + "': must be system, developer, user, assistant or tool.");
        }
        PARAMETERS.checkKnown(Parameter.Place.MESSAGE, message);
        message.string("name");
        message.string("tool_call_id");
        Map<String, @Nullable Object> plain = message.plain(); // the template may use further fields
        PARAMETERS.removeRefused(Parameter.Place.MESSAGE, plain);
        plain.put(
                "role",
                switch (role) {
                    case "developer" -> "system";
                    case "function" -> "tool";
                    default -> role;
                });
        List<Map<String, @Nullable Object>> calls = toolCalls(message);
        JsonNode functionCall = message.get("function_call");
        plain.remove("function_call");
        if (functionCall != null) {
            Map<String, @Nullable Object> call = new LinkedHashMap<>();
            call.put("id", LEGACY_CALL_ID);
            call.put("type", "function");
            call.put("function", function(Fields.of(functionCall, message.path("function_call"))));
            calls = calls == null ? new ArrayList<>() : new ArrayList<>(calls);
            calls.add(call);
        }
        if (role.equals("function")) {
            plain.put("tool_call_id", LEGACY_CALL_ID);
        }
        if (calls == null) {
            plain.remove("tool_calls");
        } else {
            plain.put("tool_calls", calls);
        }
        Object reasoning = plain.get("reasoning");
        if (reasoning instanceof String) {
            plain.putIfAbsent("reasoning_content", reasoning); // the name in newer servers; templates read the other
        }
        if (role.equals("assistant") && message.get("content") == null) {
            plain.put("content", calls == null ? "" : null); // an answer of reasoning alone, or of nothing
        } else {
            plain.put("content", content(message.require("content"), message.path("content"), template));
        }
        return plain;
    }

    /** A text, or a list of text parts where the template takes such a list. */
    private static Object content(JsonNode content, String path, @Nullable ChatTemplate template) {
        if (content.isString()) {
            return Fields.string(content, path);
        }
        if (!content.isArray()) {
            throw Fields.wrongType(path, "a string or an array of text parts", content);
        }
        List<String> texts = new ArrayList<>(content.size());
        for (JsonNode element : content.values()) {
            Fields part = Fields.of(element, path + "[" + texts.size() + "]");
            String type = Fields.string(part.require("type"), part.path("type"));
            if (!type.equals("text")) {
                throw HttpException.unsupported(
                        part.path("type"),
                        "'" + part.path("type") + "' is '" + shortened(type) + "', but only text is supported.");
            }
            texts.add(Fields.string(part.require("text"), part.path("text")));
        }
        return template != null && takesParts(template)
                ? texts.stream()
                        .map(text -> Map.of("type", "text", "text", text))
                        .toList()
                : String.join("\n", texts);
    }

    /** Whether parts stay parts. Messages that are merged for the template must have text. */
    private static boolean takesParts(ChatTemplate template) {
        TemplateCapabilities capabilities = template.capabilities();
        return capabilities.parts()
                && capabilities.systemRole() != TemplateCapabilities.Answer.REFUSED
                && capabilities.consecutiveRoles() != TemplateCapabilities.Answer.REFUSED;
    }

    private static @Nullable List<Map<String, @Nullable Object>> toolCalls(Fields message) {
        List<Map<String, @Nullable Object>> calls = new ArrayList<>();
        message.forEach("tool_calls", "an array", (element, path) -> calls.add(toolCall(Fields.of(element, path))));
        return calls.isEmpty() ? null : calls;
    }

    private static Map<String, @Nullable Object> toolCall(Fields call) {
        checkFunctionType(call);
        Map<String, @Nullable Object> plainCall = call.plain();
        plainCall.put("function", function(Fields.of(call.require("function"), call.path("function"))));
        return plainCall;
    }

    private static Map<String, @Nullable Object> function(Fields function) {
        function.require("name");
        function.string("name");
        Map<String, @Nullable Object> plain = new LinkedHashMap<>(function.plain());
        JsonNode arguments = function.get("arguments");
        if (arguments != null && arguments.isString()) {
            plain.put("arguments", arguments(arguments, function.path("arguments")));
        }
        return plain;
    }

    private static @Nullable Object arguments(JsonNode text, String path) {
        String json = Fields.string(text, path);
        if (json.isBlank()) {
            return Map.of();
        }
        try {
            JsonNode value = Json.parse(json);
            if (value.isObject()) {
                return Fields.plain(value, path);
            }
            throw HttpException.invalid(
                    path, "invalid_value", "'" + path + "' must be a JSON object written as a string.");
        } catch (InvalidJsonException e) {
            throw HttpException.invalid(
                    path,
                    "invalid_value",
                    "'" + path + "' must be a JSON object written as a string, but is not JSON: " + e.getMessage()
                            + ".");
        }
    }

    /** The descriptions of a request's tools. */
    static List<Map<String, @Nullable Object>> tools(Fields body) {
        List<Map<String, @Nullable Object>> tools = new ArrayList<>();
        body.forEach("tools", "an array", (element, path) -> {
            Fields tool = Fields.of(element, path);
            tool.require("type");
            checkFunctionType(tool);
            Fields function = Fields.of(tool.require("function"), tool.path("function"));
            function.require("name");
            function.string("name");
            tools.add(tool.plain());
        });
        return tools;
    }

    /** Refuses what is no function. */
    static void checkFunctionType(Fields tool) {
        String type = tool.string("type");
        if (type != null && !type.equals("function")) {
            throw HttpException.unsupported(
                    tool.path("type"),
                    "'" + tool.path("type") + "' is '" + shortened(type) + "', but only functions are supported.");
        }
    }

    private static String shortened(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }
}
