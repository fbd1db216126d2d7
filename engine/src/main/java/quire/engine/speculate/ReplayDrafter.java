package quire.engine.speculate;

import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.Replay;
import quire.engine.sample.Sampler;
import quire.engine.schedule.Sequence;

/**
 * Drafts from a {@link Replay}. A hash of seed, prompt and position decides whether a draft token is wrong, so every
 * run has the same errors.
 */
final class ReplayDrafter implements Drafter {
    private final Replay replay;
    private final Map<Integer, int[]> keyToText = new HashMap<>();

    ReplayDrafter(Replay replay) {
        this.replay = replay;
        for (int[] text : replay.texts()) {
            keyToText.put(replay.promptKey(text), text);
        }
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
        return sequence.promptLength() == replay.promptTokens()
                ? keyToText.get(replay.promptKey(sequence.tokens()))
                : null;
    }

    @Override
    public int confidence(Sequence sequence) {
        return 0;
    }

    @Override
    public void draft(StepDrafts drafts, int self) {
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            int[] text = drafts.drafter(i) == self ? text(sequence) : null;
            for (int j = 0; text != null && j < drafts.count(i); j++) {
                int position = sequence.length() + j;
                sequence.tokens()[position] = draftToken(text, position);
            }
        }
    }

    private int draftToken(int[] text, int position) {
        long hash = Sampler.mix(replay.seed() ^ Sampler.mix(replay.promptKey(text) * 0x9E3779B97F4A7C15L + position));
        boolean right = (hash >>> 11) * 0x1p-53 < replay.acceptance();
        return right ? text[position] : (text[position] + 1) % replay.vocabularySize();
    }
}
