package quire.engine.sample;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import quire.engine.InvalidRequestException;
import quire.engine.Logprobs;
import quire.engine.SamplingParams;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.constrain.ConstraintException;
import quire.tensor.FloatMatrix;

/**
 * Chooses a token from a row of logits. The choice is a pure function of the row, the request's parameters, its past
 * tokens and the position. There is no random state, nothing is kept between rows, and no floating-point sum depends on
 * an order.
 *
 * <h2>The draw</h2>
 *
 * Adding independent Gumbel noise to every logit and taking the largest sum draws from the softmax (the Gumbel-max
 * trick: Maddison, Tarlow, Minka, "A* Sampling", 2014). The noise of a token is a hash of (seed, position, token), so
 * there is no stream of random numbers to store. Two similar distributions with the same noise mostly choose the same
 * token; so a draft model can predict a sampled answer.
 *
 * <p>Two logarithms for each of 128,000 tokens would take milliseconds, but a cheap bound excludes almost all tokens.
 * With v uniform in (0, 1), the noise −ln(−ln(1 − v)) is at most −ln v, and the leading zero bits of v's hash give a
 * power of two below v. The noise is computed only for tokens whose logit and bound could beat the best sum so far.
 *
 * <pre>
 * leading zeros of the hash    0         1         2       …     52 and more
 * v is at least               1/2       1/4       1/8      …     2⁻⁵³
 * noise is at most            ln 2     2 ln 2    3 ln 2    …     53 ln 2
 * logit must be at least      reach[0] ≥ reach[1] ≥ reach[2]  …  reach[52]      a lower logit needs more leading zeros
 * </pre>
 *
 * <h2>The filters</h2>
 *
 * Top-k, top-p and min-p each keep a prefix of the tokens, ordered by logit and then id. So all of them together are
 * one {@code cutoff}: the last token kept. A histogram over the logits finds the bucket of the cutoff, and a radix
 * select finds the cutoff in that bucket, so no tokens are sorted. Probabilities are integers in units of 2⁻⁴⁰ of the
 * likeliest token's, so that sums do not depend on their order. A token that rounds to 0 units (28 nats below the
 * likeliest) does not count for top-p.
 *
 * <p>Typical-p keeps no such prefix: it uses the same selection with another order. It, top-n-sigma and XTC set the logits
 * of the tokens that they exclude to −∞.
 *
 * <p>Not thread-safe. It has 20 bytes of scratch memory for each token of the vocabulary: 2.5 MB for 128,000 tokens, and 4
 * more from the first use of typical-p on.
 */
public final class Sampler {
    private static final double LN2 = 0.6931471805599453;

    /** A relative tolerance far above all rounding errors of scores and of {@link #reach}. */
    private static final double SLACK = 1e-6;

    /** Unit of probability: 2⁻⁴⁰ of the likeliest token's. Sums of {@link #MAX_VOCABULARY} tokens fit into a long. */
    private static final double UNITS = 0x1p40;

    private static final int MAX_VOCABULARY = 1 << 22;

    /** Smallest argument of {@link #exp}: 4 million times e⁻⁶⁰ is still far below the last bit of 1. */
    private static final double EXP_MIN = -60;

    private static final int BUCKETS = 2048;
    private static final float BUCKETS_PER_NAT = 32;

    private static final long TOKEN_STEP = 0xD1B54A32D192ED03L;

    /** Makes the draw of XTC independent of the noise of the tokens. */
    private static final long XTC_KEY = 0x6A09E667F3BCC909L;

    private final int vocabularySize;
    private final float[] logits;
    /** {@code reach[z]}: the smallest logit that can win if the token's hash has z leading zero bits. */
    private final float[] reach = new float[Long.SIZE + 1];

    /** Tokens or units of probability in each bucket; bucket 0 has the likeliest tokens. */
    private final long[] histogram = new long[BUCKETS];
    /** The keys of one bucket's tokens. */
    private final long[] keys;

    /** Sums of the weights in one bucket by one byte of the keys. */
    private final long[] byteSums = new long[1 << Byte.SIZE];

    /** e to the power of (logit − max) / temperature. */
    private final double[] exps;

    /** The order of typical-p: the likelier to be kept, the higher. Empty before its first use. */
    private float[] ranks = {};

    /** The last token kept, as a {@link #key}. */
    private long cutoff;

    /**
     * A sampler for rows of logits.
     *
     * @param vocabularySize logits in a row, 1 to 4,194,304
     */
    public Sampler(int vocabularySize) {
        if (vocabularySize < 1 || vocabularySize > MAX_VOCABULARY) {
            throw new IllegalArgumentException(
                    "vocabulary of " + vocabularySize + " tokens; it must have 1 to " + MAX_VOCABULARY);
        }
        this.vocabularySize = vocabularySize;
        logits = new float[vocabularySize];
        keys = new long[vocabularySize];
        exps = new double[vocabularySize];
    }

    /**
     * Chooses the token at a position.
     *
     * @param logits rows as wide as the vocabulary; not modified
     * @param row the row to choose from
     * @param params how to choose
     * @param history the tokens so far; made with the same {@code params}
     * @param position index of the new token in its sequence, prompt included
     * @return a token whose logit is not −∞; of equally good ones the one with the lower id
     * @throws BrokenLogitsException if a logit is NaN or +∞, or all are −∞, because the model is broken
     * @throws ConstraintException if the constraint needs too many states, or if no token is left that the model, the
     *     constraint and the request's other exclusions allow
     * @throws InvalidRequestException if the bias names a token beyond the vocabulary
     */
    public int choose(FloatMatrix logits, int row, SamplingParams params, TokenHistory history, int position) {
        load(logits, row);
        exclude(history);
        history.adjust(this.logits);
        float max = max();
        if (params.temperature() == 0) {
            return first(max);
        }
        cutoff = Long.MAX_VALUE;
        // For the smallest temperatures 1 / temperature is ∞, and 0 × ∞ would be NaN for the likeliest token.
        double inverse = Math.min(1 / params.temperature(), Double.MAX_VALUE);
        if (params.topNSigma() > 0) {
            keepTopNSigma(params.topNSigma(), max);
        }
        if (params.topK() > 0 && params.topK() < vocabularySize) {
            keepTopK(params.topK(), max);
        }
        if (params.typicalP() < 1) {
            excludeBeyondCutoff();
            keepTypical(params.typicalP(), max, inverse);
            max = max();
        }
        if (params.topP() < 1) {
            keepTopP(params.topP(), max, inverse);
        }
        double leastScaled = StrictMath.log(params.minP());
        long key = noiseKey(params.seed(), position);
        if (excludesTopChoices(params, position)) {
            excludeTopChoices(params.xtcThreshold(), max, inverse, leastScaled);
            leastScaled = Double.NEGATIVE_INFINITY;
            max = max();
        }
        return draw(max, inverse, leastScaled, key);
    }

    /**
     * Computes the log softmax of a row of the model's own logits, for the chosen token and the likeliest ones.
     *
     * @param topCount how many of the likeliest tokens to report; those with a logit of −∞ are left out
     * @throws BrokenLogitsException if a logit is NaN or +∞, or all are −∞, because the model is broken
     */
    public Logprobs logprobs(FloatMatrix logits, int row, int chosen, int topCount) {
        load(logits, row);
        float max = max();
        double logSum = logSum(max);

        int room = Math.min(topCount, vocabularySize);
        int[] topTokens = new int[room];
        float[] topLogprobs = new float[room];
        int size = 0;
        for (int token = 0; token < vocabularySize && room > 0; token++) {
            size = insert(token, topTokens, size);
        }
        if (size < room) {
            topTokens = Arrays.copyOf(topTokens, size);
            topLogprobs = new float[size];
        }
        for (int index = 0; index < size; index++) {
            topLogprobs[index] = (float) ((double) this.logits[topTokens[index]] - max - logSum);
        }
        int rank = 1;
        for (float logit : this.logits) {
            rank += logit > this.logits[chosen] ? 1 : 0;
        }
        return new Logprobs((float) ((double) this.logits[chosen] - max - logSum), rank, topTokens, topLogprobs);
    }

    /**
     * Finds the tokens with which a beam may go on.
     *
     * @param endTokens the tokens that end the answer, each once
     * @param mayEnd whether the answer is long enough to end; otherwise these tokens are left out
     * @throws BrokenLogitsException if a logit is NaN or +∞, or all are −∞, because the model is broken
     */
    public void continuations(FloatMatrix logits, int row, int[] endTokens, boolean mayEnd, Continuations into) {
        load(logits, row);
        float max = max();
        double logSum = logSum(max);
        int ended = 0;
        for (int token : endTokens) {
            ended = insert(token, into.endings, ended);
        }
        int others = 0;
        int nextEnd = 0; // endTokens are in ascending order
        for (int token = 0; token < vocabularySize; token++) {
            if (nextEnd < endTokens.length && endTokens[nextEnd] == token) {
                nextEnd++;
            } else {
                others = insert(token, into.others, others);
            }
        }
        into.clear();
        int other = 0;
        int end = mayEnd ? 0 : ended;
        while (other < others || end < ended) {
            boolean isEnd = other == others || (end < ended && isLikelier(into.endings[end], into.others[other]));
            int token = isEnd ? into.endings[end++] : into.others[other++];
            if (!isEnd || into.count() < into.width()) {
                float logit = this.logits[token];
                // Of all tokens, those that are likelier than this one are among the others so far and the end tokens.
                int rank = 1 + countAbove(logit, into.others, other) + countAbove(logit, endTokens, endTokens.length);
                into.add(token, (float) ((double) logit - max - logSum), rank, isEnd);
            }
        }
    }

    private int countAbove(float logit, int[] tokens, int count) {
        int above = 0;
        for (int i = 0; i < count; i++) {
            above += logits[tokens[i]] > logit ? 1 : 0;
        }
        return above;
    }

    /** Inserts a token into a list of the likeliest ones, if it belongs there; returns the new size. */
    private int insert(int token, int[] likeliest, int size) {
        int last = size == likeliest.length ? size - 1 : size;
        if (logits[token] == Float.NEGATIVE_INFINITY
                || (size == likeliest.length && !isLikelier(token, likeliest[last]))) {
            return size;
        }
        int place = last;
        for (; place > 0 && isLikelier(token, likeliest[place - 1]); place--) {
            likeliest[place] = likeliest[place - 1];
        }
        likeliest[place] = token;
        return last + 1;
    }

    private boolean isLikelier(int token, int other) {
        return logits[token] > logits[other] || (logits[token] == logits[other] && token < other);
    }

    /** The logarithm of the sum of e to the power of (logit − max). */
    private double logSum(float max) {
        double sum = 0;
        expAll(max, 1);
        for (double exp : exps) {
            sum += exp;
        }
        return StrictMath.log(sum);
    }

    /**
     * The noise of a token: Gumbel distributed with location 0 and scale 1, between −3.7 and 36.8. It is the same for
     * every model and every request with this seed.
     */
    static double gumbel(long seed, int position, int token) {
        return gumbel(noiseBits(noiseKey(seed, position), token));
    }

    /** Chains {@link #mix} over seed and position: a bijection of the seed, and of the position. */
    private static long noiseKey(long seed, int position) {
        return mix(mix(seed ^ 0x9E3779B97F4A7C15L) + 0x9E3779B97F4A7C15L * (position + 1L));
    }

    /** Murmur3's finaliser: a bijection whose bits all depend on all bits of {@code z}. */
    public static long mix(long z) {
        z = (z ^ z >>> 33) * 0xFF51AFD7ED558CCDL;
        z = (z ^ z >>> 33) * 0xC4CEB9FE1A85EC53L;
        return z ^ z >>> 33;
    }

    /**
     * SplitMix64's finaliser (Stafford's mix 13), applied to element {@code token} of a Weyl sequence that starts at
     * the key.
     */
    private static long noiseBits(long key, int token) {
        long z = key + TOKEN_STEP * token;
        z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
        z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
        return z ^ z >>> 31;
    }

    /** Uses the upper 52 bits plus one half, so that v is exact and neither 0 nor 1. */
    private static double gumbel(long bits) {
        return -StrictMath.log(-StrictMath.log1p(-uniform(bits)));
    }

    private static double uniform(long bits) {
        return ((bits >>> 12) + 0.5) * 0x1p-52;
    }

    private void load(FloatMatrix matrix, int row) {
        if (matrix.columns() != vocabularySize) {
            throw new IllegalArgumentException(
                    "rows of " + matrix.columns() + " logits for a vocabulary of " + vocabularySize + " tokens");
        }
        MemorySegment.copy(matrix.segment(), ValueLayout.JAVA_FLOAT, matrix.rowOffset(row), logits, 0, vocabularySize);
    }

    /** Sets the logits of all tokens to −∞ that the request forbids. */
    private void exclude(TokenHistory history) {
        ConstraintCursor constraint = history.constraint();
        if (constraint == null && !history.excludes()) {
            return;
        }
        max(); // finds broken logits while all are there
        if (constraint != null) {
            constraint.mask().apply(logits);
        }
        history.exclude(logits);
        for (float logit : logits) {
            if (logit > Float.NEGATIVE_INFINITY) {
                return;
            }
        }
        throw new ConstraintException("no token is left with which the answer could go on: the model, the constraint,"
                + " allowed tokens, bad words and the minimum number of tokens exclude all");
    }

    /** The largest logit. {@link Math#max} propagates NaN, so one check of the result finds it. */
    private float max() {
        float max = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
            max = Math.max(max, logit);
        }
        if (Float.isFinite(max)) {
            return max;
        }
        for (int token = 0; token < vocabularySize; token++) {
            if (Float.isNaN(logits[token]) || logits[token] == Float.POSITIVE_INFINITY) {
                throw new BrokenLogitsException("the model gave token " + token + " the logit " + logits[token]
                        + "; its weights or their arithmetic are broken");
            }
        }
        throw new BrokenLogitsException("the model gave all " + vocabularySize
                + " tokens the logit -Infinity; its weights or their arithmetic are broken");
    }

    /** The lowest token id with this logit. */
    private int first(float logit) {
        int token = 0;
        while (logits[token] != logit) {
            token++;
        }
        return token;
    }

    /** Excludes tokens that are more than n standard deviations below the likeliest. */
    private void keepTopNSigma(double n, float max) {
        double sum = 0;
        int count = 0;
        for (float logit : logits) {
            if (logit > Float.NEGATIVE_INFINITY) {
                sum += logit;
                count++;
            }
        }
        double mean = sum / count;
        double squares = 0;
        for (float logit : logits) {
            if (logit > Float.NEGATIVE_INFINITY) {
                squares += (logit - mean) * (logit - mean);
            }
        }
        double least = max - n * Math.sqrt(squares / count);
        for (int token = 0; token < vocabularySize; token++) {
            if (logits[token] < least) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
    }

    private void excludeBeyondCutoff() {
        if (cutoff == Long.MAX_VALUE) {
            return;
        }
        for (int token = 0; token < vocabularySize; token++) {
            if (key(logits[token], token) > cutoff) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
        cutoff = Long.MAX_VALUE;
    }

    /** Excludes all tokens but those whose information is nearest to the entropy, up to a total probability above p. */
    private void keepTypical(double p, float max, double inverse) {
        if (ranks.length == 0) {
            ranks = new float[vocabularySize];
        }
        expAll(max, inverse);
        double sum = 0;
        double weighted = 0;
        long total = 0;
        for (int token = 0; token < vocabularySize; token++) {
            double scaled = ((double) logits[token] - max) * inverse;
            if (scaled > EXP_MIN) { // what is left out would add nothing
                sum += exps[token];
                weighted += exps[token] * scaled;
                total += units(exps[token]);
            }
        }
        double mean = weighted / sum; // of ln p, plus ln of the sum
        float best = Float.NEGATIVE_INFINITY;
        for (int token = 0; token < vocabularySize; token++) {
            double scaled = ((double) logits[token] - max) * inverse;
            ranks[token] = (float) -Math.abs(scaled - mean);
            best = Math.max(best, ranks[token]);
        }
        Arrays.fill(histogram, 0);
        for (int token = 0; token < vocabularySize; token++) {
            if (logits[token] > Float.NEGATIVE_INFINITY) {
                histogram[bucket(best, ranks[token])] += units(exps[token]);
            }
        }
        long last = lastOfPrefix(Math.min((long) (p * total) + 1, total), ranks, best, max, inverse);
        for (int token = 0; token < vocabularySize; token++) {
            if (key(ranks[token], token) > last) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
    }

    /** Whether XTC acts at a position. */
    static boolean excludesTopChoices(SamplingParams params, int position) {
        return params.xtcProbability() > 0
                && uniform(mix(noiseKey(params.seed(), position) ^ XTC_KEY)) < params.xtcProbability();
    }

    /**
     * Excludes the tokens with at least a probability, but not the least likely of them. Also those that min-p excludes.
     *
     * @param leastScaled smallest (logit − max) / temperature that min-p keeps
     */
    private void excludeTopChoices(double threshold, float max, double inverse, double leastScaled) {
        double sum = 0;
        for (int token = 0; token < vocabularySize; token++) {
            double scaled = ((double) logits[token] - max) * inverse;
            if (logits[token] > Float.NEGATIVE_INFINITY
                    && key(logits[token], token) <= cutoff
                    && scaled >= leastScaled) {
                exps[token] = exp(scaled);
                sum += exps[token];
            } else {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
        double least = threshold * sum;
        long last = Long.MIN_VALUE; // the key of the least likely one
        for (int token = 0; token < vocabularySize; token++) {
            if (logits[token] > Float.NEGATIVE_INFINITY && exps[token] >= least) {
                last = Math.max(last, key(logits[token], token));
            }
        }
        for (int token = 0; token < vocabularySize; token++) {
            if (key(logits[token], token) < last) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
    }

    /** Lowers the cutoff to the k-th token. */
    private void keepTopK(int k, float max) {
        Arrays.fill(histogram, 0);
        for (float logit : logits) {
            histogram[bucket(max, logit)]++;
        }
        cutoff = lastOfPrefix(k, logits, max, max, 0);
    }

    /** Lowers the cutoff to the token at which the probability reaches p, as a share of all tokens kept so far. */
    private void keepTopP(double p, float max, double inverse) {
        Arrays.fill(histogram, 0);
        long total = 0;
        boolean all = cutoff == Long.MAX_VALUE;
        if (all) {
            expAll(max, inverse);
        }
        float least = cutoffLogit();
        for (int token = 0; token < vocabularySize; token++) {
            if (logits[token] >= least && key(logits[token], token) <= cutoff) {
                long units = units(all ? exps[token] : exp(((double) logits[token] - max) * inverse));
                histogram[bucket(max, logits[token])] += units;
                total += units;
            }
        }
        cutoff = lastOfPrefix(Math.clamp((long) Math.ceil(p * total), 1, total), logits, max, max, inverse);
    }

    /**
     * Finds the token, among those up to the cutoff, at which the sum of weights, over the tokens in order, reaches {@code
     * target}.
     *
     * <p>No token is sorted. A weighted radix select finds the cutoff: it sums the weights by one byte of the keys,
     * finds the byte with which the sum reaches the target, keeps the keys with this byte, and continues with the next
     * byte. That is at most eight passes for any logits, and it allocates nothing. {@code Arrays.sort} allocates in
     * every partition step where the JDK sorts with SIMD instructions.
     *
     * <pre>
     * histogram   |  0  |  1  |  2  |  3  | …     sum of 0, 1 &lt; target ≤ sum of 0, 1, 2: in bucket 2
     * its keys    | 7f.. | 80.. | 81.. | …      sum to 7f.. &lt; target ≤ sum to 80..: begins with 80
     * of these          | 8000 | 8001 | …         and so on until one key is left
     * </pre>
     *
     * @param target at least 1, at most the sum of the histogram
     * @param order the tokens' order: higher numbers come first, and of equal ones the lower id
     * @param first the highest number in {@code order}
     * @param max the highest logit
     * @param inverse of the temperature, to count units of probability; 0 to count tokens
     */
    private long lastOfPrefix(long target, float[] order, float first, float max, double inverse) {
        int bucket = 0;
        long sum = 0;
        while (sum + histogram[bucket] < target) {
            sum += histogram[bucket++];
        }
        int size = 0;
        long differing = 0;
        for (int token = 0; token < vocabularySize; token++) {
            if (bucket(first, order[token]) == bucket && key(logits[token], token) <= cutoff) {
                keys[size] = key(order[token], token);
                differing |= keys[size++] ^ keys[0];
            }
        }
        int shift = (Long.SIZE - 1 - Long.numberOfLeadingZeros(differing | 1)) / Byte.SIZE * Byte.SIZE;
        for (; size > 1; shift -= Byte.SIZE) {
            Arrays.fill(byteSums, 0);
            for (int i = 0; i < size; i++) {
                byteSums[byteOf(keys[i], shift)] += weight(keys[i], max, inverse);
            }
            int kept = 0;
            while (sum + byteSums[kept] < target) {
                sum += byteSums[kept++];
            }
            int all = size;
            size = 0;
            for (int i = 0; i < all; i++) {
                if (byteOf(keys[i], shift) == kept) {
                    keys[size++] = keys[i];
                }
            }
        }
        return keys[0];
    }

    /** A byte of a key, with the sign bit flipped, so that unsigned order equals the order of the keys. */
    private static int byteOf(long key, int shift) {
        return (int) ((key ^ Long.MIN_VALUE) >>> shift) & 0xFF;
    }

    /** 1 if {@code inverse} is 0, otherwise the token's units of probability. */
    private long weight(long key, float max, double inverse) {
        return inverse == 0 ? 1 : units(exp(((double) logits[(int) key] - max) * inverse));
    }

    private static long units(double exp) {
        return (long) (exp * UNITS + 0.5);
    }

    /** A number that orders tokens by falling logit, then rising id. −0 equals 0. */
    private static long key(float logit, int token) {
        return ((long) ~rising(Float.floatToRawIntBits(logit + 0f)) << 32) | token;
    }

    /** Maps a float's bits to an int that rises with the float. It is its own inverse. */
    private static int rising(int bits) {
        return bits ^ ((bits >> 31) & Integer.MAX_VALUE);
    }

    /** The bucket of a logit: higher logits have lower buckets, and equal logits share one. */
    private static int bucket(float max, float logit) {
        return (int) Math.min((max - logit) * BUCKETS_PER_NAT, BUCKETS - 1);
    }

    /**
     * The kept token with the largest sum of scaled logit and noise.
     *
     * @param leastScaled smallest (logit − max) / temperature that min-p keeps; −∞ keeps all
     */
    private int draw(float max, double inverse, double leastScaled, long key) {
        double temperature = 1 / inverse;
        float kept = Math.max(cutoffLogit(), below(max, temperature, leastScaled));

        // The likeliest token passes every filter, and its score is a good initial bound.
        int chosen = first(max);
        double best = gumbel(noiseBits(key, chosen));
        float floor = setReach(max, temperature, best, kept);
        for (int token = 0; token < vocabularySize; token++) {
            float logit = logits[token];
            if (logit >= floor) {
                long bits = noiseBits(key, token);
                if (logit >= reach[Long.numberOfLeadingZeros(bits)] && key(logit, token) <= cutoff) {
                    double scaled = ((double) logit - max) * inverse;
                    double score = scaled + gumbel(bits);
                    if (scaled >= leastScaled && (score > best || (score == best && token < chosen))) {
                        chosen = token;
                        best = score;
                        floor = setReach(max, temperature, best, kept);
                    }
                }
            }
        }
        return chosen;
    }

    /** Computes {@link #reach} for the score {@code best}; returns the smallest logit that can win at all. */
    private float setReach(float max, double temperature, double best, float kept) {
        for (int zeros = 0; zeros <= Long.SIZE; zeros++) {
            reach[zeros] = below(max, temperature, best - Math.min(zeros + 1, 53) * LN2);
        }
        return Math.max(kept, reach[Long.SIZE]);
    }

    /** A lower bound of all logits whose computed (logit − max) / temperature is at least {@code scaled}. */
    private static float below(float max, double temperature, double scaled) {
        double slack = SLACK * (Math.abs((double) max) + temperature * (Math.abs(scaled) + 64)) + Float.MIN_NORMAL;
        return (float) (max + temperature * scaled - slack);
    }

    private float cutoffLogit() {
        if (cutoff == Long.MAX_VALUE) {
            return Float.NEGATIVE_INFINITY;
        }
        return Float.intBitsToFloat(rising(~(int) (cutoff >> 32)));
    }

    /** Fills {@link #exps}. A separate loop, so that the JIT can vectorise it. */
    private void expAll(float max, double inverse) {
        for (int token = 0; token < vocabularySize; token++) {
            exps[token] = exp(((double) logits[token] - max) * inverse);
        }
    }

    /**
     * e to the power x for x ≤ 0, with a relative error of about 1e−13; e to the power {@link #EXP_MIN} for smaller x.
     * It is the Taylor series at x / 256, squared eight times, without branches and bit operations, so that the JIT can
     * vectorise it. The result has the same bits everywhere; {@link Math#exp} may differ between compiled and
     * interpreted code.
     */
    static double exp(double x) {
        double r = Math.max(x, EXP_MIN) * 0x1p-8;
        double y = 1.0 / 39916800;
        y = y * r + 1.0 / 3628800;
        y = y * r + 1.0 / 362880;
        y = y * r + 1.0 / 40320;
        y = y * r + 1.0 / 5040;
        y = y * r + 1.0 / 720;
        y = y * r + 1.0 / 120;
        y = y * r + 1.0 / 24;
        y = y * r + 1.0 / 6;
        y = y * r + 0.5;
        y = y * r + 1;
        y = y * r + 1;
        y *= y;
        y *= y;
        y *= y;
        y *= y;
        y *= y;
        y *= y;
        y *= y;
        return y * y;
    }
}
