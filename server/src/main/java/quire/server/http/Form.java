package quire.server.http;

import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A form with a file that a client has sent.
 *
 * @param fields the fields that are no files, each once
 * @param file the file; null if the form has none
 */
public record Form(Map<String, String> fields, @Nullable File file) {
    private static final Logger LOG = System.getLogger(Form.class.getName());

    /**
     * The file of a form, on the disk. The handler moves it to where it stays; otherwise it is deleted.
     *
     * @param field the name of its field
     * @param name what the client calls it; may be empty
     * @param path where it is
     * @param bytes its size
     */
    public record File(String field, String name, Path path, long bytes) {}

    /** Deletes the file if the handler has not moved it. */
    void delete() {
        if (file != null) {
            delete(file.path);
        }
    }

    static void delete(Path path) {
        try {
            Files.deleteIfExists(path);
        } catch (IOException e) {
            LOG.log(Level.WARNING, "{0} cannot be deleted: {1}", path, e.toString());
        }
    }
}
