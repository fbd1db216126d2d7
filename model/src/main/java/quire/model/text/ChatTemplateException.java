package quire.model.text;

/** A template that refuses the messages ({@code raise_exception}) or uses a construct that cannot be rendered. */
public final class ChatTemplateException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** A message that names the line and the construct. */
    public ChatTemplateException(String message) {
        super(message);
    }
}
