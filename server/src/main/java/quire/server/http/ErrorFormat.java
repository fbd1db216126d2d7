package quire.server.http;

/** How an API writes errors. */
@FunctionalInterface
public interface ErrorFormat {
    /** The body of an error response, in JSON. */
    byte[] body(HttpException e);
}
