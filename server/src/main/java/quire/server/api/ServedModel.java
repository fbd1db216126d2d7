package quire.server.api;

import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.UnknownFormatException;
import quire.model.SamplingDefaults;
import quire.model.text.ChatTemplate;
import quire.model.text.TemplateCapabilities;
import quire.model.text.Tokenizer;
import quire.server.http.HttpException;

/** The model that is served, and the names under which clients can ask for it. */
public final class ServedModel {
    /** The alias that stands for every name. */
    public static final String ANY = "*";

    private static final int MAX_NAME_LENGTH = 256;

    private final Engine engine;
    private final List<String> names;
    private final boolean anyName;
    private final boolean nameRequired;
    private final SamplingDefaults samplingDefaults;
    private final @Nullable ToolCallFormat toolCallFormat;
    private final String toolCallError;
    private final @Nullable ReasoningFormat reasoningFormat;

    /**
     * Finds out how the model writes calls of tools, which renders some conversations.
     *
     * @param aliases further names beside the engine's own; {@link #ANY} among them accepts every name
     * @param nameRequired whether a request without a model's name is refused
     * @param operatorsDefaults how tokens are chosen where a request does not say it; comes before what the model's file
     *     recommends
     */
    public ServedModel(Engine engine, List<String> aliases, boolean nameRequired, SamplingDefaults operatorsDefaults) {
        this.engine = engine;
        Set<String> all = new LinkedHashSet<>();
        all.add(engine.modelName());
        all.addAll(aliases);
        this.anyName = all.remove(ANY);
        this.names = List.copyOf(all);
        this.nameRequired = nameRequired;
        this.samplingDefaults =
                operatorsDefaults.orElse(engine.recommendedSampling()).orElse(SamplingDefaults.NEUTRAL);
        ChatTemplate template = engine.chatTemplate();
        ToolCallFormat format = null;
        String error = "";
        ReasoningFormat reasoning = null;
        try {
            reasoning = template == null ? null : ReasoningFormat.of(template, engine.tokenizer());
            if (template == null) {
                error = "it has no chat template";
            } else if (template.capabilities().tools() != TemplateCapabilities.Answer.SUPPORTED) {
                error = "its chat template does not use them";
            } else {
                format = ToolCallFormat.of(template, engine.tokenizer());
            }
        } catch (UnknownFormatException e) {
            error = String.valueOf(e.getMessage());
        } catch (RuntimeException e) { // the program's own template: its requests fail, not the start
            error = "its chat template fails: " + e;
        }
        reasoningFormat = reasoning;
        toolCallFormat = format;
        toolCallError = error;
    }

    /** How the model writes calls of tools; null if it cannot call any. */
    public @Nullable ToolCallFormat toolCallFormat() {
        return toolCallFormat;
    }

    /** How the model marks its reasoning; null if it does not reason before it answers. */
    public @Nullable ReasoningFormat reasoningFormat() {
        return reasoningFormat;
    }

    /** Why there is no {@link #toolCallFormat}; empty if there is one. */
    public String toolCallError() {
        return toolCallError;
    }

    /** The engine, which computes the answers. */
    public Engine engine() {
        return engine;
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        return engine.tokenizer();
    }

    /**
     * How tokens are chosen where a request does not say it: by the operator, else by the model's file, else neutral. Every
     * value is there.
     */
    public SamplingDefaults samplingDefaults() {
        return samplingDefaults;
    }

    /** The model's own name. */
    public String name() {
        return engine.modelName();
    }

    /** All names, the model's own first. */
    public List<String> names() {
        return names;
    }

    /**
     * The name in the answer for the request's {@code model}: the requested name, or the model's own if it is absent,
     * null or empty.
     *
     * @throws HttpException 404 if no such model is served; 400 if there is no name and one is required
     */
    public String resolve(Fields body) {
        String asked = body.string("model");
        if (asked != null && !asked.isEmpty()) {
            return resolve(asked);
        }
        if (nameRequired) {
            throw body.missing("model");
        }
        return name();
    }

    /**
     * The name in the answer for a requested name.
     *
     * @throws HttpException 404 if no such model is served
     */
    public String resolve(String asked) {
        if (names.contains(asked) || (anyName && !asked.isEmpty() && asked.length() <= MAX_NAME_LENGTH)) {
            return asked;
        }
        String shown = asked.length() > MAX_NAME_LENGTH ? asked.substring(0, MAX_NAME_LENGTH) + "…" : asked;
        throw HttpException.notFound(
                "model",
                "model_not_found",
                "The model '" + shown + "' does not exist here; this server has '" + String.join("', '", names) + "'.");
    }
}
