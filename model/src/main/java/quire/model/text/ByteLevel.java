package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import quire.model.format.ByteStrings;
import quire.model.format.ModelFormatException;

/**
 * Byte-level BPE (Radford et al., 2019). A pre-tokenizer divides the text into words, each byte of a word is a symbol,
 * and neighbours merge in the order of the list in the file.
 *
 * <p>The vocabulary spells bytes as printable characters: {@code !} … {@code ~}, {@code ¡} … {@code ¬} and {@code ®} …
 * {@code ÿ} for themselves, and U+0100, U+0101 … for the other 68 bytes in their order. So a space is {@code Ġ}.
 */
final class ByteLevel implements TextCodec {
    /** There is no such token. Smaller numbers are symbols of characters without a token. */
    static final int NO_SYMBOL = -1;

    private static final int MAX_SPELLING_BYTES = 3 * Vocabulary.MAX_SPELLING;

    private static final char[] BYTE_TO_CHARACTER = new char[256];
    private static final int[] CHARACTER_TO_BYTE = new int[256 + 68];

    static {
        Arrays.fill(CHARACTER_TO_BYTE, -1);
        char next = 0x100;
        for (int b = 0; b < 256; b++) {
            boolean visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            BYTE_TO_CHARACTER[b] = visible ? (char) b : next++;
            CHARACTER_TO_BYTE[BYTE_TO_CHARACTER[b]] = b;
        }
    }

    private final Vocabulary vocabulary;
    private final PreTokenizer preTokenizer;
    private final int[] byteToSymbol = new int[256];
    /** Whether some token's spelling has characters that stand for no byte. It means the UTF-8 of its spelling. */
    private final boolean hasOtherSpellings;

    private final MergeTable merges;

    ByteLevel(Vocabulary vocabulary) {
        this.vocabulary = vocabulary.withoutMerges();
        preTokenizer = preTokenizer(vocabulary);
        for (int b = 0; b < 256; b++) {
            int token = vocabulary.findText(String.valueOf(BYTE_TO_CHARACTER[b]));
            // A user-defined token 'õ' is the letter, not the byte 0xF5, which byte-level spelling writes the same way.
            boolean isByte = token >= 0
                    && TextCodec.isText(vocabulary, token)
                    && ((b < 0x80 && b == BYTE_TO_CHARACTER[b])
                            || vocabulary.type(token) != Vocabulary.Type.USER_DEFINED);
            byteToSymbol[b] = isByte ? token : -1 - b;
        }
        boolean other = false;
        byte[] decoded = new byte[MAX_SPELLING_BYTES];
        for (int token = 0; token < vocabulary.size(); token++) {
            other |= preTokenizer.ignoreMerges() && isWord(token) && decode(token, decoded) < 0;
            if (vocabulary.type(token) == Vocabulary.Type.BYTE) {
                throw vocabulary.wrong(
                        "token_type",
                        "calls token " + token + " a byte token",
                        "a 'gpt2' vocabulary spells bytes otherwise; this mixture is not supported");
            }
        }
        hasOtherSpellings = other;
        merges = merges(vocabulary, vocabulary::findText);
    }

    private static PreTokenizer preTokenizer(Vocabulary vocabulary) {
        String name = vocabulary.pre().orElse("default");
        PreTokenizer preTokenizer = PreTokenizer.named(name);
        if (preTokenizer == null) {
            throw vocabulary.wrong(
                    "pre",
                    "names the unknown pre-tokenizer " + Vocabulary.quote(name),
                    "known are " + String.join(", ", PreTokenizer.names()));
        }
        return preTokenizer;
    }

    /** Whether a word of a text can be this token, without merges. */
    private boolean isWord(int token) {
        return TextCodec.isText(vocabulary, token) && vocabulary.type(token) != Vocabulary.Type.USER_DEFINED;
    }

    /** The token with the lowest id that has the bytes of a word, or -1. */
    private int word(byte[] word) {
        byte[] spelling = new byte[2 * word.length];
        int length = 0;
        for (byte b : word) {
            char c = BYTE_TO_CHARACTER[b & 0xFF];
            if (c < 0x80) {
                spelling[length++] = (byte) c;
            } else {
                spelling[length++] = (byte) (0xC0 | (c >> 6));
                spelling[length++] = (byte) (0x80 | (c & 0x3F));
            }
        }
        int token = vocabulary.find(spelling, length);
        while (token >= 0 && !isWord(token)) {
            token = vocabulary.next(token);
        }
        if (hasOtherSpellings) {
            int other = vocabulary.find(word, word.length);
            while (other >= 0 && !(isWord(other) && decode(other, new byte[MAX_SPELLING_BYTES]) < 0)) {
                other = vocabulary.next(other);
            }
            token = token < 0 || (other >= 0 && other < token) ? other : token;
        }
        return token;
    }

    /** Finds the symbol of a spelling. */
    @FunctionalInterface
    interface Symbols {
        /** The symbol of a spelling in UTF-8, or {@link #NO_SYMBOL}. */
        int find(byte[] bytes, int from, int to);
    }

    /** The merges of a vocabulary. */
    static MergeTable merges(Vocabulary vocabulary, Symbols symbols) {
        ByteStrings lines = vocabulary.merges();
        MergeTable table = new MergeTable(lines.size());
        byte[] joined = new byte[64];
        for (int rank = 0; rank < lines.size(); rank++) {
            byte[] bytes = lines.bytes();
            int from = lines.start(rank);
            int to = lines.end(rank);
            if (lines.textLength(rank) < 0) { // spelled with U+FFFD, as elsewhere
                bytes = lines.text(rank).getBytes(StandardCharsets.UTF_8);
                from = 0;
                to = bytes.length;
            }
            int space = space(bytes, from + 1, to);
            if (space >= to - 1 || space(bytes, space + 1, to) < to) {
                throw badMerge(vocabulary, rank, "is not two spellings with a space between");
            }
            int length = to - from - 1;
            joined = length > joined.length ? new byte[2 * length] : joined;
            System.arraycopy(bytes, from, joined, 0, space - from);
            System.arraycopy(bytes, space + 1, joined, space - from, to - space - 1);
            int left = symbols.find(bytes, from, space);
            int right = symbols.find(bytes, space + 1, to);
            int result = vocabulary.findText(joined, 0, length);
            if (left == NO_SYMBOL || right == NO_SYMBOL || result < 0) {
                String first = new String(bytes, from, space - from, StandardCharsets.UTF_8);
                String second = new String(bytes, space + 1, to - space - 1, StandardCharsets.UTF_8);
                String missing = left == NO_SYMBOL ? first : right == NO_SYMBOL ? second : first + second;
                throw badMerge(vocabulary, rank, "needs " + Vocabulary.quote(missing) + ", which is no token");
            }
            if (TextCodec.isText(vocabulary, result)) {
                table.put(left, right, rank, result);
            }
        }
        return table;
    }

    /** The position of the first space, or {@code to}. */
    private static int space(byte[] bytes, int from, int to) {
        int at = from;
        while (at < to && bytes[at] != ' ') {
            at++;
        }
        return at;
    }

    private static ModelFormatException badMerge(Vocabulary vocabulary, int rank, String fault) {
        return vocabulary.wrong(
                "merges",
                "has entry " + rank + ", "
                        + Vocabulary.quote(vocabulary.merges().text(rank)) + ", which " + fault,
                "convert the model again");
    }

    @Override
    public int encode(String original, IntList tokens, int most) {
        String text = preTokenizer.composes() ? Composition.compose(original) : original;
        // Each word becomes at least one token.
        IntList borders = preTokenizer.split(text, (int) Math.min(most + 1L - tokens.size(), Integer.MAX_VALUE - 1));
        int[] symbols = new int[64];
        for (int i = 1; i < borders.size(); i++) {
            if (tokens.size() > most) {
                return Math.min(borders.get(i - 1), original.length());
            }
            byte[] word = text.substring(borders.get(i - 1), borders.get(i)).getBytes(StandardCharsets.UTF_8);
            int whole = preTokenizer.ignoreMerges() ? word(word) : -1;
            if (whole >= 0) {
                tokens.add(whole);
                continue;
            }
            if (word.length > symbols.length) {
                symbols = new int[word.length];
            }
            for (int b = 0; b < word.length; b++) {
                symbols[b] = byteToSymbol[word[b] & 0xFF];
                if (symbols[b] < 0) {
                    throw new IllegalArgumentException(String.format(
                            "this model's vocabulary has no token for the byte 0x%02X, as in %s; leave it out",
                            word[b], Vocabulary.quote(new String(word, StandardCharsets.UTF_8))));
                }
            }
            int count = merges.merge(symbols, word.length);
            for (int s = 0; s < count; s++) {
                tokens.add(symbols[s]);
            }
        }
        int end = borders.get(borders.size() - 1);
        return end == text.length() ? original.length() : Math.min(end, original.length());
    }

    @Override
    public int mostCharactersPerByte() {
        return preTokenizer.composes() ? Composition.MOST_CHARACTERS : 1;
    }

    /** The bytes of a spelling. Characters that are not in the byte alphabet are encoded as UTF-8. */
    @Override
    public byte[] bytes(int token) {
        if (!vocabulary.isUtf8(token)) {
            return vocabulary.spellings().get(token);
        }
        byte[] spelling = vocabulary.spellings().bytes();
        int end = vocabulary.spellings().end(token);
        int characters = 0;
        for (int at = vocabulary.spellings().start(token); at < end; at++) {
            characters += (spelling[at] & 0xC0) == 0x80 ? 0 : 1;
        }
        byte[] bytes = new byte[characters];
        return decode(token, bytes) < 0 ? vocabulary.spellings().get(token) : bytes;
    }

    /** Writes the bytes for which a spelling stands. Returns how many; -1 if one of its characters stands for none. */
    private int decode(int token, byte[] bytes) {
        byte[] spelling = vocabulary.spellings().bytes();
        int end = vocabulary.spellings().end(token);
        int length = 0;
        for (int at = vocabulary.spellings().start(token); at < end; at++) {
            int c = spelling[at];
            if (c < 0) {
                // The alphabet has no character of three or more bytes.
                c = (c & 0xE0) == 0xC0 ? ((c & 0x1F) << 6) | (spelling[++at] & 0x3F) : CHARACTER_TO_BYTE.length;
            }
            int b = c < CHARACTER_TO_BYTE.length ? CHARACTER_TO_BYTE[c] : -1;
            if (b < 0) {
                return -1;
            }
            bytes[length++] = (byte) b;
        }
        return length;
    }

    @Override
    public boolean addsBos() {
        return preTokenizer.addBos();
    }

    @Override
    public boolean addsSpacePrefix() {
        return false;
    }

    @Override
    public int defaultId(String name) {
        return -1;
    }
}
