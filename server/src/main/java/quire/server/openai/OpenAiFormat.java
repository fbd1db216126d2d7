package quire.server.openai;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;
import quire.engine.InvalidRequestException;
import quire.engine.Logprobs;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;
import quire.engine.chat.AnswerEvent;
import quire.engine.chat.AnswerParser;
import quire.engine.chat.ReasoningFormat;
import quire.model.text.Tokenizer;
import quire.server.api.AnswerFormat;
import quire.server.api.ChatAnswer;
import quire.server.api.ServerSentEvents;
import quire.server.http.HttpException;
import quire.server.http.RandomId;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Writes answers in OpenAI's JSON. The two endpoints differ only in the places of text and log probabilities:
 *
 * <pre>
 *                     /v1/completions             /v1/chat/completions
 *   whole             choices[i].text             choices[i].message.content
 *   chunk             choices[i].text             choices[i].delta.content, the first with delta.role
 *   log probabilities parallel arrays             a list of objects
 * </pre>
 */
final class OpenAiFormat implements AnswerFormat {
    /** Replaces −∞, the logarithm of a probability of 0, as in OpenAI's answers: JSON has no infinity. */
    private static final float LEAST_LOGPROB = -9999;

    /**
     * Values from the request that the answer contains.
     *
     * @param chat whether the request came to {@code /v1/chat/completions}
     * @param prompts the prompts, in the order in which they were sent
     * @param choices answers to each prompt
     * @param logprobs how many likely tokens to report for each token of the answer; −1 for no log probabilities
     * @param promptLogprobs the same for the tokens of the prompt
     * @param model the model's name as the client asked for it
     * @param fingerprint of the model and the server
     * @param shape the parts of the answer
     */
    record Options(
            boolean chat,
            List<Prompt> prompts,
            int choices,
            int logprobs,
            int promptLogprobs,
            String model,
            String fingerprint,
            AnswerShape shape) {
        int promptTokens() {
            return prompts.stream().mapToInt(prompt -> prompt.tokens.length).sum();
        }
    }

    /**
     * A prompt.
     *
     * @param echo its text, which comes before the answer; null for none
     */
    @SuppressWarnings("ArrayRecordComponent") // not compared
    record Prompt(int[] tokens, @Nullable String echo) {}

    /**
     * Where a stream has the token counts.
     *
     * @param atEnd in a chunk of their own at the end
     * @param inChunks in each chunk, as they are then
     */
    record StreamUsage(boolean atEnd, boolean inChunks) {}

    private final Options options;
    private final StreamUsage streamUsage;
    private int completionTokens;
    private final String id;
    private final int index;
    private final long created;
    private final Tokenizer tokenizer;
    private final TextOffsets offsets = new TextOffsets();
    private final long callKey;
    private final @Nullable AnswerParser parser; // null if the answer is text

    /** @param request the first of the requests: the ids of calls follow from its seed and its prompt */
    OpenAiFormat(Options options, StreamUsage streamUsage, Request request, Tokenizer tokenizer) {
        this.options = options;
        this.streamUsage = streamUsage;
        this.callKey = request.params().seed() * 31 + Arrays.hashCode(request.prompt());
        this.parser = options.shape().parser();
        this.id = (options.chat() ? "chatcmpl-" : "cmpl-") + RandomId.next();
        this.index = 0;
        this.created = System.currentTimeMillis() / 1000;
        this.tokenizer = tokenizer;
    }

    private OpenAiFormat(OpenAiFormat first, int index) {
        this.options = first.options;
        this.streamUsage = first.streamUsage;
        this.callKey = first.callKey + index;
        this.parser = options.shape().parser();
        this.id = first.id;
        this.index = index;
        this.created = first.created;
        this.tokenizer = first.tokenizer;
    }

    /** What formats of other APIs need to know of this answer. */
    ChatAnswer chatAnswer() {
        return new ChatAnswer(
                options.model(),
                options.promptTokens(),
                showsReasoning(),
                () -> {
                    AnswerParser parts = options.shape().parser();
                    return parts != null
                            ? parts
                            : new AnswerParser(null, List.of(), null, ReasoningFormat.Beginning.ANSWER);
                },
                call -> options.shape().tools().callId(callKey, call),
                this::refusal);
    }

    @Override
    public AnswerFormat choice(int choice) {
        return choice == 0 ? this : new OpenAiFormat(this, choice);
    }

    @Override
    public boolean needsOutputs() {
        return options.logprobs() >= 0;
    }

    /** The text of the prompt if it comes before the answer; otherwise empty. */
    private String echo() {
        String echo = options.prompts().get(index / options.choices()).echo();
        return echo == null ? "" : echo;
    }

    @Override
    public ObjectNode whole(String text, List<Output> outputs, TokenStream ended) {
        ObjectNode root = head(options.chat() ? "chat.completion" : "text_completion");
        ObjectNode choice = root.putArray("choices").addObject().put("index", index);
        if (options.chat()) {
            putMessage(choice.putObject("message").put("role", "assistant"), text);
        } else {
            choice.put("text", echo() + text);
        }
        Prompt prompt = options.prompts().get(index / options.choices());
        if (prompt.echo() != null && options.logprobs() >= 0) {
            ObjectNode logprobs = choice.putObject("logprobs");
            putEchoLogprobs(logprobs, prompt, ended.promptLogprobs());
            putCompletionLogprobs(logprobs, outputs);
        } else {
            putLogprobs(choice, outputs);
        }
        choice.put("finish_reason", name(ended.finish().reason()));
        if (options.promptLogprobs() >= 0) {
            putPromptLogprobs(options.chat() ? root : choice, prompt, ended.promptLogprobs());
        }
        return root;
    }

    /** The answer's text, or its text and calls. */
    private void putMessage(ObjectNode message, String text) {
        if (parser == null) {
            message.put("content", text).putNull("refusal");
            return;
        }
        StringBuilder reasoning = new StringBuilder();
        StringBuilder content = new StringBuilder();
        List<AnswerEvent.Call> calls = new ArrayList<>();
        List<StringBuilder> arguments = new ArrayList<>();
        List<AnswerEvent> events = new ArrayList<>(parser.append(text));
        events.addAll(parser.finish());
        for (AnswerEvent event : events) {
            switch (event) {
                case AnswerEvent.Reasoning(String piece) -> reasoning.append(piece);
                case AnswerEvent.Content(String piece) -> content.append(piece);
                case AnswerEvent.Call call -> {
                    calls.add(call);
                    arguments.add(new StringBuilder());
                }
                case AnswerEvent.Arguments(int call, String json) ->
                    arguments.get(call).append(json);
            }
        }
        message.put("content", content.isEmpty() && !calls.isEmpty() ? null : content.toString())
                .putNull("refusal");
        if (!reasoning.isEmpty() && showsReasoning()) {
            message.put("reasoning_content", reasoning.toString());
        }
        if (options.shape().tools().legacy() && !calls.isEmpty()) {
            message.putObject("function_call")
                    .put("name", calls.getFirst().name())
                    .put("arguments", arguments.getFirst().toString());
            return;
        }
        ArrayNode array = calls.isEmpty() ? null : message.putArray("tool_calls");
        for (int i = 0; array != null && i < calls.size(); i++) {
            array.addObject()
                    .put("id", options.shape().tools().callId(callKey, i))
                    .put("type", "function")
                    .putObject("function")
                    .put("name", calls.get(i).name())
                    .put("arguments", arguments.get(i).toString());
        }
    }

    @Override
    public JsonNode join(List<JsonNode> wholes, List<TokenStream> ended) {
        ObjectNode root = (ObjectNode) wholes.getFirst();
        ArrayNode choices = (ArrayNode) root.get("choices");
        for (JsonNode other : wholes.subList(1, wholes.size())) {
            choices.addAll((ArrayNode) other.get("choices"));
        }
        putUsage(root, ended);
        return root;
    }

    /** Writes the role, or the echo if there is one. */
    @Override
    public void begin(ServerSentEvents events) {
        if (options.chat()) {
            ObjectNode root = chunk("", List.of(), null);
            ((ObjectNode) root.get("choices").get(0).get("delta")).put("role", "assistant");
            events.add(root);
        } else if (!echo().isEmpty()) {
            events.add(chunk(echo(), List.of(), null));
        }
    }

    @Override
    public void token(Output output, ServerSentEvents events) {
        completionTokens++;
        if (parser != null) {
            addEvents(parser.append(output.text()), output.logprobs() == null ? List.of() : List.of(output), events);
            return;
        }
        if (!output.text().isEmpty() || output.logprobs() != null) {
            events.add(chunk(output.text(), List.of(output), null));
        }
    }

    @Override
    public void text(String text, ServerSentEvents events) {
        if (parser != null) {
            addEvents(parser.append(text), List.of(), events);
            return;
        }
        events.add(chunk(text, List.of(), null));
    }

    @Override
    public void end(TokenStream ended, ServerSentEvents events) {
        completionTokens = ended.finish().completionTokens();
        if (parser != null) {
            addEvents(parser.finish(), List.of(), events);
        }
        events.add(chunk("", List.of(), ended.finish().reason()));
    }

    @Override
    public void done(List<TokenStream> ended, ServerSentEvents events) {
        if (streamUsage.atEnd()) {
            ObjectNode usage = head(options.chat() ? "chat.completion.chunk" : "text_completion");
            usage.putArray("choices");
            putUsage(usage, ended);
            events.add(usage);
        }
        events.add("[DONE]");
    }

    @Override
    public void failure(HttpException e, ServerSentEvents events) {
        // Without the name, LangChain4j takes the text so far for a whole answer.
        events.add("error", OpenAiErrors.json(e));
    }

    @Override
    public HttpException refusal(InvalidRequestException e) {
        return SamplingReader.refusal(e, options.chat() ? SamplingReader.Names.CHAT : SamplingReader.Names.COMPLETIONS);
    }

    /** A chunk for each event; the first one has the log probabilities. */
    private void addEvents(List<AnswerEvent> answer, List<Output> outputs, ServerSentEvents events) {
        List<Output> rest = outputs;
        for (AnswerEvent event : answer) {
            if (event instanceof AnswerEvent.Reasoning && !showsReasoning()) {
                continue;
            }
            if (event instanceof AnswerEvent.Content(String text)) {
                events.add(chunk(text, rest, null));
            } else {
                ObjectNode root = chunk("", rest, null);
                ObjectNode delta = (ObjectNode) root.get("choices").get(0).get("delta");
                delta.remove("content");
                putDelta(delta, event);
                events.add(root);
            }
            rest = List.of();
        }
        if (!rest.isEmpty()) {
            events.add(chunk("", rest, null));
        }
    }

    private boolean showsReasoning() {
        return options.shape().place() == ReasoningReader.Place.APART;
    }

    /** The beginning of a call, or more of its arguments. Clients join the texts of all deltas of a call. */
    private void putDelta(ObjectNode delta, AnswerEvent event) {
        boolean legacy = options.shape().tools().legacy();
        switch (event) {
            case AnswerEvent.Call(int call, String name) -> {
                ObjectNode head = legacy
                        ? delta
                        : delta.putArray("tool_calls").addObject().put("index", call);
                if (!legacy) {
                    head.put("id", options.shape().tools().callId(callKey, call))
                            .put("type", "function");
                }
                head.putObject(legacy ? "function_call" : "function")
                        .put("name", name)
                        .put("arguments", "");
            }
            case AnswerEvent.Arguments(int call, String json) -> {
                ObjectNode head = legacy
                        ? delta
                        : delta.putArray("tool_calls").addObject().put("index", call);
                head.putObject(legacy ? "function_call" : "function").put("arguments", json);
            }
            case AnswerEvent.Reasoning(String text) -> delta.put("reasoning_content", text);
            case AnswerEvent.Content(String text) -> delta.put("content", text);
        }
    }

    private ObjectNode chunk(String text, List<Output> outputs, @Nullable FinishReason reason) {
        ObjectNode root = head(options.chat() ? "chat.completion.chunk" : "text_completion");
        ObjectNode choice = root.putArray("choices").addObject().put("index", index);
        if (options.chat()) {
            ObjectNode delta = choice.putObject("delta");
            if (reason == null) {
                delta.put("content", text);
            }
        } else {
            choice.put("text", text);
        }
        putLogprobs(choice, outputs);
        choice.put("finish_reason", reason == null ? null : name(reason));
        if (streamUsage.inChunks()) {
            putCounts(root, options.promptTokens(), completionTokens);
        } else if (streamUsage.atEnd()) {
            root.putNull("usage");
        }
        return root;
    }

    private ObjectNode head(String object) {
        return JsonNodeFactory.instance
                .objectNode()
                .put("id", id)
                .put("object", object)
                .put("created", created)
                .put("model", options.model())
                .put("system_fingerprint", options.fingerprint());
    }

    /** Counts each prompt once, and the tokens of all answers. */
    private void putUsage(ObjectNode root, List<TokenStream> ended) {
        int completionTokens = ended.stream()
                .mapToInt(stream -> stream.finish().completionTokens())
                .sum();
        ObjectNode usage = putCounts(root, options.promptTokens(), completionTokens);
        // Answers to one prompt share its pages; cached before the request were those that none of them computed.
        int perPrompt = ended.size() / options.prompts().size();
        int cached = 0;
        for (int from = 0; from < ended.size(); from += perPrompt) {
            cached += ended.subList(from, from + perPrompt).stream()
                    .mapToInt(TokenStream::cachedTokens)
                    .min()
                    .orElseThrow();
        }
        usage.putObject("prompt_tokens_details").put("cached_tokens", cached);
        List<SpeculationCounts> drafted =
                ended.stream().map(TokenStream::speculation).toList();
        usage.putObject("completion_tokens_details")
                .put(
                        "accepted_prediction_tokens",
                        drafted.stream()
                                .mapToLong(SpeculationCounts::acceptedPredictedTokens)
                                .sum())
                .put(
                        "rejected_prediction_tokens",
                        drafted.stream()
                                .mapToLong(count -> count.predictedTokens() - count.acceptedPredictedTokens())
                                .sum());
    }

    private static ObjectNode putCounts(ObjectNode root, int promptTokens, int completionTokens) {
        return root.putObject("usage")
                .put("prompt_tokens", promptTokens)
                .put("completion_tokens", completionTokens)
                .put("total_tokens", promptTokens + completionTokens);
    }

    private void putLogprobs(ObjectNode choice, List<Output> outputs) {
        if (options.logprobs() < 0 || outputs.isEmpty()) {
            choice.putNull("logprobs");
        } else if (options.chat()) {
            putChatLogprobs(choice.putObject("logprobs"), outputs);
        } else {
            putCompletionLogprobs(choice.putObject("logprobs"), outputs);
        }
    }

    private void putCompletionLogprobs(ObjectNode logprobs, List<Output> outputs) {
        for (Output output : outputs) {
            Logprobs numbers = output.logprobs();
            if (numbers != null) {
                putCompletionLogprobs(logprobs, output.token(), numbers, tokenizer.bytes(output.token()));
            }
        }
    }

    /** Adds the tokens of a prompt that comes before its answer. The first one has no log probability. */
    private void putEchoLogprobs(ObjectNode logprobs, Prompt prompt, List<Logprobs> numbers) {
        String echo = prompt.echo() == null ? "" : prompt.echo();
        int at = 0; // in the echo
        for (int i = 0; i < prompt.tokens().length; i++) {
            int token = prompt.tokens()[i];
            byte[] bytes = tokenizer.bytes(token);
            // A control token is in the echo only if the client wrote it, and a space that encoding adds is not.
            if (tokenizer.isControl(token) && echo.startsWith(tokenizer.spelling(token), at)) {
                bytes = tokenizer.spelling(token).getBytes(StandardCharsets.UTF_8);
            } else if (at == 0 && bytes.length > 0 && bytes[0] == ' ' && !echo.startsWith(" ")) {
                bytes = Arrays.copyOfRange(bytes, 1, bytes.length);
            }
            putCompletionLogprobs(logprobs, token, of(numbers, i), bytes);
            at = Math.min(echo.length(), offsets.endIn(echo));
        }
    }

    /**
     * Adds a token to the parallel arrays.
     *
     * @param numbers null if there is none, as of the first token of a prompt
     * @param bytes of the token in the answer's text
     */
    private void putCompletionLogprobs(ObjectNode logprobs, int token, @Nullable Logprobs numbers, byte[] bytes) {
        String shown = shown(token, "bytes:");
        logprobs.withArray("tokens").add(shown);
        ArrayNode tokenLogprobs = logprobs.withArray("token_logprobs");
        ArrayNode topLogprobs = logprobs.withArray("top_logprobs");
        if (numbers == null) {
            tokenLogprobs.addNull();
            topLogprobs.addNull();
        } else {
            tokenLogprobs.add(finite(numbers.chosen()));
            ObjectNode top = topLogprobs.addObject();
            for (int i = 0; i < Math.min(numbers.topTokens().length, options.logprobs()); i++) {
                // Two tokens may have the same text; the entry is for the likelier one, which comes first.
                top.putIfAbsent(
                        shown(numbers.topTokens()[i], "bytes:"),
                        JsonNodeFactory.instance.numberNode(finite(numbers.topLogprobs()[i])));
            }
            top.putIfAbsent(shown, JsonNodeFactory.instance.numberNode(finite(numbers.chosen())));
        }
        logprobs.withArray("text_offset").add(offsets.next(bytes));
    }

    /** The log probabilities of a token of a prompt: none of the first one, nor of any if the answer's time was over before. */
    private static @Nullable Logprobs of(List<Logprobs> numbers, int index) {
        return index == 0 || index > numbers.size() ? null : numbers.get(index - 1);
    }

    /** Writes the log probabilities of the prompt's tokens in vLLM's form: by token id, null where there is none. */
    private void putPromptLogprobs(ObjectNode node, Prompt prompt, List<Logprobs> numbers) {
        ArrayNode array = node.putArray("prompt_logprobs");
        for (int i = 0; i < prompt.tokens().length; i++) {
            Logprobs at = of(numbers, i);
            if (at == null) {
                array.addNull();
                continue;
            }
            ObjectNode tokens = array.addObject();
            for (int top = 0; top < Math.min(at.topTokens().length, options.promptLogprobs()); top++) {
                putRanked(tokens, at.topTokens()[top], at.topLogprobs()[top], top + 1);
            }
            if (!tokens.has(Integer.toString(prompt.tokens()[i]))) {
                putRanked(tokens, prompt.tokens()[i], at.chosen(), at.rank());
            }
        }
    }

    private void putRanked(ObjectNode tokens, int token, float logprob, int rank) {
        tokens.putObject(Integer.toString(token))
                .put("logprob", finite(logprob))
                .put("rank", rank)
                .put("decoded_token", shown(token, ""));
    }

    private void putChatLogprobs(ObjectNode logprobs, List<Output> outputs) {
        ArrayNode content = logprobs.putArray("content");
        for (Output output : outputs) {
            Logprobs numbers = output.logprobs();
            if (numbers == null) {
                continue;
            }
            ObjectNode entry = content.addObject();
            putToken(entry, output.token(), numbers.chosen());
            ArrayNode top = entry.putArray("top_logprobs");
            for (int i = 0; i < numbers.topTokens().length; i++) {
                putToken(top.addObject(), numbers.topTokens()[i], numbers.topLogprobs()[i]);
            }
        }
        logprobs.putNull("refusal");
    }

    private void putToken(ObjectNode node, int token, float logprob) {
        node.put("token", shown(token, "")).put("logprob", finite(logprob));
        ArrayNode bytes = node.putArray("bytes");
        for (byte b : tokenizer.bytes(token)) {
            bytes.add(b & 0xFF);
        }
    }

    /** A token as text; its spelling if it has no bytes; {@code \xe2\x82} if its bytes are not whole characters. */
    private String shown(int token, String bytesPrefix) {
        byte[] bytes = tokenizer.bytes(token);
        if (bytes.length == 0) {
            return tokenizer.spelling(token);
        }
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            StringBuilder text = new StringBuilder(bytesPrefix);
            for (byte b : bytes) {
                text.append("\\x")
                        .append(Character.forDigit((b >> 4) & 0xF, 16))
                        .append(Character.forDigit(b & 0xF, 16));
            }
            return text.toString();
        }
    }

    private static float finite(float logprob) {
        return Math.max(logprob, LEAST_LOGPROB);
    }

    private String name(FinishReason reason) {
        return switch (reason) {
            case STOP ->
                parser != null && parser.hasCalls() ? options.shape().tools().finishReason() : "stop";
            case LENGTH -> "length";
            case TIMEOUT -> "timeout";
            case CANCELLED, ERROR, BROKEN_LOGITS, CONSTRAINT ->
                throw new IllegalArgumentException(reason + " ends a request with an error, not with an answer");
        };
    }
}
