package quire.engine.speculate;

import java.util.Arrays;
import quire.engine.schedule.Sequence;

/** The drafter that looks up, for all sequences. */
final class LookupDrafter implements Drafter {
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
            lookup = new PromptLookup(sequence.tokens().length); // once in a sequence's life
            state.lookup = lookup;
        }
        lookup.advance(sequence.tokens(), sequence.length());
        return lookup.matched() == 0 ? 0 : most;
    }

    @Override
    public int level(Sequence sequence) {
        PromptLookup lookup = DraftState.of(sequence).lookup;
        int found = lookup == null ? -1 : Arrays.binarySearch(LEVEL_STARTS, lookup.matched());
        return Math.clamp(found >= 0 ? found : -found - 2, 0, LEVEL_STARTS.length - 1);
    }

    @Override
    public void draft(StepDrafts drafts, int self) {
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            PromptLookup lookup = DraftState.of(sequence).lookup;
            if (drafts.drafter(i) == self && lookup != null) {
                lookup.guess(sequence.tokens(), sequence.length(), drafts.count(i));
            }
        }
    }
}
