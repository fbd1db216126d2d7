package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;
import quire.tensor.block.FileNumbers;

class NumberCheckTest {
    private static final int ROWS = 37;

    private static final List<Float> BROKEN =
            List.of(Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN, Float.intBitsToFloat(0xFFC0_0000));

    private static final SplittableRandom RANDOM = new SplittableRandom(5);

    private static int[] columns(ElementType type) {
        return type.isQuantized()
                ? new int[] {type.blockElements(), 3 * type.blockElements(), 2048 + type.blockElements()}
                : new int[] {1, 2, 3, 7, 64, 2049, 2051};
    }

    private static int scales(ElementType type) {
        return Math.max(1, Samples.halves(type).length);
    }

    /** Writes {@code number} as the number, or as scale {@code scale} of the block, that holds the element. */
    private static void plant(MemorySegment bytes, ElementType type, long element, int scale, float number) {
        long at = element / type.blockElements() * type.blockBytes();
        switch (type) {
            case F32 -> bytes.set(FileNumbers.FLOAT, at, number);
            case F16 -> bytes.set(FileNumbers.SHORT, at, Float.floatToFloat16(number));
            case BF16 -> bytes.set(FileNumbers.SHORT, at, (short) (Float.floatToRawIntBits(number) >>> 16));
            case MXFP4 -> bytes.set(ValueLayout.JAVA_BYTE, at, (byte) 0xFF);
            default -> Samples.setHalf(type, bytes, at + Samples.halves(type)[scale], Float.floatToFloat16(number));
        }
    }

    /** NVFP4 has no scale that is not finite. */
    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "NVFP4")
    void of_plantedNumbers_findsTheFirstAndCountsAll(ElementType type) {
        for (int columns : columns(type)) {
            try (Arena arena = Arena.ofShared();
                    Workers workers = new Workers(3)) {
                MemorySegment bytes = Samples.weights(arena, type, ROWS, columns, RANDOM);
                int blocks = ROWS * columns / type.blockElements();
                assertThat(NumberCheck.of(type, bytes)).isEqualTo(new NumberCheck(0, -1, false));
                assertThat(NumberCheck.of(type, bytes, workers)).isEqualTo(new NumberCheck(0, -1, false));
                long last = (blocks - 1L) * type.blockElements();
                long middle = (long) RANDOM.nextInt(blocks - 1) * type.blockElements();
                for (int scale = 0; scale < scales(type); scale++) {
                    for (float broken : BROKEN) {
                        MemorySegment copy = arena.allocate(bytes.byteSize()).copyFrom(bytes);
                        plant(copy, type, last, scale, broken);
                        assertThat(NumberCheck.of(type, copy)).isEqualTo(new NumberCheck(1, last, false));
                        plant(copy, type, middle, scale, broken);
                        assertThat(NumberCheck.of(type, copy)).isEqualTo(new NumberCheck(2, middle, false));
                        assertThat(NumberCheck.of(type, copy, workers)).isEqualTo(new NumberCheck(2, middle, false));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void of_zeros_isZeroUntilOneNumberIsNot(ElementType type) {
        try (Arena arena = Arena.ofConfined()) {
            int columns = 3 * type.blockElements();
            MemorySegment bytes = arena.allocate(type.byteSize((long) ROWS * columns));
            long last = (long) ROWS * columns - 1;
            long lastByte = bytes.byteSize() - 1;

            assertThat(NumberCheck.of(type, bytes)).isEqualTo(new NumberCheck(0, -1, true));
            switch (type) {
                case MXFP4 -> {
                    bytes.set(ValueLayout.JAVA_BYTE, lastByte, (byte) 0x88); // both are −0
                    assertThat(NumberCheck.of(type, bytes).isZero()).isTrue();
                    bytes.set(ValueLayout.JAVA_BYTE, lastByte, (byte) 0x90);
                }
                case NVFP4 -> {
                    bytes.set(ValueLayout.JAVA_BYTE, 3, (byte) 0x7F);
                    assertThat(NumberCheck.of(type, bytes).isZero()).isTrue();
                    bytes.set(ValueLayout.JAVA_BYTE, 3, (byte) 1);
                }
                default -> {
                    plant(bytes, type, last, 0, -0f);
                    assertThat(NumberCheck.of(type, bytes).isZero()).isTrue();
                    plant(bytes, type, last, 0, type == ElementType.BF16 ? Float.intBitsToFloat(1 << 16) : 0x1p-24f);
                }
            }
            assertThat(NumberCheck.of(type, bytes)).isEqualTo(new NumberCheck(0, -1, false));
        }
    }

    /** Bit 15 of an f32 is no sign. */
    @Test
    void of_anyBitOfAFloat_isNotZero() {
        MemorySegment bytes = MemorySegment.ofArray(new byte[12]);
        for (int bit = 0; bit < 31; bit++) {
            bytes.set(FileNumbers.FLOAT, 8, Float.intBitsToFloat(1 << bit));
            assertThat(NumberCheck.of(ElementType.F32, bytes))
                    .as("bit " + bit)
                    .isEqualTo(new NumberCheck(0, -1, false));
        }
    }

    @Test
    void of_partOfABlock_isRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> NumberCheck.of(ElementType.Q4_0, MemorySegment.ofArray(new byte[17])))
                .withMessageContaining("17 bytes are not whole blocks of Q4_0");
    }
}
