package quire.engine;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Model;

/**
 * Speculation, as far as it is part of a step: before the model runs, it adds draft tokens to the plan; afterwards it
 * notes which were accepted. Draft tokens take what the step's budget, the rows of logits and the free pages have left,
 * and never anything that a sequence needs to get on.
 *
 * <p>Engine thread only.
 */
final class Speculator {
    /**
     * A draft model and what its passes cost.
     *
     * @param model with the same vocabulary as the large one, and as many pages of as many tokens
     */
    record Draft(Model model, CostModel cost) {}

    private final Drafter[] drafters;
    private final DraftPolicy policy;
    private final CostModel cost;
    private final KvPages pages;
    private final int maxLogitRows;
    private final int vocabularySize;
    private final Drafts drafts;
    private final String[] names;
    private volatile boolean on = true;
    /** Whether it was, as the step under way was planned. */
    private boolean planned;
    /** Tokens of the step under way that want no logits. */
    private int prompts;
    /** Whether anybody was to guess in the step under way; one who reads a prompt has yet to. */
    private boolean guessing;

    /**
     * @param drafters in order of preference; none to do without
     * @param cost what the model's passes cost; hears of every one
     * @param maxLogitRows rows of logits that the model returns at most
     */
    Speculator(
            Drafter[] drafters,
            DraftPolicy policy,
            CostModel cost,
            KvPages pages,
            int maxSequences,
            int maxLogitRows,
            int vocabularySize) {
        this.drafters = drafters;
        this.policy = policy;
        this.cost = cost;
        this.pages = pages;
        this.maxLogitRows = maxLogitRows;
        this.vocabularySize = vocabularySize;
        drafts = new Drafts(maxSequences, drafters.length);
        names = Arrays.stream(drafters).map(Drafter::name).toArray(String[]::new);
    }

    /** What a configuration asks for. {@code draft}: the model that its draft file became; null for none. */
    static Speculator of(
            EngineConfig config,
            Model model,
            CostModel cost,
            @Nullable Draft draft,
            DraftPolicy.Maker policies,
            KvPages pages,
            SamplerTeam team,
            LongSupplier nanoClock) {
        Speculation asked = config.speculation();
        List<Drafter> found = new ArrayList<>();
        if (asked.isOn()) {
            Replay replay = asked.replay();
            if (replay != null) {
                found.add(new Replay.Oracle(replay));
            }
            if (asked.lookup()) {
                found.add(new PromptLookup.Lookup());
            }
            if (draft != null) {
                found.add(new DraftModel(draft.model, pages, config.maxSequences(), team, draft.cost, nanoClock));
            }
        }
        Drafter[] drafters = found.toArray(Drafter[]::new);
        DraftPolicy policy = policies.make(drafters, cost, config);
        return new Speculator(
                drafters, policy, cost, pages, config.maxSequences(), model.maxLogitRows(), model.vocabularySize());
    }

    /** Names of those who guess, by number. */
    String[] names() {
        return names.clone();
    }

    /** Whether there may be drafts from the next plan on. Any thread. */
    void setOn(boolean wanted) {
        on = wanted;
    }

    /** Adds draft tokens to a plan. {@code budget}: tokens that the step has room for beside it. */
    void draft(StepPlan plan, int budget) {
        planned = on && drafters.length > 0;
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
        int most = Math.min(Math.min(Drafts.MAX, room), sequence.maxNewTokens - sequence.generated() - 1);
        for (int k = 0; k < drafters.length; k++) {
            drafts.offer(index, k, most <= 0 ? 0 : drafters[k].offer(sequence, most));
        }
    }

    /** Finds pages for draft tokens, as long as everybody who runs could still have one. */
    private void reserve(int index, int running) {
        Sequence sequence = drafts.sequence(index);
        int to = sequence.length() + drafts.count(index);
        int wanted = pages.pagesFor(to) - pages.held(sequence.row);
        if (wanted <= 0 || (wanted + running <= pages.available() && pages.reserve(sequence.row, to))) {
            return;
        }
        drafts.lower(index, pages.room(sequence.row) - sequence.length());
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

    /**
     * Notes what became of a plan's draft tokens, once the sequences have advanced.
     *
     * @param kept how many tokens each sequence of the plan got
     * @param drafting nanoseconds that planning took
     * @param nanos what the model and the choice of tokens took
     */
    Drafts learn(Tokens tokens, int[] kept, long drafting, long nanos) {
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
            sequence.draftComputed = Math.min(sequence.draftComputed, sequence.length() - 1);
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
            DraftBooks books = drafts.sequence(i).books;
            if (books != null) {
                books.add(drafts, i);
            }
        }
        return drafts;
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

    /** Hears that a sequence begins to run, for the first time or again. */
    void started(Sequence sequence) {
        if (drafters.length > 0 && sequence.books == null) {
            sequence.books = new DraftBooks(names);
        }
    }

    /** Hears that a sequence has ended. */
    void ended(Sequence sequence) {
        policy.ended(sequence);
    }
}
