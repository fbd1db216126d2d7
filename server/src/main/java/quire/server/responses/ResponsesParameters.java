package quire.server.responses;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameter.Values;
import tools.jackson.databind.JsonNode;

/** The parameters of a request for a response. {@code docs/responses.md} contains the same table. */
public final class ResponsesParameters {
    private static final Set<Place> PLACES = EnumSet.of(Place.RESPONSES);

    private static final String OPENAI = "OpenAI";
    private static final String QUIRE = "Quire";

    /** All rows. */
    public static final List<Parameter> ROWS = rows();

    private ResponsesParameters() {}

    private static List<Parameter> rows() {
        List<Parameter> rows = new ArrayList<>();
        computed(rows, "model", "the name of the model", OPENAI);
        computed(rows, "input", "a text, or the items of the conversation", OPENAI);
        computed(rows, "instructions", "a system message before the conversation", OPENAI);
        computed(rows, "previous_response_id", "the response whose conversation goes on", OPENAI);
        computed(rows, "store", "whether the response is kept; true if absent", OPENAI);
        computed(rows, "tools", "functions that the model may call", OPENAI);
        computed(rows, "tool_choice", "whether and which tools are called", OPENAI);
        computed(rows, "parallel_tool_calls", "whether an answer may have several calls", OPENAI);
        computed(rows, "reasoning", "effort: how long to reason; summary: the reasoning comes as its summary", OPENAI);
        computed(rows, "text", "format: a JSON schema of the answer", OPENAI);
        computed(rows, "max_output_tokens", "maximum number of tokens of the answer", OPENAI);
        computed(rows, "temperature", "divides the logits; 0 always takes the likeliest token", OPENAI);
        computed(rows, "top_p", "keeps the likeliest tokens up to this total probability", OPENAI);
        computed(rows, "stream", "sends the answer as it is computed", OPENAI);
        computed(rows, "user", "whom the answer is for", OPENAI);
        computed(rows, "safety_identifier", "the same as user, which comes first", OPENAI);
        computed(rows, "top_k", "keeps the k likeliest tokens", QUIRE);
        computed(rows, "min_p", "keeps tokens with this share of the highest probability", QUIRE);
        computed(rows, "seed", "makes the answer repeatable", QUIRE);
        computed(rows, "stop", "texts that end the answer", QUIRE);
        computed(rows, "presence_penalty", "lowers the logits of tokens in the answer", QUIRE);
        computed(rows, "frequency_penalty", "lowers the logits of tokens by their count in the answer", QUIRE);
        computed(rows, "repetition_penalty", "divides the logits of tokens that occurred", QUIRE);
        computed(rows, "priority", "requests with a lower number come first", QUIRE);
        harmless(rows, "metadata", "information for the operator; the response repeats it");
        refused(
                rows,
                "include",
                "further parts of the answer; those of OpenAI's own tools and models are never there",
                "use /v1/chat/completions for log probabilities",
                new Values("all but \"message.output_text.logprobs\"", (value, body) -> value.valueStream()
                        .noneMatch(ResponsesParameters::isLogprobs)));
        harmless(rows, "stream_options", "padding of events");
        harmless(rows, "service_tier", "the price of the answer");
        harmless(rows, "prompt_cache_key", "what may be cached; pages are always cached");
        harmless(rows, "prompt_cache_retention", "how long the cache keeps");
        harmless(rows, "client_metadata", "information for the operator");
        harmless(rows, "max_tool_calls", "a limit for tools that OpenAI's servers run");
        harmless(rows, "context_management", "when OpenAI's servers shorten a conversation");
        refused(rows, "background", "computes after the request", "wait for the answer", Values.NEUTRAL);
        refused(
                rows,
                "conversation",
                "a conversation that the server keeps",
                "use previous_response_id",
                Values.NEUTRAL);
        refused(rows, "prompt", "a template that the server keeps", "send its text as instructions", Values.NEUTRAL);
        refused(rows, "top_logprobs", "how many likely tokens to report", "use /v1/chat/completions", Values.NEUTRAL);
        refused(
                rows,
                "truncation",
                "shortens the conversation",
                "send fewer items",
                Values.NEUTRAL.or(Values.text("disabled")));
        refused(rows, "messages", "the conversation", "use input, or /v1/chat/completions", Values.NEUTRAL);
        refused(rows, "max_tokens", "maximum number of tokens", "use max_output_tokens", Values.NEUTRAL);
        refused(rows, "max_completion_tokens", "maximum number of tokens", "use max_output_tokens", Values.NEUTRAL);
        refused(rows, "response_format", "a JSON schema of the answer", "use text.format", Values.NEUTRAL);
        refused(rows, "reasoning_effort", "how long to reason", "use reasoning.effort", Values.NEUTRAL);
        refused(rows, "verbosity", "how long the answer is", "ask for the length in the input", Values.NEUTRAL);
        for (String name : List.of("logit_bias", "logprobs")) {
            refused(rows, name, "a parameter of chats", "use /v1/chat/completions", Values.NEUTRAL);
        }
        refused(rows, "n", "how many answers", "use /v1/chat/completions", Values.number(1));
        return List.copyOf(rows);
    }

    private static boolean isLogprobs(JsonNode part) {
        return part.isString() && part.stringValue().equals("message.output_text.logprobs");
    }

    private static void computed(List<Parameter> rows, String name, String meaning, String senders) {
        rows.add(new Parameter(name, PLACES, Treatment.COMPUTED, meaning, senders, "", Values.ANY));
    }

    private static void harmless(List<Parameter> rows, String name, String meaning) {
        rows.add(new Parameter(name, PLACES, Treatment.HARMLESS, meaning, OPENAI, "", Values.ANY));
    }

    private static void refused(List<Parameter> rows, String name, String meaning, String instead, Values accepted) {
        rows.add(new Parameter(name, PLACES, Treatment.REFUSED, meaning, OPENAI, instead, accepted));
    }
}
