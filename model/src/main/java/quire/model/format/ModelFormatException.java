package quire.model.format;

/** A model file that cannot be used. The message is one line: the file, the key or tensor, what is wrong, the remedy. */
public final class ModelFormatException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** A message that names file, place, fault and remedy. */
    public ModelFormatException(String message) {
        super(message);
    }

    /** The same, with what the operating system said. */
    public ModelFormatException(String message, Throwable cause) {
        super(message, cause);
    }
}
