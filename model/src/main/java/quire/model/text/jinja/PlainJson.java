package quire.model.text.jinja;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.ChatTemplateException;

/**
 * Converts plain Java values (String, Number, Boolean, List, Map, null) to JSON text and back, in the way Python does.
 */
public final class PlainJson {
    private PlainJson() {}

    /**
     * Writes JSON on one line, with a space after each comma and colon.
     *
     * @throws ChatTemplateException if a value has another type or is nested too deep
     */
    public static String write(@Nullable Object value) {
        Limits limits = new Limits();
        try {
            return new Json(false, null, ", ", ": ", false, limits).write(Values.fromJava(value, limits, 0));
        } catch (JinjaError e) {
            throw new ChatTemplateException("values as JSON: " + e.getMessage());
        }
    }

    /**
     * Parses a JSON text.
     *
     * @throws ChatTemplateException if the text is not JSON or is nested too deep
     */
    public static @Nullable Object read(String text) {
        Limits limits = new Limits();
        limits.grantInput(text.length());
        try {
            return toJava(JsonReader.read(text, limits));
        } catch (JinjaError e) {
            throw new ChatTemplateException("JSON text: " + e.getMessage());
        }
    }

    private static @Nullable Object toJava(Object value) {
        return switch (value) {
            case Values.None none -> null;
            case List<?> list -> {
                List<@Nullable Object> items = new ArrayList<>();
                list.forEach(item -> items.add(toJava(item)));
                yield items;
            }
            case Map<?, ?> map -> {
                Map<String, @Nullable Object> entries = new LinkedHashMap<>();
                map.forEach((key, item) -> entries.put((String) key, toJava(item)));
                yield entries;
            }
            default -> value;
        };
    }
}
