package quire.model.text;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What a chat template accepts. Quire finds it out by rendering small conversations. If the template refuses one of
 * them, the capability counts as absent; this is not an error.
 *
 * @param text whether content can be a text
 * @param parts whether content can be a list of parts, {@code {"type": "text", "text": …}}
 * @param noContent the form for an assistant message that has tool calls and no content
 * @param systemRole messages of the role {@code system}
 * @param tools descriptions of tools
 * @param toolCalls an assistant message with tool calls
 * @param arguments the form for the arguments of a tool call
 * @param toolRole messages with the result of a tool call, in the role of a tool
 * @param consecutiveRoles two messages of the role {@code user} in a row
 */
public record TemplateCapabilities(
        boolean text,
        boolean parts,
        NoContent noContent,
        Answer systemRole,
        Answer tools,
        Answer toolCalls,
        Arguments arguments,
        Answer toolRole,
        Answer consecutiveRoles) {
    /** How a template treats a part of a conversation. */
    public enum Answer {
        /** The template writes it. */
        SUPPORTED,
        /** The template renders the conversation but does not write it. */
        IGNORED,
        /** The template does not render the conversation. */
        REFUSED
    }

    /** The form for a missing content. */
    public enum NoContent {
        /** {@code content: null} works, so messages are not changed. */
        NULL,
        /** {@code content: ""} works. With null the template fails or writes {@code None}. */
        EMPTY_TEXT,
        /** The message must have no {@code content}; null and the empty text do not work. */
        LEFT_OUT,
        /** No form works. */
        REFUSED
    }

    /** The form for the arguments of a tool call. */
    public enum Arguments {
        /** A map and a JSON text both work. */
        EITHER,
        /** A map of names and values works. */
        OBJECT,
        /** A JSON text works. */
        TEXT,
        /** Neither form works, or the template does not write tool calls. */
        UNKNOWN
    }

    private static final String USER = "ProbeUser";
    private static final String SECOND = "ProbeSecond";
    private static final String SYSTEM = "ProbeSystem";
    private static final String TOOL = "probe_tool";
    private static final String KEY = "probe_key";
    private static final String VALUE = "ProbeValue";
    private static final String RESULT = "ProbeResult";
    private static final Map<String, Object> ARGUMENTS = Map.of(KEY, VALUE);
    private static final String ARGUMENTS_TEXT = "{\"" + KEY + "\": \"" + VALUE + "\"}";
    private static final List<Map<String, ?>> TOOLS = List.of(Map.of(
            "type",
            "function",
            "function",
            Map.of(
                    "name",
                    TOOL,
                    "description",
                    "A tool.",
                    "parameters",
                    Map.of(
                            "type",
                            "object",
                            "properties",
                            Map.of(KEY, Map.of("type", "string", "description", "A key.")),
                            "required",
                            List.of(KEY)))));

    /** Renders about fifteen conversations of one to four messages and evaluates the results. */
    public static TemplateCapabilities probe(ChatTemplate template) {
        return new Probe(template).run();
    }

    /**
     * The results by name, for display.
     *
     * @return names and values in a fixed order
     */
    public Map<String, String> describe() {
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("content", text && parts ? "text or parts" : text ? "text" : parts ? "parts" : "unknown");
        facts.put("no content", words(noContent));
        facts.put("system role", words(systemRole));
        facts.put("tools", words(tools));
        facts.put("tool calls", words(toolCalls));
        facts.put("arguments", words(arguments));
        facts.put("tool role", words(toolRole));
        facts.put("consecutive roles", words(consecutiveRoles));
        return facts;
    }

    private static String words(Enum<?> value) {
        return value.name().toLowerCase(java.util.Locale.ROOT).replace('_', ' ');
    }

    /** One run of all test conversations. */
    private static final class Probe {
        private final ChatTemplate template;
        private boolean inParts;
        /** The tools in conversations that are not about tools. Not empty if the template fails without tools. */
        private List<Map<String, ?>> noTools = List.of();

        Probe(ChatTemplate template) {
            this.template = template;
        }

        TemplateCapabilities run() {
            List<Map<String, ?>> plain = List.of(message("user", USER));
            List<Map<String, ?>> listed = List.of(message("user", parts(USER)));
            if (render(plain, noTools) == null && render(listed, noTools) == null) {
                noTools = TOOLS;
            }
            boolean text = contains(render(plain, noTools), USER);
            String asParts = render(listed, noTools);
            // A template that prints the list itself also prints the names of its keys.
            boolean parts = contains(asParts, USER) && !contains(asParts, "'type'") && !contains(asParts, "\"type\"");
            if (!text && !parts) {
                return new TemplateCapabilities(
                        false,
                        false,
                        NoContent.REFUSED,
                        Answer.REFUSED,
                        Answer.REFUSED,
                        Answer.REFUSED,
                        Arguments.UNKNOWN,
                        Answer.REFUSED,
                        Answer.REFUSED);
            }
            inParts = !text;
            Answer system = answer(
                    render(List.of(message("system", content(SYSTEM)), message("user", content(USER))), noTools),
                    SYSTEM);
            Answer tools = tools(system);
            List<Map<String, ?>> given = tools == Answer.SUPPORTED ? TOOLS : noTools;
            String withObject = render(call(ARGUMENTS, content("")), given);
            String withText = render(call(ARGUMENTS_TEXT, content("")), given);
            Arguments arguments = arguments(withObject, withText);
            boolean asText = arguments == Arguments.TEXT;
            Object form = asText ? ARGUMENTS_TEXT : ARGUMENTS;
            return new TemplateCapabilities(
                    text,
                    parts,
                    noContent(form, given),
                    system,
                    tools,
                    answer(asText ? withText : withObject, VALUE),
                    arguments,
                    answer(render(result(form), given), RESULT),
                    answer(
                            render(List.of(message("user", content(USER)), message("user", content(SECOND))), noTools),
                            USER,
                            SECOND));
        }

        private Answer tools(Answer system) {
            List<Map<String, ?>> alone = List.of(message("user", content(USER)));
            Answer answer = answer(render(alone, TOOLS), TOOL);
            if (answer != Answer.SUPPORTED && system == Answer.SUPPORTED) {
                List<Map<String, ?>> both = List.of(message("system", content(SYSTEM)), message("user", content(USER)));
                Answer second = answer(render(both, TOOLS), TOOL);
                return second == Answer.SUPPORTED ? second : answer;
            }
            return answer;
        }

        /**
         * If the template needs a text, it prints a map in the way Python prints a dict. If it needs a map, it writes a
         * text with escaped quotes.
         */
        private static Arguments arguments(@Nullable String withObject, @Nullable String withText) {
            boolean object = contains(withObject, VALUE) && !contains(withObject, "{'" + KEY);
            boolean text = contains(withText, VALUE) && !contains(withText, "\\\"" + KEY);
            return object && text
                    ? Arguments.EITHER
                    : object ? Arguments.OBJECT : text ? Arguments.TEXT : Arguments.UNKNOWN;
        }

        /**
         * The first form that works for the last message, and also for an earlier one if the template renders that
         * conversation.
         */
        private NoContent noContent(Object arguments, List<Map<String, ?>> tools) {
            NoContent last = noContent(call(arguments, null), 1, tools);
            List<Map<String, ?>> longer = new ArrayList<>(result(arguments));
            longer.add(message("user", content(SECOND)));
            NoContent earlier = noContent(longer, 1, tools);
            return last == NoContent.NULL && earlier != NoContent.REFUSED ? earlier : last;
        }

        private NoContent noContent(List<Map<String, ?>> messages, int index, List<Map<String, ?>> tools) {
            List<Map<String, ?>> changed = new ArrayList<>(messages);
            Map<String, @Nullable Object> message = new LinkedHashMap<>(messages.get(index));
            changed.set(index, message);
            message.put("content", null);
            String withNull = render(changed, tools);
            message.put("content", content(""));
            String withEmpty = render(changed, tools);
            if (withNull != null) {
                boolean printed = withEmpty != null
                        && (occurrences(withNull, "None") > occurrences(withEmpty, "None")
                                || occurrences(withNull, "null") > occurrences(withEmpty, "null"));
                return printed ? NoContent.EMPTY_TEXT : NoContent.NULL;
            }
            if (withEmpty != null) {
                return NoContent.EMPTY_TEXT;
            }
            message.remove("content");
            return render(changed, tools) != null ? NoContent.LEFT_OUT : NoContent.REFUSED;
        }

        private List<Map<String, ?>> call(Object arguments, @Nullable Object content) {
            // Some templates need ids of nine letters and digits.
            Map<String, @Nullable Object> message = message("assistant", content);
            message.put(
                    "tool_calls",
                    List.of(Map.of(
                            "id",
                            "probe0001",
                            "type",
                            "function",
                            "function",
                            Map.of("name", TOOL, "arguments", arguments))));
            return List.of(message("user", content(USER)), message);
        }

        private List<Map<String, ?>> result(Object arguments) {
            Map<String, @Nullable Object> result = message("tool", content(RESULT));
            result.put("tool_call_id", "probe0001");
            result.put("name", TOOL);
            List<Map<String, ?>> messages = new ArrayList<>(call(arguments, content("")));
            messages.add(result);
            return messages;
        }

        private Object content(String text) {
            return inParts ? parts(text) : text;
        }

        private static Object parts(String text) {
            return List.of(Map.of("type", "text", "text", text));
        }

        private static Map<String, @Nullable Object> message(String role, @Nullable Object content) {
            Map<String, @Nullable Object> message = new LinkedHashMap<>();
            message.put("role", role);
            message.put("content", content);
            return message;
        }

        private @Nullable String render(List<? extends Map<String, ?>> messages, List<Map<String, ?>> tools) {
            try {
                return template.render(messages, tools, false);
            } catch (ChatTemplateException e) {
                return null;
            }
        }

        private static Answer answer(@Nullable String rendered, String... markers) {
            if (rendered == null) {
                return Answer.REFUSED;
            }
            for (String marker : markers) {
                if (!rendered.contains(marker)) {
                    return Answer.IGNORED;
                }
            }
            return Answer.SUPPORTED;
        }

        private static boolean contains(@Nullable String rendered, String part) {
            return rendered != null && rendered.contains(part);
        }

        private static int occurrences(String text, String part) {
            int count = 0;
            for (int at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) {
                count++;
            }
            return count;
        }
    }
}
