package quire.model.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;
import quire.model.format.ModelFormatException;

/** Creates tokenizers from vocabularies. */
public final class Tokenizers {
    private static final Logger LOG = System.getLogger(Tokenizers.class.getName());

    private Tokenizers() {}

    /**
     * The tokenizer of a model file. The file may contain only a vocabulary.
     *
     * @throws ModelFormatException as {@link #of(Vocabulary)}
     */
    public static Tokenizer of(Gguf file) {
        return of(vocabulary(file));
    }

    /**
     * The vocabulary of a model file.
     *
     * @throws ModelFormatException as {@link Vocabulary#read}
     */
    public static Vocabulary vocabulary(Gguf file) {
        return Vocabulary.read(file.file(), key -> value(file, key));
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
                ? file.byteStrings(key)
                : item.isFloat() ? file.float32s(key) : file.int32s(key);
    }

    /**
     * The tokenizer for a vocabulary, of the kind that {@link Vocabulary} lists. Logs {@link Vocabulary#warnings}.
     *
     * @throws ModelFormatException if the kind or the pre-tokenizer is unknown, or the vocabulary is inconsistent
     */
    public static Tokenizer of(Vocabulary vocabulary) {
        vocabulary.warnings().forEach(warning -> LOG.log(Level.WARNING, warning));
        Vocabulary kept = vocabulary.withoutMerges();
        return switch (vocabulary.model()) {
            case "llama" -> new VocabularyTokenizer(kept, new SentencePiece(kept));
            case "gpt2" ->
                new VocabularyTokenizer(
                        kept,
                        CharacterBpe.PRE_TOKENIZERS.contains(vocabulary.pre().orElse(""))
                                ? new CharacterBpe(vocabulary)
                                : new ByteLevel(vocabulary));
            case "gemma4" -> new VocabularyTokenizer(kept, new CharacterBpe(vocabulary));
            case "bert" -> new VocabularyTokenizer(kept, new WordPiece(kept));
            case "t5" -> new VocabularyTokenizer(kept, new Unigram(kept));
            default ->
                throw vocabulary.wrong(
                        "model",
                        "is " + Vocabulary.quote(vocabulary.model()),
                        "supported are 'llama' (SentencePiece BPE), 'gpt2' (byte-level BPE), 'gemma4' (BPE over"
                                + " characters), 'bert' (WordPiece) and 't5' (unigram)");
        };
    }
}
