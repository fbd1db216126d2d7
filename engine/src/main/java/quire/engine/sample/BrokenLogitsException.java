package quire.engine.sample;

/** No token can be chosen, because the model's logits are not finite numbers: its weights or its file are damaged. */
public final class BrokenLogitsException extends IllegalStateException {
    private static final long serialVersionUID = 1;

    BrokenLogitsException(String message) {
        super(message);
    }
}
