package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FollowedFilesTest {
    @TempDir
    private Path folder;

    private final List<List<String>> taken = new ArrayList<>();

    @Test
    void poll_changedFile_passesTheKeysOnOnce() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        FollowedFiles file = ApiKeyOptions.follow(path, taken::add);
        file.poll();
        assertThat(taken).isEmpty();

        Files.writeString(path, "# two\nfirst weight=2\n\n  second \n");
        file.poll();
        file.poll();
        assertThat(taken).containsExactly(List.of("first weight=2", "second"));
    }

    @Test
    void poll_fileWithoutKeysOrGone_changesNothing() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        FollowedFiles file = ApiKeyOptions.follow(path, taken::add);
        Files.writeString(path, "# none\n");
        file.poll();
        Files.delete(path);
        file.poll();
        assertThat(taken).isEmpty();

        Files.writeString(path, "third\n");
        file.poll();
        assertThat(taken).containsExactly(List.of("third"));
    }

    @Test
    void poll_secondOfTwoFilesChanged_readsBothAgain() throws Exception {
        Path first = Files.writeString(folder.resolve("first"), "1");
        Path second = Files.writeString(folder.resolve("second"), "1");
        FollowedFiles files = new FollowedFiles(
                "the pair",
                List.of(first, second),
                () -> taken.add(List.of(Files.readString(first), Files.readString(second))));
        files.poll();
        Files.writeString(second, "22");
        files.poll();
        files.poll();
        assertThat(taken).containsExactly(List.of("1", "22"));
    }

    @Test
    void poll_wrongKey_isReportedAndTheNextChangeIsRead() throws Exception {
        Path path = Files.writeString(folder.resolve("keys"), "first\n");
        FollowedFiles file = ApiKeyOptions.follow(path, lines -> {
            if (lines.getFirst().endsWith("no")) {
                throw new IllegalArgumentException("weight");
            }
            taken.add(lines);
        });
        Files.writeString(path, "first weight=no\n");
        file.poll();
        assertThat(taken).isEmpty();
        Files.writeString(path, "first weight=22\n");
        file.poll();
        assertThat(taken).hasSize(1);
    }
}
