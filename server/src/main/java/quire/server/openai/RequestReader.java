package quire.server.openai;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.engine.BeamSearch;
import quire.engine.Engine;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.chat.ToolCallFormat;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;
import quire.engine.constrain.TextLimit;
import quire.model.SamplingDefaults;
import quire.model.text.FillInTheMiddle;
import quire.model.text.TextTooLongException;
import quire.model.text.Tokenizer;
import quire.server.api.AnswerFormat;
import quire.server.api.AnswerRequest;
import quire.server.api.ChatAnswer;
import quire.server.api.ChatReader;
import quire.server.api.Fields;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.api.UserReader;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Reads requests. Every parameter becomes a part of the {@link AnswerRequest}, has no effect, or is a 400 that names
 * it; see {@link Parameters}.
 */
final class RequestReader implements ChatReader {
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
    private final SamplingReader beamSampling; // a beam search chooses tokens by the model's own probabilities
    private final Parameters parameters;
    private final ToolReader tools;
    private final Recent<Reasoned, Constraint> reasoned = new Recent<>(MAX_CONSTRAINTS);
    private final String fingerprint;
    private final boolean strictLimits;
    private @Nullable FillInTheMiddle gaps; // null if there are none, and before the first request for one
    private boolean knowsGaps;

    /** @param strictLimits whether a request for more tokens than the context has room for is refused */
    RequestReader(ServedModel model, Parameters parameters, boolean strictLimits) {
        this.model = model;
        this.strictLimits = strictLimits;
        this.engine = model.engine();
        this.parameters = parameters;
        this.tokenizer = model.tokenizer();
        this.sampling = new SamplingReader(tokenizer, model.samplingDefaults());
        this.beamSampling = new SamplingReader(tokenizer, SamplingDefaults.NEUTRAL);
        this.tools = new ToolReader(model);
        this.fingerprint = "fp_" + String.format("%08x", model.name().hashCode());
    }

    /** A body of {@code /v1/completions}. */
    AnswerRequest completion(Fields request) {
        return completion(request, null, null);
    }

    @Override
    public AnswerRequest complete(Fields request, Function<ChatAnswer, AnswerFormat> format) {
        return completion(request, null, format);
    }

    /** A body of llama.cpp's {@code /infill}. */
    AnswerRequest infill(Fields request) {
        Infill infill = Infill.read(request, parameters);
        return completion(infill.completion(), infill, InfillFormat::new);
    }

    /**
     * Reads a completion.
     *
     * @param infill what llama.cpp's clients send beside it; null for the others
     * @param format makes what writes the answer in the form of another API; null for OpenAI's
     */
    private AnswerRequest completion(
            Fields request, @Nullable Infill infill, @Nullable Function<ChatAnswer, AnswerFormat> format) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.COMPLETIONS, request);
        checkCommon(body);
        JsonNode sent = body.require("prompt");
        boolean isList = sent.isArray() && !sent.isEmpty() && !sent.get(0).isNumber();
        List<JsonNode> all = isList ? List.copyOf(sent.values()) : List.of(sent);
        checkPrompts(all.size(), body);
        int logprobs = completionLogprobs(body);
        boolean echo = body.bool("echo", false);
        int promptLogprobs = promptLogprobs(body);
        SamplingReader.Names names = SamplingReader.Names.COMPLETIONS.withLimit(body.path("max_tokens"));
        Integer limit = limit(body, "max_tokens");
        FillInTheMiddle gap = gap(body, echo, infill != null);
        SamplingParams read = null;
        List<OpenAiFormat.Prompt> prompts = new ArrayList<>();
        List<Request> requests = new ArrayList<>();
        for (JsonNode element : all) {
            String path = isList && all.size() > 1 ? "prompt[" + prompts.size() + "]" : "prompt";
            String text = element.isString() ? Fields.string(element, path) : null;
            boolean addSpecial = body.bool("add_special_tokens", true);
            int[] tokens = text != null
                    ? encode(text, addSpecial, path, body)
                    : truncated(tokens(element, path, tokenizer), false, body);
            if (gap != null) {
                int[] after = encode(Fields.string(body.require("suffix"), "suffix"), false, "suffix", body);
                int[] files = infill == null
                        ? new int[0]
                        : files(gap, infill.others(), tokens.length + after.length + (limit == null ? 0 : limit));
                tokens = gap.prompt(tokens, after, files, tokenizer.bos());
            }
            if (tokens.length == 0) {
                throw HttpException.invalid(
                        "prompt", "invalid_value", "'" + path + "' is empty: it needs at least one token.");
            }
            int room = room(tokens.length, limit, names);
            int usual = format != null ? room : DEFAULT_COMPLETION_TOKENS;
            int maxTokens = Math.max(Math.min(limit != null ? limit : usual, room), 1);
            if (read == null) {
                read =
                        sampling(body)
                                .read(body, maxTokens, logprobs, names, ConstraintReader.read(body), false)
                                .toBuilder()
                                .promptLogprobs(echo ? Math.max(logprobs, promptLogprobs) : promptLogprobs)
                                .build();
            }
            SamplingParams params = read.toBuilder().maxTokens(maxTokens).build();
            requests.add(new Request(tokens, params, cacheSalt(body), scheduling(body)));
            boolean isWhole = text != null && body.get("truncate_prompt_tokens") == null;
            prompts.add(new OpenAiFormat.Prompt(tokens, !echo ? null : isWhole ? text : tokenizer.decodeText(tokens)));
        }
        int choices = choices(body);
        OpenAiFormat.Options options = new OpenAiFormat.Options(
                false, prompts, choices, logprobs, promptLogprobs, name, fingerprint, AnswerShape.TEXT);
        boolean promptOnly = limit != null && limit == 0;
        return answer(body, requests, promptOnly, options, format);
    }

    /** The tokens of other files before a gap: the end of them that leaves room for the rest. */
    private int[] files(FillInTheMiddle gap, List<Infill.Other> others, int rest) {
        IntStream.Builder all = IntStream.builder();
        if (!others.isEmpty()) {
            gap.repository().ifPresent(token -> {
                all.add(token);
                Arrays.stream(plain("project\n")).forEach(all::add);
            });
        }
        for (Infill.Other other : others) {
            gap.file().ifPresent(all::add);
            String name = gap.file().isPresent() ? other.name() + "\n" : "";
            Arrays.stream(plain(name + other.text() + "\n")).forEach(all::add);
        }
        if (!others.isEmpty() && gap.file().isPresent()) {
            all.add(gap.file().getAsInt());
            Arrays.stream(plain("file\n")).forEach(all::add);
        }
        int[] tokens = all.build().toArray();
        long room = Math.max(0, engine.maxContext() - 1L - FillInTheMiddle.TOKENS - rest);
        return Arrays.copyOfRange(tokens, (int) Math.max(0, tokens.length - room), tokens.length);
    }

    private int[] plain(String text) {
        return tokenizer.encodePrompt(text, false, false);
    }

    /** The tokens with which the model fills gaps. The first request for one looks for them in the whole vocabulary. */
    private synchronized @Nullable FillInTheMiddle gaps() {
        if (!knowsGaps) {
            gaps = FillInTheMiddle.of(tokenizer);
            knowsGaps = true;
        }
        return gaps;
    }

    /**
     * How to fill the gap before the {@code suffix} of a request; null if it has none.
     *
     * @param always also before an empty suffix
     */
    private @Nullable FillInTheMiddle gap(Fields body, boolean echo, boolean always) {
        JsonNode suffix = body.get("suffix");
        if (suffix == null || (!always && Fields.isNeutral(suffix))) {
            return null;
        }
        Fields.string(suffix, "suffix");
        FillInTheMiddle found = gaps();
        if (found == null) {
            String parameter = always ? "input_suffix" : "suffix";
            throw HttpException.unsupported(
                    parameter,
                    "'" + parameter
                            + "' is not supported by this model: its vocabulary has no tokens for filling a gap in a text."
                            + " Instead, describe the gap in the prompt.");
        }
        if (echo) {
            throw HttpException.unsupported(
                    "echo", "'echo' is not supported together with 'suffix'. Instead, leave 'echo' out.");
        }
        return found;
    }

    /** A body of {@code /v1/chat/completions}. */
    AnswerRequest chat(Fields request) {
        return chat(request, null);
    }

    @Override
    public AnswerRequest read(Fields request, Function<ChatAnswer, AnswerFormat> format) {
        return chat(request, format);
    }

    @Override
    public int countTokens(Fields request) {
        model.resolve(request);
        Fields body = parameters.check(Parameter.Place.CHAT, request);
        return ChatPrompt.render(
                        engine,
                        body,
                        tools.read(body, null).request().forTemplate(),
                        ReasoningReader.variables(body),
                        true,
                        text -> tokenizer.encodePrompt(text, false, true))
                .tokens()
                .length;
    }

    /** @param format makes what writes the answer in the form of another API; null for OpenAI's */
    private AnswerRequest chat(Fields request, @Nullable Function<ChatAnswer, AnswerFormat> format) {
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
                text -> encode(text, false, "messages", body));
        int[] tokens = prompt.tokens();
        AnswerShape shape = AnswerShape.of(model, toolRequest, prompt.text(), ReasoningReader.place(body));
        int promptLogprobs = promptLogprobs(body);
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
        int maxTokens = limit != null ? Math.min(limit, room) : room;
        SamplingParams params = sampling(body)
                .read(
                        body,
                        Math.max(maxTokens, 1),
                        logprobs,
                        names,
                        constraint(body, read.constraint(), shape),
                        shape.hasControlTokens())
                .toBuilder()
                .promptLogprobs(promptLogprobs)
                .build();
        OpenAiFormat.Options options = new OpenAiFormat.Options(
                true,
                List.of(new OpenAiFormat.Prompt(tokens, null)),
                choices(body),
                logprobs,
                promptLogprobs,
                name,
                fingerprint,
                shape);
        int[] prediction = PredictionReader.read(body, tokenizer, engine.maxContext());
        Request submitted = new Request(tokens, params, cacheSalt(body), scheduling(body), prediction);
        return answer(body, List.of(submitted), maxTokens == 0, options, format);
    }

    private SamplingReader sampling(Fields body) {
        return BeamReader.isWanted(body) ? beamSampling : sampling;
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
        ToolCallFormat calls = shape.tools().format();
        Constraint whole = calls != null && calls.hasReasoning()
                ? wanted
                : reasoned.get(
                        new Reasoned(wanted, shape.beginning()), () -> reasoning.before(wanted, shape.beginning()));
        return budget == null
                ? whole
                : whole.withLimit(new TextLimit(
                        shape.beginning() == Beginning.REASONING ? "" : reasoning.start(), reasoning.end(), budget));
    }

    /**
     * The request for all answers.
     *
     * @param prompts a request for each prompt
     * @param other makes what writes the answer in the form of another API; null for OpenAI's
     */
    private AnswerRequest answer(
            Fields body,
            List<Request> prompts,
            boolean promptOnly,
            OpenAiFormat.Options options,
            @Nullable Function<ChatAnswer, AnswerFormat> other) {
        boolean stream = body.bool("stream", false);
        OpenAiFormat.StreamUsage usage = streamUsage(body);
        if ((usage.atEnd() || usage.inChunks()) && !stream) {
            throw HttpException.invalid(
                    "stream_options", "invalid_value", "'stream_options' is only allowed when 'stream' is true.");
        }
        if (stream && prompts.getFirst().params().promptLogprobs() >= 0) {
            String parameter = options.promptLogprobs() >= 0 ? "prompt_logprobs" : "echo";
            throw HttpException.unsupported(
                    parameter,
                    "'" + parameter + "' is not supported when 'stream' is true and log probabilities of the prompt are"
                            + " wanted. Instead, leave 'stream' out.");
        }
        int choices = options.choices();
        int computed = bestOf(body, choices);
        if (stream && computed > choices) {
            throw HttpException.invalid(
                    "best_of",
                    "invalid_value",
                    "'best_of' (" + computed + ") must be 'n' (" + choices
                            + ") when 'stream' is true: which answers are" + " the best is known at their ends.");
        }
        BeamSearch beams = BeamReader.read(body, computed);
        if (beams != null && prompts.getFirst().params().constraint() != null) {
            throw HttpException.unsupported(
                    "use_beam_search",
                    "'use_beam_search' is not supported together with tools or a constraint of the answer, such as"
                            + " 'response_format'. Instead, leave one of them out.");
        }
        List<Request> requests = new ArrayList<>();
        for (Request prompt : prompts) {
            if (beams != null) {
                requests.add(prompt);
                continue;
            }
            for (int i = 0; i < computed; i++) {
                SamplingParams params = prompt.params().toBuilder()
                        .seed(prompt.params().seed() + i)
                        .logprobs(computed > choices ? Math.max(options.logprobs(), 0) : options.logprobs())
                        .build();
                requests.add(new Request(
                        prompt.prompt(), params, prompt.cacheSalt(), prompt.scheduling(), prompt.prediction()));
            }
        }
        OpenAiFormat own = new OpenAiFormat(options, usage, requests.getFirst(), tokenizer);
        AnswerFormat format = other == null ? own : other.apply(own.chatAnswer());
        return new AnswerRequest(
                requests, beams, UserReader.OPENAI.user(body), prompts.size(), choices, promptOnly, stream, format);
    }

    private static int choices(Fields body) {
        return body.integer("n", 1, MAX_CHOICES, 1);
    }

    /** Bounds the answers to one request. */
    private static void checkPrompts(int prompts, Fields body) {
        int each = bestOf(body, choices(body));
        if ((long) prompts * each > MAX_CHOICES) {
            throw HttpException.invalid(
                    "prompt",
                    "invalid_value",
                    "'prompt' has " + prompts + " prompts with " + each + " answers each; at most " + MAX_CHOICES
                            + " answers to one request are allowed.");
        }
    }

    /** How many likely tokens to report for each token of the prompt, as vLLM understands it; −1 for none. */
    private static int promptLogprobs(Fields body) {
        JsonNode value = body.get("prompt_logprobs");
        if (value == null || (!value.isNumber() && Fields.isNeutral(value))) {
            return -1;
        }
        return (int) Fields.integer(value, "prompt_logprobs", 0, SamplingParams.MAX_LOGPROBS);
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

    static @Nullable String cacheSalt(Fields body) {
        JsonNode salt = body.get("cache_salt");
        return salt == null || Fields.isNeutral(salt) ? null : Fields.string(salt, "cache_salt");
    }

    private static Scheduling scheduling(Fields body) {
        long priority = integerOrNone(body, "priority", Integer.MIN_VALUE, Integer.MAX_VALUE);
        long timeout = integerOrNone(body, "timeout_ms", 0, Scheduling.MAX_TIMEOUT.toMillis());
        return Scheduling.DEFAULT.withPriority((int) priority).withTimeout(Duration.ofMillis(timeout));
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
            tokens[i] = Fields.token(element, path + "[" + i + "]", tokenizer.vocabularySize());
            i++;
        }
        return tokens;
    }

    /** The maximum number of tokens that the client requests; null for no limit. −1 also means no limit. */
    private static @Nullable Integer limit(Fields body, String name) {
        JsonNode value = body.get(name);
        if (value == null || (value.isNumber() && Fields.real(value) == NO_LIMIT)) {
            return null;
        }
        return (int) Fields.integer(value, body.path(name), 0, Integer.MAX_VALUE);
    }

    /** The tokens of a prompt. Encoding stops when they fill the context, unless the prompt may be shortened. */
    private int[] encode(String text, boolean addSpecial, String parameter, Fields body) {
        if (mostPromptTokens(body) != null) {
            return truncated(tokenizer.encodePrompt(text, addSpecial, true), addSpecial, body);
        }
        try {
            return tokenizer.encodePrompt(text, addSpecial, true, engine.maxContext() - 1);
        } catch (TextTooLongException e) {
            throw inputTooLong(parameter, engine.maxContext(), "more than " + (engine.maxContext() - 1));
        }
    }

    /** What {@code truncate_prompt_tokens} leaves of a prompt: its end, and BOS if encoding has added it. */
    private int[] truncated(int[] tokens, boolean addedSpecial, Fields body) {
        Integer most = mostPromptTokens(body);
        if (most == null || tokens.length <= most) {
            return tokens;
        }
        int[] end = Arrays.copyOfRange(tokens, tokens.length - most, tokens.length);
        if (addedSpecial && most > 1 && tokens[0] == tokenizer.bos().orElse(-1)) {
            end[0] = tokens[0];
        }
        return end;
    }

    /** Most tokens of a prompt, longer ones are shortened; null for no such limit. */
    private @Nullable Integer mostPromptTokens(Fields body) {
        JsonNode value = body.get("truncate_prompt_tokens");
        if (value == null || (!value.isNumber() && Fields.isNeutral(value))) {
            return null;
        }
        if (value.isNumber() && Fields.real(value) == NO_LIMIT) {
            Integer newer = limit(body, "max_completion_tokens");
            Integer limit = newer != null ? newer : limit(body, "max_tokens");
            return Math.max(1, engine.maxContext() - Math.max(1, limit == null ? 1 : limit));
        }
        return (int) Fields.integer(value, body.path("truncate_prompt_tokens"), 1, engine.maxContext() - 1L);
    }

    /**
     * Tokens that the context has left for the answer; with strict limits at least {@code limit}. Agents and client
     * libraries look for phrases in these errors ({@code ContextOverflowTest} lists them).
     */
    private int room(int promptTokens, @Nullable Integer limit, SamplingReader.Names names) {
        int context = engine.maxContext();
        int room = context - promptTokens;
        if (room <= 0) {
            throw inputTooLong(names.prompt(), promptTokens, Integer.toString(promptTokens));
        }
        if (strictLimits && limit != null && limit > room) {
            throw HttpException.contextLength(
                    names.limit(),
                    "This model's maximum context length is " + context + " tokens, but you asked for "
                            + ((long) promptTokens + limit) + " (" + promptTokens + " of input, " + limit + " in '"
                            + names.limit() + "')." + ADVICE + ", or set '" + names.limit() + "' to at most " + room
                            + ".",
                    null);
        }
        return room;
    }

    /**
     * The error of an input that leaves no room for an answer.
     *
     * @param tokens of the input, or as many as are certain
     * @param counted the same in words
     */
    private HttpException inputTooLong(String parameter, int tokens, String counted) {
        return HttpException.contextLength(
                parameter,
                "This model's maximum context length is " + engine.maxContext() + " tokens, but the input has "
                        + counted + " and the answer needs at least one more." + ADVICE + ".",
                new HttpException.Excess(tokens, engine.maxContext() - 1));
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
