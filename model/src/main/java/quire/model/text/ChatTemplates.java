package quire.model.text;

import java.time.Clock;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.JinjaTemplate;

/** Makes chat templates from the Jinja source that model files carry. */
public final class ChatTemplates {
    private ChatTemplates() {}

    /**
     * Parses a template. Rendering follows Hugging Face transformers' {@code apply_chat_template}: Jinja with {@code
     * trim_blocks} and {@code lstrip_blocks}, loop controls, {@code tojson}, {@code raise_exception}, {@code strftime_now}.
     * Templates are not trusted: what a render may take is bounded.
     *
     * @param template the Jinja source, at most 1 Mi characters
     * @param bosToken the spelling of the token that begins a text; null if the model has none, then {@code bos_token} is
     *     undefined
     * @param eosToken the same for the token that ends a text
     * @param clock what {@code strftime_now} reads, with its zone
     * @throws ChatTemplateException if the template is not Jinja or uses a block, filter or test that is not supported;
     *     the message names the line and the construct
     */
    public static ChatTemplate parse(
            String template, @Nullable String bosToken, @Nullable String eosToken, Clock clock) {
        return new JinjaTemplate(template, bosToken, eosToken, clock);
    }
}
