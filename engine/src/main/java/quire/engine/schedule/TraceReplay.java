package quire.engine.schedule;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.function.Function;
import quire.engine.BeamSearch;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.ReplayedTrace;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.constrain.ConstraintException;
import quire.engine.sample.Continuations;
import quire.engine.sample.SamplerTeam;
import quire.engine.schedule.Sequence.State;
import quire.model.Pooling;
import quire.model.text.Tokenizer;
import quire.tensor.Workers;

/**
 * Gives a new {@link Scheduler} all that a {@link TraceWriter} has recorded, and compares what it decides: which sequences
 * get how many tokens in each step, how many pages are used, and what was preempted and evicted. No model runs: tokens,
 * draft tokens and the times of steps are those of the trace.
 *
 * <p>An answer that has ended gets an end token in place of its last token. The last token of an answer is never computed,
 * so no decision depends on it, and the text of the answer need not be known.
 */
public final class TraceReplay {
    private static final int MOST_TOKENS = 1 << 28;
    private static final int MOST_READINGS = 1 << 24;
    private static final int END = Integer.MAX_VALUE;
    private static final Logprobs NO_LOGPROBS = new Logprobs(0, 1, new int[0], new float[0]);

    private final DataInputStream in;
    private final TraceHeader header;
    private final KvPages pages;
    private final RequestTracker tracker;
    private final Scheduler scheduler;
    private final TokenVerifier verifier;
    private final RecordedDrafts drafts = new RecordedDrafts();
    private final Map<Long, Sequence> numberToSequence = new HashMap<>();
    private final ArrayDeque<Sequence> inbox = new ArrayDeque<>();
    private long[] readings = {};
    private int nextReading;
    private long requests;
    private long records;
    private long steps;
    private RecordedStep step = new RecordedStep(0);

    /** A step of the trace. */
    private static final class RecordedStep {
        final long[] numbers;
        final int[] counts;
        final int[] held;
        final int[][] drafts;
        final int[][] kept;
        final boolean[] ended;
        final boolean[] ready; // of beams
        final boolean[] failed;
        int usedPages;
        long evictions;
        long preemptions;

        RecordedStep(int size) {
            numbers = new long[size];
            counts = new int[size];
            held = new int[size];
            drafts = new int[size][];
            kept = new int[size][];
            ended = new boolean[size];
            ready = new boolean[size];
            failed = new boolean[size];
        }

        String describe() {
            StringBuilder out = new StringBuilder();
            for (int i = 0; i < numbers.length; i++) {
                describe(out, numbers[i], counts[i], drafts[i].length, held[i]);
            }
            return end(out, usedPages, evictions, preemptions);
        }

        static void describe(StringBuilder out, long number, int tokens, int drafted, int held) {
            out.append("request ").append(number).append(": ").append(tokens).append(" tokens");
            out.append(drafted == 0 ? "" : " and " + drafted + " draft tokens");
            out.append(" on ").append(held).append(" pages; ");
        }

        static String end(StringBuilder out, int usedPages, long evictions, long preemptions) {
            return out.append(usedPages)
                    .append(" pages used, ")
                    .append(evictions)
                    .append(" evicted, ")
                    .append(preemptions)
                    .append(" preemptions")
                    .toString();
        }
    }

    /** A decision is not as recorded. */
    private static final class DifferenceException extends RuntimeException {
        private static final long serialVersionUID = 1;

        DifferenceException(String message) {
            super(message);
        }
    }

    private TraceReplay(DataInputStream in, Function<double[], StepCost> costs, PageReserve reserve, Workers workers)
            throws IOException {
        this.in = in;
        header = TraceHeader.read(in);
        StepLimits limits = header.limits();
        PrefixIndex index =
                header.prefixCache() ? new PrefixIndex(header.pageCount(), header.pageTokens(), 0, -1) : null;
        pages = new KvPages(
                header.pageCount(),
                header.pageTokens(),
                limits.sequences(),
                header.maxContext(),
                index,
                header.windowLayers(),
                limits.tokens(),
                header.savedStates(),
                0);
        EngineConfig queue = EngineConfig.builder()
                .maxQueuedRequests(Integer.MAX_VALUE)
                .maxQueuedTokens(Long.MAX_VALUE / 2)
                .maxQueueWait(Duration.ZERO)
                .build();
        tracker = new RequestTracker(queue, pages, drafts, null);
        scheduler = new Scheduler(
                limits,
                new PromptPace(costs.apply(header.cost()), header.targetNanos()),
                reserve,
                pages,
                drafts,
                null,
                tracker,
                EngineListener.NONE,
                this::reading,
                header.wholePages());
        verifier = new TokenVerifier(limits, new SamplerTeam(workers, 1));
    }

    /**
     * Replays a trace up to the first difference.
     *
     * @param costs makes the cost model that had this {@link StepCost#start}
     * @throws IllegalArgumentException if the file cannot be read, or is no trace of this version
     */
    public static ReplayedTrace run(Path file, Function<double[], StepCost> costs) {
        return run(file, costs, new PageReserve());
    }

    /** The same with another reserve of pages. */
    static ReplayedTrace run(Path file, Function<double[], StepCost> costs, PageReserve reserve) {
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(Files.newInputStream(file)));
                Workers workers = new Workers(1)) {
            return new TraceReplay(in, costs, reserve, workers).replay();
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("the trace " + file + " cannot be used: " + e.getMessage(), e);
        } catch (IOException e) {
            throw new IllegalArgumentException("the trace " + file + " cannot be read: " + e, e);
        }
    }

    private ReplayedTrace replay() throws IOException {
        String difference = null;
        boolean isWhole = false;
        try {
            for (int kind = in.read(); kind >= 0; kind = in.read()) {
                records++;
                switch (kind) {
                    case TraceWriter.REQUEST -> request();
                    case TraceWriter.CANCEL -> cancel();
                    case TraceWriter.CANCEL_ALL -> {
                        readReadings();
                        scheduler.endAll(FinishReason.CANCELLED, null);
                    }
                    case TraceWriter.STEP -> step();
                    default -> throw damaged();
                }
                if (nextReading != readings.length) {
                    throw new DifferenceException(
                            "the clock was read " + readings.length + " times, and now " + nextReading + " times");
                }
            }
            isWhole = true;
        } catch (EOFException e) {
            // the process was killed: the last record is not whole
        } catch (DifferenceException | IllegalStateException e) {
            difference = "record " + records + ", after " + steps + " steps: " + e.getMessage();
        }
        return new ReplayedTrace(requests, steps, tracker.preemptions(), isWhole, difference);
    }

    private long reading() {
        if (nextReading == readings.length) {
            throw new DifferenceException("the clock was read " + readings.length + " times, and now more often");
        }
        return readings[nextReading++];
    }

    private void readReadings() throws IOException {
        readings = new long[checked(in.readInt(), 0, MOST_READINGS)];
        for (int i = 0; i < readings.length; i++) {
            readings[i] = in.readLong();
        }
        nextReading = 0;
    }

    private void request() throws IOException {
        long acceptedNanos = in.readLong();
        long queuedTokens = in.readLong();
        int maxNewTokens = checked(in.readInt(), 1, MOST_TOKENS);
        boolean scored = in.readBoolean();
        String kind = in.readUTF();
        Pooling pooling = kind.isEmpty() ? null : Pooling.valueOf(kind);
        String salt = in.readLong() + " " + in.readLong();
        String tenant = in.readLong() + " " + in.readLong();
        int weight = checked(in.readInt(), 1, Scheduling.MAX_WEIGHT);
        int priority = in.readInt();
        Duration timeout = Duration.ofNanos(in.readLong());
        int width = checked(in.readInt(), 0, BeamSearch.MAX_WIDTH);
        BeamSearch search = width == 0
                ? null
                : new BeamSearch(width, in.readDouble(), BeamSearch.EarlyStopping.valueOf(in.readUTF()));
        int[] prompt = tokens(1, header.maxContext() - (pooling == null ? 1 : 0));
        boolean cancelled = in.readBoolean();
        readReadings();
        SamplingParams params = SamplingParams.builder()
                .maxTokens(maxNewTokens)
                .stopTokens(List.of(END))
                .ignoreEndOfText(true)
                .promptLogprobs(scored ? 0 : -1)
                .build();
        Scheduling scheduling = Scheduling.DEFAULT
                .withTenant(tenant, weight)
                .withPriority(priority)
                .withTimeout(timeout);
        Request request = pooling == null
                ? new Request(prompt, params, salt, scheduling)
                : Request.forVector(prompt, pooling, salt, scheduling);
        BeamGroup group = search == null ? null : new BeamGroup(search, params, maxNewTokens, new int[0]);
        List<Sequence> members = new ArrayList<>();
        for (int i = 0; i < Math.max(1, width); i++) {
            Sequence sequence = new Sequence(
                    request,
                    NoText.INSTANCE,
                    maxNewTokens,
                    null,
                    new int[0],
                    acceptedNanos,
                    closed -> {},
                    group == null ? null : group.nextBeam());
            if (group != null) {
                group.add(sequence);
            }
            members.add(sequence);
        }
        tracker.accept(members, inbox);
        inbox.clear();
        for (Sequence sequence : members) {
            sequence.queuedTokens = queuedTokens; // it depended on the time of the arrival
            numberToSequence.put(requests++, sequence);
        }
        Sequence first = members.getFirst();
        if (cancelled) {
            first.stream.close();
        }
        scheduler.receive(first);
    }

    private void cancel() throws IOException {
        Sequence sequence = numberToSequence.get(in.readLong());
        readReadings();
        if (sequence == null) {
            throw damaged();
        }
        if (sequence.state == State.ENDED) {
            throw new DifferenceException("request " + sequence.number + " has ended before it was cancelled");
        }
        sequence.stream.close();
        scheduler.receive(sequence);
    }

    private void step() throws IOException {
        readStep();
        StepPlan plan = scheduler.plan();
        compare(plan);
        if (plan.isEmpty()) {
            return;
        }
        for (int i = 0; i < plan.size(); i++) {
            int[] kept = step.kept[i];
            RuntimeException failure = null;
            if (plan.sequence(i).beam != null) {
                failure = step.failed[i] ? new ConstraintException("the search failed") : null;
                verifier.setBeam(plan, i, step.ready[i], failure, NO_LOGPROBS);
                continue;
            }
            if (step.ended[i] && kept.length > 0) {
                kept[kept.length - 1] = END;
            } else if (step.ended[i] && plan.sequence(i).pooled == null) {
                failure = new ConstraintException("the answer ended without a token");
            }
            verifier.set(plan, i, kept, failure, NO_LOGPROBS);
        }
        scheduler.commit(plan, verifier);
        for (int i = 0; i < plan.size(); i++) {
            if (step.ended[i] != (plan.sequence(i).state == State.ENDED)) {
                throw new DifferenceException(plan.sequence(i) + (step.ended[i] ? " goes on" : " has ended"));
            }
            if (step.ended[i]) {
                numberToSequence.remove(step.numbers[i]);
            }
        }
        steps++;
    }

    private void readStep() throws IOException {
        step = new RecordedStep(checked(in.readInt(), 0, header.limits().sequences()));
        for (int i = 0; i < step.numbers.length; i++) {
            step.numbers[i] = in.readLong();
            step.counts[i] = in.readInt();
            step.held[i] = in.readInt();
            step.drafts[i] = tokens(0, header.limits().tokens());
        }
        step.usedPages = in.readInt();
        step.evictions = in.readLong();
        step.preemptions = in.readLong();
        for (int i = 0; i < step.numbers.length; i++) {
            Sequence sequence = numberToSequence.get(step.numbers[i]);
            if (sequence != null && sequence.beam != null) {
                readBeam(sequence.beam.next, i);
                continue;
            }
            step.kept[i] = tokens(0, 1 + step.drafts[i].length);
            step.ended[i] = in.readBoolean();
        }
        readReadings();
    }

    private void readBeam(Continuations next, int index) throws IOException {
        step.kept[index] = new int[0];
        step.ready[index] = in.readBoolean();
        int count = checked(in.readInt(), 0, 2 * next.width());
        if (step.ready[index]) {
            next.clear();
        }
        for (int i = 0; i < count; i++) {
            next.add(in.readInt(), in.readFloat(), 1, in.readBoolean());
        }
        step.ended[index] = in.readBoolean();
        step.failed[index] = in.readBoolean();
    }

    private void compare(StepPlan plan) {
        boolean same = plan.size() == step.numbers.length
                && pages.used() == step.usedPages
                && pages.evictions() == step.evictions
                && tracker.preemptions() == step.preemptions;
        for (int i = 0; same && i < plan.size(); i++) {
            same = plan.sequence(i).number == step.numbers[i]
                    && plan.tokenCount(i) == step.counts[i]
                    && plan.draftCount(i) == step.drafts[i].length
                    && pages.held(plan.sequence(i).row) == step.held[i];
        }
        if (!same) {
            StringBuilder now = new StringBuilder();
            for (int i = 0; i < plan.size(); i++) {
                Sequence sequence = plan.sequence(i);
                RecordedStep.describe(
                        now, sequence.number, plan.tokenCount(i), plan.draftCount(i), pages.held(sequence.row));
            }
            throw new DifferenceException("the next step was\n  " + step.describe() + "\nand is now\n  "
                    + RecordedStep.end(now, pages.used(), pages.evictions(), tracker.preemptions()));
        }
    }

    /** Reads the number of tokens, and then the tokens. */
    private int[] tokens(int least, int most) throws IOException {
        int[] tokens = new int[checked(in.readInt(), least, most)];
        for (int i = 0; i < tokens.length; i++) {
            tokens[i] = in.readInt();
        }
        return tokens;
    }

    /** @throws IllegalArgumentException if a number of the file is out of its range */
    static int checked(int number, int least, int most) {
        if (number < least || number > most) {
            throw new IllegalArgumentException(
                    "it is damaged: there is " + number + " where a number from " + least + " to " + most + " must be");
        }
        return number;
    }

    private IllegalArgumentException damaged() {
        return new IllegalArgumentException("it is damaged: record " + records + " makes no sense");
    }

    /** Adds the draft tokens of the trace to a plan, as far as it is the recorded one. */
    private final class RecordedDrafts implements DraftSource {
        @Override
        public void draft(StepPlan plan, int budget) {
            int left = budget;
            for (int i = 0; i < Math.min(plan.size(), step.numbers.length); i++) {
                Sequence sequence = plan.sequence(i);
                int[] tokens = step.drafts[i];
                if (sequence.number != step.numbers[i] || !plan.wantsToken(i)) {
                    continue;
                }
                if (step.held[i]
                        > pages.pagesFor(sequence.length())) { // pages for draft tokens, also for discarded ones
                    pages.reserve(sequence.row, step.held[i] * pages.pageTokens());
                }
                if (tokens.length > 0 && tokens.length <= left) {
                    sequence.makeRoom(tokens.length);
                    System.arraycopy(tokens, 0, sequence.tokens(), sequence.length(), tokens.length);
                    plan.draft(i, tokens.length);
                    left -= tokens.length;
                }
            }
        }
    }

    /** Turns every token into no text. */
    private enum NoText implements Tokenizer {
        INSTANCE;

        private static final byte[] NOTHING = {};

        @Override
        public int vocabularySize() {
            return MOST_TOKENS;
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            throw new UnsupportedOperationException("a trace has tokens and no text");
        }

        @Override
        public byte[] bytes(int token) {
            return NOTHING;
        }

        @Override
        public String spelling(int token) {
            return "";
        }

        @Override
        public boolean isControl(int token) {
            return false;
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return token == END;
        }

        @Override
        public OptionalInt bos() {
            return OptionalInt.empty();
        }

        @Override
        public OptionalInt eos() {
            return OptionalInt.empty();
        }
    }
}
