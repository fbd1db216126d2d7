package quire.model.text;

import java.nio.charset.StandardCharsets;
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
    private static final char SPACE = '▁';

    private final Vocabulary vocabulary;
    private final boolean spacePrefix;
    private final int[] basicToSymbol;
    private final Map<Integer, Integer> otherToSymbol = new HashMap<>();
    private final int[] byteToToken;
    private final int unknown;
    private final MergeTable merges;

    SentencePiece(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        if (!vocabulary.scored()) {
            throw vocabulary.wrong("scores", "is missing", "a 'llama' vocabulary needs them; convert the model again");
        }
        spacePrefix = vocabulary.adds("add_space_prefix").orElse(true);
        byteToToken = byteTokens(vocabulary);
        unknown = vocabulary.id("unknown") >= 0 ? vocabulary.id("unknown") : defaultId("unknown");
        basicToSymbol = IntStream.range(0, 0x10000).map(c -> -1 - c).toArray();
        Map<String, Integer> texts = HashMap.newHashMap(vocabulary.size());
        for (int token = 0; token < vocabulary.size(); token++) {
            if (TextCodec.isText(vocabulary, token) && !isByte(token)) {
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

    private static int[] byteTokens(Vocabulary vocabulary) {
        int[] tokens = new int[256];
        Arrays.fill(tokens, -1);
        for (int token = 0; token < vocabulary.size(); token++) {
            boolean byType = vocabulary.type(token) == Vocabulary.Type.BYTE;
            if (byType || !vocabulary.typed()) {
                int value = byteValue(vocabulary.spelling(token));
                if (value >= 0 && tokens[value] < 0) {
                    tokens[value] = token;
                } else if (value < 0 && byType) {
                    throw vocabulary.wrong(
                            "tokens",
                            "spells byte token " + token + " as " + Vocabulary.quote(vocabulary.spelling(token)),
                            "byte tokens read <0x00> to <0xFF>");
                }
            }
        }
        return tokens;
    }

    /** The value of a byte token {@code <0xXX>}, or -1 for another spelling. */
    private static int byteValue(String spelling) {
        if (spelling.length() != 6 || !spelling.startsWith("<0x") || spelling.charAt(5) != '>') {
            return -1;
        }
        int high = Character.digit(spelling.charAt(3), 16);
        int low = Character.digit(spelling.charAt(4), 16);
        return high < 0 || low < 0 ? -1 : (high << 4) | low;
    }

    private boolean isByte(int token) {
        boolean mayBe = vocabulary.type(token) == Vocabulary.Type.BYTE || !vocabulary.typed();
        return mayBe && byteValue(vocabulary.spelling(token)) >= 0;
    }

    @Override
    public int encode(String text, IntList tokens, int most) {
        // The whole text is merged at once, so no token is certain before the end.
        String escaped = (spacePrefix ? " " + text : text).replace(' ', SPACE);
        int[] symbols = new int[escaped.length()];
        int count = 0;
        for (int i = 0, c; i < escaped.length(); i += Character.charCount(c)) {
            c = escaped.codePointAt(i);
            symbols[count++] = symbol(c);
        }
        count = merges.merge(symbols, count);
        boolean afterUnknown = false;
        for (int i = 0; i < count; i++) {
            boolean isUnknown = symbols[i] < 0 && !fallBack(-1 - symbols[i], tokens);
            if (isUnknown && unknown < 0) {
                throw new IllegalArgumentException("this model's vocabulary cannot spell the character "
                        + Vocabulary.quote(Character.toString(-1 - symbols[i])) + "; leave it out");
            }
            if (isUnknown && !afterUnknown) {
                tokens.add(unknown);
            } else if (symbols[i] >= 0) {
                tokens.add(symbols[i]);
            }
            afterUnknown = isUnknown;
        }
        return text.length();
    }

    /** Unknown characters in a row become one token, unless their bytes have tokens. */
    @Override
    public boolean keepsAllText() {
        return unknown < 0 || Arrays.stream(byteToToken).allMatch(token -> token >= 0);
    }

    /** Adds the tokens of the bytes of a character; returns false and adds nothing if one of them does not exist. */
    private boolean fallBack(int character, IntList tokens) {
        byte[] utf8 = Character.toString(character).getBytes(StandardCharsets.UTF_8);
        for (byte b : utf8) {
            if (byteToToken[b & 0xFF] < 0) {
                return false;
            }
        }
        for (byte b : utf8) {
            tokens.add(byteToToken[b & 0xFF]);
        }
        return true;
    }

    @Override
    public byte[] bytes(int token) {
        String spelling = vocabulary.spelling(token);
        if (isByte(token)) {
            return new byte[] {(byte) byteValue(spelling)};
        }
        if (vocabulary.isUtf8(token)) {
            return spelling.replace(SPACE, ' ').getBytes(StandardCharsets.UTF_8);
        }
        // In Latin-1 each byte is one character, and U+2581 is the three characters of its UTF-8.
        String bytes = new String(vocabulary.spellingBytes(token), StandardCharsets.ISO_8859_1);
        return bytes.replace("\u00E2\u0096\u0081", " ").getBytes(StandardCharsets.ISO_8859_1);
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
