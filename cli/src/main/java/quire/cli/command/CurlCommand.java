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
 * @param chat whether the model has a chat template
 * @param key what the shell replaces by the API key; null if the server asks for none
 */
record CurlCommand(
        String server,
        List<String> options,
        String model,
        boolean chat,
        @Nullable String key) {
    private static final Pattern PLAIN = Pattern.compile("[A-Za-z0-9:/._-]+");

    @Override
    public String toString() {
        ObjectNode body = JsonNodeFactory.instance.objectNode().put("model", model);
        if (chat) {
            body.putArray("messages").addObject().put("role", "user").put("content", "Hello!");
        } else {
            body.put("prompt", "Once upon a time");
        }
        String url = server + (chat ? "/v1/chat/completions" : "/v1/completions");
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
