package quire.server.openai;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;
import quire.engine.constrain.TextLimit;
import quire.model.text.TextTooLongException;
import quire.model.text.Tokenizer;
import quire.server.api.AnswerRequest;
import quire.server.api.Fields;
import quire.server.api.ServedModel;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Reads requests. Every parameter becomes a part of the {@link AnswerRequest}, has no effect, or is a 400 that names
 * it; see {@link Parameters}.
 */
final class RequestReader {
    private static final int DEFAULT_COMPLETION_TOKENS = 16;

    private static final int NO_LIMIT = -1;

    private static final int MAX_CONSTRAINTS = 32;

    private record Reasoned(Constraint answer, Beginning beginning) {}

    /** The most answers to one request. */
    private static final int MAX_CHOICES = 128;

    private static final String ADVICE = " Please reduce the length of the messages or of the prompt";

    private final ServedModel model;
    private final Engine engine;
    private final Tokenizer tokenizer;
    private final SamplingReader sampling;
    private final Parameters parameters;
    private final ToolReader tools;
    private final Recent<Reasoned, Constraint> reasoned = new Recent<>(MAX_CONSTRAINTS);
    private final String fingerprint;

    RequestReader(ServedModel model, Parameters parameters) {
        this.model = model;
        this.engine = model.engine();
        this.parameters = parameters;
        this.tokenizer = model.tokenizer();
        this.sampling = new SamplingReader(tokenizer, model.samplingDefaults());
        this.tools = new ToolReader(model);
        this.fingerprint = "fp_" + String.format("%08x", model.name().hashCode());
    }

    /** A body of {@code /v1/completions}. */
    AnswerRequest completion(Fields request) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.COMPLETIONS, request);
        checkCommon(body);
        JsonNode prompt = body.require("prompt");
        int logprobs = completionLogprobs(body);
        boolean echo = body.bool("echo", false);
        if (echo && logprobs >= 0) {
            throw HttpException.unsupported(
                    "echo",
                    "'echo' together with 'logprobs' is not supported: log probabilities of the prompt are not"
                            + " computed. Send one of them.");
        }
        boolean addSpecial = body.bool("add_special_tokens", true);
        if (prompt.isArray() && prompt.size() == 1 && !prompt.get(0).isNumber()) {
            prompt = prompt.get(0); // a list of one prompt
        }
        String text = prompt.isString() ? Fields.string(prompt, "prompt") : null;
        int[] tokens = text != null ? encode(text, addSpecial, "prompt") : tokens(prompt, "prompt", tokenizer);
        if (tokens.length == 0) {
            throw HttpException.invalid("prompt", "invalid_value", "'prompt' is empty: it needs at least one token.");
        }
        SamplingReader.Names names = SamplingReader.Names.COMPLETIONS.withLimit(body.path("max_tokens"));
        Integer limit = limit(body, "max_tokens");
        int room = room(tokens.length, limit, names);
        int maxTokens = limit != null ? limit : Math.min(DEFAULT_COMPLETION_TOKENS, room);
        SamplingParams params =
                sampling.read(body, Math.max(maxTokens, 1), logprobs, names, ConstraintReader.read(body), false);
        String echoed = !echo ? "" : text != null ? text : tokenizer.decodeText(tokens);
        OpenAiFormat.Options options = new OpenAiFormat.Options(false, echoed, name, fingerprint, AnswerShape.TEXT);
        Request checked = new Request(tokens, params, cacheSalt(body), scheduling(body));
        return answer(body, checked, maxTokens == 0, options);
    }

    /** A body of {@code /v1/chat/completions}. */
    AnswerRequest chat(Fields request) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.CHAT, request);
        checkCommon(body);
        int logprobs = chatLogprobs(body);
        ToolReader.Read read = tools.read(body, ConstraintReader.read(body));
        ToolRequest toolRequest = read.request();
        ChatPrompt.Prompt prompt = ChatPrompt.render(
                engine,
                body,
                toolRequest.forTemplate(),
                ReasoningReader.variables(body),
                true,
                text -> encode(text, false, "messages"));
        int[] tokens = prompt.tokens();
        AnswerShape shape = AnswerShape.of(model, toolRequest, prompt.text(), ReasoningReader.place(body));
        Integer newer = limit(body, "max_completion_tokens");
        Integer older = limit(body, "max_tokens");
        if (newer != null && older != null && !newer.equals(older)) {
            throw HttpException.invalid(
                    body.path("max_tokens"),
                    "invalid_value",
                    "'" + body.path("max_tokens") + "' (" + older + ") and 'max_completion_tokens' (" + newer
                            + ") differ: send one of them.");
        }
        Integer limit = newer != null ? newer : older;
        SamplingReader.Names names = newer != null || older == null
                ? SamplingReader.Names.CHAT
                : SamplingReader.Names.CHAT.withLimit(body.path("max_tokens"));
        int room = room(tokens.length, limit, names);
        int maxTokens = limit != null ? limit : room;
        SamplingParams params = sampling.read(
                body,
                Math.max(maxTokens, 1),
                logprobs,
                names,
                constraint(body, read.constraint(), shape),
                shape.hasControlTokens());
        OpenAiFormat.Options options = new OpenAiFormat.Options(true, "", name, fingerprint, shape);
        Request checked = new Request(tokens, params, cacheSalt(body), scheduling(body));
        return answer(body, checked, maxTokens == 0, options);
    }

    /** A constraint says what the answer must be, and not the reasoning before it, which may have a limit. */
    private @Nullable Constraint constraint(Fields body, @Nullable Constraint answer, AnswerShape shape) {
        ReasoningFormat reasoning = shape.reasoning();
        Integer budget = ReasoningReader.budget(body);
        if (budget != null && reasoning == null) {
            throw HttpException.unsupported(
                    body.path("thinking_token_budget"),
                    "'" + body.path("thinking_token_budget")
                            + "' is not supported by this model: its chat template does not mark any reasoning.");
        }
        if (reasoning == null || (answer == null && budget == null) || shape.beginning() == Beginning.ANSWER) {
            return answer;
        }
        Constraint wanted = answer != null ? answer : Constraint.of(new Part.FreeText(List.of(), List.of()));
        Constraint whole = reasoned.get(
                new Reasoned(wanted, shape.beginning()), () -> reasoning.before(wanted, shape.beginning()));
        return budget == null
                ? whole
                : whole.withLimit(new TextLimit(
                        shape.beginning() == Beginning.REASONING ? "" : reasoning.start(), reasoning.end(), budget));
    }

    private AnswerRequest answer(Fields body, Request request, boolean promptOnly, OpenAiFormat.Options options) {
        boolean stream = body.bool("stream", false);
        OpenAiFormat.StreamUsage usage = streamUsage(body);
        if ((usage.atEnd() || usage.inChunks()) && !stream) {
            throw HttpException.invalid(
                    "stream_options", "invalid_value", "'stream_options' is only allowed when 'stream' is true.");
        }
        int choices = body.integer("n", 1, MAX_CHOICES, 1);
        int computed = bestOf(body, choices);
        if (stream && computed > choices) {
            throw HttpException.invalid(
                    "best_of",
                    "invalid_value",
                    "'best_of' (" + computed + ") must be 'n' (" + choices
                            + ") when 'stream' is true: which answers are" + " the best is known at their ends.");
        }
        boolean logprobs = request.params().logprobs() >= 0;
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < computed; i++) {
            SamplingParams params = request.params().toBuilder()
                    .seed(request.params().seed() + i)
                    .logprobs(
                            computed > choices && !logprobs
                                    ? 0
                                    : request.params().logprobs())
                    .build();
            requests.add(new Request(request.prompt(), params, request.cacheSalt(), request.scheduling()));
        }
        OpenAiFormat format = new OpenAiFormat(options, logprobs, usage, request, tokenizer);
        return new AnswerRequest(requests, choices, promptOnly, stream, format);
    }

    /** How many answers are computed, of which the {@code choices} best are sent. */
    private static int bestOf(Fields body, int choices) {
        JsonNode value = body.get("best_of");
        if (value == null || Fields.isNeutral(value)) {
            return choices;
        }
        int computed = (int) Fields.integer(value, "best_of", 1, MAX_CHOICES);
        if (computed < choices) {
            throw HttpException.invalid(
                    "best_of", "invalid_value", "'best_of' (" + computed + ") must be at least 'n' (" + choices + ").");
        }
        return computed;
    }

    private static @Nullable String cacheSalt(Fields body) {
        JsonNode salt = body.get("cache_salt");
        return salt == null || Fields.isNeutral(salt) ? null : Fields.string(salt, "cache_salt");
    }

    private static Scheduling scheduling(Fields body) {
        long priority = integerOrNone(body, "priority", Integer.MIN_VALUE, Integer.MAX_VALUE);
        long timeout = integerOrNone(body, "timeout_ms", 0, Scheduling.MAX_TIMEOUT.toMillis());
        return new Scheduling((int) priority, Duration.ofMillis(timeout));
    }

    /** A number without a fraction; 0 if it is absent or neutral. */
    private static long integerOrNone(Fields body, String name, long min, long max) {
        JsonNode value = body.get(name);
        return value == null || Fields.isNeutral(value) ? 0 : Fields.integer(value, name, min, max);
    }

    /** Checks the types of parameters that do not change the answer. */
    private static void checkCommon(Fields body) {
        for (String name : List.of("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")) {
            JsonNode text = body.get(name);
            if (text != null && !Fields.isNeutral(text)) {
                Fields.string(text, name);
            }
        }
    }

    /** A number, or a boolean as TGI accepts it: false for no log probabilities, true for 1. */
    private static int completionLogprobs(Fields body) {
        JsonNode value = body.get("logprobs");
        if (value != null && value.isBoolean()) {
            return value.booleanValue() ? 1 : -1;
        }
        return body.integer("logprobs", 0, SamplingParams.MAX_LOGPROBS, -1);
    }

    private static int chatLogprobs(Fields body) {
        JsonNode top = body.get("top_logprobs");
        int number = top != null && top.isBoolean() && !top.booleanValue()
                ? 0
                : body.integer("top_logprobs", 0, SamplingParams.MAX_LOGPROBS, 0);
        if (body.bool("logprobs", false)) {
            return number;
        }
        if (number > 0) {
            throw HttpException.invalid(
                    "top_logprobs", "invalid_value", "'top_logprobs' is only allowed when 'logprobs' is true.");
        }
        return -1;
    }

    /** Token ids from a JSON array. */
    static int[] tokens(JsonNode array, String path, Tokenizer tokenizer) {
        if (!array.isArray()) {
            throw Fields.wrongType(path, "a string or an array of token ids", array);
        }
        int[] tokens = new int[array.size()];
        int i = 0;
        for (JsonNode element : array.values()) {
            if (element.isString() || element.isArray()) {
                throw HttpException.unsupported(
                        path,
                        "'" + path + "' contains several prompts, which is not supported: send one request for each.");
            }
            tokens[i] = Fields.token(element, path + "[" + i + "]", tokenizer.vocabularySize());
            i++;
        }
        return tokens;
    }

    /** The maximum number of tokens that the client requests; null for no limit. −1 also means no limit. */
    private static @Nullable Integer limit(Fields body, String name) {
        JsonNode value = body.get(name);
        if (value == null || (value.isNumber() && value.doubleValue() == NO_LIMIT)) {
            return null;
        }
        return (int) Fields.integer(value, body.path(name), 0, Integer.MAX_VALUE);
    }

    /** The tokens of a prompt. Encoding stops when they fill the context. */
    private int[] encode(String text, boolean addSpecial, String parameter) {
        try {
            return tokenizer.encodePrompt(text, addSpecial, true, engine.maxContext() - 1);
        } catch (TextTooLongException e) {
            throw inputTooLong(parameter, "more than " + (engine.maxContext() - 1));
        }
    }

    /**
     * Tokens that the context has left for the answer, at least {@code limit}. Agents and client libraries look for
     * phrases in these errors ({@code ContextOverflowTest} lists them).
     */
    private int room(int promptTokens, @Nullable Integer limit, SamplingReader.Names names) {
        int context = engine.maxContext();
        int room = context - promptTokens;
        if (room <= 0) {
            throw inputTooLong(names.prompt(), Integer.toString(promptTokens));
        }
        if (limit != null && limit > room) {
            throw contextLength(
                    names.limit(),
                    "This model's maximum context length is " + context + " tokens, but you asked for "
                            + ((long) promptTokens + limit) + " (" + promptTokens + " of input, " + limit + " in '"
                            + names.limit() + "')." + ADVICE + ", or set '" + names.limit() + "' to at most " + room
                            + ".");
        }
        return room;
    }

    private HttpException inputTooLong(String parameter, String promptTokens) {
        return contextLength(
                parameter,
                "This model's maximum context length is " + engine.maxContext() + " tokens, but the input has "
                        + promptTokens + " and the answer needs at least one more." + ADVICE + ".");
    }

    private static HttpException contextLength(String parameter, String message) {
        return HttpException.invalid(parameter, "context_length_exceeded", message);
    }

    private OpenAiFormat.StreamUsage streamUsage(Fields body) {
        Fields options = body.object("stream_options", "an object");
        if (options == null) {
            return new OpenAiFormat.StreamUsage(false, false);
        }
        parameters.check(Parameter.Place.STREAM_OPTIONS, options);
        return new OpenAiFormat.StreamUsage(
                options.bool("include_usage", false), options.bool("continuous_usage_stats", false));
    }
}
