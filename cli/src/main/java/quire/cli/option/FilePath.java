package quire.cli.option;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.TypeConversionException;

/**
 * Reads paths. A {@code ~/} at the beginning stands for the home folder: a shell replaces it in {@code --model ~/file},
 * but not in {@code --model=~/file} or inside quotation marks.
 */
public final class FilePath implements ITypeConverter<Path> {
    private static final String HOME = "~";

    @Override
    public Path convert(String text) {
        if (text.equals(HOME) || text.startsWith(HOME + "/") || text.startsWith(HOME + File.separator)) {
            return Path.of(System.getProperty("user.home") + text.substring(HOME.length()));
        }
        if (text.startsWith(HOME) && !Files.exists(Path.of(text))) {
            throw new TypeConversionException("'" + text + "' begins with ~ and a name, which only a shell can replace;"
                    + " write the whole path");
        }
        return Path.of(text);
    }

    /**
     * Checks that a file exists and is no folder.
     *
     * @param given how it was given, to begin the message with: {@code --draft small.gguf}
     * @return the file
     * @throws ParameterException if there is no such file, with what to do
     */
    public static Path requireFile(CommandSpec command, String given, Path file) {
        if (Files.isDirectory(file)) {
            throw new ParameterException(command.commandLine(), given + " is a folder: name a file in it");
        }
        if (!Files.exists(file)) {
            throw new ParameterException(command.commandLine(), given + ": there is no such file; check the path");
        }
        return file;
    }
}
