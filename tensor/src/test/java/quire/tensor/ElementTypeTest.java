package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.tensor.block.FileNumbers;

class ElementTypeTest {
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    @Test
    void decode_everyHalf_isFloat16ToFloat() {
        MemorySegment source = MemorySegment.ofArray(new byte[2 * 65536]);
        for (int i = 0; i < 65536; i++) {
            source.set(FileNumbers.SHORT, 2L * i, (short) i);
        }
        float[] target = new float[65536];
        ElementType.F16.decode(source, 0, MemorySegment.ofArray(target), 0, 65536);
        for (int i = 0; i < 65536; i++) {
            assertThat(Float.compare(target[i], Float.float16ToFloat((short) i)))
                    .isZero();
        }
    }

    @Test
    void decode_q4Block_lowNibblesFirstThenHigh() {
        byte[] block = new byte[3 + 18];
        block[3] = 0;
        block[4] = 0x38; // 0.5
        for (int i = 0; i < 16; i++) {
            block[5 + i] = (byte) (i | (15 - i) << 4);
        }
        float[] target = new float[34];
        ElementType.Q4_0.decode(MemorySegment.ofArray(block), 3, MemorySegment.ofArray(target), 2, 32);
        for (int i = 0; i < 16; i++) {
            assertThat(target[2 + i]).isEqualTo(0.5f * (i - 8));
            assertThat(target[2 + 16 + i]).isEqualTo(0.5f * (7 - i));
        }
        assertThat(target[1]).isZero();
    }

    @Test
    void decode_q8Block_isScaleTimesSignedByte() {
        byte[] block = new byte[34];
        block[1] = (byte) 0xc0; // -2
        for (int i = 0; i < 32; i++) {
            block[2 + i] = (byte) (i * 8 - 128);
        }
        float[] target = new float[32];
        ElementType.Q8_0.decode(MemorySegment.ofArray(block), 0, MemorySegment.ofArray(target), 0, 32);
        for (int i = 0; i < 32; i++) {
            assertThat(target[i]).isEqualTo(-2f * (i * 8 - 128));
        }
    }

    @Test
    void decode_bf16AndF32_areExact() {
        MemorySegment source = MemorySegment.ofArray(new byte[9]);
        source.set(FileNumbers.SHORT, 1, (short) 0xc049);
        source.set(FileNumbers.FLOAT, 5, 1e-40f);
        float[] target = new float[2];
        ElementType.BF16.decode(source, 1, MemorySegment.ofArray(target), 0, 1);
        ElementType.F32.decode(source, 5, MemorySegment.ofArray(target), 1, 1);
        assertThat(target).containsExactly(-3.140625f, 1e-40f);
    }

    /** Compares blocks of every type with ggml's result. The README next to the file says how it was made. */
    @Test
    void decode_recordedBlocks_areGgmlsFloatsToTheBit() throws IOException {
        Set<ElementType> seen = EnumSet.noneOf(ElementType.class);
        for (String line : recordedBlocks()) {
            String[] words = line.split(" ", -1);
            ElementType type = ElementType.valueOf(words[0]);
            byte[] block = HexFormat.of().parseHex(words[1]);
            byte[] expected = HexFormat.of().parseHex(words[2]);
            assertThat(block).hasSize(type.blockBytes());
            float[] target = new float[type.blockElements()];
            type.decode(MemorySegment.ofArray(block), 0, MemorySegment.ofArray(target), 0, target.length);
            assertThat(expected).hasSize(4 * target.length);
            for (int i = 0; i < target.length; i++) {
                float wanted = MemorySegment.ofArray(expected).get(FileNumbers.FLOAT, 4L * i);
                assertThat(Float.compare(target[i], wanted))
                        .as("%s element %d: %s, not %s", type, i, target[i], wanted)
                        .isZero();
            }
            seen.add(type);
        }
        assertThat(seen)
                .containsExactlyInAnyOrderElementsOf(Stream.of(ElementType.values())
                        .filter(ElementType::isQuantized)
                        .toList());
    }

    /**
     * Decodes 2048 random blocks with d = 1, which have every index of every grid, and compares the checksum of the floats
     * with that of ggml's.
     */
    @ParameterizedTest
    @CsvSource({
        "MXFP4, 0def48d5",
        "NVFP4, 7299a9f0",
        "IQ3_S, 124980d8",
        "IQ3_XXS, a6c2d14e",
        "IQ2_S, bab6938e",
        "IQ2_XS, 4cf741a4",
        "IQ2_XXS, cc64491b",
        "IQ1_M, 76c264c7",
        "IQ1_S, add2df9a",
        "TQ1_0, ca033c48",
        "TQ2_0, ed689ae5",
        "Q1_0, 6296364e",
        "Q2_0, 2aaae911"
    })
    void decode_everyIndex_isGgmlsFloatsToTheBit(ElementType type, String checksum) {
        int count = 2048;
        MemorySegment blocks = MemorySegment.ofArray(new byte[count * type.blockBytes()]);
        SplittableRandom random = new SplittableRandom(0);
        for (long at = 0; at < blocks.byteSize(); at += Long.BYTES) {
            blocks.set(LONG, at, random.nextLong());
        }
        CRC32 found = new CRC32();
        float[] target = new float[type.blockElements()];
        ByteBuffer bytes = ByteBuffer.allocate(4 * target.length).order(ByteOrder.LITTLE_ENDIAN);
        for (long at = 0; at < blocks.byteSize(); at += type.blockBytes()) {
            for (int half : Samples.halves(type)) {
                Samples.setHalf(type, blocks, at + half, Float.floatToFloat16(1));
            }
            type.decode(blocks, at, MemorySegment.ofArray(target), 0, target.length);
            bytes.asFloatBuffer().put(target);
            found.update(bytes.array());
        }

        assertThat(found.getValue()).isEqualTo(Long.parseLong(checksum, 16));
    }

    private static List<String> recordedBlocks() throws IOException {
        try (InputStream in = ElementTypeTest.class.getResourceAsStream("blocks.txt")) {
            return new String(Objects.requireNonNull(in).readAllBytes(), StandardCharsets.US_ASCII)
                    .lines()
                    .toList();
        }
    }

    @Test
    void decode_severalBlocks_eachAtItsPlace() {
        SplittableRandom random = new SplittableRandom(9);
        try (Arena arena = Arena.ofConfined()) {
            for (ElementType type : ElementType.values()) {
                int count = 3 * type.blockElements();
                MemorySegment source = Samples.weights(arena, type, 3, type.blockElements(), random);
                float[] together = new float[count];
                float[] apart = new float[count];
                type.decode(source, 0, MemorySegment.ofArray(together), 0, count);
                for (int block = 2; block >= 0; block--) {
                    long at = (long) block * type.blockBytes();
                    int first = block * type.blockElements();
                    type.decode(source, at, MemorySegment.ofArray(apart), first, type.blockElements());
                }
                assertThat(apart).as(type.name()).isEqualTo(together);
            }
        }
    }

    @Test
    void decode_mxfp4Exponents_arePowersOfTwoDenormalsToo() {
        byte[] block = new byte[17];
        block[1] = 1; // ½, then zeros
        float[] target = new float[32];
        for (int exponent = 0; exponent < 256; exponent++) {
            block[0] = (byte) exponent;
            ElementType.MXFP4.decode(MemorySegment.ofArray(block), 0, MemorySegment.ofArray(target), 0, 32);
            assertThat(target[0]).isEqualTo((float) Math.scalb(1.0, exponent - 128));
            assertThat(target[1]).isZero();
        }
    }

    @Test
    void decode_nvfp4Scales_areSmallFloatsOrZero() {
        byte[] block = new byte[36];
        block[4] = 2; // 1, then zeros
        float[] target = new float[64];
        for (int scale = 0; scale < 256; scale++) {
            block[0] = (byte) scale;
            ElementType.NVFP4.decode(MemorySegment.ofArray(block), 0, MemorySegment.ofArray(target), 0, 64);
            int exponent = scale >> 3 & 15;
            double fraction = (exponent == 0 ? 0 : 1) + (scale & 7) / 8.0;
            double wanted = scale == 0x7f ? 0 : Math.scalb(fraction, Math.max(exponent, 1) - 7);
            assertThat((double) target[0]).as("scale %x", scale).isEqualTo(wanted);
        }
    }

    @Test
    void decode_tooShortOrBroken_isRefused() {
        MemorySegment source = MemorySegment.ofArray(new byte[17]);
        MemorySegment target = MemorySegment.ofArray(new float[64]);
        assertThatThrownBy(() -> ElementType.Q4_0.decode(source, 0, target, 0, 32))
                .isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> ElementType.Q4_0.decode(source, 0, target, 0, 31))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("31 elements");
        assertThat(target.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0)).isZero();
    }
}
