package quire.tensor.packing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.Samples;

class WordPackerTest {
    /** A whole panel and some lanes of a second panel. */
    private static final int ROWS = PackedForm.PANEL + 5;

    private static final int PANELS = 2;

    @ParameterizedTest
    @EnumSource
    void pack_randomBlocks_equalsPackSlowly(ElementType type) {
        // an odd number of blocks, less than a chunk, one chunk, and more than a chunk
        int least = type.isQuantized() ? type.blockElements() : 1;
        for (int columns : new int[] {least, 3 * least, 256, 768, 2048, 2048 + least, 2304, 4096}) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment source = Samples.weights(arena, type, ROWS, columns, new SplittableRandom(columns));
                Panels slow = new Panels(arena, type, columns);
                PanelPacker reference = new PanelPacker(type, ROWS, columns, source);
                Panels fast = new Panels(arena, type, columns);
                WordPacker packer = new WordPacker(type, ROWS, columns, source);

                for (int panel = PANELS - 1; panel >= 0; panel--) {
                    reference.packSlowly(panel, slow.words(panel), slow.scales(panel));
                }
                // the partial panel is last: it must not keep anything of the whole panel
                for (int panel = 0; panel < PANELS; panel++) {
                    packer.pack(panel, fast.words(panel), fast.scales(panel));
                }

                assertThat(fast.words.mismatch(slow.words))
                        .as("words of " + columns + " columns")
                        .isEqualTo(-1);
                assertThat(fast.scales.mismatch(slow.scales))
                        .as("scales of " + columns + " columns")
                        .isEqualTo(-1);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void pack_sourceThatEndsEarly_throwsAndReadsNothingAfterIt(ElementType type) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment source = Samples.weights(arena, type, ROWS, 256, new SplittableRandom(1));
            WordPacker packer = new WordPacker(type, ROWS, 256, source.asSlice(0, source.byteSize() - 1));
            Panels panels = new Panels(arena, type, 256);

            assertThatThrownBy(() -> packer.pack(1, panels.words(1), panels.scales(1)))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    /** Memory for packed panels. */
    private static final class Panels {
        final MemorySegment words;
        final MemorySegment scales;

        Panels(Arena arena, ElementType type, int columns) {
            long wordBytes = (long) columns * PackedForm.PANEL * type.blockBytes();
            long scaleBytes = 0;
            if (type.isQuantized()) {
                PackedForm form = PackedForm.of(type);
                int blocks = columns / Activations.BLOCK;
                wordBytes = (long) blocks * form.wordBytes();
                scaleBytes = (long) blocks / form.groupBlocks() * form.scaleBytes();
            }
            words = arena.allocate(PANELS * wordBytes, 64);
            scales = arena.allocate(PANELS * scaleBytes, 64);
        }

        MemorySegment words(int panel) {
            return words.asSlice(panel * words.byteSize() / PANELS, words.byteSize() / PANELS);
        }

        MemorySegment scales(int panel) {
            return scales.asSlice(panel * scales.byteSize() / PANELS, scales.byteSize() / PANELS);
        }
    }
}
