package quire.engine.speculate;

import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.sample.Sampler;
import quire.engine.sample.SamplerTeam;
import quire.engine.schedule.DraftSource;
import quire.engine.schedule.KvPages;
import quire.engine.schedule.Sequence;
import quire.model.Batch;
import quire.model.Model;
import quire.tensor.FloatMatrix;

/**
 * Drafts with a small model, for all sequences at once: one forward pass for each draft position. It chooses tokens as
 * the target model does, with the same parameters, token history and noise, but from its own logits. Where the two
 * distributions are alike, so are the choices.
 *
 * <p>Its K and V are in a second pool, under the same page numbers as the target model's. A sequence owns the same
 * pages in both, so one {@link KvPages} serves both. The draft model computes positions only when it needs them: a
 * sequence without drafts costs nothing, and a preempted one starts again from its first token.
 *
 * <pre>
 *   tokens      p p p p p p g g g | d0 d1 d2
 *                     ^           ^                  lag = length − computed, mostly 1 or 2
 *                 computed      length
 *   pass 0            [p p g g g]    logits ──▶ d0   catches up first; a long prompt takes several steps
 *   pass 1                        [d0]      ──▶ d1
 *   pass 2                           [d1]   ──▶ d2   d2 itself is not computed here
 * </pre>
 */
final class ModelDrafter implements Drafter {
    private final Model model;
    private final KvPages pages;
    private final SamplerTeam samplers;
    private final SamplerTeam.Unit choose = this::choose;
    private final CostModel cost;
    private final LongSupplier nanoClock;
    private final Batch batch;
    /** For each row of logits of the current pass, the sequence's index in the drafts. */
    private final int[] members;

    // Of the current pass.
    private @Nullable StepDrafts drafts;
    private @Nullable FloatMatrix logits;
    private int pass;
    private long contexts;
    private long positions;

    /** @param cost what the model's passes cost; learns from every pass */
    ModelDrafter(Model model, CostModel cost, DraftSource.Context context) {
        this.model = model;
        this.cost = cost;
        pages = context.pages();
        samplers = context.samplers();
        nanoClock = context.nanoClock();
        int maxSequences = context.limits().sequences();
        batch = new Batch(model.maxBatchTokens(), maxSequences);
        members = new int[maxSequences];
    }

    @Override
    public String name() {
        return "model";
    }

    @Override
    public int offer(Sequence sequence, int most) {
        // Offers nothing before the first token of the answer, because reading the prompt twice would delay that token.
        return sequence.generated() == 0 ? 0 : Math.clamp(model.contextLength() - sequence.length(), 0, most);
    }

    @Override
    public int confidence(Sequence sequence) {
        return 0;
    }

    @Override
    public int lag(Sequence sequence) {
        return sequence.length() - DraftState.of(sequence).computed;
    }

    @Override
    public CostModel cost() {
        return cost;
    }

    @Override
    public void draft(StepDrafts step, int self) {
        drafts = step;
        pass = 0;
        int rows = fillBatch(step, self);
        while (rows > 0) {
            long begin = nanoClock.getAsLong();
            logits = model.forward(batch);
            samplers.choose(batch.logitCount(), choose);
            cost.observe(batch.rows(), contexts, positions, nanoClock.getAsLong() - begin);
            pass++;
            rows = fillBatch(step, self);
        }
        for (int i = 0; i < step.size(); i++) {
            if (step.drafter(i) == self) {
                undoHistory(step.sequence(i), step.count(i));
            }
        }
        drafts = null;
        logits = null;
    }

    /** Fills the batch of the next pass; returns its rows. */
    private int fillBatch(StepDrafts step, int self) {
        batch.clear();
        contexts = 0;
        positions = 0;
        int room = model.maxBatchTokens();
        int logitRows = 0;
        for (int i = 0; i < step.size(); i++) {
            if (step.drafter(i) != self || step.count(i) <= pass) {
                continue;
            }
            Sequence sequence = step.sequence(i);
            DraftState state = DraftState.of(sequence);
            int to = sequence.length() + pass; // with the draft tokens so far
            int count = Math.min(to - state.computed, room);
            boolean caughtUp = state.computed + count == to;
            if (count > 0) {
                batch.add(
                        sequence.tokens(),
                        state.computed,
                        state.computed + count,
                        pages.table(sequence.row()),
                        caughtUp ? 1 : 0);
                positions += count * (state.computed + (count + 1L) / 2);
                state.computed += count;
                contexts += state.computed;
                if (pass == 0) {
                    step.setCatchUp(i, count);
                }
                room -= count;
            }
            if (caughtUp) {
                members[logitRows++] = i;
            } else {
                step.shorten(i, pass); // continues in the next step
            }
        }
        return batch.rows();
    }

    private void choose(int logitRow, Sampler sampler) {
        StepDrafts step = drafts;
        FloatMatrix rows = logits;
        if (step == null || rows == null) {
            throw new IllegalStateException("there is no pass to choose draft tokens from");
        }
        int index = members[logitRow];
        Sequence sequence = step.sequence(index);
        int position = sequence.length() + pass;
        try {
            int token = sampler.choose(rows, logitRow, sequence.params(), sequence.history(), position);
            sequence.tokens()[position] = token;
            sequence.history().append(token);
            if (sequence.isEnd(token)) {
                step.shorten(index, pass + 1); // no token follows the end
            }
        } catch (IllegalStateException e) {
            step.shorten(index, pass); // broken logits of a draft model must not end the answer
        }
    }

    /** Removes the draft tokens from the token history: the model has not chosen them yet. */
    private static void undoHistory(Sequence sequence, int count) {
        for (int i = count - 1; i >= 0; i--) {
            sequence.history().undo(sequence.tokens()[sequence.length() + i]);
        }
    }
}
