package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import org.junit.jupiter.api.Test;

class DetokenizerTest {
    /** The bytes at the limits of the ranges in UTF-8: lead bytes, continuation bytes, and invalid ones. */
    private static final int[] BORDERS = {
        0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEF,
        0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF
    };

    @Test
    void append_everyShortSequenceOfBorderBytesInEverySplit_isTheDecodedWhole() {
        byte[] bytes = new byte[4];
        int count = BORDERS.length * BORDERS.length * BORDERS.length * BORDERS.length;
        for (int n = 0; n < count; n++) {
            for (int i = 0, rest = n; i < 4; i++, rest /= BORDERS.length) {
                bytes[i] = (byte) BORDERS[rest % BORDERS.length];
            }
            // Here each byte is a separate token; the random test below tries the other ways to split.
            assertSame(bytes, 0b111);
            assertSame(bytes, n & 0b111);
        }
    }

    private static void assertSame(byte[] bytes, int cuts) {
        List<byte[]> parts = new ArrayList<>();
        int start = 0;
        for (int i = 1; i <= bytes.length; i++) {
            if (i == bytes.length || (cuts >> (i - 1) & 1) != 0) {
                parts.add(Arrays.copyOfRange(bytes, start, i));
                start = i;
            }
        }
        String whole = new String(bytes, StandardCharsets.UTF_8);
        String streamed = stream(parts, false);
        if (!streamed.equals(whole)) {
            assertThat(streamed).as(Arrays.toString(bytes) + " cut " + cuts).isEqualTo(whole);
        }
    }

    @Test
    void append_randomBytesRandomlySplit_isTheDecodedWhole() {
        Random random = new Random(11);
        for (int run = 0; run < 20_000; run++) {
            byte[] bytes = new byte[random.nextInt(24)];
            random.nextBytes(bytes);
            for (int i = 0; i < bytes.length; i++) {
                if (random.nextBoolean()) {
                    bytes[i] = (byte) BORDERS[random.nextInt(BORDERS.length)];
                }
            }
            assertThat(stream(split(random, bytes), false)).isEqualTo(new String(bytes, StandardCharsets.UTF_8));
        }
    }

    @Test
    void append_validTextRandomlySplit_isTheTextAndNeverHalfACharacter() {
        Random random = new Random(12);
        for (int run = 0; run < 5_000; run++) {
            String text = TestVocabularies.randomCharacters(random, random.nextInt(20))
                    .replace("\uFFFD", "");
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            assertThat(stream(split(random, bytes), true)).isEqualTo(text);
        }
    }

    @Test
    void append_completeCharacter_isGivenAtOnce() {
        Detokenizer detokenizer = new Detokenizer(new Bytes(List.of(
                new byte[] {(byte) 0xF0, (byte) 0x9F}, new byte[] {(byte) 0xA6}, new byte[] {(byte) 0x99, 'x'})));

        assertThat(detokenizer.append(0)).isEmpty();
        assertThat(detokenizer.append(1)).isEmpty();
        assertThat(detokenizer.append(2)).isEqualTo("🦙x");
        assertThat(detokenizer.finish()).isEmpty();
    }

    @Test
    void finish_halfACharacter_isGivenAsReplacementAndForgotten() {
        Detokenizer detokenizer = new Detokenizer(new Bytes(List.of(new byte[] {'a', (byte) 0xE2, (byte) 0x96})));

        assertThat(detokenizer.append(0)).isEqualTo("a");
        assertThat(detokenizer.finish()).isEqualTo("\uFFFD");
        assertThat(detokenizer.finish()).isEmpty();
    }

    private static List<byte[]> split(Random random, byte[] bytes) {
        List<byte[]> parts = new ArrayList<>();
        for (int start = 0; start < bytes.length; ) {
            int end = Math.min(bytes.length, start + random.nextInt(5));
            parts.add(Arrays.copyOfRange(bytes, start, end));
            start = end;
        }
        return parts;
    }

    private static String stream(List<byte[]> parts, boolean valid) {
        Detokenizer detokenizer = new Detokenizer(new Bytes(parts));
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < parts.size(); i++) {
            String more = detokenizer.append(i);
            if (valid) {
                assertThat(more).doesNotContain("\uFFFD");
            }
            text.append(more);
        }
        String rest = detokenizer.finish();
        if (valid) {
            assertThat(rest).isEmpty();
        }
        return text.append(rest).toString();
    }

    /** A tokenizer that has only bytes. */
    private record Bytes(List<byte[]> tokens) implements Tokenizer {
        @Override
        public int vocabularySize() {
            return tokens.size();
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            throw new UnsupportedOperationException();
        }

        @Override
        public byte[] bytes(int token) {
            return tokens.get(token);
        }

        @Override
        public String spelling(int token) {
            return Arrays.toString(tokens.get(token));
        }

        @Override
        public boolean isControl(int token) {
            return false;
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return false;
        }

        @Override
        public OptionalInt bos() {
            return OptionalInt.empty();
        }

        @Override
        public OptionalInt eos() {
            return OptionalInt.empty();
        }
    }
}
