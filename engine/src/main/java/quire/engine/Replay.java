package quire.engine;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Recorded answers that serve as draft tokens. Each draft token is right with a chosen probability. So this is a
 * drafter of known quality, for measurements of speculation. The prompt of a sequence identifies its recorded answer.
 *
 * @param texts prompts with their answers, in tokens; no two prompts are equal
 * @param promptTokens how many tokens of each text are its prompt
 * @param acceptance probability that a draft token is right, 0 to 1
 * @param seed decides, with sequence and position, which draft tokens are wrong
 * @param vocabularySize token ids are below this
 */
public record Replay(List<int[]> texts, int promptTokens, double acceptance, long seed, int vocabularySize) {
    /**
     * Checks and copies the texts.
     *
     * @throws IllegalArgumentException if a text is no longer than its prompt, or two prompts have the same
     *     {@link #promptKey}
     */
    public Replay {
        Set<Integer> keys = new HashSet<>();
        for (int[] text : texts) {
            if (text.length <= promptTokens) {
                throw new IllegalArgumentException("a recorded text has " + text.length + " tokens, and its prompt has "
                        + promptTokens + ": give each text at least one token of answer");
            }
            if (!keys.add(promptKey(text, promptTokens))) {
                throw new IllegalArgumentException("two recorded prompts have the same hash: leave one of them out");
            }
        }
        texts = texts.stream().map(int[]::clone).toList();
    }

    /** A hash of the prompt with which {@code tokens} begins. */
    public int promptKey(int[] tokens) {
        return promptKey(tokens, promptTokens);
    }

    private static int promptKey(int[] tokens, int promptTokens) {
        int key = 1;
        for (int i = 0; i < promptTokens; i++) {
            key = 31 * key + tokens[i];
        }
        return key;
    }
}
