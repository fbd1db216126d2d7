package quire.model.text;

import java.util.List;

/**
 * BPE over characters, as Gemma 4 has it: spaces become U+2581 ▁, each character is a symbol, and neighbours merge in the
 * order of the list in the file. Lines and the line breaks between them are merged apart. A character without a token
 * becomes the tokens of its bytes.
 */
final class CharacterBpe implements TextCodec {
    /** The pre-tokenizers of this kind. */
    static final List<String> PRE_TOKENIZERS = List.of("gemma4", "granite-embed-multi-311m", "sarvam-moe");

    private final Vocabulary vocabulary;
    private final ByteTokens byteTokens;
    private final int unknown;
    private final boolean addBos;
    private final CharacterSymbols characters;
    private final MergeTable merges;

    CharacterBpe(Vocabulary vocabulary) {
        this.vocabulary = vocabulary.withoutMerges();
        byteTokens = new ByteTokens(this.vocabulary);
        unknown = vocabulary.id("unknown");
        addBos = !vocabulary.pre().orElse("").equals("sarvam-moe");
        characters = new CharacterSymbols(vocabulary, byteTokens);
        merges = ByteLevel.merges(vocabulary, this::symbol);
    }

    /** As {@link ByteLevel.Symbols} says; -1 - c if the text is a character c without a token. */
    private int symbol(byte[] bytes, int from, int to) {
        int token = vocabulary.findText(bytes, from, to);
        return characters.symbol(bytes, from, to, token < 0 ? ByteLevel.NO_SYMBOL : token);
    }

    @Override
    public int encode(String text, IntList tokens, int most) {
        String escaped = text.replace(' ', ByteTokens.SPACE);
        int start = 0;
        while (start < escaped.length() && tokens.size() <= most) {
            boolean breaks = escaped.charAt(start) == '\n';
            int end = start + 1;
            while (end < escaped.length() && (escaped.charAt(end) == '\n') == breaks) {
                end++;
            }
            encodeLine(escaped.substring(start, end), breaks, tokens);
            start = end;
        }
        return start;
    }

    private void encodeLine(String line, boolean breaks, IntList tokens) {
        int whole = breaks ? vocabulary.findText(line) : -1;
        if (whole >= 0 && TextCodec.isText(vocabulary, whole)) {
            tokens.add(whole);
            return;
        }
        int[] symbols = line.codePoints().map(characters::symbol).toArray();
        byteTokens.addSymbols(symbols, merges.merge(symbols, symbols.length), unknown, tokens);
    }

    @Override
    public byte[] bytes(int token) {
        return byteTokens.bytes(token);
    }

    @Override
    public int mostCharactersPerByte() {
        return unknown < 0 || byteTokens.complete() ? 1 : UNLIMITED;
    }

    @Override
    public boolean addsBos() {
        return addBos;
    }

    @Override
    public boolean addsSpacePrefix() {
        return false;
    }

    @Override
    public int defaultId(String name) {
        return -1;
    }
}
