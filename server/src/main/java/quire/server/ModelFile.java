package quire.server;

import java.nio.file.Path;
import java.util.List;
import quire.engine.EngineConfig;
import quire.model.SamplingDefaults;

/**
 * A model that a server loads when a request asks for it.
 *
 * @param name under which clients ask for it
 * @param aliases further names; {@code *} takes every name that no other model has
 * @param path its GGUF file. It is read again whenever the model is loaded
 * @param config limits of its engine. Without {@code kvCacheBytes}, the {@link ModelSet} gives it a share of the memory
 * @param sampling the operator's values for requests that do not say how tokens are chosen
 */
public record ModelFile(String name, List<String> aliases, Path path, EngineConfig config, SamplingDefaults sampling) {
    /**
     * Checks the names.
     *
     * @throws IllegalArgumentException if one is empty
     */
    public ModelFile {
        aliases = List.copyOf(aliases);
        if (name.isBlank() || aliases.stream().anyMatch(String::isBlank)) {
            throw new IllegalArgumentException("the model " + path + " has a name that is empty: give it one");
        }
        if (name.equals("*")) {
            throw new IllegalArgumentException("the model " + path
                    + " has the name *, which stands for every name: give it a name, and * as an alias");
        }
        if (config.trace() != null) {
            throw new IllegalArgumentException("a trace is made of a server with one model: leave it out");
        }
    }
}
