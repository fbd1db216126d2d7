package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.FieldSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

class PackedWeightsTest {
    private static final FileTime OLD = FileTime.fromMillis(1_000_000_000_000L);

    @TempDir
    private Path folder;

    private Path cache;

    @BeforeEach
    void chooseKernels() {
        assumeTrue(KernelSets.best().keepsPacked(), "no kernel set of this machine keeps packed weights");
        cache = folder.resolve("packed");
    }

    /** The bits of the logits behind some tokens. */
    private static int[] logits(Path model, @Nullable Path packed) {
        return logits(model, packed, KernelSets.best());
    }

    private static int[] logits(Path model, @Nullable Path packed, Kernels kernels) {
        try (Gguf file = Gguf.open(model);
                Workers workers = new Workers(2);
                Decoder decoder = Decoder.load(
                        file,
                        ModelConfig.from(file),
                        kernels,
                        workers,
                        new Decoder.Capacity(KvType.F32, 16, 2, 16, 1),
                        packed,
                        bytes -> {})) {
            Batch batch = new Batch(16, 1);
            batch.add(IntStream.rangeClosed(1, 9).toArray(), 0, 9, new int[] {0, 1}, 1);
            FloatMatrix logits = decoder.forward(batch);
            return IntStream.range(0, logits.columns())
                    .map(i -> Float.floatToRawIntBits(logits.get(0, i)))
                    .toArray();
        }
    }

    private static int[] logits(Path model) {
        return logits(model, null);
    }

    private List<Path> files() throws IOException {
        try (Stream<Path> files = Files.list(cache)) {
            return files.toList();
        }
    }

    /** The only file in the folder. */
    private Path file() throws IOException {
        assertThat(files()).hasSize(1);
        return files().getFirst();
    }

    private static boolean isNew(Path file) throws IOException {
        return !Files.getLastModifiedTime(file).equals(OLD);
    }

    private Path model(ElementType type, long seed) {
        return RandomModels.write(folder, RandomModels.Shape.plain(type), type, seed);
    }

    /** A load computes what it should, and the file is whole then. */
    private void assertWrittenAnew(Path model, int[] expected, byte[] whole) throws IOException {
        assertThat(logits(model, cache)).isEqualTo(expected);
        assertThat(Files.readAllBytes(file())).isEqualTo(whole);
    }

    @ParameterizedTest
    @FieldSource("quire.model.format.FamilyModels#NAMES")
    void load_everyArchitecture_computesTheSameFromTheFile(String architecture) throws IOException {
        Path model = FamilyModels.write(folder, architecture, ElementType.Q4_0, 7);
        try (Gguf file = Gguf.open(model)) {
            assumeTrue(!ModelConfig.from(file).blocks().encoder(), "an encoder has no logits");
        }
        int[] expected = logits(model);
        assertThat(logits(model, cache)).isEqualTo(expected);
        Files.setLastModifiedTime(file(), OLD);
        assertThat(logits(model, cache)).isEqualTo(expected);
        assertThat(isNew(file())).as("all matrices were in the file").isFalse();
    }

    @ParameterizedTest
    @EnumSource
    void load_everyType_computesTheSameFromTheFile(ElementType type) throws IOException {
        Path model = model(type, 3);
        int[] expected = logits(model);
        assertThat(logits(model, cache)).isEqualTo(expected);
        Files.setLastModifiedTime(file(), OLD);
        assertThat(logits(model, cache)).isEqualTo(expected);
        assertThat(isNew(file())).isFalse();
    }

    @Test
    void load_damagedFile_isWrittenAnew() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        int[] expected = logits(model, cache);
        byte[] whole = Files.readAllBytes(file());
        SplittableRandom random = new SplittableRandom(5);
        for (int i = 0; i < 60; i++) {
            byte[] damaged = i % 3 == 0 ? Arrays.copyOf(whole, random.nextInt(whole.length)) : whole.clone();
            if (i % 3 == 1) {
                damaged[random.nextInt(whole.length)] ^= (byte) (1 << random.nextInt(8));
            } else if (i % 3 == 2) { // in the table or behind it
                damaged[whole.length - 1 - random.nextInt(400)] ^= (byte) (1 << random.nextInt(8));
            }
            Files.write(file(), damaged);
            assertWrittenAnew(model, expected, whole);
        }
    }

    /** Whoever writes the checksums too can name any place; no place outside of the file is read. */
    @Test
    void load_tableThatNamesOtherPlaces_isWrittenAnew() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        int[] expected = logits(model, cache);
        byte[] whole = Files.readAllBytes(file());
        ByteBuffer bytes = ByteBuffer.wrap(whole.clone());
        int matrices = (int) bytes.getLong(whole.length - 24);
        int table = (int) bytes.getLong(whole.length - 16);
        int first = matrices + Math.ceilDiv(matrices, 1 << 20) * Integer.BYTES + Integer.BYTES;
        int place = first + Short.BYTES + bytes.getShort(first);
        for (long offset : new long[] {-64, 1, matrices, 1L << 62, Long.MIN_VALUE}) {
            bytes.putLong(place, offset);
            CRC32C sum = new CRC32C();
            sum.update(bytes.array(), matrices, table);
            bytes.putInt(whole.length - 8, (int) sum.getValue());
            Files.write(file(), bytes.array());
            assertWrittenAnew(model, expected, whole);
        }
    }

    @Test
    void load_otherModelOfTheSameName_hasAFileOfItsOwn() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        logits(model, cache);
        byte[] bytes = Files.readAllBytes(model);
        bytes[bytes.length - 5] ^= 1; // in a scale or a number of the last tensor
        Files.write(model, bytes);
        assertThat(logits(model, cache)).isEqualTo(logits(model));
        assertThat(files()).hasSize(2);
    }

    @Test
    void load_otherKernelSets_haveFilesOfTheirOwn() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        List<Kernels> sets = KernelSets.names().stream()
                .filter(name -> KernelSets.obstacle(name) == null)
                .map(KernelSets::named)
                .filter(Kernels::keepsPacked)
                .toList();
        for (Kernels set : sets) {
            assertThat(logits(model, cache, set)).isEqualTo(logits(model, cache, set));
        }
        assertThat(files()).hasSize(sets.size());
    }

    @Test
    void load_setThatPacksAnew_usesNoFolder() {
        logits(model(ElementType.Q4_0, 4), cache, KernelSets.named("scalar"));
        assertThat(cache).doesNotExist();
    }

    @Test
    void load_unfinishedFile_isTakenOver() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        int[] expected = logits(model, cache);
        byte[] whole = Files.readAllBytes(file());
        Files.move(file(), file().resolveSibling(file().getFileName() + ".new"));
        assertWrittenAnew(model, expected, whole);
    }

    @Test
    void load_whileAnotherWrites_leavesTheFileToIt() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        int[] expected = logits(model, cache);
        Path unfinished = file().resolveSibling(file().getFileName() + ".new");
        Files.move(file(), unfinished);
        byte[] whole = Files.readAllBytes(unfinished);
        try (FileChannel other = FileChannel.open(unfinished, StandardOpenOption.WRITE)) {
            assertThat(other.lock().isValid()).isTrue();
            assertThat(logits(model, cache)).isEqualTo(expected);
            assertThat(file()).isEqualTo(unfinished);
        }
        assertThat(Files.readAllBytes(unfinished)).isEqualTo(whole);
    }

    @Test
    void load_folderThatIsAFile_isRefused() throws IOException {
        Path model = model(ElementType.Q4_0, 4);
        Files.createFile(cache);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> logits(model, cache))
                .withMessageContaining("packedCache is " + cache + ", which is no folder");
    }
}
