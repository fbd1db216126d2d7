package quire.server.http;

/** Answers the requests of a {@link Route}. */
public sealed interface Handler {
    /** Answers on the event loop, which serves all connections: must not block. */
    @FunctionalInterface
    non-sealed interface Immediate extends Handler {
        /**
         * Returns the response.
         *
         * @throws HttpException for an error response
         */
        Response answer(Exchange exchange);
    }

    /** Answers on a virtual thread for this request, after its whole body has arrived: may block. */
    @FunctionalInterface
    non-sealed interface Blocking extends Handler {
        /**
         * Sends the response.
         *
         * @throws HttpException for an error response, if no response has begun
         */
        void answer(Exchange exchange) throws ClientGoneException, InterruptedException;
    }
}
