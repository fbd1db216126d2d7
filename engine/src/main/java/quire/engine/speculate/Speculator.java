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
import quire.engine.schedule.DraftSource;
import quire.engine.schedule.KvPages;
import quire.engine.schedule.Sequence;
import quire.engine.schedule.StepPlan;
import quire.engine.schedule.TokenVerifier;
import quire.model.Model;

/**
 * Speculation, as far as it is part of a step: before the model runs, it adds draft tokens to the plan; afterwards it
 * notes which were accepted. Draft tokens take what the step's budget, the rows of logits and the free pages have left,
 * and never anything that a sequence needs to get on.
 *
 * <p>Engine thread only.
 */
public final class Speculator implements DraftSource {
    /**
     * A draft model and what its passes cost.
     *
     * @param model with the same vocabulary as the large one, and as many pages of as many tokens
     */
    public record Draft(Model model, CostModel cost) {}

    /**
     * What an engine's speculation is made of.
     *
     * @param config the engine's; its {@link Speculation} says who drafts
     * @param cost what the model's passes cost; learns from every pass
     * @param draft the model that the configuration's draft file became; null for none
     * @param policies decide how many draft tokens each sequence gets
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
    // Statistics over all steps, guarded by the lock of whoever calls countStep and stats.
    private final DraftCounters counters;
    private long allNanos;
    private long allNanosWithout;

    private volatile boolean on = true;
    /** Whether it was, as the step under way was planned. */
    private boolean planned;
    /** Tokens of the step under way that want no logits. */
    private int prompts;
    /** Whether anybody was to guess in the step under way; one who reads a prompt has yet to. */
    private boolean guessing;

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

    /** The source that a configuration asks for. */
    public static DraftSource of(Setup setup, Context context) {
        Speculation wanted = setup.config.speculation();
        if (!wanted.isOn()) {
            return NONE;
        }
        List<Drafter> found = new ArrayList<>();
        Replay replay = wanted.replay();
        if (replay != null) {
            found.add(new ReplayDrafter(replay));
        }
        if (wanted.lookup()) {
            found.add(new LookupDrafter());
        }
        Draft draft = setup.draft;
        if (draft != null) {
            found.add(new ModelDrafter(draft.model, draft.cost, context));
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
        state.computed = 0;
        if (state.counters == null) {
            state.counters = new DraftCounters(names);
        }
    }

    @Override
    public void draft(StepPlan plan, int budget) {
        planned = on;
        int room = planned ? Math.min(budget, maxLogitRows - plan.logitRows()) : 0;
        drafts.begin(plan.rows(), plan.contexts(), plan.positions(), room);
        prompts = plan.rows() - plan.logitRows();
        guessing = false;
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
        guessing = drafts.total() > 0;
        for (int k = 0; k < drafters.length; k++) {
            drafters[k].draft(drafts, k);
        }
        for (int i = 0; i < drafts.size(); i++) {
            check(i);
            plan.draft(drafts.planIndex(i), drafts.count(i));
        }
    }

    private void offer(int index, int room) {
        Sequence sequence = drafts.sequence(index);
        // The last token of an answer is never computed: nothing to guess behind it.
        int most = Math.min(
                Math.min(Speculation.MAX_DRAFT_TOKENS, room), sequence.maxNewTokens() - sequence.generated() - 1);
        for (int k = 0; k < drafters.length; k++) {
            drafts.offer(index, k, most <= 0 ? 0 : drafters[k].offer(sequence, most));
        }
    }

    /** Finds pages for draft tokens, as long as everybody who runs could still have one. */
    private void reserve(int index, int running) {
        Sequence sequence = drafts.sequence(index);
        int to = sequence.length() + drafts.count(index);
        int wanted = pages.pagesFor(to) - pages.held(sequence.row());
        if (wanted <= 0 || (wanted + running <= pages.available() && pages.reserve(sequence.row(), to))) {
            return;
        }
        drafts.lower(index, pages.room(sequence.row()) - sequence.length());
    }

    /** Cuts a draft at the first id that the model does not know: a drafter may be anybody's. */
    private void check(int index) {
        Sequence sequence = drafts.sequence(index);
        for (int i = 0; i < drafts.count(index); i++) {
            int token = sequence.tokens()[sequence.length() + i];
            if (token < 0 || token >= vocabularySize) {
                drafts.lower(index, i);
            }
        }
    }

    @Override
    public void learn(TokenVerifier tokens, int[] kept, long drafting, long nanos) {
        int extra = 0;
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            int count = drafts.count(i);
            if (count > 0) {
                int planIndex = drafts.planIndex(i);
                int accepted = Math.min(tokens.agreed(planIndex), kept[planIndex]);
                drafts.verified(i, accepted, Math.min(count, kept[planIndex]));
                extra += Math.max(0, kept[planIndex] - 1);
            }
            // What a draft model computed behind the last token that was accepted, it computed for another history.
            DraftState state = DraftState.of(sequence);
            state.computed = Math.min(state.computed, sequence.length() - 1);
        }
        drafts.timed(guessing ? drafting + nanos : nanos, (long) without(nanos, extra));
        int rows = drafts.rows() + drafts.total();
        if (2 * prompts <= rows) { // most of the others' rows have no logits, and cost less than a draft's
            cost.observe(rows, drafts.contexts(), drafts.positions() + drafts.draftPositions(), nanos);
        }
        if (planned) {
            policy.learn(drafts);
        }
        for (int i = 0; i < drafts.size(); i++) {
            DraftCounters own = DraftState.of(drafts.sequence(i)).counters;
            if (own != null) {
                own.add(drafts, i);
            }
        }
    }

    /**
     * What the tokens of a step would have taken without drafts: the same step without their rows, and later steps of nobody's
     * prompts for the {@code extra} tokens.
     */
    private double without(long nanos, int extra) {
        if (drafts.total() == 0) {
            return nanos;
        }
        double same = cost.predict(drafts.rows(), drafts.contexts(), drafts.positions());
        if (prompts > 0) { // what those rows cost is not known as well as what drafts add to it
            int rows = drafts.rows() + drafts.total();
            long positions = drafts.positions() + drafts.draftPositions();
            same += nanos - Math.max(same, cost.predict(rows, drafts.contexts(), positions));
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
