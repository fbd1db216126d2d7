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
 * Decides which sequences run in a step, with how many tokens and on which pages. Afterwards applies the result.
 *
 * <p><b>No phases.</b> A sequence has computed and target tokens ({@link Sequence}), and each step spends a token budget on
 * the difference. A chunk of a long prompt, one new token and recomputation after preemption are the same thing in the
 * plan. (The idea is vLLM's; Agrawal et al., <i>Sarathi-Serve</i>, OSDI 2024, measure why prompt chunks and decoding tokens
 * belong in one step.)
 *
 * <pre>
 *   arrival order   ───────────────────────────────────────▶ younger
 *   running         [ s1  s2  s3  s4 ]   waiting  [ s5  s6  s7 … ]   inbox
 *   tokens            1   1   1   rest             admitted if pages for its whole prompt are free; gets the rest
 *                                  ▲               ▲
 *                     too few pages: the youngest running sequence goes back to the head of the queue
 * </pre>
 *
 * <p><b>Invariants.</b>
 *
 * <ul>
 *   <li><i>Every running sequence is older than every waiting one.</i> Admission takes the head of the queue, and
 *       preemption puts the youngest running sequence back there. So the oldest one is never preempted while others run,
 *       and alone it always fits: {@code submit} checks that. Some sequence always makes progress.
 *   <li><i>No running sequence starves.</i> Each one leaves one token of the budget for each younger one, and there are
 *       never more sequences than tokens.
 *   <li><i>An admitted prompt has all its pages.</i> Admission reserves pages for the prompt and one more token, and only if
 *       one page stays free for each running sequence that may still grow. A preempted sequence cannot return in the same
 *       step: fewer pages are free than it needs.
 *   <li><i>A preempted sequence keeps its tokens.</i> They are computed again like a prompt, with logits for the last one
 *       only, so no token is chosen or sent twice. A row's numbers do not depend on other rows or on chunks, so the next
 *       token is the same as without preemption.
 *   <li><i>Draft tokens use only what is left</i> of the budget and of the pages, with one page kept free for each running
 *       sequence. In this step they make no sequence wait and preempt none. The next token overwrites the K and V of a
 *       rejected draft token.
 * </ul>
 *
 * <p><b>Cost.</b> A step allocates the {@link Output} of each new token and its node in the stream's queue; everything else
 * is reused. Engine thread only.
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
    private final int[] freeRows; // of the page tables; a stack
    private int freeRowCount;
    private final StepPlan plan;
    private final DraftSource drafts;
    private final @Nullable Output[] outputs; // by row of logits
    private final int[] kept; // by index in the plan: tokens taken
    private final Ending[] endings; // by index in the plan
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

    /** Handles a message from the inbox: a new sequence, or one whose stream was closed. */
    void receive(Sequence sequence) {
        enqueue(sequence);
        if (sequence.isCancelled() && sequence.state != State.ENDED) {
            end(sequence, FinishReason.CANCELLED, "", null, null);
        }
    }

    /** Puts a new sequence into the queue; does nothing with one that is not new. */
    void enqueue(Sequence sequence) {
        if (sequence.state == State.SUBMITTED) {
            sequence.state = State.WAITING;
            sequence.number = arrivals++;
            waiting.addLast(sequence);
        }
    }

    /** Plans the next step. The plan is empty when there is nothing to do. */
    StepPlan plan() {
        plan.clear();
        planStart = nanoClock.getAsLong();
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
                    waiting.size() + " sequences wait, but none runs and none can start, with " + pages.available()
                            + " of " + pages.total() + " pages free; the first one is " + waiting.getFirst());
        }
        drafts.draft(plan, budget);
        plan.complete(pages);
        planEnd = nanoClock.getAsLong();
        return plan;
    }

    /**
     * Reserves pages for the positions {@code [0, tokens)}, and preempts the youngest sequences as long as there are too few;
     * false if the sequence itself was preempted.
     */
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

    /** Preempts the youngest running sequence: the last in the list, so this step has not planned it yet. */
    private void preempt(Sequence sequence) {
        running.removeLast();
        freeRow(sequence);
        sequence.computed = 0;
        sequence.state = State.WAITING;
        waiting.addFirst(sequence);
        tracker.preempt(sequence);
        listener.onPreempt();
    }

    /** Whether pages for the whole first waiting sequence are free, beside one for each running sequence that may grow. */
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
            listener.onStart(planStart - sequence.acceptedNanos, sequence.promptLength);
        }
        return sequence;
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
        for (int i = 0; i < done.size(); i++) {
            Sequence sequence = done.sequence(i);
            int generated = sequence.generated();
            appendTokens(i, done, verifier);
            newGenerationTokens += sequence.generated() - generated;
            if (sequence.computed > sequence.computedOnce) {
                newPromptTokens += Math.min(sequence.computed, sequence.promptLength)
                        - Math.min(sequence.computedOnce, sequence.promptLength);
                sequence.computedOnce = sequence.computed;
            }
        }
        drafts.learn(verifier, kept, planEnd - planStart, now - planEnd);
        long nanos = now - planStart;
        // Statistics first: a reader that sees a token finds it counted.
        tracker.step(done.rows(), newPromptTokens, newGenerationTokens, pages.used(), nanos);
        listener.onStep(done.rows(), done.size(), nanos);
        for (int i = 0; i < done.size(); i++) {
            send(i, done, now);
        }
        return done.rows();
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
        if (failure != null && ending.reason == null) {
            fail(sequence, "no token could be chosen", failure, ending);
        }
        kept[index] = count;
        sequence.computed += done.tokenCount(index) + Math.max(0, count - 1);
    }

    /** Appends one token; returns the text that is now certain, and sets {@code ending} if the answer ends. */
    private String append(Sequence sequence, int token, Ending ending) {
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
        for (int i = 0; i < kept[index]; i++) {
            int row = done.firstLogitRow(index) + i;
            Output output = outputs[row];
            outputs[row] = null;
            if (output == null) {
                throw new IllegalStateException("output " + i + " of this step is missing for " + sequence);
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
     * Ends a sequence in any state. Frees pages and updates statistics before the stream ends, so that the reader finds both
     * done. The stream ends even if one of them fails.
     */
    private void end(
            Sequence sequence, FinishReason reason, String rest, @Nullable String stop, @Nullable String error) {
        boolean wasRunning = sequence.state == State.RUNNING;
        sequence.state = State.ENDED;
        SpeculationCounts counts = SpeculationCounts.NONE;
        try {
            if (wasRunning) {
                running.remove(sequence);
                freeRow(sequence);
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

    private void freeRow(Sequence sequence) {
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
    }

    /**
     * Ends every stream after a failure. It copes with any state, since the page accounting or the listener may have failed.
     *
     * @param cause the failure; gets further ones as suppressed exceptions
     */
    void abandonAll(String error, Throwable cause) {
        while (!running.isEmpty() || !waiting.isEmpty()) {
            try {
                endAll(FinishReason.ERROR, error);
            } catch (Throwable e) {
                // Each attempt ends at least one stream, so the loop ends.
                cause.addSuppressed(new IllegalStateException("while ending all answers", e));
            }
        }
    }

    /** The plan and the running sequences, for the error log. */
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
     * Checks pages, rows, order and counts.
     *
     * @throws IllegalStateException naming the first inconsistency
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
                throw new IllegalStateException("row " + freeRows[i] + " is free but holds pages");
            }
        }
        if (rows + freeRowCount != limits.sequences()) {
            throw new IllegalStateException(
                    rows + " rows are used and " + freeRowCount + " are free, of " + limits.sequences());
        }
        tracker.checkIntegrity(running.size(), waiting.size(), pages.used());
    }

    private static void require(boolean condition, String fault, Sequence sequence) {
        if (!condition) {
            throw new IllegalStateException(sequence + " " + fault);
        }
    }
}
