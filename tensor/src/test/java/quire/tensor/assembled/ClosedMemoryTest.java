package quire.tensor.assembled;

import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.function.Function;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Memory of a closed arena is refused. Machine code would otherwise read or write memory that has another use by then.
 */
class ClosedMemoryTest {
    private static final KvLayout LAYOUT = new KvLayout(KvLayout.KvType.F16, 16, 1, 8);

    static List<Kernels> sets() {
        return KernelSets.names().stream()
                .filter(name -> KernelSets.obstacle(name) == null)
                .map(KernelSets::named)
                .toList();
    }

    private static <T> T closed(Function<Arena, T> allocate) {
        try (Arena arena = Arena.ofShared()) {
            return allocate.apply(arena);
        }
    }

    private static FloatMatrix closedMatrix(int columns) {
        return closed(arena -> FloatMatrix.allocate(arena, 1, columns));
    }

    private static void assertRefused(ThrowingCallable... calls) {
        for (int i = 0; i < calls.length; i++) {
            assertThatIllegalStateException().as("call " + i).isThrownBy(calls[i]);
        }
    }

    @ParameterizedTest
    @MethodSource("sets")
    void multiplyAndQuantize_anyClosed_areRefused(Kernels kernels) {
        for (ElementType type : List.of(ElementType.F32, ElementType.Q8_0, ElementType.Q4_K)) {
            boolean quantized = type.isQuantized();
            try (Arena arena = Arena.ofShared();
                    Workers workers = new Workers(1)) {
                MemorySegment source = arena.allocate(type.byteSize(16 * 256));
                WeightMatrix w = kernels.pack(type, 16, 256, source, arena, workers);
                WeightMatrix closedW = closed(gone -> kernels.pack(type, 16, 256, source, gone, workers));
                Activations x = Activations.allocate(arena, 1, 256, quantized);
                Activations closedX = closed(gone -> Activations.allocate(gone, 1, 256, quantized));
                FloatMatrix y = FloatMatrix.allocate(arena, 1, 16);
                if (quantized) {
                    kernels.quantize(x, 0, 1);
                    assertRefused(() -> kernels.quantize(closedX, 0, 1));
                }

                assertRefused(
                        () -> kernels.multiply(closedW, x, 1, y, 0, 1),
                        () -> kernels.multiply(w, closedX, 1, y, 0, 1),
                        () -> kernels.multiply(w, x, 1, closedMatrix(16), 0, 1));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sets")
    void rowOperations_anyClosed_areRefused(Kernels kernels) {
        try (Arena arena = Arena.ofShared()) {
            FloatMatrix x = FloatMatrix.allocate(arena, 1, 24);
            FloatMatrix gone = closedMatrix(24);

            assertRefused(
                    () -> kernels.rmsNorm(gone, x, 1e-5f, x, 0, 1),
                    () -> kernels.rmsNorm(x, gone, 1e-5f, x, 0, 1),
                    () -> kernels.rmsNorm(x, x, 1e-5f, gone, 0, 1),
                    () -> kernels.add(gone, x, 0, 1),
                    () -> kernels.add(x, gone, 0, 1),
                    () -> kernels.addBias(gone, x, 0, 1),
                    () -> kernels.addBias(x, gone, 0, 1),
                    () -> kernels.activate(Activation.SILU, gone, x, x, 0, 1),
                    () -> kernels.activate(Activation.SILU, x, gone, x, 0, 1),
                    () -> kernels.activate(Activation.SILU, x, x, gone, 0, 1),
                    () -> kernels.rope(gone, 24, new int[1], x, 0, 1),
                    () -> kernels.rope(x, 24, new int[1], gone, 0, 1));
        }
    }

    @ParameterizedTest
    @MethodSource("sets")
    void storeKvAndAttend_anyClosed_areRefused(Kernels kernels) {
        try (Arena arena = Arena.ofShared()) {
            MemorySegment pages = arena.allocate(LAYOUT.pageBytes(), 64);
            MemorySegment closedPages = closed(gone -> gone.allocate(LAYOUT.pageBytes(), 64));
            FloatMatrix x = FloatMatrix.allocate(arena, 1, 8);
            FloatMatrix gone = closedMatrix(8);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(LAYOUT, 1, arena);
            Kernels.AttentionScratch closedScratch = closed(a -> kernels.attentionScratch(LAYOUT, 1, a));
            int[] table = {0};
            kernels.storeKv(LAYOUT, pages, 0, 0, x, x, 0);

            assertRefused(
                    () -> kernels.storeKv(LAYOUT, closedPages, 0, 0, x, x, 0),
                    () -> kernels.storeKv(LAYOUT, pages, 0, 0, gone, x, 0),
                    () -> kernels.storeKv(LAYOUT, pages, 0, 0, x, gone, 0),
                    () -> kernels.attend(
                            new AttentionCall(LAYOUT, 1f, x, x)
                                    .context(closedPages, table, 0)
                                    .rows(0, 1, 0),
                            scratch),
                    () -> kernels.attend(
                            new AttentionCall(LAYOUT, 1f, gone, x)
                                    .context(pages, table, 0)
                                    .rows(0, 1, 0),
                            scratch),
                    () -> kernels.attend(
                            new AttentionCall(LAYOUT, 1f, x, gone)
                                    .context(pages, table, 0)
                                    .rows(0, 1, 0),
                            scratch));
            if (closedScratch instanceof AssembledAttention) { // the other sets have theirs on the heap
                assertRefused(() -> kernels.attend(
                        new AttentionCall(LAYOUT, 1f, x, x)
                                .context(pages, table, 0)
                                .rows(0, 1, 0),
                        closedScratch));
            }
        }
    }
}
