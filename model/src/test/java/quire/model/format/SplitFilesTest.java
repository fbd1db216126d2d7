package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.tensor.ElementType;

/** Models in several files. The first part holds no tensors, the other two hold three. */
class SplitFilesTest {
    private static final int COUNT = 3;

    @TempDir
    Path folder;

    private List<GgufWriter> parts;

    @BeforeEach
    void makeParts() {
        parts = IntStream.range(0, COUNT)
                .mapToObj(i -> new GgufWriter()
                        .integer("split.no", GgufValueType.UINT16, i)
                        .integer("split.count", GgufValueType.UINT16, COUNT)
                        .integer("split.tensors.count", GgufValueType.INT32, 3))
                .toList();
        parts.get(0).string("general.architecture", "llama").strings("names", List.of("a", "b"));
        parts.get(1)
                .tensor("one", ElementType.F32, new float[] {1, 1, 1}, 3)
                .tensor("two", ElementType.F16, new float[] {2, 2}, 2);
        parts.get(2).alignment(64).tensor("three", ElementType.F32, new float[] {3}, 1);
    }

    private Path path(int index) {
        return folder.resolve("model-Q4-0000" + (index + 1) + "-of-00003.gguf");
    }

    private Path write() {
        for (int i = 0; i < parts.size(); i++) {
            parts.get(i).write(path(i));
        }
        return path(0);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2})
    void open_anyPart_opensAll(int given) throws IOException {
        write();
        Gguf file = Gguf.open(path(given));
        assertThat(file.string("general.architecture")).isEqualTo("llama");
        assertThat(file.file()).isEqualTo(path(0).toString());
        assertThat(file.paths()).containsExactly(path(0), path(1), path(2));
        assertThat(file.byteSize()).isEqualTo(Files.size(path(0)) + Files.size(path(1)) + Files.size(path(2)));
        assertThat(file.tensors().stream().map(GgufTensor::name)).containsExactly("one", "two", "three");
        assertThat(file.floats(file.tensor("one", 3))).containsExactly(1, 1, 1);
        assertThat(file.floats(file.tensor("two", 2))).containsExactly(2, 2);
        assertThat(file.floats(file.tensor("three", 1))).containsExactly(3);
        assertThat(file.tensor("three", 1).part()).isEqualTo(2);
        List<MemorySegment> mapped = file.tensors().stream().map(file::data).toList();
        assertThat(mapped).allMatch(MemorySegment::isMapped);
        file.close();
        assertThat(mapped).noneMatch(data -> data.scope().isAlive());
    }

    @Test
    void open_symbolicLinks_looksBesideTheLinks() throws IOException {
        Path blobs = Files.createDirectory(folder.resolve("blobs"));
        Path links = Files.createDirectory(folder.resolve("links"));
        write();
        for (int i = 0; i < COUNT; i++) {
            Path blob = Files.move(path(i), blobs.resolve("blob" + i));
            Files.createSymbolicLink(links.resolve(path(i).getFileName()), blob);
        }
        try (Gguf file = Gguf.open(links.resolve(path(1).getFileName()))) {
            assertThat(file.tensors()).hasSize(3);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void open_countOfOneOrNone_isAWholeModelOfAnyName(int count) {
        Path whole = new GgufWriter()
                .integer("split.no", GgufValueType.UINT16, 0)
                .integer("split.count", GgufValueType.UINT16, count)
                .tensor("one", ElementType.F32, new float[] {1}, 1)
                .write(folder.resolve("model-00001-of-00003.gguf"));
        try (Gguf file = Gguf.open(whole)) {
            assertThat(file.tensors()).hasSize(1);
            assertThat(file.paths()).containsExactly(whole);
        }
    }

    @Test
    void open_missingParts_namesThem() throws IOException {
        write();
        Files.delete(path(1));
        assertThatThrownBy(() -> Gguf.open(path(2)))
                .hasMessage(
                        path(2) + ": is part 3 of 3, and the same folder lacks model-Q4-00002-of-00003.gguf; download"
                                + " all parts");
    }

    @Test
    void open_manyMissingParts_namesTheFirst() {
        Path part = new GgufWriter()
                .uint32("split.no", 0)
                .uint32("split.count", 1000)
                .write(folder.resolve("m-00001-of-01000.gguf"));
        assertThatThrownBy(() -> Gguf.open(part))
                .hasMessageContainingAll("lacks m-00002-of-01000.gguf, ", "m-00006-of-01000.gguf and 994 more");
    }

    @Test
    void open_renamedPart_saysWhichNameItNeeds() throws IOException {
        write();
        for (String name : List.of("model.gguf", "model-Q4-00001-of-00004.gguf", "model-Q4-1-of-3.gguf")) {
            Path renamed = Files.copy(path(0), folder.resolve(name));
            assertThatThrownBy(() -> Gguf.open(renamed))
                    .hasMessageStartingWith(renamed + ": is part 1 of 3 of a model")
                    .hasMessageContaining("does not end with -00001-of-00003.gguf");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "1, split.count, 2, 'key split.count: 2 parts, where '",
        "1, split.no, 2, 'key split.no: the file says that it is part 3, its name says part 2'",
        "1, split.tensors.count, 4, 'key split.tensors.count: 4 tensors in all parts, but they hold 3'",
        "0, split.tensors.count, 2, 'key split.tensors.count: 2 tensors in all parts, but they hold 3'",
        "0, split.count, 65535, 'key split.count: 65535 parts, not 1 to 1024'",
        "0, split.count, 4294967295, 'key split.count: 4294967295 does not fit 32 bits'",
        "0, split.no, 3, 'key split.no: 3, where 3 parts go from 0 to 2'",
        "0, split.no, 18446744073709551615, 'key split.no: '",
    })
    void open_numbersThatContradict_areRefused(int part, String key, String value, String message) {
        parts.get(part).without(key).integer(key, GgufValueType.UINT64, Long.parseUnsignedLong(value));
        write();
        assertThatThrownBy(() -> Gguf.open(path(0)))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith(path(part) + ": " + message);
    }

    @Test
    void open_partsOfSeveralModels_areRefused() {
        refused(
                1,
                part -> part.string("general.architecture", "qwen2"),
                "key general.architecture: differs from the first");
        refused(2, part -> part.string("own", "key"), "key own: differs from the first");
        refused(1, part -> part.strings("names", List.of("a", "c")), "key names: differs from the first");
        refused(
                2,
                part -> part.without("split.tensors.count")
                        .uint32("split.tensors.count", 4)
                        .tensor("one", ElementType.F32, new float[] {1}, 1),
                "tensors in all parts, but they hold 4");
        refused(2, part -> part.without("split.no"), "key split.no: is missing");
        refused(2, part -> part.without("split.count"), "key split.count: 1 parts, where ");
    }

    private void refused(int part, Consumer<GgufWriter> change, String message) {
        makeParts();
        change.accept(parts.get(part));
        write();
        assertThatThrownBy(() -> Gguf.open(path(0)))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining(message);
    }

    @Test
    void open_tensorTwice_isRefused() {
        makeParts();
        parts.get(2).withoutTensor("three").tensor("one", ElementType.F32, new float[] {1}, 1);
        write();
        assertThatThrownBy(() -> Gguf.open(path(0))).hasMessageStartingWith(path(2) + ": tensor one: is in part 2 too");
    }

    @Test
    void open_sameMetadataInEveryPart_isAccepted() {
        for (GgufWriter part : parts.subList(1, COUNT)) {
            part.string("general.architecture", "llama").strings("names", List.of("a", "b"));
        }
        try (Gguf file = Gguf.open(write())) {
            assertThat(file.tensors()).hasSize(3);
        }
    }

    @Test
    void open_damagedPart_namesIt() throws IOException {
        write();
        Files.writeString(path(1), "no model");
        assertThatThrownBy(() -> Gguf.open(path(0))).hasMessageStartingWith(path(1) + ": is not a GGUF file");
        Files.delete(path(1));
        Files.createDirectory(path(1));
        assertThatThrownBy(() -> Gguf.open(path(0))).hasMessageStartingWith(path(1) + ": is a folder");
    }
}
