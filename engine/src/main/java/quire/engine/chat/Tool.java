package quire.engine.chat;

import java.util.Map;

/**
 * A tool that the model may call.
 *
 * @param name as the model writes it; without white space, quotes, backslashes and angle brackets
 * @param parameters the JSON schema of its arguments, which are an object, as JSON libraries read it
 */
public record Tool(String name, Map<String, ?> parameters) {}
