package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * The length of a request in tokens.
 *
 * @param prompt tokens of the prompt, at least 1
 * @param output tokens of the answer, at least 1
 */
record Length(int prompt, int output) {
    /** The most tokens of a prompt, or of an answer, in {@link #likeShareGpt}; vLLM's paper allows 2,048 in all. */
    static final int SHARE_GPT_LIMIT = 1024;

    private static final double ALPACA_PROMPT = 19.31;
    private static final double ALPACA_OUTPUT = 58.45;
    private static final double ALPACA_PROMPT_SPREAD = 0.6;
    private static final double ALPACA_OUTPUT_SPREAD = 0.9;

    private static final double SHARE_GPT_PROMPT = 161.31;
    private static final double SHARE_GPT_OUTPUT = 337.99;

    // The paper gives means and a picture of the distributions. These spreads of the logarithm look like the picture.
    private static final double SHARE_GPT_PROMPT_SPREAD = 1.2;
    private static final double SHARE_GPT_OUTPUT_SPREAD = 0.9;

    /** Halvings of the interval in which a mean is searched. */
    private static final int HALVINGS = 60;

    /** Prompt and answer together. */
    int total() {
        return prompt + output;
    }

    /**
     * Prompts of one length, and answers whose lengths are exponential and cut.
     *
     * @param mean mean of the exponential distribution before the cut
     * @param cap the longest answer
     */
    static List<Length> exponential(int count, int prompt, double mean, int cap, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<Length> lengths = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            double drawn = -mean * StrictMath.log(1 - random.nextDouble());
            lengths.add(new Length(prompt, (int) Math.clamp(Math.ceil(drawn), 1, cap)));
        }
        return lengths;
    }

    /**
     * Lengths with the means of ShareGPT's conversations in vLLM's paper (161 and 338 tokens), log-normal, each at most
     * {@link #SHARE_GPT_LIMIT}.
     */
    static List<Length> likeShareGpt(int count, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        return lengths(
                logNormal(count, SHARE_GPT_PROMPT, SHARE_GPT_PROMPT_SPREAD, random),
                logNormal(count, SHARE_GPT_OUTPUT, SHARE_GPT_OUTPUT_SPREAD, random));
    }

    /** The same with the means of Alpaca's instructions in that paper: 19 and 58 tokens. */
    static List<Length> likeAlpaca(int count, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        return lengths(
                logNormal(count, ALPACA_PROMPT, ALPACA_PROMPT_SPREAD, random),
                logNormal(count, ALPACA_OUTPUT, ALPACA_OUTPUT_SPREAD, random));
    }

    private static List<Length> lengths(int[] prompts, int[] outputs) {
        List<Length> lengths = new ArrayList<>();
        for (int i = 0; i < prompts.length; i++) {
            lengths.add(new Length(prompts[i], outputs[i]));
        }
        return lengths;
    }

    /** Log-normal numbers whose mean is {@code mean} after they were cut to {@link #SHARE_GPT_LIMIT}. */
    private static int[] logNormal(int count, double mean, double spread, SplittableRandom random) {
        double[] normal = new double[count];
        for (int i = 0; i < count; i++) {
            normal[i] = random.nextGaussian();
        }
        double low = 0;
        double high = StrictMath.log(SHARE_GPT_LIMIT);
        int[] lengths = new int[count];
        for (int halving = 0; halving < HALVINGS; halving++) {
            double middle = (low + high) / 2;
            double sum = 0;
            for (int i = 0; i < count; i++) {
                lengths[i] =
                        (int) Math.clamp(Math.rint(StrictMath.exp(middle + spread * normal[i])), 1, SHARE_GPT_LIMIT);
                sum += lengths[i];
            }
            if (sum < mean * count) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return lengths;
    }
}
