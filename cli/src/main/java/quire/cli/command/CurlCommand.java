package quire.cli.command;

import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A command for the user's shell that asks a server for an answer. {@link #toString} is the command, in one line.
 *
 * @param host the address that the server listens on
 * @param port its port
 * @param model the model's name
 * @param chat whether the model has a chat template
 * @param key what the shell replaces by the API key; null if the server asks for none
 */
record CurlCommand(
        String host,
        int port,
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
        String url = "http://" + reachable() + ":" + port + (chat ? "/v1/chat/completions" : "/v1/completions");
        return "curl " + quoted(url) + " -H 'Content-Type: application/json'"
                + (key == null ? "" : " -H \"Authorization: Bearer " + key + "\"") + " -d " + quoted(body.toString());
    }

    /** An address at which a program on this machine reaches the server. */
    private String reachable() {
        return switch (host) {
            case "0.0.0.0" -> "127.0.0.1";
            case "::", "0:0:0:0:0:0:0:0" -> "[::1]";
            default -> host.contains(":") ? "[" + host + "]" : host;
        };
    }

    private static String quoted(String text) {
        return PLAIN.matcher(text).matches() ? text : "'" + text.replace("'", "'\\''") + "'";
    }
}
