package quire.engine.speculate;

import java.util.ArrayList;
import java.util.List;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;

/** Counts draft tokens and how many were accepted: of one sequence, or of all. Not thread-safe. */
final class DraftCounters {
    private final String[] names;
    private final long[] drafts;
    private final long[] tokens;
    private final long[] accepted;
    private final long[] decisions = new long[Speculation.MAX_DRAFT_TOKENS + 1];
    private final long[] draftedAt = new long[Speculation.MAX_DRAFT_TOKENS];
    private final long[] acceptedAt = new long[Speculation.MAX_DRAFT_TOKENS];
    private long predicted;
    private long acceptedPredicted;

    /** @param names of the drafters */
    DraftCounters(String... names) {
        this.names = names;
        drafts = new long[names.length];
        tokens = new long[names.length];
        accepted = new long[names.length];
    }

    /** Adds what one step drafted for all its sequences. */
    void add(StepDrafts step) {
        for (int i = 0; i < step.size(); i++) {
            add(step, i);
        }
    }

    /** Adds what one step drafted for one sequence. */
    void add(StepDrafts step, int index) {
        int count = step.count(index);
        decisions[count]++;
        if (count > 0) {
            drafts[step.drafter(index)]++;
            tokens[step.drafter(index)] += count;
            accepted[step.drafter(index)] += step.accepted(index);
        }
        if (step.isPredicted(index)) {
            predicted += count;
            acceptedPredicted += step.accepted(index);
        }
        for (int position = 0; position < count; position++) {
            draftedAt[position]++;
            acceptedAt[position] += position < step.accepted(index) ? 1 : 0;
        }
    }

    SpeculationCounts counts() {
        List<SpeculationCounts.Drafter> drafters = new ArrayList<>();
        for (int k = 0; k < names.length; k++) {
            drafters.add(new SpeculationCounts.Drafter(names[k], drafts[k], tokens[k], accepted[k]));
        }
        return new SpeculationCounts(
                drafters, list(decisions), list(draftedAt), list(acceptedAt), predicted, acceptedPredicted);
    }

    private static List<Long> list(long[] values) {
        List<Long> list = new ArrayList<>();
        for (long value : values) {
            list.add(value);
        }
        return list;
    }
}
