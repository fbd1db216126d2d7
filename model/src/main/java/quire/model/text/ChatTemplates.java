package quire.model.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Clock;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;
import quire.model.text.jinja.JinjaTemplate;

/**
 * Creates chat templates from the Jinja sources in model files. The default template has the key {@code
 * tokenizer.chat_template}. A file can have more under {@code tokenizer.chat_template.NAME}, and lists their names
 * under {@code tokenizer.chat_templates}: {@code tool_use} is for conversations with tools, {@code rag} for those with
 * documents.
 */
public final class ChatTemplates {
    /** The name of the template under {@code tokenizer.chat_template} itself. */
    public static final String DEFAULT = "default";

    private static final String KEY = "tokenizer.chat_template";
    private static final String TOOL_USE = "tool_use";
    private static final String RAG = "rag";
    private static final Logger LOG = System.getLogger(ChatTemplates.class.getName());

    private ChatTemplates() {}

    /**
     * Parses a template. It is rendered in the same way as by {@code apply_chat_template} of Hugging Face transformers:
     * Jinja with {@code trim_blocks} and {@code lstrip_blocks}, loop controls, {@code tojson}, {@code raise_exception}
     * and {@code strftime_now}. In addition there is {@code from_json}, which some newer templates use. Templates are
     * not trusted: the time and memory of a rendering are limited.
     *
     * @param template the Jinja source, at most 1 Mi characters
     * @param bosToken the spelling of the token that begins a text; null if the model has none, then {@code bos_token}
     *     is undefined
     * @param eosToken the same for the token that ends a text
     * @param clock the clock of {@code strftime_now}, with its time zone
     * @throws ChatTemplateException if the template is not valid Jinja, or uses a block, filter or test that is not
     *     supported; the message names the line and the construct
     */
    public static ChatTemplate parse(
            String template, @Nullable String bosToken, @Nullable String eosToken, Clock clock) {
        return new JinjaTemplate(template, bosToken, eosToken, clock);
    }

    /**
     * The chat template of a model, made of all templates in its file. It accepts every form of a conversation that the
     * OpenAI API allows, and gives the template of the file a form that it accepts, see {@link TemplateCapabilities}.
     * Conversations with tools use the template {@code tool_use}, and those with a variable {@code documents} the
     * template {@code rag}, if the file has them.
     *
     * @return null if the file has no template
     * @throws ChatTemplateException as {@link #parse}, for the default template; other templates that cannot be parsed
     *     are left out with a warning
     */
    public static @Nullable ChatTemplate of(Gguf file, Tokenizer tokenizer, Clock clock) {
        Map<String, String> sources = sources(file);
        if (sources.isEmpty()) {
            return null;
        }
        Map<String, ChatTemplate> templates = new LinkedHashMap<>();
        for (Map.Entry<String, String> source : sources.entrySet()) {
            boolean usual = source.getKey().equals(DEFAULT) || !sources.containsKey(DEFAULT);
            try {
                templates.put(source.getKey(), adapted(source.getValue(), tokenizer, clock));
            } catch (ChatTemplateException e) {
                if (usual) {
                    throw e;
                }
                LOG.log(
                        Level.WARNING,
                        file.file() + ": the template '" + source.getKey() + "' is left out: " + e.getMessage());
            }
        }
        ChatTemplate first = templates.values().iterator().next();
        ChatTemplate usual = templates.getOrDefault(DEFAULT, templates.getOrDefault(TOOL_USE, first));
        return new ByPurpose(usual, templates.getOrDefault(TOOL_USE, usual), templates.getOrDefault(RAG, usual));
    }

    /** Whether a file has a chat template, which may be one that cannot be used. */
    public static boolean isIn(Gguf file) {
        return !sources(file).isEmpty();
    }

    /**
     * A template that accepts every form of a conversation that the OpenAI API allows, and gives {@code template} a
     * form that it accepts, see {@link TemplateCapabilities}. Conversations that {@code template} renders correctly are
     * not changed.
     */
    public static ChatTemplate adapted(ChatTemplate template) {
        return new AdaptedChatTemplate(template);
    }

    /**
     * What each template of a file accepts, by its name, {@link #DEFAULT} first.
     *
     * @throws ChatTemplateException as {@link #parse}
     */
    public static Map<String, TemplateCapabilities> capabilities(Gguf file, Tokenizer tokenizer, Clock clock) {
        Map<String, TemplateCapabilities> capabilities = new LinkedHashMap<>();
        sources(file)
                .forEach((name, source) ->
                        capabilities.put(name, adapted(source, tokenizer, clock).capabilities()));
        return capabilities;
    }

    private static ChatTemplate adapted(String source, Tokenizer tokenizer, Clock clock) {
        return adapted(
                parse(source, spelling(tokenizer, tokenizer.bos()), spelling(tokenizer, tokenizer.eos()), clock));
    }

    private static @Nullable String spelling(Tokenizer tokenizer, OptionalInt token) {
        return token.isPresent() ? tokenizer.spelling(token.getAsInt()) : null;
    }

    /** The sources by name. Some files have a named template that is not in the list of names. */
    private static Map<String, String> sources(Gguf file) {
        Set<String> names = new LinkedHashSet<>(List.of(TOOL_USE, RAG));
        String list = KEY + "s";
        if (file.has(list) && file.type(list) == GgufValueType.ARRAY && file.itemType(list) == GgufValueType.STRING) {
            names.addAll(List.of(file.strings(list)));
        }
        Map<String, String> sources = new LinkedHashMap<>();
        String usual = file.string(KEY, "");
        if (!usual.isEmpty()) {
            sources.put(DEFAULT, usual);
        }
        for (String name : names) {
            String source = file.string(KEY + "." + name, "");
            if (!source.isEmpty()) {
                sources.put(name, source);
            }
        }
        return sources;
    }

    /** The templates of one model, one for each purpose. */
    private record ByPurpose(ChatTemplate usual, ChatTemplate forTools, ChatTemplate forDocuments)
            implements ChatTemplate {
        @Override
        public String render(
                List<? extends Map<String, ?>> messages,
                List<? extends Map<String, ?>> tools,
                boolean addGenerationPrompt) {
            return render(messages, tools, addGenerationPrompt, Map.of());
        }

        @Override
        public String render(
                List<? extends Map<String, ?>> messages,
                List<? extends Map<String, ?>> tools,
                boolean addGenerationPrompt,
                Map<String, ?> variables) {
            ChatTemplate template =
                    !tools.isEmpty() ? forTools : variables.get("documents") != null ? forDocuments : usual;
            return template.render(messages, tools, addGenerationPrompt, variables);
        }

        @Override
        public TemplateCapabilities capabilities() {
            return forTools.capabilities();
        }
    }
}
