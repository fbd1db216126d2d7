package quire.cli.option;

import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/** A file of API keys that is read again when it changes. */
public final class ApiKeyFile {
    private static final System.Logger LOG = System.getLogger(ApiKeyFile.class.getName());
    private static final Duration PERIOD = Duration.ofSeconds(2);

    private final Path file;
    private String seen;

    /** Follows the changes from now on. */
    ApiKeyFile(Path file) {
        this.file = file;
        seen = state();
    }

    /** The lines with keys. */
    static List<String> read(Path file) throws IOException {
        return Files.readAllLines(file).stream()
                .map(String::strip)
                .filter(line -> !line.isEmpty() && !line.startsWith(ApiKeyOptions.COMMENT))
                .toList();
    }

    /** What changes when somebody writes the file. */
    private String state() {
        try {
            return Files.getLastModifiedTime(file) + ", " + Files.size(file) + " bytes";
        } catch (IOException e) {
            return e.toString();
        }
    }

    /**
     * Passes the keys on if the file has changed since the last call. A file that cannot be read, has no key or has a
     * wrong one changes nothing and is reported in the log: an empty list would let everyone in.
     *
     * @param keys takes the lines; throws IllegalArgumentException for a wrong one
     */
    public void poll(Consumer<List<String>> keys) {
        String now = state();
        if (now.equals(seen)) {
            return;
        }
        seen = now;
        try {
            List<String> lines = read(file);
            if (lines.isEmpty()) {
                throw new IllegalArgumentException("it has no key");
            }
            keys.accept(lines);
            LOG.log(Level.INFO, "read " + lines.size() + " API keys again from " + file);
        } catch (IOException | IllegalArgumentException e) {
            LOG.log(Level.WARNING, "the API keys stay as they were, because " + file + " cannot be used: " + e);
        }
    }

    /** Polls every two seconds on a thread of its own, until that is interrupted. */
    public Thread start(Consumer<List<String>> keys) {
        return Thread.ofVirtual().name("api-keys").start(() -> {
            try {
                while (true) {
                    Thread.sleep(PERIOD);
                    poll(keys);
                }
            } catch (InterruptedException e) {
                // the server stops
            }
        });
    }
}
