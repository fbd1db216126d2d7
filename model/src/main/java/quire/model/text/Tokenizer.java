package quire.model.text;

import java.util.OptionalInt;

/** Text to tokens and back. Thread-safe. */
public interface Tokenizer {
    /** Number of token ids. */
    int vocabularySize();

    /**
     * Encodes text. A SentencePiece vocabulary may put a space in front of the text (and behind each special token), which
     * {@link #bytes} shows and {@link #decodeText} takes away again. Lone surrogates count as U+FFFD.
     *
     * @param addSpecial whether to put the tokens in front (and behind) that the model's file asks for, usually BOS;
     *     never a second one where the text begins (or ends) with that token already
     * @param parseSpecial whether the texts of control tokens in {@code text} ({@code <|eot_id|>} …) become those
     *     tokens; false for a person's words, true for a rendered chat template. Tokens that the file calls
     *     user-defined are found in either case
     * @throws IllegalArgumentException if the vocabulary has no tokens for a character
     */
    int[] encode(String text, boolean addSpecial, boolean parseSpecial);

    /**
     * Encodes a prompt, which the model goes on from: {@link #encode} without the token that ends a text, whatever the
     * model's file says about that.
     *
     * @throws IllegalArgumentException as {@link #encode}
     */
    default int[] encodePrompt(String text, boolean addSpecial, boolean parseSpecial) {
        return encode(text, addSpecial, parseSpecial);
    }

    /**
     * The bytes that a token stands for in output text, its leading space included, so that a continuation's text joins
     * its prompt's; empty for control tokens. The caller owns the array.
     */
    byte[] bytes(int token);

    /** The token as the vocabulary spells it, for people to look at. */
    String spelling(int token);

    /** Whether a token is a control token (BOS, end of turn …), which never appears in text. */
    boolean isControl(int token);

    /** Whether a token ends an answer: end of text, end of turn and their like. */
    boolean isEndOfGeneration(int token);

    /** The token that begins a text. */
    OptionalInt bos();

    /** The token that ends a text. */
    OptionalInt eos();

    /**
     * Decodes the tokens of a continuation: the text of their bytes, one after another. Bytes that are not UTF-8 become
     * U+FFFD.
     */
    default String decode(int... tokens) {
        Detokenizer detokenizer = new Detokenizer(this);
        StringBuilder text = new StringBuilder();
        for (int token : tokens) {
            text.append(detokenizer.append(token));
        }
        return text.append(detokenizer.finish()).toString();
    }

    /**
     * Decodes the tokens of a whole text, so that {@link #encode} and this give the text again: {@link #decode} with control
     * tokens spelled, but without what encoding adds, which is a space, BOS in front and EOS behind. So a text that itself
     * begins with BOS comes back without it.
     */
    default String decodeText(int... tokens) {
        return decode(tokens);
    }
}
