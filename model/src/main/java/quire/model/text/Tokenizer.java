package quire.model.text;

import java.util.OptionalInt;

/** Converts text to tokens and tokens to text. Thread-safe. */
public interface Tokenizer {
    /** The number of token ids. */
    int vocabularySize();

    /**
     * Encodes text. A SentencePiece vocabulary may add a space at the start of the text (and after each special token).
     * {@link #bytes} includes that space; {@link #decodeText} removes it. Lone surrogates count as U+FFFD.
     *
     * @param addSpecial whether to add the tokens at the start (and at the end) that the model file asks for, usually
     *     BOS. A token is not added where the text already begins (or ends) with it
     * @param parseSpecial whether spellings of control tokens in {@code text} ({@code <|eot_id|>} …) become those
     *     tokens: false for text of a user, true for a rendered chat template. Tokens that the file calls user-defined
     *     are found in both cases
     * @throws IllegalArgumentException if the vocabulary has no tokens for a character
     */
    int[] encode(String text, boolean addSpecial, boolean parseSpecial);

    /**
     * Encodes two texts for an encoder that compares them: each as {@link #encode} does without parsing special tokens, the
     * second without the token that begins a text, and with the family's separator between them if it has one besides the
     * end of a text.
     *
     * @throws IllegalArgumentException as {@link #encode}
     * @throws UnsupportedOperationException if this tokenizer does not know the tokens between texts
     */
    default int[] encodePair(String first, String second) {
        throw new UnsupportedOperationException("no tokens between two texts");
    }

    /**
     * Encodes a prompt that the model continues: as {@link #encode}, but never adds the token that ends a text, even if
     * the model file asks for it.
     *
     * @throws IllegalArgumentException as {@link #encode}
     */
    default int[] encodePrompt(String text, boolean addSpecial, boolean parseSpecial) {
        return encode(text, addSpecial, parseSpecial);
    }

    /**
     * Encodes a prompt as {@link #encodePrompt(String, boolean, boolean)}, but gives up as soon as it is certain that there
     * are too many tokens.
     *
     * @param most most tokens of the result
     * @throws TextTooLongException if there are more
     * @throws IllegalArgumentException as {@link #encode}
     */
    default int[] encodePrompt(String text, boolean addSpecial, boolean parseSpecial, int most) {
        int[] tokens = encodePrompt(text, addSpecial, parseSpecial);
        if (tokens.length > most) {
            throw new TextTooLongException(most, text.length());
        }
        return tokens;
    }

    /**
     * The bytes of a token in output text, with its leading space, so that the text of a continuation can be appended
     * to the prompt. Empty for control tokens. The caller owns the array.
     */
    byte[] bytes(int token);

    /** The spelling of a token in the vocabulary, for display. */
    String spelling(int token);

    /** Whether a token is a control token (BOS, end of turn …), which never appears in text. */
    boolean isControl(int token);

    /** Whether a token ends an answer, for example end of text or end of turn. */
    boolean isEndOfGeneration(int token);

    /** The token that begins a text. */
    OptionalInt bos();

    /** The token that ends a text. */
    OptionalInt eos();

    /** Decodes the tokens of a continuation: joins the bytes of all tokens. Bytes that are not UTF-8 become U+FFFD. */
    default String decode(int... tokens) {
        Detokenizer detokenizer = new Detokenizer(this);
        StringBuilder text = new StringBuilder();
        for (int token : tokens) {
            text.append(detokenizer.append(token));
        }
        return text.append(detokenizer.finish()).toString();
    }

    /**
     * Decodes the tokens of a whole text, so that the result of {@link #encode} becomes the text again. Unlike {@link
     * #decode} it writes control tokens, and leaves out what encoding adds: a space, BOS at the start and EOS at the
     * end. So a text that begins with the spelling of BOS comes back without it.
     */
    default String decodeText(int... tokens) {
        return decode(tokens);
    }
}
