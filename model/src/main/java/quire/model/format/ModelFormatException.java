package quire.model.format;

/**
 * A model file that cannot be used. The message has one line: the file, the key or tensor, what is wrong, and the
 * remedy.
 */
public final class ModelFormatException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** Creates the exception with a message that names file, place, fault and remedy. */
    public ModelFormatException(String message) {
        super(message);
    }

    /** The same, with the error of the operating system as its cause. */
    public ModelFormatException(String message, Throwable cause) {
        super(message, cause);
    }
}
