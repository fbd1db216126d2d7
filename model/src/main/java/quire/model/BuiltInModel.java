package quire.model;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.FileSystemAlreadyExistsException;
import java.nio.file.FileSystems;
import java.nio.file.Path;
import java.util.Map;

/**
 * The models that this library contains, so that everything can be tried without a download. They are toy models: they
 * were trained on some phrases in four languages, a few facts, simple sums and short stories, and decline everything
 * else. The folder {@code workshop} of the sources trains and measures them.
 */
public enum BuiltInModel {
    /** A chat model of 2.4 million parameters. */
    QUIRE_TINY("quire-tiny.gguf"),
    /** A draft model for {@link #QUIRE_TINY}, with a tenth of its parameters. */
    QUIRE_TINY_DRAFT("quire-tiny-draft.gguf");

    private final String file;

    BuiltInModel(String file) {
        this.file = file;
    }

    /**
     * The path of the GGUF file: in a folder, or in the archive that holds this class. Such an archive stays open from
     * the first call on.
     */
    public Path path() {
        URL resource = BuiltInModel.class.getResource(file);
        if (resource == null) {
            throw new IllegalStateException(
                    file + " is missing beside " + BuiltInModel.class + ": the jar was repacked without it");
        }
        try {
            URI uri = resource.toURI();
            if (uri.getScheme().equals("jar")) {
                openArchive(uri);
            }
            return Path.of(uri);
        } catch (URISyntaxException e) {
            throw new IllegalStateException(resource + " is no URI", e);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @SuppressWarnings("MustBeClosedChecker") // callers keep paths into it, so it is never closed
    private static void openArchive(URI uri) throws IOException {
        try {
            FileSystems.newFileSystem(uri, Map.of());
        } catch (FileSystemAlreadyExistsException e) {
            // another thread opened it first
        }
    }
}
