package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

class ElementTypeTest {
    @Test
    void decode_everyHalf_isFloat16ToFloat() {
        MemorySegment source = MemorySegment.ofArray(new byte[2 * 65536]);
        for (int i = 0; i < 65536; i++) {
            source.set(ElementType.FILE_SHORT, 2L * i, (short) i);
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
        source.set(ElementType.FILE_SHORT, 1, (short) 0xc049);
        source.set(ElementType.FILE_FLOAT, 5, 1e-40f);
        float[] target = new float[2];
        ElementType.BF16.decode(source, 1, MemorySegment.ofArray(target), 0, 1);
        ElementType.F32.decode(source, 5, MemorySegment.ofArray(target), 1, 1);
        assertThat(target).containsExactly(-3.140625f, 1e-40f);
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
