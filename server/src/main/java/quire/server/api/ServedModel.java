package quire.server.api;

import java.util.ArrayList;
import java.util.List;
import quire.engine.Engine;
import quire.model.text.Tokenizer;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** The model that is served, and the names under which clients can ask for it. */
public final class ServedModel {
    private final Engine engine;
    private final List<String> names;

    /** @param aliases further names beside the engine's own */
    public ServedModel(Engine engine, List<String> aliases) {
        this.engine = engine;
        List<String> all = new ArrayList<>();
        all.add(engine.modelName());
        aliases.stream().filter(alias -> !all.contains(alias)).forEach(all::add);
        this.names = List.copyOf(all);
    }

    /** What computes the answers. */
    public Engine engine() {
        return engine;
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        return engine.tokenizer();
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
     * Checks the model's name in a request.
     *
     * @throws HttpException 404 if no such model is served
     */
    public void check(JsonNode asked) {
        check(Fields.string(asked, "model"));
    }

    /** Checks a model's name. */
    public void check(String asked) {
        if (!names.contains(asked)) {
            throw HttpException.notFound(
                    "model",
                    "model_not_found",
                    "The model '" + asked + "' does not exist here; this server has '" + String.join("', '", names)
                            + "'.");
        }
    }
}
