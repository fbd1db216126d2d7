package quire.cli;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import quire.model.BuiltInModel;

/** Which model to load. */
final class ModelOption {
    @Option(
            names = "--model",
            paramLabel = "FILE",
            description = "A GGUF file (default: quire-tiny, the toy in the box).")
    private @Nullable Path model;

    /** The file; says on standard error when it is the built-in one. */
    Path path() {
        if (model != null) {
            return model;
        }
        System.err.println("no --model given: this is quire-tiny, a toy of 2.4 million parameters;"
                + " for a real model: --model FILE.gguf");
        return BuiltInModel.QUIRE_TINY.path();
    }

    /** Whether the built-in model was left in place. */
    boolean isBuiltIn() {
        return model == null;
    }
}
