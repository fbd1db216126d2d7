package quire.server.openai;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** A token's offset is the length of the text that the tokens before it became. */
class TextOffsetsTest {
    private static final byte[][] PIECES = {
        {'a'},
        {' ', 'b'},
        {(byte) 0xC3},
        {(byte) 0xA9},
        {(byte) 0xE2},
        {(byte) 0x82},
        {(byte) 0xAC},
        {(byte) 0xFF},
        {(byte) 0xF0},
        {(byte) 0x9F},
        {(byte) 0x80},
        {(byte) 0xEF, (byte) 0xBF},
        {(byte) 0xBD},
        {(byte) 0xE2, (byte) 0x82},
        {(byte) 0x82, (byte) 0xAC},
        {(byte) 0xAC, 'x', (byte) 0xE2},
        {(byte) 0xED},
        {(byte) 0xA0},
        {(byte) 0xE0},
        {(byte) 0xF4}
    };

    @Test
    void next_behindABrokenCharacter_countsItsReplacement() {
        assertThat(offsets(bytes(0xE2, 0x82), bytes('x'))).containsExactly(0, 1);
        assertThat(offsets(bytes(0xE2), bytes(0x82), bytes(0xAC), bytes('x'))).containsExactly(0, 0, 0, 1);
        assertThat(offsets(bytes(0xFF), bytes('x'))).containsExactly(0, 1);
        assertThat(offsets(bytes(0xE0), bytes(0x80), bytes('x'))).containsExactly(0, 1, 2);
    }

    @Test
    void next_ofTheReplacementCharacterItself_isNotTakenForABrokenOne() {
        assertThat(offsets(bytes(0xEF, 0xBF), bytes(0xBD), bytes('x'))).containsExactly(0, 0, 1);
    }

    @Test
    void next_ofRandomBytes_isWhatTheWholeTextSays() {
        Random random = new Random(7);
        for (int run = 0; run < 20_000; run++) {
            byte[][] tokens = new byte[random.nextInt(1, 12)][];
            for (int i = 0; i < tokens.length; i++) {
                tokens[i] = PIECES[random.nextInt(PIECES.length)];
                if (run % 2 == 0) {
                    tokens[i] = new byte[random.nextInt(1, 4)];
                    random.nextBytes(tokens[i]);
                }
            }
            assertThat(offsets(tokens)).as(Arrays.deepToString(tokens)).containsExactlyElementsOf(expected(tokens));
        }
    }

    /** Characters of the whole text that end at or before the token's first byte. */
    private static List<Integer> expected(byte[][] tokens) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        List<Integer> starts = new ArrayList<>();
        for (byte[] token : tokens) {
            starts.add(all.size());
            all.writeBytes(token);
        }
        List<Integer> ends = ends(all.toByteArray());
        return starts.stream()
                .map(start -> (int) ends.stream().filter(end -> end <= start).count())
                .toList();
    }

    /** Where each character of the decoded text ends in the bytes, found by decoding ever longer prefixes. */
    private static List<Integer> ends(byte[] bytes) {
        List<Integer> ends = new ArrayList<>();
        int begin = 0;
        while (begin < bytes.length) {
            String text = new String(bytes, begin, bytes.length - begin, StandardCharsets.UTF_8);
            int first = text.codePointAt(0);
            int length = new String(Character.toChars(first)).getBytes(StandardCharsets.UTF_8).length;
            boolean whole = begin + length <= bytes.length
                    && new String(bytes, begin, length, StandardCharsets.UTF_8)
                            .equals(new String(Character.toChars(first)))
                    && (first != 0xFFFD
                            || (bytes[begin] == (byte) 0xEF && length == 3 && bytes[begin + 1] == (byte) 0xBF));
            if (!whole) {
                // U+FFFD for broken bytes: as many as change nothing in what follows when they are left out.
                length = 1;
                String rest = text.substring(1);
                while (!new String(bytes, begin + length, bytes.length - begin - length, StandardCharsets.UTF_8)
                        .equals(rest)) {
                    length++;
                }
            }
            begin += length;
            ends.add(begin);
        }
        return ends;
    }

    private static List<Integer> offsets(byte[]... tokens) {
        TextOffsets offsets = new TextOffsets();
        List<Integer> all = new ArrayList<>();
        for (byte[] token : tokens) {
            all.add(offsets.next(token));
        }
        return all;
    }

    private static byte[] bytes(int... values) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            bytes[i] = (byte) values[i];
        }
        return bytes;
    }
}
