package quire.server.anthropic;

import java.util.List;
import quire.server.api.AnswerRequest;
import quire.server.api.ChatBody;
import quire.server.api.ChatReader;
import quire.server.api.Fields;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.BooleanNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/**
 * Brings Anthropic's requests into the form of a chat:
 *
 * <pre>
 *   system                           a message with role system
 *   user: text, tool_result, text    user, tool, user
 *   assistant: thinking, tool_use    one message with reasoning_content and tool_calls
 *   tools[i].input_schema            tools[i].function.parameters
 * </pre>
 */
final class MessagesReader {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ServedModel model;
    private final ChatReader chats;
    private final Parameters parameters;

    MessagesReader(ServedModel model, ChatReader chats, boolean refuseUnknown) {
        this.model = model;
        this.chats = chats;
        this.parameters = new Parameters(MessagesParameters.ROWS, refuseUnknown);
    }

    /** A body of {@code /v1/messages}. */
    AnswerRequest message(Fields sent) {
        Fields body = parameters.check(Place.MESSAGES, sent);
        ChatBody chat = conversation(body);
        chat.put("max_completion_tokens", body.require("max_tokens"), "max_tokens");
        body.integer("max_tokens", 0, Integer.MAX_VALUE, 0);
        chat.copy(body, "stop_sequences", "stop");
        for (String same : List.of("temperature", "top_p", "top_k", "min_p", "seed", "stream", "priority")) {
            chat.copy(body, same, same);
        }
        Fields metadata = body.object("metadata", "an object");
        if (metadata != null) {
            chat.copy(metadata, "user_id", "user");
        }
        return chat.read(chats, MessagesFormat::new);
    }

    /** A body of {@code /v1/messages/count_tokens}. */
    ChatBody toCount(Fields sent) {
        return conversation(parameters.check(Place.COUNT_TOKENS, sent));
    }

    private ChatBody conversation(Fields body) {
        ChatBody chat = new ChatBody();
        chat.copy(body, "model", "model");
        JsonNode system = body.get("system");
        if (system != null && !Fields.isNeutral(system)) {
            ObjectNode message = chat.addMessage("system", "");
            chat.sentAs("messages[0].content", "system");
            message.set("content", text(chat, system, "system", "messages[0].content"));
        }
        int before = chat.messages();
        body.require("messages");
        body.forEach("messages", "an array of messages", (element, path) -> message(chat, Fields.of(element, path)));
        if (chat.messages() == before) {
            throw HttpException.invalid("messages", "invalid_value", "'messages' is empty: send at least one message.");
        }
        List<JsonNode> messages = List.copyOf(body.require("messages").values());
        if ("assistant".equals(messages.getLast().path("role").asString(""))) {
            String last = "messages[" + (messages.size() - 1) + "]";
            throw HttpException.unsupported(
                    last,
                    "'" + last + "' is of the assistant, but an answer cannot continue a text: end with a message of"
                            + " the user. For a fixed form of the answer, use output_config.format.");
        }
        tools(chat, body);
        toolChoice(chat, body);
        thinking(chat, body);
        outputConfig(chat, body);
        return chat;
    }

    private static void message(ChatBody chat, Fields message) {
        String role = Fields.string(message.require("role"), message.path("role"));
        switch (role) {
            case "user" -> user(chat, message);
            case "assistant" -> assistant(chat, message);
            case "system" -> {
                String content = "messages[" + chat.messages() + "].content";
                chat.addMessage("system", path(message))
                        .set("content", text(chat, message.require("content"), message.path("content"), content));
            }
            default ->
                throw HttpException.invalid(
                        message.path("role"),
                        "invalid_value",
                        "Invalid value for '" + message.path("role") + "': must be user or assistant.");
        }
    }

    /** Results of tools become messages of their own; the text between them stays in its order. */
    private static void user(ChatBody chat, Fields message) {
        JsonNode content = message.require("content");
        if (!content.isArray()) {
            chat.addMessage("user", path(message)).set("content", content);
            return;
        }
        ArrayNode texts = null;
        int index = 0;
        for (JsonNode element : content.values()) {
            Fields block = Fields.of(element, message.path("content") + "[" + index++ + "]");
            String type = type(block);
            if (type.equals("tool_result")) {
                texts = null;
                String at = "messages[" + chat.messages() + "].content";
                ObjectNode result = chat.addMessage("tool", block.path("content"));
                chat.sentAs(at, block.path("content"));
                result.put("tool_call_id", Fields.string(block.require("tool_use_id"), block.path("tool_use_id")));
                JsonNode value = block.get("content");
                result.set(
                        "content", value == null ? JSON.stringNode("") : text(chat, value, block.path("content"), at));
            } else {
                if (texts == null) {
                    texts = chat.addMessage("user", path(message)).putArray("content");
                }
                add(chat, texts, block, "messages[" + (chat.messages() - 1) + "].content");
            }
        }
        if (index == 0) {
            chat.addMessage("user", path(message)).put("content", "");
        }
    }

    private static void assistant(ChatBody chat, Fields message) {
        String at = "messages[" + chat.messages() + "]";
        ObjectNode answer = chat.addMessage("assistant", path(message));
        JsonNode content = message.require("content");
        if (!content.isArray()) {
            answer.set("content", content);
            return;
        }
        ArrayNode texts = JSON.arrayNode();
        ArrayNode calls = JSON.arrayNode();
        StringBuilder thinking = new StringBuilder();
        int index = 0;
        for (JsonNode element : content.values()) {
            Fields block = Fields.of(element, message.path("content") + "[" + index++ + "]");
            switch (type(block)) {
                case "thinking" -> thinking.append(Fields.string(block.require("thinking"), block.path("thinking")));
                case "redacted_thinking" -> {} // nobody but its author can read it
                case "tool_use" -> {
                    chat.sentAs(at + ".tool_calls[" + calls.size() + "]", path(block));
                    chat.sentAs(at + ".tool_calls[" + calls.size() + "].function", path(block));
                    Fields input = Fields.of(block.require("input"), block.path("input"));
                    ObjectNode function = calls.addObject()
                            .put("id", Fields.string(block.require("id"), block.path("id")))
                            .put("type", "function")
                            .putObject("function")
                            .put("name", Fields.string(block.require("name"), block.path("name")));
                    input.names(); // an object
                    function.set("arguments", block.require("input"));
                }
                default -> add(chat, texts, block, at + ".content");
            }
        }
        if (!thinking.isEmpty()) {
            answer.put("reasoning_content", thinking.toString());
        }
        if (!calls.isEmpty()) {
            answer.set("tool_calls", calls);
        }
        if (texts.isEmpty() && !calls.isEmpty()) {
            answer.putNull("content");
        } else {
            answer.set("content", texts.isEmpty() ? JSON.stringNode("") : texts);
        }
    }

    /** A text, or an array of text blocks. */
    private static JsonNode text(ChatBody chat, JsonNode value, String path, String chatPath) {
        if (!value.isArray()) {
            return StringNode.valueOf(Fields.string(value, path));
        }
        ArrayNode texts = JSON.arrayNode();
        int index = 0;
        for (JsonNode element : value.values()) {
            add(chat, texts, Fields.of(element, path + "[" + index++ + "]"), chatPath);
        }
        return texts.isEmpty() ? JSON.stringNode("") : texts;
    }

    /** Adds a text block to the content of a message. */
    private static void add(ChatBody chat, ArrayNode texts, Fields block, String chatPath) {
        String type = type(block);
        if (!type.equals("text")) {
            throw HttpException.unsupported(
                    block.path("type"),
                    "'" + block.path("type") + "' is '" + type + "', but only text, thinking, tool_use and tool_result"
                            + " are supported, each in its place.");
        }
        chat.sentAs(chatPath + "[" + texts.size() + "]", path(block));
        texts.addObject().put("type", "text").set("text", block.require("text"));
    }

    private static String type(Fields block) {
        String type = Fields.string(block.require("type"), block.path("type"));
        return type.length() > 60 ? type.substring(0, 60) + "…" : type;
    }

    /** The path of an object within an array. */
    private static String path(Fields object) {
        String withDot = object.path("");
        return withDot.substring(0, withDot.length() - 1);
    }

    private static void tools(ChatBody chat, Fields body) {
        ArrayNode tools = JSON.arrayNode();
        body.forEach("tools", "an array of tools", (element, path) -> {
            Fields tool = Fields.of(element, path);
            String type = tool.string("type");
            if (type != null && !type.equals("custom")) {
                throw HttpException.unsupported(
                        tool.path("type"),
                        "'" + tool.path("type") + "' is '" + type(tool) + "', a tool that Anthropic's servers run. Only"
                                + " tools with a name and an input_schema are supported.");
            }
            String at = "tools[" + tools.size() + "].function";
            chat.sentAs("tools[" + tools.size() + "]", path);
            chat.sentAs(at, path);
            chat.sentAs(at + ".parameters", tool.path("input_schema"));
            ObjectNode function = tools.addObject().put("type", "function").putObject("function");
            function.set("name", tool.require("name"));
            if (tool.get("description") != null) {
                function.put("description", tool.string("description"));
            }
            function.set("parameters", tool.require("input_schema"));
            if (tool.bool("strict", false)) {
                function.put("strict", true);
            }
        });
        if (!tools.isEmpty()) {
            chat.put("tools", tools, "tools");
        }
    }

    private static void toolChoice(ChatBody chat, Fields body) {
        Fields choice = body.object("tool_choice", "an object");
        if (choice == null) {
            return;
        }
        String type = Fields.string(choice.require("type"), choice.path("type"));
        JsonNode value =
                switch (type) {
                    case "auto", "none" -> JSON.stringNode(type);
                    case "any" -> JSON.stringNode("required");
                    case "tool" -> {
                        ObjectNode named = JSON.objectNode().put("type", "function");
                        named.putObject("function").set("name", choice.require("name"));
                        yield named;
                    }
                    default ->
                        throw HttpException.invalid(
                                choice.path("type"),
                                "invalid_value",
                                "Invalid value for '" + choice.path("type") + "': must be auto, any, tool or none.");
                };
        chat.put("tool_choice", value, "tool_choice");
        if (choice.bool("disable_parallel_tool_use", false)) {
            chat.put("parallel_tool_calls", BooleanNode.FALSE, choice.path("disable_parallel_tool_use"));
        }
    }

    private void thinking(ChatBody chat, Fields body) {
        Fields thinking = body.object("thinking", "an object");
        if (thinking == null) {
            return;
        }
        String type = Fields.string(thinking.require("type"), thinking.path("type"));
        switch (type) {
            case "enabled" -> {
                chat.put("enable_thinking", BooleanNode.TRUE, "thinking");
                if (model.reasoningFormat() != null) { // else there is nothing that could exceed it
                    chat.copy(thinking, "budget_tokens", "thinking_token_budget");
                }
            }
            case "disabled" -> chat.put("enable_thinking", BooleanNode.FALSE, "thinking");
            case "adaptive", "between_tools" -> {} // the model decides
            default ->
                throw HttpException.invalid(
                        thinking.path("type"),
                        "invalid_value",
                        "Invalid value for '" + thinking.path("type")
                                + "': must be enabled, disabled, adaptive or between_tools.");
        }
        if ("omitted".equals(thinking.string("display"))) {
            chat.put("include_reasoning", BooleanNode.FALSE, thinking.path("display"));
        }
    }

    private static void outputConfig(ChatBody chat, Fields body) {
        Fields config = body.object("output_config", "an object");
        if (config == null) {
            return;
        }
        chat.copy(config, "effort", "reasoning_effort");
        Fields format = config.object("format", "an object");
        if (format == null) {
            return;
        }
        String type = Fields.string(format.require("type"), format.path("type"));
        if (!type.equals("json_schema")) {
            throw HttpException.invalid(
                    format.path("type"),
                    "invalid_value",
                    "Invalid value for '" + format.path("type") + "': must be json_schema.");
        }
        ObjectNode wanted = JSON.objectNode().put("type", "json_schema");
        wanted.putObject("json_schema").set("schema", format.require("schema"));
        chat.put("response_format", wanted, path(format));
        chat.sentAs("response_format.json_schema.schema", format.path("schema"));
    }
}
