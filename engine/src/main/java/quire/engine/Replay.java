package quire.engine;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Recorded texts to guess from, right with a chosen probability: the oracle that speculation is measured against. A
 * sequence is recognised by its first tokens, as many as the recorded prompts have in common length; a wrong guess is
 * decided by a hash of seed, sequence and position, so every run makes the same mistakes.
 */
public final class Replay {
    private final int promptTokens;
    private final double acceptance;
    private final long seed;
    private final int vocabularySize;
    private final Map<Integer, int[]> keyToText = new HashMap<>();

    /**
     * @param texts prompts with the answers to them, in tokens; all prompts differ
     * @param promptTokens how many tokens of each text are its prompt
     * @param acceptance how often a guess is right, 0 to 1
     * @param vocabularySize wrong guesses are below this
     * @throws IllegalArgumentException if a text is no longer than its prompt, or two cannot be told apart
     */
    public Replay(List<int[]> texts, int promptTokens, double acceptance, long seed, int vocabularySize) {
        this.promptTokens = promptTokens;
        this.acceptance = acceptance;
        this.seed = seed;
        this.vocabularySize = vocabularySize;
        for (int[] text : texts) {
            if (text.length <= promptTokens) {
                throw new IllegalArgumentException(
                        "a recorded text has " + text.length + " tokens, its prompt " + promptTokens + " alone");
            }
            if (keyToText.put(key(text), text.clone()) != null) {
                throw new IllegalArgumentException("two recorded prompts cannot be told apart");
            }
        }
    }

    private int key(int[] tokens) {
        int key = 1;
        for (int i = 0; i < promptTokens; i++) {
            key = 31 * key + tokens[i];
        }
        return key;
    }

    private int guess(int[] text, int position) {
        long hash = Sampler.mix(seed ^ Sampler.mix(key(text) * 0x9E3779B97F4A7C15L + position));
        boolean right = (hash >>> 11) * 0x1p-53 < acceptance;
        return right ? text[position] : (text[position] + 1) % vocabularySize;
    }

    /** The drafter that replays. */
    static final class Oracle implements Drafter {
        private final Replay replay;

        Oracle(Replay replay) {
            this.replay = replay;
        }

        @Override
        public String name() {
            return "replay";
        }

        @Override
        public int offer(Sequence sequence, int most) {
            int[] text = text(sequence);
            return text == null ? 0 : Math.clamp(text.length - sequence.length(), 0, most);
        }

        private int @Nullable [] text(Sequence sequence) {
            return sequence.promptLength == replay.promptTokens
                    ? replay.keyToText.get(replay.key(sequence.tokens()))
                    : null;
        }

        @Override
        public int level(Sequence sequence) {
            return 0;
        }

        @Override
        public void draft(Drafts drafts, int self) {
            for (int i = 0; i < drafts.size(); i++) {
                Sequence sequence = drafts.sequence(i);
                int[] text = drafts.drafter(i) == self ? text(sequence) : null;
                for (int j = 0; text != null && j < drafts.count(i); j++) {
                    sequence.tokens()[sequence.length() + j] = replay.guess(text, sequence.length() + j);
                }
            }
        }
    }
}
