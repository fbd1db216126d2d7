package quire.server.responses;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.server.api.AnswerRequest;
import quire.server.api.ChatBody;
import quire.server.api.ChatReader;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameters;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Brings requests for a response into the form of a chat:
 *
 * <pre>
 *   instructions                               a message with role system
 *   previous_response_id                       the messages of its conversation
 *   items reasoning, message, function_call    one message of the assistant
 *   item function_call_output                  a message with role tool
 *   tools of a namespace                       tools; their calls get the namespace again
 * </pre>
 */
final class ResponsesReader {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ChatReader chats;
    private final Parameters parameters;

    ResponsesReader(ChatReader chats, boolean refuseUnknown) {
        this.chats = chats;
        this.parameters = new Parameters(ResponsesParameters.ROWS, refuseUnknown);
    }

    /**
     * A body of {@code /v1/responses}.
     *
     * @param stored the earlier responses that it may continue, and where its own is kept
     */
    AnswerRequest read(Fields sent, StoredResponses.Owned stored) {
        Fields body = parameters.check(Place.RESPONSES, sent);
        ChatBody chat = new ChatBody();
        chat.copy(body, "model", "model");
        JsonNode instructions = body.get("instructions");
        if (instructions != null && !Fields.isNeutral(instructions)) {
            chat.addMessage("system", "instructions").put("content", Fields.string(instructions, "instructions"));
            chat.sentAs("messages[0].content", "instructions");
        }
        int before = chat.messages();
        previous(chat, body, stored);
        Map<String, ResponsesFormat.Function> functions = tools(chat, body);
        new Input(chat, functions, stored).read(body);
        text(chat, body);
        reasoning(chat, body);
        chat.copy(body, "max_output_tokens", "max_completion_tokens");
        for (String same : List.of(
                "tool_choice",
                "parallel_tool_calls",
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "seed",
                "stop",
                "presence_penalty",
                "frequency_penalty",
                "repetition_penalty",
                "priority",
                "stream",
                "user",
                "safety_identifier")) {
            chat.copy(body, same, same);
        }
        boolean store = body.bool("store", true);
        ArrayNode conversation = chat.copyOfMessages(before);
        return chat.read(
                chats, answer -> new ResponsesFormat(answer, body, functions, conversation, store ? stored : null));
    }

    private static void previous(ChatBody chat, Fields body, StoredResponses.Owned stored) {
        String id = body.string("previous_response_id");
        if (id == null || id.isEmpty()) {
            return;
        }
        StoredResponses.Stored found = stored.get(id);
        if (found == null) {
            throw HttpException.invalid(
                    "previous_response_id",
                    "previous_response_not_found",
                    "'previous_response_id' names a response that is not here: it had \"store\": false, or newer ones"
                            + " took its place. Instead, send the whole conversation as 'input'.");
        }
        for (JsonNode message : Json.read(new String(found.conversation(), StandardCharsets.UTF_8))
                .values()) {
            chat.addMessage("user", "previous_response_id").setAll((ObjectNode) message);
        }
    }

    /** Functions, also those in namespaces. Tools that only OpenAI's servers can run are left out. */
    private static Map<String, ResponsesFormat.Function> tools(ChatBody chat, Fields body) {
        ArrayNode tools = JSON.arrayNode();
        Map<String, ResponsesFormat.Function> functions = new HashMap<>();
        Set<String> taken = new HashSet<>();
        body.forEach("tools", "an array of tools", (element, path) -> {
            Fields tool = Fields.of(element, path);
            String type = Fields.string(tool.require("type"), tool.path("type"));
            if (type.equals("function")) {
                add(chat, tools, tool, path, null, taken, functions);
            } else if (type.equals("namespace")) {
                String namespace = Fields.string(tool.require("name"), tool.path("name"));
                tool.forEach("tools", "an array of tools", (inner, innerPath) -> {
                    Fields function = Fields.of(inner, innerPath);
                    if ("function".equals(function.string("type"))) {
                        add(chat, tools, function, innerPath, namespace, taken, functions);
                    }
                });
            }
        });
        if (!tools.isEmpty()) {
            chat.put("tools", tools, "tools");
        }
        return functions;
    }

    private static void add(
            ChatBody chat,
            ArrayNode tools,
            Fields tool,
            String path,
            @Nullable String namespace,
            Set<String> taken,
            Map<String, ResponsesFormat.Function> functions) {
        String name = Fields.string(tool.require("name"), tool.path("name"));
        String chatName = namespace != null && taken.contains(name) ? namespace + "__" + name : name;
        taken.add(chatName);
        if (namespace != null) {
            functions.put(chatName, new ResponsesFormat.Function(namespace, name));
        }
        String at = "tools[" + tools.size() + "]";
        chat.sentAs(at, path);
        chat.sentAs(at + ".function", path);
        ObjectNode function = tools.addObject().put("type", "function").putObject("function");
        function.put("name", chatName);
        for (String field : List.of("description", "parameters", "strict")) {
            JsonNode value = tool.get(field);
            if (value != null) {
                function.set(field, value);
            }
        }
    }

    private static void text(ChatBody chat, Fields body) {
        Fields text = body.object("text", "an object");
        Fields format = text == null ? null : text.object("format", "an object");
        if (format == null) {
            return;
        }
        String type = Fields.string(format.require("type"), format.path("type"));
        ObjectNode wanted = JSON.objectNode().put("type", type);
        if (type.equals("json_schema")) {
            ObjectNode named = wanted.putObject("json_schema");
            for (String field : List.of("name", "description", "schema", "strict")) {
                JsonNode value = format.get(field);
                if (value != null) {
                    named.set(field, value);
                }
            }
        }
        chat.put("response_format", wanted, "text.format");
        chat.sentAs("response_format.json_schema", "text.format");
    }

    private static void reasoning(ChatBody chat, Fields body) {
        Fields reasoning = body.object("reasoning", "an object");
        if (reasoning != null) {
            chat.copy(reasoning, "effort", "reasoning_effort");
        }
    }

    /** Reads the items of one request. */
    private static final class Input {
        private final ChatBody chat;
        private final Map<String, ResponsesFormat.Function> functions;
        private final StoredResponses.Owned stored;
        private @Nullable ObjectNode assistant; // the message of the assistant that the next item may belong to
        private String assistantAt = "";

        Input(ChatBody chat, Map<String, ResponsesFormat.Function> functions, StoredResponses.Owned stored) {
            this.chat = chat;
            this.functions = functions;
            this.stored = stored;
        }

        void read(Fields body) {
            JsonNode input = body.require("input");
            if (input.isString()) {
                chat.sentAs("messages[" + chat.messages() + "].content", "input");
                chat.addMessage("user", "input").put("content", Fields.string(input, "input"));
                return;
            }
            if (!input.isArray()) {
                throw Fields.wrongType("input", "a string or an array of items", input);
            }
            if (input.isEmpty()) {
                throw HttpException.invalid("input", "invalid_value", "'input' is empty: send at least one item.");
            }
            int index = 0;
            for (JsonNode element : input.values()) {
                item(Fields.of(element, "input[" + index++ + "]"));
            }
        }

        private void item(Fields item) {
            String type = item.get("type") == null ? "message" : Fields.string(item.require("type"), item.path("type"));
            switch (type) {
                case "message" -> message(item);
                case "reasoning" -> reasoning(item);
                case "function_call" -> call(item);
                case "function_call_output" -> output(item);
                case "item_reference" -> reference(item);
                default ->
                    throw HttpException.unsupported(
                            item.path("type"),
                            "'" + item.path("type") + "' is '" + (type.length() > 60 ? type.substring(0, 60) : type)
                                    + "', but only message, reasoning, function_call, function_call_output and"
                                    + " item_reference are supported.");
            }
        }

        private void message(Fields item) {
            String role = Fields.string(item.require("role"), item.path("role"));
            JsonNode content = item.require("content");
            if (!role.equals("assistant")) {
                assistant = null;
                String at = "messages[" + chat.messages() + "].content";
                if (!List.of("user", "system", "developer").contains(role)) {
                    throw HttpException.invalid(
                            item.path("role"),
                            "invalid_value",
                            "Invalid value for '" + item.path("role")
                                    + "': must be user, system, developer or assistant.");
                }
                ObjectNode message = chat.addMessage(role, path(item));
                message.set("content", content(content, item.path("content"), at));
                return;
            }
            ObjectNode message = assistant(item);
            if (message.has("content") || message.has("tool_calls")) {
                assistant = null;
                message = assistant(item);
            }
            message.set("content", content(content, item.path("content"), assistantAt + ".content"));
        }

        private JsonNode content(JsonNode content, String path, String chatPath) {
            if (!content.isArray()) {
                return JSON.stringNode(Fields.string(content, path));
            }
            ArrayNode texts = JSON.arrayNode();
            int index = 0;
            for (JsonNode element : content.values()) {
                Fields part = Fields.of(element, path + "[" + index++ + "]");
                String type = Fields.string(part.require("type"), part.path("type"));
                String field =
                        switch (type) {
                            case "input_text", "output_text", "text" -> "text";
                            case "refusal" -> "refusal";
                            default ->
                                throw HttpException.unsupported(
                                        part.path("type"),
                                        "'" + part.path("type") + "' is '"
                                                + (type.length() > 60 ? type.substring(0, 60) : type)
                                                + "', but only text is supported.");
                        };
                chat.sentAs(chatPath + "[" + texts.size() + "]", path(part));
                texts.addObject().put("type", "text").put("text", Fields.string(part.require(field), part.path(field)));
            }
            return texts.isEmpty() ? JSON.stringNode("") : texts;
        }

        private void reasoning(Fields item) {
            StringBuilder thought = new StringBuilder();
            for (String field : List.of("content", "summary")) {
                if (thought.isEmpty()) {
                    item.forEach(field, "an array", (element, path) -> {
                        Fields part = Fields.of(element, path);
                        thought.append(Fields.string(part.require("text"), part.path("text")));
                    });
                }
            }
            if (thought.isEmpty()) {
                return; // what is encrypted, only OpenAI's servers can read
            }
            ObjectNode message = assistant(item);
            if (message.has("content") || message.has("tool_calls")) {
                assistant = null;
                message = assistant(item);
            }
            message.put("reasoning_content", message.path("reasoning_content").asString("") + thought);
        }

        private void call(Fields item) {
            ObjectNode message = assistant(item);
            ArrayNode calls = message.withArray("tool_calls");
            String at = assistantAt + ".tool_calls[" + calls.size() + "]";
            chat.sentAs(at, path(item));
            chat.sentAs(at + ".function", path(item));
            String name = Fields.string(item.require("name"), item.path("name"));
            ObjectNode function = calls.addObject()
                    .put("id", Fields.string(item.require("call_id"), item.path("call_id")))
                    .put("type", "function")
                    .putObject("function")
                    .put("name", chatName(item.string("namespace"), name));
            function.put("arguments", Fields.string(item.require("arguments"), item.path("arguments")));
        }

        private String chatName(@Nullable String namespace, String name) {
            return namespace != null && functions.containsKey(namespace + "__" + name) ? namespace + "__" + name : name;
        }

        private void output(Fields item) {
            assistant = null;
            String at = "messages[" + chat.messages() + "].content";
            ObjectNode result = chat.addMessage("tool", path(item));
            chat.sentAs(at, item.path("output"));
            result.put("tool_call_id", Fields.string(item.require("call_id"), item.path("call_id")));
            result.set("content", content(item.require("output"), item.path("output"), at));
        }

        /** An item of an earlier answer that the server keeps. */
        private void reference(Fields item) {
            String id = Fields.string(item.require("id"), item.path("id"));
            StoredResponses.Stored found = stored.withItem(id);
            if (found == null) {
                throw HttpException.invalid(
                        item.path("id"),
                        "item_not_found",
                        "'" + item.path("id")
                                + "' names an item that is not here: its response had \"store\": false, or"
                                + " newer ones took its place. Instead, send the item itself.");
            }
            for (JsonNode output : Json.read(new String(found.document(), StandardCharsets.UTF_8))
                    .get("output")
                    .values()) {
                if (id.equals(output.get("id").stringValue())) {
                    item(Fields.of(output, path(item)));
                }
            }
        }

        private ObjectNode assistant(Fields item) {
            if (assistant == null) {
                assistantAt = "messages[" + chat.messages() + "]";
                assistant = chat.addMessage("assistant", path(item));
            }
            return assistant;
        }
    }

    /** The path of an object within an array. */
    private static String path(Fields object) {
        String withDot = object.path("");
        return withDot.substring(0, withDot.length() - 1);
    }

    /** The ids of a document's items. */
    static List<String> items(JsonNode document) {
        List<String> ids = new ArrayList<>();
        document.get("output").values().forEach(item -> ids.add(item.get("id").stringValue()));
        return ids;
    }
}
