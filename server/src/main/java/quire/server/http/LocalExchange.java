package quire.server.http;

import java.io.InputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A request that comes from this process and gets a whole response, by the handler that answers the same request over the
 * network. It counts as background work, and not toward the limits of an API key. A stream is an error.
 */
public final class LocalExchange implements Exchange {
    private static final Logger LOG = System.getLogger(LocalExchange.class.getName());

    private static final FailureLog FAILURES = new FailureLog(LOG);

    private final String id;
    private final Route route;
    private final String owner;
    private final long begunNanos = System.nanoTime();
    private volatile byte[] body;
    private volatile boolean cancelled;
    private volatile @Nullable Runnable departure;
    private @Nullable Response response;
    private int completionTokens = -1;
    private long firstTokenNanos = -1;

    /**
     * A request.
     *
     * @param id names it in the log and in the answer
     * @param route whose handler answers; it must be {@link Handler.Blocking}
     * @param owner whose request it is, as {@link Exchange#owner} has it
     * @param body JSON; not changed any more
     */
    public LocalExchange(String id, Route route, String owner, byte[] body) {
        this.id = id;
        this.route = route;
        this.owner = owner;
        this.body = body;
    }

    /**
     * Answers the request on this thread, and waits as long as that takes. An error of any kind is a response too.
     *
     * @throws InterruptedException if the thread was interrupted; there is no response then
     */
    public Response answer() throws InterruptedException {
        if (!(route.handler() instanceof Handler.Blocking handler)) {
            throw new IllegalStateException("no requests of this process are answered at " + route());
        }
        try {
            handler.answer(this);
            Response sent = response;
            // a handler sends nothing if the client has left
            return sent != null ? sent : error(HttpException.unavailable("The request was cancelled."));
        } catch (HttpException e) {
            LOG.log(Level.DEBUG, "request {0}: {1,number,#} {2}", id, e.status(), e.getMessage());
            return error(e);
        } catch (ClientGoneException e) {
            return error(HttpException.unavailable("The request was cancelled."));
        } catch (InterruptedException e) {
            throw e;
        } catch (Throwable e) { // of any kind: only this request fails
            FAILURES.add(id, e);
            return error(HttpException.internal(id));
        }
    }

    private Response error(HttpException e) {
        return Response.error(e, route.errors());
    }

    /** Ends the request early. Any thread. */
    public void cancel() {
        cancelled = true;
        Runnable action = departure;
        if (action != null) {
            action.run();
        }
    }

    @Override
    public String id() {
        return id;
    }

    @Override
    public boolean draining() {
        return cancelled;
    }

    @Override
    public boolean background() {
        return true;
    }

    @Override
    public String route() {
        return route.paths().getFirst();
    }

    @Override
    public String pathRest() {
        return "";
    }

    @Override
    public @Nullable String query(String name) {
        return null;
    }

    @Override
    public @Nullable String header(String name) {
        return null;
    }

    @Override
    public String client() {
        return "background " + owner;
    }

    @Override
    public @Nullable ApiKey key() {
        return null;
    }

    @Override
    public String owner() {
        return owner;
    }

    @Override
    public int bodyBytes() {
        return body.length;
    }

    @Override
    public byte[] body() {
        return body;
    }

    @Override
    public void releaseBody() {
        body = new byte[0];
    }

    @Override
    public boolean gone() {
        return cancelled;
    }

    @Override
    public void onDeparture(Runnable action) {
        departure = action;
        if (cancelled) {
            action.run();
        }
    }

    @Override
    public void countTokens(int prompt, int completion) {
        completionTokens = completion;
        if (completion > 0 && firstTokenNanos < 0) {
            firstTokenNanos = ageNanos();
        }
    }

    @Override
    public int completionTokens() {
        return completionTokens;
    }

    @Override
    public long firstTokenNanos() {
        return firstTokenNanos;
    }

    @Override
    public long ageNanos() {
        return System.nanoTime() - begunNanos;
    }

    @Override
    public void send(Response whole) {
        response = whole;
    }

    @Override
    public void send(String contentType, Map<String, String> headers, long length, InputStream from) {
        throw noStream();
    }

    @Override
    public void begin(String contentType, byte[] events, byte[] signOfLife) {
        throw noStream();
    }

    @Override
    public void events(byte[] events) {
        throw noStream();
    }

    @Override
    public void end(byte[] events) {
        throw noStream();
    }

    private static HttpException noStream() {
        return HttpException.invalid("stream", "invalid_value", "A request of a batch gets a whole answer, no stream.");
    }
}
