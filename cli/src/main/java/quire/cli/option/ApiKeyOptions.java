package quire.cli.option;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The keys that clients of a server must send: from the command line, a file or the environment. */
public final class ApiKeyOptions {
    /** The environment variable with a key. */
    public static final String VARIABLE = "QUIRE_API_KEY";

    private static final String COMMENT = "#";

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--api-key",
            paramLabel = "KEY",
            description =
                    "Key that clients must send as a bearer token. All users of this machine can see it in the list"
                            + " of processes; --api-key-file and the environment variable " + VARIABLE + " hide it.")
    private @Nullable String key;

    @Option(
            names = "--api-key-file",
            paramLabel = "FILE",
            converter = FilePath.class,
            description =
                    "File of keys, one a line, of which clients must send one. Options may follow a key: name=NAME,"
                            + " weight=N (its share in relation to others, 1), priority=N (the lowest number allowed), requests-per-minute=N, tokens-per-minute=N. Lines"
                            + " that begin with " + COMMENT
                            + " are comments. The server reads the file again when it changes"
                            + " (default: the environment variable " + VARIABLE + ", or no key).")
    private @Nullable Path file;

    /**
     * The keys; empty if clients need none.
     *
     * @throws ParameterException if the file cannot be read or has no key
     */
    public List<String> keys() {
        String variable = System.getenv(VARIABLE);
        if (key != null && file != null) {
            throw fault("--api-key and --api-key-file exclude each other: leave one of them out");
        }
        if (file != null) {
            return read(file);
        }
        if (key != null) {
            return List.of(key);
        }
        return variable == null || variable.isEmpty() ? List.of() : List.of(variable);
    }

    /**
     * What a shell replaces by a key in double quotes, so that the key itself is not shown: a variable, or a command
     * that reads the file. Null if clients need no key.
     */
    public @Nullable String forShell() {
        if (file != null) {
            String quoted = "'" + file.toString().replace("'", "'\\''") + "'";
            return "$(awk '$1 ~ /^[^" + COMMENT + "]/ {print $1; exit}' " + quoted + ")";
        }
        return keys().isEmpty() ? null : "$" + VARIABLE;
    }

    /**
     * Follows the changes of the file. A file without keys is refused: an empty list would let everyone in.
     *
     * @param keys takes the new keys; throws IllegalArgumentException for a wrong one
     * @return null if the keys do not come from a file
     */
    public @Nullable FollowedFiles follow(Consumer<List<String>> keys) {
        Path path = file;
        return path == null ? null : follow(path, keys);
    }

    static FollowedFiles follow(Path file, Consumer<List<String>> keys) {
        return new FollowedFiles("the API keys", List.of(file), () -> {
            List<String> lines = lines(file);
            if (lines.isEmpty()) {
                throw new IllegalArgumentException("it has no key");
            }
            keys.accept(lines);
        });
    }

    /** The lines with keys. */
    private static List<String> lines(Path file) throws IOException {
        return Files.readAllLines(file).stream()
                .map(String::strip)
                .filter(line -> !line.isEmpty() && !line.startsWith(COMMENT))
                .toList();
    }

    private List<String> read(Path file) {
        List<String> keys;
        try {
            keys = lines(file);
        } catch (CharacterCodingException e) {
            throw fault("--api-key-file " + file + " is no text in UTF-8");
        } catch (NoSuchFileException e) {
            throw fault("--api-key-file " + file + ": there is no such file; check the path");
        } catch (AccessDeniedException e) {
            throw fault("--api-key-file " + file + " may not be read by this user");
        } catch (IOException e) {
            throw fault("--api-key-file " + file + " cannot be read: " + e.getMessage());
        }
        if (keys.isEmpty()) {
            throw fault("--api-key-file " + file + " has no key: write one key a line");
        }
        return keys;
    }

    private ParameterException fault(String message) {
        return new ParameterException(command.commandLine(), message);
    }
}
