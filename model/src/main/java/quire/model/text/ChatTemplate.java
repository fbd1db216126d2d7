package quire.model.text;

import java.util.List;
import java.util.Map;

/** A model's own chat template: messages in, the prompt's text out. Thread-safe. */
public interface ChatTemplate {
    /**
     * Renders a conversation. Values are plain: String, Number, Boolean, List, Map with String keys, or null.
     *
     * @param messages each with {@code role}, {@code content} and what else the template reads
     * @param tools tool descriptions as the OpenAI API has them; empty for none
     * @param addGenerationPrompt whether to end with what begins the assistant's turn
     * @throws ChatTemplateException if the template refuses the messages or cannot be rendered
     */
    String render(
            List<? extends Map<String, ?>> messages, List<? extends Map<String, ?>> tools, boolean addGenerationPrompt);

    /**
     * Renders a conversation with variables of the caller's own, such as {@code enable_thinking}.
     *
     * @param variables by name, on top of {@code messages}, {@code tools} and {@code add_generation_prompt}
     * @throws ChatTemplateException as above, and if this template takes no variables
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
     * What conversations may hold. For a model with a template of its own for tools, what that one takes.
     *
     * <p>Templates that {@link ChatTemplates#of} made know the answer. For others it is found by rendering each time.
     */
    default TemplateCapabilities capabilities() {
        return TemplateCapabilities.probe(this);
    }
}
