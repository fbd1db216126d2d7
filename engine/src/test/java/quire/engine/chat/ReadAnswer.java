package quire.engine.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import quire.engine.ControlTokenizer;
import quire.engine.constrain.Part;
import quire.model.BuiltInModel;
import quire.model.format.Gguf;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;

/** What an answer was read as. Fails if events come in a wrong order. */
record ReadAnswer(String reasoning, String content, List<String> names, List<String> arguments) {
    /** A token for each byte. */
    static final Tokenizer BYTES = new ControlTokenizer(List.of());

    /** A vocabulary in which some tokens are parts of a character. */
    private static final Tokenizer TOKENS = builtIn();

    private static Tokenizer builtIn() {
        try (Gguf file = Gguf.open(BuiltInModel.QUIRE_TINY.path())) {
            return Tokenizers.of(file);
        }
    }

    /** Reads an answer that comes in these pieces. */
    static ReadAnswer of(Supplier<AnswerParser> parsers, List<String> pieces) {
        AnswerParser parser = parsers.get();
        List<AnswerEvent> events = new ArrayList<>();
        pieces.forEach(piece -> events.addAll(parser.append(piece)));
        events.addAll(parser.finish());
        StringBuilder reasoning = new StringBuilder();
        StringBuilder content = new StringBuilder();
        List<String> names = new ArrayList<>();
        List<StringBuilder> arguments = new ArrayList<>();
        for (AnswerEvent event : events) {
            switch (event) {
                case AnswerEvent.Reasoning(String text) -> {
                    if (text.isEmpty() || !content.isEmpty() || !names.isEmpty()) {
                        throw new AssertionError("reasoning '" + text + "' after content or calls");
                    }
                    reasoning.append(text);
                }
                case AnswerEvent.Content(String text) -> {
                    if (text.isEmpty()) {
                        throw new AssertionError("an empty content");
                    }
                    content.append(text);
                }
                case AnswerEvent.Call(int index, String name) -> {
                    if (index != names.size()) {
                        throw new AssertionError("call " + index + " after " + names.size() + " calls");
                    }
                    names.add(name);
                    arguments.add(new StringBuilder());
                }
                case AnswerEvent.Arguments(int index, String json) -> {
                    if (index != names.size() - 1 || json.isEmpty()) {
                        throw new AssertionError("arguments '" + json + "' of call " + index);
                    }
                    arguments.getLast().append(json);
                }
            }
        }
        return new ReadAnswer(
                reasoning.toString(),
                content.toString(),
                names,
                arguments.stream().map(StringBuilder::toString).toList());
    }

    /**
     * Reads an answer whole, in single characters, and cut in two at every place; then as it comes from tokens, from a real
     * vocabulary and of one byte each. All must be the same.
     */
    static ReadAnswer ofEveryCut(Supplier<AnswerParser> parsers, String text) {
        ReadAnswer whole = of(parsers, List.of(text));
        List<String> single = text.codePoints().mapToObj(Character::toString).toList();
        check(whole, of(parsers, single), text);
        for (int cut = 1; cut < text.length(); cut++) {
            if (!Character.isSurrogatePair(text.charAt(cut - 1), text.charAt(cut))) {
                check(whole, of(parsers, List.of(text.substring(0, cut), text.substring(cut))), text);
            }
        }
        check(whole, of(parsers, pieces(BYTES, text)), text);
        List<String> tokens = pieces(TOKENS, text);
        if (String.join("", tokens).equals(text)) { // the vocabulary has not all characters
            check(whole, of(parsers, tokens), text);
        }
        return whole;
    }

    /** What the tokens of a text are shown as, one by one; control tokens are tokens of their own. */
    static List<String> pieces(Tokenizer tokenizer, String text) {
        List<String> pieces = new ArrayList<>();
        Detokenizer detokenizer = new Detokenizer(tokenizer);
        String[] parts = text.split(String.valueOf(Part.CONTROL_MARK), -1);
        for (int i = 0; i < parts.length; i++) {
            boolean isControl = i % 2 == 1 && i < parts.length - 1;
            if (isControl) {
                pieces.add(detokenizer.finish() + Part.control(parts[i]));
                continue;
            }
            if (i % 2 == 1) {
                pieces.add(detokenizer.finish() + Part.CONTROL_MARK); // the text ends within a mark
            }
            for (int token : tokenizer.encode(parts[i], false, false)) {
                pieces.add(detokenizer.append(token));
            }
        }
        pieces.add(detokenizer.finish());
        return pieces;
    }

    private static void check(ReadAnswer whole, ReadAnswer other, String text) {
        if (!whole.equals(other)) {
            throw new AssertionError(text + "\n is read whole as " + whole + "\n and in pieces as " + other);
        }
    }
}
