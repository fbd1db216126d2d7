package quire.model;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.format.RandomModels.Shape;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/** A step allocates nothing on the Java heap, on any thread. So it never causes a garbage collection. */
@Tag("jit") // escape analysis removes allocations of the source code: without C2 there is no such bound
@Tag("workers")
class DecoderAllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int WINDOWS = 40;
    /** Two workers share each step, with barriers and units. */
    private static final Shape SHAPE = Shape.wideOdd().withLayers(1);

    private static final int SEQUENCES = 3;
    private static final int PREFILL_ROWS = 20;

    /**
     * The Vector API allocates vectors until C2 has compiled the loop, and the time of that is not known. So the set
     * that uses it is left out, and also sets that this CPU cannot run.
     */
    @SuppressWarnings("UnusedVariable") // used by the annotation below
    private static final List<String> SETS = KernelSets.names().stream()
            .filter(name -> !name.equals("vector") && runsHere(name))
            .toList();

    private static boolean runsHere(String name) {
        try {
            return KernelSets.named(name) != null;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    @TempDir
    private Path folder;

    @ParameterizedTest
    @FieldSource("SETS")
    void forward_decodeOnceWarm_allocatesNothing(String set) {
        assertAllocatesNothing(set, 1, 10);
    }

    @ParameterizedTest
    @FieldSource("SETS")
    void forward_prefillOnceWarm_allocatesNothing(String set) {
        assertAllocatesNothing(set, PREFILL_ROWS, 1);
    }

    /** With biases, sinks and windows. */
    @ParameterizedTest
    @FieldSource("SETS")
    void forward_expertsOnceWarm_allocatesNothing(String set) {
        for (ElementType type : List.of(ElementType.F32, ElementType.Q4_0)) {
            Path path = FamilyModels.write(folder, "gpt-oss", type, 22);
            assertThat(fewestBytes(set, path, KvType.F16, PREFILL_ROWS, 1))
                    .as("%s", type)
                    .isZero();
        }
    }

    /** With a shared expert, with a latent, and recurrent; the assembled sets leave recurrent layers to the Vector API. */
    @ParameterizedTest
    @FieldSource("SETS")
    void forward_otherLayersOnceWarm_allocatesNothing(String set) {
        for (String name :
                set.equals("scalar") ? List.of("lfm2", "granitehybrid-dense") : List.of("qwen2moe", "deepseek2")) {
            Path path = FamilyModels.write(folder, name, ElementType.Q4_0, 22);
            assertThat(fewestBytes(set, path, KvType.F16, PREFILL_ROWS, 1))
                    .as(name)
                    .isZero();
        }
    }

    private void assertAllocatesNothing(String set, int rows, int steps) {
        for (ElementType type : List.of(ElementType.F32, ElementType.Q4_0)) {
            for (KvType kvType : KvType.values()) {
                assertThat(fewestBytes(set, RandomModels.write(folder, SHAPE, type, 21), kvType, rows, steps))
                        .as("%s %s", type, kvType)
                        .isZero();
            }
        }
    }

    /**
     * The bytes that all threads allocate in some steps with some rows of each sequence: the minimum of many windows.
     * Allocations of a step are in all windows; occasional allocations of the JVM are not.
     */
    private static long fewestBytes(String set, Path path, KvType kvType, int rows, int steps) {
        try (Gguf file = Gguf.open(path);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(file);
            int most = SEQUENCES * PREFILL_ROWS;
            try (Decoder decoder = Decoder.load(
                    file,
                    config,
                    KernelSets.named(set),
                    workers,
                    new Decoder.Capacity(kvType, 16, 9, most, SEQUENCES))) {
                assertThat(decoder.workersFor(SEQUENCES * rows)).isEqualTo(2);
                int[][] pages = {{0, 1, 2}, {3, 4, 5}, {6, 7, 8}};
                int[] tokens = IntStream.range(0, 48).map(i -> i * 7 % 30).toArray();
                Batch batch = new Batch(most, SEQUENCES);
                long[] before = new long[2];
                long[] after = new long[2];
                Workers.Task readBefore = worker -> before[worker] = THREADS.getCurrentThreadAllocatedBytes();
                Workers.Task readAfter = worker -> after[worker] = THREADS.getCurrentThreadAllocatedBytes();
                long fewest = Long.MAX_VALUE;
                for (int window = 0; window < WINDOWS && fewest > 0; window++) {
                    workers.run(readBefore);
                    for (int step = 0; step < steps; step++) {
                        int position = (window * steps + step) % (tokens.length - rows + 1);
                        batch.clear();
                        for (int i = 0; i < pages.length; i++) {
                            batch.add(tokens, position, position + rows, pages[i], 1);
                            batch.setState(i, i, 0, Batch.Start.ANY);
                        }
                        decoder.forward(batch);
                    }
                    workers.run(readAfter);
                    fewest = Math.min(
                            fewest,
                            Arrays.stream(after).sum() - Arrays.stream(before).sum());
                }
                return fewest;
            }
        }
    }
}
