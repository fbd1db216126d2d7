package quire.model.text;

import java.util.Arrays;
import java.util.stream.IntStream;
import quire.model.format.ByteStrings;

/**
 * The BPE of SentencePiece. Spaces become U+2581 ▁ and each character is a symbol. Two neighbours merge if their joint
 * spelling is a token; the token with the highest score first, and the leftmost one of equal scores. A character
 * without a token becomes the tokens of its bytes, {@code <0x00>} … {@code <0xFF>}, or the unknown token if the
 * vocabulary has no such tokens.
 *
 * <p>Scores are not distinct: vocabularies that were extended for another language give the same score to thousands of
 * tokens. A list of ranked pairs, which other libraries use, cannot express "leftmost" in that case; {@link MergeTable}
 * can.
 */
final class SentencePiece implements TextCodec {
    /** Below the symbols of all characters. */
    private static final int NO_SYMBOL = Integer.MIN_VALUE;

    private final Vocabulary vocabulary;
    private final boolean spacePrefix;
    private final CharacterSymbols characters;
    private final ByteTokens byteTokens;
    private final int unknown;
    private final MergeTable merges;

    SentencePiece(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        if (!vocabulary.scored()) {
            throw vocabulary.wrong("scores", "is missing", "a 'llama' vocabulary needs them; convert the model again");
        }
        spacePrefix = vocabulary.flag("add_space_prefix").orElse(true);
        byteTokens = new ByteTokens(vocabulary);
        unknown = vocabulary.id("unknown") >= 0 ? vocabulary.id("unknown") : defaultId("unknown");
        characters = new CharacterSymbols(vocabulary, byteTokens);
        merges = merges();
    }

    /** Whether text becomes this token: of tokens with the same spelling, the lowest id. */
    private boolean isSymbol(int token) {
        ByteStrings spellings = vocabulary.spellings();
        return TextCodec.isText(vocabulary, token)
                && !byteTokens.contains(token)
                && vocabulary.findText(spellings.bytes(), spellings.start(token), spellings.end(token)) == token;
    }

    /**
     * Each way to divide a token into two symbols is a pair. The rank of a pair is the number of distinct scores above
     * its score.
     */
    private MergeTable merges() {
        int[] tokens =
                IntStream.range(0, vocabulary.size()).filter(this::isSymbol).toArray();
        float[] scores = new float[tokens.length];
        for (int i = 0; i < scores.length; i++) {
            scores[i] = -vocabulary.score(tokens[i]) + 0.0f; // + 0 makes 0.0 of -0.0
        }
        Arrays.sort(scores);
        MergeTable table = new MergeTable(2 * scores.length);
        byte[] bytes = vocabulary.spellings().bytes();
        for (int token : tokens) {
            int from = vocabulary.spellings().start(token);
            int to = vocabulary.spellings().end(token);
            int rank = lowerBound(scores, -vocabulary.score(token) + 0.0f);
            for (int cut = from + 1; cut < to; cut++) {
                if ((bytes[cut] & 0xC0) == 0x80) {
                    continue; // in a character
                }
                int left = symbol(bytes, from, cut);
                int right = left == NO_SYMBOL ? NO_SYMBOL : symbol(bytes, cut, to);
                if (right != NO_SYMBOL) {
                    table.put(left, right, rank, token);
                }
            }
        }
        table.trim();
        return table;
    }

    /** The symbol of a text, or {@link #NO_SYMBOL} if it is more than one character and no token. */
    private int symbol(byte[] bytes, int from, int to) {
        int symbol = characters.symbol(bytes, from, to, NO_SYMBOL);
        if (symbol != NO_SYMBOL) {
            return symbol;
        }
        int token = vocabulary.findText(bytes, from, to);
        return token >= 0 && TextCodec.isText(vocabulary, token) && !byteTokens.contains(token) ? token : NO_SYMBOL;
    }

    private static int lowerBound(float[] sorted, float value) {
        int low = 0;
        int high = sorted.length;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (sorted[middle] < value) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    @Override
    public int encode(String text, IntList tokens, int most) {
        // The whole text is merged at once, so no token is certain before the end.
        String escaped = (spacePrefix ? " " + text : text).replace(' ', ByteTokens.SPACE);
        int[] symbols = new int[escaped.length()];
        int count = 0;
        for (int i = 0, c; i < escaped.length(); i += Character.charCount(c)) {
            c = escaped.codePointAt(i);
            symbols[count++] = characters.symbol(c);
        }
        byteTokens.addSymbols(symbols, merges.merge(symbols, count), unknown, tokens);
        return text.length();
    }

    /** Unknown characters in a row become one token, unless their bytes have tokens. */
    @Override
    public int mostCharactersPerByte() {
        return unknown < 0 || byteTokens.complete() ? 1 : UNLIMITED;
    }

    @Override
    public byte[] bytes(int token) {
        return byteTokens.bytes(token);
    }

    @Override
    public boolean addsBos() {
        return true;
    }

    @Override
    public boolean addsSpacePrefix() {
        return spacePrefix;
    }

    @Override
    public int defaultId(String name) {
        int id =
                switch (name) {
                    case "unknown" -> 0;
                    case "bos" -> 1;
                    case "eos" -> 2;
                    default -> vocabulary.size();
                };
        Vocabulary.Type wanted = name.equals("unknown") ? Vocabulary.Type.UNKNOWN : Vocabulary.Type.CONTROL;
        return id < vocabulary.size() && vocabulary.type(id) == wanted ? id : -1;
    }
}
