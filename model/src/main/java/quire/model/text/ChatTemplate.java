package quire.model.text;

import java.util.List;
import java.util.Map;

/** The chat template of a model: renders a conversation as the text of a prompt. Thread-safe. */
public interface ChatTemplate {
    /**
     * Renders a conversation. Values are of the types String, Number, Boolean, List, Map with String keys, or null.
     *
     * @param messages each with {@code role}, {@code content} and other entries that the template reads
     * @param tools descriptions of tools in the form of the OpenAI API; empty for none
     * @param addGenerationPrompt whether to add the start of the assistant's next message at the end
     * @throws ChatTemplateException if the template refuses the messages or cannot be rendered
     */
    String render(
            List<? extends Map<String, ?>> messages, List<? extends Map<String, ?>> tools, boolean addGenerationPrompt);

    /**
     * Renders a conversation with additional variables, such as {@code enable_thinking}.
     *
     * @param variables by name, in addition to {@code messages}, {@code tools} and {@code add_generation_prompt}
     * @throws ChatTemplateException as above, and if this template accepts no variables
     */
    default String render(
            List<? extends Map<String, ?>> messages,
            List<? extends Map<String, ?>> tools,
            boolean addGenerationPrompt,
            Map<String, ?> variables) {
        if (!variables.isEmpty()) {
            throw new ChatTemplateException("this chat template takes no variables: " + variables.keySet());
        }
        return render(messages, tools, addGenerationPrompt);
    }

    /**
     * What the template accepts. If the model has a separate template for tools, the answer is about that one.
     *
     * <p>Templates from {@link ChatTemplates#of} store the answer. For other templates, each call renders the small
     * conversations again.
     */
    default TemplateCapabilities capabilities() {
        return TemplateCapabilities.probe(this);
    }
}
