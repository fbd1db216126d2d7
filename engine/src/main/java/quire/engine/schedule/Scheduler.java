package quire.engine.schedule;

import java.lang.System.Logger.Level;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.schedule.Sequence.State;

/**
 * Decides which sequences run in a step, with how many tokens, on which pages, and accounts for what came out.
 *
 * <p><b>No phases.</b> A sequence has computed and target tokens ({@link Sequence}), and a step's token budget is handed
 * out so that the first catch up with the second. A long prompt that takes ten steps, one new token, and everything once
 * more after a preemption are the same row in the plan. (The idea is vLLM's; Agrawal et al., <i>Sarathi-Serve</i>, OSDI
 * 2024, measure why prompt chunks ride beside decoding tokens.)
 *
 * <pre>
 *   arrival order   ───────────────────────────────────────▶ younger
 *   running         [ s1  s2  s3  s4 ]   waiting  [ s5  s6  s7 … ]   inbox
 *                     1   1   1   rest             whole prompt's pages free? then what is left of the budget
 *                                  ▲               ▲
 *                     out of pages: the youngest running ──▶ goes back to the head of the queue
 * </pre>
 *
 * <p><b>What always holds.</b>
 *
 * <ul>
 *   <li><i>Everybody running is older than everybody waiting.</i> Admission takes the head of the queue, preemption
 *       takes the youngest and puts it back there. So the oldest is never preempted while it has company, alone it
 *       always fits (checked when it came), and somebody always gets on: no livelock.
 *   <li><i>Nobody starves.</i> Each running sequence leaves one token of the budget to each one behind it; there are
 *       never more of them than tokens.
 *   <li><i>A prompt that was admitted has its pages.</i> They are all reserved at admission, one token more than there
 *       are, and only if every running sequence that may still grow finds one page beside them. A preempted sequence
 *       cannot come back in the same step: what it gave up, less what was taken, is less than what it needs.
 *   <li><i>A sequence that loses its pages keeps its tokens.</i> They are computed again as if they were prompt, and only
 *       the last one's logits are asked for: nothing is chosen or streamed twice, and because a row's numbers never
 *       depend on its company or chunk, the next token is the one it would have been.
 *   <li><i>Draft tokens take only what is left over</i>: of the budget once everybody has what they can use, of the pages
 *       as long as every running sequence could still have one. They are never why somebody waits or is preempted in this
 *       step, and rejected ones leave nothing behind but numbers in a page that the next token overwrites.
 * </ul>
 *
 * <p>Engine thread only. Lists and plan are reused; a step allocates the {@link Output} of each token and its place in
 * the stream's queue.
 */
final class Scheduler {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    private final KvPages pages;
    private final StepLimits limits;
    private final RequestTracker tracker;
    private final EngineListener listener;
    private final LongSupplier nanoClock;

    private final ArrayDeque<Sequence> waiting = new ArrayDeque<>();
    private final List<Sequence> running; // oldest first
    private final int[] freeRows; // a stack
    private int freeRowCount;
    private final StepPlan plan;
    private final DraftSource drafts;
    private final @Nullable Output[] outputs; // by row of logits
    private final int[] kept; // by index in the plan, like the rest
    private final Ending[] endings;
    private long planNanos;
    private long plannedNanos;
    private long arrivals;

    /** How an answer ends in this step, if it does. */
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

    Scheduler(
            StepLimits limits,
            KvPages pages,
            DraftSource drafts,
            RequestTracker tracker,
            EngineListener listener,
            LongSupplier nanoClock) {
        this.pages = pages;
        this.drafts = drafts;
        this.limits = limits;
        int maxSequences = limits.sequences();
        this.tracker = tracker;
        this.listener = listener;
        this.nanoClock = nanoClock;
        running = new ArrayList<>(maxSequences);
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

    /** Takes a message from the inbox: a new sequence, or one whose stream was closed. */
    void receive(Sequence sequence) {
        enqueue(sequence);
        if (sequence.isCancelled() && sequence.state != State.ENDED) {
            end(sequence, FinishReason.CANCELLED, "", null, null);
        }
    }

    /** Puts a new sequence into the queue; one that was there already stays where it is. */
    void enqueue(Sequence sequence) {
        if (sequence.state == State.SUBMITTED) {
            sequence.state = State.WAITING;
            sequence.number = arrivals++;
            waiting.addLast(sequence);
        }
    }

    /** Decides the next step. Empty when there is nothing to do. */
    StepPlan plan() {
        plan.clear();
        planNanos = nanoClock.getAsLong();
        int budget = limits.tokens();
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            int behind = running.size() - 1 - i;
            int count = Math.min(sequence.length() - sequence.computed, budget - behind);
            if (reserveOrPreempt(sequence, sequence.computed + count)) {
                plan.add(sequence, count);
                budget -= count;
            }
        }
        while (budget > 0 && running.size() < limits.sequences() && admitsHead()) {
            Sequence sequence = startHead();
            int count = Math.min(sequence.length(), budget);
            plan.add(sequence, count);
            budget -= count;
        }
        if (plan.isEmpty() && !waiting.isEmpty()) {
            throw new IllegalStateException(
                    waiting.size() + " sequences wait, nothing runs and nothing can start, with " + pages.available()
                            + " of " + pages.total() + " pages free; head: " + waiting.getFirst());
        }
        drafts.draft(plan, budget);
        plan.complete(pages);
        plannedNanos = nanoClock.getAsLong();
        return plan;
    }

    /** Finds pages for the positions {@code [0, tokens)}; false when the sequence itself had to give way. */
    private boolean reserveOrPreempt(Sequence sequence, int tokens) {
        while (!pages.reserve(sequence.row, tokens)) {
            Sequence youngest = running.getLast();
            preempt(youngest);
            if (youngest == sequence) {
                return false;
            }
        }
        return true;
    }

    /** The youngest is always last in the list, so never one that this step has planned already. */
    private void preempt(Sequence sequence) {
        running.removeLast();
        giveUpRow(sequence);
        sequence.computed = 0;
        sequence.state = State.WAITING;
        waiting.addFirst(sequence);
        tracker.preempt(sequence);
        listener.onPreempt();
    }

    /** Whether the whole of the first waiting sequence fits beside what runs and is about to grow. */
    private boolean admitsHead() {
        Sequence head = waiting.peekFirst();
        if (head == null) {
            return false;
        }
        int growing = 0;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (pages.held(sequence.row) < pages.pagesFor(sequence.maxComputed())) {
                growing++;
            }
        }
        return pages.pagesFor(head.length() + 1) + growing <= pages.available();
    }

    private Sequence startHead() {
        Sequence sequence = waiting.removeFirst();
        sequence.row = freeRows[--freeRowCount];
        sequence.state = State.RUNNING;
        sequence.start();
        drafts.started(sequence);
        running.add(sequence);
        pages.reserve(sequence.row, sequence.length() + 1);
        tracker.run(sequence);
        if (!sequence.wasStarted) {
            sequence.wasStarted = true;
            listener.onStart(planNanos - sequence.acceptedNanos, sequence.promptLength);
        }
        return sequence;
    }

    /**
     * Accounts for a step that was executed: advances, streams out, finishes, frees.
     *
     * @return tokens computed
     */
    int commit(StepPlan done, TokenVerifier tokens) {
        long now = nanoClock.getAsLong();
        int newPromptTokens = 0;
        int newGenerationTokens = 0;
        for (int i = 0; i < done.size(); i++) {
            Sequence sequence = done.sequence(i);
            int generated = sequence.generated();
            advance(i, done, tokens);
            newGenerationTokens += sequence.generated() - generated;
            if (sequence.computed > sequence.computedOnce) {
                newPromptTokens += Math.min(sequence.computed, sequence.promptLength)
                        - Math.min(sequence.computedOnce, sequence.promptLength);
                sequence.computedOnce = sequence.computed;
            }
        }
        drafts.learn(tokens, kept, plannedNanos - planNanos, now - plannedNanos);
        long nanos = now - planNanos;
        // In the books before anybody can hear of it.
        tracker.step(done.rows(), newPromptTokens, newGenerationTokens, pages.used(), nanos);
        listener.onStep(done.rows(), done.size(), nanos);
        for (int i = 0; i < done.size(); i++) {
            tell(i, done, now);
        }
        return done.rows();
    }

    /**
     * Lets a sequence take its new tokens, one by one as if each had come in a step of its own, until none is left or the
     * answer ends.
     *
     * <pre>
     *   before    [0, computed) [computed, length)                       drafts  d0  d1  d2
     *   kept      d0  d1  y                                              agreed: 2
     *   after     [0, length + 2) d0 and d1 are computed, y is next      what lies in the page for d2 is overwritten
     * </pre>
     */
    private void advance(int index, StepPlan done, TokenVerifier tokens) {
        Sequence sequence = done.sequence(index);
        Ending ending = endings[index];
        ending.set(null, "", null, null);
        int count = 0;
        while (count < tokens.count(index) && ending.reason == null) {
            int row = done.firstLogitRow(index) + count;
            String text = take(sequence, tokens.id(row), ending);
            if (ending.error == null) {
                outputs[row] = new Output(tokens.id(row), text, tokens.logprobs(row));
                count++;
            }
        }
        RuntimeException failure = tokens.failure(index);
        if (failure != null && ending.reason == null) {
            fail(sequence, "no token could be chosen", failure, ending);
        }
        kept[index] = count;
        sequence.computed += done.tokenCount(index) + Math.max(0, count - 1);
    }

    /** Takes one token: its text that is certain, and whether the answer ends with it. */
    private String take(Sequence sequence, int token, Ending ending) {
        try {
            sequence.append(token);
            boolean end = sequence.isEnd(token);
            String certain = end ? "" : sequence.text.append(token);
            FinishReason reason = null;
            if (end || sequence.text.stop() != null) {
                reason = FinishReason.STOP;
            } else if (sequence.generated() == sequence.maxNewTokens) {
                reason = FinishReason.LENGTH;
            }
            String rest = reason == null ? "" : sequence.text.finish();
            String stop = sequence.text.stop(); // what was held back may have completed one
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

    /** Streams a sequence's new tokens out. */
    private void tell(int index, StepPlan done, long now) {
        Sequence sequence = done.sequence(index);
        for (int i = 0; i < kept[index]; i++) {
            int row = done.firstLogitRow(index) + i;
            Output output = outputs[row];
            outputs[row] = null;
            if (output == null) {
                throw new IllegalStateException("token " + i + " of " + sequence + " is lost");
            }
            if (sequence.lastTokenNanos == Sequence.NEVER) {
                listener.onFirstToken(now - sequence.acceptedNanos);
            } else {
                listener.onToken(now - sequence.lastTokenNanos);
            }
            sequence.lastTokenNanos = now;
            sequence.stream.put(output);
        }
        Ending ending = endings[index];
        if (ending.reason != null) {
            end(sequence, ending.reason, ending.rest, ending.stop, ending.error);
        } else if (kept[index] > 0) {
            sequence.stream.wake();
        }
    }

    /**
     * Ends a sequence wherever it stands. Pages and books first, the stream last: whoever sees the end sees them. The
     * stream ends even if one of the others fails.
     */
    private void end(
            Sequence sequence, FinishReason reason, String rest, @Nullable String stop, @Nullable String error) {
        boolean wasRunning = sequence.state == State.RUNNING;
        sequence.state = State.ENDED;
        SpeculationCounts counts = SpeculationCounts.NONE;
        try {
            if (wasRunning) {
                running.remove(sequence);
                giveUpRow(sequence);
            } else {
                waiting.remove(sequence);
            }
            counts = drafts.ended(sequence);
            tracker.finish(sequence, wasRunning, reason, pages.used());
            long nanos = nanoClock.getAsLong() - sequence.acceptedNanos;
            listener.onFinish(reason, nanos, sequence.promptLength, sequence.generated());
        } finally {
            sequence.stream.end(sequence.finish(reason, rest, stop, error), counts);
        }
    }

    private void giveUpRow(Sequence sequence) {
        pages.release(sequence.row);
        freeRows[freeRowCount++] = sequence.row;
        sequence.row = Sequence.NO_ROW;
    }

    /** Ends everybody. */
    void endAll(FinishReason reason, @Nullable String error) {
        while (!running.isEmpty()) {
            end(running.getLast(), reason, "", null, error);
        }
        while (!waiting.isEmpty()) {
            end(waiting.getLast(), reason, "", null, error);
        }
    }

    /**
     * Ends every stream after something broke, whatever state the rest is in: the page accounting or the listener may be
     * what broke.
     */
    void abandonAll(String error, Throwable cause) {
        while (!running.isEmpty() || !waiting.isEmpty()) {
            try {
                endAll(FinishReason.ERROR, error);
            } catch (Throwable e) {
                // Each try ends at least one stream, so this comes to an end.
                cause.addSuppressed(new IllegalStateException("while ending all answers", e));
            }
        }
    }

    /** What is planned and who is there, for a log. */
    String describe() {
        StringBuilder out = new StringBuilder(1024);
        out.append("plan: ").append(plan.describe());
        out.append("\nrunning: ").append(running.size()).append(", waiting: ").append(waiting.size());
        out.append(", pages: ").append(pages.used()).append('/').append(pages.total());
        for (Sequence sequence : running) {
            out.append("\n  ").append(sequence);
        }
        return out.toString();
    }

    /**
     * Audits pages, rows and order.
     *
     * @throws IllegalStateException naming what does not add up
     */
    void checkIntegrity() {
        pages.checkIntegrity();
        int rows = 0;
        long youngest = -1;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            require(sequence.state == State.RUNNING && sequence.row != Sequence.NO_ROW, "runs without a row", sequence);
            require(sequence.number > youngest, "runs out of order", sequence);
            require(pages.held(sequence.row) >= pages.pagesFor(sequence.computed), "lacks pages", sequence);
            for (int j = 0; j < i; j++) {
                require(running.get(j).row != sequence.row, "shares its row", sequence);
            }
            youngest = sequence.number;
            rows++;
        }
        for (Sequence sequence : waiting) {
            require(sequence.state == State.WAITING && sequence.row == Sequence.NO_ROW, "waits with a row", sequence);
            require(sequence.number > youngest, "waits out of order", sequence);
            youngest = sequence.number;
        }
        for (int i = 0; i < freeRowCount; i++) {
            if (pages.held(freeRows[i]) != 0) {
                throw new IllegalStateException("row " + freeRows[i] + " is nobody's and holds pages");
            }
        }
        if (rows + freeRowCount != limits.sequences()) {
            throw new IllegalStateException(
                    rows + " rows run, " + freeRowCount + " are free, of " + limits.sequences());
        }
        tracker.checkIntegrity(running.size(), waiting.size(), pages.used());
    }

    private static void require(boolean condition, String fault, Sequence sequence) {
        if (!condition) {
            throw new IllegalStateException(sequence + " " + fault);
        }
    }
}
