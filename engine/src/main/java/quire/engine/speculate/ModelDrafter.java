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
 * A small model that guesses for a large one, for all sequences at once: one forward pass a draft position. It chooses as
 * the large one does, with the same parameters, history and noise, on logits of its own; where the two distributions
 * are alike, so are the choices.
 *
 * <p>Its K and V lie in a pool of its own whose pages have the same numbers as the large model's: what a sequence owns
 * there it owns here, so there is nothing to account for. Positions are computed when they are needed, so a sequence that
 * nobody guesses for costs nothing, and one whose pages were taken begins anew.
 *
 * <pre>
 *   tokens      p p p p p p g g g | d0 d1 d2
 *                     ^           ^                  lag = length − computed, mostly 1 or 2
 *           computed       length
 *   pass 0            [p p g g g]    logits ──▶ d0   what is behind first; a prompt in chunks, a chunk a step
 *   pass 1                        [d0]      ──▶ d1
 *   pass 2                           [d1]   ──▶ d2   d2 itself is never computed here
 * </pre>
 */
final class ModelDrafter implements Drafter {
    private final Model model;
    private final KvPages pages;
    private final SamplerTeam team;
    private final SamplerTeam.Unit choose = this::choose;
    private final CostModel cost;
    private final LongSupplier nanoClock;
    private final Batch batch;
    /** Who is in the pass under way: index in the drafts of each row of logits. */
    private final int[] members;

    private @Nullable StepDrafts drafts;
    private @Nullable FloatMatrix logits;
    private int pass;
    /** What the sequences of the pass under way have, and what its rows look back at. */
    private long contexts;

    private long positions;

    /** @param cost what the model's passes cost; learns from every pass */
    ModelDrafter(Model model, CostModel cost, DraftSource.Context context) {
        this.model = model;
        this.cost = cost;
        pages = context.pages();
        team = context.samplers();
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
        // Not before the first token: a long prompt would have to be read twice before anything comes out.
        return sequence.generated() == 0 ? 0 : Math.clamp(model.contextLength() - sequence.length(), 0, most);
    }

    @Override
    public int level(Sequence sequence) {
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
    public void draft(StepDrafts wanted, int self) {
        drafts = wanted;
        pass = 0;
        int count = gather(wanted, self);
        while (count > 0) {
            long begin = nanoClock.getAsLong();
            logits = model.forward(batch);
            team.choose(batch.logitCount(), choose);
            cost.observe(batch.rows(), contexts, positions, nanoClock.getAsLong() - begin);
            pass++;
            count = gather(wanted, self);
        }
        for (int i = 0; i < wanted.size(); i++) {
            if (wanted.drafter(i) == self) {
                forget(wanted.sequence(i), wanted.count(i));
            }
        }
        drafts = null;
        logits = null;
    }

    /** Fills the batch of the next pass; returns its rows. */
    private int gather(StepDrafts wanted, int self) {
        batch.clear();
        contexts = 0;
        positions = 0;
        int room = model.maxBatchTokens();
        int chosen = 0;
        for (int i = 0; i < wanted.size(); i++) {
            if (wanted.drafter(i) != self || wanted.count(i) <= pass) {
                continue;
            }
            Sequence sequence = wanted.sequence(i);
            DraftState state = DraftState.of(sequence);
            int to = sequence.length() + pass; // with the guesses so far
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
                    wanted.read(i, count);
                }
                room -= count;
            }
            if (caughtUp) {
                members[chosen++] = i;
            } else {
                wanted.lower(i, pass); // goes on in the next step
            }
        }
        return batch.rows();
    }

    private void choose(int logitRow, Sampler sampler) {
        StepDrafts wanted = drafts;
        FloatMatrix rows = logits;
        if (wanted == null || rows == null) {
            throw new IllegalStateException("nothing to choose from");
        }
        int index = members[logitRow];
        Sequence sequence = wanted.sequence(index);
        int position = sequence.length() + pass;
        try {
            int token = sampler.choose(rows, logitRow, sequence.params(), sequence.history(), position);
            sequence.tokens()[position] = token;
            sequence.history().append(token);
            if (sequence.isEnd(token)) {
                wanted.lower(index, pass + 1); // nothing comes behind an end
            }
        } catch (IllegalStateException e) {
            wanted.lower(index, pass); // a draft model whose logits are broken is no reason to stop
        }
    }

    /** Takes the guesses out of the history again: the model has yet to choose. */
    private static void forget(Sequence sequence, int guesses) {
        for (int i = guesses - 1; i >= 0; i--) {
            sequence.history().undo(sequence.tokens()[sequence.length() + i]);
        }
    }
}
