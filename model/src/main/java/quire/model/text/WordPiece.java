package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.text.Normalizer;

/**
 * WordPiece, the tokenizer of BERT and of many embedding models. Text is brought into a normal form (no control characters,
 * no accents, lower case; the file may say otherwise) and cut at spaces and around punctuation marks and Chinese
 * characters. Each word becomes the longest token that begins it, then the longest one that continues it, and so on; a word
 * that this cannot spell, or that has more than 100 characters, is one unknown token.
 *
 * <p>The file spells a token that begins a word with U+2581 ▁ before it, and one that continues a word plainly.
 */
final class WordPiece implements TextCodec {
    /** As in the tokenizers that such models were trained with. */
    private static final int MAX_WORD = 100;

    private final Vocabulary vocabulary;
    private final boolean lowercase;
    private final boolean stripAccents;
    private final int unknown;
    /** The most bytes of a spelling. */
    private final int longest;

    WordPiece(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        lowercase = vocabulary.flag("normalizer.lowercase").orElse(true);
        stripAccents = vocabulary.flag("normalizer.strip_accents").orElse(lowercase);
        unknown = vocabulary.id("unknown") >= 0 ? vocabulary.id("unknown") : defaultId("unknown");
        if (unknown < 0) {
            throw vocabulary.wrong(
                    "unknown_token_id", "is missing", "a 'bert' vocabulary needs it; convert the model again");
        }
        int most = 1;
        for (int token = 0; token < vocabulary.size(); token++) {
            most = Math.max(most, vocabulary.spellings().length(token));
        }
        longest = most;
    }

    @Override
    public int encode(String text, IntList tokens, int most) {
        String normal = stripAccents ? Normalizer.normalize(text, Normalizer.Form.NFD) : text;
        StringBuilder word = new StringBuilder();
        for (int i = 0, c; i < normal.length() && tokens.size() <= most; i += Character.charCount(c)) {
            c = normal.codePointAt(i);
            if (VocabularyTokenizer.isWhiteSpace(c)) {
                addWord(word, tokens);
            } else if (!isDropped(c)) {
                boolean alone = isAlone(c);
                if (alone) {
                    addWord(word, tokens);
                }
                word.appendCodePoint(lowercase ? Character.toLowerCase(c) : c);
                if (alone) {
                    addWord(word, tokens);
                }
            }
        }
        addWord(word, tokens);
        return text.length();
    }

    private boolean isDropped(int c) {
        return switch (Character.getType(c)) {
            case Character.CONTROL, Character.FORMAT, Character.PRIVATE_USE -> true;
            case Character.NON_SPACING_MARK -> stripAccents;
            default -> c == 0xFFFD;
        };
    }

    /** Whether a character is a word of its own: a punctuation mark, a symbol of ASCII, a Chinese character. */
    private static boolean isAlone(int c) {
        return switch (Character.getType(c)) {
            case Character.CONNECTOR_PUNCTUATION,
                    Character.DASH_PUNCTUATION,
                    Character.START_PUNCTUATION,
                    Character.END_PUNCTUATION,
                    Character.INITIAL_QUOTE_PUNCTUATION,
                    Character.FINAL_QUOTE_PUNCTUATION,
                    Character.OTHER_PUNCTUATION -> true;
            case Character.MATH_SYMBOL, Character.CURRENCY_SYMBOL, Character.MODIFIER_SYMBOL, Character.OTHER_SYMBOL ->
                c < 0x80;
            default ->
                (c >= 0x4E00 && c <= 0x9FFF)
                        || (c >= 0x3400 && c <= 0x4DBF)
                        || (c >= 0x20000 && c <= 0x2A6DF)
                        || (c >= 0x2A700 && c <= 0x2B73F)
                        || (c >= 0x2B740 && c <= 0x2B81F)
                        || (c >= 0x2B920 && c <= 0x2CEAF)
                        || (c >= 0xF900 && c <= 0xFAFF)
                        || (c >= 0x2F800 && c <= 0x2FA1F);
        };
    }

    /** Adds the tokens of a word, and empties it. */
    private void addWord(StringBuilder word, IntList tokens) {
        if (word.isEmpty()) {
            return;
        }
        byte[] text = (ByteTokens.SPACE + word.toString()).getBytes(StandardCharsets.UTF_8);
        int before = tokens.size();
        boolean spelled = word.codePointCount(0, word.length()) <= MAX_WORD;
        for (int start = 0; spelled && start < text.length; ) {
            int end = Math.min(text.length, start + longest);
            int token = -1;
            while (end > start && token < 0) {
                int found = vocabulary.findText(text, start, end);
                token = found >= 0 && TextCodec.isText(vocabulary, found) ? found : -1;
                end -= token < 0 ? 1 : 0;
            }
            spelled = token >= 0;
            tokens.add(token);
            start = end;
        }
        if (!spelled) {
            tokens.truncate(before);
            tokens.add(unknown);
        }
        word.setLength(0);
    }

    @Override
    public byte[] bytes(int token) {
        return vocabulary.spelling(token).replace(ByteTokens.SPACE, ' ').getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public int mostCharactersPerByte() {
        return UNLIMITED;
    }

    @Override
    public boolean addsBos() {
        return true;
    }

    @Override
    public String end() {
        return "seperator"; // as the key is spelled
    }

    @Override
    public boolean addsEnd() {
        return true;
    }

    @Override
    public boolean addsSpacePrefix() {
        return true;
    }

    @Override
    public int defaultId(String name) {
        return switch (name) {
            case "unknown" -> vocabulary.find("[UNK]");
            case "bos" -> vocabulary.id("cls") >= 0 ? vocabulary.id("cls") : vocabulary.find("[CLS]");
            case "seperator" -> vocabulary.find("[SEP]");
            default -> -1;
        };
    }
}
