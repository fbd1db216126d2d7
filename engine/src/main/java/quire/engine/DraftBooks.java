package quire.engine;

import java.util.ArrayList;
import java.util.List;

/** Adds up what became of draft tokens: of all sequences, guarded by the {@link Ledger}'s lock, or of one, on the engine thread. */
final class DraftBooks {
    private final String[] names;
    private final long[] drafts;
    private final long[] tokens;
    private final long[] accepted;
    private final long[] decisions = new long[Drafts.MAX + 1];
    private final long[] draftedAt = new long[Drafts.MAX];
    private final long[] acceptedAt = new long[Drafts.MAX];
    private long nanos;
    private long nanosWithout;

    /** @param names of the drafters */
    DraftBooks(String... names) {
        this.names = names;
        drafts = new long[names.length];
        tokens = new long[names.length];
        accepted = new long[names.length];
    }

    /** A step, with all that was guessed in it. */
    void add(Drafts step) {
        addTime(step);
        for (int i = 0; i < step.size(); i++) {
            addSequence(step, i);
        }
    }

    /** A step, with what was guessed for one sequence in it. */
    void add(Drafts step, int index) {
        addTime(step);
        addSequence(step, index);
    }

    private void addTime(Drafts step) {
        nanos += step.nanos();
        nanosWithout += step.nanosWithout();
    }

    private void addSequence(Drafts step, int index) {
        int count = step.count(index);
        decisions[count]++;
        if (count > 0) {
            drafts[step.drafter(index)]++;
            tokens[step.drafter(index)] += count;
            accepted[step.drafter(index)] += step.accepted(index);
        }
        for (int position = 0; position < count; position++) {
            draftedAt[position]++;
            acceptedAt[position] += position < step.accepted(index) ? 1 : 0;
        }
    }

    SpeculationStats stats() {
        if (names.length == 0) {
            return SpeculationStats.NONE;
        }
        List<SpeculationStats.Drafter> drafters = new ArrayList<>();
        for (int k = 0; k < names.length; k++) {
            drafters.add(new SpeculationStats.Drafter(names[k], drafts[k], tokens[k], accepted[k]));
        }
        return new SpeculationStats(drafters, list(decisions), list(draftedAt), list(acceptedAt), nanos, nanosWithout);
    }

    private static List<Long> list(long[] values) {
        List<Long> list = new ArrayList<>();
        for (long value : values) {
            list.add(value);
        }
        return list;
    }
}
