package quire.model.text;

/** A text has more tokens than the caller can use. It was not encoded to its end. */
public final class TextTooLongException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    private final int charactersRead;

    /**
     * @param most the number of tokens that the text exceeds
     * @param charactersRead characters of the text that were encoded; 0 if its length alone decided
     */
    public TextTooLongException(int most, int charactersRead) {
        super("the text has more than " + most + " tokens");
        this.charactersRead = charactersRead;
    }

    /** Characters (UTF-16 units) of the text that were encoded; 0 if its length alone decided. */
    public int charactersRead() {
        return charactersRead;
    }
}
