package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * SentencePiece's BPE: spaces become U+2581 ▁, every character is a symbol, and neighbours merge whose joint spelling is a
 * token, highest score first, leftmost of equals. What has no token then falls back to its bytes' tokens
 * {@code <0x00>} … {@code <0xFF>}, or to the unknown token in a vocabulary without them.
 *
 * <p>Scores are not distinct: vocabularies that were extended with another language's tokens carry one score thousands of
 * times. A list of ranked pairs, as other libraries want it, cannot say "leftmost" there; {@link MergeTable} can.
 */
final class SentencePiece implements Pieces {
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
            if (Pieces.isText(vocabulary, token) && !isByte(token)) {
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

    /** Every way to cut a token in two symbols is a pair that makes it; its rank counts the distinct scores above it. */
    private MergeTable merges(Map<String, Integer> texts) {
        float[] scores = new float[texts.size()];
        int count = 0;
        for (Map.Entry<String, Integer> text : texts.entrySet()) {
            scores[count++] = -vocabulary.score(text.getValue()) + 0.0f; // + 0 makes one zero of two
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

    /** A character's token, or -1 - character. */
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

    /** The byte that {@code <0xXX>} spells, or -1. */
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
    public void encode(String text, Ints tokens) {
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
    }

    /** Adds the tokens of a character's bytes, or nothing if one is missing. */
    private boolean fallBack(int character, Ints tokens) {
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
        // As Latin-1 every byte is a character, and U+2581 is the three of its UTF-8.
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
