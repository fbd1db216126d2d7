package quire.engine.disk;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.LogLines;
import quire.tensor.memory.FileMemory;

class PageFileTest {
    private static final int TOKENS = 16;
    private static final int PAGE = 1000;
    private static final int SLOTS = 7;
    /** Of a file of 7 slots: header, records of 128 bytes, pages on multiples of 64 bytes. */
    private static final long BYTES = 4096L + SLOTS * (128 + 1024);

    private static final int RECORDS_AT = 4096;
    private static final int PAGES_AT = 4096 + SLOTS * 128;
    private static final PageFile.Contents CONTENTS = contents(1);

    @TempDir
    private Path folder;

    private Path path;
    private LogLines log;

    @BeforeEach
    void collectLog() {
        path = folder.resolve("pages.kv");
        log = new LogLines("quire.engine");
    }

    @AfterEach
    void closeLog() {
        log.close();
    }

    private static PageFile.Contents contents(int model) {
        return new PageFile.Contents(Integer.toString(model).repeat(PageFile.IDENTITY_LENGTH), TOKENS, PAGE);
    }

    private static byte[] page(int seed) {
        byte[] page = new byte[PAGE];
        for (int i = 0; i < PAGE; i++) {
            page[i] = (byte) (seed * 31 + i * 7);
        }
        return page;
    }

    /** Writes a page with a generation of {@code seed}. */
    private static void write(PageFile file, int slot, int seed) throws IOException {
        PageFile.PageRecord record = new PageFile.PageRecord(TOKENS);
        record.generation = seed;
        record.parentSlot = slot - 1;
        record.parentGeneration = record.generation - 1;
        record.saltHigh = seed * 3L;
        record.saltLow = -(long) seed;
        Arrays.setAll(record.tokens, i -> seed * 100 + i);
        MemorySegment memory = file.newPage();
        memory.copyFrom(MemorySegment.ofArray(page(seed)));
        file.write(slot, record, memory);
    }

    /** Else a full disk would end the writing later. And the file stays locked: it is opened twice for that. */
    @Test
    void open_newFileOnLinux_allocatesItsSpaceAndKeepsItsLock() throws Exception {
        assumeTrue(FileMemory.isSupported(), "not Linux");
        try (PageFile file = open()) {
            Process stat = new ProcessBuilder("stat", "-c", "%b %B %i", path.toString()).start();
            String[] numbers = new String(stat.getInputStream().readAllBytes(), StandardCharsets.US_ASCII)
                    .strip()
                    .split(" ", -1);
            assumeTrue(
                    log.lines().stream().noneMatch(line -> line.contains("cannot allocate")), "the file system cannot");
            assertThat(file.slots()).isPositive();
            assertThat(Long.parseLong(numbers[0]) * Long.parseLong(numbers[1]))
                    .isGreaterThanOrEqualTo(Files.size(path));
            assertThat(Files.readAllLines(Path.of("/proc/locks")))
                    .anyMatch(line ->
                            line.contains("WRITE " + ProcessHandle.current().pid() + " ")
                                    && line.contains(":" + numbers[2] + " "));
        }
    }

    private static Map<Integer, Long> generations(PageFile file) {
        Map<Integer, Long> generations = new TreeMap<>();
        file.restore((slot, record) -> generations.put(slot, record.generation) == null);
        return generations;
    }

    private PageFile open() {
        return PageFile.open(path, BYTES, CONTENTS);
    }

    /** A closed file with pages in the slots 0 to 3, with generations 10 to 13. */
    private void fourPages() throws IOException {
        try (PageFile file = open()) {
            for (int slot = 0; slot < 4; slot++) {
                write(file, slot, 10 + slot);
            }
        }
    }

    private void change(UnaryOperator<byte[]> change) throws IOException {
        Files.write(path, change.apply(Files.readAllBytes(path)));
    }

    private void flip(int at) throws IOException {
        change(bytes -> {
            bytes[at] ^= 0x10;
            return bytes;
        });
    }

    @Test
    void slots_ofAllSizes_fitAndOneMoreDoesNot() {
        assertThat(PageFile.slots(BYTES, TOKENS, PAGE)).isEqualTo(SLOTS);
        assertThat(PageFile.slots(BYTES - 1, TOKENS, PAGE)).isEqualTo(SLOTS - 1);
        assertThat(PageFile.slots(0, TOKENS, PAGE)).isZero();
        assertThat(PageFile.slots(Long.MAX_VALUE, TOKENS, PAGE)).isPositive();
    }

    @Test
    void pages_ofAnEarlierFile_areReadAsTheyWereWritten() throws Exception {
        fourPages();
        assertThat(path).hasSize(BYTES);

        try (PageFile file = open()) {
            MemorySegment memory = file.newPage();
            int kept = file.restore((slot, record) -> {
                int seed = 10 + slot;
                assertThat(record.generation).isEqualTo(seed);
                assertThat(record.parentSlot).isEqualTo(slot - 1);
                assertThat(record.parentGeneration).isEqualTo(seed - 1);
                assertThat(record.saltHigh).isEqualTo(seed * 3L);
                assertThat(record.saltLow).isEqualTo(-seed);
                assertThat(record.tokens[5]).isEqualTo(seed * 100 + 5);
                return true;
            });
            assertThat(kept).isEqualTo(4);
            for (int slot = 3; slot >= 0; slot--) {
                assertThat(file.read(slot, memory)).isTrue();
                assertThat(memory.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(page(10 + slot));
            }
        }
        assertThat(log.lines())
                .containsExactly("INFO KV file " + path + ": 4 pages kept from before, room for 7 pages of 1000 bytes");
    }

    @Test
    void restore_slotsInAnyOrder_comeByGeneration() throws Exception {
        try (PageFile file = open()) {
            write(file, 5, 1);
            write(file, 2, 2);
            write(file, 6, 3);
            write(file, 5, 4);
        }
        try (PageFile file = open()) {
            List<Integer> slots = new ArrayList<>();
            file.restore((slot, record) -> slots.add(slot));
            assertThat(slots).containsExactly(2, 6, 5);
        }
    }

    @Test
    void file_new_isReadableByItsUserOnly() throws Exception {
        assumeTrue(FileSystems.getDefault().supportedFileAttributeViews().contains("posix"), "no permissions here");
        open().close();
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(path)))
                .isEqualTo("rw-------");

        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-r--r--"));
        open().close();
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(path)))
                .isEqualTo("rw-------");
    }

    /** Every byte of a page. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 499, 998, 999})
    void read_flippedBitOfThePage_isSeen(int offset) throws Exception {
        fourPages();
        flip(PAGES_AT + 2 * 1024 + offset);

        try (PageFile file = open()) {
            assertThat(generations(file)).hasSize(4);
            MemorySegment memory = file.newPage();
            assertThat(file.read(2, memory)).isFalse();
            assertThat(file.read(1, memory)).isTrue();
            assertThat(file.read(3, memory)).isTrue();
        }
        try (PageFile file = open()) {
            assertThat(generations(file))
                    .as("the damaged page is not found again")
                    .containsOnlyKeys(0, 1, 3);
        }
    }

    /** Every field of a record: generation, parent's generation, slot, checksum of the page, salt, tokens, checksum. */
    @ParameterizedTest
    @ValueSource(ints = {0, 9, 16, 20, 24, 39, 40, 103, 104, 124})
    void restore_flippedBitOfARecord_isIgnoredAndNamed(int offset) throws Exception {
        fourPages();
        flip(RECORDS_AT + 2 * 128 + offset);

        try (PageFile file = open()) {
            assertThat(generations(file)).containsOnlyKeys(0, 1, 3);
        }
        assertThat(log.lines())
                .contains("WARNING the KV file " + path + " has 1 damaged records, which are ignored: slots [2]");
    }

    @Test
    void restore_recordsInAWrongPlace_areIgnored() throws Exception {
        fourPages();
        change(bytes -> {
            System.arraycopy(bytes, RECORDS_AT + 128, bytes, RECORDS_AT + 5 * 128, 128);
            return bytes;
        });

        try (PageFile file = open()) {
            assertThat(generations(file)).containsOnlyKeys(0, 1, 2, 3);
        }
    }

    /** All bytes of the header behind the magic. */
    @Test
    void open_flippedBitOfTheHeader_startsAnew() throws Exception {
        for (int at = 8; at < 96; at += 3) {
            fourPages();
            flip(at);
            try (PageFile file = open()) {
                assertThat(generations(file)).isEmpty();
            }
            assertThat(log.lines())
                    .contains("WARNING the KV file " + path
                            + " is started anew, without its old pages: its header is damaged");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 7, 8, 95, 96, 4095, 4096, 5000, PAGES_AT + 3 * 1024 + 5, (int) BYTES - 1})
    void open_fileCutShort_startsAnewOrIsRefused(int length) throws Exception {
        fourPages();
        change(bytes -> Arrays.copyOf(bytes, length));

        if (length > 0 && length < 8) {
            assertThatIllegalArgumentException()
                    .isThrownBy(this::open)
                    .withMessageContaining("is not a file of KV pages");
        } else {
            try (PageFile file = open()) {
                assertThat(generations(file)).isEmpty();
            }
            assertThat(path).hasSize(BYTES);
        }
    }

    @Test
    void open_otherModelOrSize_startsAnewWithTheReason() throws Exception {
        fourPages();
        try (PageFile file = PageFile.open(path, BYTES, contents(2))) {
            assertThat(generations(file)).isEmpty();
            write(file, 0, 1);
        }
        try (PageFile file = PageFile.open(path, BYTES + 4000, contents(2))) {
            assertThat(generations(file)).isEmpty();
            assertThat(file.slots()).isEqualTo(SLOTS + 3);
        }
        assertThat(log.lines())
                .contains(
                        "WARNING the KV file " + path
                                + " is started anew, without its old pages: its pages are of another"
                                + " model, another type of K and V, or other kernels",
                        "WARNING the KV file " + path
                                + " is started anew, without its old pages: it was made for another size of the file or of a"
                                + " page");
    }

    @Test
    void open_anotherKindOfFile_isRefusedAndLeftAlone() throws Exception {
        Files.writeString(path, "a letter to a friend");

        assertThatIllegalArgumentException()
                .isThrownBy(this::open)
                .withMessage(
                        path + " is not a file of KV pages, and is not overwritten: delete it, or choose another file");
        assertThat(path).hasContent("a letter to a friend");
    }

    @Test
    void open_usedByAnotherEngine_isRefused() throws Exception {
        try (PageFile first = open()) {
            assertThat(first.slots()).isEqualTo(SLOTS);
            assertThatIllegalArgumentException()
                    .isThrownBy(this::open)
                    .withMessage("the KV file " + path
                            + " is in use by another engine: end that one, or choose another file for this one");
        }
        open().close();
    }

    @Test
    void open_impossiblePlaces_sayWhatIsWrong() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PageFile.open(folder, BYTES, CONTENTS))
                .withMessage("the KV file " + folder + " is a folder: name a file in it");
        Path nowhere = folder.resolve("no/pages.kv");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PageFile.open(nowhere, BYTES, CONTENTS))
                .withMessageStartingWith("the KV file " + nowhere + " cannot be used: there is no folder "
                        + nowhere.toAbsolutePath().getParent());
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PageFile.open(path, 5247, CONTENTS))
                .withMessage("kvDiskBytes is 5247 bytes, but a file for one KV page takes 5248: raise it");
    }

    @Test
    void open_moreThanTheDiskHas_isRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PageFile.open(path, 1L << 50, new PageFile.Contents("i".repeat(64), 16, 1L << 30)))
                .withMessageContaining("would take")
                .withMessageContaining("but its disk has");
    }

    @Test
    void write_diskFull_throwsAndTheOldPageIsNotFound() throws Exception {
        FullDisk.File full = FullDisk.open(path, BYTES, CONTENTS);
        try (PageFile file = full.pages()) {
            write(file, 0, 10);
            write(file, 1, 11);
            full.disk().fill();
            assertThatThrownBy(() -> write(file, 2, 12)).hasMessage("No space left on device");
        }
        try (PageFile file = open()) {
            assertThat(generations(file)).containsOnlyKeys(0, 1);
        }
    }
}
