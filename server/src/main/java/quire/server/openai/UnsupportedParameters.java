package quire.server.openai;

import static java.util.Map.entry;

import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Parameters that are known but not supported. A value that asks for nothing is accepted: clients send many parameters
 * with their defaults. Any other value is an error that names the parameter, because the answer would not be what the
 * client asked for.
 */
final class UnsupportedParameters {
    /** Of completions and chat. */
    static final UnsupportedParameters EVERYWHERE = new UnsupportedParameters(Map.ofEntries(
            // OpenAI's
            entry("service_tier", nothingOr("auto", "default")),
            entry("store", Fields::isNothing),
            entry("metadata", Fields::isNothing),
            entry("response_format", v -> Fields.isNothing(v) || isPlainText(v)),
            // vLLM's, and those of other servers that change the answer
            entry("priority", Fields::isNothing),
            entry("use_beam_search", Fields::isNothing),
            entry("length_penalty", v -> isNumber(v, 1)),
            entry("min_tokens", Fields::isNothing),
            entry("early_stopping", Fields::isNothing),
            entry("include_stop_str_in_output", Fields::isNothing),
            entry("skip_special_tokens", UnsupportedParameters::isTrue),
            entry("spaces_between_special_tokens", JsonNode::isBoolean), // special tokens are never shown
            entry("truncate_prompt_tokens", UnsupportedParameters::isNothingButNoNumber), // 0 keeps no token
            entry("prompt_logprobs", UnsupportedParameters::isNothingButNoNumber), // 0 asks for the prompt's own tokens
            entry("prompt_embeds", Fields::isNothing),
            entry("allowed_token_ids", Fields::isNothing),
            entry("bad_words", Fields::isNothing),
            entry("logits_processors", Fields::isNothing),
            entry("return_tokens_as_token_ids", Fields::isNothing),
            entry("return_token_ids", Fields::isNothing),
            entry("guided_json", UnsupportedParameters::isNothingButNoObject), // {} is the schema of any JSON
            entry("guided_regex", Fields::isNothing),
            entry("guided_choice", Fields::isNothing),
            entry("guided_grammar", Fields::isNothing),
            entry("structured_outputs", Fields::isNothing),
            entry("grammar", Fields::isNothing),
            entry("json_schema", UnsupportedParameters::isNothingButNoObject), // {} is the schema of any JSON
            entry("typical_p", v -> isNumber(v, 1)),
            entry("mirostat", Fields::isNothing)));

    /** Of completions alone. */
    static final UnsupportedParameters COMPLETIONS = new UnsupportedParameters(
            Map.of("suffix", Fields::isNothing, "best_of", v -> Fields.isNothing(v) || isNumber(v, 1)));

    /** Of chat alone. */
    static final UnsupportedParameters CHAT = new UnsupportedParameters(Map.ofEntries(
            entry("audio", UnsupportedParameters::isNothingButNoObject), // {} asks for audio
            entry("modalities", v -> Fields.isNothing(v) || (v.isArray() && v.size() == 1 && isText(v.get(0), "text"))),
            entry("prediction", UnsupportedParameters::isNothingButNoObject),
            entry("functions", Fields::isNothing),
            entry("function_call", nothingOr("none")),
            entry("tool_choice", nothingOr("auto", "none")),
            entry("parallel_tool_calls", UnsupportedParameters::isTrue),
            entry("reasoning_effort", Fields::isNothing),
            entry("verbosity", nothingOr("medium")),
            entry("web_search_options", UnsupportedParameters::isNothingButNoObject), // {} asks for a search
            entry("moderation", Fields::isNothing),
            entry("echo", Fields::isNothing),
            entry("add_generation_prompt", UnsupportedParameters::isTrue),
            entry("continue_final_message", Fields::isNothing),
            entry("add_special_tokens", Fields::isNothing),
            entry("chat_template", Fields::isNothing),
            entry("chat_template_kwargs", Fields::isNothing),
            entry("documents", Fields::isNothing)));

    /** Of {@code stream_options}. */
    static final UnsupportedParameters STREAM_OPTIONS = new UnsupportedParameters(Map.of(
            "include_obfuscation", Fields::isNothing,
            "continuous_usage_stats", Fields::isNothing));

    /** Of a message of a chat. */
    static final UnsupportedParameters MESSAGE = new UnsupportedParameters(Map.of(
            "audio", Fields::isNothing,
            "function_call", Fields::isNothing,
            "refusal", Fields::isNothing));

    /** Of {@code /tokenize}. */
    static final UnsupportedParameters TOKENIZE = new UnsupportedParameters(Map.of(
            "continue_final_message", Fields::isNothing,
            "chat_template", Fields::isNothing,
            "chat_template_kwargs", Fields::isNothing,
            "mm_processor_kwargs", Fields::isNothing));

    private final Map<String, Predicate<JsonNode>> nameToHarmless;

    private UnsupportedParameters(Map<String, Predicate<JsonNode>> nameToHarmless) {
        this.nameToHarmless = nameToHarmless;
    }

    /** @throws HttpException 400 if one of the parameters asks for something */
    void check(Fields body) {
        for (Map.Entry<String, Predicate<JsonNode>> parameter : nameToHarmless.entrySet()) {
            JsonNode value = body.get(parameter.getKey());
            if (value != null && !parameter.getValue().test(value)) {
                String path = body.path(parameter.getKey());
                String shown = value.isContainer() ? "" : ": " + shortened(value.toString());
                throw HttpException.unsupported(path, "'" + path + "' is not supported with this value" + shown + ".");
            }
        }
    }

    /** Removes the parameters from an object. */
    void removeFrom(Map<String, ?> object) {
        object.keySet().removeAll(nameToHarmless.keySet());
    }

    private static String shortened(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }

    private static boolean isNothingButNoNumber(JsonNode value) {
        return !value.isNumber() && Fields.isNothing(value);
    }

    private static boolean isNothingButNoObject(JsonNode value) {
        return !value.isObject() && Fields.isNothing(value);
    }

    private static Predicate<JsonNode> nothingOr(String... texts) {
        return value -> Fields.isNothing(value) || isText(value, texts);
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
