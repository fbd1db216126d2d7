package quire.server.ollama;

import static quire.server.api.Parameter.Place.OLLAMA_CHAT;
import static quire.server.api.Parameter.Place.OLLAMA_EMBED;
import static quire.server.api.Parameter.Place.OLLAMA_EMBEDDINGS;
import static quire.server.api.Parameter.Place.OLLAMA_GENERATE;
import static quire.server.api.Parameter.Place.OLLAMA_OPTIONS;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameter.Values;

/** The parameters of Ollama's requests for answers and vectors. {@code docs/ollama.md} contains the same table. */
public final class OllamaParameters {
    private static final Set<Place> BOTH = EnumSet.of(OLLAMA_CHAT, OLLAMA_GENERATE);
    private static final Set<Place> CHAT = EnumSet.of(OLLAMA_CHAT);
    private static final Set<Place> GENERATE = EnumSet.of(OLLAMA_GENERATE);
    private static final Set<Place> VECTORS = EnumSet.of(OLLAMA_EMBED, OLLAMA_EMBEDDINGS);
    private static final Set<Place> EMBED = EnumSet.of(OLLAMA_EMBED);
    private static final Set<Place> EMBEDDINGS = EnumSet.of(OLLAMA_EMBEDDINGS);
    private static final Set<Place> OPTIONS = EnumSet.of(OLLAMA_OPTIONS);

    private static final String WINDOW = "the server has one context for all";
    private static final String MACHINE = "how Ollama uses the machine";

    private static final String KEEP_ALIVE =
            "how long the model stays loaded when nobody uses it, if the server has several";

    /** All rows. */
    public static final List<Parameter> ROWS = rows();

    private OllamaParameters() {}

    private static List<Parameter> rows() {
        List<Parameter> rows = new ArrayList<>();
        computed(rows, BOTH, "model", "the name of the model, also with :latest behind it");
        computed(rows, CHAT, "messages", "the conversation");
        computed(rows, CHAT, "tools", "functions that the model may call");
        computed(rows, GENERATE, "prompt", "what the user says");
        computed(rows, GENERATE, "system", "the system message");
        computed(rows, GENERATE, "raw", "takes the prompt as it is, without the chat template");
        computed(rows, GENERATE, "suffix", "text behind the answer, for models that fill gaps");
        computed(rows, BOTH, "format", "json, or a JSON schema of the answer");
        computed(rows, BOTH, "think", "whether to reason, or how long: low, medium, high");
        computed(rows, BOTH, "stream", "sends the answer as it is computed; true if absent");
        computed(rows, BOTH, "options", "an object of the parameters below");
        computed(rows, BOTH, "keep_alive", KEEP_ALIVE);
        harmless(rows, BOTH, "shift", "what happens to an answer that fills the context; here it ends");
        harmless(rows, BOTH, "truncate", "what happens to a prompt that is too long; here it is an error");
        refused(rows, BOTH, "max_tokens", "maximum number of tokens", "use options.num_predict", Values.NEUTRAL);
        refused(rows, BOTH, "response_format", "a JSON schema of the answer", "use format", Values.NEUTRAL);
        refused(rows, BOTH, "reasoning_effort", "how long to reason", "use think", Values.NEUTRAL);
        refused(
                rows,
                CHAT,
                "tool_choice",
                "which tools are called",
                "use /v1/chat/completions",
                Values.NEUTRAL.or(Values.text("auto")));
        refused(rows, BOTH, "logprobs", "reports log probabilities", "use /v1/chat/completions", Values.NEUTRAL);
        refused(rows, BOTH, "top_logprobs", "how many tokens to report", "use /v1/chat/completions", Values.NEUTRAL);
        refused(rows, GENERATE, "template", "another chat template", "use /v1/completions", Values.NEUTRAL);
        refused(rows, GENERATE, "context", "tokens of an earlier answer", "use /api/chat", Values.NEUTRAL);
        refused(rows, GENERATE, "images", "pictures", "send text", Values.NEUTRAL);
        computed(rows, VECTORS, "model", "the name of the model, also with :latest behind it");
        computed(rows, EMBED, "input", "a text or a list of texts");
        computed(rows, EMBEDDINGS, "prompt", "a text");
        computed(rows, VECTORS, "truncate", "whether a text that is longer than the context keeps its beginning");
        computed(rows, EMBED, "dimensions", "how many of the first numbers of each vector are wanted");
        computed(rows, VECTORS, "keep_alive", KEEP_ALIVE);
        harmless(rows, VECTORS, "options", "how tokens are chosen");
        computed(rows, OPTIONS, "num_predict", "maximum number of tokens of the answer; -1 and -2 for no limit");
        computed(rows, OPTIONS, "temperature", "divides the logits; 0 always takes the likeliest token");
        computed(rows, OPTIONS, "top_k", "keeps the k likeliest tokens");
        computed(rows, OPTIONS, "top_p", "keeps the likeliest tokens up to this total probability");
        computed(rows, OPTIONS, "min_p", "keeps tokens with this share of the highest probability");
        computed(rows, OPTIONS, "typical_p", "keeps tokens of typical probability");
        computed(rows, OPTIONS, "repeat_penalty", "divides the logits of tokens that occurred");
        computed(rows, OPTIONS, "repeat_last_n", "how many tokens the penalty counts; only -1 with a penalty");
        computed(rows, OPTIONS, "presence_penalty", "lowers the logits of tokens in the answer");
        computed(rows, OPTIONS, "frequency_penalty", "lowers the logits of tokens by their count");
        computed(rows, OPTIONS, "seed", "makes the answer repeatable");
        computed(rows, OPTIONS, "stop", "texts that end the answer");
        harmless(rows, OPTIONS, "num_ctx", "positions of the context; " + WINDOW);
        harmless(rows, OPTIONS, "num_keep", "what a shift of the context keeps; it is never shifted");
        for (String machine : List.of(
                "num_batch",
                "num_gpu",
                "main_gpu",
                "num_thread",
                "num_gqa",
                "numa",
                "low_vram",
                "f16_kv",
                "vocab_only",
                "use_mmap",
                "use_mlock",
                "draft_num_predict")) {
            harmless(rows, OPTIONS, machine, MACHINE);
        }
        harmless(rows, OPTIONS, "mirostat_tau", "an option of mirostat");
        harmless(rows, OPTIONS, "mirostat_eta", "an option of mirostat");
        refused(rows, OPTIONS, "mirostat", "controls the perplexity", "use temperature or top_p", Values.NEUTRAL);
        refused(rows, OPTIONS, "tfs_z", "tail-free sampling", "use top_p or min_p", Values.number(1));
        refused(rows, OPTIONS, "penalize_newline", "whether penalties count line breaks", "leave it out", Values.TRUE);
        refused(rows, OPTIONS, "logits_all", "logits of all tokens", "leave it out", Values.NEUTRAL);
        return List.copyOf(rows);
    }

    private static void computed(List<Parameter> rows, Set<Place> places, String name, String meaning) {
        rows.add(new Parameter(name, places, Treatment.COMPUTED, meaning, senders(places), "", Values.ANY));
    }

    private static void harmless(List<Parameter> rows, Set<Place> places, String name, String meaning) {
        rows.add(new Parameter(name, places, Treatment.HARMLESS, meaning, senders(places), "", Values.ANY));
    }

    private static void refused(
            List<Parameter> rows, Set<Place> places, String name, String meaning, String instead, Values accepted) {
        rows.add(new Parameter(name, places, Treatment.REFUSED, meaning, senders(places), instead, accepted));
    }

    private static String senders(Set<Place> places) {
        if (places.equals(VECTORS) || places.equals(EMBED) || places.equals(EMBEDDINGS)) {
            return places.equals(EMBED) ? "embed" : places.equals(EMBEDDINGS) ? "embeddings" : "embed, embeddings";
        }
        return places.equals(OPTIONS)
                ? "options"
                : places.equals(CHAT) ? "chat" : places.equals(GENERATE) ? "generate" : "both";
    }
}
