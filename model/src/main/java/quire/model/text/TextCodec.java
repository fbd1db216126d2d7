package quire.model.text;

/**
 * The parts of a tokenizer that depend on the kind of vocabulary: encoding plain text, and the meaning of a spelling.
 */
sealed interface TextCodec permits SentencePiece, ByteLevel, CharacterBpe, Unigram, WordPiece {
    /** See {@link #mostCharactersPerByte}. */
    int UNLIMITED = Integer.MAX_VALUE;

    /**
     * Encodes text that contains no special tokens. It is the start of the whole text or follows a special token. May stop
     * as soon as {@code tokens} has more than {@code most} tokens.
     *
     * @return how many characters of the text were encoded
     * @throws IllegalArgumentException if the vocabulary cannot spell the text
     */
    int encode(String text, IntList tokens, int most);

    /** The bytes of a normal token. */
    byte[] bytes(int token);

    /**
     * The most UTF-16 units of text that one byte of its tokens can stand for: 1 if the bytes of the tokens together are the
     * text, more if they are a normal form of it, {@link #UNLIMITED} if characters can be lost.
     */
    int mostCharactersPerByte();

    /** Whether BOS is added at the start if the file does not say. */
    boolean addsBos();

    /** Which token ends a text: "eos", or another name under {@code tokenizer.ggml.NAME_token_id}. */
    default String end() {
        return "eos";
    }

    /** Whether that token is added at the end if the file does not say. */
    default boolean addsEnd() {
        return false;
    }

    /** Whether {@link #encode} adds a space at the start. */
    boolean addsSpacePrefix();

    /**
     * The default id of BOS ("bos"), the {@link #end} of a text or the unknown token ("unknown") if the file names none; -1
     * for none.
     */
    int defaultId(String name);

    /** Whether plain text can become this token. The words of a user must never become a control token. */
    static boolean isText(Vocabulary vocabulary, int token) {
        return switch (vocabulary.type(token)) {
            case UNDEFINED, NORMAL, USER_DEFINED, UNUSED ->
                vocabulary.spellings().length(token) > 0 && vocabulary.isUtf8(token);
            case UNKNOWN, CONTROL, BYTE -> false;
        };
    }
}
