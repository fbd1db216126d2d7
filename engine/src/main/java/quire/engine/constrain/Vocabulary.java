package quire.engine.constrain;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.stream.IntStream;
import quire.model.text.Tokenizer;

/**
 * The bytes of all tokens as a tree, in depth-first order. Immutable.
 *
 * <p>A control token has the byte 0xFF, its spelling, and 0xFF again. UTF-8 has no such byte, so text never is a control
 * token: {@code [A]} as text has three bytes and the control token {@code [A]} five. Tokens of text with that byte, those
 * without bytes and those that end an answer are not in the tree.
 *
 * <pre>
 *   node     0    1    2    3    4          tokens "a" "ab" "ac" "b"
 *   byte     a    b    c    b
 *   depth    1    2    2    1
 *   end      3    2    3    4               the nodes below a node are those between it and its end
 * </pre>
 */
final class Vocabulary {
    private static final int NO_TOKEN = -1;

    private static final byte[] NO_BYTES = {};

    private final int size;
    private final int[] endTokens;
    private final int[] offsets; // of a token's bytes
    private final byte[] bytes;

    private int nodes;
    private byte[] nodeBytes = new byte[1024];
    private short[] depths = new short[1024];
    private int[] ends = new int[1024];
    private int[] tokens = new int[1024];
    private final int[] sameBytes; // by token: the next token with the same bytes
    private int maxDepth;

    Vocabulary(Tokenizer tokenizer) {
        size = tokenizer.vocabularySize();
        endTokens =
                IntStream.range(0, size).filter(tokenizer::isEndOfGeneration).toArray();
        byte[][] texts = new byte[size][];
        offsets = new int[size + 1];
        for (int token = 0; token < size; token++) {
            byte[] text = tokenizer.isEndOfGeneration(token)
                    ? NO_BYTES
                    : tokenizer.isControl(token) ? control(tokenizer.spelling(token)) : text(tokenizer.bytes(token));
            texts[token] = text.length > Short.MAX_VALUE ? NO_BYTES : text;
            offsets[token + 1] = offsets[token] + texts[token].length;
        }
        bytes = new byte[offsets[size]];
        for (int token = 0; token < size; token++) {
            System.arraycopy(texts[token], 0, bytes, offsets[token], texts[token].length);
        }
        sameBytes = new int[size];
        Arrays.fill(sameBytes, NO_TOKEN);
        Integer[] sorted = IntStream.range(0, size)
                .filter(token -> texts[token].length > 0)
                .boxed()
                .toArray(Integer[]::new);
        Comparator<Integer> order = (a, b) -> Arrays.compareUnsigned(texts[a], texts[b]);
        Arrays.sort(sorted, order.thenComparing(Comparator.naturalOrder()));
        build(sorted, texts);
    }

    private static byte[] control(String spelling) {
        return spelling.isEmpty() ? NO_BYTES : Part.bytes(Part.control(spelling));
    }

    private static byte[] text(byte[] bytes) {
        for (byte b : bytes) {
            if (b == Part.CONTROL_BYTE) {
                return NO_BYTES;
            }
        }
        return bytes;
    }

    private void build(Integer[] sorted, byte[][] texts) {
        int[] path = new int[Short.MAX_VALUE + 1]; // the node at each depth
        byte[] last = {};
        for (int token : sorted) {
            byte[] text = texts[token];
            int common = Arrays.mismatch(last, text);
            if (common < 0) {
                int first = tokens[path[text.length]];
                sameBytes[token] = sameBytes[first];
                sameBytes[first] = token;
                continue;
            }
            for (int depth = last.length; depth > common; depth--) {
                ends[path[depth]] = nodes;
            }
            for (int depth = common + 1; depth <= text.length; depth++) {
                path[depth] = addNode(text[depth - 1], depth);
            }
            tokens[path[text.length]] = token;
            last = text;
        }
        for (int depth = last.length; depth > 0; depth--) {
            ends[path[depth]] = nodes;
        }
    }

    private int addNode(byte b, int depth) {
        if (nodes == nodeBytes.length) {
            nodeBytes = Arrays.copyOf(nodeBytes, 2 * nodes);
            depths = Arrays.copyOf(depths, 2 * nodes);
            ends = Arrays.copyOf(ends, 2 * nodes);
            tokens = Arrays.copyOf(tokens, 2 * nodes);
        }
        nodeBytes[nodes] = b;
        depths[nodes] = (short) depth;
        tokens[nodes] = NO_TOKEN;
        maxDepth = Math.max(maxDepth, depth);
        return nodes++;
    }

    /** Number of token ids. */
    int size() {
        return size;
    }

    /** The tokens that end an answer. */
    int[] endTokens() {
        return endTokens;
    }

    /** Number of nodes of the tree. */
    int nodes() {
        return nodes;
    }

    /** The most bytes of a token. */
    int maxDepth() {
        return maxDepth;
    }

    byte nodeByte(int node) {
        return nodeBytes[node];
    }

    /** Number of bytes from the root to a node; at least 1. */
    int depth(int node) {
        return depths[node];
    }

    /** The first node after those below a node. */
    int end(int node) {
        return ends[node];
    }

    /** Adds the tokens whose bytes end at a node. */
    void addTokens(int node, long[] bits) {
        for (int token = tokens[node]; token >= 0; token = sameBytes[token]) {
            bits[token >> 6] |= 1L << token;
        }
    }

    /** Removes the tokens whose bytes end at a node. */
    void removeTokens(int node, long[] bits) {
        for (int token = tokens[node]; token >= 0; token = sameBytes[token]) {
            bits[token >> 6] &= ~(1L << token);
        }
    }

    /** A token whose bytes end at a node; −1 if there is none. */
    int token(int node) {
        return tokens[node];
    }

    /** The tokens whose bytes are a beginning of a text, in ascending order. */
    int[] beginnings(byte[] text, int start) {
        long[] bits = new long[(size + Long.SIZE - 1) / Long.SIZE];
        int from = 0;
        int to = nodes;
        for (int i = start; i < text.length; i++) {
            int node = from;
            while (node < to && nodeBytes[node] != text[i]) {
                node = ends[node];
            }
            if (node >= to) {
                break;
            }
            addTokens(node, bits);
            from = node + 1;
            to = ends[node];
        }
        return BitSet.valueOf(bits).stream().toArray();
    }

    /** Where a token's bytes begin in {@link #bytes}; they end where the next token's begin. */
    int offset(int token) {
        return offsets[token];
    }

    /** The bytes of all tokens. */
    byte[] bytes() {
        return bytes;
    }
}
