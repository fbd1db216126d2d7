package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ApiKeyFileTest {
    @TempDir
    private Path folder;

    private final List<List<String>> taken = new ArrayList<>();

    @Test
    void poll_changedFile_passesTheKeysOnOnce() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        ApiKeyFile file = new ApiKeyFile(path);
        file.poll(taken::add);
        assertThat(taken).isEmpty();

        Files.writeString(path, "# two\nfirst weight=2\n\n  second \n");
        file.poll(taken::add);
        file.poll(taken::add);
        assertThat(taken).containsExactly(List.of("first weight=2", "second"));
    }

    @Test
    void poll_fileWithoutKeysOrGone_changesNothing() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        ApiKeyFile file = new ApiKeyFile(path);
        Files.writeString(path, "# none\n");
        file.poll(taken::add);
        Files.delete(path);
        file.poll(taken::add);
        assertThat(taken).isEmpty();

        Files.writeString(path, "third\n");
        file.poll(taken::add);
        assertThat(taken).containsExactly(List.of("third"));
    }

    @Test
    void poll_wrongKey_isReportedAndDoesNotEndTheThread() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        ApiKeyFile file = new ApiKeyFile(path);
        Files.writeString(path, "first weight=no\n");
        file.poll(lines -> {
            throw new IllegalArgumentException("weight");
        });
        Files.writeString(path, "first weight=22\n");
        file.poll(taken::add);
        assertThat(taken).hasSize(1);
    }
}
