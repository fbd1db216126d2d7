package quire.engine.sample;

/**
 * No token can be chosen, or no vector given, because the model's numbers are not finite: its weights or its file are
 * damaged.
 */
public final class BrokenLogitsException extends IllegalStateException {
    private static final long serialVersionUID = 1;

    /** @param message which numbers are not finite */
    public BrokenLogitsException(String message) {
        super(message);
    }
}
