package quire.model.text.jinja;

/** An error inside of a template, before its line is added. It never leaves the package. */
final class JinjaError extends RuntimeException {
    private static final long serialVersionUID = 1;

    JinjaError(String message) {
        super(message, null, false, false);
    }
}
