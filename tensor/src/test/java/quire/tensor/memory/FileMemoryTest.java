package quire.tensor.memory;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.Closeable;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class FileMemoryTest {
    private static final long MIB = 1 << 20;
    private static final long HUGE = 1L << 60;

    @TempDir
    Path folder;

    @BeforeEach
    void needsLinux() {
        assumeThat(FileMemory.isSupported()).as("Linux").isTrue();
    }

    @Test
    void map_partsOfABlock_keepWhatIsWrittenAndLeaveTheRest() throws IOException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment block = ReservedMemory.allocate(arena, 8 * MIB);
            block.fill((byte) 7);
            MemorySegment first = block.asSlice(MIB, MIB);
            MemorySegment second = block.asSlice(3 * MIB, 2 * MIB);

            FileMemory.map(List.of(first, second), folder);

            assertThat(sum(first)).isZero();
            assertThat(sum(second)).isZero();
            assertThat(sum(block)).isEqualTo(7 * 5 * MIB);
            first.fill((byte) 1);
            second.fill((byte) 2);
            assertThat(sum(block)).isEqualTo(7 * 5 * MIB + MIB + 2 * 2 * MIB);
        }
    }

    @Test
    void map_newFile_hasNoNameAfterwards() throws IOException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment block = ReservedMemory.allocate(arena, 4 * MIB);

            FileMemory.map(List.of(block), folder);

            assertThat(folder).isEmptyDirectory();
        }
    }

    @Test
    void map_noFolder_saysSo() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment block = ReservedMemory.allocate(arena, 4 * MIB);

            assertThatExceptionOfType(IOException.class)
                    .isThrownBy(() -> FileMemory.map(List.of(block), folder.resolve("none")))
                    .withMessageContaining("none");
        }
    }

    @Test
    void map_partBetweenPages_isRefused() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment block = ReservedMemory.allocate(arena, 4 * MIB);

            assertThatIllegalArgumentException()
                    .isThrownBy(() -> FileMemory.map(List.of(block.asSlice(FileMemory.ALIGNMENT / 2, MIB)), folder))
                    .withMessageContaining("multiples of " + FileMemory.ALIGNMENT);
        }
    }

    @Test
    void allocate_file_isLongEnoughAndKeepsItsContent() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "kept");
        try (Closeable open = FileMemory.allocate(file, MIB)) {
            assumeThat(open).as("the file system can allocate").isNotNull();
            assertThat(file).hasSize(MIB);
            assertThat(Files.readAllBytes(file))
                    .startsWith("kept".getBytes(StandardCharsets.US_ASCII))
                    .endsWith(0, 0, 0);
        }
        try (Closeable open = FileMemory.allocate(file, MIB / 2)) {
            assertThat(open).isNotNull();
            assertThat(file).hasSize(MIB);
        }
    }

    @Test
    void allocate_moreThanTheDiskHas_saysSo() throws IOException {
        Path file = Files.createFile(folder.resolve("file"));
        try (Closeable open = FileMemory.allocate(file, MIB)) {
            assumeThat(open).as("the file system can allocate").isNotNull();
        }

        assertThatExceptionOfType(IOException.class).isThrownBy(() -> FileMemory.allocate(file, HUGE));
    }

    @Test
    void allocate_noSuchFile_saysSo() {
        assertThatExceptionOfType(IOException.class)
                .isThrownBy(() -> FileMemory.allocate(folder.resolve("none"), MIB))
                .withMessageContaining("No such file");
    }

    private static long sum(MemorySegment segment) {
        long sum = 0;
        for (long i = 0; i < segment.byteSize(); i++) {
            sum += segment.get(ValueLayout.JAVA_BYTE, i);
        }
        return sum;
    }
}
