package quire.model.text.jinja;

/** What went wrong inside a template, before the line is put in front of it; never leaves the package. */
final class JinjaError extends RuntimeException {
    private static final long serialVersionUID = 1;

    JinjaError(String message) {
        super(message, null, false, false);
    }
}
