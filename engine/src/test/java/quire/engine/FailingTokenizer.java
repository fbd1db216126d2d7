package quire.engine;

import java.util.OptionalInt;
import quire.model.text.Tokenizer;

/** A {@link FakeTokenizer} that throws when asked for the text of the end token. */
final class FailingTokenizer implements Tokenizer {
    private final FakeTokenizer healthy = new FakeTokenizer();

    @Override
    public int vocabularySize() {
        return healthy.vocabularySize();
    }

    @Override
    public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
        return healthy.encode(text, addSpecial, parseSpecial);
    }

    @Override
    public byte[] bytes(int token) {
        check(token);
        return healthy.bytes(token);
    }

    @Override
    public String spelling(int token) {
        check(token);
        return healthy.spelling(token);
    }

    private static void check(int token) {
        if (token == FakeTokenizer.EOS) {
            throw new IllegalArgumentException("no text for this token");
        }
    }

    @Override
    public boolean isControl(int token) {
        return healthy.isControl(token);
    }

    @Override
    public boolean isEndOfGeneration(int token) {
        return healthy.isEndOfGeneration(token);
    }

    @Override
    public OptionalInt bos() {
        return healthy.bos();
    }

    @Override
    public OptionalInt eos() {
        return healthy.eos();
    }
}
