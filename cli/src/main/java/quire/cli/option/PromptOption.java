package quire.cli.option;

import java.io.IOException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** The text to continue: on the command line, in a file or on standard input. */
public final class PromptOption {
    private static final String STANDARD_INPUT = "-";

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @ArgGroup(multiplicity = "1")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private Source source;

    private static final class Source {
        @Option(names = "--prompt", paramLabel = "TEXT", description = "The text to continue.")
        private @Nullable String text;

        @Option(
                names = "--prompt-file",
                paramLabel = "FILE",
                converter = FilePath.class,
                description = "File with the text to continue, in UTF-8, up to its last byte; - for standard input.")
        private @Nullable Path file;
    }

    /**
     * The text.
     *
     * @throws picocli.CommandLine.ParameterException if there is no such file
     * @throws IllegalArgumentException if the file is not UTF-8
     */
    public String read() throws IOException {
        if (source.text != null) {
            return source.text;
        }
        Path file = source.file;
        if (file == null || file.toString().equals(STANDARD_INPUT)) {
            return Utf8Text.ofStandardInput();
        }
        return Utf8Text.of(FilePath.requireFile(command, "--prompt-file " + file, file));
    }
}
