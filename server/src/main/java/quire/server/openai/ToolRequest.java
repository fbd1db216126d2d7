package quire.server.openai;

import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.Tool;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;

/**
 * What a chat request says about tools.
 *
 * @param forTemplate the tools that the prompt describes, as the template takes them; empty for none
 * @param tools those that may be called
 * @param choice which calls the answer has
 * @param parallel whether it may have several calls
 * @param named whether the request names the tool to call; such an answer ends with {@code stop}, as OpenAI's do
 * @param legacy whether the request has {@code functions}; the answer then has {@code function_call}
 * @param format of the model's calls; null if the answer has none
 */
record ToolRequest(
        List<Map<String, @Nullable Object>> forTemplate,
        List<Tool> tools,
        Choice choice,
        boolean parallel,
        boolean named,
        boolean legacy,
        @Nullable ToolCallFormat format) {
    private static final String LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    private static final int ID_LENGTH = 9;

    /** No tools. */
    static final ToolRequest NONE = new ToolRequest(List.of(), List.of(), Choice.NONE, false, false, false, null);

    /** The format of the answer's calls; null if it cannot have any. */
    @Nullable
    ToolCallFormat callFormat() {
        return choice == Choice.NONE ? null : format;
    }

    /**
     * What the answer may be.
     *
     * @param text what its text must be; null for anything
     */
    @Nullable
    Constraint constraint(@Nullable Constraint text) {
        return format == null ? text : format.constraint(tools, choice, parallel, text);
    }

    /** An id for a call, which is always the same for the same key and call. */
    String callId(long key, int call) {
        SplittableRandom random = new SplittableRandom(key * 31 + call);
        StringBuilder id = new StringBuilder(format != null && format.hasNineCharacterIds() ? "" : "call_");
        for (int i = 0; i < ID_LENGTH; i++) {
            id.append(LETTERS.charAt(random.nextInt(LETTERS.length())));
        }
        return id.toString();
    }

    /** How an answer with calls ended. */
    String finishReason() {
        return legacy ? "function_call" : named ? "stop" : "tool_calls";
    }
}
