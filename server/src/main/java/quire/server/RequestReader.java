package quire.server;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.InvalidRequestException;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;
import tools.jackson.databind.JsonNode;

/**
 * Reads requests: every documented parameter ends up in the {@link Asked} or in a 400 that names it. What is not
 * documented anywhere is tolerated, for clients send much.
 */
final class RequestReader {
    private static final int MAX_STOPS = 16;
    private static final int DEFAULT_COMPLETION_TOKENS = 16;

    /** Parameters that are not offered, each with the values that ask for nothing and so are harmless. */
    private static final Map<String, Predicate<JsonNode>> REFUSED_EVERYWHERE = Map.ofEntries(
            // OpenAI's
            Map.entry("service_tier", v -> isText(v, "auto", "default")),
            Map.entry("store", RequestReader::isFalse),
            Map.entry("metadata", RequestReader::isNothing),
            // vLLM's, and other servers' where they change the answer
            Map.entry("priority", RequestReader::isNever),
            Map.entry("use_beam_search", RequestReader::isFalse),
            Map.entry("length_penalty", v -> isNumber(v, 1)),
            Map.entry("min_tokens", v -> isNumber(v, 0)),
            Map.entry("early_stopping", RequestReader::isFalse),
            Map.entry("include_stop_str_in_output", RequestReader::isFalse),
            Map.entry("skip_special_tokens", RequestReader::isTrue),
            Map.entry("spaces_between_special_tokens", JsonNode::isBoolean), // no special token is ever shown
            Map.entry("truncate_prompt_tokens", RequestReader::isNever),
            Map.entry("prompt_logprobs", RequestReader::isNever),
            Map.entry("prompt_embeds", RequestReader::isNever),
            Map.entry("allowed_token_ids", RequestReader::isNever),
            Map.entry("bad_words", RequestReader::isNothing),
            Map.entry("logits_processors", RequestReader::isNever),
            Map.entry("return_tokens_as_token_ids", RequestReader::isFalse),
            Map.entry("return_token_ids", RequestReader::isFalse),
            Map.entry("guided_json", RequestReader::isNever),
            Map.entry("guided_regex", RequestReader::isNever),
            Map.entry("guided_choice", RequestReader::isNever),
            Map.entry("guided_grammar", RequestReader::isNever),
            Map.entry("structured_outputs", RequestReader::isNever),
            Map.entry("grammar", RequestReader::isNever),
            Map.entry("json_schema", RequestReader::isNever),
            Map.entry("typical_p", v -> isNumber(v, 1)),
            Map.entry("mirostat", v -> isNumber(v, 0)),
            Map.entry("response_format", RequestReader::isPlainText));

    private static final Map<String, Predicate<JsonNode>> REFUSED_IN_COMPLETIONS = Map.of(
            "suffix", v -> isText(v, ""),
            "best_of", v -> isNumber(v, 1));

    private static final Map<String, Predicate<JsonNode>> REFUSED_IN_CHAT = Map.ofEntries(
            Map.entry("audio", RequestReader::isNever),
            Map.entry("modalities", v -> v.isArray() && v.size() == 1 && isText(v.get(0), "text")),
            Map.entry("prediction", RequestReader::isNever),
            Map.entry("functions", RequestReader::isNever),
            Map.entry("function_call", RequestReader::isNever),
            Map.entry("tool_choice", v -> isText(v, "auto", "none")),
            Map.entry("parallel_tool_calls", RequestReader::isTrue),
            Map.entry("reasoning_effort", RequestReader::isNever),
            Map.entry("verbosity", v -> isText(v, "medium")),
            Map.entry("web_search_options", RequestReader::isNever),
            Map.entry("moderation", RequestReader::isNever),
            Map.entry("echo", RequestReader::isFalse),
            Map.entry("add_generation_prompt", RequestReader::isTrue),
            Map.entry("continue_final_message", RequestReader::isFalse),
            Map.entry("add_special_tokens", RequestReader::isFalse),
            Map.entry("chat_template", RequestReader::isNever),
            Map.entry("chat_template_kwargs", RequestReader::isNothing),
            Map.entry("documents", RequestReader::isNothing));

    private final Engine engine;
    private final Tokenizer tokenizer;
    private final List<String> modelNames;

    /** @param modelNames under which the model may be asked for; the first is the one that answers carry */
    RequestReader(Engine engine, List<String> modelNames) {
        this.engine = engine;
        this.tokenizer = engine.tokenizer();
        this.modelNames = modelNames;
    }

    /** A body of {@code /v1/completions}. */
    Asked completion(Fields body) {
        checkModel(body.require("model"));
        refuse(body, REFUSED_EVERYWHERE);
        refuse(body, REFUSED_IN_COMPLETIONS);
        JsonNode prompt = body.require("prompt");
        int logprobs = body.integer("logprobs", 0, SamplingParams.MAX_LOGPROBS, -1);
        boolean echo = body.bool("echo", false);
        if (echo && logprobs >= 0) {
            throw ApiException.unsupported(
                    "echo",
                    "'echo' together with 'logprobs' is not supported: log probabilities of the prompt are not"
                            + " computed. Send one of them.");
        }
        boolean addSpecial = body.bool("add_special_tokens", true);
        if (prompt.isArray() && prompt.size() == 1 && !prompt.get(0).isNumber()) {
            prompt = prompt.get(0); // a list of one prompt
        }
        int[] tokens;
        String text = null;
        if (prompt.isString()) {
            text = Fields.string(prompt, "prompt");
            tokens = tokenizer.encodePrompt(text, addSpecial, true);
        } else {
            tokens = tokens(prompt, "prompt");
        }
        if (tokens.length == 0) {
            throw ApiException.invalid("prompt", "invalid_value", "'prompt' is empty: it needs at least one token.");
        }
        String limitName = "max_tokens";
        Integer limit = limit(body, limitName);
        checkContext(tokens.length, "prompt", "prompt", limit, limitName);
        int room = engine.maxContext() - tokens.length;
        SamplingParams params = sampling(
                body,
                limit != null ? limit : Math.min(DEFAULT_COMPLETION_TOKENS, room),
                limitName,
                logprobs,
                "logprobs");
        String echoed = !echo ? "" : text != null ? text : tokenizer.decodeText(tokens);
        return new Asked(new Request(tokens, params), false, echoed, stream(body), includeUsage(body));
    }

    /** A body of {@code /v1/chat/completions}. */
    Asked chat(Fields body) {
        checkModel(body.require("model"));
        refuse(body, REFUSED_EVERYWHERE);
        refuse(body, REFUSED_IN_CHAT);
        boolean withLogprobs = body.bool("logprobs", false);
        if (!withLogprobs && body.get("top_logprobs") != null) {
            throw ApiException.invalid(
                    "top_logprobs", "invalid_value", "'top_logprobs' is only allowed when 'logprobs' is true.");
        }
        int logprobs = withLogprobs ? body.integer("top_logprobs", 0, SamplingParams.MAX_LOGPROBS, 0) : -1;
        int[] tokens = ChatPrompt.tokens(engine, body, true, false);
        Integer newer = limit(body, "max_completion_tokens");
        Integer older = limit(body, "max_tokens");
        if (newer != null && older != null && !newer.equals(older)) {
            throw ApiException.invalid(
                    "max_tokens",
                    "invalid_value",
                    "'max_tokens' (" + older + ") and 'max_completion_tokens' (" + newer
                            + ") differ: send one of them.");
        }
        Integer limit = newer != null ? newer : older;
        String limitName = newer != null || older == null ? "max_completion_tokens" : "max_tokens";
        checkContext(tokens.length, "messages", "messages", limit, limitName);
        int room = engine.maxContext() - tokens.length;
        SamplingParams params = sampling(body, limit != null ? limit : room, limitName, logprobs, "top_logprobs");
        return new Asked(new Request(tokens, params), true, "", stream(body), includeUsage(body));
    }

    /** Checks the model's name. */
    void checkModel(JsonNode model) {
        String asked = Fields.string(model, "model");
        if (!modelNames.contains(asked)) {
            throw ApiException.unknownModel(asked, String.join("', '", modelNames));
        }
    }

    /** Token ids out of a JSON array. */
    int[] tokens(JsonNode array, String path) {
        if (!array.isArray()) {
            throw Fields.wrongType(path, "a string or an array of token ids", array);
        }
        int[] tokens = new int[array.size()];
        int i = 0;
        for (JsonNode element : array.values()) {
            if (element.isString() || element.isArray()) {
                throw ApiException.unsupported(
                        path,
                        "'" + path + "' holds several prompts, which is not supported: send one request for each.");
            }
            tokens[i] = Fields.token(element, path + "[" + i + "]", tokenizer.vocabularySize());
            i++;
        }
        return tokens;
    }

    /** Turns the engine's complaint into the API's, in the names that the client used. */
    static ApiException refused(InvalidRequestException e, String promptName, String limitName, String logprobsName) {
        String param =
                switch (e.parameter()) {
                    case "prompt" -> promptName;
                    case "maxTokens" -> limitName;
                    case "logprobs" -> logprobsName;
                    case "stopTokens" -> "stop_token_ids";
                    case "ignoreEndOfText" -> "ignore_eos";
                    default -> e.parameter().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT); // topP → top_p
                };
        String message = e.getMessage();
        return ApiException.invalid(
                param, "invalid_value", "Invalid value for '" + param + "'" + (message == null ? "." : ": " + message));
    }

    private SamplingParams sampling(Fields body, int maxTokens, String limitName, int logprobs, String logprobsName) {
        if (body.integer("n", 1, 128, 1) != 1) {
            throw ApiException.unsupported("n", "'n' must be 1: several answers at once are not supported.");
        }
        // Identifiers for the operator's own use, and a routing hint that one server has no use for: checked, that is
        // all.
        body.string("user");
        body.string("safety_identifier");
        body.string("prompt_cache_key");
        body.string("prompt_cache_retention");
        Long seed = body.integer("seed", Long.MIN_VALUE, Long.MAX_VALUE);
        int topK = body.integer("top_k", -1, Integer.MAX_VALUE, 0);
        try {
            return SamplingParams.builder()
                    .maxTokens(maxTokens)
                    .temperature(body.number("temperature", 1))
                    .topK(Math.max(topK, 0)) // −1 is vLLM's way to say all
                    .topP(body.number("top_p", 1))
                    .minP(body.number("min_p", 0))
                    .repetitionPenalty(body.number("repetition_penalty", 1))
                    .presencePenalty(body.number("presence_penalty", 0))
                    .frequencyPenalty(body.number("frequency_penalty", 0))
                    .logitBias(logitBias(body))
                    .seed(seed != null ? seed : ThreadLocalRandom.current().nextLong())
                    .stop(stops(body))
                    .stopTokens(stopTokens(body))
                    .ignoreEndOfText(body.bool("ignore_eos", false))
                    .logprobs(logprobs)
                    .build();
        } catch (InvalidRequestException e) {
            throw refused(e, "prompt", limitName, logprobsName);
        }
    }

    private Map<Integer, Float> logitBias(Fields body) {
        JsonNode bias = body.get("logit_bias");
        if (bias == null) {
            return Map.of();
        }
        if (!bias.isObject()) {
            throw Fields.wrongType("logit_bias", "an object from token id to bias", bias);
        }
        Map<Integer, Float> tokenToBias = new HashMap<>();
        for (Map.Entry<String, JsonNode> entry : bias.properties()) {
            int token;
            try {
                token = Integer.parseInt(entry.getKey());
            } catch (NumberFormatException e) {
                token = -1;
            }
            if (token < 0 || token >= tokenizer.vocabularySize()) {
                throw ApiException.invalid(
                        "logit_bias",
                        "invalid_value",
                        "Invalid key in 'logit_bias': must be a token id from 0 to " + (tokenizer.vocabularySize() - 1)
                                + ".");
            }
            double value = Fields.number(entry.getValue(), "logit_bias." + token);
            if (value < -100 || value > 100) {
                throw ApiException.invalid(
                        "logit_bias",
                        "invalid_value",
                        "Invalid value for 'logit_bias." + token + "': must be -100 to 100, but is " + value + ".");
            }
            tokenToBias.put(token, (float) value);
        }
        return tokenToBias;
    }

    private static List<String> stops(Fields body) {
        JsonNode stop = body.get("stop");
        if (stop == null) {
            return List.of();
        }
        List<String> stops = new ArrayList<>();
        if (stop.isString()) {
            stops.add(Fields.string(stop, "stop"));
        } else if (stop.isArray()) {
            for (JsonNode element : stop.values()) {
                stops.add(Fields.string(element, "stop[" + stops.size() + "]"));
            }
        } else {
            throw Fields.wrongType("stop", "a string or an array of strings", stop);
        }
        if (stops.size() > MAX_STOPS || stops.contains("")) {
            throw ApiException.invalid(
                    "stop",
                    "invalid_value",
                    "Invalid value for 'stop': must be at most " + MAX_STOPS + " strings, none of them empty.");
        }
        return stops;
    }

    private List<Integer> stopTokens(Fields body) {
        JsonNode array = body.array("stop_token_ids");
        List<Integer> tokens = new ArrayList<>();
        if (array != null) {
            for (JsonNode element : array.values()) {
                String path = "stop_token_ids[" + tokens.size() + "]";
                tokens.add(Fields.token(element, path, tokenizer.vocabularySize()));
            }
        }
        return tokens;
    }

    private static @Nullable Integer limit(Fields body, String name) {
        Long limit = body.integer(name, 1, Integer.MAX_VALUE);
        return limit == null ? null : limit.intValue();
    }

    private void checkContext(
            int promptTokens, String promptName, String promptWord, @Nullable Integer limit, String limitName) {
        int context = engine.maxContext();
        if (promptTokens >= context) {
            throw ApiException.contextLength(
                    promptName,
                    "The context has " + context + " tokens, but the " + promptWord + " took " + promptTokens
                            + " and an answer needs at least one: shorten the " + promptWord + ".");
        }
        if (limit != null && limit > context - promptTokens) {
            throw ApiException.contextLength(
                    limitName,
                    "The context has " + context + " tokens, but you asked for " + ((long) promptTokens + limit) + " ("
                            + promptTokens + " in the " + promptWord + ", " + limit + " in '" + limitName
                            + "'): ask for at most " + (context - promptTokens) + ".");
        }
    }

    private static boolean stream(Fields body) {
        boolean stream = body.bool("stream", false);
        if (!stream && body.get("stream_options") != null) {
            throw ApiException.invalid(
                    "stream_options", "invalid_value", "'stream_options' is only allowed when 'stream' is true.");
        }
        return stream;
    }

    private static boolean includeUsage(Fields body) {
        Fields options = body.object("stream_options");
        if (options == null) {
            return false;
        }
        refuse(
                options,
                Map.of(
                        "include_obfuscation",
                        RequestReader::isFalse,
                        "continuous_usage_stats",
                        RequestReader::isFalse));
        return options.bool("include_usage", false);
    }

    /** Refuses the parameters whose values ask for something. */
    static void refuse(Fields body, Map<String, Predicate<JsonNode>> harmless) {
        for (Map.Entry<String, Predicate<JsonNode>> parameter : harmless.entrySet()) {
            JsonNode value = body.get(parameter.getKey());
            if (value != null && !parameter.getValue().test(value)) {
                String path = body.path(parameter.getKey());
                String shown = value.isContainer() ? "" : ": " + shortened(value.toString());
                throw ApiException.unsupported(path, "'" + path + "' is not supported with this value" + shown + ".");
            }
        }
    }

    private static String shortened(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }

    private static boolean isNever(JsonNode value) {
        return false;
    }

    private static boolean isNothing(JsonNode value) {
        return value.isContainer() && value.isEmpty();
    }

    private static boolean isFalse(JsonNode value) {
        return value.isBoolean() && !value.booleanValue();
    }

    private static boolean isTrue(JsonNode value) {
        return value.isBoolean() && value.booleanValue();
    }

    private static boolean isNumber(JsonNode value, double number) {
        return value.isNumber() && value.doubleValue() == number;
    }

    private static boolean isText(JsonNode value, String... texts) {
        return value.isString() && List.of(texts).contains(value.stringValue());
    }

    private static boolean isPlainText(JsonNode value) {
        JsonNode type = value.get("type");
        return value.isObject() && type != null && isText(type, "text");
    }
}
