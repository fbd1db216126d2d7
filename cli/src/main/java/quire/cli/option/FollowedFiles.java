package quire.cli.option;

import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Collectors;

/** Files that a running server reads again when they change. */
public final class FollowedFiles {
    private static final System.Logger LOG = System.getLogger(FollowedFiles.class.getName());
    private static final Duration PERIOD = Duration.ofSeconds(2);

    /** Reads the files again. */
    @FunctionalInterface
    public interface Reload {
        /**
         * Reads them and uses what they have.
         *
         * @throws IOException if a file cannot be read
         * @throws IllegalArgumentException saying what is wrong in a file
         */
        void run() throws IOException;
    }

    private final String what;
    private final List<Path> files;
    private final Reload reload;
    private String seen;

    /**
     * Follows the changes from now on.
     *
     * @param what is in the files, for the log, such as "the API keys"
     */
    public FollowedFiles(String what, List<Path> files, Reload reload) {
        this.what = what;
        this.files = files;
        this.reload = reload;
        seen = state();
    }

    /** What changes when somebody writes one of the files. */
    private String state() {
        return files.stream().map(FollowedFiles::state).collect(Collectors.joining("; "));
    }

    private static String state(Path file) {
        try {
            return Files.getLastModifiedTime(file) + ", " + Files.size(file) + " bytes";
        } catch (IOException e) {
            return e.toString();
        }
    }

    /**
     * Reads the files if one has changed since the last call. Files that cannot be used change nothing and are reported
     * in the log.
     */
    void poll() {
        String now = state();
        if (now.equals(seen)) {
            return;
        }
        seen = now;
        try {
            reload.run();
            LOG.log(Level.INFO, "read " + what + " again from " + names());
        } catch (IOException | IllegalArgumentException e) {
            LOG.log(Level.WARNING, what + " stay as before, because " + names() + " cannot be used: " + e);
        }
    }

    private String names() {
        return files.stream().map(Path::toString).collect(Collectors.joining(" and "));
    }

    /** Polls every two seconds on a thread of its own, until that is interrupted. */
    public Thread start() {
        return Thread.ofVirtual().name("followed-files").start(() -> {
            try {
                while (true) {
                    Thread.sleep(PERIOD);
                    poll();
                }
            } catch (InterruptedException e) {
                // the server stops
            }
        });
    }
}
