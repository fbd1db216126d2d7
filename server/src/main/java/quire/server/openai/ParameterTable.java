package quire.server.openai;

import static quire.server.api.Parameter.Place.CHAT;
import static quire.server.api.Parameter.Place.COMPLETIONS;
import static quire.server.api.Parameter.Place.DETOKENIZE;
import static quire.server.api.Parameter.Place.EMBEDDINGS;
import static quire.server.api.Parameter.Place.INFILL;
import static quire.server.api.Parameter.Place.MESSAGE;
import static quire.server.api.Parameter.Place.RERANK;
import static quire.server.api.Parameter.Place.SCORE;
import static quire.server.api.Parameter.Place.STREAM_OPTIONS;
import static quire.server.api.Parameter.Place.TOKENIZE;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import quire.server.api.Fields;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameter.Values;
import tools.jackson.databind.JsonNode;

/**
 * Every parameter that Quire recognises, its own and those of other servers, with its treatment. {@link Parameters}
 * checks requests against this table. {@code docs/parameters.md} contains the same table.
 */
public final class ParameterTable {
    private static final Set<Place> ANSWERS = EnumSet.of(COMPLETIONS, CHAT);
    private static final Set<Place> ONLY_COMPLETIONS = EnumSet.of(COMPLETIONS);
    private static final Set<Place> ONLY_CHAT = EnumSet.of(CHAT);
    private static final Set<Place> IN_STREAM_OPTIONS = EnumSet.of(STREAM_OPTIONS);
    private static final Set<Place> IN_MESSAGE = EnumSet.of(MESSAGE);
    private static final Set<Place> ONLY_TOKENIZE = EnumSet.of(TOKENIZE);

    private static final String OPENAI = "OpenAI";
    private static final String VLLM = "vLLM";
    private static final String LLAMA = "llama.cpp";
    private static final String OLLAMA = "Ollama";
    private static final String TGI = "TGI";
    private static final String WEBUI = "text-generation-webui";
    private static final String SGLANG = "SGLang";
    private static final String OPENROUTER = "OpenRouter";
    private static final String QUIRE = "Quire";

    private static final String MAX_TOKENS =
            "maximum number of tokens of the answer; -1 for no limit, 0 to compute only the prompt; beyond the context as"
                    + " many as it has room for (an error with --strict-limits)";
    private static final String OPERATOR = "information for the operator only";
    private static final String TOP_LEVEL = "send its fields at the top level of the body";
    private static final String SCHEMA = "use response_format or structured_outputs";
    private static final String ONE_SPACE = "leave it out: at most one space follows a comma or a colon";
    private static final String FILTERS = "use temperature, top_k, top_p, min_p, typical_p or top_n_sigma";
    private static final String PENALTIES =
            "use repetition_penalty, presence_penalty, frequency_penalty or dry_multiplier";
    private static final String THINKING = "use /v1/chat/completions, or write it into the prompt";
    private static final String CHAT_THINKING = "use enable_thinking, reasoning_effort or thinking_token_budget";
    private static final String START = "the operator sets it when the server starts";

    /** All rows, grouped by topic. */
    public static final List<Parameter> ROWS = rows();

    private final List<Parameter> rows = new ArrayList<>();

    private ParameterTable() {}

    private static List<Parameter> rows() {
        ParameterTable table = new ParameterTable();
        table.computed();
        table.synonyms();
        table.harmless();
        table.notComputedByOpenAi();
        table.notComputedConstraints();
        table.notComputedSampling();
        table.notComputedOutputs();
        table.notComputedInputs();
        table.tokenize();
        table.vectors();
        table.infill();
        return List.copyOf(table.rows);
    }

    private void computed() {
        computed(EnumSet.of(COMPLETIONS, CHAT, TOKENIZE, DETOKENIZE), "model", "the name of the model", OPENAI);
        computed(
                EnumSet.of(COMPLETIONS, TOKENIZE),
                "prompt",
                "text, or token ids, or for answers a list of these",
                OPENAI);
        computed(EnumSet.of(CHAT, TOKENIZE), "messages", "the conversation", OPENAI);
        computed(EnumSet.of(CHAT, TOKENIZE), "tools", "functions that the model may call", OPENAI);
        computed(EnumSet.of(DETOKENIZE), "tokens", "the token ids", VLLM);
        computed(ANSWERS, "max_tokens", MAX_TOKENS, OPENAI);
        computed(ONLY_CHAT, "max_completion_tokens", MAX_TOKENS, OPENAI);
        computed(ANSWERS, "temperature", "divides the logits; 0 always takes the likeliest token", OPENAI);
        computed(ANSWERS, "top_p", "keeps the likeliest tokens up to this total probability, at least one", OPENAI);
        computed(ANSWERS, "top_k", "keeps the k likeliest tokens; 0 or less keeps all", "vLLM, llama.cpp");
        computed(ANSWERS, "min_p", "keeps tokens with this share of the highest probability", "vLLM, llama.cpp");
        computed(ANSWERS, "repetition_penalty", "divides the logits of tokens that occurred", "vLLM, TGI");
        computed(ANSWERS, "presence_penalty", "lowers the logits of tokens in the answer", OPENAI);
        computed(ANSWERS, "frequency_penalty", "lowers the logits of tokens by their count in the answer", OPENAI);
        computed(ANSWERS, "logit_bias", "is added to the logits of single tokens", OPENAI);
        computed(ANSWERS, "top_n_sigma", "keeps logits up to n standard deviations below the highest", LLAMA);
        computed(ANSWERS, "typical_p", "keeps tokens of typical probability", "llama.cpp, TGI, Ollama");
        computed(
                ANSWERS,
                "xtc_probability",
                "how probable it is, for each token, that the likeliest ones are excluded",
                "llama.cpp, " + WEBUI);
        computed(ANSWERS, "xtc_threshold", "which probability makes a token one of the likeliest", LLAMA);
        computed(
                ANSWERS,
                "dry_multiplier",
                "lowers the logits of tokens that continue a repetition",
                "llama.cpp, " + WEBUI);
        computed(ANSWERS, "dry_base", "how fast dry_multiplier grows with the repetition", "llama.cpp, " + WEBUI);
        computed(
                ANSWERS,
                "dry_allowed_length",
                "shortest repetition for dry_multiplier, in tokens",
                "llama.cpp, " + WEBUI);
        computed(
                ANSWERS,
                "dry_penalty_last_n",
                "how many tokens dry_multiplier looks at; -1 for all, 0 switches it off",
                LLAMA);
        computed(ANSWERS, "dry_sequence_breakers", "texts that end a repetition", "llama.cpp, " + WEBUI);
        computed(ANSWERS, "allowed_token_ids", "the only tokens that may be chosen", VLLM);
        computed(ANSWERS, "bad_words", "words whose tokens do not occur in the answer", VLLM);
        computed(ANSWERS, "min_tokens", "minimum number of tokens of the answer", VLLM);
        computed(ANSWERS, "include_stop_str_in_output", "whether the answer has the stop string", VLLM);
        computed(ANSWERS, "seed", "makes the answer repeatable; -1 and 4294967295 mean none", OPENAI);
        computed(ANSWERS, "stop", "texts that end the answer, also spellings of control tokens", OPENAI);
        computed(ANSWERS, "stop_token_ids", "tokens that end the answer", VLLM);
        computed(ANSWERS, "ignore_eos", "continues after the model's end token", "vLLM, llama.cpp");
        computed(ANSWERS, "response_format", "JSON, or JSON of a schema (docs/constraints.md)", OPENAI);
        computed(
                ANSWERS,
                "structured_outputs",
                "what the answer's text must be: json, regex, choice, grammar, json_object",
                VLLM);
        computed(
                ANSWERS,
                "property_order",
                "in which order properties come: `guided` (default), `any`, or `schema` (default with `strict`)",
                QUIRE);
        computed(ANSWERS, "guided_json", "a JSON schema of the answer", "vLLM (older)");
        computed(ANSWERS, "guided_regex", "a regular expression that the answer matches", "vLLM (older)");
        computed(ANSWERS, "guided_choice", "the answers to choose from", "vLLM (older)");
        computed(ANSWERS, "json_schema", "a JSON schema of the answer", "llama.cpp, SGLang");
        computed(ANSWERS, "regex", "a regular expression that the answer matches", SGLANG);
        computed(ANSWERS, "grammar", "a grammar of the answer, in llama.cpp's notation", LLAMA);
        computed(ANSWERS, "guided_grammar", "the same", "vLLM (older)");
        computed(ANSWERS, "ebnf", "the same", SGLANG);
        computed(ANSWERS, "n", "how many answers, 1 to 128; with seed s, answer i is that of the seed s + i", OPENAI);
        computed(ANSWERS, "best_of", "how many answers to compute; the n likeliest are sent", "OpenAI, vLLM");
        computed(
                ANSWERS,
                "use_beam_search",
                "searches for the n likeliest answers with best_of beams (docs/scheduling.md)",
                VLLM);
        computed(ANSWERS, "length_penalty", "the exponent of the length in the score of a beam search", VLLM);
        computed(ANSWERS, "early_stopping", "when a beam search ends: true, false or \"never\"", VLLM);
        computed(ANSWERS, "logprobs", "reports log probabilities", OPENAI);
        computed(ONLY_CHAT, "top_logprobs", "how many likely tokens to report", OPENAI);
        computed(ANSWERS, "prompt_logprobs", "how many likely tokens to report for each token of the prompt", VLLM);
        computed(
                ANSWERS,
                "truncate_prompt_tokens",
                "keeps so many tokens at the end of the prompt; -1 as many as fit",
                VLLM);
        computed(ONLY_CHAT, "prediction", "text that the answer probably repeats, which makes it faster", OPENAI);
        computed(ANSWERS, "cache_salt", "only requests with the same salt share cached pages", VLLM);
        computed(ANSWERS, "priority", "requests with a lower number come first (docs/scheduling.md)", VLLM);
        computed(
                ANSWERS, "timeout_ms", "milliseconds after which the answer ends, waiting included; 0 for none", QUIRE);
        computed(ANSWERS, "stream", "sends the answer as it is computed", OPENAI);
        computed(ANSWERS, "stream_options", "what else a stream sends", OPENAI);
        computed(IN_STREAM_OPTIONS, "include_usage", "ends the stream with the token counts", OPENAI);
        computed(IN_STREAM_OPTIONS, "continuous_usage_stats", "the token counts so far in each chunk", VLLM);
        computed(ONLY_COMPLETIONS, "echo", "puts the prompt before the answer", OPENAI);
        computed(
                ONLY_COMPLETIONS,
                "suffix",
                "the text behind a gap that the model fills, if its vocabulary has tokens for that",
                OPENAI);
        computed(
                EnumSet.of(COMPLETIONS, TOKENIZE),
                "add_special_tokens",
                "adds the tokens that the model file requires, usually BOS",
                VLLM);
        computed(ONLY_TOKENIZE, "add_generation_prompt", "ends with the beginning of the model's turn", VLLM);
        computed(ONLY_TOKENIZE, "return_token_strs", "returns the spelling of each token", VLLM);
        computed(
                EnumSet.of(CHAT, TOKENIZE),
                "tool_choice",
                "whether and which tools are called (docs/tools.md)",
                OPENAI);
        computed(ONLY_CHAT, "parallel_tool_calls", "whether an answer may have several calls", OPENAI);
        computed(ONLY_CHAT, "reasoning_effort", "how long to reason, for the chat template; none: not at all", OPENAI);
        computed(ONLY_CHAT, "enable_thinking", "whether to reason, for the chat template", "Qwen, DashScope");
        computed(
                EnumSet.of(CHAT, TOKENIZE),
                "chat_template_kwargs",
                "further variables of the chat template",
                "vLLM, llama.cpp");
        computed(
                ONLY_CHAT,
                "reasoning_format",
                "where the reasoning goes: apart (auto, parsed), into the text (none, raw), nowhere (hidden)",
                "llama.cpp, Groq");
        computed(ONLY_CHAT, "include_reasoning", "false leaves the reasoning out", "vLLM, OpenRouter");
        computed(ONLY_CHAT, "separate_reasoning", "false leaves the reasoning in the text", SGLANG);
        computed(
                ONLY_CHAT,
                "thinking_token_budget",
                "tokens after which the reasoning ends; -1 for no limit (docs/reasoning.md)",
                VLLM);
        computed(ONLY_CHAT, "functions", "functions that the model may call, as an older form of tools", OPENAI);
        computed(ONLY_CHAT, "function_call", "whether and which of functions is called", OPENAI);
    }

    private void synonyms() {
        synonym(ANSWERS, "n_predict", "max_tokens", LLAMA);
        synonym(ANSWERS, "num_predict", "max_tokens", OLLAMA);
        synonym(ANSWERS, "n_cmpl", "n", LLAMA);
        synonym(ANSWERS, "max_new_tokens", "max_tokens", "TGI, Transformers, SGLang");
        synonym(ANSWERS, "max_output_tokens", "max_tokens", "OpenAI Responses");
        synonym(ANSWERS, "max_tokens_to_sample", "max_tokens", "Anthropic (older)");
        synonym(ONLY_CHAT, "think", "enable_thinking", OLLAMA);
        synonym(ONLY_CHAT, "thinking_budget", "thinking_token_budget", "Qwen, DashScope");
        for (String budget : List.of("reasoning_budget", "reasoning_budget_tokens", "thinking_budget_tokens")) {
            synonym(ONLY_CHAT, budget, "thinking_token_budget", LLAMA);
        }
        synonym(ONLY_COMPLETIONS, "max_completion_tokens", "max_tokens", OPENAI);
        synonym(ANSWERS, "repeat_penalty", "repetition_penalty", "llama.cpp, Ollama");
        synonym(ANSWERS, "rep_pen", "repetition_penalty", "KoboldAI");
        synonym(ANSWERS, "stop_sequences", "stop", "Anthropic, TGI");
        synonym(ANSWERS, "stop_sequence", "stop", "KoboldAI");
        synonym(ANSWERS, "random_seed", "seed", "Mistral");
        synonym(ANSWERS, "min_new_tokens", "min_tokens", SGLANG);
        synonym(ANSWERS, "typ_p", "typical_p", LLAMA);
        synonym(ANSWERS, "nsigma", "top_n_sigma", WEBUI);
        synonym(ANSWERS, "no_stop_trim", "include_stop_str_in_output", SGLANG);
        synonym(ONLY_COMPLETIONS, "add_bos_token", "add_special_tokens", WEBUI);
        synonym(ONLY_TOKENIZE, "add_special", "add_special_tokens", LLAMA);
    }

    private void harmless() {
        // RequestReader checks that these are texts.
        harmless(ANSWERS, "user", "whose share of the engine the request uses (docs/scheduling.md)", OPENAI);
        harmless(ANSWERS, "safety_identifier", "the same as user, which comes first", OPENAI);
        for (String text : List.of("prompt_cache_key", "prompt_cache_retention")) {
            harmless(ANSWERS, text, OPERATOR, OPENAI);
        }
        harmless(ONLY_COMPLETIONS, "messages", "the conversation for the other route, in a body for both", OPENAI);
        harmless(ONLY_CHAT, "prompt", "the text for the other route, in a body for both", OPENAI);
        harmless(ANSWERS, "store", "whether OpenAI keeps the answer; nothing is kept here", OPENAI);
        harmless(ANSWERS, "metadata", OPERATOR, OPENAI);
        harmless(ANSWERS, "session_id", OPERATOR, OPENROUTER);
        harmless(ANSWERS, "request_id", OPERATOR, VLLM);
        harmless(ANSWERS, "rid", OPERATOR, SGLANG);
        harmless(ANSWERS, "trace", OPERATOR, OPENROUTER);
        harmless(ANSWERS, "keep_alive", "how long the model stays loaded; here it always stays loaded", OLLAMA);
        harmless(ANSWERS, "cache_prompt", "whether a prompt may be reused; answers are the same", LLAMA);
        harmless(ANSWERS, "id_slot", "which slot computes the answer; answers are the same", LLAMA);
        harmless(ANSWERS, "slot_id", "which slot computes the answer; answers are the same", LLAMA);
        harmless(ANSWERS, "n_keep", "what a shift of the context keeps; it is never shifted", LLAMA);
        harmless(ANSWERS, "num_keep", "what a shift of the context keeps; it is never shifted", OLLAMA);
        harmless(ANSWERS, "n_discard", "what a shift of the context drops; it is never shifted", LLAMA);
        for (String draft : List.of(
                "speculative.n_max",
                "speculative.n_min",
                "speculative.p_min",
                "speculative.type",
                "speculative.ngram_size_n",
                "speculative.ngram_size_m",
                "speculative.ngram_min_hits")) {
            harmless(ANSWERS, draft, "how drafts are made; answers are the same", LLAMA);
        }
        harmless(ANSWERS, "draft_num_predict", "how drafts are made; answers are the same", OLLAMA);
        for (String mirostat : List.of("mirostat_tau", "mirostat_eta")) {
            harmless(
                    ANSWERS,
                    mirostat,
                    "an option of mirostat, which is refused if it is not neutral",
                    "llama.cpp, Ollama");
        }
        harmless(
                ANSWERS,
                "dynatemp_exponent",
                "an option of dynatemp_range, which is refused if it is not neutral",
                LLAMA);
        harmless(
                ANSWERS,
                "smoothing_curve",
                "an option of smoothing_factor, which is refused if it is not neutral",
                WEBUI);
        harmless(
                ANSWERS,
                "adaptive_decay",
                "an option of adaptive_target, which is refused if it is not neutral",
                LLAMA);
        harmless(ANSWERS, "guided_decoding_backend", "which program computes constraints; here there is one", VLLM);
        harmless(ANSWERS, "stream_interval", "tokens in a chunk of a stream; here each chunk has what is there", VLLM);
        harmless(ANSWERS, "sse_ping_interval", START + " (--heartbeat-seconds)", LLAMA);
        for (String machine : List.of("num_batch", "num_gpu", "main_gpu", "use_mmap")) {
            harmless(ANSWERS, machine, "how the machine is used; answers are the same", OLLAMA);
        }
    }

    private void notComputedByOpenAi() {
        refused(
                ANSWERS,
                "service_tier",
                "which price and speed",
                OPENAI,
                "leave it out",
                Values.NEUTRAL.or(Values.text("auto", "default")));
        refused(ONLY_CHAT, "suffix", "the text behind a gap that the model fills", OPENAI, "use /v1/completions");
        refused(ONLY_CHAT, "audio", "an answer as audio", OPENAI, "read the text", Values.NEUTRAL_EXCEPT_OBJECT);
        refused(
                ONLY_CHAT,
                "modalities",
                "text or audio",
                OPENAI,
                "use [\"text\"]",
                Values.NEUTRAL.or(new Values("[\"text\"]", (value, body) -> isOnlyText(value))));
        refused(
                ONLY_CHAT,
                "max_tool_calls",
                "maximum number of function calls",
                OPENAI,
                "count the calls in the client");
        refused(ONLY_COMPLETIONS, "reasoning_effort", "how long to reason", OPENAI, THINKING);
        String reasoning = "whether and how long to reason";
        refused(ONLY_COMPLETIONS, "reasoning", reasoning, "OpenAI Responses, OpenRouter", THINKING);
        refused(ONLY_CHAT, "reasoning", reasoning, "OpenAI Responses, OpenRouter", CHAT_THINKING);
        refused(
                ONLY_CHAT,
                "verbosity",
                "how long the answer is",
                OPENAI,
                "ask for the length in the prompt",
                Values.NEUTRAL.or(Values.text("medium")));
        refused(
                ONLY_CHAT,
                "web_search_options",
                "a search before the answer",
                OPENAI,
                "search in the client",
                Values.NEUTRAL_EXCEPT_OBJECT);
        refused(ONLY_CHAT, "moderation", "a check of prompt and answer", OPENAI, "check in the client");
        refused(IN_STREAM_OPTIONS, "include_obfuscation", "random text beside each token", OPENAI, "leave it out");
        refused(IN_MESSAGE, "audio", "an earlier answer as audio", OPENAI, "send its text in content");
        refused(IN_MESSAGE, "refusal", "an earlier refusal", OPENAI, "send its text in content");
        refused(ANSWERS, "input", "the conversation", "OpenAI Responses", "use messages, or prompt for completions");
        refused(ANSWERS, "instructions", "the system message", "OpenAI Responses", "send a message with role system");
        refused(ANSWERS, "previous_response_id", "an earlier answer to continue", "OpenAI Responses", "send messages");
        refused(ANSWERS, "background", "an answer to fetch later", "OpenAI Responses", "use stream");
    }

    private void notComputedConstraints() {
        refused(ANSWERS, "format", "the format of the answer", OLLAMA, "use response_format");
        refused(ANSWERS, "guided_whitespace_pattern", "white space in JSON", "vLLM (older)", ONE_SPACE);
        refused(ANSWERS, "grammar_lazy", "when the grammar begins", LLAMA, SCHEMA);
        refused(ONLY_COMPLETIONS, "think", "whether to reason", OLLAMA, THINKING, Values.NONE);
        refused(ONLY_COMPLETIONS, "enable_thinking", "whether to reason", "Qwen, DashScope", THINKING, Values.NONE);
        String thinking = "whether and how long to reason";
        refused(ONLY_COMPLETIONS, "thinking", thinking, "Anthropic, DeepSeek", THINKING, Values.NONE);
        refused(ONLY_CHAT, "thinking", thinking, "Anthropic, DeepSeek", CHAT_THINKING, Values.NONE);
        refused(
                ONLY_COMPLETIONS,
                "thinking_budget",
                "maximum number of tokens of reasoning",
                "Qwen, DashScope",
                THINKING,
                Values.NONE);
        refused(
                ONLY_COMPLETIONS,
                "thinking_token_budget",
                "maximum number of tokens of reasoning",
                VLLM,
                THINKING,
                Values.NONE);
        refused(
                ONLY_COMPLETIONS,
                "reasoning_budget",
                "maximum number of tokens of reasoning",
                LLAMA,
                THINKING,
                Values.number(-1));
        refused(
                ONLY_COMPLETIONS,
                "reasoning_format",
                "where the answer's reasoning goes",
                "llama.cpp, Groq",
                "read it in the answer's text",
                Values.text("none", "auto"));
        refused(
                ONLY_COMPLETIONS,
                "include_reasoning",
                "whether the answer shows its reasoning",
                "vLLM, OpenRouter",
                "leave it out in the client",
                Values.TRUE);
        refused(
                ONLY_COMPLETIONS,
                "separate_reasoning",
                "a separate field for the reasoning",
                SGLANG,
                "read it in the answer's text");
    }

    private void notComputedSampling() {
        refused(ANSWERS, "options", "an object of parameters", OLLAMA, TOP_LEVEL);
        refused(ANSWERS, "parameters", "an object of parameters", TGI, TOP_LEVEL);
        refused(ANSWERS, "sampling_params", "an object of parameters", SGLANG, TOP_LEVEL);
        refused(ANSWERS, "extra_body", "an object of parameters that a client library merges", OPENAI, TOP_LEVEL);
        refused(ANSWERS, "vllm_xargs", "parameters of plug-ins", VLLM, "leave it out");
        refused(
                ANSWERS,
                "num_beams",
                "how many beams a beam search has",
                "Transformers",
                "use use_beam_search and n",
                Values.number(1));
        refused(ANSWERS, "min_length", "minimum number of tokens of the text", "KoboldAI", "use min_tokens");
        refused(
                ANSWERS,
                "max_length",
                "maximum number of tokens of prompt and answer",
                "Transformers, KoboldAI",
                "use max_tokens");
        refused(
                ANSWERS,
                "do_sample",
                "whether tokens are drawn",
                "TGI, Transformers",
                "use temperature 0",
                Values.TRUE);
        refused(ANSWERS, "custom_token_bans", "tokens that may not occur", WEBUI, "use bad_words");
        refused(ANSWERS, "banned_tokens", "tokens that may not occur", "KoboldAI", "use bad_words");
        refused(ANSWERS, "banned_strings", "texts that may not occur", "KoboldAI, " + WEBUI, "use bad_words");
        refused(ANSWERS, "ban_eos_token", "forbids the end token", WEBUI, "use ignore_eos");
        refused(ANSWERS, "logits_processors", "code that changes logits", VLLM, "use logit_bias");
        refused(ANSWERS, "custom_logit_processor", "code that changes logits", SGLANG, "use logit_bias");
        refused(ANSWERS, "no_repeat_ngram_size", "forbids repeated token sequences", "Transformers", PENALTIES);
        refused(ANSWERS, "tfs_z", "tail-free sampling", "llama.cpp, Ollama", FILTERS, Values.number(1));
        refused(ANSWERS, "tfs", "tail-free sampling", "KoboldAI, " + WEBUI, FILTERS, Values.number(1));
        refused(ANSWERS, "top_a", "keeps tokens by the square of the highest probability", OPENROUTER, FILTERS);
        refused(ANSWERS, "epsilon_cutoff", "keeps tokens above a probability", WEBUI, FILTERS);
        refused(ANSWERS, "eta_cutoff", "keeps tokens above a probability", WEBUI, FILTERS);
        refused(ANSWERS, "min_keep", "minimum number of tokens that filters keep", LLAMA, FILTERS, Values.upTo(1));
        refused(ANSWERS, "mirostat", "controls the perplexity of the answer", "llama.cpp, Ollama", FILTERS);
        refused(ANSWERS, "mirostat_mode", "controls the perplexity of the answer", WEBUI, FILTERS);
        refused(
                ANSWERS,
                "adaptive_target",
                "controls the probability of tokens",
                LLAMA,
                FILTERS,
                new Values("below 0", (value, body) -> value.isNumber() && Fields.real(value) < 0));
        refused(ANSWERS, "dynatemp_range", "changes the temperature by the tokens", LLAMA, FILTERS);
        refused(ANSWERS, "dynamic_temperature", "changes the temperature by the tokens", WEBUI, FILTERS);
        refused(ANSWERS, "smoothing_factor", "changes the logits by a curve", WEBUI, FILTERS);
        refused(ANSWERS, "temperature_last", "applies the temperature after the filters", WEBUI, FILTERS);
        refused(ANSWERS, "samplers", "the order of the filters", LLAMA, FILTERS);
        refused(ANSWERS, "sampler_order", "the order of the filters", "KoboldAI", FILTERS);
        refused(ANSWERS, "sampler_priority", "the order of the filters", WEBUI, FILTERS);
        refused(
                ANSWERS,
                "repeat_last_n",
                "how many tokens the penalties count",
                "llama.cpp, Ollama",
                "leave it out: penalties count the whole text",
                Values.number(-1).or(new Values("any while repeat_penalty is 1", ParameterTable::hasNoPenalty)));
        refused(
                ANSWERS,
                "repetition_penalty_range",
                "how many tokens the penalty counts",
                WEBUI,
                "leave it out: the penalty counts the whole text");
        refused(
                ANSWERS,
                "penalize_nl",
                "whether penalties include line breaks",
                "llama.cpp, Ollama",
                "leave it out: they do include them",
                Values.TRUE);
        refused(ANSWERS, "penalty_prompt", "the text that penalties count", LLAMA, PENALTIES);
        refused(
                ANSWERS,
                "encoder_repetition_penalty",
                "raises tokens of the prompt",
                WEBUI,
                PENALTIES,
                Values.number(1));
        refused(ANSWERS, "penalty_alpha", "contrastive search", WEBUI, FILTERS);
        refused(
                ANSWERS,
                "guidance_scale",
                "makes the answer differ from answers to a second prompt",
                WEBUI,
                "leave it out",
                Values.number(1));
        refused(ANSWERS, "negative_prompt", "the second prompt for guidance_scale", WEBUI, "leave it out");
        refused(ANSWERS, "watermark", "a mark in the answer", TGI, "leave it out");
        refused(ANSWERS, "lora", "adapters of the model", LLAMA, "load a model that has them merged");
        refused(ANSWERS, "lora_path", "an adapter of the model", SGLANG, "load a model that has it merged");
        refused(ANSWERS, "t_max_predict_ms", "maximum time for the answer", LLAMA, "use timeout_ms", Values.upTo(0));
        refused(ANSWERS, "n_indent", "minimum indentation of a line", LLAMA, "use stop");
    }

    private void notComputedOutputs() {
        refused(ONLY_COMPLETIONS, "top_logprobs", "how many likely tokens to report", OPENAI, "use logprobs");
        refused(ANSWERS, "n_probs", "how many likely tokens to report", LLAMA, "use logprobs");
        refused(ANSWERS, "top_n_tokens", "how many likely tokens to report", TGI, "use logprobs");
        refused(ANSWERS, "post_sampling_probs", "probabilities after the filters", LLAMA, "use logprobs");
        refused(ANSWERS, "details", "each token of the answer", TGI, "use logprobs");
        refused(ANSWERS, "decoder_input_details", "each token of the prompt", TGI, "use prompt_logprobs");
        refused(ANSWERS, "return_tokens_as_token_ids", "ids as the tokens of logprobs", VLLM, "use /tokenize");
        refused(ANSWERS, "return_token_ids", "the ids of the tokens", VLLM, "use /tokenize");
        refused(ANSWERS, "return_tokens", "the ids of the tokens", LLAMA, "use /tokenize");
        refused(ANSWERS, "return_hidden_states", "hidden states of the model", SGLANG, "leave it out");
        refused(ANSWERS, "return_progress", "how much of the prompt has been computed", LLAMA, "leave it out");
        refused(ANSWERS, "timings_per_token", "times with each token", LLAMA, "use /metrics");
        refused(ANSWERS, "response_fields", "which fields the answer has", LLAMA, "choose in the client");
        refused(ANSWERS, "usage", "token counts", OPENROUTER, "use stream_options.include_usage");
        refused(ANSWERS, "return_full_text", "the prompt before the answer", TGI, "use echo");
        refused(ANSWERS, "skip_special_tokens", "whether control tokens are left out", VLLM, "use true", Values.TRUE);
        refused(ANSWERS, "logprob_token_ids", "tokens whose log probabilities to report", VLLM, "use logprobs");
        refused(ANSWERS, "return_prompt_text", "the text that the template gives", VLLM, "use /tokenize");
        refused(ANSWERS, "repetition_detection", "ends answers that repeat themselves", VLLM, PENALTIES);
        refused(
                ANSWERS,
                "spaces_between_special_tokens",
                "spaces between control tokens, which are never shown",
                VLLM,
                "leave it out",
                Values.BOOLEAN);
    }

    private void notComputedInputs() {
        refused(ANSWERS, "truncate", "shortens the prompt", "TGI, Ollama", "use truncate_prompt_tokens");
        refused(ANSWERS, "truncation_length", "shortens the prompt", WEBUI, "use truncate_prompt_tokens");
        refused(
                ANSWERS,
                "truncation",
                "shortens the conversation",
                "OpenAI Responses",
                "send fewer messages",
                Values.NEUTRAL.or(Values.text("disabled")));
        refused(ANSWERS, "shift", "drops the beginning of a long conversation", OLLAMA, "send fewer messages");
        refused(ANSWERS, "prompt_embeds", "the prompt as vectors", VLLM, "send text or token ids");
        refused(ANSWERS, "inputs", "the prompt", TGI, "use prompt or messages");
        refused(ANSWERS, "context", "tokens of an earlier answer", OLLAMA, "use messages");
        refused(ANSWERS, "system", "the system message", "Anthropic, Ollama", "send a message with role system");
        refused(
                ANSWERS,
                "template",
                "the chat template",
                OLLAMA,
                "use /v1/completions with a prompt in your own format");
        refused(ANSWERS, "raw", "no chat template", OLLAMA, "use /v1/completions");
        refused(ANSWERS, "images", "pictures", OLLAMA, "send text");
        refused(ANSWERS, "num_ctx", "positions of the context", OLLAMA, START + " (--max-context)");
        refused(ANSWERS, "n_ctx", "positions of the context", LLAMA, START + " (--max-context)");
        refused(ANSWERS, "max_context_length", "positions of the context", "KoboldAI", START + " (--max-context)");
        refused(ANSWERS, "num_thread", "threads", OLLAMA, START + " (--threads)");
        refused(ANSWERS, "models", "models to try", OPENROUTER, "use model");
        refused(ANSWERS, "provider", "which provider computes the answer", OPENROUTER, "leave it out");
        refused(ANSWERS, "transforms", "shortens the conversation", OPENROUTER, "send fewer messages");
        refused(ANSWERS, "plugins", "work before and after the answer", OPENROUTER, "do it in the client");
        refused(ANSWERS, "safe_prompt", "a fixed system message", "Mistral", "send a message with role system");
        refused(ANSWERS, "kv_transfer_params", "work shared by servers", VLLM, "leave it out");
        refused(ANSWERS, "mm_processor_kwargs", "how pictures are read", VLLM, "leave it out");
        refused(ONLY_CHAT, "echo", "puts the prompt before the answer", VLLM, "use /v1/completions");
        refused(
                ONLY_CHAT,
                "add_generation_prompt",
                "ends with the beginning of the model's turn",
                VLLM,
                "use /v1/completions for another end",
                Values.TRUE);
        refused(ONLY_CHAT, "add_special_tokens", "adds BOS to a chat", VLLM, "use /v1/completions");
        refused(ONLY_CHAT, "documents", "texts that the answer is based on", VLLM, "put them into a message");
        Set<Place> templates = EnumSet.of(CHAT, TOKENIZE);
        refused(templates, "continue_final_message", "continues the last message", VLLM, "use /v1/completions");
        refused(templates, "chat_template", "another template", VLLM, "use /v1/completions with your own format");
    }

    private void tokenize() {
        refused(ONLY_TOKENIZE, "mm_processor_kwargs", "how pictures are read", VLLM, "leave it out");
        refused(ONLY_TOKENIZE, "content", "the text", LLAMA, "use prompt", Values.NONE);
        refused(
                ONLY_TOKENIZE,
                "parse_special",
                "whether control tokens are found in the text",
                LLAMA,
                "leave it out: they are always found",
                Values.TRUE);
        refused(ONLY_TOKENIZE, "with_pieces", "returns the text of each token", LLAMA, "use return_token_strs");
    }

    private void infill() {
        Set<Place> infill = EnumSet.of(INFILL);
        computed(infill, "input_prefix", "the text before the gap; may be empty", LLAMA);
        computed(infill, "input_suffix", "the text behind the gap; may be empty", LLAMA);
        computed(infill, "prompt", "text behind input_prefix that belongs to it", LLAMA);
        computed(infill, "input_extra", "texts of other files, as {\"filename\", \"text\"}", LLAMA);
        for (String name : List.of("n_indent", "samplers", "response_fields")) {
            harmless(infill, name, "what editors always send alike", LLAMA);
        }
        for (String name : List.of("t_max_prompt_ms", "t_max_predict_ms")) {
            harmless(infill, name, "a limit of time; use timeout_ms", LLAMA);
        }
        String completions = "send suffix to /v1/completions";
        refused(infill, "n", "how many answers", OPENAI, completions, Values.number(1));
        refused(infill, "n_cmpl", "how many answers", LLAMA, completions, Values.number(1));
        refused(infill, "best_of", "how many answers to compute", OPENAI, completions, Values.number(1));
        refused(infill, "logprobs", "reports log probabilities", OPENAI, completions);
        refused(infill, "prompt_logprobs", "log probabilities of the prompt", VLLM, completions);
        refused(infill, "suffix", "the text behind a gap", OPENAI, "use input_suffix");
    }

    private void vectors() {
        Set<Place> embeddings = EnumSet.of(EMBEDDINGS);
        Set<Place> rank = EnumSet.of(RERANK, SCORE);
        Set<Place> all = EnumSet.of(EMBEDDINGS, RERANK, SCORE);
        computed(all, "model", "the name of the model", OPENAI);
        computed(embeddings, "input", "text, or token ids, or a list of these; at most 2048", OPENAI);
        computed(embeddings, "encoding_format", "float, or base64 for 32-bit numbers, lowest byte first", OPENAI);
        computed(embeddings, "dimensions", "how many of the first numbers of each vector are wanted", OPENAI);
        computed(embeddings, "add_special_tokens", "adds the tokens that the model's file asks for", VLLM);
        computed(EnumSet.of(RERANK), "query", "the text that the documents are compared with", "Jina, Cohere, vLLM");
        computed(EnumSet.of(RERANK), "documents", "texts, also as objects with the field text", "Jina, Cohere, vLLM");
        computed(EnumSet.of(RERANK), "top_n", "how many of the best documents are wanted; 0 for all", "Jina, vLLM");
        computed(EnumSet.of(RERANK), "return_documents", "false leaves the texts out; true if absent", "Jina, Cohere");
        computed(EnumSet.of(SCORE), "text_1", "a text, or a list of texts", VLLM);
        computed(
                EnumSet.of(SCORE),
                "text_2",
                "a text, or a list of texts; as many as text_1, if that has several",
                VLLM);
        synonym(EnumSet.of(SCORE), "queries", "text_1", VLLM);
        synonym(EnumSet.of(SCORE), "documents", "text_2", VLLM);
        synonym(EnumSet.of(SCORE), "items", "text_2", VLLM);
        computed(
                all,
                "truncate_prompt_tokens",
                "keeps the beginning of longer texts: at most this many tokens, -1 for as many as the context has",
                VLLM);
        computed(all, "cache_salt", "only requests with the same salt share cached pages", VLLM);
        computed(all, "priority", "a lower number comes first", VLLM);
        harmless(all, "user", "whose share of the engine the request uses (docs/scheduling.md)", OPENAI);
        refused(embeddings, "input_type", "whether a text is a query", "Cohere, NVIDIA", "write it into the text");
        refused(embeddings, "messages", "a conversation in place of texts", VLLM, "use /apply-template and input");
        refused(all, "normalize", "whether vectors have length 1", VLLM, "leave it out", Values.TRUE);
        refused(rank, "max_tokens_per_doc", "shortens documents", "Cohere", "use truncate_prompt_tokens");
        refused(rank, "rank_fields", "which fields of documents count", "Cohere", "send texts");
        refused(rank, "activation", "how scores are made", VLLM, "leave it out");
        refused(rank, "softmax", "how scores are made", VLLM, "leave it out");
    }

    private void computed(Set<Place> places, String name, String meaning, String senders) {
        rows.add(new Parameter(name, places, Treatment.COMPUTED, meaning, senders, "", Values.ANY));
    }

    private void synonym(Set<Place> places, String name, String standsFor, String senders) {
        rows.add(new Parameter(name, places, Treatment.SYNONYM, "", senders, standsFor, Values.ANY));
    }

    private void harmless(Set<Place> places, String name, String meaning, String senders) {
        rows.add(new Parameter(name, places, Treatment.HARMLESS, meaning, senders, "", Values.ANY));
    }

    private void refused(Set<Place> places, String name, String meaning, String senders, String instead) {
        refused(places, name, meaning, senders, instead, Values.NEUTRAL);
    }

    private void refused(
            Set<Place> places, String name, String meaning, String senders, String instead, Values accepted) {
        rows.add(new Parameter(name, places, Treatment.REFUSED, meaning, senders, instead, accepted));
    }

    private static boolean hasNoPenalty(JsonNode value, Fields body) {
        return body.number("repetition_penalty", 1) == 1 // a default of the server is checked by SamplingReader
                && body.number("presence_penalty", 0) == 0
                && body.number("frequency_penalty", 0) == 0;
    }

    private static boolean isOnlyText(JsonNode value) {
        return value.isArray() && value.size() == 1 && isText(value.get(0), "text");
    }

    private static boolean isText(JsonNode value, String text) {
        return value.isString() && value.stringValue().equals(text);
    }
}
