package quire.server.openai;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Reads what a chat request says about reasoning, and the variables of the chat template that it sets. */
final class ReasoningReader {
    private static final List<String> EFFORTS = List.of("none", "minimal", "low", "medium", "high", "xhigh", "max");

    private static final Set<String> RESERVED = Set.of("messages", "tools", "add_generation_prompt");

    /** Where the reasoning of an answer goes. */
    enum Place {
        /** In a field of its own. */
        APART,
        /** In the text, with its marks. */
        IN_TEXT,
        /** It is left out. */
        LEFT_OUT
    }

    private ReasoningReader() {}

    /** Where the answer's reasoning goes. */
    static Place place(Fields body) {
        if (!body.bool("include_reasoning", true)) {
            return Place.LEFT_OUT;
        }
        if (!body.bool("separate_reasoning", true)) {
            return Place.IN_TEXT;
        }
        JsonNode format = body.get("reasoning_format");
        return switch (format == null || Fields.isNeutral(format) ? "" : Fields.string(format, "reasoning_format")) {
            case "", "auto", "deepseek", "deepseek-legacy", "parsed" -> Place.APART;
            case "none", "raw" -> Place.IN_TEXT;
            case "hidden" -> Place.LEFT_OUT;
            default ->
                throw HttpException.invalid(
                        "reasoning_format",
                        "invalid_value",
                        "Invalid value for 'reasoning_format': must be auto, parsed, none, raw or hidden.");
        };
    }

    /**
     * The variables for the chat template. Each family reads another of them: {@code enable_thinking}, {@code thinking} or
     * {@code reasoning_effort}.
     */
    static Map<String, @Nullable Object> variables(Fields body) {
        Map<String, @Nullable Object> variables = new LinkedHashMap<>();
        JsonNode effort = body.get("reasoning_effort");
        if (effort != null && !Fields.isNeutral(effort)) {
            String value = Fields.string(effort, "reasoning_effort");
            if (!EFFORTS.contains(value)) {
                throw HttpException.invalid(
                        "reasoning_effort",
                        "invalid_value",
                        "Invalid value for 'reasoning_effort': must be one of " + String.join(", ", EFFORTS) + ".");
            }
            if (value.equals("none")) {
                think(variables, false);
            } else {
                variables.put("reasoning_effort", value);
            }
        }
        if (body.get("enable_thinking") != null) {
            think(variables, body.bool("enable_thinking", true));
        }
        Fields sent = body.object("chat_template_kwargs", "an object");
        if (sent != null) {
            for (String name : sent.names()) {
                if (RESERVED.contains(name)) {
                    throw HttpException.invalid(
                            sent.path(name),
                            "invalid_value",
                            "'" + sent.path(name) + "' cannot be set: the request itself says it.");
                }
            }
            variables.putAll(sent.plain());
        }
        return variables;
    }

    /** Tokens after which the reasoning must end; null for no limit. */
    static @Nullable Integer budget(Fields body) {
        Long budget = body.integer("thinking_token_budget", -1, Integer.MAX_VALUE);
        return budget == null || budget == -1 ? null : budget.intValue();
    }

    private static void think(Map<String, @Nullable Object> variables, boolean on) {
        variables.put("enable_thinking", on);
        variables.put("thinking", on);
    }
}
