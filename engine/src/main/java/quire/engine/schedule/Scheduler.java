package quire.engine.schedule;

import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineListener;
import quire.engine.EngineView;
import quire.engine.FinishReason;
import quire.engine.Output;
import quire.engine.Scheduling;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;
import quire.engine.constrain.ConstraintException;
import quire.engine.sample.BrokenLogitsException;
import quire.engine.schedule.Sequence.State;

/**
 * Decides which sequences run in a step, with how many tokens and on which pages. Afterwards applies the result.
 *
 * <p><b>Problem.</b> All requests share the arithmetic of a step and the KV pages. A long prompt must not delay answers
 * that are being generated, nor keep short new requests waiting. A request that needs many pages must get them,
 * although smaller ones keep arriving.
 *
 * <p><b>Idea.</b> There are no phases. A sequence has computed and target tokens ({@link Sequence}), and each step
 * spends a token budget on the difference. A chunk of a long prompt, one new token and recomputation after preemption
 * are the same thing in the plan. (The idea is vLLM's; Agrawal et al., <i>Sarathi-Serve</i>, OSDI 2024, measure why
 * prompt chunks and decoding tokens belong in one step.)
 *
 * <pre>
 *   budget of a step     [ 1 1 1 1 | first prompt: at least half | other prompts, fewest tokens left first ]
 *                          decoding  └──────────── prompt budget, bounded by {@link PromptPace} ────────────┘
 *
 *   order           ──────────────────────────────────────────────▶ later      {@link Sequence#isBefore}
 *   running         s1  s2      s4          s7                       sorted
 *   waiting                 s3      s5  s6      s8  s9               sorted; s4 and s7 have passed s3
 *
 *   too few pages   the last running sequence frees its pages and waits again, at its place in the order
 * </pre>
 *
 * <p><b>Order.</b> A lower priority number comes first. {@link Tenants} orders those of equal numbers, so that tenants get
 * tokens by their weights; the sequences of one tenant follow each other by arrival. A sequence that arrives with a lower
 * number is before running ones with higher numbers, so it takes their rows and pages if it needs them.
 *
 * <p><b>Invariants.</b>
 *
 * <ul>
 *   <li><i>Every decoding sequence gets its token in every step</i>, but while a tenant that runs little sends short
 *       prompts. Then those of other tenants take {@link Turns}, and at most every other step is for such prompts alone.
 *       There are never more decoding sequences than tokens in the budget.
 *   <li><i>The background waits.</i> Sequences of {@link Scheduling#BACKGROUND} have tokens in a step only if no other one
 *       has. They keep their rows and pages until others need these.
 *   <li><i>Prompts share the rest.</i> The first prompt, running or waiting, gets at least half of the prompt budget. The
 *       other half goes to the prompt of its priority with the fewest tokens left, then to the next one; the first gets
 *       what remains. So a short prompt starts at once beside a long one, and among those of one priority every prompt
 *       becomes the first at some time. A head of the queue that takes its row in place of a shorter request starts with one
 *       token of it. Prompts with a higher number get only what all others leave.
 *   <li><i>A short prompt hardly waits for tokens of long ones.</i> The step that computes the rest of all short prompts
 *       is light ({@link PromptPace}): long ones get fewer tokens, but still half. At most every other step is light,
 *       and none for prompts with a higher number. When a short prompt has come beside a long one, the next steps for
 *       long ones are short too, because the next request waits for the step under way.
 *   <li><i>A waiting sequence starts when it gets tokens in this step</i> and pages are free for its prompt and the
 *       answer that is expected, beside those that running sequences are expected to need ({@link PageReserve}).
 *   <li><i>Later sequences do not keep pages from the head of the queue.</i> Once all earlier prompts are computed, the head
 *       takes the next free row, and takes pages back from later sequences. From one with a higher number it takes the
 *       row too. A later sequence may pass a waiting head only if the head's pages would stay free, or if it needs at
 *       most 1/{@value #SMALL} of them. So little work is done twice.
 *   <li><i>The first sequence always makes progress.</i> Preemption takes the last, and alone every sequence fits: {@code
 *       submit} checks that. So there is no livelock.
 *   <li><i>No tenant keeps all rows or pages.</i> If a tenant runs nothing, its first waiting sequence starts. If there is no
 *       row for it, or too few pages, it takes those of the last one whose tenant runs several. That one is computed again
 *       from pages that are mostly still cached. It does not take them back while the other is the only one of its tenant.
 *   <li><i>Time that has run out ends work before the next step</i>, whether the sequence waits or runs.
 *   <li><i>A preempted sequence keeps its tokens.</i> They are computed again like a prompt, with logits for the last
 *       one only, so no token is chosen or sent twice. A row's numbers do not depend on other rows or on chunks, so the
 *       next token is the same as without preemption.
 *   <li><i>No page is computed twice where it can be shared.</i> A sequence begins with the cached pages of its text.
 *       Every step a prompt takes the page that comes next if the cache has it by now. While another prompt computes that
 *       page in this step, it waits for one step. It never waits for a sequence that computes nothing, so preemption and
 *       cancellation need no care. Where a sequence can begin behind {@link SavedStates} only, it waits as long as another
 *       prompt comes to the place where the two texts part, and a state is saved there.
 *   <li><i>A sequence whose pages are in the KV file</i> ({@link DiskTier}) begins without tokens: it computes nothing
 *       until it has them. A prompt that needs the same pages waits for it.
 *   <li><i>The beams of a search wait for each other</i> ({@link BeamGroup}). One whose row is computed keeps its pages as long as
 *       nobody needs them: the beam that it waits for takes them before it waits itself. So a search makes progress as soon as one
 *       of its beams fits.
 *   <li><i>Draft tokens use only what is left</i> of the budget and of the pages, with one page kept free for each
 *       running sequence. In this step they delay and preempt no sequence. The next token overwrites the K and V of a
 *       rejected draft token.
 * </ul>
 *
 * <p><b>Cost.</b> A step without admission is O(running), each admission O(running + waiting). While a sequence has a
 * timeout, each step is O(running + waiting). A step allocates the
 * {@link Output} of each new token and its node in the stream's queue; everything else is reused. Engine thread only.
 */
final class Scheduler {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    /**
     * Tokens at the end of a prompt that are probably the template's beginning of an answer, which the next turn of a chat
     * does not repeat. The state that the next turn begins with is saved before them.
     */
    private static final int ANSWER_HEADER = 8;

    /** A sequence may pass a waiting head that does not fit if it needs at most 1/8 of the head's pages. */
    private static final int SMALL = 8;

    private final KvPages pages;
    private final StepLimits limits;
    private final PromptPace pace;
    private final RequestTracker tracker;
    private final EngineListener listener;
    private final FlightEvents recorder = new FlightEvents();
    private final LongSupplier nanoClock;
    private final boolean wholePages; // whether pages are shared only when they are full

    private final List<Sequence> waiting = new ArrayList<>(); // in order
    private final List<Sequence> running; // in order
    private final List<Sequence> parked =
            new ArrayList<>(); // members of beam searches that compute nothing, without pages
    private final List<Sequence> readyBeams = new ArrayList<>(); // scratch
    private final Tenants tenants;
    private final Turns turns;
    private boolean pausesBackground; // in the step that is planned
    private final PageReserve reserve;
    private int timed; // sequences with a timeout
    private final int[] freeRows; // of the page tables; a stack
    private int freeRowCount;
    private final StepPlan plan;
    private final DraftSource drafts;
    private final @Nullable DiskTier disk;
    private final DiskTier.Receiver loaded = this::takeLoadedPage;
    private final @Nullable Output[] outputs; // by row of logits
    private final int[] kept; // by index in the plan: tokens appended
    private final Ending[] endings; // by index in the plan
    private boolean wasPassed; // whether the last row that was taken passed the head of the queue
    private boolean light; // whether the last step with prompts was light
    private boolean hadNewcomer; // whether a short prompt has come beside a long one
    private long lastNewcomer; // when the last one has, in nanoseconds of the clock
    private long planStart; // nanoseconds of the clock
    private long planEnd;
    private long arrivals;

    /** How an answer ends in this step; no reason if it does not. */
    private static final class Ending {
        private @Nullable FinishReason reason;
        private String rest = "";
        private @Nullable String stop;
        private @Nullable String error;

        void set(@Nullable FinishReason why, String text, @Nullable String stopString, @Nullable String fault) {
            reason = why;
            rest = text;
            stop = stopString;
            error = fault;
        }
    }

    /** @param wholePages whether pages are shared only when they are full, because a state belongs to their end */
    Scheduler(
            StepLimits limits,
            PromptPace pace,
            PageReserve reserve,
            KvPages pages,
            DraftSource drafts,
            @Nullable DiskTier disk,
            RequestTracker tracker,
            EngineListener listener,
            LongSupplier nanoClock,
            boolean wholePages) {
        this.wholePages = wholePages;
        this.pages = pages;
        this.drafts = drafts;
        this.disk = disk;
        this.limits = limits;
        this.pace = pace;
        this.reserve = reserve;
        int maxSequences = limits.sequences();
        this.tracker = tracker;
        this.listener = listener;
        this.nanoClock = nanoClock;
        running = new ArrayList<>(maxSequences);
        tenants = new Tenants(running, waiting, parked);
        turns = new Turns(running, waiting, tenants, pace, limits.tokens());
        freeRows = new int[maxSequences];
        for (int i = 0; i < maxSequences; i++) {
            freeRows[i] = maxSequences - 1 - i;
        }
        freeRowCount = maxSequences;
        plan = new StepPlan(limits);
        outputs = new Output[limits.logitRows()];
        kept = new int[maxSequences];
        endings = new Ending[maxSequences];
        for (int i = 0; i < maxSequences; i++) {
            endings[i] = new Ending();
        }
    }

    /** Handles a message from the inbox: a new sequence, or one whose stream was closed. */
    void receive(Sequence sequence) {
        enqueue(sequence);
        if (sequence.isCancelled() && sequence.state != State.ENDED) {
            end(sequence, FinishReason.CANCELLED, "", null, null);
        }
    }

    /** Puts a new sequence into the queue, with its beam search; does nothing with one that is not new. */
    void enqueue(Sequence sequence) {
        if (sequence.state != State.SUBMITTED) {
            return;
        }
        arrive(sequence);
        queue(sequence);
        if (sequence.beam != null) {
            List<Sequence> members = sequence.beam.group.members();
            for (int i = 1; i < members.size(); i++) {
                arrive(members.get(i));
                park(members.get(i));
            }
        }
    }

    private void arrive(Sequence sequence) {
        sequence.number = arrivals++;
        tenants.arrived(sequence);
        timed += sequence.timeoutNanos > 0 ? 1 : 0;
    }

    private void queue(Sequence sequence) {
        sequence.state = State.WAITING;
        insert(sequence, waiting);
    }

    private void park(Sequence sequence) {
        sequence.state = State.PARKED;
        parked.add(sequence);
    }

    /** Running sequences, in order. Not a copy. */
    List<Sequence> running() {
        return running;
    }

    /** Waiting sequences, in order. Not a copy. */
    List<Sequence> waiting() {
        return waiting;
    }

    /** Whether the last plan is for guests only; see {@link Turns}. */
    boolean isForGuests() {
        return turns.isForGuests();
    }

    /** Plans the next step. The plan is empty when there is nothing to do. */
    StepPlan plan() {
        plan.clear();
        planStart = nanoClock.getAsLong();
        recorder.beginStep();
        if (disk != null) {
            disk.receive(running, loaded);
        }
        if (timed > 0) {
            endLate(running);
            endLate(waiting);
        }
        estimateLengths();
        findCachedPages();
        schedule();
        if (plan.isEmpty() && !waiting.isEmpty() && (disk == null || !disk.isBusy()) && parkReadyBeams()) {
            schedule();
        }
        int tokens = turns.isForGuests() ? 0 : turns.partTokens() > 0 ? turns.partTokens() : limits.tokens();
        drafts.draft(plan, Math.max(0, tokens - plan.rows()));
        turns.planned();
        planStates();
        plan.complete(pages);
        if (disk != null) {
            disk.transfer(running);
        }
        if (plan.isEmpty()) {
            noStep();
        }
        planEnd = nanoClock.getAsLong();
        return plan;
    }

    /** Decides what runs in the step. */
    private void schedule() {
        reclaimForHead();
        startForIdleTenant();
        turns.begin(planStart, light);
        pausesBackground = hasForeground();
        planTokens();
        if (plan.isEmpty()) { // whoever would have had tokens was preempted or cannot start
            turns.end();
            pausesBackground = false;
            planTokens();
        }
    }

    /** Whether a sequence that is not in the background may have something to compute. */
    private boolean hasForeground() {
        for (int i = 0; i < running.size() && !running.get(i).isBackground(); i++) {
            if (!running.get(i).isLoading() && !running.get(i).isReady()) {
                return true;
            }
        }
        return hasForegroundWaiting();
    }

    private boolean hasForegroundWaiting() {
        return !waiting.isEmpty() && !waiting.getFirst().isBackground();
    }

    /** Whether a sequence may compute nothing in this step, because others do. */
    private boolean isPaused(Sequence sequence) {
        return pausesBackground && sequence.isBackground();
    }

    /** Takes the pages of all beams that wait for others of their groups; false if there are none. */
    private boolean parkReadyBeams() {
        boolean found = false;
        for (int i = running.size() - 1; i >= 0; i--) {
            if (running.get(i).isReady()) {
                preempt(running.get(i));
                found = true;
            }
        }
        return found;
    }

    /** There is nothing to compute: all sequences have ended, or they wait for pages of the KV file. */
    private void noStep() {
        int waitingNow = waiting.size() + parked.size();
        if (waitingNow > 0 && (disk == null || !disk.isBusy())) {
            throw new IllegalStateException(
                    waitingNow + " sequences wait, but none runs and none can start, with " + pages.available() + " of "
                            + pages.total() + " pages free and " + pages.windowsLeft()
                            + " window pages left; the first one is "
                            + (waiting.isEmpty() ? parked : waiting).getFirst());
        }
        tracker.noStep();
    }

    /** Ends the answers whose time is over, with the text that was held back for a stop string. */
    private void endLate(List<Sequence> sequences) {
        for (int i = sequences.size() - 1; i >= 0; i--) {
            Sequence sequence = sequences.get(i);
            if (sequence.isLate(planStart)) {
                end(sequence, FinishReason.TIMEOUT, sequence.text.held(), null, null);
                i = sequences.size(); // others may have moved
            }
        }
    }

    private void estimateLengths() {
        reserve.step();
        for (int i = 0; i < running.size(); i++) {
            reserve.estimate(running.get(i));
        }
    }

    /**
     * Takes the cached pages that running prompts reach, and finds those that the first waiting sequences would begin
     * with. There are no more of these than can run at once, so that a long queue does not delay the step; the others
     * keep what was found before, and every sequence is looked up before it starts.
     */
    private void findCachedPages() {
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.isReady()) {
                continue;
            }
            for (int more = adoptable(sequence); more > 0; more = adoptable(sequence)) {
                for (int page = 0; page < more; page++) {
                    pages.adopt(sequence.row, sequence.tokens(), sequence.prefix.salt);
                    drafts.replaced(sequence, pages.indexed(sequence.row) - 1);
                }
                useCached(sequence, pages.indexed(sequence.row) * pages.pageTokens());
            }
            if (!sequence.isLoading()) {
                copyPageOfAnother(sequence);
            }
        }
        if (freeRowCount > 0) {
            for (int i = 0; i < Math.min(waiting.size(), limits.sequences()); i++) {
                waiting.get(i).match(pages);
            }
        }
    }

    private int adoptable(Sequence sequence) {
        return sequence.needsEveryPosition()
                ? 0
                : pages.adoptable(sequence.row, sequence.tokens(), sequence.length(), sequence.prefix.salt);
    }

    /**
     * Copies the page that a sequence computes next from the running sequence that has computed the most of the same
     * tokens in it. So what follows a shared text in the middle of a page needs no computation of the text again: the
     * answers to one prompt compute its last token only.
     */
    private void copyPageOfAnother(Sequence sequence) {
        int begin = sequence.computed;
        int page = begin / pages.pageTokens();
        if (wholePages || !pages.isCaching() || begin % pages.pageTokens() != 0 || sequence.needsEveryPosition()) {
            return;
        }
        int before = pages.lastIndexed(sequence.row);
        int most = Math.min(begin + pages.pageTokens(), sequence.length() - 1);
        int end = begin;
        Sequence source = sequence;
        for (int i = 0; i < running.size() && end < most; i++) {
            Sequence other = running.get(i);
            if (other.computed > end
                    && pages.indexed(other.row) >= page
                    && (page == 0
                            ? other.prefix.salt.equals(sequence.prefix.salt)
                            : pages.table(other.row)[page - 1] == before)
                    && pages.isWhole(other.row, page)) {
                int to = Math.min(most, other.computed);
                int same = Arrays.mismatch(other.tokens(), begin, to, sequence.tokens(), begin, to);
                int sameEnd = same < 0 ? to : begin + same;
                if (sameEnd > end) {
                    end = sameEnd;
                    source = other;
                }
            }
        }
        if (end > begin) {
            pages.prepare(sequence.row, end);
            if (plan.copyPage(pages, source.row, sequence.row, page)) {
                useCached(sequence, end);
            }
        }
    }

    /** A running sequence's next page has its content, which was read from the KV file. */
    private void takeLoadedPage(Sequence sequence) {
        int page = pages.indexed(sequence.row);
        if (pages.addRead(sequence.row, sequence.tokens(), sequence.prefix.salt)) {
            drafts.replaced(sequence, page);
        }
        int hit = useCached(sequence, (page + 1) * pages.pageTokens());
        if (disk != null) {
            disk.countHits(hit);
        }
    }

    /**
     * The row's pages hold {@code tokens} tokens now, because cached pages were taken, copied or read.
     *
     * @return how many prompt tokens are new among these
     */
    private int useCached(Sequence sequence, int tokens) {
        int hit = sequence.advance(tokens);
        sequence.stateEnd = tokens;
        pages.slide(sequence.row, tokens);
        sequence.cachedTokens += hit;
        if (hit > 0) {
            tracker.lookUp(0, hit);
        }
        return hit;
    }

    /**
     * Starts the head of the queue if it is the first prompt and later sequences run. Preempts as many of them as it
     * needs pages, and one more for a row if that has a higher number. Runs before the step is planned. So it preempts no
     * planned sequence, and no planned sequence takes these pages.
     */
    private void reclaimForHead() {
        if (waiting.isEmpty() || running.isEmpty()) {
            return;
        }
        Sequence head = waiting.getFirst();
        if (head.beam != null && startForGroup(head, head.beam.group)) {
            return;
        }
        Sequence last = running.getLast();
        boolean hasRow = freeRowCount > 0 || head.priority < last.priority;
        if (!hasRow || last.isBefore(head) || isHeldUpByTenant(head)) {
            return;
        }
        head.match(pages);
        if (!fitsWithoutLater(head)) {
            return;
        }
        while (freeRowCount == 0 || !fits(head)) {
            preempt(running.getLast());
        }
        start(head);
    }

    /**
     * Starts a beam at the head of the queue, if it would not fit, with the row and the pages of beams that wait for it. Returns
     * whether it has.
     */
    private boolean startForGroup(Sequence head, BeamGroup group) {
        if (freeRowCount > 0 && fits(head)) {
            return false;
        }
        readyBeams.clear();
        for (int i = 0; i < running.size(); i++) {
            Sequence other = running.get(i);
            if (other.isReady() && other.beam != null && other.beam.group == group) {
                readyBeams.add(other);
            }
        }
        head.match(pages);
        int tokens = head.lengthToStart();
        if (readyBeams.isEmpty()
                || pages.missingWithout(readyBeams, 0, readyBeams.size(), head.prefix, tokens) > pages.available()
                || pages.missingWindowsWithout(readyBeams, 0, readyBeams.size(), tokens) > pages.windowsLeft()) {
            return false;
        }
        while (freeRowCount == 0
                || pages.missing(head.prefix, tokens) > pages.available()
                || pages.windowsFor(tokens) > pages.windowsLeft()) {
            preempt(readyBeams.removeLast());
            head.match(pages);
        }
        readyBeams.clear();
        start(head);
        return true;
    }

    /**
     * If a tenant runs nothing, starts its first waiting sequence, also before the head of the queue. If there is no row
     * for it, or too few pages, it takes those of the last sequence whose tenant runs an earlier one too. An earlier one of a
     * tenant would take them back at once as the head of the queue ({@link #isHeldUpByTenant}), and none would get on.
     */
    private void startForIdleTenant() {
        Sequence sequence = firstOfIdleTenant();
        if (sequence == null) {
            return;
        }
        int tokens = expectedLength(sequence);
        if (freeRowCount > 0
                && missing(sequence) + reserve(running.size()) <= pages.available()
                && pages.windowsFor(tokens) + windowReserve(running.size()) <= pages.windowsLeft()) {
            start(sequence);
            return;
        }
        int growing = growing(0);
        int growingWindows = growingWindows(0);
        sequence.match(pages);
        for (int i = running.size() - 1; i >= 0; i--) {
            Sequence last = running.get(i);
            if (last.priority >= sequence.priority
                    && runsEarlier(last, i)
                    && pages.missingWithout(running, i, i + 1, sequence.prefix, tokens) + growing <= pages.available()
                    && pages.missingWindowsWithout(running, i, i + 1, tokens) + growingWindows <= pages.windowsLeft()) {
                preempt(last);
                start(sequence);
                return;
            }
        }
    }

    /** Whether the tenant of a running sequence runs another one before {@code index}, where it stands itself. */
    private boolean runsEarlier(Sequence sequence, int index) {
        for (int i = 0; i < index; i++) {
            if (running.get(i).tenant == sequence.tenant) {
                return true;
            }
        }
        return false;
    }

    /** The first waiting sequence of the lowest priority number whose tenant runs nothing; null for none. */
    private @Nullable Sequence firstOfIdleTenant() {
        if (tenants.areSeveral()) {
            for (int i = 0; i < waiting.size() && waiting.get(i).priority == waiting.getFirst().priority; i++) {
                if (waiting.get(i).tenant().running() == 0) {
                    return waiting.get(i);
                }
            }
        }
        return null;
    }

    /**
     * Whether one of the running sequences behind the head of the queue is the only one of a tenant, and the head's tenant
     * runs an earlier one. The head waits for its end: else the two would take each other's pages in turn.
     */
    boolean isHeldUpByTenant(Sequence head) {
        boolean hasEarlier = false;
        for (int i = 0; i < running.size(); i++) {
            Sequence other = running.get(i);
            if (other.isBefore(head)) {
                hasEarlier |= other.tenant == head.tenant;
            } else if (hasEarlier
                    && other.tenant != head.tenant
                    && other.tenant().running() == 1
                    && !other.isReady() // its end may depend on the head
                    && other.priority == head.priority) {
                return true;
            }
        }
        return false;
    }

    /** Whether the head of the queue is the first prompt, and would fit if no later sequence held pages. */
    private boolean fitsWithoutLater(Sequence head) {
        int before = 0;
        for (; before < running.size() && running.get(before).isBefore(head); before++) {
            if (running.get(before).remaining() > 1) {
                return false;
            }
        }
        int tokens = expectedLength(head);
        int missing = pages.missingWithout(running, before, running.size(), head.prefix, tokens);
        int windows = pages.missingWindowsWithout(running, before, running.size(), tokens);
        return missing + reserve(before) <= pages.available() && windows + windowReserve(before) <= pages.windowsLeft();
    }

    /** Pages that stay free for the first {@code count} running sequences. */
    int reserve(int count) {
        return reserve.pages(running, count, pages);
    }

    /** Window pages that stay promised to nobody else, for the first {@code count} running sequences. */
    int windowReserve(int count) {
        return reserve.windows(running, count, pages);
    }

    private void planTokens() {
        planDecoding();
        if (limits.wholePrompts()) {
            planWholePrompts();
        } else if (turns.isForGuests()) {
            planGuests();
        } else {
            planPrompts();
        }
    }

    /** Plans one token for each decoding sequence that is not left out or paused. */
    private void planDecoding() {
        int i = 0;
        while (i < running.size()) {
            Sequence sequence = running.get(i);
            if (sequence.isDecoding() && !sequence.isLeftOut && !isPaused(sequence) && reserveOrPreempt(sequence)) {
                plan.add(sequence, 1);
            }
            i = Math.min(i + 1, running.size());
            while (i > 0 && sequence.isBefore(running.get(i - 1))) { // it was preempted, or one before it
                i--;
            }
        }
    }

    /**
     * Reserves a page for the next token if it needs one. Preempts the last sequences until there is one, or the one with
     * the overflow pages if it needs those; false if the sequence itself was preempted.
     */
    private boolean reserveOrPreempt(Sequence sequence) {
        while (!pages.reserve(sequence.row, sequence.length())) {
            Sequence last = running.getLast();
            if (pages.lacksOverflow(sequence.row, sequence.length())) {
                last = laterWithOverflow(sequence);
            } else if (last == sequence && sequence.beam != null) {
                last = lastReadyBeam(sequence, sequence.beam.group);
            }
            preempt(last);
            reserve.preempted();
            if (last == sequence) {
                return false;
            }
        }
        return true;
    }

    /** The sequence with overflow pages, if it is later, or a beam that waits for this one; else the sequence itself. */
    private Sequence laterWithOverflow(Sequence sequence) {
        for (int i = 0; i < running.size(); i++) {
            Sequence other = running.get(i);
            if (pages.overflows(other.row)) {
                boolean waits = other.isReady()
                        && other.beam != null
                        && sequence.beam != null
                        && other.beam.group == sequence.beam.group;
                return waits || sequence.isBefore(other) ? other : sequence;
            }
        }
        return sequence;
    }

    /** The last running beam of a group that waits for the others; {@code otherwise} if there is none. */
    private Sequence lastReadyBeam(Sequence otherwise, BeamGroup group) {
        for (int i = running.size() - 1; i >= 0; i--) {
            Sequence other = running.get(i);
            if (other.isReady() && other.beam != null && other.beam.group == group) {
                return other;
            }
        }
        return otherwise;
    }

    /** Plans the prompts of guests that end in this step. */
    private void planGuests() {
        light = true;
        int left = Math.min(limits.tokens() - plan.rows(), turns.guestTokens());
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (isPrompt(sequence)
                    && turns.isGuest(sequence)
                    && sequence.remaining() <= left
                    && !isMadeBeside(sequence, true)) {
                sequence.planned = sequence.remaining();
                left -= sequence.planned;
            }
        }
        addPlanned();
    }

    /** Adds the prompt tokens that were planned for each sequence. */
    private void addPlanned() {
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.planned > 0) {
                plan.add(sequence, sequence.planned);
                sequence.planned = 0;
            }
        }
    }

    /**
     * Plans whole prompts, and starts waiting sequences for it: the first one, then the shortest ones as long as they fit. The
     * first one always fits, because longer ones are refused.
     */
    private void planWholePrompts() {
        light = false;
        int left = limits.tokens() - plan.rows();
        Sequence next = firstPrompt();
        while (next != null && next.remaining() <= left) {
            if (!startIfWaiting(next)) {
                next.planned = next.remaining();
                left -= next.planned;
            }
            next = shortestPrompt();
        }
        addPlanned();
    }

    /** Plans chunks of prompts, and starts waiting sequences that get one. */
    private void planPrompts() {
        Sequence first = firstPrompt();
        while (first != null && startIfWaiting(first)) {
            first = firstPrompt();
        }
        if (first == null) {
            light = false;
            return;
        }
        int budget = pace.promptTokens(plan, limits.tokens() - plan.rows(), first.computed);
        if (turns.partTokens() > 0) {
            budget = Math.min(budget, Math.max(PromptPace.LEAST_TOKENS, turns.partTokens() - plan.rows()));
        }
        // Every sequence has one row of logits; those that score their prompts share the others.
        int spareRows = limits.logitRows() - limits.sequences();
        int share = Math.min(mostTokens(first, spareRows), budget - budget / 2);
        spareRows -= spareRowsOf(first, share);
        int left = budget - share;
        boolean alike = true; // whether all prompts of this step have the priority of the first one
        first.planned = share;
        Sequence head = null; // of the queue, if it took the last row in place of a shorter one
        while (left > 0) {
            Sequence next = shortestPrompt();
            if (next == null) {
                break;
            }
            boolean isLater = next.priority > first.priority && alike;
            if (isLater || isCompletedBefore(next, first, share, left)) {
                alike = !isLater && alike;
                int rest = first.needsScores() ? 0 : Math.min(left, first.remaining() - share);
                share += rest;
                left -= rest;
                continue;
            }
            Sequence running = next.state == State.WAITING ? shortestRunning() : null;
            if (running != null
                    && isShorter(running, next)) { // the head has its turn, and the shortest keeps its tokens
                if (!startIfWaiting(next)) {
                    next.planned = 1;
                    left--;
                    head = next;
                }
                continue;
            }
            if (startIfWaiting(next)) {
                continue;
            }
            next.planned = Math.min(mostTokens(next, spareRows), left);
            spareRows -= spareRowsOf(next, next.planned);
            left -= next.planned;
        }
        if (head != null && !head.needsScores()) {
            int more = Math.min(head.remaining() - 1, left);
            head.planned += more;
            left -= more;
        }
        int rest = first.needsScores() ? 0 : left;
        first.planned = Math.min(first.remaining(), share + rest);
        if (alike) {
            shorten(budget, first.computed);
        } else {
            light = false;
        }
        addPlanned();
    }

    /** Whether the first prompt is shorter than the next one, and ends in this step with what is left. */
    private static boolean isCompletedBefore(Sequence next, Sequence first, int share, int left) {
        int rest = first.remaining() - share;
        return rest > 0 && rest <= left && first.remaining() <= next.remaining() && !first.needsScores();
    }

    /** Most tokens of a prompt in a step: if it is scored, each takes a row of logits. */
    private static int mostTokens(Sequence sequence, int spareRows) {
        return sequence.needsScores() ? Math.min(sequence.remaining(), 1 + spareRows) : sequence.remaining();
    }

    private static int spareRowsOf(Sequence sequence, int tokens) {
        return sequence.needsScores() ? Math.max(0, tokens - 1) : 0;
    }

    /**
     * Takes tokens from long prompts, so that the step is short: if it completes short prompts, and if others may arrive
     * while it runs.
     *
     * @param budget prompt tokens that the step may have
     * @param computed tokens of the first prompt that are computed already
     */
    private void shorten(int budget, int computed) {
        Sequence longest = null;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.planned > 0 && (longest == null || sequence.remaining() > longest.remaining())) {
                longest = sequence;
            }
        }
        boolean expected = hadNewcomer && planStart - lastNewcomer <= pace.expectedNanos();
        boolean wasLight = light;
        light = false;
        int ofShort = 0;
        int ofLong = 0;
        boolean hasNewcomer = false;
        boolean cut = false;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            boolean ends = sequence.planned == sequence.remaining();
            if (isLong(sequence, longest, budget)) {
                ofLong += sequence.planned;
                cut |= !ends;
            } else if (sequence.planned > 0 && !ends) {
                return; // a short one needs all it can get
            } else {
                ofShort += sequence.planned;
                hasNewcomer |= sequence.planned > 0 && sequence.computedOnce == sequence.cachedTokens;
            }
        }
        if (hasNewcomer && cut) {
            hadNewcomer = true;
            lastNewcomer = planStart;
        }
        int most = limits.tokens() - plan.rows();
        int left = ofLong;
        if (ofShort > 0 && !wasLight) {
            left = Math.max(ofShort, pace.lightTokens(plan, most, computed) - ofShort);
            light = left < ofLong;
        } else if (expected) {
            left = pace.expectingTokens(plan, most, computed);
        }
        for (int i = 0; i < running.size() && left < ofLong; i++) {
            Sequence sequence = running.get(i);
            if (isLong(sequence, longest, budget)) {
                ofLong -= sequence.planned;
                sequence.planned = Math.clamp(left, 1, sequence.planned);
                left -= sequence.planned;
            }
        }
    }

    /** Whether a prompt of this step is its longest one, or cut and too long for a step of its own. */
    @SuppressWarnings("ReferenceEquality") // the same sequence
    private static boolean isLong(Sequence sequence, @Nullable Sequence longest, int budget) {
        return sequence.planned > 0
                && (sequence == longest || (sequence.planned < sequence.remaining() && sequence.remaining() > budget));
    }

    /**
     * The first prompt that can be computed in this step: a running one, or a waiting one that may start; null for
     * none.
     */
    private @Nullable Sequence firstPrompt() {
        Sequence first = null;
        for (int i = 0; i < running.size() && first == null; i++) {
            first = isPrompt(running.get(i)) && !isMadeBeside(running.get(i), false) ? running.get(i) : null;
        }
        if (freeRowCount > 0 && !waiting.isEmpty()) {
            int reserved = reserve(running.size());
            int windows = windowReserve(running.size());
            for (int i = 0; i < waiting.size(); i++) {
                Sequence sequence = waiting.get(i);
                if (first != null && first.isBefore(sequence)) {
                    break;
                }
                if (mayStart(sequence, reserved, windows) && !isMadeBeside(sequence, false)) {
                    return sequence;
                }
            }
        }
        return first;
    }

    /**
     * The prompt with the fewest tokens left among those of the lowest priority number without tokens in this step; of
     * equal ones the first; null for none.
     */
    private @Nullable Sequence shortestPrompt() {
        Sequence shortest = shortestRunning();
        if (freeRowCount == 0) {
            return shortest;
        }
        int reserved = reserve(running.size());
        int windows = windowReserve(running.size());
        for (int i = 0; i < waiting.size(); i++) {
            Sequence sequence = waiting.get(i);
            if (isShorter(sequence, shortest)
                    && mayStart(sequence, reserved, windows)
                    && !isMadeBeside(sequence, true)) {
                shortest = sequence;
            }
        }
        return shortest != null && shortest.state == State.WAITING && freeRowCount == 1 && wasPassed
                ? forLastRow(shortest)
                : shortest;
    }

    /** The same of those that run. */
    private @Nullable Sequence shortestRunning() {
        Sequence shortest = null;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (isPrompt(sequence)
                    && sequence.planned == 0
                    && isShorter(sequence, shortest)
                    && !isMadeBeside(sequence, true)) {
                shortest = sequence;
            }
        }
        return shortest;
    }

    /**
     * The head of the queue takes every other of the rows that become free, if it can start: without that, later ones that
     * are shorter would pass it for as long as they come.
     */
    private Sequence forLastRow(Sequence shortest) {
        Sequence head = waiting.getFirst();
        boolean canStart =
                mayStart(head, reserve(running.size()), windowReserve(running.size())) && !isMadeBeside(head, true);
        return canStart ? head : shortest;
    }

    private boolean isPrompt(Sequence running) {
        return running.remaining() > 1 && !running.isLoading() && !isPaused(running);
    }

    /**
     * Whether another sequence gets a page that this one can use, from the KV file or, if {@code computed}, by tokens in
     * this step.
     */
    private boolean isMadeBeside(Sequence sequence, boolean computed) {
        int page = sequence.computed / pages.pageTokens();
        int begin = page * pages.pageTokens();
        int end = begin + pages.pageTokens();
        if (!pages.isCaching()
                || sequence.needsEveryPosition()
                || end >= sequence.length()) { // it computes at least its last token
            return false;
        }
        if (pages.states() != null) {
            return isStateMadeBeside(sequence);
        }
        int before = lastCached(sequence);
        for (int i = 0; i < running.size(); i++) {
            Sequence other = running.get(i);
            if ((other.isLoading() || (computed && other.planned > 0))
                    && other.computed / pages.pageTokens() == page
                    && other.length() >= end
                    && lastCached(other) == before
                    && other.prefix.salt.equals(sequence.prefix.salt)
                    && Arrays.equals(other.tokens(), begin, end, sequence.tokens(), begin, end)) {
                return true;
            }
        }
        return false;
    }

    /**
     * Whether a prompt with tokens in this step will come to the place where the two texts part, so that a state is saved there
     * with which this one can begin.
     */
    private boolean isStateMadeBeside(Sequence sequence) {
        int pageTokens = pages.pageTokens();
        for (int i = 0; i < running.size(); i++) {
            Sequence other = running.get(i);
            int most = Math.min(other.length(), sequence.length() - 1);
            if (other.planned == 0
                    || other.computed < sequence.computed
                    || !other.prefix.salt.equals(sequence.prefix.salt)) {
                continue;
            }
            int differs = Arrays.mismatch(other.tokens(), 0, most, sequence.tokens(), 0, most);
            int common = differs < 0 ? most : differs;
            int fork = common - common % pageTokens;
            if (fork > other.computed) {
                other.fork = other.fork > other.computed ? Math.min(other.fork, fork) : fork;
                return true;
            }
        }
        return false;
    }

    /** The last page that a sequence shares through the index. */
    private int lastCached(Sequence sequence) {
        return sequence.state == State.RUNNING ? pages.lastIndexed(sequence.row) : sequence.prefix.lastPage;
    }

    private static boolean isShorter(Sequence sequence, @Nullable Sequence other) {
        return other == null
                || sequence.priority < other.priority
                || (sequence.priority == other.priority
                        && (sequence.remaining() < other.remaining()
                                || (sequence.remaining() == other.remaining() && sequence.isBefore(other))));
    }

    /** Whether a waiting sequence may start: pages for it are free, and it hardly delays the head of the queue. */
    private boolean mayStart(Sequence sequence, int reserved, int reservedWindows) {
        if (isPaused(sequence)) {
            return false;
        }
        Sequence head = waiting.getFirst();
        int needed = missing(sequence);
        int windows = pages.windowsFor(expectedLength(sequence));
        if (needed + reserved > pages.available() || windows + reservedWindows > pages.windowsLeft()) {
            return false;
        }
        return sequence == head
                || (hardlyDelays(needed, missing(head), reserved, pages.available())
                        && hardlyDelays(
                                windows, pages.windowsFor(expectedLength(head)), reservedWindows, pages.windowsLeft()));
    }

    private static boolean hardlyDelays(int needed, int forHead, int reserved, int left) {
        return needed <= forHead / SMALL
                || needed + forHead + reserved < left; // <, because the sequence may grow by a page
    }

    /** Number of available pages that a waiting sequence needs, with those for the answer that is expected. */
    private int missing(Sequence sequence) {
        sequence.match(pages);
        return pages.missing(sequence.prefix, expectedLength(sequence));
    }

    /** Tokens that a waiting sequence is expected to have in the end. */
    int expectedLength(Sequence sequence) {
        reserve.estimate(sequence);
        return Math.max(sequence.lengthToStart(), sequence.length() + sequence.expectedRest);
    }

    /** Starts a waiting sequence. Returns whether it waits for pages of the KV file now, and so gets no tokens. */
    private boolean startIfWaiting(Sequence sequence) {
        if (sequence.state == State.WAITING) {
            start(sequence);
        }
        return sequence.isLoading();
    }

    /** Preempts a running sequence that this step has not planned yet. */
    private void preempt(Sequence sequence) {
        running.remove(sequence);
        sequence.timeline.add(Timeline.Kind.PREEMPTED, planStart, sequence.computed, pages.held(sequence.row));
        tenants.preempted(sequence);
        freeRow(sequence);
        sequence.match(pages);
        sequence.isLeftOut = false;
        if (sequence.isReady()) {
            park(sequence);
        } else {
            queue(sequence);
        }
        tracker.preempt(sequence);
        listener.onPreempt();
    }

    /**
     * Whether pages for a whole waiting sequence are free, beside those expected for the running ones before it and one
     * for each of the others that may grow: these lose their pages first.
     */
    private boolean fits(Sequence sequence) {
        int before = 0;
        while (before < running.size() && running.get(before).isBefore(sequence)) {
            before++;
        }
        return missing(sequence) + reserve(before) + growing(before) <= pages.available()
                && pages.windowsFor(expectedLength(sequence)) + windowReserve(before) + growingWindows(before)
                        <= pages.windowsLeft();
    }

    /** How many of the running sequences, from one on, may need another page. */
    private int growing(int from) {
        int growing = 0;
        for (int i = from; i < running.size(); i++) {
            growing += mayGrow(running.get(i)) ? 1 : 0;
        }
        return growing;
    }

    /** The same for window pages. */
    private int growingWindows(int from) {
        int growing = 0;
        for (int i = from; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            growing += pages.windowsOf(sequence.row) < pages.windowsFor(sequence.maxComputed()) ? 1 : 0;
        }
        return growing;
    }

    private boolean mayGrow(Sequence sequence) {
        return pages.memoryHeld(sequence.row) < pages.memoryFor(sequence.maxComputed());
    }

    private void start(Sequence sequence) {
        if (freeRowCount == 1) {
            wasPassed = sequence != waiting.getFirst();
        }
        waiting.remove(sequence);
        sequence.row = freeRows[--freeRowCount];
        if (!pages.begin(sequence.row, sequence.prefix, sequence.lengthToStart())) {
            throw new IllegalStateException("there are too few pages to start " + sequence);
        }
        run(sequence, false);
    }

    /**
     * Makes a sequence that has a row and pages now a running one.
     *
     * @param isFork whether its pages have all that it needs
     */
    private void run(Sequence sequence, boolean isFork) {
        sequence.state = State.RUNNING;
        insert(sequence, running);
        reserve.estimate(sequence);
        drafts.started(sequence);
        tracker.run(sequence, planStart);
        tenants.started(sequence);
        boolean isNew = !sequence.wasStarted;
        if (isNew) {
            sequence.wasStarted = true;
            sequence.startNanos = planStart;
            tracker.lookUp(sequence.promptLength, 0);
            listener.onStart(planStart - sequence.acceptedNanos, sequence.promptLength);
        }
        if (pages.states() != null) {
            sequence.branch = sequence.prefix.found * pages.pageTokens();
            sequence.fork = 0;
        }
        useCached(sequence, sequence.computed);
        if (disk != null && !isFork && !sequence.needsEveryPosition()) {
            disk.begin(sequence);
        }
        if (!isFork && !sequence.isLoading()) {
            copyPageOfAnother(sequence);
        }
        if (isNew) {
            tenants.foundCached(sequence);
        }
        sequence.timeline.add(Timeline.Kind.STARTED, planStart, sequence.computed, pages.held(sequence.row));
    }

    /** Inserts a sequence at its place in the order. */
    private static void insert(Sequence sequence, List<Sequence> sorted) {
        int place = sorted.size();
        while (place > 0 && sequence.isBefore(sorted.get(place - 1))) {
            place--;
        }
        sorted.add(place, sequence);
    }

    /**
     * Chooses the positions of this step before which a state is saved: where the text parts from others, before the end of
     * the prompt, and the last full page. The state of that one is written again when another one of the sequence is saved.
     */
    private void planStates() {
        SavedStates states = pages.states();
        if (states == null || !pages.isCaching()) {
            return;
        }
        int pageTokens = pages.pageTokens();
        for (int i = 0; i < plan.size(); i++) {
            Sequence sequence = plan.sequence(i);
            int end = sequence.computed + plan.tokenCount(i);
            int last = end - end % pageTokens;
            int position = sequence.stateEnd;
            while (position < last) {
                int next = nearest(position, last, sequence.branch);
                next = nearest(position, next, sequence.fork);
                position = nearest(position, next, promptEnd(sequence));
                if (!isLasting(sequence, position) && 2 * running.size() > states.total()) {
                    break; // others would lose theirs
                }
                int state = states.reserveAgain(sequence.lastState, sequence.lastStateStamp);
                if (state == SavedStates.NONE) {
                    break;
                }
                plan.save(i, position, state);
            }
        }
    }

    /** The page end behind which a prompt is probably continued in another way; not positive if there is none. */
    private int promptEnd(Sequence sequence) {
        int position = sequence.promptLength - ANSWER_HEADER;
        return position - position % pages.pageTokens();
    }

    /** Whether the state before a position stays when the sequence goes on. */
    private boolean isLasting(Sequence sequence, int position) {
        return position == sequence.branch || position == sequence.fork || position == promptEnd(sequence);
    }

    /** {@code next}, or {@code wanted} if that is before it and behind {@code position}. */
    private static int nearest(int position, int next, int wanted) {
        return wanted > position && wanted < next ? wanted : next;
    }

    /**
     * Applies an executed step: appends tokens, updates statistics, sends outputs, ends answers and frees their pages.
     *
     * @return tokens computed
     */
    int commit(StepPlan done, TokenVerifier verifier) {
        long now = nanoClock.getAsLong();
        int newPromptTokens = 0;
        int newGenerationTokens = 0;
        int againTokens = 0;
        for (int i = 0; i < done.size(); i++) {
            Sequence sequence = done.sequence(i);
            int generated = sequence.generated();
            sequence.stateEnd = sequence.computed + done.tokenCount(i);
            againTokens += Math.clamp(sequence.computedOnce - sequence.computed, 0, done.tokenCount(i));
            appendTokens(i, done, verifier);
            recordStep(sequence, done.tokenCount(i), generated, now);
            newGenerationTokens += sequence.generated() - generated;
            newPromptTokens += sequence.advance(sequence.computed);
            tenants.advanced(sequence);
        }
        drafts.learn(verifier, kept, planEnd - planStart, now - planEnd);
        pace.learn(done, now - planEnd);
        if (disk != null) {
            disk.learn(done.rows(), now - planEnd);
        }
        cacheFullPages(done);
        newGenerationTokens += continueBeams(done, now);
        long nanos = now - planStart;
        // Statistics first: a reader that sees a token finds it counted.
        tracker.step(newPromptTokens, newGenerationTokens, againTokens, hasForegroundWaiting(), planStart, now);
        listener.onStep(done.rows(), done.size(), nanos);
        recorder.endStep(done, newPromptTokens, newGenerationTokens, running.size(), waiting.size(), pages.available());
        for (int i = 0; i < done.size(); i++) {
            send(i, done, now);
        }
        return done.rows();
    }

    /**
     * Chooses the next beams of the searches of which all beams are ready now.
     *
     * @return rows from which they were chosen; each counts as a token
     */
    private int continueBeams(StepPlan done, long now) {
        int rows = 0;
        for (int i = 0; i < done.size(); i++) {
            BeamGroup.Beam beam = done.sequence(i).beam;
            if (beam != null && endings[i].reason == null && beam.group.isComplete()) {
                rows += beam.group.beams().size();
                noteRows(beam.group.beams(), now);
                beam.group.choose();
                if (!beam.group.hasEnded()) {
                    continueBeams(beam.group);
                }
            }
        }
        return rows;
    }

    /** Reports the rows of all beams of a group as their tokens. */
    private void noteRows(List<Sequence> beams, long now) {
        for (int i = 0; i < beams.size(); i++) {
            Sequence beam = beams.get(i);
            if (beam.lastTokenNanos == Sequence.NEVER) {
                beam.firstTokenNanos = now;
                listener.onFirstToken(now - beam.acceptedNanos);
                int held = beam.state == State.RUNNING ? pages.held(beam.row) : 0;
                beam.timeline.add(Timeline.Kind.FIRST_TOKEN, now, 1, held);
            } else {
                listener.onToken(now - beam.lastTokenNanos);
            }
            beam.lastTokenNanos = now;
        }
    }

    /** Copies the beams that go on in several places, takes the pages of those that do not go on, and adds the tokens. */
    private void continueBeams(BeamGroup group) {
        for (int i = 0; i < group.chosen(); i++) {
            if (group.child(i) != group.parent(i)) {
                fork(group.parent(i), group.child(i));
            }
        }
        group.advance();
        List<Sequence> members = group.members();
        for (int i = 0; i < members.size(); i++) {
            Sequence member = members.get(i);
            if (member.isReady() && member.state == State.RUNNING) { // no beam any more
                preempt(member);
            }
        }
        List<Sequence> beams = group.beams();
        for (int i = 0; i < beams.size(); i++) {
            Sequence beam = beams.get(i);
            if (beam.state == State.PARKED) {
                parked.remove(beam);
                queue(beam);
                beam.match(pages);
            }
        }
    }

    /**
     * Makes a member of a beam search, which is no beam any more, a copy of a beam: with the same full pages, and a copy of the
     * page that is not full. Without pages or a row for it, it is parked.
     */
    private void fork(Sequence parent, Sequence child) {
        child.takeTokens(parent);
        boolean wasRunning = child.state == State.RUNNING;
        if (wasRunning) {
            pages.release(child.row);
        }
        if (parent.state == State.RUNNING && (wasRunning || freeRowCount > 0)) {
            int row = wasRunning ? child.row : freeRows[freeRowCount - 1];
            if (pages.fork(parent.row, row, parent.computed)) {
                int full = parent.computed / pages.pageTokens();
                if (pages.held(row) > full && !plan.copyPage(pages, parent.row, row, full)) {
                    throw new IllegalStateException("there is no room for the copy of a page of " + parent);
                }
                child.computed = parent.computed;
                if (wasRunning) {
                    useCached(child, parent.computed);
                } else {
                    parked.remove(child);
                    child.row = row;
                    freeRowCount--;
                    run(child, true);
                }
                return;
            }
        }
        if (wasRunning) {
            preempt(child);
        }
    }

    /** Adds what a step has done to the sequence's timeline. A token of an answer under way is no event. */
    private void recordStep(Sequence sequence, int tokens, int generatedBefore, long now) {
        int held = pages.held(sequence.row);
        if (tokens > 1 || generatedBefore == 0) {
            sequence.timeline.add(Timeline.Kind.CHUNK, now, tokens, held);
        }
        if (generatedBefore == 0 && sequence.generated() > 0) {
            sequence.timeline.add(Timeline.Kind.FIRST_TOKEN, now, sequence.generated(), held);
        }
    }

    /**
     * Adds the pages that this step filled to the cache, and gives back those that windows have passed. Positions of
     * rejected draft tokens are not computed ones.
     */
    private void cacheFullPages(StepPlan done) {
        for (int i = 0; i < done.size(); i++) {
            Sequence sequence = done.sequence(i);
            int row = sequence.row;
            int full = pages.isCaching() ? sequence.computed / pages.pageTokens() : 0;
            int before = pages.indexed(row);
            for (int page = pages.indexed(row); page < full; page++) {
                if (pages.add(row, sequence.tokens(), sequence.prefix.salt)) {
                    drafts.replaced(sequence, page);
                }
            }
            if (disk != null) {
                disk.offer(row, before);
            }
            bindStates(done, i);
            pages.slide(row, sequence.computed);
        }
    }

    /** Records the states that this step has saved of a sequence. */
    private void bindStates(StepPlan done, int index) {
        SavedStates states = pages.states();
        Sequence sequence = done.sequence(index);
        for (int save = 0; states != null && save < done.saveCount(index); save++) {
            int state = done.saveState(index, save);
            int page = done.savePosition(index, save) / pages.pageTokens() - 1;
            if (page >= pages.indexed(sequence.row)) { // the cache was switched off meanwhile
                states.free(state);
                continue;
            }
            states.bind(state, pages.table(sequence.row)[page]);
            if (!isLasting(sequence, done.savePosition(index, save))) {
                sequence.lastState = state;
                sequence.lastStateStamp = states.stamp(state);
            }
        }
    }

    /**
     * Appends a sequence's new tokens one by one, until none is left or the answer ends.
     *
     * <pre>
     *   before    [0, computed) [computed, length)                       drafts  d0  d1  d2
     *   kept      d0  d1  y                                              accepted: 2
     *   after     [0, length + 2) d0 and d1 are computed, y is next      the K and V of d2 will be overwritten
     * </pre>
     */
    private void appendTokens(int index, StepPlan done, TokenVerifier verifier) {
        Sequence sequence = done.sequence(index);
        Ending ending = endings[index];
        ending.set(null, "", null, null);
        int count = 0;
        while (count < verifier.count(index) && ending.reason == null) {
            int row = done.firstLogitRow(index) + count;
            String text = append(sequence, verifier.id(row), ending);
            if (ending.error == null) {
                outputs[row] = new Output(verifier.id(row), text, verifier.logprobs(row));
                count++;
            }
        }
        RuntimeException failure = verifier.failure(index);
        if (failure instanceof ConstraintException && ending.reason == null) {
            ending.set(FinishReason.CONSTRAINT, "", null, failure.getMessage());
        } else if (failure != null && ending.reason == null) {
            fail(
                    sequence,
                    "no " + (sequence.pooled == null ? "token could be chosen" : "vector could be made"),
                    failure,
                    ending);
            if (failure instanceof BrokenLogitsException) {
                ending.reason = FinishReason.BROKEN_LOGITS;
            }
        }
        kept[index] = count;
        sequence.computed += done.tokenCount(index) + Math.max(0, count - 1);
        if (sequence.pooled != null && sequence.remaining() == 0 && ending.reason == null) {
            ending.set(FinishReason.STOP, "", null, null);
        }
    }

    /** Appends one token; returns the text that is now certain, and sets {@code ending} if the answer ends. */
    private String append(Sequence sequence, int token, Ending ending) {
        try {
            sequence.append(token);
            boolean end = sequence.isEnd(token);
            boolean shown = !end || sequence.params.includeStop();
            String certain = shown ? sequence.text.append(token, sequence.mayStop()) : "";
            FinishReason reason = null;
            if (end || sequence.text.stop() != null) {
                reason = FinishReason.STOP;
            } else if (sequence.generated() == sequence.maxNewTokens) {
                reason = FinishReason.LENGTH;
            }
            String rest = reason == null ? "" : shown ? sequence.text.finish() : sequence.text.finish(token);
            String stop = sequence.text.stop(); // the rest may have completed one
            ending.set(stop == null ? reason : FinishReason.STOP, rest, stop, null);
            return certain;
        } catch (RuntimeException e) {
            fail(sequence, "token " + token + " could not be turned into text", e, ending);
            return "";
        }
    }

    private static void fail(Sequence sequence, String what, RuntimeException cause, Ending ending) {
        LOG.log(Level.ERROR, what + " for " + sequence, cause);
        ending.set(FinishReason.ERROR, "", null, what + ": " + cause);
    }

    /** Sends a sequence's new tokens to its stream, and the end if there is one. */
    private void send(int index, StepPlan done, long now) {
        Sequence sequence = done.sequence(index);
        if (sequence.state == State.ENDED) {
            return; // with another one of its beam search
        }
        if (sequence.beam != null && sequence.beam.group.hasEnded() && endings[index].reason == null) {
            end(sequence, FinishReason.STOP, "", null, null);
            return;
        }
        for (int i = 0; i < kept[index]; i++) {
            int row = done.firstLogitRow(index) + i;
            Output output = outputs[row];
            outputs[row] = null;
            if (output == null) {
                throw new IllegalStateException("output " + i + " of this step is missing for " + sequence);
            }
            if (sequence.lastTokenNanos == Sequence.NEVER) {
                sequence.stream.setPromptLogprobs(sequence.promptLogprobs());
                sequence.firstTokenNanos = now;
                listener.onFirstToken(now - sequence.acceptedNanos);
            } else {
                listener.onToken(now - sequence.lastTokenNanos);
            }
            sequence.lastTokenNanos = now;
            sequence.stream.put(output);
        }
        Ending ending = endings[index];
        if (sequence.pooled != null && ending.reason == FinishReason.STOP) {
            sequence.stream.setVector(sequence.pooled.result());
        }
        if (ending.reason != null) {
            end(sequence, ending.reason, ending.rest, ending.stop, ending.error);
        } else if (kept[index] > 0) {
            sequence.stream.wake();
        }
    }

    /**
     * Ends a sequence in any state, with its beam search. Frees pages and updates statistics before the stream ends, so that
     * the reader finds both done. The stream ends even if one of them fails.
     */
    private void end(
            Sequence sequence, FinishReason reason, String rest, @Nullable String stop, @Nullable String error) {
        if (sequence.beam == null) {
            end(sequence, reason, rest, stop, sequence.generated(), error);
        } else {
            endSearch(sequence.beam.group, reason, error);
        }
    }

    /** Ends a beam search. The members' streams get the answers, the best one first, if the reason allows any. */
    private void endSearch(BeamGroup group, FinishReason reason, @Nullable String error) {
        boolean isWhole = group.hasEnded() && reason == FinishReason.STOP;
        List<BeamGroup.Answer> answers =
                isWhole || reason == FinishReason.TIMEOUT ? group.answers(isWhole ? null : reason) : List.of();
        List<Sequence> members = group.members();
        for (int i = 0; i < members.size(); i++) {
            Sequence member = members.get(i);
            if (member.state == State.ENDED) {
                continue; // before this failed
            }
            if (i >= answers.size()) {
                end(member, isWhole ? FinishReason.LENGTH : reason, "", null, 0, error);
                continue;
            }
            BeamGroup.Answer answer = answers.get(i);
            member.stream.setPromptLogprobs(group.leader().promptLogprobs());
            try {
                String rest = put(member, answer);
                end(member, answer.reason(), rest, null, answer.tokens().length, null);
            } catch (RuntimeException e) {
                String fault = "the answer could not be turned into text";
                LOG.log(Level.ERROR, fault + " for " + member, e);
                end(member, FinishReason.ERROR, "", null, answer.tokens().length, fault + ": " + e);
            }
        }
    }

    /** Puts an answer of a beam search into a stream; returns the rest of its text. */
    private static String put(Sequence member, BeamGroup.Answer answer) {
        int[] tokens = answer.tokens();
        for (int i = 0; i < tokens.length; i++) {
            boolean isEnd = i == tokens.length - 1 && answer.reason() == FinishReason.STOP;
            boolean shown = !isEnd || member.params.includeStop();
            String text = shown ? member.text.append(tokens[i]) : "";
            member.stream.put(new Output(tokens[i], text, answer.logprobs()[i]));
        }
        return member.text.finish();
    }

    private void end(
            Sequence sequence,
            FinishReason reason,
            String rest,
            @Nullable String stop,
            int answerTokens,
            @Nullable String error) {
        boolean wasRunning = sequence.state == State.RUNNING;
        boolean wasParked = sequence.state == State.PARKED;
        turns.ended(sequence);
        sequence.state = State.ENDED;
        int held = wasRunning ? pages.held(sequence.row) : 0;
        sequence.timeline.add(Timeline.Kind.ENDED, nanoClock.getAsLong(), answerTokens, held);
        timed -= sequence.timeoutNanos > 0 ? 1 : 0;
        SpeculationCounts counts = SpeculationCounts.NONE;
        try {
            if (wasRunning) {
                if (sequence.pooled == null) {
                    reserve.ended(sequence.generated());
                }
                running.remove(sequence);
                freeRow(sequence);
            } else {
                (wasParked ? parked : waiting).remove(sequence);
            }
            tenants.ended(sequence, wasRunning);
            counts = drafts.ended(sequence);
            sequence.timeline.setSpeculation(counts);
            tracker.finish(sequence, wasRunning, reason);
            long nanos = nanoClock.getAsLong() - sequence.acceptedNanos;
            if (sequence.lastTokenNanos != Sequence.NEVER) {
                listener.onAnswered(
                        sequence.firstTokenNanos - sequence.startNanos,
                        sequence.lastTokenNanos - sequence.firstTokenNanos,
                        sequence.promptLength - sequence.cachedTokens,
                        answerTokens,
                        sequence.maxNewTokens);
            }
            listener.onFinish(reason, nanos, sequence.promptLength, answerTokens);
            recorder.request(sequence, reason, answerTokens, sequence.acceptedNanos + nanos);
        } finally {
            sequence.stream.end(
                    sequence.finish(reason, rest, stop, answerTokens, error), counts, sequence.cachedTokens);
        }
    }

    private void freeRow(Sequence sequence) {
        if (disk != null) {
            disk.offer(sequence.row, 0);
        }
        sequence.load = null;
        pages.release(sequence.row);
        freeRows[freeRowCount++] = sequence.row;
        sequence.row = Sequence.NO_ROW;
    }

    /** Ends all answers. */
    void endAll(FinishReason reason, @Nullable String error) {
        while (!running.isEmpty()) {
            end(running.getLast(), reason, "", null, error);
        }
        while (!waiting.isEmpty()) {
            end(waiting.getLast(), reason, "", null, error);
        }
        while (!parked.isEmpty()) { // none, unless ending their searches has failed
            end(parked.getLast(), reason, "", null, error);
        }
    }

    /**
     * Ends every stream after a failure. It works in any state, because the page accounting or the listener may have
     * failed.
     *
     * @param cause the failure; further failures are added to it as suppressed exceptions
     */
    void abandonAll(String error, Throwable cause) {
        while (!running.isEmpty() || !waiting.isEmpty() || !parked.isEmpty()) {
            try {
                endAll(FinishReason.ERROR, error);
            } catch (Throwable e) {
                // Each attempt ends at least one stream, so the loop ends.
                cause.addSuppressed(new IllegalStateException("while ending all answers", e));
            }
        }
    }

    /** What the engine does at this moment, between two steps. */
    EngineView view() {
        long now = nanoClock.getAsLong();
        return new EngineView(
                tracker.stats(),
                running.stream().map(sequence -> row(sequence, now)).toList(),
                waiting.stream()
                        .limit(EngineView.MAX_WAITING)
                        .map(sequence -> row(sequence, now))
                        .toList(),
                pages.pageTokens(),
                pages.owners(running));
    }

    private EngineView.Row row(Sequence sequence, long now) {
        return new EngineView.Row(
                sequence.name,
                sequence.tenantName,
                sequence.priority,
                sequence.promptLength,
                sequence.cachedTokens,
                sequence.computed,
                sequence.length(),
                sequence.promptLength + (sequence.pooled == null ? sequence.maxNewTokens : 0),
                sequence.row == Sequence.NO_ROW ? 0 : pages.held(sequence.row),
                now - sequence.acceptedNanos,
                sequence.wasStarted);
    }

    /** The plan and the running sequences, for the error log. */
    String describe() {
        StringBuilder out = new StringBuilder(1024);
        out.append("plan: ").append(plan.describe());
        out.append("\nrunning: ").append(running.size()).append(", waiting: ").append(waiting.size());
        out.append(parked.isEmpty() ? "" : ", parked: " + parked.size());
        out.append(", pages: ").append(pages.used()).append('/').append(pages.total());
        for (Sequence sequence : running) {
            out.append("\n  ").append(sequence);
        }
        return out.toString();
    }

    /**
     * Checks pages, rows, order and counts.
     *
     * @throws IllegalStateException naming the first inconsistency
     */
    void checkIntegrity() {
        pages.checkIntegrity();
        if (disk != null) {
            disk.checkIntegrity(running);
        }
        int rows = 0;
        int withTimeout = 0;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            require(sequence.state == State.RUNNING && sequence.row != Sequence.NO_ROW, "runs without a row", sequence);
            require(i == 0 || running.get(i - 1).isBefore(sequence), "runs out of order", sequence);
            require(pages.held(sequence.row) >= pages.pagesFor(sequence.computed), "lacks pages", sequence);
            pages.checkWindow(sequence.row, sequence.computed);
            require(
                    pages.indexed(sequence.row) <= sequence.computed / pages.pageTokens(),
                    "shares pages that it has not computed",
                    sequence);
            for (int j = 0; j < i; j++) {
                require(running.get(j).row != sequence.row, "shares its row", sequence);
            }
            withTimeout += sequence.timeoutNanos > 0 ? 1 : 0;
            rows++;
        }
        for (int i = 0; i < waiting.size(); i++) {
            Sequence sequence = waiting.get(i);
            require(sequence.state == State.WAITING && sequence.row == Sequence.NO_ROW, "waits with a row", sequence);
            require(i == 0 || waiting.get(i - 1).isBefore(sequence), "waits out of order", sequence);
            withTimeout += sequence.timeoutNanos > 0 ? 1 : 0;
        }
        for (int i = 0; i < parked.size(); i++) {
            Sequence sequence = parked.get(i);
            require(
                    sequence.state == State.PARKED && sequence.row == Sequence.NO_ROW,
                    "is parked with a row",
                    sequence);
            withTimeout += sequence.timeoutNanos > 0 ? 1 : 0;
        }
        if (withTimeout != timed) {
            throw new IllegalStateException(withTimeout + " sequences have a timeout, but " + timed + " are counted");
        }
        for (int i = 0; i < freeRowCount; i++) {
            if (pages.held(freeRows[i]) != 0) {
                throw new IllegalStateException("row " + freeRows[i] + " is free but holds pages");
            }
        }
        if (rows + freeRowCount != limits.sequences()) {
            throw new IllegalStateException(
                    rows + " rows are used and " + freeRowCount + " are free, of " + limits.sequences());
        }
        tenants.checkIntegrity();
        tracker.checkIntegrity(running.size(), waiting.size() + parked.size());
    }

    private static void require(boolean condition, String fault, Sequence sequence) {
        if (!condition) {
            throw new IllegalStateException(sequence + " " + fault);
        }
    }
}
