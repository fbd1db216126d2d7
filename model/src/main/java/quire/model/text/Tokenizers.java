package quire.model.text;

import quire.model.format.ModelFormatException;

/** Makes tokenizers of vocabularies. */
public final class Tokenizers {
    private Tokenizers() {}

    /**
     * The tokenizer that a model file describes: {@code llama} is SentencePiece BPE with byte fallback, {@code gpt2}
     * byte-level BPE with the pre-tokenizer that {@code tokenizer.ggml.pre} names.
     *
     * @throws ModelFormatException if the kind or the pre-tokenizer is unknown or the vocabulary contradicts itself
     */
    public static Tokenizer of(Vocabulary vocabulary) {
        return switch (vocabulary.model()) {
            case "llama" -> new VocabularyTokenizer(vocabulary, new SentencePiece(vocabulary));
            case "gpt2" -> new VocabularyTokenizer(vocabulary, new ByteLevel(vocabulary));
            default ->
                throw vocabulary.wrong(
                        "model",
                        "is " + Vocabulary.quote(vocabulary.model()),
                        "only 'llama' (SentencePiece BPE) and 'gpt2' (byte-level BPE) are supported");
        };
    }
}
