package quire.server.api;

/** A text is not JSON. The message says where and why: {@code line 1, column 9: expected a value, found '}'}. */
public final class InvalidJsonException extends Exception {
    private static final long serialVersionUID = 1;

    InvalidJsonException(String message) {
        super(message, null, false, false);
    }
}
