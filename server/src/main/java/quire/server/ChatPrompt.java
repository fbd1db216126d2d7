package quire.server;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.TemplateCapabilities;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/**
 * OpenAI's {@code messages} and {@code tools} become the prompt that the model's own template makes of them.
 *
 * <p>Content parts are joined by line breaks. The role {@code developer} is OpenAI's newer word for {@code system}, which
 * is what templates know. The arguments of earlier tool calls come as JSON text and reach the template as values, which
 * is what templates expect.
 */
final class ChatPrompt {
    private static final Set<String> ROLES = Set.of("system", "developer", "user", "assistant", "tool");

    private ChatPrompt() {}

    /**
     * The prompt's tokens.
     *
     * @param addGenerationPrompt whether to end with what begins the assistant's turn
     * @param addSpecial whether to put BOS and the like around what the template wrote; templates write their own
     */
    static int[] tokens(Engine engine, Fields body, boolean addGenerationPrompt, boolean addSpecial) {
        List<Map<String, @Nullable Object>> messages = messages(body);
        List<Map<String, @Nullable Object>> tools = tools(body);
        ChatTemplate template = engine.chatTemplate();
        if (template == null) {
            throw ApiException.invalid(
                    "messages",
                    "no_chat_template",
                    "This model cannot chat: " + engine.chatTemplateError() + " Use /v1/completions.");
        }
        String text;
        try {
            text = template.render(messages, tools, addGenerationPrompt);
            // A template that does not know tools leaves them out: say so, do not drop them.
            if (!tools.isEmpty() && template.capabilities().tools() == TemplateCapabilities.Answer.IGNORED) {
                throw ApiException.unsupported("tools", "'tools' is not supported: this model's template takes none.");
            }
        } catch (ChatTemplateException e) {
            throw ApiException.invalid(
                    "messages", "invalid_value", "The model's chat template refuses the messages: " + e.getMessage());
        }
        int[] tokens = engine.tokenizer().encode(text, addSpecial, true);
        if (tokens.length == 0) {
            throw ApiException.invalid(
                    "messages", "invalid_value", "The model's chat template made an empty prompt of the messages.");
        }
        return tokens;
    }

    private static List<Map<String, @Nullable Object>> messages(Fields body) {
        JsonNode array = body.require("messages");
        if (!array.isArray()) {
            throw Fields.wrongType("messages", "an array of messages", array);
        }
        if (array.isEmpty()) {
            throw ApiException.invalid("messages", "invalid_value", "'messages' is empty: send at least one message.");
        }
        List<Map<String, @Nullable Object>> messages = new ArrayList<>(array.size());
        for (JsonNode element : array.values()) {
            messages.add(message(Fields.of(element, "messages[" + messages.size() + "]")));
        }
        return messages;
    }

    private static Map<String, @Nullable Object> message(Fields message) {
        JsonNode named = message.require("role");
        String role = Fields.string(named, message.path("role"));
        if (!ROLES.contains(role)) {
            throw ApiException.invalid(
                    message.path("role"),
                    "invalid_value",
                    "Invalid value for '" + message.path("role")
                            + "': must be system, developer, user, assistant or tool.");
        }
        for (String name : List.of("audio", "function_call", "refusal")) {
            JsonNode value = message.get(name);
            if (value != null) {
                throw ApiException.unsupported(message.path(name), "'" + message.path(name) + "' is not supported.");
            }
        }
        message.string("name");
        message.string("tool_call_id");
        Map<String, @Nullable Object> plain = message.plain(); // what else there is may be the template's business
        plain.keySet().removeAll(List.of("audio", "function_call", "refusal"));
        plain.put("role", role.equals("developer") ? "system" : role);
        List<Map<String, @Nullable Object>> calls = toolCalls(message);
        if (calls == null) {
            plain.remove("tool_calls");
        } else {
            plain.put("tool_calls", calls);
        }
        JsonNode content = message.get("content");
        if (content == null && !(role.equals("assistant") && calls != null)) {
            content = message.require("content"); // throws
        }
        plain.put("content", content == null ? null : content(content, message.path("content")));
        return plain;
    }

    private static String content(JsonNode content, String path) {
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
                throw ApiException.unsupported(
                        part.path("type"),
                        "'" + part.path("type") + "' is '" + shortened(type) + "', but only text is supported.");
            }
            texts.add(Fields.string(part.require("text"), part.path("text")));
        }
        return String.join("\n", texts);
    }

    private static @Nullable List<Map<String, @Nullable Object>> toolCalls(Fields message) {
        JsonNode array = message.array("tool_calls");
        if (array == null || array.isEmpty()) {
            return null;
        }
        List<Map<String, @Nullable Object>> calls = new ArrayList<>(array.size());
        for (JsonNode element : array.values()) {
            Fields call = Fields.of(element, message.path("tool_calls") + "[" + calls.size() + "]");
            checkFunctionType(call);
            Fields function = Fields.of(call.require("function"), call.path("function"));
            function.require("name");
            function.string("name");
            Map<String, @Nullable Object> plainFunction = new LinkedHashMap<>(function.plain());
            JsonNode arguments = function.get("arguments");
            if (arguments != null && arguments.isString()) {
                plainFunction.put("arguments", arguments(arguments, function.path("arguments")));
            }
            Map<String, @Nullable Object> plainCall = call.plain();
            plainCall.put("function", plainFunction);
            calls.add(plainCall);
        }
        return calls;
    }

    private static @Nullable Object arguments(JsonNode text, String path) {
        String json = Fields.string(text, path);
        if (json.isBlank()) {
            return Map.of();
        }
        try {
            JsonNode value = Fields.MAPPER.readTree(json);
            if (value.isObject()) {
                return Fields.plain(value, path);
            }
        } catch (JacksonException e) {
            // refused below, like any other text that is no object
        }
        throw ApiException.invalid(path, "invalid_value", "'" + path + "' must be a JSON object written as a string.");
    }

    private static List<Map<String, @Nullable Object>> tools(Fields body) {
        JsonNode array = body.array("tools");
        List<Map<String, @Nullable Object>> tools = new ArrayList<>();
        if (array != null) {
            for (JsonNode element : array.values()) {
                Fields tool = Fields.of(element, "tools[" + tools.size() + "]");
                tool.require("type");
                checkFunctionType(tool);
                Fields function = Fields.of(tool.require("function"), tool.path("function"));
                function.require("name");
                function.string("name");
                tools.add(tool.plain());
            }
        }
        JsonNode choice = body.get("tool_choice");
        if (choice != null && choice.isString() && choice.stringValue().equals("none")) {
            return List.of(); // the model shall not call any, so it is not told of any
        }
        return tools;
    }

    private static void checkFunctionType(Fields tool) {
        String type = tool.string("type");
        if (type != null && !type.equals("function")) {
            throw ApiException.unsupported(
                    tool.path("type"),
                    "'" + tool.path("type") + "' is '" + shortened(type) + "', but only functions are supported.");
        }
    }

    private static String shortened(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }
}
