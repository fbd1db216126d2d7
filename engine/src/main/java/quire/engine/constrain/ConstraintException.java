package quire.engine.constrain;

/**
 * An answer cannot go on as its constraint requires: it needs more states than the limit, or the model excludes every
 * token that the constraint allows.
 */
public final class ConstraintException extends IllegalStateException {
    private static final long serialVersionUID = 1;

    /** @param message which of the two, in words */
    public ConstraintException(String message) {
        super(message);
    }
}
