package quire.tensor.packing;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.Samples;

class PanelReaderTest {
    private static final int ROWS = 2 * PackedForm.PANEL + 5;
    private static final int COLUMNS = 768;

    /** Random bits, which include subnormal scales, NaN, minus zeros and codes that no tool writes. */
    @ParameterizedTest
    @EnumSource
    void read_everyRowOfRandomBits_equalsDecodingToTheBit(ElementType type) {
        SplittableRandom random = new SplittableRandom(type.name().hashCode());
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment source = arena.allocate(type.byteSize((long) ROWS * COLUMNS), 64);
            for (long i = 0; i < source.byteSize(); i++) {
                source.set(ValueLayout.JAVA_BYTE, i, (byte) random.nextInt());
            }
            check(type, source, arena);
        }
    }

    @ParameterizedTest
    @EnumSource
    void read_everyRowOfUsualWeights_equalsDecodingToTheBit(ElementType type) {
        try (Arena arena = Arena.ofConfined()) {
            check(type, Samples.weights(arena, type, ROWS, COLUMNS, new SplittableRandom(3)), arena);
        }
    }

    private static void check(ElementType type, MemorySegment source, Arena arena) {
        long wordBytes = (long) COLUMNS * PackedForm.PANEL * type.blockBytes();
        long scaleBytes = 0;
        if (type.isQuantized()) {
            PackedForm form = PackedForm.of(type);
            wordBytes = (long) COLUMNS / Activations.BLOCK * form.wordBytes();
            scaleBytes = (long) COLUMNS / Activations.BLOCK / form.groupBlocks() * form.scaleBytes();
        }
        int panels = Math.ceilDiv(ROWS, PackedForm.PANEL);
        MemorySegment words = arena.allocate(panels * wordBytes, 64);
        MemorySegment scales = arena.allocate(panels * scaleBytes, 64);
        PanelPacker packer = new PanelPacker(type, ROWS, COLUMNS, source);
        for (int panel = 0; panel < panels; panel++) {
            packer.pack(
                    panel, words.asSlice(panel * wordBytes, wordBytes), scales.asSlice(panel * scaleBytes, scaleBytes));
        }
        int before = 3; // numbers that must not change
        MemorySegment expected = arena.allocate(Float.BYTES * (long) COLUMNS, 64);
        MemorySegment read = arena.allocate(Float.BYTES * (COLUMNS + 2L * before), 64);
        for (int row = 0; row < ROWS; row++) {
            type.decode(source, row * type.byteSize(COLUMNS), expected, 0, COLUMNS);
            read.fill((byte) 0x55);
            long panel = row / PackedForm.PANEL;
            PanelReader.of(type)
                    .read(
                            words,
                            panel * wordBytes,
                            scales,
                            panel * scaleBytes,
                            row % PackedForm.PANEL,
                            COLUMNS,
                            read,
                            before);
            for (int i = 0; i < COLUMNS; i++) {
                float wanted = expected.getAtIndex(ValueLayout.JAVA_FLOAT, i);
                float got = read.getAtIndex(ValueLayout.JAVA_FLOAT, before + i);
                // a NaN need not keep its payload
                assertThat(Float.floatToIntBits(got))
                        .as("row %s, column %s: %s", row, i, wanted)
                        .isEqualTo(Float.floatToIntBits(wanted));
            }
            for (int i = 0; i < before; i++) {
                assertThat(read.getAtIndex(ValueLayout.JAVA_INT, i)).isEqualTo(0x55555555);
                assertThat(read.getAtIndex(ValueLayout.JAVA_INT, before + COLUMNS + i))
                        .isEqualTo(0x55555555);
            }
        }
    }
}
