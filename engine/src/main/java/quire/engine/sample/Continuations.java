package quire.engine.sample;

/**
 * The tokens with which a beam may go on, likeliest first; of equally likely ones the lower id first. {@link
 * Sampler#continuations} fills it.
 *
 * <p>These are the {@code width} likeliest tokens that do not end the answer, and those that end it and are among the first
 * {@code width} of all. No other token can be one of the next beams, or end one of the best answers.
 */
public final class Continuations {
    private final int width;
    private final int[] tokens;
    private final float[] logprobs;
    private final int[] ranks;
    private final boolean[] ends;
    private int count;
    // Of the tokens that do not end the answer, and of those that do: likeliest first.
    final int[] others;
    final int[] endings;

    /** @param width beams of the search */
    public Continuations(int width) {
        this.width = width;
        tokens = new int[2 * width];
        logprobs = new float[2 * width];
        ranks = new int[2 * width];
        ends = new boolean[2 * width];
        others = new int[width];
        endings = new int[width];
    }

    /** Beams of the search. */
    public int width() {
        return width;
    }

    /** Removes all. */
    public void clear() {
        count = 0;
    }

    /** Adds the next one; see the accessors. */
    public void add(int token, float logprob, int rank, boolean isEnd) {
        tokens[count] = token;
        logprobs[count] = logprob;
        ranks[count] = rank;
        ends[count++] = isEnd;
    }

    /** How many there are, at most twice the width. */
    public int count() {
        return count;
    }

    /** The token at a place. */
    public int token(int place) {
        return tokens[place];
    }

    /** Its log probability: the log softmax of the model's own logits. */
    public float logprob(int place) {
        return logprobs[place];
    }

    /** One more than the tokens of the vocabulary that are likelier. */
    public int rank(int place) {
        return ranks[place];
    }

    /** Whether it ends the answer. */
    public boolean isEnd(int place) {
        return ends[place];
    }
}
