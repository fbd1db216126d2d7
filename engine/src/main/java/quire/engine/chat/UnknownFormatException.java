package quire.engine.chat;

/** The form of a model's tool calls could not be found out; the message says why. */
public final class UnknownFormatException extends Exception {
    private static final long serialVersionUID = 1L;

    UnknownFormatException(String message) {
        super(message);
    }
}
