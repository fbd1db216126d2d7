package quire.engine.speculate;

import quire.engine.constrain.ConstraintCursor;
import quire.engine.schedule.Sequence;

/**
 * Drafts the text that a sequence's constraint forces, such as the names of a JSON schema's properties. The model may
 * choose other tokens for the same text, so these are draft tokens as any others.
 */
final class ForcedDrafter implements Drafter {
    /** Room for the tokens that {@link #offer} counts. */
    private int[] forced = new int[0];

    @Override
    public String name() {
        return "forced";
    }

    @Override
    public int offer(Sequence sequence, int most) {
        ConstraintCursor constraint = sequence.history().constraint();
        if (constraint == null) {
            return 0;
        }
        if (forced.length < most) {
            forced = new int[most];
        }
        return constraint.forced(forced, 0, most);
    }

    @Override
    public int confidence(Sequence sequence) {
        return AcceptanceRate.CONFIDENCE_LEVELS - 1;
    }

    @Override
    public void draft(StepDrafts drafts, int self) {
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            ConstraintCursor constraint = sequence.history().constraint();
            if (drafts.drafter(i) == self && constraint != null) {
                drafts.shorten(i, constraint.forced(sequence.tokens(), sequence.length(), drafts.count(i)));
            }
        }
    }
}
