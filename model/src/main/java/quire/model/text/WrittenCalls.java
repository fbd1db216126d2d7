package quire.model.text;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.PlainJson;

/**
 * How the calls of earlier answers are written for templates that describe tools to the model but leave out its calls. The
 * model learned the form, so it is known by what the template tells the model.
 */
enum WrittenCalls {
    /** Granite 3: {@code <|tool_call|>[{"name": "NAME", "arguments": {…}}]}. */
    JSON_LIST("respond only with <|tool_call|> followed by a JSON list of tools", "<|tool_call|>[", "]"),
    /** LFM2: {@code <|tool_call_start|>[NAME(KEY="VALUE", KEY=1)]<|tool_call_end|>}. */
    CALL_LIST("List of tools: ", "<|tool_call_start|>[", "]<|tool_call_end|>");

    private static final List<Map<String, ?>> TOOLS = List.of(Map.of(
            "type",
            "function",
            "function",
            Map.of("name", "probe_tool", "description", "A tool.", "parameters", Map.of("type", "object"))));

    private final String told;
    private final String before;
    private final String after;

    WrittenCalls(String told, String before, String after) {
        this.told = told;
        this.before = before;
        this.after = after;
    }

    /** The form for a template; null if it is not known. */
    static @Nullable WrittenCalls of(ChatTemplate template) {
        try {
            String prompt = template.render(List.of(Map.of("role", "user", "content", "ProbeUser")), TOOLS, true);
            for (WrittenCalls form : values()) {
                if (prompt.contains(form.told)) {
                    return form;
                }
            }
            return null;
        } catch (ChatTemplateException e) {
            return null;
        }
    }

    /** The text of an answer with these calls. */
    String write(List<?> calls) {
        StringBuilder text = new StringBuilder(before);
        for (Object call : calls) {
            if (call instanceof Map<?, ?> map && map.get("function") instanceof Map<?, ?> function) {
                text.append(text.length() > before.length() ? ", " : "");
                Object arguments = function.get("arguments");
                append(
                        text,
                        String.valueOf(function.get("name")),
                        arguments instanceof String json ? PlainJson.read(json) : arguments);
            }
        }
        return text.append(after).toString();
    }

    private void append(StringBuilder text, String name, @Nullable Object arguments) {
        if (this == JSON_LIST) {
            text.append("{\"name\": \"").append(name).append("\", \"arguments\": ");
            text.append(PlainJson.write(arguments == null ? Map.of() : arguments))
                    .append('}');
            return;
        }
        text.append(name);
        String separator = "(";
        if (arguments instanceof Map<?, ?> pairs) {
            for (Map.Entry<?, ?> pair : pairs.entrySet()) {
                text.append(separator).append(pair.getKey()).append('=').append(literal(pair.getValue()));
                separator = ", ";
            }
        }
        text.append(separator.equals("(") ? "()" : ")");
    }

    /** A value as Python writes it; in lists and objects as JSON. */
    private static String literal(@Nullable Object value) {
        return switch (value) {
            case null -> "None";
            case Boolean b -> b ? "True" : "False";
            default -> PlainJson.write(value);
        };
    }
}
