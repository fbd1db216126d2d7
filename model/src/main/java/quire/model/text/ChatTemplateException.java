package quire.model.text;

/** Thrown if a template refuses the messages ({@code raise_exception}) or cannot be rendered. */
public final class ChatTemplateException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** Creates the exception with a message that names the line and the construct. */
    public ChatTemplateException(String message) {
        super(message);
    }
}
