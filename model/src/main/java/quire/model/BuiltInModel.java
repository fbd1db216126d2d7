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
 * The models in the box: toys that this library carries, so that everything can be tried without a download. They know a
 * phrasebook in four languages, a few facts, little sums and stories, and decline the rest; the folder {@code workshop} of
 * the sources makes them and says how well they do.
 */
public enum BuiltInModel {
    /** A chat model of 2.4 million parameters. */
    QUIRE_TINY("quire-tiny.gguf"),
    /** A tenth of it, which guesses what {@link #QUIRE_TINY} is about to say. */
    QUIRE_TINY_DRAFT("quire-tiny-draft.gguf");

    private final String file;

    BuiltInModel(String file) {
        this.file = file;
    }

    /** Where its GGUF file is: in a folder, or in the archive that holds this class, which stays open from then on. */
    public Path path() {
        URL resource = BuiltInModel.class.getResource(file);
        if (resource == null) {
            throw new IllegalStateException(
                    file + " is not beside " + BuiltInModel.class + ": the jar was repacked without it");
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

    @SuppressWarnings("MustBeClosedChecker") // paths into it are handed out, so it is never closed
    private static void openArchive(URI uri) throws IOException {
        try {
            FileSystems.newFileSystem(uri, Map.of());
        } catch (FileSystemAlreadyExistsException e) {
            // as good
        }
    }
}
