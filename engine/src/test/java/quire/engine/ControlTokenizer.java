package quire.engine;

import java.util.List;
import java.util.OptionalInt;
import quire.model.text.Tokenizer;

/** A {@link FakeTokenizer} with control tokens behind its own. */
public final class ControlTokenizer implements Tokenizer {
    private final List<String> control;
    private final FakeTokenizer bytes = new FakeTokenizer();

    /** @param control spellings of the further tokens, in the order of their ids */
    public ControlTokenizer(List<String> control) {
        this.control = control;
    }

    @Override
    public int vocabularySize() {
        return bytes.vocabularySize() + control.size();
    }

    @Override
    public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
        return bytes.encode(text, addSpecial, parseSpecial);
    }

    @Override
    public byte[] bytes(int token) {
        return token < bytes.vocabularySize() ? bytes.bytes(token) : new byte[0];
    }

    @Override
    public String spelling(int token) {
        return token < bytes.vocabularySize() ? bytes.spelling(token) : control.get(token - bytes.vocabularySize());
    }

    @Override
    public boolean isControl(int token) {
        return token >= bytes.vocabularySize() || bytes.isControl(token);
    }

    @Override
    public boolean isEndOfGeneration(int token) {
        return token < bytes.vocabularySize() && bytes.isEndOfGeneration(token);
    }

    @Override
    public OptionalInt bos() {
        return bytes.bos();
    }

    @Override
    public OptionalInt eos() {
        return bytes.eos();
    }
}
