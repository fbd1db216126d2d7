package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ByteStringsTest {
    /** Bytes at the limits of what UTF-8 allows at a place. */
    private static final int[] LIMITS = {
        0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF
    };

    @Test
    void of_strings_areFoundAgain() {
        ByteStrings strings =
                ByteStrings.of(List.of("né".getBytes(StandardCharsets.UTF_8), new byte[0], new byte[] {-1}));

        assertThat(strings.size()).isEqualTo(3);
        assertThat(strings.text(0)).isEqualTo("né");
        assertThat(strings.length(1)).isZero();
        assertThat(strings.get(2)).containsExactly(-1);
        assertThat(strings.text(2)).isEqualTo("\uFFFD");
        assertThat(strings.start(2)).isEqualTo(3);
        assertThat(strings.end(2)).isEqualTo(4);
        assertThat(ByteStrings.of(List.of()).size()).isZero();
    }

    @Test
    void textLength_anyBytes_agreesWithJava() {
        Random random = new Random(5);
        for (int run = 0; run < 200_000; run++) {
            byte[] bytes = new byte[random.nextInt(7)];
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) LIMITS[random.nextInt(LIMITS.length)];
            }
            String text = new String(bytes, StandardCharsets.UTF_8);
            boolean valid = Arrays.equals(text.getBytes(StandardCharsets.UTF_8), bytes);

            assertThat(ByteStrings.of(List.of(bytes)).textLength(0))
                    .as(Arrays.toString(bytes))
                    .isEqualTo(valid ? text.length() : -1);
        }
    }
}
