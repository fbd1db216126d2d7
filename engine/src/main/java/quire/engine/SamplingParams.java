package quire.engine;

import java.util.List;
import java.util.Map;

/**
 * How tokens are chosen. The choice is a pure function of these, the prompt and the model.
 *
 * <p>Order, as in vLLM: penalties and bias on the logits, then temperature, then top-k, top-p and min-p in that order
 * over what is left, then the draw.
 *
 * @param maxTokens most tokens to generate, at least 1
 * @param temperature 0 is greedy; otherwise logits are divided by it; 0 to 100
 * @param topK keep the k likeliest tokens; 0 keeps all
 * @param topP keep the smallest set of likeliest tokens whose probability reaches this; (0, 1], 1 keeps all
 * @param minP keep tokens at least this fraction as likely as the likeliest; [0, 1], 0 keeps all
 * @param repetitionPenalty positive logits of tokens seen in prompt or output are divided by it, negative multiplied;
 *     over 0, 1 is none
 * @param presencePenalty taken once from the logit of each token seen in the output; [−2, 2]
 * @param frequencyPenalty taken from a token's logit for each time it was seen in the output; [−2, 2]
 * @param logitBias token id to what is added to its logit; values in [−100, 100]
 * @param seed key of the randomness, with position and token
 * @param stop texts that end the answer when they appear; they are not part of it
 * @param stopTokens token ids that end the answer beside the model's own; not part of the text
 * @param ignoreEndOfText whether to go on when the model ends its answer
 * @param logprobs −1 for none, otherwise how many likeliest tokens to report beside the chosen one; at most 20. They are
 *     log softmax of the model's own logits, before penalties and temperature
 */
public record SamplingParams(
        int maxTokens,
        double temperature,
        int topK,
        double topP,
        double minP,
        double repetitionPenalty,
        double presencePenalty,
        double frequencyPenalty,
        Map<Integer, Float> logitBias,
        long seed,
        List<String> stop,
        List<Integer> stopTokens,
        boolean ignoreEndOfText,
        int logprobs) {

    /** Most tokens that {@code logprobs} may ask for. */
    public static final int MAX_LOGPROBS = 20;

    /**
     * Checks every range.
     *
     * @throws InvalidRequestException naming the parameter
     */
    public SamplingParams {
        logitBias = Map.copyOf(logitBias);
        stop = List.copyOf(stop);
        stopTokens = List.copyOf(stopTokens);
    }

    /** A builder with the defaults: greedy off (temperature 1), all filters off, 16 tokens, seed 0. */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects parameters; each method is named after the component it sets. */
    public static final class Builder {
        private int maxTokens = 16;
        private double temperature = 1;
        private int topK;
        private double topP = 1;
        private double minP;
        private double repetitionPenalty = 1;
        private double presencePenalty;
        private double frequencyPenalty;
        private Map<Integer, Float> logitBias = Map.of();
        private long seed;
        private List<String> stop = List.of();
        private List<Integer> stopTokens = List.of();
        private boolean ignoreEndOfText;
        private int logprobs = -1;

        private Builder() {}

        /** Most tokens to generate. */
        public Builder maxTokens(int value) {
            maxTokens = value;
            return this;
        }

        /** 0 is greedy. */
        public Builder temperature(double value) {
            temperature = value;
            return this;
        }

        /** 0 keeps all. */
        public Builder topK(int value) {
            topK = value;
            return this;
        }

        /** 1 keeps all. */
        public Builder topP(double value) {
            topP = value;
            return this;
        }

        /** 0 keeps all. */
        public Builder minP(double value) {
            minP = value;
            return this;
        }

        /** 1 is none. */
        public Builder repetitionPenalty(double value) {
            repetitionPenalty = value;
            return this;
        }

        /** 0 is none. */
        public Builder presencePenalty(double value) {
            presencePenalty = value;
            return this;
        }

        /** 0 is none. */
        public Builder frequencyPenalty(double value) {
            frequencyPenalty = value;
            return this;
        }

        /** Token id to what is added to its logit. */
        public Builder logitBias(Map<Integer, Float> value) {
            logitBias = value;
            return this;
        }

        /** Key of the randomness. */
        public Builder seed(long value) {
            seed = value;
            return this;
        }

        /** Texts that end the answer. */
        public Builder stop(List<String> value) {
            stop = value;
            return this;
        }

        /** Token ids that end the answer. */
        public Builder stopTokens(List<Integer> value) {
            stopTokens = value;
            return this;
        }

        /** Whether to go on when the model ends its answer. */
        public Builder ignoreEndOfText(boolean value) {
            ignoreEndOfText = value;
            return this;
        }

        /** −1 for none. */
        public Builder logprobs(int value) {
            logprobs = value;
            return this;
        }

        /**
         * The parameters.
         *
         * @throws InvalidRequestException naming the parameter that is out of range
         */
        public SamplingParams build() {
            return new SamplingParams(
                    maxTokens,
                    temperature,
                    topK,
                    topP,
                    minP,
                    repetitionPenalty,
                    presencePenalty,
                    frequencyPenalty,
                    logitBias,
                    seed,
                    stop,
                    stopTokens,
                    ignoreEndOfText,
                    logprobs);
        }
    }
}
