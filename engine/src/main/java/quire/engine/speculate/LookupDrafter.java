package quire.engine.speculate;

import java.util.Arrays;
import quire.engine.schedule.Sequence;

/** Drafts for all sequences what {@link PromptLookup} finds. Confidence grows with the length of the match. */
final class LookupDrafter implements Drafter {
    /** The shortest match of each confidence level, in tokens. */
    private static final int[] LEVEL_STARTS = {PromptLookup.MIN_MATCH, 3, 4, 8};

    @Override
    public String name() {
        return "lookup";
    }

    @Override
    public int offer(Sequence sequence, int most) {
        DraftState state = DraftState.of(sequence);
        PromptLookup lookup = state.lookup;
        if (lookup == null) {
            int maxTokens = sequence.promptLength() + sequence.maxNewTokens();
            lookup = new PromptLookup(sequence.prediction(), maxTokens); // once for each sequence
            state.lookup = lookup;
        }
        lookup.update(sequence.tokens(), sequence.length());
        return lookup.matchLength() == 0 ? 0 : Math.min(most, lookup.available());
    }

    @Override
    public int confidence(Sequence sequence) {
        PromptLookup lookup = DraftState.of(sequence).lookup;
        int found = lookup == null ? -1 : Arrays.binarySearch(LEVEL_STARTS, lookup.matchLength());
        return Math.clamp(found >= 0 ? found : -found - 2, 0, LEVEL_STARTS.length - 1);
    }

    @Override
    public void draft(StepDrafts drafts, int self) {
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            PromptLookup lookup = DraftState.of(sequence).lookup;
            if (drafts.drafter(i) == self && lookup != null) {
                lookup.writeDraft(sequence.tokens(), sequence.length(), drafts.count(i));
                if (lookup.isPrediction()) {
                    drafts.setPredicted(i);
                }
            }
        }
    }
}
