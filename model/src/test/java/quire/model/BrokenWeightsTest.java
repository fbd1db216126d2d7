package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufType;
import quire.model.format.GgufWriter;
import quire.model.format.ModelFormatException;
import quire.model.format.RandomModels;
import quire.model.format.RandomModels.Shape;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/** Files whose weights are damaged. */
class BrokenWeightsTest {
    private static final Shape SHAPE = Shape.wide();

    @TempDir
    private Path folder;

    private static void load(Path path) {
        try (Gguf file = Gguf.open(path);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(file);
            Decoder.load(file, config, KernelSets.best(), workers, new Decoder.Capacity(KvType.F16, 16, 4, 16, 1))
                    .close();
        }
    }

    /** A model of this type, with some bytes of a tensor replaced. */
    private Path damaged(ElementType type, Shape shape, String name, int from, int to, int value) {
        GgufWriter writer = RandomModels.writer(shape, type, 3);
        try (Gguf file = Gguf.open(writer.write(folder.resolve("whole.gguf")))) {
            GgufTensor tensor = file.tensors().stream()
                    .filter(t -> t.name().equals(name))
                    .findFirst()
                    .orElseThrow();
            byte[] bytes = file.data(tensor).toArray(ValueLayout.JAVA_BYTE);
            Arrays.fill(bytes, from, to < 0 ? bytes.length : to, (byte) value);
            writer.withoutTensor(name)
                    .tensor(name, GgufType.of(tensor.elementType()).id(), bytes, tensor.dims());
        }
        return writer.write(folder.resolve("damaged.gguf"));
    }

    @ParameterizedTest
    @CsvSource({
        "F32, blk.1.ffn_norm.weight, 12, 16, 1 number that is, 0 at column 3",
        "F16, blk.0.attn_q.weight, 514, 518, 2 numbers that are, 1 at column 1",
        "BF16, blk.1.ffn_down.weight, 0, 4, 2 numbers that are, 0 at column 0",
        "Q4_0, token_embd.weight, 144, 146, 1 scale that is, 1 at column 0",
        "Q8_0, output.weight, 34, 102, 2 scales that are, 0 at column 32",
        "Q4_K, blk.0.ffn_up.weight, 144, 292, 4 scales that are, 1 at column 0",
        "Q6_K, blk.0.attn_v.weight, 208, 210, 1 scale that is, 0 at column 0",
        "MXFP4, blk.1.attn_k.weight, 17, 18, 1 scale that is, 0 at column 32",
        "IQ2_XS, blk.1.attn_output.weight, 74, 80, 1 scale that is, 1 at column 0"
    })
    void load_numbersThatAreNotFinite_isRefusedWithTensorCountAndPlace(
            ElementType type, String name, int from, int to, String count, String place) {
        Path file = damaged(type, SHAPE, name, from, to, 0xFF);
        assertThatExceptionOfType(ModelFormatException.class)
                .isThrownBy(() -> load(file))
                .withMessageStartingWith(file.toString())
                .withMessageContaining(
                        "tensor " + name + " has " + count + " infinite or NaN, the first in row " + place)
                .withMessageContaining("quire inspect --check");
    }

    /** The embedding that is the head too, and is read twice, is named once. */
    @Test
    void load_matrixOfZeros_isAWarningThatNamesItOnce() {
        List<String> messages =
                warnings(() -> load(damaged(ElementType.Q4_0, SHAPE.withTied(true), "token_embd.weight", 0, -1, 0)));
        assertThat(messages).singleElement().asString().containsOnlyOnce("token_embd.weight");
    }

    @Test
    void load_soundModel_isNoWarning() {
        assertThat(warnings(() ->
                        load(RandomModels.writer(SHAPE, ElementType.Q4_0, 3).write(folder.resolve("whole.gguf")))))
                .isEmpty();
    }

    /** Queries, keys and values in one tensor: three matrices, one name. */
    @Test
    void load_fusedMatrixOfZeros_isNamedOnce() {
        GgufWriter writer = FamilyModels.writer("phi3", ElementType.F32, 1);
        try (Gguf file = Gguf.open(writer.write(folder.resolve("whole.gguf")))) {
            GgufTensor tensor = file.tensors().stream()
                    .filter(t -> t.name().equals("blk.0.attn_qkv.weight"))
                    .findFirst()
                    .orElseThrow();
            writer.withoutTensor(tensor.name())
                    .tensor(
                            tensor.name(),
                            GgufType.of(tensor.elementType()).id(),
                            new byte[Math.toIntExact(tensor.byteSize())],
                            tensor.dims());
        }
        List<String> messages = warnings(() -> load(writer.write(folder.resolve("zero.gguf"))));
        assertThat(messages).singleElement().asString().containsOnlyOnce("blk.0.attn_qkv.weight");
    }

    private static List<String> warnings(Runnable loading) {
        List<String> messages = new ArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord entry) {
                messages.add(entry.getMessage());
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger log = Logger.getLogger(WeightLoader.class.getName());
        log.addHandler(handler);
        try {
            loading.run();
        } finally {
            log.removeHandler(handler);
        }
        return messages;
    }
}
