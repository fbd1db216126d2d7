package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import quire.model.ModelConfig;
import quire.tensor.ElementType;

/** Damaged files: each one opens or is refused in one line, and needs no more memory than a valid file of its size. */
class GgufFuzzTest {
    private static final String FILE = "fuzz.gguf";
    private static final int RANDOM_MUTANTS = 60_000;
    private static final long MAX_ALLOCATED_BYTES = 1 << 20;

    private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private final Set<String> faults = new HashSet<>();
    private int accepted;
    private int refused;

    /** A model with one block, and metadata values of all types. */
    private static final GgufWriter WRITER = RandomModels.writer(
                    new RandomModels.Shape(64, 32, 32, 1, 2, 1, 16, 16, true, true, true), ElementType.Q4_0, 1)
            .integer("extra.u8", GgufValueType.UINT8, 1)
            .integer("extra.i8", GgufValueType.INT8, 1)
            .integer("extra.u16", GgufValueType.UINT16, 1)
            .integer("extra.i16", GgufValueType.INT16, 1)
            .integer("extra.u64", GgufValueType.UINT64, 1)
            .integer("extra.i64", GgufValueType.INT64, 1)
            .float64("extra.f64", 1)
            .float32s("extra.floats", 1, 2, 3)
            .nested("extra.nested", 3)
            .alignment(32);

    private static final byte[] SOUND = WRITER.toBytes();

    /** The first calls load and link classes; that memory is not caused by the file. */
    @BeforeAll
    static void warmUp() {
        assertThat(use(SOUND, "the sound file")).isEmpty();
        assertThat(use(Arrays.copyOf(SOUND, 100), "its first bytes")).isNotEmpty();
    }

    @Test
    void open_validFile_isAccepted() {
        attempt(SOUND, "the sound file");
        assertThat(accepted).isEqualTo(1);
    }

    @Test
    void open_everyNumberMadeHostile_opensOrIsRefusedInOneLine() {
        for (int at : WRITER.numberOffsets()) {
            for (long value : Mutants.HOSTILE) {
                for (int width : new int[] {Integer.BYTES, Long.BYTES}) {
                    byte[] mutant = SOUND.clone();
                    Mutants.put(mutant, at, width, value);
                    attempt(mutant, value + " in " + width + " bytes at " + at);
                }
            }
        }
        assertThat(accepted + refused).isGreaterThan(10_000);
        assertThat(accepted).isPositive();
        assertThat(faults).hasSizeGreaterThan(200);
    }

    @Test
    void open_randomMutants_opensOrIsRefusedInOneLine() {
        Mutants mutants = new Mutants(WRITER);
        for (long seed = 0; seed < RANDOM_MUTANTS; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            attempt(mutants.next(random), "seed " + seed);
        }
        assertThat(accepted).isGreaterThan(RANDOM_MUTANTS / 50);
        assertThat(refused).isGreaterThan(RANDOM_MUTANTS / 2);
        assertThat(faults).hasSizeGreaterThan(200);
    }

    /** Opens a mutant and checks the result and the memory used against the bounds. */
    private void attempt(byte[] mutant, String what) {
        long before = threads.getCurrentThreadAllocatedBytes();
        String refusal = use(mutant, what);
        long allocated = threads.getCurrentThreadAllocatedBytes() - before;
        assertThat(allocated).as("bytes allocated for %s", what).isLessThan(MAX_ALLOCATED_BYTES);
        if (refusal.isEmpty()) {
            accepted++;
        } else {
            refused++;
            assertThat(refusal).as(what).startsWith(FILE + ": ").hasSizeLessThan(2000);
            assertThat(refusal.chars().noneMatch(Character::isISOControl))
                    .as(what)
                    .isTrue();
            faults.add(refusal.replaceAll("[0-9]+", "#"));
        }
    }

    /**
     * Reads a file as a server and {@code quire inspect} do.
     *
     * @return the message of the refusal, or empty
     */
    private static String use(byte[] file, String what) {
        try (Gguf gguf = Gguf.open(FILE, MemorySegment.ofArray(file))) {
            for (String key : gguf.keys()) {
                gguf.describe(key, 60);
            }
            long bytes = 0;
            for (GgufTensor tensor : gguf.tensors()) {
                bytes += gguf.data(tensor).byteSize();
            }
            assertThat(bytes).as(what).isLessThanOrEqualTo(file.length);
            ModelConfig.from(gguf).checkTensors(gguf);
            gguf.byteStrings("tokenizer.ggml.tokens");
            gguf.int32s("tokenizer.ggml.token_type");
            return "";
        } catch (ModelFormatException e) {
            return String.valueOf(e.getMessage());
        } catch (RuntimeException | VirtualMachineError e) {
            throw new AssertionError(what + " ends in " + e, e);
        }
    }

    @Test
    void randomModel_vocabulary_isAByteLevelOne() {
        try (Gguf gguf = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.F32, 1)
                .open()) {
            List<String> tokens = List.of(gguf.strings("tokenizer.ggml.tokens"));
            assertThat(tokens).doesNotHaveDuplicates().hasSize(RandomModels.VOCABULARY_SIZE);
            for (String merge : gguf.strings("tokenizer.ggml.merges")) {
                assertThat(tokens).contains(merge.split(" ")).contains(merge.replace(" ", ""));
            }
        }
    }
}
