package quire.engine.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/** What an answer was read as. Fails if events come in a wrong order. */
record ReadAnswer(String reasoning, String content, List<String> names, List<String> arguments) {
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

    /** Reads an answer whole, in single characters, and cut in two at every place; all must be the same. */
    static ReadAnswer ofEveryCut(Supplier<AnswerParser> parsers, String text) {
        ReadAnswer whole = of(parsers, List.of(text));
        List<String> single = text.codePoints().mapToObj(Character::toString).toList();
        check(whole, of(parsers, single), text);
        for (int cut = 1; cut < text.length(); cut++) {
            if (!Character.isSurrogatePair(text.charAt(cut - 1), text.charAt(cut))) {
                check(whole, of(parsers, List.of(text.substring(0, cut), text.substring(cut))), text);
            }
        }
        return whole;
    }

    private static void check(ReadAnswer whole, ReadAnswer other, String text) {
        if (!whole.equals(other)) {
            throw new AssertionError(text + "\n is read whole as " + whole + "\n and in pieces as " + other);
        }
    }
}
