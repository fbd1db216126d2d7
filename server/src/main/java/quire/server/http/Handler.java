package quire.server.http;

import java.nio.file.Path;

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

    /**
     * Answers a form with a file ({@code multipart/form-data}). The file is written to the disk while it comes in; then the
     * handler runs on a virtual thread and may block.
     */
    non-sealed interface Upload extends Handler {
        /**
         * The folder for files while they come in. Called on the event loop when the head of a request has come: must not
         * block.
         *
         * @throws HttpException to refuse the request
         */
        Path folder(Exchange exchange);

        /**
         * Sends the response.
         *
         * @param form has the file, if there is one, in {@link #folder}; it is deleted after this method unless it was moved
         * @throws HttpException for an error response, if no response has begun
         */
        void answer(Exchange exchange, Form form) throws ClientGoneException, InterruptedException;
    }
}
