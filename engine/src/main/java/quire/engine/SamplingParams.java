package quire.engine;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;

/**
 * How tokens are chosen. The choice is a pure function of these parameters, the prompt and the model. Use {@link
 * #builder}.
 *
 * <p>Order: the constraint, allowed tokens, bad words and the minimum number of tokens exclude tokens; penalties
 * (repetition, then frequency and presence, then {@link Dry}) on the model's logits; bias; temperature; top-n-sigma, top-k,
 * typical-p, top-p, min-p and XTC, each over the tokens that the filters before it keep; the draw. vLLM has the same order,
 * except that it adds the bias before the repetition penalty and applies min-p before top-k and top-p; llama.cpp applies
 * the temperature last. Of tokens with equal logits, filters and greedy choice prefer the lower id. Filters except typical-p
 * and XTC always keep the likeliest token. A logit of −∞ means that the model excludes the token. It stays −∞ with any
 * bias.
 *
 * @param maxTokens maximum number of tokens to generate; at least 1
 * @param temperature logits are divided by it; 0 is greedy choice, which ignores filters and seed; [0, 100]
 * @param topK keep the k likeliest tokens; 0 keeps all
 * @param topP keep the smallest set of likeliest tokens whose total probability reaches this, at least one token; [0, 1],
 *     1 keeps all
 * @param minP keep tokens whose probability is at least this fraction of the likeliest token's; [0, 1], 0 keeps all
 * @param topNSigma keep tokens whose logit is at most this many standard deviations of all finite logits below the highest
 *     one; [0, 1000], 0 keeps all
 * @param typicalP keep the tokens whose information (−ln p) is nearest to its mean (the entropy), until their total
 *     probability is above this; (0, 1], 1 keeps all (Meister et al., <i>Locally Typical Sampling</i>, 2023)
 * @param xtcProbability probability, at each position, that all tokens with at least {@code xtcThreshold} are excluded but
 *     the least likely of them; [0, 1], 0 never
 * @param xtcThreshold see {@code xtcProbability}; [0, 1], above 0.5 it has no effect, because two tokens must reach it
 * @param repetitionPenalty divides the positive logits of tokens in prompt or output, and multiplies the negative ones;
 *     (0, 100], 1 is none
 * @param presencePenalty subtracted once from the logit of each token in the output; [−2, 2], 0 is none
 * @param frequencyPenalty subtracted from a token's logit for each occurrence in the output; [−2, 2], 0 is none
 * @param dry lowers the logits of tokens that would continue a repetition; null for none
 * @param logitBias token id to a number that is added to its logit; numbers in [−100, 100], at most
 *     {@value #MAX_LOGIT_BIAS} tokens
 * @param allowedTokens the only tokens that may be chosen; empty for all; at most {@value #MAX_ALLOWED_TOKENS}
 * @param badWords sequences of tokens that the answer does not contain; at most {@value #MAX_BAD_WORDS}, of 1 to {@value
 *     #MAX_BAD_WORD_TOKENS} tokens
 * @param minTokens before the answer has so many tokens, no end token and no stop token can be chosen, and stop strings do
 *     not count; 0 to {@code maxTokens}
 * @param seed key of the random noise, together with position and token
 * @param stop texts that end the answer and are not part of it. The stop string that is complete first counts. If
 *     several end with the same character, the longest of them counts. A stop string may contain the spelling of a
 *     control token, although the answer does not show such tokens. At most {@value #MAX_STOP}, of 1 to {@value
 *     #MAX_STOP_LENGTH} characters
 * @param stopTokens token ids that end the answer, in addition to the model's end tokens; not part of the text; at most
 *     {@value #MAX_STOP_TOKENS}
 * @param includeStop whether the stop string or the text of the stop token that ends the answer is part of it
 * @param ignoreEndOfText whether to continue after the model's end token
 * @param logprobs −1 for none; otherwise how many of the likeliest tokens to report beside the chosen one; at most
 *     {@value #MAX_LOGPROBS}. They are the log softmax of the model's own logits, before constraint, penalties and
 *     temperature
 * @param promptLogprobs −1 for none; otherwise how many of the likeliest tokens to report for each token of the prompt but
 *     the first; at most {@value #MAX_LOGPROBS}. Such a prompt is computed without the prefix cache, in smaller steps
 * @param constraint what the answer's text must be; null for anything. The answer ends where the constraint says, so
 *     {@code ignoreEndOfText} must be false and {@code minTokens} 0
 * @param showControlTokens whether the answer's text contains its control tokens, each as {@link
 *     quire.engine.constrain.Part#control} writes it; those that end the answer never are
 */
public record SamplingParams(
        int maxTokens,
        double temperature,
        int topK,
        double topP,
        double minP,
        double topNSigma,
        double typicalP,
        double xtcProbability,
        double xtcThreshold,
        double repetitionPenalty,
        double presencePenalty,
        double frequencyPenalty,
        @Nullable Dry dry,
        Map<Integer, Float> logitBias,
        List<Integer> allowedTokens,
        List<List<Integer>> badWords,
        int minTokens,
        long seed,
        List<String> stop,
        List<Integer> stopTokens,
        boolean includeStop,
        boolean ignoreEndOfText,
        int logprobs,
        int promptLogprobs,
        @Nullable Constraint constraint,
        boolean showControlTokens) {

    /** Maximum number of tokens that {@code logprobs} may ask for. */
    public static final int MAX_LOGPROBS = 20;

    /** Maximum number of tokens that {@code logitBias} may name. */
    public static final int MAX_LOGIT_BIAS = 4096;

    /** Maximum number of stop strings. */
    public static final int MAX_STOP = 16;

    /** Maximum length of a stop string in characters (UTF-16 units). */
    public static final int MAX_STOP_LENGTH = 1024;

    /** Maximum number of stop tokens. */
    public static final int MAX_STOP_TOKENS = 1024;

    /** Maximum number of allowed tokens. */
    public static final int MAX_ALLOWED_TOKENS = 1 << 16;

    /** Maximum number of bad words. */
    public static final int MAX_BAD_WORDS = 2048;

    /** Maximum number of tokens of a bad word. */
    public static final int MAX_BAD_WORD_TOKENS = 64;

    /**
     * Checks every range. Token ids are checked against the vocabulary when the request is submitted.
     *
     * @throws InvalidRequestException naming the parameter, its value and what is allowed
     * @throws NullPointerException if a collection is null or holds null
     */
    public SamplingParams {
        check(maxTokens >= 1, "maxTokens", maxTokens, "at least 1");
        check(temperature >= 0 && temperature <= 100, "temperature", temperature, "from 0 to 100");
        check(topK >= 0, "topK", topK, "0 (keeps all) or more");
        check(topP >= 0 && topP <= 1, "topP", topP, "from 0 to 1");
        check(minP >= 0 && minP <= 1, "minP", minP, "from 0 to 1");
        check(topNSigma >= 0 && topNSigma <= 1000, "topNSigma", topNSigma, "from 0 (keeps all) to 1000");
        check(typicalP > 0 && typicalP <= 1, "typicalP", typicalP, "over 0 and at most 1");
        check(xtcProbability >= 0 && xtcProbability <= 1, "xtcProbability", xtcProbability, "from 0 to 1");
        check(xtcThreshold >= 0 && xtcThreshold <= 1, "xtcThreshold", xtcThreshold, "from 0 to 1");
        check(
                minTokens >= 0 && minTokens <= maxTokens,
                "minTokens",
                minTokens,
                "from 0 to maxTokens, which is " + maxTokens);
        check(
                repetitionPenalty > 0 && repetitionPenalty <= 100,
                "repetitionPenalty",
                repetitionPenalty,
                "over 0 and at most 100 (1 is none)");
        check(presencePenalty >= -2 && presencePenalty <= 2, "presencePenalty", presencePenalty, "from -2 to 2");
        check(frequencyPenalty >= -2 && frequencyPenalty <= 2, "frequencyPenalty", frequencyPenalty, "from -2 to 2");
        check(logprobs >= -1 && logprobs <= MAX_LOGPROBS, "logprobs", logprobs, "from -1 (none) to " + MAX_LOGPROBS);

        check(
                promptLogprobs >= -1 && promptLogprobs <= MAX_LOGPROBS,
                "promptLogprobs",
                promptLogprobs,
                "from -1 (none) to " + MAX_LOGPROBS);
        check(
                constraint == null || !ignoreEndOfText,
                "ignoreEndOfText",
                true,
                "false together with a constraint, which says where the answer ends");
        check(
                constraint == null || minTokens == 0,
                "minTokens",
                minTokens,
                "0 together with a constraint, which says where the answer ends");

        // Check sizes before copying: a huge list must not cost memory.
        checkSize(Objects.requireNonNull(logitBias, "logitBias").size(), MAX_LOGIT_BIAS, "logitBias");
        checkSize(Objects.requireNonNull(stop, "stop").size(), MAX_STOP, "stop");
        checkSize(Objects.requireNonNull(stopTokens, "stopTokens").size(), MAX_STOP_TOKENS, "stopTokens");
        checkSize(Objects.requireNonNull(allowedTokens, "allowedTokens").size(), MAX_ALLOWED_TOKENS, "allowedTokens");
        checkSize(Objects.requireNonNull(badWords, "badWords").size(), MAX_BAD_WORDS, "badWords");
        logitBias = Map.copyOf(logitBias);
        allowedTokens = List.copyOf(allowedTokens);
        for (List<Integer> word : badWords) {
            check(
                    !word.isEmpty() && word.size() <= MAX_BAD_WORD_TOKENS,
                    "badWords",
                    "a word of " + word.size() + " tokens",
                    "words of 1 to " + MAX_BAD_WORD_TOKENS + " tokens");
        }
        badWords = badWords.stream().map(List::copyOf).toList();
        stop = List.copyOf(stop);
        stopTokens = List.copyOf(stopTokens);
        for (Map.Entry<Integer, Float> entry : logitBias.entrySet()) {
            int token = entry.getKey();
            float bias = entry.getValue();
            check(token >= 0, "logitBias", "token " + token, "a token id, 0 or more");
            check(bias >= -100 && bias <= 100, "logitBias", bias + " for token " + token, "from -100 to 100");
        }
        for (int token : stopTokens) {
            check(token >= 0, "stopTokens", "token " + token, "a token id, 0 or more");
        }
        for (String text : stop) {
            check(!text.isEmpty(), "stop", "an empty string", "at least one character long");
            check(
                    text.length() <= MAX_STOP_LENGTH,
                    "stop",
                    "a string of " + text.length() + " characters",
                    "at most " + MAX_STOP_LENGTH + " characters long");
            // Half a surrogate pair would match half a character and split it.
            check(
                    text.codePoints().noneMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE),
                    "stop",
                    "a string with half a surrogate pair",
                    "whole characters");
        }
    }

    static void check(boolean valid, String parameter, Object value, String allowed) {
        if (!valid) {
            throw new InvalidRequestException(parameter, parameter + " is " + value + "; it must be " + allowed);
        }
    }

    static void checkSize(int size, int most, String parameter) {
        if (size > most) {
            throw new InvalidRequestException(
                    parameter, parameter + " has " + size + " entries; at most " + most + " are allowed");
        }
    }

    /** A builder that starts from these parameters. */
    public Builder toBuilder() {
        return new Builder()
                .maxTokens(maxTokens)
                .temperature(temperature)
                .topK(topK)
                .topP(topP)
                .minP(minP)
                .topNSigma(topNSigma)
                .typicalP(typicalP)
                .xtc(xtcProbability, xtcThreshold)
                .repetitionPenalty(repetitionPenalty)
                .presencePenalty(presencePenalty)
                .frequencyPenalty(frequencyPenalty)
                .dry(dry)
                .logitBias(logitBias)
                .allowedTokens(allowedTokens)
                .badWords(badWords)
                .minTokens(minTokens)
                .seed(seed)
                .stop(stop)
                .stopTokens(stopTokens)
                .includeStop(includeStop)
                .ignoreEndOfText(ignoreEndOfText)
                .logprobs(logprobs)
                .promptLogprobs(promptLogprobs)
                .constraint(constraint)
                .showControlTokens(showControlTokens);
    }

    /** A builder with the defaults: greedy off (temperature 1), all filters off, 16 tokens, seed 0. */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects parameters; each method is named after the component that it sets. */
    public static final class Builder {
        private int maxTokens = 16;
        private double temperature = 1;
        private int topK;
        private double topP = 1;
        private double minP;
        private double topNSigma;
        private double typicalP = 1;
        private double xtcProbability;
        private double xtcThreshold = 0.1;
        private double repetitionPenalty = 1;
        private double presencePenalty;
        private double frequencyPenalty;
        private @Nullable Dry dry;
        private Map<Integer, Float> logitBias = Map.of();
        private List<Integer> allowedTokens = List.of();
        private List<List<Integer>> badWords = List.of();
        private int minTokens;
        private long seed;
        private List<String> stop = List.of();
        private List<Integer> stopTokens = List.of();
        private boolean includeStop;
        private boolean ignoreEndOfText;
        private int logprobs = -1;
        private int promptLogprobs = -1;
        private @Nullable Constraint constraint;
        private boolean showControlTokens;

        private Builder() {}

        /** Maximum number of tokens to generate. */
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

        /** 0 keeps all. */
        public Builder topNSigma(double value) {
            topNSigma = value;
            return this;
        }

        /** 1 keeps all. */
        public Builder typicalP(double value) {
            typicalP = value;
            return this;
        }

        /** Probability and threshold of XTC; a probability of 0 is none. */
        public Builder xtc(double probability, double threshold) {
            xtcProbability = probability;
            xtcThreshold = threshold;
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

        /** Lowers the logits of tokens that would continue a repetition; null for none. */
        public Builder dry(@Nullable Dry value) {
            dry = value;
            return this;
        }

        /** Token id to a number that is added to its logit. */
        public Builder logitBias(Map<Integer, Float> value) {
            logitBias = value;
            return this;
        }

        /** The only tokens that may be chosen; empty for all. */
        public Builder allowedTokens(List<Integer> value) {
            allowedTokens = value;
            return this;
        }

        /** Sequences of tokens that the answer does not contain. */
        public Builder badWords(List<List<Integer>> value) {
            badWords = value;
            return this;
        }

        /** Minimum number of tokens to generate. */
        public Builder minTokens(int value) {
            minTokens = value;
            return this;
        }

        /** Key of the random noise. */
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

        /** Whether what ends the answer is part of its text. */
        public Builder includeStop(boolean value) {
            includeStop = value;
            return this;
        }

        /** Whether to continue after the model's end token. */
        public Builder ignoreEndOfText(boolean value) {
            ignoreEndOfText = value;
            return this;
        }

        /** How many of the likeliest tokens to report; −1 for none. */
        public Builder logprobs(int value) {
            logprobs = value;
            return this;
        }

        /** How many of the likeliest tokens to report for each token of the prompt; −1 for none. */
        public Builder promptLogprobs(int value) {
            promptLogprobs = value;
            return this;
        }

        /** What the answer's text must be; null for anything. */
        public Builder constraint(@Nullable Constraint value) {
            constraint = value;
            return this;
        }

        /** Whether the answer's text contains its control tokens. */
        public Builder showControlTokens(boolean value) {
            showControlTokens = value;
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
                    topNSigma,
                    typicalP,
                    xtcProbability,
                    xtcThreshold,
                    repetitionPenalty,
                    presencePenalty,
                    frequencyPenalty,
                    dry,
                    logitBias,
                    allowedTokens,
                    badWords,
                    minTokens,
                    seed,
                    stop,
                    stopTokens,
                    includeStop,
                    ignoreEndOfText,
                    logprobs,
                    promptLogprobs,
                    constraint,
                    showControlTokens);
        }
    }
}
