package quire.server.ollama;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import quire.server.api.AnswerRequest;
import quire.server.api.ChatBody;
import quire.server.api.ChatReader;
import quire.server.api.Fields;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.api.Vectors;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.BooleanNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/** Brings Ollama's requests into the form of a chat. */
final class OllamaReader {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private static final String DECIMAL = "\\d{1,12}(?:\\.\\d{0,12})?";
    private static final Pattern NUMBER = Pattern.compile("[+-]?" + DECIMAL);
    private static final Pattern PART = Pattern.compile("(" + DECIMAL + ")(ns|us|µs|ms|s|m|h)");
    private static final Pattern TIME = Pattern.compile("[+-]?(?:" + DECIMAL + "(?:ns|us|µs|ms|s|m|h)){1,8}");
    private static final Map<String, Double> SECONDS =
            Map.of("ns", 1e-9, "us", 1e-6, "µs", 1e-6, "ms", 1e-3, "s", 1.0, "m", 60.0, "h", 3600.0);

    /** Ten years. */
    private static final double MAX_SECONDS = 10.0 * 365 * 24 * 3600;

    /** Ollama's options by their names in a chat. */
    private static final Map<String, String> OPTIONS = Map.ofEntries(
            Map.entry("temperature", "temperature"),
            Map.entry("top_k", "top_k"),
            Map.entry("top_p", "top_p"),
            Map.entry("min_p", "min_p"),
            Map.entry("typical_p", "typical_p"),
            Map.entry("repeat_penalty", "repetition_penalty"),
            Map.entry("repeat_last_n", "repeat_last_n"),
            Map.entry("presence_penalty", "presence_penalty"),
            Map.entry("frequency_penalty", "frequency_penalty"),
            Map.entry("seed", "seed"),
            Map.entry("stop", "stop"));

    private final ServedModel model;
    private final ChatReader chats;
    private final Vectors vectors;
    private final Parameters parameters;

    OllamaReader(ServedModel model, ChatReader chats, Vectors vectors, boolean refuseUnknown) {
        this.model = model;
        this.chats = chats;
        this.vectors = vectors;
        this.parameters = new Parameters(OllamaParameters.ROWS, refuseUnknown);
    }

    /**
     * What a request asks for.
     *
     * @param answer null if it only asks to load the model
     * @param loaded the answer to that
     * @param keepAlive how long the model stays loaded; null if the request does not say it
     */
    record Read(
            @Nullable AnswerRequest answer,
            ObjectNode loaded,
            @Nullable Duration keepAlive) {}

    /** Whether a body of {@code /api/chat} or {@code /api/generate} asks for no answer. */
    static boolean isEmpty(Fields body) {
        JsonNode messages = body.get("messages");
        JsonNode prompt = body.get("prompt");
        return (messages == null || Fields.isNeutral(messages)) && (prompt == null || Fields.isNeutral(prompt));
    }

    /**
     * How long the model stays loaded after a request: negative for always; null if the request does not say it.
     *
     * @throws HttpException 400 if it is no time
     */
    static @Nullable Duration keepAlive(Fields body) {
        JsonNode value = body.get("keep_alive");
        if (value == null) {
            return null;
        }
        double seconds = Double.NaN;
        if (value.isNumber()) {
            seconds = Fields.real(value);
        } else if (value.isString()) {
            String text = value.stringValue().strip();
            Matcher matcher = TIME.matcher(text);
            if (NUMBER.matcher(text).matches()) {
                seconds = Double.parseDouble(text);
            } else if (matcher.matches()) {
                seconds = 0;
                Matcher part = PART.matcher(text);
                while (part.find()) {
                    seconds += Double.parseDouble(part.group(1)) * SECONDS.getOrDefault(part.group(2), 0.0);
                }
                seconds *= text.startsWith("-") ? -1 : 1;
            }
        }
        if (Double.isNaN(seconds)) {
            throw HttpException.invalid(
                    "keep_alive",
                    "invalid_value",
                    "Invalid value for 'keep_alive': must be a number of seconds, or a time such as \"5m\" or \"1h30m\";"
                            + " negative for always.");
        }
        return Duration.ofMillis((long) (Math.clamp(seconds, -1, MAX_SECONDS) * 1000));
    }

    /** A body of {@code /api/chat}. */
    Read chat(Fields sent) {
        Fields body = parameters.check(Place.OLLAMA_CHAT, sent);
        String name = model(body);
        JsonNode messages = body.get("messages");
        if (messages == null || Fields.isNeutral(messages)) {
            ObjectNode loaded = OllamaFormat.head(name);
            loaded.putObject("message").put("role", "assistant").put("content", "");
            return loaded(body, loaded);
        }
        ChatBody chat = new ChatBody();
        List<String> calls = new ArrayList<>(); // ids of calls without a result so far
        body.forEach(
                "messages",
                "an array of messages",
                (element, path) -> message(chat, Fields.of(element, path), path, calls));
        chat.copy(body, "tools", "tools");
        return answer(body, chat, name, true);
    }

    /** A body of {@code /api/generate}. */
    Read generate(Fields sent) {
        Fields body = parameters.check(Place.OLLAMA_GENERATE, sent);
        String name = model(body);
        String prompt = body.string("prompt");
        if (prompt == null || prompt.isEmpty()) {
            return loaded(body, OllamaFormat.head(name).put("response", ""));
        }
        boolean raw = body.bool("raw", false);
        String suffix = body.string("suffix");
        if (raw || (suffix != null && !suffix.isEmpty())) {
            return complete(body, name, raw ? "raw" : "suffix");
        }
        ChatBody chat = new ChatBody();
        for (String[] part : new String[][] {{"system", "system"}, {"prompt", "user"}}) {
            String text = body.string(part[0]);
            if (text != null && !text.isEmpty()) {
                chat.sentAs("messages[" + chat.messages() + "].content", part[0]);
                chat.addMessage(part[1], part[0]).put("content", text);
            }
        }
        return answer(body, chat, name, false);
    }

    /**
     * A prompt without a chat template, perhaps with a text behind the answer, as editors send it.
     *
     * @param why the parameter that makes it one
     */
    private Read complete(Fields body, String name, String why) {
        for (String ofChats : List.of("system", "think")) {
            JsonNode value = body.get(ofChats);
            if (value != null && !Fields.isNeutral(value)) {
                throw HttpException.unsupported(
                        ofChats,
                        "'" + ofChats + "' is not supported together with '" + why
                                + "', which leaves out the chat template. Instead, leave one of them out.");
            }
        }
        ChatBody completion = new ChatBody();
        completion.copy(body, "prompt", "prompt");
        completion.copy(body, "suffix", "suffix");
        AnswerRequest request = fill(body, completion, name, "max_tokens")
                .complete(chats, answer -> new OllamaFormat(answer, name, false));
        return new Read(request, JSON.objectNode(), keepAlive(body));
    }

    /** Texts whose vectors are wanted. There are none if the request only asks to load the model. */
    record Texts(
            String name,
            List<int[]> prompts,
            int dimensions,
            @Nullable Duration keepAlive) {}

    /** A body of {@code /api/embed}. */
    Texts embed(Fields sent) {
        return texts(parameters.check(Place.OLLAMA_EMBED, sent), "input");
    }

    /** A body of {@code /api/embeddings}. */
    Texts embeddings(Fields sent) {
        return texts(parameters.check(Place.OLLAMA_EMBEDDINGS, sent), "prompt");
    }

    private Texts texts(Fields body, String parameter) {
        String name = model(body);
        vectors.checkGiven(parameter);
        JsonNode input = body.get(parameter);
        Integer most = body.bool("truncate", true) ? (Integer) model.engine().maxContext() : null;
        List<int[]> prompts = input == null || isNothing(input)
                ? List.of()
                : vectors.tokens(input, parameter, new Vectors.Encoding(true, most));
        return new Texts(
                name, prompts, body.integer("dimensions", 1, vectors.width(), vectors.width()), keepAlive(body));
    }

    private static boolean isNothing(JsonNode value) {
        return value.isArray()
                ? value.isEmpty()
                : value.isString() && value.stringValue().isEmpty();
    }

    /**
     * The name that was asked for.
     *
     * @throws HttpException 404 if no such model is served
     */
    String model(Fields body) {
        String parameter = body.get("model") == null && body.get("name") != null ? "name" : "model";
        String asked = body.string(parameter);
        if (asked == null || asked.isEmpty()) {
            return model.resolve(body);
        }
        return model.resolve(asked);
    }

    private static Read loaded(Fields body, ObjectNode root) {
        return new Read(null, root.put("done_reason", "load").put("done", true), keepAlive(body));
    }

    private static void message(ChatBody chat, Fields message, String path, List<String> calls) {
        String role = Fields.string(message.require("role"), message.path("role"));
        if (!List.of("system", "user", "assistant", "tool").contains(role)) {
            throw HttpException.invalid(
                    message.path("role"),
                    "invalid_value",
                    "Invalid value for '" + message.path("role") + "': must be system, user, assistant or tool.");
        }
        JsonNode images = message.get("images");
        if (images != null && !Fields.isNeutral(images)) {
            throw HttpException.unsupported(
                    message.path("images"), "'" + message.path("images") + "' is not supported: send text.");
        }
        String at = "messages[" + chat.messages() + "]";
        ObjectNode added = chat.addMessage(role, path);
        String content = message.string("content");
        added.put("content", content == null ? "" : content);
        String thinking = message.string("thinking");
        if (thinking != null && !thinking.isEmpty()) {
            added.put("reasoning_content", thinking);
        }
        message.forEach("tool_calls", "an array of calls", (element, callPath) -> {
            Fields function = Fields.of(Fields.of(element, callPath).require("function"), callPath + ".function");
            String id = Fields.of(element, callPath).string("id");
            String known = id == null || id.isEmpty() ? String.format("call%05d", calls.size()) : id;
            ArrayNode all = added.withArray("tool_calls");
            chat.sentAs(at + ".tool_calls[" + all.size() + "]", callPath);
            ObjectNode call =
                    all.addObject().put("id", known).put("type", "function").putObject("function");
            call.put("name", Fields.string(function.require("name"), function.path("name")));
            JsonNode arguments = function.get("arguments");
            call.set("arguments", arguments == null ? JSON.objectNode() : arguments);
            calls.add(known);
        });
        if (role.equals("tool")) {
            String id = message.string("tool_call_id");
            String known = id != null && !id.isEmpty() ? id : calls.isEmpty() ? "call00000" : calls.getFirst();
            calls.remove(known);
            added.put("tool_call_id", known);
            String name = message.string("tool_name");
            if (name != null) {
                added.put("name", name);
            }
        }
    }

    private Read answer(Fields body, ChatBody chat, String name, boolean isChat) {
        think(chat, body);
        AnswerRequest request = fill(body, chat, name, "max_completion_tokens")
                .read(chats, answer -> new OllamaFormat(answer, name, isChat));
        return new Read(request, JSON.objectNode(), keepAlive(body));
    }

    /**
     * Adds what all requests for an answer have.
     *
     * @param limit the name of the maximum number of tokens
     */
    private ChatBody fill(Fields body, ChatBody chat, String name, String limit) {
        if (body.get("model") != null) {
            chat.put("model", StringNode.valueOf(name), "model");
        }
        format(chat, body);
        Fields sent = body.object("options", "an object");
        if (sent != null) {
            Fields options = parameters.check(Place.OLLAMA_OPTIONS, sent);
            OPTIONS.forEach((option, chatName) -> chat.copy(options, option, chatName));
            Long most = options.integer("num_predict", -2, Integer.MAX_VALUE);
            if (most != null && most >= 0) {
                chat.copy(options, "num_predict", limit);
            }
        }
        boolean stream = body.get("stream") == null || body.bool("stream", true);
        chat.put("stream", BooleanNode.valueOf(stream), "stream");
        return chat;
    }

    private static void format(ChatBody chat, Fields body) {
        JsonNode format = body.get("format");
        if (format == null || (Fields.isNeutral(format) && !format.isObject())) {
            return;
        }
        ObjectNode wanted = JSON.objectNode();
        if (format.isObject()) {
            wanted.put("type", "json_schema").putObject("json_schema").set("schema", format);
        } else if (format.isString() && format.stringValue().equals("json")) {
            wanted.put("type", "json_object");
        } else {
            throw HttpException.invalid(
                    "format", "invalid_value", "Invalid value for 'format': must be \"json\" or a JSON schema.");
        }
        chat.put("response_format", wanted, "format");
        chat.sentAs("response_format.json_schema.schema", "format");
    }

    private static void think(ChatBody chat, Fields body) {
        JsonNode think = body.get("think");
        if (think == null) {
            return;
        }
        if (think.isBoolean()) {
            chat.put("enable_thinking", think, "think");
        } else {
            chat.put("reasoning_effort", think, "think");
        }
    }

    /** The time as Ollama writes it. */
    static String now() {
        return Instant.now().toString();
    }
}
