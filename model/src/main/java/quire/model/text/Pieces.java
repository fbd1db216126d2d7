package quire.model.text;

/** What differs between the kinds of vocabulary: how plain text becomes tokens, and what a spelling means. */
sealed interface Pieces permits SentencePiece, ByteLevel {
    /**
     * Encodes text without special tokens in it, which begins the whole or follows a special token.
     *
     * @throws IllegalArgumentException if the vocabulary cannot spell the text
     */
    void encode(String text, Ints tokens);

    /** The bytes that a normal token's spelling stands for. */
    byte[] bytes(int token);

    /** Whether BOS goes in front when the file does not say. */
    boolean addsBos();

    /** Whether {@link #encode} puts a space in front. */
    boolean addsSpacePrefix();

    /** The id that a file means when it names no BOS ("bos"), EOS ("eos") or unknown ("unknown") token, or -1. */
    int defaultId(String name);

    /** Whether plain text may become this token: a person's words must never turn into a control token. */
    static boolean isText(Vocabulary vocabulary, int token) {
        return switch (vocabulary.type(token)) {
            case UNDEFINED, NORMAL, USER_DEFINED, UNUSED ->
                !vocabulary.spelling(token).isEmpty() && vocabulary.isUtf8(token);
            case UNKNOWN, CONTROL, BYTE -> false;
        };
    }
}
