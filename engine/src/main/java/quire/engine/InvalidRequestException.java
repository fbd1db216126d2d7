package quire.engine;

/** A request is wrong. The message names the parameter and what is allowed. Over HTTP it is status 400. */
public final class InvalidRequestException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    private final String parameter;

    /**
     * @param parameter its Java name: {@code topP}, {@code prompt} …
     * @param message what is wrong and what is allowed
     */
    public InvalidRequestException(String parameter, String message) {
        super(message);
        this.parameter = parameter;
    }

    /** The Java name of the wrong parameter, in {@link SamplingParams} or {@link Request}. */
    public String parameter() {
        return parameter;
    }
}
