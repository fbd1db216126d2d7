package quire.engine.speculate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineConfig;
import quire.engine.Replay;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.schedule.DraftSource;
import quire.engine.schedule.KvPages;
import quire.engine.schedule.Sequence;
import quire.engine.schedule.StepPlan;
import quire.engine.schedule.TokenVerifier;
import quire.model.Model;

/**
 * The speculative part of a step. Before the forward pass, it asks the drafters and the policy and adds draft tokens to
 * the plan. Afterwards it records which were accepted and how long the step took.
 *
 * <p>Draft tokens use only what the plan leaves: of the token budget, of the rows of logits and of the free pages.
 */
public final class Speculator implements DraftSource {
    /**
     * A draft model.
     *
     * @param model has the same vocabulary as the target model, and as many pages of the same size
     * @param cost what its passes cost; learns from every pass
     */
    public record Draft(Model model, CostModel cost) {}

    /**
     * The parts from which an engine's speculation is built.
     *
     * @param config the engine's; its {@link Speculation} names the drafters
     * @param cost predicts the cost of the target model's passes; learns from every pass
     * @param draft the model of the configuration's draft file; null for none
     * @param policies make the policy that decides how many draft tokens each sequence gets
     */
    public record Setup(
            EngineConfig config, CostModel cost, @Nullable Draft draft, DraftPolicy.Maker policies) {}

    private final Drafter[] drafters;
    private final String[] names;
    private final DraftPolicy policy;
    private final CostModel cost;
    private final KvPages pages;
    private final int maxLogitRows;
    private final int vocabularySize;
    private final StepDrafts drafts;
    // Statistics over all steps, guarded by the lock that the callers of countStep and stats hold.
    private final DraftCounters counters;
    private long allNanos;
    private long allNanosWithout;

    private volatile boolean on = true;
    // Of the step in progress.
    /** What {@link #on} was when the step was planned. */
    private boolean wasOn;
    /** Prompt tokens without logits. */
    private int promptRows;
    /** Whether any sequence had a drafter. True even if a draft model only read a prompt and proposed nothing. */
    private boolean drafted;

    /**
     * @param drafters in order of preference
     * @param cost what the model's passes cost; learns from every pass
     */
    Speculator(Drafter[] drafters, DraftPolicy policy, CostModel cost, Context context) {
        this.drafters = drafters;
        this.policy = policy;
        this.cost = cost;
        pages = context.pages();
        maxLogitRows = context.limits().logitRows();
        vocabularySize = context.vocabularySize();
        drafts = new StepDrafts(context.limits().sequences(), drafters.length);
        names = Arrays.stream(drafters).map(Drafter::name).toArray(String[]::new);
        counters = new DraftCounters(names);
    }

    /** The source that a configuration asks for; {@link DraftSource#NONE} without speculation. */
    public static DraftSource of(Setup setup, Context context) {
        Speculation wanted = setup.config.speculation();
        if (!wanted.isOn()) {
            return NONE;
        }
        List<Drafter> found = new ArrayList<>();
        found.add(new ForcedDrafter());
        Replay replay = wanted.replay();
        if (replay != null) {
            found.add(new ReplayDrafter(replay));
        }
        if (wanted.lookup()) {
            found.add(new LookupDrafter());
        }
        Draft draft = setup.draft;
        if (draft != null) {
            found.add(new ModelDrafter(
                    draft.model,
                    draft.cost,
                    setup.cost,
                    setup.config.targetTokenGap().toNanos(),
                    context));
        }
        Drafter[] drafters = found.toArray(Drafter[]::new);
        return new Speculator(drafters, setup.policies.make(drafters, setup.cost, setup.config), setup.cost, context);
    }

    @Override
    public void setOn(boolean wanted) {
        on = wanted;
    }

    @Override
    public void started(Sequence sequence) {
        DraftState state = DraftState.of(sequence);
        state.draftedPages = 0;
        int[] table = pages.table(sequence.row());
        while (state.draftedPages < pages.held(sequence.row()) && pages.isDrafted(table[state.draftedPages])) {
            state.draftedPages++;
        }
        state.computed = state.draftedPages * pages.pageTokens();
        if (state.counters == null) {
            state.counters = new DraftCounters(names);
        }
    }

    @Override
    public void replaced(Sequence sequence, int page) {
        DraftState state = DraftState.of(sequence);
        int begin = page * pages.pageTokens();
        if (!pages.isDrafted(pages.table(sequence.row())[page])) {
            state.computed = Math.min(state.computed, begin);
            state.draftedPages = Math.min(state.draftedPages, page);
        } else if (state.computed >= begin) {
            state.computed = Math.max(state.computed, begin + pages.pageTokens());
        }
    }

    @Override
    public void draft(StepPlan plan, int budget) {
        wasOn = on;
        int room = wasOn ? Math.min(budget, maxLogitRows - plan.logitRows()) : 0;
        drafts.begin(plan.rows(), plan.contexts(), plan.positions(), room);
        promptRows = plan.rows() - plan.logitRows();
        drafted = false;
        for (int i = 0; i < plan.size(); i++) {
            if (plan.wantsToken(i)) {
                offer(drafts.add(plan.sequence(i), i), room);
            }
        }
        if (room <= 0) {
            return;
        }
        policy.decide(drafts);
        for (int i = 0; i < drafts.size(); i++) {
            if (drafts.count(i) > 0) {
                drafts.sequence(i).makeRoom(drafts.count(i));
                reserve(i, plan.size());
            }
        }
        drafted = drafts.total() > 0;
        for (int k = 0; k < drafters.length; k++) {
            drafters[k].draft(drafts, k);
        }
        for (int i = 0; i < drafts.size(); i++) {
            cutUnknownTokens(i);
            cutForbiddenTokens(i);
            plan.draft(drafts.planIndex(i), drafts.count(i));
        }
    }

    private void offer(int index, int room) {
        Sequence sequence = drafts.sequence(index);
        // The last token of an answer is never computed, so no draft token follows it.
        int most = Math.min(
                Math.min(Speculation.MAX_DRAFT_TOKENS, room), sequence.maxNewTokens() - sequence.generated() - 1);
        for (int k = 0; k < drafters.length; k++) {
            drafts.setOffer(index, k, most <= 0 ? 0 : drafters[k].offer(sequence, most));
        }
    }

    /** Reserves pages for draft tokens, if one page for each running sequence stays free. */
    private void reserve(int index, int running) {
        Sequence sequence = drafts.sequence(index);
        int to = sequence.length() + drafts.count(index);
        int wanted = pages.memoryFor(to) - pages.memoryHeld(sequence.row());
        int windows = pages.windowsFor(to) - pages.windowsOf(sequence.row());
        if (to <= pages.room(sequence.row())
                || (wanted + running <= pages.available()
                        && (windows <= 0 || windows + running <= pages.windowsLeft())
                        && pages.reserve(sequence.row(), to))) {
            return;
        }
        drafts.shorten(index, pages.room(sequence.row()) - sequence.length());
    }

    /** Cuts a draft at the first token id that is not in the vocabulary. */
    private void cutUnknownTokens(int index) {
        Sequence sequence = drafts.sequence(index);
        for (int i = 0; i < drafts.count(index); i++) {
            int token = sequence.tokens()[sequence.length() + i];
            if (token < 0 || token >= vocabularySize) {
                drafts.shorten(index, i);
            }
        }
    }

    /** Cuts a draft at the first token that the sequence's constraint forbids: it would be rejected. */
    private void cutForbiddenTokens(int index) {
        Sequence sequence = drafts.sequence(index);
        ConstraintCursor constraint = sequence.history().constraint();
        if (constraint != null) {
            drafts.shorten(index, constraint.allowed(sequence.tokens(), sequence.length(), drafts.count(index)));
        }
    }

    @Override
    public void learn(TokenVerifier verifier, int[] kept, long planNanos, long computeNanos) {
        int extra = 0;
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            int count = drafts.count(i);
            if (count > 0) {
                int planIndex = drafts.planIndex(i);
                int accepted = Math.min(verifier.accepted(planIndex), kept[planIndex]);
                drafts.setVerified(i, accepted, Math.min(count, kept[planIndex]));
                extra += Math.max(0, kept[planIndex] - 1);
            }
            // The draft model computed rejected tokens too; it has to compute their positions again.
            DraftState state = DraftState.of(sequence);
            state.computed = Math.min(state.computed, sequence.length() - 1);
            markDrafted(sequence, state);
        }
        drafts.setTimes(drafted ? planNanos + computeNanos : computeNanos, (long) nanosWithout(computeNanos, extra));
        int rows = drafts.rows() + drafts.total();
        // Prompt rows without logits are cheaper than draft rows. So a step with many of them does not show the cost of
        // drafts.
        if (2 * promptRows <= rows) {
            cost.observe(rows, drafts.contexts(), drafts.positions() + drafts.draftPositions(), computeNanos);
        }
        if (wasOn) {
            policy.learn(drafts);
        }
        for (int i = 0; i < drafts.size(); i++) {
            DraftCounters own = DraftState.of(drafts.sequence(i)).counters;
            if (own != null) {
                own.add(drafts, i);
            }
        }
    }

    private void markDrafted(Sequence sequence, DraftState state) {
        int[] table = pages.table(sequence.row());
        for (; (state.draftedPages + 1) * pages.pageTokens() <= state.computed; state.draftedPages++) {
            pages.setDrafted(table[state.draftedPages]);
        }
    }

    /**
     * Estimates how long the step's tokens would have taken without draft tokens: this step without the draft rows, and
     * further steps, without prompts, for the {@code extra} tokens.
     */
    private double nanosWithout(long computeNanos, int extra) {
        if (drafts.total() == 0) {
            return computeNanos;
        }
        double same = cost.predict(drafts.rows(), drafts.contexts(), drafts.positions());
        if (promptRows > 0) {
            // The cost of the draft rows is known more exactly than the cost of the prompt rows.
            int rows = drafts.rows() + drafts.total();
            long positions = drafts.positions() + drafts.draftPositions();
            same += computeNanos - Math.max(same, cost.predict(rows, drafts.contexts(), positions));
        }
        int size = drafts.size();
        return same + cost.predict(size, drafts.decodePositions()) * extra / size;
    }

    @Override
    public void countStep() {
        counters.add(drafts);
        allNanos += drafts.nanos();
        allNanosWithout += drafts.nanosWithout();
    }

    @Override
    public SpeculationStats stats() {
        return new SpeculationStats(counters.counts(), allNanos, allNanosWithout);
    }

    @Override
    public SpeculationCounts ended(Sequence sequence) {
        policy.ended(sequence);
        DraftCounters own = DraftState.of(sequence).counters;
        return own == null ? SpeculationCounts.NONE : own.counts();
    }
}
