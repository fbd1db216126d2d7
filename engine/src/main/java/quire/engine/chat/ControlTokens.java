package quire.engine.chat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import quire.engine.constrain.Part;
import quire.model.text.Tokenizer;

/**
 * The control tokens of a vocabulary, to find them in text that a chat template wrote.
 *
 * @param inside spellings of those that may stand in an answer, longer ones first
 * @param ends spellings of the tokens that end an answer
 */
record ControlTokens(List<String> inside, List<String> ends) {
    static ControlTokens of(Tokenizer tokenizer) {
        List<String> inside = new ArrayList<>();
        List<String> ends = new ArrayList<>();
        IntStream.range(0, tokenizer.vocabularySize()).forEach(token -> {
            if (tokenizer.isEndOfGeneration(token)) {
                ends.add(tokenizer.spelling(token));
            } else if (tokenizer.isControl(token) && !tokenizer.spelling(token).isEmpty()) {
                inside.add(tokenizer.spelling(token));
            }
        });
        inside.sort(Comparator.comparingInt(String::length).reversed());
        return new ControlTokens(inside, ends);
    }

    /** The text up to the first token that ends an answer. */
    String upToEnd(String text) {
        int end = text.length();
        for (String spelling : ends) {
            int at = spelling.isEmpty() ? -1 : text.indexOf(spelling);
            end = at >= 0 ? Math.min(end, at) : end;
        }
        return text.substring(0, end);
    }

    /** The text with its control tokens as {@link Part#control} writes them. */
    String marked(String text) {
        StringBuilder marked = new StringBuilder();
        for (int i = 0; i < text.length(); ) {
            String found = "";
            for (String spelling : inside) {
                if (text.startsWith(spelling, i)) {
                    found = spelling;
                    break;
                }
            }
            marked.append(found.isEmpty() ? text.substring(i, i + 1) : Part.control(found));
            i += Math.max(1, found.length());
        }
        return marked.toString();
    }
}
