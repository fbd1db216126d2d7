package quire.server.api;

import org.jspecify.annotations.Nullable;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.UnknownFormatException;
import quire.model.text.ChatTemplate;
import quire.model.text.TemplateCapabilities;
import quire.model.text.Tokenizer;

/**
 * What a model can do in chats, as its template shows it.
 *
 * @param toolCallFormat how it writes calls of tools; null if it cannot call any
 * @param toolCallError why it cannot; empty if it can
 * @param reasoningFormat how it marks its reasoning; null if it does not reason before it answers
 */
public record ChatAbilities(
        @Nullable ToolCallFormat toolCallFormat,
        String toolCallError,
        @Nullable ReasoningFormat reasoningFormat) {
    /**
     * Finds out what a model can do; renders some conversations.
     *
     * @param template the model's chat template; null if it has none
     */
    public static ChatAbilities of(@Nullable ChatTemplate template, Tokenizer tokenizer) {
        if (template == null) {
            return new ChatAbilities(null, "it has no chat template", null);
        }
        ReasoningFormat reasoning = null;
        String error;
        try {
            reasoning = ReasoningFormat.of(template, tokenizer);
            if (template.capabilities().tools() == TemplateCapabilities.Answer.SUPPORTED) {
                return new ChatAbilities(ToolCallFormat.of(template, tokenizer), "", reasoning);
            }
            error = "its chat template does not use them";
        } catch (UnknownFormatException e) {
            error = String.valueOf(e.getMessage());
        } catch (RuntimeException e) { // the program's own template: its requests fail, not the start
            error = "its chat template fails: " + e;
        }
        return new ChatAbilities(null, error, reasoning);
    }
}
