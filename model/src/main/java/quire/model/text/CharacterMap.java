package quire.model.text;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/**
 * The table {@code precompiled_charsmap} of a SentencePiece model, which rewrites text before it becomes tokens: full-width
 * letters become plain ones, line breaks become spaces, and so on. At each position the longest entry counts.
 *
 * <pre>
 *   size of the trie in bytes (4) │ the trie, units of 4 bytes │ replacements, each ended by a zero byte
 * </pre>
 *
 * <p>The trie is a double array (Kanda, 2018). A unit has the byte that leads to it (bits 0 to 7), whether a value follows
 * (bit 8), and the distance to its children (bits 10 to 30, times 256 if bit 9 is set); a unit with bit 31 is a value: where
 * the replacement begins.
 */
final class CharacterMap {
    private static final int VALUE_BIT = 1 << 31;

    private final byte[] table;
    private final int units;
    private final int replacements;

    /** @throws quire.model.format.ModelFormatException if the table is shorter than it says */
    CharacterMap(Vocabulary vocabulary) {
        table = vocabulary.characterMap();
        long bytes = table.length < Integer.BYTES ? 0 : number(0) & 0xFFFF_FFFFL;
        if (table.length > 0 && (table.length < Integer.BYTES || bytes >= table.length - Integer.BYTES)) {
            throw vocabulary.wrong(
                    "precompiled_charsmap",
                    "has " + table.length + " bytes, but its trie alone is said to have " + bytes,
                    "the file is damaged; download it again");
        }
        units = (int) bytes / Integer.BYTES;
        replacements = Integer.BYTES + (int) bytes;
    }

    private int number(int at) {
        return (table[at] & 0xFF)
                | (table[at + 1] & 0xFF) << 8
                | (table[at + 2] & 0xFF) << 16
                | (table[at + 3] & 0xFF) << 24;
    }

    /** A unit of the trie; 0 outside of it, which is no child of any unit. */
    private int unit(int index) {
        return index >= 0 && index < units ? number(Integer.BYTES + index * Integer.BYTES) : 0;
    }

    private static int children(int unit) {
        return (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
    }

    /** Rewrites a text. */
    String map(String text) {
        if (units == 0) {
            return text;
        }
        byte[] from = text.getBytes(StandardCharsets.UTF_8);
        ByteArrayOutputStream to = new ByteArrayOutputStream(from.length + 16);
        for (int at = 0; at < from.length; ) {
            int index = children(unit(0));
            int length = 0;
            int value = 0;
            for (int end = at; end < from.length && from[end] != 0; ) {
                int b = from[end++] & 0xFF;
                index ^= b;
                int unit = unit(index);
                if ((unit & (VALUE_BIT | 0xFF)) != b) {
                    break;
                }
                index ^= children(unit);
                if ((unit & (1 << 8)) != 0) {
                    length = end - at;
                    value = unit(index) & ~VALUE_BIT;
                }
            }
            if (length > 0) {
                for (int i = replacements + value; i >= replacements && i < table.length && table[i] != 0; i++) {
                    to.write(table[i]);
                }
            } else {
                length = Math.min(characterBytes(from[at]), from.length - at);
                to.write(from, at, length);
            }
            at += length;
        }
        return to.toString(StandardCharsets.UTF_8);
    }

    private static int characterBytes(byte first) {
        int b = first & 0xFF;
        return b >= 0xF0 ? 4 : b >= 0xE0 ? 3 : b >= 0xC0 ? 2 : 1;
    }
}
