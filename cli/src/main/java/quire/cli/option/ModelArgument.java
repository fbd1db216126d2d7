package quire.cli.option;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Parameters;

/**
 * Which model to inspect. The file may also be given as an argument without a name: {@code quire inspect FILE} is the
 * same as {@code quire inspect --model FILE}.
 */
public final class ModelArgument extends ModelOption {
    @Parameters(
            arity = "0..1",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "A GGUF file, the same as --model FILE.")
    private @Nullable Path file;

    @Override
    @Nullable
    Path argument() {
        return file;
    }
}
