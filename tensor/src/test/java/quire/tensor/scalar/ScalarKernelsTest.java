package quire.tensor.scalar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.sun.management.ThreadMXBean;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.PagedContext;
import quire.tensor.Samples;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/** Compares the scalar set, the reference of the other sets, with plain formulas in double precision. */
class ScalarKernelsTest {
    private final Kernels kernels = KernelSets.named("scalar");

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_randomMatrix_isTheProductWithTheDecodedWeights(ElementType type) {
        SplittableRandom random = new SplittableRandom(type.blockBytes());
        int outputs = 7;
        int inputs = type.isQuantized() ? 3 * type.blockElements() : 96;
        int rows = 3;
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(2)) {
            MemorySegment source = Samples.weights(arena, type, outputs, inputs, random);
            WeightMatrix w = kernels.pack(type, outputs, inputs, source, arena, workers);
            Activations x = Samples.activations(arena, rows, inputs, type.isQuantized(), random);
            FloatMatrix y = FloatMatrix.allocate(arena, rows, outputs);
            if (type.isQuantized()) {
                kernels.quantize(x, 0, rows);
            }

            kernels.multiply(w, x, rows, y, 0, 1);

            FloatMatrix decoded = FloatMatrix.allocate(arena, outputs, inputs);
            type.decode(source, 0, decoded.segment(), 0, outputs * inputs);
            for (int r = 0; r < rows; r++) {
                for (int o = 0; o < outputs; o++) {
                    double expected = 0;
                    double magnitude = 0;
                    for (int k = 0; k < inputs; k++) {
                        double term = decoded.get(o, k) * (double) x.values().get(r, k);
                        expected += term;
                        magnitude += Math.abs(term);
                    }
                    // the error of int8 activations is at most half of 1/127 of the block's largest magnitude
                    double tolerance = type.isQuantized() ? 0.03 * magnitude : 1e-6 * magnitude;
                    assertThat((double) y.get(r, o)).isCloseTo(expected, within(tolerance));
                }
            }
        }
    }

    /** Integers up to 127 quantise without error, so only the rounding of floats is left. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            mode = EnumSource.Mode.EXCLUDE,
            names = {"F32", "F16", "BF16"})
    void multiply_integerActivations_isTheDecodedProductToFloatPrecision(ElementType type) {
        SplittableRandom random = new SplittableRandom(type.blockBytes());
        int outputs = 5;
        int inputs = 2 * type.blockElements();
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(1)) {
            MemorySegment source = Samples.weights(arena, type, outputs, inputs, random);
            WeightMatrix w = kernels.pack(type, outputs, inputs, source, arena, workers);
            Activations x = Activations.allocate(arena, 2, inputs, true);
            for (int r = 0; r < 2; r++) {
                for (int k = 0; k < inputs; k++) {
                    x.values().set(r, k, k % 32 == 7 ? -127 : random.nextInt(-127, 128));
                }
            }
            kernels.quantize(x, 0, 2);
            FloatMatrix y = FloatMatrix.allocate(arena, 2, outputs);

            kernels.multiply(w, x, 2, y, 0, 1);

            FloatMatrix decoded = FloatMatrix.allocate(arena, outputs, inputs);
            type.decode(source, 0, decoded.segment(), 0, outputs * inputs);
            for (int r = 0; r < 2; r++) {
                for (int o = 0; o < outputs; o++) {
                    double expected = 0;
                    double magnitude = 0;
                    for (int k = 0; k < inputs; k++) {
                        double term = decoded.get(o, k) * (double) x.values().get(r, k);
                        expected += term;
                        magnitude += Math.abs(term);
                    }
                    assertThat((double) y.get(r, o)).isCloseTo(expected, within(2e-6 * magnitude));
                }
            }
        }
    }

    @Test
    void quantize_specialValues_followActivationsJavadoc() {
        try (Arena arena = Arena.ofShared()) {
            Activations x = Activations.allocate(arena, 4, 32, true);
            x.values().set(0, 0, Float.NaN);
            x.values().set(0, 1, -2f);
            x.values().set(0, 2, 1f);
            x.values().set(0, 3, 2.5f * 2 / 127); // a tie, rounds to even
            x.values().set(1, 0, Float.POSITIVE_INFINITY);
            x.values().set(1, 1, Float.NEGATIVE_INFINITY);
            x.values().set(1, 2, Float.MAX_VALUE / 2);
            x.values().set(2, 0, Float.MIN_VALUE);

            kernels.quantize(x, 0, 4);

            assertThat(quants(x, 0, 4)).containsExactly(0, -127, 64, 2);
            assertThat(scale(x, 0)).isEqualTo(2f / 127);
            assertThat(quants(x, 1, 4)).containsExactly(127, -127, 64, 0);
            assertThat(scale(x, 1)).isEqualTo(Float.MAX_VALUE / 127);
            assertThat(quants(x, 2, 4)).containsExactly(0, 0, 0, 0);
            assertThat(scale(x, 2)).isZero();
            assertThat(quants(x, 3, 4)).containsExactly(0, 0, 0, 0);
            assertThat(scale(x, 3)).isZero();
        }
    }

    private static int[] quants(Activations x, int row, int count) {
        int[] result = new int[count];
        for (int i = 0; i < count; i++) {
            result[i] = x.quants().get(ValueLayout.JAVA_BYTE, row * 32L + i);
        }
        return result;
    }

    private static float scale(Activations x, int block) {
        return x.scales().getAtIndex(ValueLayout.JAVA_FLOAT, block);
    }

    @Test
    void rmsNorm_randomRows_isTheFormula() {
        SplittableRandom random = new SplittableRandom(1);
        try (Arena arena = Arena.ofShared()) {
            FloatMatrix x = Samples.matrix(arena, 2, 77, random);
            FloatMatrix weight = Samples.matrix(arena, 1, 77, random);
            FloatMatrix y = FloatMatrix.allocate(arena, 2, 77);

            kernels.rmsNorm(x, weight, 1e-5f, y, 0, 2);

            for (int r = 0; r < 2; r++) {
                double squares = 0;
                for (int i = 0; i < 77; i++) {
                    squares += (double) x.get(r, i) * x.get(r, i);
                }
                double scale = 1 / Math.sqrt(squares / 77 + 1e-5f);
                for (int i = 0; i < 77; i++) {
                    double expected = x.get(r, i) * scale * weight.get(0, i);
                    assertThat((double) y.get(r, i)).isCloseTo(expected, within(Math.abs(expected) * 1e-6));
                }
            }
        }
    }

    @Test
    void swiglu_randomRows_isTheFormula() {
        SplittableRandom random = new SplittableRandom(2);
        try (Arena arena = Arena.ofShared()) {
            FloatMatrix gate = Samples.matrix(arena, 2, 50, random);
            FloatMatrix up = Samples.matrix(arena, 2, 50, random);
            FloatMatrix out = FloatMatrix.allocate(arena, 2, 50);

            kernels.activate(Activation.SILU, gate, up, out, 0, 2);

            for (int r = 0; r < 2; r++) {
                for (int i = 0; i < 50; i++) {
                    double expected = gate.get(r, i) / (1 + Math.exp(-gate.get(r, i))) * up.get(r, i);
                    assertThat((double) out.get(r, i)).isCloseTo(expected, within(Math.abs(expected) * 1e-6));
                }
            }
        }
    }

    @Test
    void exactGelu_manyNumbers_isTheNormalDistributionWithinItsError() {
        float[] special = {0f, -0f, 29f, 31f, -31f, 1e20f, -1e20f, Float.POSITIVE_INFINITY};
        float[] expected = {0f, 0f, 29f, 31f, 0f, 1e20f, 0f, Float.POSITIVE_INFINITY};
        for (int i = 0; i < special.length; i++) {
            assertThat(FloatMath.activate(Activation.EXACT_GELU, special[i], 1f))
                    .isEqualTo(expected[i]);
        }
        assertThat(FloatMath.activate(Activation.EXACT_GELU, Float.NEGATIVE_INFINITY, 1f))
                .isZero();
        assertThat(FloatMath.activate(Activation.EXACT_GELU, Float.NaN, 1f)).isNaN();
        double worst = 0;
        for (double number = -8; number <= 8; number += 1.0 / 4096) {
            float x = (float) number;
            double error = Math.abs(FloatMath.activate(Activation.EXACT_GELU, x, 1f) - x * normalDistribution(x));
            worst = Math.max(worst, error / Math.max(1, Math.abs(x)));
        }
        assertThat(worst).isLessThan(3e-7);
    }

    /** By a series whose terms are all positive. */
    private static double normalDistribution(double x) {
        double term = x;
        double sum = x;
        for (int n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
            term *= x * x / (2 * n + 1);
            sum += term;
        }
        return 0.5 + sum * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    }

    @Test
    void rope_partOfEachHead_rotatesPairsAndLeavesTheRest() {
        SplittableRandom random = new SplittableRandom(3);
        try (Arena arena = Arena.ofShared()) {
            FloatMatrix x = Samples.matrix(arena, 3, 20, random);
            FloatMatrix before = FloatMatrix.allocate(arena, 3, 20);
            before.segment().copyFrom(x.segment());
            FloatMatrix cosSin = FloatMatrix.allocate(arena, 5, 6);
            for (int position = 0; position < 5; position++) {
                for (int pair = 0; pair < 3; pair++) {
                    cosSin.set(position, 2 * pair, (float) Math.cos(position * 0.3 + pair));
                    cosSin.set(position, 2 * pair + 1, (float) Math.sin(position * 0.3 + pair));
                }
            }

            kernels.rope(x, 10, new int[] {0, 4, 2}, cosSin, 1, 3);

            for (int r = 0; r < 3; r++) {
                int position = r == 1 ? 4 : 2;
                for (int i = 0; i < 20; i++) {
                    int pair = i % 10 / 2;
                    double expected = before.get(r, i);
                    if (r > 0 && pair < 3) {
                        double angle = position * 0.3 + pair;
                        double other = before.get(r, i ^ 1);
                        expected = expected * Math.cos(angle) + (i % 2 == 0 ? -other : other) * Math.sin(angle);
                    }
                    assertThat((double) x.get(r, i)).isCloseTo(expected, within(1e-5));
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"F16, 1, 1, 8", "F32, 2, 6, 64", "F16, 4, 8, 20", "Q8_0, 2, 6, 64", "Q8_0, 1, 3, 7"})
    void attend_randomPages_isSoftmaxInDoublePrecision(KvLayout.KvType type, int kvHeads, int heads, int headDim) {
        SplittableRandom random = new SplittableRandom(headDim);
        KvLayout layout = new KvLayout(type, 32, kvHeads, headDim);
        int context = 75;
        try (Arena arena = Arena.ofShared()) {
            PagedContext kv = PagedContext.random(kernels, arena, layout, context, random);
            FloatMatrix q = Samples.matrix(arena, 5, heads * headDim, random);
            FloatMatrix out = FloatMatrix.allocate(arena, 5, heads * headDim);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, heads, arena);

            for (int kvHead = 0; kvHead < kvHeads; kvHead++) {
                kernels.attend(
                        new AttentionCall(layout, 0.3f, q, out)
                                .context(kv.pages, kv.pageTable, kvHead)
                                .rows(2, 3, context - 3),
                        scratch);
            }

            for (int r = 2; r < 5; r++) {
                int position = context - 5 + r;
                for (int head = 0; head < heads; head++) {
                    double[] expected = kv.attention(q, r, head, heads, position, 0.3);
                    for (int d = 0; d < headDim; d++) {
                        assertThat((double) out.get(r, head * headDim + d))
                                .isCloseTo(expected[d], within(1e-5 + expected[headDim]));
                    }
                }
            }
        }
    }

    @Test
    void attend_positionsOutsideOfThePageTable_areNamed() {
        KvLayout layout = new KvLayout(KvLayout.KvType.F16, 16, 1, 8);
        for (String name : KernelSets.names()) {
            if (KernelSets.obstacle(name) != null) {
                continue; // does not run on this machine
            }
            Kernels kernels = KernelSets.named(name);
            try (Arena arena = Arena.ofShared()) {
                PagedContext kv = PagedContext.random(kernels, arena, layout, 32, new SplittableRandom(1));
                FloatMatrix q = FloatMatrix.allocate(arena, 2, 8);
                Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, 1, arena);
                kernels.attend(
                        new AttentionCall(layout, 1f, q, q)
                                .context(kv.pages, kv.pageTable, 0)
                                .rows(0, 2, 30),
                        scratch);
                for (int first : new int[] {-1, Integer.MIN_VALUE, 31, Integer.MAX_VALUE}) {
                    assertThatThrownBy(() -> kernels.attend(
                                    new AttentionCall(layout, 1f, q, q)
                                            .context(kv.pages, kv.pageTable, 0)
                                            .rows(0, 2, first),
                                    scratch))
                            .isInstanceOf(IllegalArgumentException.class)
                            .hasMessage("positions [" + first + ", " + (first + 2L) + ") of 32: 2 pages of 16");
                }
            }
        }
    }

    @Test
    void multiply_shapesThatDoNotFit_areNamed() {
        SplittableRandom random = new SplittableRandom(4);
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(1)) {
            MemorySegment source = Samples.weights(arena, ElementType.F32, 4, 32, random);
            WeightMatrix w = kernels.pack(ElementType.F32, 4, 32, source, arena, workers);
            Activations x = Activations.allocate(arena, 1, 31, false);
            FloatMatrix y = FloatMatrix.allocate(arena, 1, 4);
            assertThatThrownBy(() -> kernels.multiply(w, x, 1, y, 0, 1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("4 outputs × 32 inputs");
            assertThatThrownBy(() -> kernels.pack(ElementType.F16, 4, 32, source, arena, workers))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("takes 256 bytes, but its source has 512");
            assertThatThrownBy(() -> kernels.pack(ElementType.Q4_0, 4, 33, source, arena, workers))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("not a whole number of Q4_0 blocks");
        }
    }

    @Test
    void named_unknown_listsTheNames() {
        assertThatThrownBy(() -> KernelSets.named("gpu"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("scalar");
    }

    @Test
    void storeKv_int8Pages_keepsOlderTokensAndEveryNumberWithinHalfAStep() {
        KvLayout layout = new KvLayout(KvLayout.KvType.Q8_0, 32, 2, 5);
        SplittableRandom random = new SplittableRandom(5);
        try (Arena arena = Arena.ofShared()) {
            MemorySegment pages = arena.allocate(3 * layout.pageBytes(), 64);
            FloatMatrix k = Samples.matrix(arena, 32, 10, random);
            FloatMatrix v = Samples.matrix(arena, 32, 10, random);
            k.set(7, 3, Float.NaN); // head 0
            v.set(7, 8, Float.NEGATIVE_INFINITY); // head 1
            for (int i = 0; i < 5; i++) {
                v.set(9, i, 0x1p-120f);
            }
            for (int slot = 0; slot < 32; slot++) {
                kernels.storeKv(layout, pages, 1, slot, k, v, slot);
            }

            for (int slot = 0; slot < 32; slot++) {
                for (int head = 0; head < 2; head++) {
                    long page = layout.pageBytes();
                    long lane = slot % 16;
                    float keyScale = pages.get(
                            ValueLayout.JAVA_FLOAT, page + layout.keyScalesOffset(slot, head) + lane * Float.BYTES);
                    float valueScale = pages.get(
                            ValueLayout.JAVA_FLOAT, page + layout.valueScalesOffset(slot, head) + lane * Float.BYTES);
                    for (int d = 0; d < 5; d++) {
                        double key = (double) keyScale
                                * pages.get(
                                        ValueLayout.JAVA_BYTE,
                                        page + layout.keyTileOffset(slot, head) + layout.keyOffset(slot, d));
                        double value = (double) valueScale
                                * pages.get(
                                        ValueLayout.JAVA_BYTE,
                                        page + layout.valueTileOffset(slot, head) + layout.valueOffset(slot, d));
                        if (slot == 7 && head == 0) {
                            assertThat(key).isNaN();
                        } else {
                            assertThat(key).isCloseTo(k.get(slot, head * 5 + d), within(keyScale * 0.5001));
                        }
                        if (slot == 7 && head == 1) {
                            assertThat(value).isCloseTo(d == 3 ? -Float.MAX_VALUE : 0, within(1e33));
                        } else if (slot == 9 && head == 0) {
                            assertThat(value).isZero();
                        } else {
                            assertThat(value).isCloseTo(v.get(slot, head * 5 + d), within(valueScale * 0.5001));
                        }
                    }
                }
            }
            assertThat(pages.asSlice(0, layout.pageBytes()).mismatch(arena.allocate(layout.pageBytes())))
                    .isEqualTo(-1);
            assertThat(pages.asSlice(2 * layout.pageBytes()).mismatch(arena.allocate(layout.pageBytes())))
                    .isEqualTo(-1);
        }
    }

    /** The memory of a call, allocated or kept, does not grow with the context. */
    @Test
    void attend_anyContext_takesTheSameMemory() {
        KvLayout layout = new KvLayout(KvLayout.KvType.F16, 16, 2, 32);
        for (String name : KernelSets.names()) {
            if (KernelSets.obstacle(name) != null) {
                continue; // does not run on this machine
            }
            Kernels kernels = KernelSets.named(name);
            try (Arena arena = Arena.ofShared()) {
                assertThat(kernels.attentionScratch(layout, 4, arena).byteSize())
                        .as("memory for the rows of a call and a tile of K and V, not for scores of 8192 positions")
                        .isBetween(1L, 4L * 8192 * kernels.attentionRows());
            }
        }
        long small = bytesAllocatedByAttend(layout, 64);
        long large = bytesAllocatedByAttend(layout, 8192);
        assertThat(large - small).isLessThan(1024);
    }

    private static long bytesAllocatedByAttend(KvLayout layout, int context) {
        Kernels kernels = KernelSets.named("scalar");
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        try (Arena arena = Arena.ofShared()) {
            PagedContext kv = PagedContext.random(kernels, arena, layout, context, new SplittableRandom(3));
            FloatMatrix q = Samples.matrix(arena, 4, 4 * 32, new SplittableRandom(4));
            FloatMatrix out = FloatMatrix.allocate(arena, 4, 4 * 32);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, 4, arena);
            long least = Long.MAX_VALUE;
            for (int i = 0; i < 3; i++) {
                long before = threads.getCurrentThreadAllocatedBytes();
                kernels.attend(
                        new AttentionCall(layout, 0.2f, q, out)
                                .context(kv.pages, kv.pageTable, 1)
                                .rows(0, 4, context - 4),
                        scratch);
                least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
            }
            return least;
        }
    }
}
