package quire.engine;

/** The caller's mistake: names the parameter and how to mend it. A 400 over HTTP. */
public final class InvalidRequestException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    private final String parameter;

    /**
     * @param parameter as the caller of this package spells it: {@code topP}, {@code prompt} …
     * @param message what is wrong and what is allowed
     */
    public InvalidRequestException(String parameter, String message) {
        super(message);
        this.parameter = parameter;
    }

    /** The parameter at fault, spelled as in {@link SamplingParams} and {@link Request}. */
    public String parameter() {
        return parameter;
    }
}
