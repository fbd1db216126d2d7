package quire.cli.option;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.model.BuiltInModel;

/** Which model to load: {@code --model}, or the built-in one. */
public class ModelOption {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--model",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "A GGUF file (default: the built-in model quire-tiny, a toy).")
    private @Nullable Path model;

    /**
     * The model's file, which exists. If it is the built-in one, a line on standard error says so.
     *
     * @throws ParameterException if there is no such file, or if several files were given
     */
    public final Path path() {
        Path argument = argument();
        if (model != null && argument != null) {
            throw new ParameterException(
                    command.commandLine(),
                    "both " + argument + " and --model " + model + " name a file: leave one of them out");
        }
        if (model != null) {
            return FilePath.requireFile(command, "--model " + model, model);
        }
        if (argument != null) {
            return FilePath.requireFile(command, argument.toString(), argument);
        }
        System.err.println("no --model given: this is quire-tiny, a toy of 2.4 million parameters;"
                + " for a real model: --model FILE.gguf");
        return BuiltInModel.QUIRE_TINY.path();
    }

    /** Whether no file was given. */
    public final boolean isBuiltIn() {
        return model == null && argument() == null;
    }

    /** The file that was given as an argument without a name, or null. */
    @Nullable
    Path argument() {
        return null;
    }
}
