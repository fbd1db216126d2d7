package quire.model.text;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

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
    private final Vocabulary vocabulary;
    private final boolean spacePrefix;
    private final int[] basicToSymbol;
    private final Map<Integer, Integer> otherToSymbol = new HashMap<>();
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
        basicToSymbol = IntStream.range(0, 0x10000).map(c -> -1 - c).toArray();
        Map<String, Integer> texts = HashMap.newHashMap(vocabulary.size());
        for (int token = 0; token < vocabulary.size(); token++) {
            if (TextCodec.isText(vocabulary, token) && !byteTokens.contains(token)) {
                String spelling = vocabulary.spelling(token);
                if (texts.putIfAbsent(spelling, token) != null) {
                    continue; // text becomes the token with the lowest id
                }
                int first = spelling.codePointAt(0);
                if (spelling.length() == Character.charCount(first)) {
                    if (first < 0x10000) {
                        basicToSymbol[first] = token;
                    } else {
                        otherToSymbol.put(first, token);
                    }
                }
            }
        }
        merges = merges(texts);
    }

    /**
     * Each way to divide a token into two symbols is a pair. The rank of a pair is the number of distinct scores above
     * its score.
     */
    private MergeTable merges(Map<String, Integer> texts) {
        float[] scores = new float[texts.size()];
        int count = 0;
        for (Map.Entry<String, Integer> text : texts.entrySet()) {
            scores[count++] = -vocabulary.score(text.getValue()) + 0.0f; // + 0 makes 0.0 of -0.0
        }
        Arrays.sort(scores);
        MergeTable table = new MergeTable(2 * count);
        for (Map.Entry<String, Integer> text : texts.entrySet()) {
            String spelling = text.getKey();
            int token = text.getValue();
            int rank = lowerBound(scores, -vocabulary.score(token) + 0.0f);
            for (int cut = 1; cut < spelling.length(); cut++) {
                if (Character.isLowSurrogate(spelling.charAt(cut))) {
                    continue;
                }
                Integer left = symbol(texts, spelling.substring(0, cut));
                Integer right = left == null ? null : symbol(texts, spelling.substring(cut));
                if (left != null && right != null) {
                    table.put(left, right, rank, token);
                }
            }
        }
        return table;
    }

    private @Nullable Integer symbol(Map<String, Integer> texts, String text) {
        int first = text.codePointAt(0);
        return text.length() == Character.charCount(first) ? Integer.valueOf(symbol(first)) : texts.get(text);
    }

    /** The token of a character, or -1 - character. */
    private int symbol(int character) {
        return character < 0x10000 ? basicToSymbol[character] : otherToSymbol.getOrDefault(character, -1 - character);
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
            symbols[count++] = symbol(c);
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
