package quire.bench.agents;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import quire.cli.output.Json;
import quire.engine.chat.Tool;

/**
 * The request of a program's second turn, captured, whose prose was replaced by short texts. Its body gets made-up words in
 * their place until it has the length that was sent: half of them as instructions, half as descriptions of tools.
 *
 * <pre>
 *   file      {"path": "/v1/…", "bytes_as_sent": 30694, "body": {…}}
 *   turn 2    instructions, task, call, result
 *   turn 1    instructions, task                     the same bytes, up to the first item of the assistant
 * </pre>
 */
final class Capture {
    private static final List<String> WORDS = List.of(
            "the", "tool", "reads", "a", "file", "and", "returns", "its", "lines", "when", "path", "is", "given");

    private final String name;
    private final String path;
    private final long bytes;
    private final Map<String, Object> body;

    private Capture(String name, String path, long bytes, Map<String, Object> body) {
        this.name = name;
        this.path = path;
        this.bytes = bytes;
        this.body = body;
    }

    /**
     * Reads a file.
     *
     * @throws IllegalArgumentException if it is no captured request
     */
    static Capture read(Path file) throws IOException {
        Map<String, Object> read;
        try {
            read = Json.read(Files.readString(file));
        } catch (RuntimeException e) {
            throw new IllegalArgumentException(file + " is not JSON: " + e.getMessage(), e);
        }
        if (read.get("path") instanceof String path
                && read.get("bytes_as_sent") instanceof Number bytes
                && read.get("body") instanceof Map<?, ?>) {
            String name = String.valueOf(file.getFileName()).replaceFirst("(-turn2)?\\.json$", "");
            return new Capture(name, path.replaceFirst("\\?.*", ""), bytes.longValue(), members(read, "body"));
        }
        throw new IllegalArgumentException(
                file + " is no captured request: it needs the members path, bytes_as_sent and body");
    }

    /** The program, by the name of the file. */
    String name() {
        return name;
    }

    /** Where the request goes. */
    String path() {
        return path;
    }

    /** The length of the body that the program sent. */
    long bytes() {
        return bytes;
    }

    /** Whether turn 1 can be made: there is a call of the assistant behind the task. */
    boolean hasTwoTurns() {
        return firstTurn(items()) < items().size();
    }

    /**
     * The body of a turn.
     *
     * @param turn 1 or 2
     * @param model the name of the served model
     * @param seed of the made-up words; the same seed gives the same words
     */
    String turn(int turn, String model, long seed) {
        Map<String, Object> filled = filled(seed);
        if (turn == 1) {
            String items = filled.containsKey("input") ? "input" : "messages";
            if (filled.get(items) instanceof List<?> all) {
                filled.put(items, all.subList(0, firstTurn(all)));
            }
        }
        filled.put("model", model);
        filled.put("stream", false);
        filled.remove("stream_options");
        filled.remove("thinking"); // its budget must fit the limit of tokens
        filled.remove("max_completion_tokens");
        if (path.startsWith("/api/")) {
            filled.put("options", Map.of("temperature", 0, "num_predict", 1));
        } else {
            filled.put("temperature", 0);
            filled.put(path.endsWith("/responses") ? "max_output_tokens" : "max_tokens", 1);
        }
        return Json.write(filled);
    }

    /** The tools with a schema, as the engine takes them; new objects at each call. */
    List<Tool> tools() {
        List<Tool> tools = new ArrayList<>();
        addTools(Json.read(Json.write(body)).get("tools"), tools);
        return tools;
    }

    private static void addTools(@Nullable Object list, List<Tool> tools) {
        if (!(list instanceof List<?> elements)) {
            return;
        }
        for (Object element : elements) {
            Map<?, ?> tool = (Map<?, ?>) element;
            Map<?, ?> function = tool.get("function") instanceof Map<?, ?> inner ? inner : tool;
            Object schema =
                    function.get("parameters") != null ? function.get("parameters") : function.get("input_schema");
            if (schema instanceof Map<?, ?> && function.get("name") instanceof String toolName) {
                Map<String, Object> parameters = new LinkedHashMap<>();
                ((Map<?, ?>) schema).forEach((key, value) -> parameters.put(String.valueOf(key), value));
                parameters.putIfAbsent("type", "object");
                tools.add(new Tool(toolName, parameters));
            }
            addTools(tool.get("tools"), tools); // of a namespace
        }
    }

    private List<?> items() {
        Object items = body.containsKey("input") ? body.get("input") : body.get("messages");
        return items instanceof List<?> list ? list : List.of();
    }

    /** The place of the first item that the assistant has written. */
    private static int firstTurn(List<?> items) {
        for (int i = 0; i < items.size(); i++) {
            Map<?, ?> item = (Map<?, ?>) items.get(i);
            Object type = item.get("type");
            if ("assistant".equals(item.get("role")) || "reasoning".equals(type) || "function_call".equals(type)) {
                return i;
            }
        }
        return items.size();
    }

    private Map<String, Object> filled(long seed) {
        long missing = Math.max(0, bytes - length(body));
        int[] places = new int[2]; // of instructions, of descriptions
        fill(body, text -> count(places, 0, text), text -> count(places, 1, text));
        long perInstruction = missing / 2 / Math.max(1, places[0]);
        long perDescription = (missing - missing / 2) / Math.max(1, places[1]);
        SplittableRandom random = new SplittableRandom(seed);
        return fill(body, text -> text + words(random, perInstruction), text -> text + words(random, perDescription));
    }

    private static String count(int[] places, int place, String text) {
        places[place]++;
        return text;
    }

    private static long length(Map<String, Object> body) {
        // The programs send no white space, and Json.write does.
        return Json.write(body).replaceAll("\n *", "").getBytes(StandardCharsets.UTF_8).length;
    }

    private static String words(SplittableRandom random, long length) {
        StringBuilder words = new StringBuilder();
        while (words.length() < length) {
            words.append(' ').append(WORDS.get(random.nextInt(WORDS.size())));
        }
        return words.substring(0, (int) length);
    }

    /** A copy with other instructions and other descriptions of tools. */
    private static Map<String, Object> fill(
            Map<String, Object> body, UnaryOperator<String> instructions, UnaryOperator<String> descriptions) {
        Map<String, Object> filled = new LinkedHashMap<>(body);
        if (filled.containsKey("system")) {
            filled.put("system", texts(filled.get("system"), instructions));
        }
        for (String items : List.of("input", "messages")) {
            if (filled.get(items) instanceof List<?> list) {
                filled.put(
                        items,
                        list.stream().map(item -> item(item, instructions)).toList());
            }
        }
        if (filled.get("tools") instanceof List<?> tools) {
            filled.put(
                    "tools",
                    tools.stream().map(tool -> tool(tool, descriptions)).toList());
        }
        return filled;
    }

    private static Object item(Object item, UnaryOperator<String> instructions) {
        if (item instanceof Map<?, ?> map
                && ("system".equals(map.get("role")) || "developer".equals(map.get("role")))) {
            Map<Object, Object> filled = new LinkedHashMap<>(map);
            filled.put("content", texts(map.get("content"), instructions));
            return filled;
        }
        return item;
    }

    private static @Nullable Object texts(@Nullable Object content, UnaryOperator<String> instructions) {
        if (content instanceof String text) {
            return instructions.apply(text);
        }
        if (content instanceof List<?> parts) {
            return parts.stream()
                    .map(part -> replaced(part, "text", instructions))
                    .toList();
        }
        return content;
    }

    private static Object tool(Object tool, UnaryOperator<String> descriptions) {
        if (tool instanceof Map<?, ?> map && map.get("function") instanceof Map<?, ?> function) {
            Map<Object, Object> filled = new LinkedHashMap<>(map);
            filled.put("function", replaced(function, "description", descriptions));
            return filled;
        }
        return replaced(tool, "description", descriptions);
    }

    private static Object replaced(Object object, String member, UnaryOperator<String> text) {
        if (object instanceof Map<?, ?> map && map.get(member) instanceof String before) {
            Map<Object, Object> filled = new LinkedHashMap<>(map);
            filled.put(member, text.apply(before));
            return filled;
        }
        return object;
    }

    @SuppressWarnings("unchecked") // the keys of JSON objects are strings
    private static Map<String, Object> members(Map<String, Object> parent, String name) {
        return (Map<String, Object>) parent.getOrDefault(name, Map.of());
    }
}
