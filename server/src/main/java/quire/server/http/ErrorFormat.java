package quire.server.http;

/** Writes errors in the format of an API. */
@FunctionalInterface
public interface ErrorFormat {
    /** The body of an error response, in JSON. */
    byte[] body(HttpException e);
}
