package quire.engine.schedule;

/** Compares reading a page from the file with computing its tokens, by what both took lately. Engine thread only. */
final class LoadCost {
    /** Share of a new measurement in the mean. */
    private static final double NEWS = 0.2;

    /** A refusal makes reading look so much cheaper, so that it is measured again at some time. */
    private static final double FORGET = 0.99;

    private final int pageTokens;
    private double pageNanos; // to read a page; 0 until one was read
    private double tokenNanos; // to compute a token; 0 until a step was long enough

    LoadCost(int pageTokens) {
        this.pageTokens = pageTokens;
    }

    /** A page was read. */
    void read(long nanos) {
        pageNanos = mean(pageNanos, (double) nanos);
    }

    /** A step computed {@code rows} tokens. Steps of fewer tokens than a page tell little about prompts. */
    void computed(int rows, long nanos) {
        if (rows >= pageTokens) {
            tokenNanos = mean(tokenNanos, (double) nanos / rows);
        }
    }

    private static double mean(double before, double now) {
        return before == 0 ? now : before + NEWS * (now - before);
    }

    /** Whether to read pages. Yes, as long as one of the two is not known. */
    boolean isReadingCheaper() {
        if (pageNanos == 0 || tokenNanos == 0 || pageNanos < tokenNanos * pageTokens) {
            return true;
        }
        pageNanos *= FORGET;
        return false;
    }
}
