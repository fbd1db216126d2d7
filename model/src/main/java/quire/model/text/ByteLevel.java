package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToIntFunction;
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
    private final Map<String, Integer> wordToToken;
    private final MergeTable merges;

    ByteLevel(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
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
        for (int token = 0; token < vocabulary.size(); token++) {
            if (vocabulary.type(token) == Vocabulary.Type.BYTE) {
                throw vocabulary.wrong(
                        "token_type",
                        "calls token " + token + " a byte token",
                        "a 'gpt2' vocabulary spells bytes otherwise; this mixture is not supported");
            }
        }
        wordToToken = preTokenizer.ignoreMerges() ? words(vocabulary) : Map.of();
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

    /** Tokens by their bytes; each byte is a Latin-1 character of the key. */
    private static Map<String, Integer> words(Vocabulary vocabulary) {
        Map<String, Integer> words = HashMap.newHashMap(vocabulary.size());
        for (int token = 0; token < vocabulary.size(); token++) {
            if (TextCodec.isText(vocabulary, token) && vocabulary.type(token) != Vocabulary.Type.USER_DEFINED) {
                words.putIfAbsent(new String(bytes(vocabulary.spelling(token)), StandardCharsets.ISO_8859_1), token);
            }
        }
        return words;
    }

    /**
     * The merges of a vocabulary.
     *
     * @param symbols the symbol of a spelling, or {@link #NO_SYMBOL}
     */
    static MergeTable merges(Vocabulary vocabulary, ToIntFunction<String> symbols) {
        List<String> lines = vocabulary.merges();
        MergeTable table = new MergeTable(lines.size());
        for (int rank = 0; rank < lines.size(); rank++) {
            String line = lines.get(rank);
            int space = line.indexOf(' ', 1);
            if (space < 0 || space == line.length() - 1 || line.indexOf(' ', space + 1) >= 0) {
                throw badMerge(vocabulary, rank, "is not two spellings with a space between");
            }
            String first = line.substring(0, space);
            String second = line.substring(space + 1);
            int left = symbols.applyAsInt(first);
            int right = symbols.applyAsInt(second);
            int result = vocabulary.findText(first + second);
            if (left == NO_SYMBOL || right == NO_SYMBOL || result < 0) {
                String missing = left == NO_SYMBOL ? first : right == NO_SYMBOL ? second : first + second;
                throw badMerge(vocabulary, rank, "needs " + Vocabulary.quote(missing) + ", which is no token");
            }
            if (TextCodec.isText(vocabulary, result)) {
                table.put(left, right, rank, result);
            }
        }
        return table;
    }

    private static ModelFormatException badMerge(Vocabulary vocabulary, int rank, String fault) {
        return vocabulary.wrong(
                "merges",
                "has entry " + rank + ", "
                        + Vocabulary.quote(vocabulary.merges().get(rank)) + ", which " + fault,
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
            Integer whole =
                    wordToToken.isEmpty() ? null : wordToToken.get(new String(word, StandardCharsets.ISO_8859_1));
            if (whole != null) {
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

    @Override
    public byte[] bytes(int token) {
        return vocabulary.isUtf8(token) ? bytes(vocabulary.spelling(token)) : vocabulary.spellingBytes(token);
    }

    /** The bytes of a spelling. Characters that are not in the byte alphabet are encoded as UTF-8. */
    private static byte[] bytes(String spelling) {
        byte[] bytes = new byte[spelling.length()];
        for (int i = 0; i < bytes.length; i++) {
            char c = spelling.charAt(i);
            int b = c < CHARACTER_TO_BYTE.length ? CHARACTER_TO_BYTE[c] : -1;
            if (b < 0) {
                return spelling.getBytes(StandardCharsets.UTF_8);
            }
            bytes[i] = (byte) b;
        }
        return bytes;
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
