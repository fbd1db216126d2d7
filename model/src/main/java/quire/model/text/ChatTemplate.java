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
}
