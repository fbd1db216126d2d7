package quire.model.text;

import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;
import quire.model.format.ModelFormatException;

/** Makes tokenizers of vocabularies. */
public final class Tokenizers {
    private Tokenizers() {}

    /**
     * The tokenizer of a model file, which may hold nothing but a vocabulary.
     *
     * @throws ModelFormatException as {@link #of(Vocabulary)}
     */
    public static Tokenizer of(Gguf file) {
        return of(Vocabulary.read(file.file(), key -> value(file, key)));
    }

    private static @Nullable Object value(Gguf file, String key) {
        if (!file.has(key)) {
            return null;
        }
        if (file.type(key) != GgufValueType.ARRAY) {
            return file.scalar(key);
        }
        GgufValueType item = file.itemType(key);
        return item == GgufValueType.STRING
                ? file.strings(key)
                : item.isFloat() ? file.float32s(key) : file.int32s(key);
    }

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
