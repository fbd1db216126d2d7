package quire.engine;

/** The queue is full. A 429 with Retry-After over HTTP. */
public final class OverloadedException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int retryAfterSeconds;

    /**
     * @param message which limit was reached
     * @param retryAfterSeconds a guess when there will be room, at least 1
     */
    public OverloadedException(String message, int retryAfterSeconds) {
        super(message);
        this.retryAfterSeconds = retryAfterSeconds;
    }

    /** When to try again. */
    public int retryAfterSeconds() {
        return retryAfterSeconds;
    }
}
