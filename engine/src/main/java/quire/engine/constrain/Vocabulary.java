package quire.engine.constrain;

import java.util.Arrays;
import java.util.BitSet;
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

    /** Bytes in a key of {@link #sort}. */
    private static final int KEY_BYTES = 3;

    private static final int KEY_COUNT_BITS = 7;

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
        offsets = new int[size + 1];
        byte[] all = new byte[8 * size];
        for (int token = 0; token < size; token++) {
            byte[] text = tokenizer.isEndOfGeneration(token)
                    ? NO_BYTES
                    : tokenizer.isControl(token) ? control(tokenizer.spelling(token)) : text(tokenizer.bytes(token));
            int length = text.length > Short.MAX_VALUE ? 0 : text.length;
            int offset = offsets[token];
            if (length > all.length - offset) {
                all = Arrays.copyOf(all, Math.addExact(offset, offset / 2 + length));
            }
            System.arraycopy(text, 0, all, offset, length);
            offsets[token + 1] = offset + length;
        }
        bytes = Arrays.copyOf(all, offsets[size]);
        sameBytes = new int[size];
        Arrays.fill(sameBytes, NO_TOKEN);
        build(sorted());
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

    /** The tokens that have bytes, in the order of their bytes; tokens with the same bytes by id. */
    private int[] sorted() {
        long[] keys = new long[size];
        int count = 0;
        for (int token = 0; token < size; token++) {
            if (offsets[token + 1] > offsets[token]) {
                keys[count++] = token;
            }
        }
        sort(keys, 0, count, 0);
        int[] sorted = new int[count];
        for (int i = 0; i < count; i++) {
            sorted[i] = (int) keys[i];
        }
        return sorted;
    }

    /**
     * Sorts tokens that have the same first {@code depth} bytes. A key has the next three bytes, how many of them there are,
     * and the token. Numbers are sorted faster than objects, and without memory for them.
     *
     * <pre>
     *   0 │ 3 bytes, 0 behind the last one │ their number (7 bits) │ token (32 bits)
     * </pre>
     */
    private void sort(long[] keys, int from, int to, int depth) {
        for (int i = from; i < to; i++) {
            int token = (int) keys[i];
            int at = offsets[token] + depth;
            int left = Math.min(KEY_BYTES, offsets[token + 1] - at);
            long key = 0;
            for (int b = 0; b < KEY_BYTES; b++) {
                key = (key << Byte.SIZE) | (b < left ? bytes[at + b] & 0xFF : 0);
            }
            keys[i] = (((key << KEY_COUNT_BITS) | left) << Integer.SIZE) | token;
        }
        Arrays.sort(keys, from, to);
        for (int begin = from, end; begin < to; begin = end) {
            end = begin + 1;
            while (end < to && keys[end] >>> Integer.SIZE == keys[begin] >>> Integer.SIZE) {
                end++;
            }
            boolean ended = ((keys[begin] >>> Integer.SIZE) & ((1 << KEY_COUNT_BITS) - 1)) < KEY_BYTES;
            if (end - begin > 1 && !ended) {
                sort(keys, begin, end, depth + KEY_BYTES);
            }
        }
    }

    private void build(int[] sorted) {
        int[] path = new int[Short.MAX_VALUE + 1]; // the node at each depth
        int last = 0; // where the bytes of the token before begin, and how many there are
        int lastLength = 0;
        for (int token : sorted) {
            int from = offsets[token];
            int length = offsets[token + 1] - from;
            int common = Arrays.mismatch(bytes, last, last + lastLength, bytes, from, from + length);
            if (common < 0) {
                int first = tokens[path[length]];
                sameBytes[token] = sameBytes[first];
                sameBytes[first] = token;
                continue;
            }
            for (int depth = lastLength; depth > common; depth--) {
                ends[path[depth]] = nodes;
            }
            for (int depth = common + 1; depth <= length; depth++) {
                path[depth] = addNode(bytes[from + depth - 1], depth);
            }
            tokens[path[length]] = token;
            last = from;
            lastLength = length;
        }
        for (int depth = lastLength; depth > 0; depth--) {
            ends[path[depth]] = nodes;
        }
        resize(nodes);
    }

    private int addNode(byte b, int depth) {
        if (nodes == nodeBytes.length) {
            resize(2 * nodes);
        }
        nodeBytes[nodes] = b;
        depths[nodes] = (short) depth;
        tokens[nodes] = NO_TOKEN;
        maxDepth = Math.max(maxDepth, depth);
        return nodes++;
    }

    private void resize(int room) {
        nodeBytes = Arrays.copyOf(nodeBytes, room);
        depths = Arrays.copyOf(depths, room);
        ends = Arrays.copyOf(ends, room);
        tokens = Arrays.copyOf(tokens, room);
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
