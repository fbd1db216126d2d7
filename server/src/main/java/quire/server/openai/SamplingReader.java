package quire.server.openai;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;
import quire.engine.constrain.Constraint;
import quire.model.SamplingDefaults;
import quire.model.text.Tokenizer;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Reads how tokens are chosen and where the answer ends. Values that mean "none" in other servers mean the same here: a
 * negative {@code top_k}, the seeds −1 and 4294967295, and for lists and objects every {@linkplain Fields#isNeutral
 * neutral} value.
 */
final class SamplingReader {
    /** The names of parameters that differ between the two endpoints. */
    record Names(String prompt, String limit, String logprobs) {
        static final Names COMPLETIONS = new Names("prompt", "max_tokens", "logprobs");
        static final Names CHAT = new Names("messages", "max_completion_tokens", "top_logprobs");

        Names withLimit(String value) {
            return new Names(prompt, value, logprobs);
        }
    }

    /** The default of llama.cpp. */
    private static final double DEFAULT_XTC_THRESHOLD = 0.1;

    private static final int MAX_STOPS = SamplingParams.MAX_STOP;

    private static final BigInteger MIN_SEED = BigInteger.valueOf(Long.MIN_VALUE);
    private static final BigInteger MAX_SEED =
            BigInteger.ONE.shiftLeft(Long.SIZE).subtract(BigInteger.ONE);

    /** −1 means "none" in llama.cpp's server, llama-cpp-python and vLLM; 2³²−1 is llama.cpp's own constant for it. */
    private static final List<BigInteger> NO_SEED = List.of(BigInteger.ONE.negate(), BigInteger.valueOf(0xFFFF_FFFFL));

    private final Tokenizer tokenizer;
    private final SamplingDefaults defaults;
    private final DryReader dry;

    /** @param defaults the values of absent parameters; every value is there */
    SamplingReader(Tokenizer tokenizer, SamplingDefaults defaults) {
        this.tokenizer = tokenizer;
        this.defaults = defaults;
        dry = new DryReader(tokenizer);
    }

    /**
     * Reads the parameters.
     *
     * @param maxTokens maximum number of tokens of the answer
     * @param logprobs −1 for none, otherwise how many of the likeliest tokens to report
     * @param names for errors
     * @param constraint of the answer; null for none
     * @param showControlTokens whether the answer's text contains its control tokens
     */
    SamplingParams read(
            Fields body,
            int maxTokens,
            int logprobs,
            Names names,
            @Nullable Constraint constraint,
            boolean showControlTokens) {
        Long seed = seed(body);
        checkPenaltyWindow(body);
        try {
            return SamplingParams.builder()
                    .maxTokens(maxTokens)
                    .temperature(
                            body.number("temperature", defaults.temperature().orElseThrow()))
                    .topK(topK(body))
                    .topP(body.number("top_p", defaults.topP().orElseThrow()))
                    .minP(body.number("min_p", defaults.minP().orElseThrow()))
                    .topNSigma(Math.max(body.number("top_n_sigma", 0), 0))
                    .typicalP(body.number("typical_p", 1))
                    .xtc(body.number("xtc_probability", 0), body.number("xtc_threshold", DEFAULT_XTC_THRESHOLD))
                    .repetitionPenalty(body.number(
                            "repetition_penalty", defaults.repetitionPenalty().orElseThrow()))
                    .presencePenalty(body.number("presence_penalty", 0))
                    .frequencyPenalty(body.number("frequency_penalty", 0))
                    .dry(dry.read(body))
                    .logitBias(logitBias(body))
                    .allowedTokens(tokens(body, "allowed_token_ids"))
                    .badWords(badWords(body))
                    .minTokens(minTokens(body))
                    .seed(seed != null ? seed : ThreadLocalRandom.current().nextLong())
                    .stop(stops(body))
                    .stopTokens(tokens(body, "stop_token_ids"))
                    .includeStop(
                            asked(body, "include_stop_str_in_output") && body.bool("include_stop_str_in_output", false))
                    .ignoreEndOfText(body.bool("ignore_eos", false))
                    .logprobs(logprobs)
                    .constraint(constraint)
                    .showControlTokens(showControlTokens)
                    .build();
        } catch (InvalidRequestException e) {
            throw refusal(e, names, body::path);
        }
    }

    /** The engine's error with the API's names, for a request whose synonyms are no longer known. */
    static HttpException refusal(InvalidRequestException e, Names names) {
        return refusal(e, names, name -> name);
    }

    /**
     * The engine's error with the API's names.
     *
     * @param path converts a parameter's name to the name that was sent
     */
    private static HttpException refusal(InvalidRequestException e, Names names, UnaryOperator<String> path) {
        String name =
                switch (e.parameter()) {
                    case "prompt" -> names.prompt();
                    case "maxTokens" -> names.limit();
                    case "logprobs" -> names.logprobs();
                    case "stopTokens" -> "stop_token_ids";
                    case "allowedTokens" -> "allowed_token_ids";
                    case "ignoreEndOfText" -> "ignore_eos";
                    case "width" -> "n";
                    default -> e.parameter().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT); // topP → top_p
                };
        String sent = path.apply(name);
        // The engine's messages begin with its own name for the parameter: "topP is 0.0; it must be …"
        String message = String.valueOf(e.getMessage());
        String renamed = message.startsWith(e.parameter() + " ")
                ? "'" + sent + "'" + message.substring(e.parameter().length())
                : message;
        String asSent = renamed.replaceFirst("^('[^']*' is -?\\d+)\\.0;", "$1;"); // the client sent 0, not 0.0
        return HttpException.invalid(sent, "invalid_value", "Invalid value: " + asSent + ".");
    }

    /** A penalty that the request does not send counts the whole text too. */
    private void checkPenaltyWindow(Fields body) {
        JsonNode window = body.get("repeat_last_n");
        double penalty = defaults.repetitionPenalty().orElseThrow();
        if (window == null || body.get("repetition_penalty") != null || penalty == 1 || isWholeText(window)) {
            return;
        }
        throw HttpException.unsupported(
                "repeat_last_n",
                "'repeat_last_n' is only supported without penalties, but the model's file or the operator sets a"
                        + " repetition penalty of " + penalty
                        + ", which counts the whole text. Leave 'repeat_last_n' out, or also send 'repetition_penalty': 1.");
    }

    private static boolean isWholeText(JsonNode window) {
        return window.isNumber() && Fields.real(window) == -1;
    }

    private int topK(Fields body) {
        Long topK = body.integer("top_k", Long.MIN_VALUE, Integer.MAX_VALUE);
        return topK == null ? defaults.topK().orElseThrow() : (int) Math.max(topK, 0);
    }

    /** A signed or unsigned number of 64 bits; null for none. */
    private static @Nullable Long seed(Fields body) {
        BigInteger seed = body.bigInteger("seed", MIN_SEED, MAX_SEED);
        return seed == null || NO_SEED.contains(seed) ? null : seed.longValue();
    }

    private Map<Integer, Float> logitBias(Fields body) {
        Fields bias = body.object("logit_bias", "an object from token id to bias");
        if (bias == null) {
            return Map.of();
        }
        Map<Integer, Float> tokenToBias = new HashMap<>();
        for (String key : bias.names()) {
            int token;
            try {
                token = Integer.parseInt(key);
            } catch (NumberFormatException e) {
                token = -1;
            }
            if (token < 0 || token >= tokenizer.vocabularySize()) {
                throw HttpException.invalid(
                        "logit_bias",
                        "invalid_value",
                        "Invalid key in 'logit_bias': must be a token id from 0 to " + (tokenizer.vocabularySize() - 1)
                                + ".");
            }
            double value = bias.number(key, 0);
            if (value < -100 || value > 100) {
                throw HttpException.invalid(
                        "logit_bias",
                        "invalid_value",
                        "Invalid value for 'logit_bias." + token + "': must be -100 to 100, but is " + bias.require(key)
                                + ".");
            }
            tokenToBias.put(token, (float) value);
        }
        return tokenToBias;
    }

    private static List<String> stops(Fields body) {
        JsonNode stop = body.get("stop");
        List<String> stops = new ArrayList<>();
        if (stop != null && stop.isString()) {
            stops.add(Fields.string(stop, body.path("stop")));
        } else {
            body.forEach("stop", "a string or an array of strings", (e, path) -> stops.add(Fields.string(e, path)));
        }
        stops.removeIf(String::isEmpty); // stops nothing
        if (stops.size() > MAX_STOPS) {
            throw HttpException.invalid(
                    body.path("stop"),
                    "invalid_value",
                    "Invalid value for '" + body.path("stop") + "': must be at most " + MAX_STOPS + " strings.");
        }
        return stops;
    }

    private List<Integer> tokens(Fields body, String name) {
        List<Integer> tokens = new ArrayList<>();
        body.forEach(
                name,
                "an array of token ids",
                (element, path) -> tokens.add(Fields.token(element, path, tokenizer.vocabularySize())));
        return tokens;
    }

    /** Whether a parameter is there with a value that is not neutral. */
    private static boolean asked(Fields body, String name) {
        JsonNode value = body.get(name);
        return value != null && !Fields.isNeutral(value);
    }

    private static int minTokens(Fields body) {
        return asked(body, "min_tokens") ? body.integer("min_tokens", 0, Integer.MAX_VALUE, 0) : 0;
    }

    /** The tokens of each word, at the beginning of a text and behind a space, as vLLM takes them. */
    private List<List<Integer>> badWords(Fields body) {
        List<List<Integer>> words = new ArrayList<>();
        body.forEach("bad_words", "an array of strings", (element, path) -> {
            String word = Fields.string(element, path).stripLeading();
            if (word.isEmpty()) {
                return; // forbids nothing
            }
            List<Integer> first = encode(word);
            words.add(first);
            List<Integer> behindSpace = encode(" " + word);
            if (behindSpace.size() == first.size() && !behindSpace.getFirst().equals(first.getFirst())) {
                words.add(behindSpace);
            }
        });
        return words;
    }

    private List<Integer> encode(String text) {
        return Arrays.stream(tokenizer.encode(text, false, false)).boxed().toList();
    }
}
