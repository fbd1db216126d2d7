package quire.server.api;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.OverloadedException;
import quire.engine.Request;
import quire.engine.Scheduling;
import quire.engine.TokenStream;
import quire.server.http.ApiKey;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.JsonNode;

/**
 * Answers requests with the engine, for every API: reads the body, submits the request, sends the answer whole or as a
 * stream. Every method runs on the request's own virtual thread and may block it.
 */
public final class AnswerService {
    private static final Logger LOG = System.getLogger(AnswerService.class.getName());

    /** Events are written when they have this size, even if more tokens are available. */
    private static final int WRITE_BYTES = 64 << 10;

    /** Vectors of one request that are computed or wait in the engine's queue at a time. */
    private static final int MAX_TOGETHER = 64;

    /** Why an answer failed, for telemetry: its client closed the connection. */
    private static final String CLIENT_LEFT = "client_left";

    private final Engine engine;
    private final Preparation preparation;
    private final Telemetry telemetry;
    private final Timelines timelines;
    private final String model;

    /**
     * @param engine computes the answers
     * @param preparation reads requests
     * @param telemetry is told of each answer
     * @param timelines gets the timelines of requests
     * @param model the name under which the engine's model is served
     */
    public AnswerService(
            Engine engine, Preparation preparation, Telemetry telemetry, Timelines timelines, String model) {
        this.engine = engine;
        this.preparation = preparation;
        this.telemetry = telemetry;
        this.timelines = timelines;
        this.model = model;
    }

    /**
     * Refuses a request before it is read if the engine's queue is full for its client or its API key has used up its
     * limits; otherwise counts it. Does not block.
     *
     * @throws HttpException 429
     */
    public void checkRoom(Exchange exchange) {
        try {
            engine.checkRoom(tenant(exchange, null));
        } catch (OverloadedException e) {
            throw overloaded(e);
        }
        ApiKey key = exchange.key();
        if (key != null) {
            key.countRequest(System.nanoTime());
        }
    }

    /** Reads the request with {@code reader} and sends its answer. */
    public void answer(Exchange exchange, UserReader user, Function<Fields, AnswerRequest> reader)
            throws ClientGoneException, InterruptedException {
        checkAvailable(exchange);
        answer(exchange, read(exchange, user, reader));
    }

    /**
     * The vectors of prompts, in the order of their requests. Only some of them are in the engine's queue at a time, so that
     * a request with many texts need not fit it as a whole.
     *
     * @param user whom the client asks for; null if it does not say
     * @throws HttpException 429 if the queue has no room for the first one; 503 if the server stops; 500 if the model's
     *     numbers are not finite
     */
    public List<float[]> vectors(Exchange exchange, @Nullable String user, List<Request> requests)
            throws InterruptedException {
        checkAvailable(exchange);
        List<TokenStream> streams = new ArrayList<>();
        List<float[]> vectors = new ArrayList<>();
        int tokens =
                requests.stream().mapToInt(request -> request.prompt().length).sum();
        try {
            for (Request request : owned(exchange, user, requests)) {
                if (streams.size() - vectors.size() == MAX_TOGETHER) {
                    vectors.add(vector(exchange, streams.get(vectors.size())));
                }
                TokenStream stream = null;
                while (stream == null && !exchange.gone()) {
                    try {
                        stream = engine.submit(request);
                    } catch (OverloadedException e) {
                        if (vectors.size() == streams.size()) {
                            throw overloaded(e);
                        }
                        vectors.add(vector(exchange, streams.get(vectors.size())));
                    } catch (IllegalStateException e) {
                        throw closed(exchange);
                    }
                }
                if (stream == null) {
                    throw HttpException.unavailable("The client has closed its connection.");
                }
                add(stream, streams, exchange);
            }
            timelines.add(exchange, streams);
            while (vectors.size() < streams.size()) {
                vectors.add(vector(exchange, streams.get(vectors.size())));
            }
            exchange.countTokens(tokens, 0);
            return vectors;
        } finally {
            close(streams);
        }
    }

    private float[] vector(Exchange exchange, TokenStream stream) throws InterruptedException {
        if (stream.next() != null) {
            throw new IllegalStateException("a request for a vector got a token");
        }
        HttpException error = failure(exchange, stream.finish());
        if (error != null) {
            throw error;
        }
        return stream.vector();
    }

    /** Sends the answer to a request that was read. */
    public void answer(Exchange exchange, AnswerRequest request) throws ClientGoneException, InterruptedException {
        checkAvailable(exchange);
        if (exchange.gone()) {
            return;
        }
        List<TokenStream> streams = new ArrayList<>();
        Telemetry.Observed observed = telemetry.begin(exchange, request);
        String error = "cut_short";
        try {
            for (Request owned : owned(exchange, request.user(), request.requests())) {
                for (TokenStream computed : submit(exchange, request, owned)) {
                    TokenStream stream = request.promptOnly() ? new PromptOnly(computed) : computed;
                    add(stream, streams, exchange);
                }
            }
            if (exchange.gone()) {
                error = CLIENT_LEFT;
                return;
            }
            timelines.add(exchange, streams);
            Answers answers = new Answers(exchange, request, streams);
            answers.count(0);
            error = request.stream() ? stream(answers) : whole(answers);
        } catch (HttpException e) {
            error = String.valueOf(e.status());
            throw e;
        } catch (ClientGoneException e) {
            error = CLIENT_LEFT;
            throw e;
        } finally {
            close(streams);
            observed.end(streams, error);
        }
    }

    /**
     * The requests of a client as the engine gets them.
     *
     * @throws HttpException 403 if the API key does not allow their priority
     */
    private static List<Request> owned(Exchange exchange, @Nullable String user, List<Request> requests) {
        String tenant = tenant(exchange, user);
        ApiKey key = exchange.key();
        int weight = key == null ? 1 : key.weight();
        int asked = requests.getFirst().scheduling().priority();
        // A request that nobody waits for comes after all others, whatever it asks for.
        int priority = exchange.background() ? Scheduling.BACKGROUND : key == null ? asked : key.priority(asked);
        return requests.stream()
                .map(each -> each.withScheduling(
                                each.scheduling().withPriority(priority).withTenant(tenant, weight))
                        .withName(exchange.id()))
                .toList();
    }

    /**
     * Who pays for a request: the owner of the API key, else the user that it names, else the client's address. Requests in
     * the background have a tenant of their own, so that they do not use up the share of the owner's other requests.
     *
     * @param user whom the request is for, as the client says; null if it does not say
     */
    private static String tenant(Exchange exchange, @Nullable String user) {
        if (exchange.background()) {
            return "batches of " + exchange.owner();
        }
        if (!exchange.owner().isEmpty()) {
            return exchange.owner();
        }
        return user == null ? "address " + exchange.client() : "user " + user;
    }

    /** Adds a stream to those that end when the client leaves or the server stops, even if that has happened already. */
    private static void add(TokenStream stream, List<TokenStream> streams, Exchange exchange) {
        synchronized (streams) {
            streams.add(stream);
        }
        exchange.onDeparture(() -> close(streams));
    }

    private static void close(List<TokenStream> streams) {
        synchronized (streams) {
            streams.forEach(TokenStream::close);
        }
    }

    /** The answers to one request while they are sent. */
    private record Answers(Exchange exchange, AnswerRequest request, List<TokenStream> streams) {
        /** Counts the tokens generated so far, for the log. */
        void count(int tokens) {
            exchange.countTokens(request.promptTokens(), tokens);
        }

        /** Counts all tokens; call it when all answers have ended. */
        void countAll() {
            count(streams.stream()
                    .mapToInt(stream -> stream.finish().completionTokens())
                    .sum());
        }
    }

    /**
     * Reads a request as {@link #read(Exchange, Function)} does, unless the engine's queue is full for the user that it names:
     * {@link #checkRoom} does not know this user. JSON takes little time; the rest, such as the prompt's tokens, takes more.
     *
     * @throws HttpException also 429 if the queue is full
     */
    public <T> T read(Exchange exchange, UserReader user, Function<Fields, T> reader) throws InterruptedException {
        return read(exchange, body -> {
            String named = exchange.background() || !exchange.owner().isEmpty() ? null : user.user(body);
            if (named != null) {
                try {
                    engine.checkRoom(tenant(exchange, named));
                } catch (OverloadedException e) {
                    throw overloaded(e);
                }
            }
            return reader.apply(body);
        });
    }

    /**
     * Reads a request's body on a thread for preparation, then frees the body's memory. Waits for the client's turn.
     *
     * @throws HttpException that {@code reader} throws; 429 if too many requests wait; 503 if the server stops
     */
    public <T> T read(Exchange exchange, Function<Fields, T> reader) throws InterruptedException {
        try {
            return preparation.read(exchange, reader);
        } catch (HttpException e) {
            // A request that is read then waits for the engine: back earlier, it would be refused again.
            throw e.status() == 429
                    ? HttpException.overloaded(
                            e.getMessage(), (int) Math.ceil(engine.stats().queueSeconds()))
                    : e;
        }
    }

    private void checkAvailable(Exchange exchange) {
        if (exchange.draining()) {
            throw HttpException.unavailable("The server is shutting down and accepts no new requests.");
        }
        if (engine.failure() != null) {
            throw HttpException.unavailable("The engine has failed and answers no more requests: restart the server.");
        }
    }

    private List<TokenStream> submit(Exchange exchange, AnswerRequest answers, Request request) {
        try {
            return answers.beams() == null ? List.of(engine.submit(request)) : engine.submit(request, answers.beams());
        } catch (InvalidRequestException e) {
            throw answers.format().refusal(e);
        } catch (OverloadedException e) {
            throw overloaded(e);
        } catch (IllegalStateException e) {
            throw closed(exchange);
        }
    }

    private HttpException closed(Exchange exchange) {
        checkAvailable(exchange);
        return HttpException.unavailable("The engine is closed and accepts no new requests.");
    }

    private static HttpException overloaded(OverloadedException e) {
        String message = e.getMessage();
        return HttpException.overloaded(
                message == null ? "Too many requests are waiting." : message, Math.max(1, e.retryAfterSeconds()));
    }

    private @Nullable String whole(Answers answers) throws ClientGoneException, InterruptedException {
        AnswerRequest request = answers.request;
        AnswerFormat format = request.format();
        boolean ranked = request.choices() < request.perPrompt() && request.beams() == null;
        List<Text> texts = new ArrayList<>();
        int tokens = 0;
        for (TokenStream stream : answers.streams) {
            StringBuilder text = new StringBuilder();
            List<Output> outputs = new ArrayList<>();
            double logprobs = 0;
            int count = 0;
            for (Output output = stream.next(); output != null; output = stream.next()) {
                answers.count(++tokens);
                count++;
                text.append(output.text());
                if (format.needsOutputs()) {
                    outputs.add(output);
                }
                if (ranked && output.logprobs() != null) {
                    logprobs += output.logprobs().chosen();
                }
            }
            HttpException error = failure(answers.exchange, stream.finish());
            if (error != null) {
                answers.count(tokens);
                throw error;
            }
            text.append(stream.finish().text());
            texts.add(new Text(text.toString(), outputs, stream, logprobs / Math.max(1, count)));
        }
        answers.countAll();
        List<JsonNode> wholes = new ArrayList<>();
        for (int prompt = 0; prompt < request.prompts(); prompt++) {
            List<Text> best = texts.subList(prompt * request.perPrompt(), (prompt + 1) * request.perPrompt());
            if (ranked) {
                best.sort(Comparator.comparingDouble(Text::meanLogprob)
                        .reversed()); // of equal ones the first stays first
            }
            for (Text text : best.subList(0, request.choices())) {
                wholes.add(format.choice(wholes.size()).whole(text.text, text.outputs, text.stream));
            }
        }
        answers.exchange.send(Response.json(200, Json.bytes(format.join(wholes, answers.streams)))
                .withHeaders(Map.of("Server-Timing", Timelines.inShort(answers.streams))));
        return null;
    }

    /** A whole answer. */
    private record Text(String text, List<Output> outputs, TokenStream stream, double meanLogprob) {}

    /** Sends a stream. Returns why it failed, in a word; null if it did not. */
    private @Nullable String stream(Answers answers) throws ClientGoneException, InterruptedException {
        Exchange exchange = answers.exchange;
        AnswerFormat format = answers.request.format();
        List<AnswerFormat> formats = new ArrayList<>();
        ServerSentEvents events = new ServerSentEvents();
        for (int i = 0; i < answers.streams.size(); i++) {
            formats.add(format.choice(i));
            formats.get(i).begin(events);
        }
        byte[] first = events.take();
        format.waiting(events);
        exchange.begin(format.streamType(), first, events.take());
        MergedTokens tokens = new MergedTokens(answers.streams);
        int count = 0;
        int open = formats.size();
        while (open > 0) {
            // Tokens that are already available are written together.
            for (MergedTokens.Token next = tokens.next();
                    next != null;
                    next = events.size() < WRITE_BYTES ? tokens.poll() : null) {
                AnswerFormat choice = formats.get(next.index());
                Output output = next.output();
                if (output != null) {
                    answers.count(++count);
                    choice.token(output, events);
                    continue;
                }
                open--;
                TokenStream ended = answers.streams.get(next.index());
                HttpException error = failure(exchange, ended.finish());
                if (error != null) {
                    choice.failure(error, events);
                    exchange.end(events.take());
                    return String.valueOf(error.status());
                }
                if (!ended.finish().text().isEmpty()) {
                    choice.text(ended.finish().text(), events);
                }
                choice.end(ended, events);
            }
            if (open > 0 && events.size() > 0) {
                exchange.events(events.take());
            }
        }
        answers.countAll();
        format.done(answers.streams, events);
        exchange.end(events.take());
        return null;
    }

    /** The error that an answer ended with; null if it ended well. */
    private @Nullable HttpException failure(Exchange exchange, TokenStream.Finish finish) {
        return switch (finish.reason()) {
            case STOP, LENGTH, TIMEOUT -> null;
            case CANCELLED -> HttpException.unavailable("The server is shutting down and cut this answer short.");
            case ERROR -> {
                LOG.log(Level.ERROR, "request {0} failed: {1}", exchange.id(), finish.error());
                yield HttpException.internal(exchange.id());
            }
            case BROKEN_LOGITS -> {
                LOG.log(Level.ERROR, "request {0}: model {1}: {2}", exchange.id(), model, finish.error());
                yield HttpException.brokenModel(model);
            }
            case CONSTRAINT -> HttpException.constraint(String.valueOf(finish.error()));
        };
    }
}
