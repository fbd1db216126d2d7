package quire.server.api;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.OverloadedException;
import quire.engine.TokenStream;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;

/**
 * Answers requests with the engine, for every API: reads the body, submits the request, sends the answer whole or as a
 * stream. Every method runs on the request's own virtual thread and may block it.
 */
public final class AnswerService {
    private static final Logger LOG = System.getLogger(AnswerService.class.getName());

    /** Events are written when they have this size, even if more tokens are available. */
    private static final int WRITE_BYTES = 64 << 10;

    private final Engine engine;
    private final Preparation preparation;
    private final Duration heartbeat;

    /**
     * @param engine computes the answers
     * @param preparation reads requests
     * @param heartbeat time without a token after which a stream gets a sign of life; zero for none
     */
    public AnswerService(Engine engine, Preparation preparation, Duration heartbeat) {
        this.engine = engine;
        this.preparation = preparation;
        this.heartbeat = heartbeat;
    }

    /**
     * Refuses a request before it is read if the engine's queue is full. Does not block.
     *
     * @throws HttpException 429
     */
    public void checkRoom() {
        try {
            engine.checkRoom();
        } catch (OverloadedException e) {
            throw overloaded(e);
        }
    }

    /** Reads the request with {@code reader} and sends its answer. */
    public void answer(Exchange exchange, Function<Fields, AnswerRequest> reader)
            throws ClientGoneException, InterruptedException {
        checkAvailable(exchange);
        AnswerRequest request = read(exchange, reader);
        if (exchange.gone()) {
            return;
        }
        try (TokenStream stream = submit(exchange, request)) {
            exchange.onDeparture(stream::close);
            int promptTokens = request.request().prompt().length;
            exchange.countTokens(promptTokens, 0);
            if (request.stream()) {
                stream(exchange, request.format(), stream, promptTokens);
            } else {
                whole(exchange, request.format(), stream, promptTokens);
            }
        }
    }

    /**
     * Reads a request's body on a thread for preparation, then frees the body's memory. Waits for the client's turn.
     *
     * @throws HttpException that {@code reader} throws; 429 if too many requests wait; 503 if the server stops
     */
    public <T> T read(Exchange exchange, Function<Fields, T> reader) throws InterruptedException {
        Preparation.Task<T> task = preparation.submit(
                exchange.client(), exchange.bodyBytes(), () -> reader.apply(Fields.parse(exchange.body())));
        exchange.onDeparture(() -> preparation.cancel(task));
        try {
            return task.result();
        } catch (CancellationException e) {
            throw HttpException.unavailable("The server is shutting down and did not read this request.");
        } catch (ExecutionException e) {
            switch (e.getCause()) {
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                case null, default -> throw new IllegalStateException(e);
            }
        } finally {
            exchange.releaseBody();
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

    private TokenStream submit(Exchange exchange, AnswerRequest request) {
        try {
            TokenStream stream = engine.submit(request.request());
            return request.promptOnly() ? new PromptOnly(stream) : stream;
        } catch (InvalidRequestException e) {
            throw request.format().refusal(e);
        } catch (OverloadedException e) {
            throw overloaded(e);
        } catch (IllegalStateException e) {
            checkAvailable(exchange);
            throw HttpException.unavailable("The engine is closed and accepts no new requests.");
        }
    }

    private static HttpException overloaded(OverloadedException e) {
        String message = e.getMessage();
        return HttpException.overloaded(
                message == null ? "Too many requests are waiting." : message, Math.max(1, e.retryAfterSeconds()));
    }

    private void whole(Exchange exchange, AnswerFormat format, TokenStream stream, int promptTokens)
            throws ClientGoneException, InterruptedException {
        int tokens = 0;
        StringBuilder text = new StringBuilder();
        List<Output> outputs = new ArrayList<>();
        for (Output output = stream.next(); output != null; output = stream.next()) {
            exchange.countTokens(promptTokens, ++tokens);
            text.append(output.text());
            if (format.needsOutputs()) {
                outputs.add(output);
            }
        }
        exchange.countTokens(promptTokens, stream.finish().completionTokens());
        HttpException error = failure(exchange, stream.finish());
        if (error != null) {
            throw error;
        }
        text.append(stream.finish().text());
        exchange.send(Response.json(200, Json.bytes(format.whole(text.toString(), outputs, stream))));
    }

    /** The next token; null at the end. Sends signs of life while there is none. */
    private @Nullable Output next(Exchange exchange, AnswerFormat format, TokenStream stream, ServerSentEvents events)
            throws ClientGoneException, InterruptedException {
        while (!heartbeat.isZero() && !stream.await(heartbeat)) {
            format.waiting(events);
            exchange.events(events.take());
        }
        return stream.next();
    }

    private void stream(Exchange exchange, AnswerFormat format, TokenStream stream, int promptTokens)
            throws ClientGoneException, InterruptedException {
        int tokens = 0;
        ServerSentEvents events = new ServerSentEvents();
        format.begin(events);
        exchange.begin(events.take());
        for (Output output = next(exchange, format, stream, events);
                output != null;
                output = next(exchange, format, stream, events)) {
            // Tokens that are already available are written together.
            for (Output ready = output; ready != null; ready = events.size() < WRITE_BYTES ? stream.poll() : null) {
                exchange.countTokens(promptTokens, ++tokens);
                format.token(ready, events);
            }
            if (events.size() > 0) {
                exchange.events(events.take());
            }
        }
        exchange.countTokens(promptTokens, stream.finish().completionTokens());
        HttpException error = failure(exchange, stream.finish());
        if (error != null) {
            format.failure(error, events);
            exchange.abort(events.take());
            return;
        }
        if (!stream.finish().text().isEmpty()) {
            format.text(stream.finish().text(), events);
        }
        format.end(stream, events);
        exchange.end(events.take());
    }

    /** The error that an answer ended with; null if it ended well. */
    private @Nullable HttpException failure(Exchange exchange, TokenStream.Finish finish) {
        return switch (finish.reason()) {
            case STOP, LENGTH -> null;
            case CANCELLED -> HttpException.unavailable("The server is shutting down and cut this answer short.");
            case ERROR -> {
                LOG.log(Level.ERROR, "request {0} failed: {1}", exchange.id(), finish.error());
                yield HttpException.internal(exchange.id());
            }
            case BROKEN_LOGITS -> {
                LOG.log(Level.ERROR, "request {0}: model {1}: {2}", exchange.id(), engine.modelName(), finish.error());
                yield HttpException.brokenModel(engine.modelName());
            }
            case CONSTRAINT -> HttpException.constraint(String.valueOf(finish.error()));
        };
    }
}
