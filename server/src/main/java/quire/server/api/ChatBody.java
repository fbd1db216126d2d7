package quire.server.api;

import java.util.HashMap;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Supplier;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A request of another API in the form of {@code /v1/chat/completions}. It remembers where each part came from, so that
 * errors name what the client has sent.
 *
 * <pre>
 *   sent    {"system": "Be short.", "messages": [{"role": "user", "content": 7}]}
 *   chat    {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": 7}]}
 *   error   messages[1].content  ──▶  messages[0].content
 * </pre>
 */
public final class ChatBody {
    private final ObjectNode body = JsonNodeFactory.instance.objectNode();
    private final ArrayNode messages = body.putArray("messages");
    private final Map<String, String> pathToSent = new HashMap<>();

    /** Starts without messages. */
    public ChatBody() {}

    /** Copies a field of the request under another name, if it is there. */
    public void copy(Fields from, String name, String chatName) {
        JsonNode value = from.get(name);
        if (value != null) {
            put(chatName, value, from.path(name));
        }
    }

    /** Sets a field. */
    public void put(String chatName, JsonNode value, String sentPath) {
        body.set(chatName, value);
        sentAs(chatName, sentPath);
    }

    /**
     * Adds a message, to which the caller adds fields.
     *
     * @param sentPath the path of what the message is made of
     */
    public ObjectNode addMessage(String role, String sentPath) {
        sentAs("messages[" + messages.size() + "]", sentPath);
        return messages.addObject().put("role", role);
    }

    /** How many messages there are. */
    public int messages() {
        return messages.size();
    }

    /**
     * A copy of the messages.
     *
     * @param from the first of them, counted from 0
     */
    public ArrayNode copyOfMessages(int from) {
        ArrayNode copy = JsonNodeFactory.instance.arrayNode();
        for (int i = from; i < messages.size(); i++) {
            copy.add(messages.get(i).deepCopy());
        }
        return copy;
    }

    /** Remembers that a part of the chat was sent elsewhere. */
    public void sentAs(String chatPath, String sentPath) {
        pathToSent.put(chatPath, sentPath);
    }

    /** Reads the chat as a request for an answer. */
    public AnswerRequest read(ChatReader reader, Function<ChatAnswer, AnswerFormat> format) {
        return named(() -> reader.read(
                Fields.of(body, ""), answer -> format.apply(answer.withErrors(e -> e.renamed(this::sent)))));
    }

    /** Reads what is no chat: it has a prompt in the place of messages. */
    public AnswerRequest complete(ChatReader reader, Function<ChatAnswer, AnswerFormat> format) {
        ObjectNode completion = body.deepCopy();
        completion.remove("messages");
        return named(() -> reader.complete(
                Fields.of(completion, ""), answer -> format.apply(answer.withErrors(e -> e.renamed(this::sent)))));
    }

    /** Tokens of the chat's prompt. */
    public int countTokens(ChatReader reader) {
        return named(() -> reader.countTokens(Fields.of(body, "")));
    }

    private <T> T named(Supplier<T> read) {
        try {
            return read.get();
        } catch (HttpException e) {
            throw e.renamed(this::sent);
        }
    }

    /** The path under which a part of the chat was sent: that of the smallest known part around it, and the rest. */
    private String sent(String path) {
        int end = path.length();
        while (end > 0) {
            String sent = pathToSent.get(path.substring(0, end));
            if (sent != null) {
                return sent + path.substring(end);
            }
            end = Math.max(path.lastIndexOf('.', end - 1), path.lastIndexOf('[', end - 1));
        }
        return path;
    }
}
