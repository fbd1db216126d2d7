package quire.model.text;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.model.text.TemplateCapabilities.Answer;
import quire.model.text.TemplateCapabilities.Arguments;
import quire.model.text.TemplateCapabilities.NoContent;
import quire.model.text.jinja.PlainJson;

/**
 * A chat template that receives each conversation in a form that it accepts.
 *
 * <p>Clients send all forms that the OpenAI API allows. A template often accepts only some of them: one fails at {@code
 * content: null}, another needs arguments as text, a third needs alternating messages of user and assistant.
 *
 * <p>The invariant: if the template renders a conversation correctly, it gets that conversation unchanged. Only forms
 * that {@link TemplateCapabilities} reports as not accepted are changed:
 *
 * <pre>
 *   form in the conversation              what the template gets
 *   content: null beside tool_calls       "", or no content
 *   content as parts                      text: the texts of the parts, joined by line breaks
 *   content as text                       parts: one part
 *   arguments as map                      text: its JSON; a JSON text becomes a map in the same way
 *   a system message                      its text before the next user message, with an empty line between
 *   tool_calls                            text that {@link WrittenCalls} makes of them, for a few known templates
 *   ids of calls                          functions.NAME:NUMBER, where the template writes the id in place of the name
 *   reasoning_content beside tool_calls   thinking, where the template has that name for it
 *   two user messages in a row            one message, with an empty line between; also two assistant messages
 * </pre>
 */
final class AdaptedChatTemplate implements ChatTemplate {
    private static final String PARAGRAPH = "\n\n";
    private static final String CALL_ID = "probe0001";
    private static final String CALL_NAME = "probe_function";

    private final ChatTemplate template;
    private final TemplateCapabilities capabilities;
    private final @Nullable WrittenCalls writtenCalls;
    private final boolean callsItThinking;
    private final boolean writesIdForName;

    AdaptedChatTemplate(ChatTemplate template) {
        this.template = template;
        this.capabilities = TemplateCapabilities.probe(template);
        this.writtenCalls = capabilities.tools() == Answer.SUPPORTED && capabilities.toolCalls() != Answer.SUPPORTED
                ? WrittenCalls.of(template)
                : null;
        this.callsItThinking = writes("thinking") && !writes("reasoning_content");
        String call = earlierCall(Map.of());
        this.writesIdForName = call.contains(CALL_ID) && !call.contains(CALL_NAME);
    }

    /** Whether the template writes the reasoning before a call from this field. */
    private boolean writes(String field) {
        return earlierCall(Map.of(field, "ProbeThought")).contains("ProbeThought");
    }

    /** An answer with a call, as the template writes it; empty if it refuses. */
    private String earlierCall(Map<String, String> fields) {
        Map<String, ?> call =
                Map.of("id", CALL_ID, "type", "function", "function", Map.of("name", CALL_NAME, "arguments", Map.of()));
        Map<String, Object> answer =
                new LinkedHashMap<>(Map.of("role", "assistant", "content", "", "tool_calls", List.of(call)));
        answer.putAll(fields);
        try {
            return template.render(List.of(Map.of("role", "user", "content", "ProbeUser"), answer), List.of(), false);
        } catch (ChatTemplateException e) {
            return "";
        }
    }

    @Override
    public TemplateCapabilities capabilities() {
        return capabilities;
    }

    @Override
    public String render(
            List<? extends Map<String, ?>> messages,
            List<? extends Map<String, ?>> tools,
            boolean addGenerationPrompt) {
        return template.render(adapted(messages), tools, addGenerationPrompt);
    }

    @Override
    public String render(
            List<? extends Map<String, ?>> messages,
            List<? extends Map<String, ?>> tools,
            boolean addGenerationPrompt,
            Map<String, ?> variables) {
        return template.render(adapted(messages), tools, addGenerationPrompt, variables);
    }

    private List<Map<String, ?>> adapted(List<? extends Map<String, ?>> messages) {
        List<Map<String, ?>> adapted = new ArrayList<>();
        for (Map<String, ?> message : writesIdForName ? withNamesInIds(messages) : messages) {
            adapted.add(message(message));
        }
        if (capabilities.systemRole() == Answer.REFUSED && capabilities.text()) {
            adapted = withoutSystem(adapted);
        }
        return capabilities.consecutiveRoles() == Answer.REFUSED ? merged(adapted) : adapted;
    }

    /** Kimi K2 learned ids that are the name and a number, which counts the calls of the conversation. */
    private static List<Map<String, ?>> withNamesInIds(List<? extends Map<String, ?>> messages) {
        Map<Object, String> idToNew = new HashMap<>();
        List<Map<String, ?>> result = new ArrayList<>();
        int count = 0;
        for (Map<String, ?> message : messages) {
            if (message.get("tool_calls") instanceof List<?> calls) {
                List<Object> changed = new ArrayList<>();
                for (Object call : calls) {
                    if (call instanceof Map<?, ?> map && map.get("function") instanceof Map<?, ?> function) {
                        String id = "functions." + function.get("name") + ":" + count++;
                        Object old = map.get("id");
                        if (old != null) {
                            idToNew.put(old, id);
                        }
                        Map<Object, @Nullable Object> with = new LinkedHashMap<>(map);
                        with.put("id", id);
                        changed.add(with);
                    } else {
                        changed.add(call);
                    }
                }
                result.add(with(message, "tool_calls", changed));
            } else {
                Object id = message.get("tool_call_id");
                String renamed = id == null ? null : idToNew.get(id);
                result.add(renamed == null ? message : with(message, "tool_call_id", renamed));
            }
        }
        return result;
    }

    private Map<String, ?> message(Map<String, ?> message) {
        Map<String, @Nullable Object> changed = new LinkedHashMap<>(message);
        Object content = message.get("content");
        if (content == null) {
            if (message.containsKey("tool_calls")) {
                noContent(changed);
            }
        } else {
            changed.put("content", content(content));
        }
        if (writtenCalls != null && message.get("tool_calls") instanceof List<?> calls) {
            changed.remove("tool_calls");
            Object before = changed.get("content");
            changed.put("content", (before instanceof String text ? text : "") + writtenCalls.write(calls));
            return changed;
        }
        boolean hasContent = content instanceof String text && !text.isEmpty();
        if (callsItThinking && !hasContent && message.get("reasoning_content") != null) {
            changed.put("thinking", message.get("reasoning_content")); // beside a text the template takes none
        }
        if (message.get("tool_calls") instanceof List<?> calls) {
            changed.put("tool_calls", calls.stream().map(this::call).toList());
        }
        return changed;
    }

    private void noContent(Map<String, @Nullable Object> message) {
        if (capabilities.noContent() == NoContent.EMPTY_TEXT) {
            message.put("content", content(""));
        } else if (capabilities.noContent() == NoContent.LEFT_OUT) {
            message.remove("content");
        }
    }

    private Object content(Object content) {
        if (content instanceof String text && !capabilities.text() && capabilities.parts()) {
            return List.of(Map.of("type", "text", "text", text));
        }
        if (content instanceof List<?> parts && capabilities.text() && !capabilities.parts()) {
            List<String> texts = new ArrayList<>();
            for (Object part : parts) {
                if (!(part instanceof Map<?, ?> map) || !(map.get("text") instanceof String text)) {
                    return content; // not only text: the error of the template explains it best
                }
                texts.add(text);
            }
            return String.join("\n", texts);
        }
        return content;
    }

    private Object call(Object call) {
        if (!(call instanceof Map<?, ?> map) || !(map.get("function") instanceof Map<?, ?> function)) {
            return call;
        }
        Object wanted;
        if (function.get("arguments") instanceof Map<?, ?> object && capabilities.arguments() == Arguments.TEXT) {
            wanted = PlainJson.write(object);
        } else if (function.get("arguments") instanceof String text && capabilities.arguments() == Arguments.OBJECT) {
            wanted = PlainJson.read(text);
        } else {
            return call;
        }
        Map<Object, @Nullable Object> changed = new LinkedHashMap<>(map);
        Map<Object, @Nullable Object> changedFunction = new LinkedHashMap<>(function);
        changedFunction.put("arguments", wanted);
        changed.put("function", changedFunction);
        return changed;
    }

    /**
     * Puts the text of each system message before the next user message. Without a next one, makes a user message of
     * it.
     */
    private static List<Map<String, ?>> withoutSystem(List<Map<String, ?>> messages) {
        List<Map<String, ?>> result = new ArrayList<>();
        Map<String, ?> pending = null;
        for (Map<String, ?> message : messages) {
            if (isRole(message, "system")) {
                pending = pending == null ? message : joined(pending, message);
            } else if (pending != null && isRole(message, "user") && message.get("content") instanceof String) {
                result.add(with(joined(pending, message), "role", "user"));
                pending = null;
            } else {
                result.add(message);
            }
        }
        if (pending != null) {
            result.add(with(pending, "role", "user"));
        }
        return result;
    }

    private static List<Map<String, ?>> merged(List<Map<String, ?>> messages) {
        List<Map<String, ?>> result = new ArrayList<>();
        for (Map<String, ?> message : messages) {
            Map<String, ?> last = result.isEmpty() ? null : result.getLast();
            if (last != null && canMerge(last, message)) {
                result.set(result.size() - 1, joined(last, message));
            } else {
                result.add(message);
            }
        }
        return result;
    }

    private static boolean canMerge(Map<String, ?> first, Map<String, ?> second) {
        return first.get("role") instanceof String role
                && Set.of("user", "assistant").contains(role)
                && isRole(second, role)
                && first.get("content") instanceof String
                && second.get("content") instanceof String
                && !first.containsKey("tool_calls")
                && !second.containsKey("tool_calls");
    }

    private static Map<String, ?> joined(Map<String, ?> first, Map<String, ?> second) {
        return with(first, "content", first.get("content") + PARAGRAPH + second.get("content"));
    }

    private static boolean isRole(Map<String, ?> message, String role) {
        return role.equals(message.get("role"));
    }

    private static Map<String, ?> with(Map<String, ?> message, String key, Object value) {
        Map<String, @Nullable Object> changed = new LinkedHashMap<>(message);
        changed.put(key, value);
        return changed;
    }
}
