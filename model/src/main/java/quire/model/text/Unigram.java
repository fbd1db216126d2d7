package quire.model.text;

import java.util.Arrays;

/**
 * The unigram model of SentencePiece (Kudo, 2018), as T5 has it. Text is first rewritten with the table in the file ({@link
 * CharacterMap}), and spaces become U+2581 ▁. Of all ways to divide it into tokens, the one with the highest sum of scores
 * counts. A character that no token spells alone may also be the unknown token, with a score 10 below the lowest one.
 *
 * <p>The search goes through the text once and keeps, for each position, the best way to reach it. A trie finds the tokens
 * that begin at a position.
 */
final class Unigram implements TextCodec {
    private static final double UNKNOWN_PENALTY = 10;

    private final Vocabulary vocabulary;
    private final ByteTokens byteTokens;
    private final CharacterMap characters;
    private final boolean spacePrefix;
    private final boolean mergeSpaces;
    private final int unknown;
    private final double unknownScore;

    /** Nodes of the trie: (node, UTF-16 unit) → the next node. */
    private final PairTable children = new PairTable(1 << 12);

    private int[] nodeToToken = new int[1 << 12];
    private int nodes = 1;

    Unigram(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        if (!vocabulary.scored()) {
            throw vocabulary.wrong("scores", "is missing", "a 't5' vocabulary needs them; convert the model again");
        }
        byteTokens = new ByteTokens(vocabulary);
        characters = new CharacterMap(vocabulary);
        spacePrefix = vocabulary.flag("add_space_prefix").orElse(false);
        mergeSpaces = vocabulary.flag("remove_extra_whitespaces").orElse(false);
        unknown = vocabulary.id("unknown") >= 0 ? vocabulary.id("unknown") : defaultId("unknown");
        if (unknown < 0) {
            throw vocabulary.wrong(
                    "unknown_token_id", "is missing", "a 't5' vocabulary needs it; convert the model again");
        }
        nodeToToken[0] = -1;
        float least = 0;
        for (int token = 0; token < vocabulary.size(); token++) {
            if (TextCodec.isText(vocabulary, token) && !byteTokens.contains(token)) {
                insert(vocabulary.spelling(token), token);
                if (vocabulary.type(token) == Vocabulary.Type.NORMAL) {
                    least = Math.min(least, vocabulary.score(token));
                }
            }
        }
        children.trim();
        unknownScore = least - UNKNOWN_PENALTY;
    }

    private void insert(String spelling, int token) {
        int node = 0;
        for (int i = 0; i < spelling.length(); i++) {
            long next = children.get(node, spelling.charAt(i));
            if (next == PairTable.NONE) {
                if (nodes == nodeToToken.length) {
                    nodeToToken = Arrays.copyOf(nodeToToken, 2 * nodes);
                }
                nodeToToken[nodes] = -1;
                next = nodes++;
                children.put(node, spelling.charAt(i), next);
            }
            node = (int) next;
        }
        if (nodeToToken[node] < 0) {
            nodeToToken[node] = token; // of equal spellings the lowest id counts
        }
    }

    @Override
    public int encode(String text, IntList tokens, int most) {
        String normal = normalize(text);
        int length = normal.length();
        double[] best = new double[length + 1];
        Arrays.fill(best, 1, length + 1, Double.NEGATIVE_INFINITY);
        int[] from = new int[length + 1];
        int[] chosen = new int[length + 1];
        for (int start = 0, width; start < length; start += width) {
            width = Character.charCount(normal.codePointAt(start));
            boolean spelledAlone = false;
            int node = 0;
            for (int end = start; end < length; ) {
                long next = children.get(node, normal.charAt(end++));
                if (next == PairTable.NONE) {
                    break;
                }
                node = (int) next;
                int token = nodeToToken[node];
                if (token >= 0) {
                    spelledAlone |= end - start == width;
                    double score = vocabulary.type(token) == Vocabulary.Type.USER_DEFINED ? 0 : vocabulary.score(token);
                    offer(best, from, chosen, start, end, token, score);
                }
            }
            if (!spelledAlone) {
                offer(best, from, chosen, start, start + width, unknown, unknownScore);
            }
        }
        int[] reversed = new int[length];
        int count = 0;
        for (int end = length; end > 0; end = from[end]) {
            if (chosen[end] != unknown || count == 0 || reversed[count - 1] != unknown) {
                reversed[count++] = chosen[end];
            }
        }
        while (count > 0) {
            tokens.add(reversed[--count]);
        }
        return text.length();
    }

    private static void offer(double[] best, int[] from, int[] chosen, int start, int end, int token, double score) {
        double sum = best[start] + score;
        if (sum > best[end]) {
            best[end] = sum;
            from[end] = start;
            chosen[end] = token;
        }
    }

    private String normalize(String text) {
        String mapped = characters.map(text);
        StringBuilder normal = new StringBuilder(mapped.length() + 1);
        boolean inWord = false;
        boolean prefixed = false;
        for (int i = 0; i < mapped.length(); i++) {
            char c = mapped.charAt(i);
            if (c == ' ') {
                inWord = false;
                if (!mergeSpaces) {
                    normal.append(ByteTokens.SPACE);
                }
                continue;
            }
            if (!inWord && (mergeSpaces || (spacePrefix && !prefixed))) {
                normal.append(ByteTokens.SPACE);
                prefixed = true;
            }
            inWord = true;
            normal.append(c);
        }
        return normal.toString();
    }

    @Override
    public byte[] bytes(int token) {
        return byteTokens.bytes(token);
    }

    @Override
    public int mostCharactersPerByte() {
        return UNLIMITED;
    }

    @Override
    public boolean addsBos() {
        return false;
    }

    @Override
    public boolean addsEnd() {
        return true;
    }

    @Override
    public boolean addsSpacePrefix() {
        return spacePrefix || mergeSpaces;
    }

    @Override
    public int defaultId(String name) {
        int id =
                switch (name) {
                    case "eos" -> 1;
                    case "unknown" -> 2;
                    default -> vocabulary.size();
                };
        Vocabulary.Type wanted = name.equals("unknown") ? Vocabulary.Type.UNKNOWN : Vocabulary.Type.CONTROL;
        return id < vocabulary.size() && vocabulary.type(id) == wanted ? id : -1;
    }
}
