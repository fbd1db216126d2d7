package quire.server.anthropic;

import static quire.server.api.Parameter.Place.COUNT_TOKENS;
import static quire.server.api.Parameter.Place.MESSAGES;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameter.Values;

/** The parameters of a request for a message. {@code docs/messages.md} contains the same table. */
public final class MessagesParameters {
    private static final Set<Place> BOTH = EnumSet.of(MESSAGES, COUNT_TOKENS);
    private static final Set<Place> ANSWER = EnumSet.of(MESSAGES);

    private static final String ANTHROPIC = "Anthropic";
    private static final String OPENAI = "OpenAI";
    private static final String QUIRE = "Quire";

    /** All rows. */
    public static final List<Parameter> ROWS = rows();

    private MessagesParameters() {}

    private static List<Parameter> rows() {
        List<Parameter> rows = new ArrayList<>();
        computed(rows, BOTH, "model", "the name of the model", ANTHROPIC);
        computed(rows, BOTH, "messages", "the conversation", ANTHROPIC);
        computed(rows, BOTH, "system", "a text, or text blocks, before the conversation", ANTHROPIC);
        computed(rows, BOTH, "tools", "functions that the model may call", ANTHROPIC);
        computed(rows, BOTH, "tool_choice", "auto, any, tool or none, and disable_parallel_tool_use", ANTHROPIC);
        computed(rows, BOTH, "thinking", "whether to reason, and for how many tokens", ANTHROPIC);
        computed(
                rows,
                BOTH,
                "output_config",
                "format: a JSON schema of the answer; effort: how long to reason",
                ANTHROPIC);
        computed(rows, ANSWER, "max_tokens", "maximum number of tokens of the answer; required", ANTHROPIC);
        computed(rows, ANSWER, "stop_sequences", "texts that end the answer", ANTHROPIC);
        computed(rows, ANSWER, "temperature", "divides the logits; 0 always takes the likeliest token", ANTHROPIC);
        computed(rows, ANSWER, "top_p", "keeps the likeliest tokens up to this total probability", ANTHROPIC);
        computed(rows, ANSWER, "top_k", "keeps the k likeliest tokens", ANTHROPIC);
        computed(rows, ANSWER, "stream", "sends the answer as it is computed", ANTHROPIC);
        computed(rows, ANSWER, "metadata", "user_id: whom the answer is for", ANTHROPIC);
        computed(rows, ANSWER, "seed", "makes the answer repeatable", QUIRE);
        computed(rows, ANSWER, "min_p", "keeps tokens with this share of the highest probability", QUIRE);
        computed(rows, ANSWER, "priority", "requests with a lower number come first", QUIRE);
        harmless(rows, BOTH, "cache_control", "what may be cached; pages are always cached");
        harmless(rows, BOTH, "service_tier", "the price of the answer");
        harmless(rows, BOTH, "speed", "how fast Anthropic's servers answer");
        harmless(rows, BOTH, "diagnostics", "information on caching");
        harmless(rows, BOTH, "inference_geo", "where the answer is computed");
        harmless(rows, BOTH, "betas", "features of a client library");
        refused(rows, BOTH, "mcp_servers", "servers with tools", "call them in the client");
        refused(rows, BOTH, "container", "a place to run programs", "run them in the client");
        refused(rows, BOTH, "context_management", "shortens the conversation", "send fewer messages");
        refused(rows, BOTH, "output_format", "a JSON schema of the answer", "use output_config.format");
        refused(rows, BOTH, "max_tokens_to_sample", "maximum number of tokens of the answer", "use max_tokens");
        refused(rows, BOTH, "prompt", "the older form of a conversation", "use messages");
        refusedOfOpenAi(rows, "max_completion_tokens", "maximum number of tokens of the answer", "use max_tokens");
        refusedOfOpenAi(rows, "max_output_tokens", "maximum number of tokens of the answer", "use max_tokens");
        refusedOfOpenAi(rows, "stop", "texts that end the answer", "use stop_sequences");
        refusedOfOpenAi(rows, "response_format", "a JSON schema of the answer", "use output_config.format");
        refusedOfOpenAi(rows, "reasoning_effort", "how long to reason", "use output_config.effort");
        refusedOfOpenAi(rows, "user", "whom the answer is for", "use metadata.user_id");
        for (String name : List.of("logit_bias", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")) {
            refusedOfOpenAi(rows, name, "a parameter of chats", "use /v1/chat/completions");
        }
        refusedOfOpenAi(rows, "n", "how many answers", "use /v1/chat/completions", Values.number(1));
        return List.copyOf(rows);
    }

    private static void computed(List<Parameter> rows, Set<Place> places, String name, String meaning, String senders) {
        rows.add(new Parameter(name, places, Treatment.COMPUTED, meaning, senders, "", Values.ANY));
    }

    private static void harmless(List<Parameter> rows, Set<Place> places, String name, String meaning) {
        rows.add(new Parameter(name, places, Treatment.HARMLESS, meaning, ANTHROPIC, "", Values.ANY));
    }

    private static void refused(List<Parameter> rows, Set<Place> places, String name, String meaning, String instead) {
        rows.add(new Parameter(name, places, Treatment.REFUSED, meaning, ANTHROPIC, instead, Values.NEUTRAL));
    }

    private static void refusedOfOpenAi(List<Parameter> rows, String name, String meaning, String instead) {
        refusedOfOpenAi(rows, name, meaning, instead, Values.NEUTRAL);
    }

    private static void refusedOfOpenAi(
            List<Parameter> rows, String name, String meaning, String instead, Values accepted) {
        rows.add(new Parameter(name, BOTH, Treatment.REFUSED, meaning, OPENAI, instead, accepted));
    }
}
