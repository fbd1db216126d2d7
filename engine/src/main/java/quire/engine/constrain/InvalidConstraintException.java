package quire.engine.constrain;

/** A constraint cannot be used: it is malformed, too large, or asks for something that is not computed. */
public final class InvalidConstraintException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    private final String where;

    public InvalidConstraintException(String where, String message) {
        super(message);
        this.where = where;
    }

    /** The JSON pointer of the keyword in the schema; empty for the root and for constraints that are no schemas. */
    public String where() {
        return where;
    }
}
