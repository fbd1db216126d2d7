package quire.engine;

/** The queue is full. Over HTTP it is status 429 with Retry-After. */
public final class OverloadedException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int retryAfterSeconds;

    /**
     * @param message which limit was reached
     * @param retryAfterSeconds estimated seconds until there is room; at least 1
     */
    public OverloadedException(String message, int retryAfterSeconds) {
        super(message, null, false, false); // without a stack trace: refusals must be cheap
        this.retryAfterSeconds = retryAfterSeconds;
    }

    /** Seconds after which to try again. */
    public int retryAfterSeconds() {
        return retryAfterSeconds;
    }
}
