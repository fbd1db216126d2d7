package quire.cli.command;

import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A command for the user's shell that asks a server for an answer. {@link #toString} is the command, in one line.
 *
 * @param server the server's address, such as {@code http://127.0.0.1:8000}
 * @param options further options for curl
 * @param model the model's name
 * @param example what it asks for
 * @param key what the shell replaces by the API key; null if the server asks for none
 */
record CurlCommand(
        String server,
        List<String> options,
        String model,
        Example example,
        @Nullable String key) {
    private static final Pattern PLAIN = Pattern.compile("[A-Za-z0-9:/._-]+");

    /** What a model can be asked for. */
    enum Example {
        CHAT("/v1/chat/completions"),
        COMPLETION("/v1/completions"),
        EMBEDDING("/v1/embeddings");

        private final String path;

        Example(String path) {
            this.path = path;
        }

        /**
         * The best one for a model.
         *
         * @param encoder whether it gives vectors and no answers
         * @param chats whether it has a chat template
         */
        static Example of(boolean encoder, boolean chats) {
            return encoder ? EMBEDDING : chats ? CHAT : COMPLETION;
        }
    }

    @Override
    public String toString() {
        ObjectNode body = JsonNodeFactory.instance.objectNode().put("model", model);
        switch (example) {
            case CHAT ->
                body.putArray("messages").addObject().put("role", "user").put("content", "Hello!");
            case COMPLETION -> body.put("prompt", "Once upon a time");
            case EMBEDDING -> body.put("input", "Once upon a time");
        }
        String url = server + example.path;
        String words = Stream.concat(options.stream(), Stream.of(url))
                .map(CurlCommand::quoted)
                .collect(Collectors.joining(" "));
        return "curl " + words + " -H 'Content-Type: application/json'"
                + (key == null ? "" : " -H \"Authorization: Bearer " + key + "\"") + " -d " + quoted(body.toString());
    }

    private static String quoted(String text) {
        return PLAIN.matcher(text).matches() ? text : "'" + text.replace("'", "'\\''") + "'";
    }
}
