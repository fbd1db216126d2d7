package quire.engine;

import java.nio.charset.StandardCharsets;
import java.util.function.UnaryOperator;
import quire.model.text.Tokenizer;

/**
 * What a {@link FakeModel} answers: a text for each prompt, in place of random letters. So the suites of client libraries
 * run without weights, and every run gives the same answers.
 *
 * <pre>
 *   tokens        &lt;user>2+2?&lt;assistant>  4 ,
 *                 prompt       marker    answer so far
 *   script        prompt ──▶ "4, of course"         next: the third token of "4, of course"
 * </pre>
 *
 * <p>The prompt ends with the last marker. The scripted answer gives the token at the place that the answer has reached,
 * and the end token behind its last one. What the answer consists of so far does not matter, so it goes on after a
 * constraint or a penalty has chosen another token. An answer may name control tokens by their spelling.
 */
public final class Script {
    /** Stands in an answer for a token whose logits are not finite, so that the model fails there. */
    public static final String BROKEN = "<broken>";

    /** What {@link #next} gives for {@link #BROKEN}. */
    static final int NO_TOKEN = -1;

    private final Tokenizer tokenizer;
    private final String marker;
    private final UnaryOperator<String> answers;

    /**
     * A script.
     *
     * @param marker the text that ends every prompt, such as {@code <assistant>}. Without it in a text, all of the text
     *     is prompt and its end is unknown, so the model ends the answer at once
     * @param answers from the text of a prompt, with marker and the spelling of control tokens, to its answer. Runs on
     *     the engine thread once for each token, so it must give the same answer every time
     */
    public Script(Tokenizer tokenizer, String marker, UnaryOperator<String> answers) {
        this.tokenizer = tokenizer;
        this.marker = marker;
        this.answers = answers;
    }

    /** The token that follows {@code tokens[0, length)}; {@link #NO_TOKEN} if the model fails here. */
    int next(int[] tokens, int length) {
        StringBuilder text = new StringBuilder(); // one character a byte
        int markerEnd = -1;
        int answerStart = 0;
        String searched = asBytes(marker);
        for (int i = 0; i < length; i++) {
            byte[] bytes = tokenizer.isControl(tokens[i])
                    ? tokenizer.spelling(tokens[i]).getBytes(StandardCharsets.UTF_8)
                    : tokenizer.bytes(tokens[i]);
            text.append(new String(bytes, StandardCharsets.ISO_8859_1));
            if (text.length() >= searched.length() && text.indexOf(searched, text.length() - searched.length()) >= 0) {
                markerEnd = text.length();
                answerStart = i + 1;
            }
        }
        int end = tokenizer.eos().orElseThrow();
        if (markerEnd < 0) {
            return end;
        }
        String prompt =
                new String(text.substring(0, markerEnd).getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8);
        String said = answers.apply(prompt);
        int broken = said.indexOf(BROKEN);
        int[] answer = tokenizer.encode(broken < 0 ? said : said.substring(0, broken), false, true);
        int place = length - answerStart;
        return place < answer.length ? answer[place] : broken < 0 ? end : NO_TOKEN;
    }

    private static String asBytes(String text) {
        return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
    }
}
