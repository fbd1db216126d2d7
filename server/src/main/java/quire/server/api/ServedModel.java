package quire.server.api;

import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ToolCallFormat;
import quire.model.SamplingDefaults;
import quire.model.text.Tokenizer;
import quire.server.http.HttpException;

/** The model that is served, and the names under which clients can ask for it. */
public final class ServedModel {
    /** The alias that stands for every name. */
    public static final String ANY = "*";

    /** The tag that Ollama and its clients add to names. */
    private static final String LATEST = ":latest";

    private static final int MAX_NAME_LENGTH = 256;

    private static final int MAX_NAMES_SHOWN = 8;

    private final Engine engine;
    private final String name;
    private final List<String> names;
    private final boolean anyName;
    private final boolean nameRequired;
    private final SamplingDefaults samplingDefaults;
    private final ChatAbilities abilities;

    /**
     * Finds out how the model writes calls of tools, which renders some conversations.
     *
     * @param name the model's own name
     * @param aliases further names; {@link #ANY} among them accepts every name
     * @param nameRequired whether a request without a model's name is refused
     * @param operatorsDefaults how tokens are chosen where a request does not say it; comes before what the model's file
     *     recommends
     */
    public ServedModel(
            Engine engine,
            String name,
            List<String> aliases,
            boolean nameRequired,
            SamplingDefaults operatorsDefaults) {
        this.engine = engine;
        this.name = name;
        Set<String> all = new LinkedHashSet<>();
        all.add(name);
        all.addAll(aliases);
        this.anyName = all.remove(ANY);
        this.names = List.copyOf(all);
        this.nameRequired = nameRequired;
        this.samplingDefaults = defaults(operatorsDefaults, engine.recommendedSampling());
        this.abilities = ChatAbilities.of(engine.chatTemplate(), engine.tokenizer());
    }

    /**
     * How tokens are chosen where a request does not say it. Every value is there.
     *
     * @param operators the operator's values
     * @param files what the model's file recommends
     */
    public static SamplingDefaults defaults(SamplingDefaults operators, SamplingDefaults files) {
        return operators.orElse(files).orElse(SamplingDefaults.NEUTRAL);
    }

    /** What the model can do in chats. */
    public ChatAbilities abilities() {
        return abilities;
    }

    /** How the model writes calls of tools; null if it cannot call any. */
    public @Nullable ToolCallFormat toolCallFormat() {
        return abilities.toolCallFormat();
    }

    /** How the model marks its reasoning; null if it does not reason before it answers. */
    public @Nullable ReasoningFormat reasoningFormat() {
        return abilities.reasoningFormat();
    }

    /** Why there is no {@link #toolCallFormat}; empty if there is one. */
    public String toolCallError() {
        return abilities.toolCallError();
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
        return name;
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
        if (names.contains(untagged(asked, names)) || (anyName && isName(asked))) {
            return asked;
        }
        throw unknown(asked, names);
    }

    /**
     * The name that is meant: without {@code :latest}, which Ollama's clients add to every name, unless there is one with it.
     *
     * @param names those there are
     */
    public static String untagged(String asked, Collection<String> names) {
        return asked.endsWith(LATEST) && !names.contains(asked)
                ? asked.substring(0, asked.length() - LATEST.length())
                : asked;
    }

    /** Whether a model that takes every name takes this one. */
    public static boolean isName(String asked) {
        return !asked.isEmpty() && asked.length() <= MAX_NAME_LENGTH;
    }

    /** A 404 that names the models there are, or the most similar one if there are many. */
    public static HttpException unknown(String asked, List<String> names) {
        String shown = asked.length() > MAX_NAME_LENGTH ? asked.substring(0, MAX_NAME_LENGTH) + "…" : asked;
        String nearest = asked.length() > MAX_NAME_LENGTH ? null : Similar.nearest(asked, names);
        String there = names.size() <= MAX_NAMES_SHOWN
                ? "this server has '" + String.join("', '", names) + "'"
                : "this server has " + names.size() + " names of models, which GET /v1/models lists";
        String advice = nearest == null || names.size() == 1 ? "" : " Did you mean '" + nearest + "'?";
        return HttpException.notFound(
                "model", "model_not_found", "The model '" + shown + "' does not exist here; " + there + "." + advice);
    }
}
