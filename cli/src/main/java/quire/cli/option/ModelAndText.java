package quire.cli.option;

import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** A model and a text: {@code FILE TEXT}, or {@code --model FILE TEXT}. */
public final class ModelAndText extends ModelOption {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Parameters(
            arity = "1..2",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "The model, a GGUF file (the same as --model FILE), and a file with the text in UTF-8.")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private List<Path> files;

    /**
     * The file with the text, which exists.
     *
     * @throws picocli.CommandLine.ParameterException if there is no such file
     */
    public Path text() {
        return FilePath.requireFile(command, files.getLast().toString(), files.getLast());
    }

    @Override
    @Nullable
    Path argument() {
        return files.size() == 2 ? files.getFirst() : null;
    }
}
