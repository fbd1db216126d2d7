package quire.engine.constrain;

/**
 * The first part of an answer, whose tokens a {@link TextLimit} counts. Its places are numbers:
 *
 * <pre>
 *   0 … start − 1             so many bytes of the start have come
 *   start + n                 within the part; its last n bytes are the first n of the end
 *   {@link #BEHIND}           behind the part, or there is none
 * </pre>
 */
final class LimitedPart {
    /** The place behind the part. */
    static final int BEHIND = -1;

    private final Vocabulary vocabulary;
    private final byte[] start;
    private final byte[] end;
    private final int[] border; // by length of a beginning of the end: its longest proper beginning that is its end too
    private final int most;
    private final Mask[] masks; // by bytes of the end that have come

    LimitedPart(TextLimit limit, Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        start = Part.bytes(limit.start());
        end = Part.bytes(limit.end());
        most = limit.tokens();
        border = new int[end.length + 1];
        for (int n = 2; n <= end.length; n++) {
            border[n] = extend(border[n - 1], end[n - 1]);
        }
        masks = new Mask[end.length];
        for (int n = 0; n < end.length; n++) {
            masks[n] = new Mask(new long[0], vocabulary.beginnings(end, n), true);
        }
    }

    /** Where an answer begins. */
    int start() {
        return 0; // also within the part if its start is empty
    }

    /** Whether only the end may come, after so many tokens. */
    boolean mustEnd(int place, int tokens) {
        return place >= start.length && tokens >= most && !masks[place - start.length].isEmpty();
    }

    /** The tokens that continue the end. */
    Mask mask(int place) {
        return masks[place - start.length];
    }

    /** The place after a token. */
    int advance(int place, int token) {
        byte[] bytes = vocabulary.bytes();
        int next = place;
        for (int i = vocabulary.offset(token); i < vocabulary.offset(token + 1) && next != BEHIND; i++) {
            next = advance(next, bytes[i]);
        }
        return next;
    }

    private int advance(int place, byte b) {
        if (place < start.length) {
            if (place == 0 && (b == ' ' || b == '\n' || b == '\t' || b == '\r')) {
                return 0;
            }
            return b == start[place] ? place + 1 : BEHIND;
        }
        int length = extend(place - start.length, b);
        return length == end.length ? BEHIND : start.length + length;
    }

    private int extend(int length, byte b) {
        int n = length;
        while (n > 0 && end[n] != b) {
            n = border[n];
        }
        return end[n] == b ? n + 1 : 0;
    }
}
