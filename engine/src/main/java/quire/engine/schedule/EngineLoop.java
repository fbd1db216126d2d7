package quire.engine.schedule;

import java.lang.System.Logger.Level;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.engine.BeamSearch;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.EngineView;
import quire.engine.FinishReason;
import quire.engine.InvalidRequestException;
import quire.engine.MemoryPlan;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.constrain.Constraints;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.disk.PageFile;
import quire.engine.sample.SamplerTeam;
import quire.model.Batch;
import quire.model.Model;
import quire.model.text.Tokenizer;
import quire.tensor.FloatMatrix;
import quire.tensor.Workers;

/**
 * The loop of the engine thread, which owns all state. It takes requests from the inbox, computes tokens in steps, and
 * writes answers to their streams.
 *
 * <pre>
 *   inbox ──▶ plan ──▶ forward ──▶ choose ──▶ commit          {@link #doWork}
 * </pre>
 *
 * Other threads may call {@link #submit}, {@link #view}, {@link #wake}, {@link #cancelAll} and the accessors.
 */
public final class EngineLoop implements Runnable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    /** How long a part of the warm-up waits for requests at most, and how often it looks. A part takes some milliseconds. */
    private static final long MOST_WAIT_NANOS = 250_000_000;

    private static final long POLL_NANOS = 5_000_000;

    private final Model model;
    private final Tokenizer tokenizer;
    private final LongSupplier nanoClock;
    private final int maxContext;
    private final int maxSequences;
    private final String contextLimit;
    private final KvPages pages;
    private final RequestTracker tracker;
    private final DraftSource drafts;
    private final @Nullable DiskTier disk;
    private final Scheduler scheduler;
    private final TokenVerifier verifier;
    private final Constraints constraints;
    private final @Nullable TraceWriter trace;
    private final int[] endOfText;
    /** Messages from other threads to the engine thread: new sequences, and sequences whose stream was closed. */
    private final ConcurrentLinkedQueue<Sequence> inbox = new ConcurrentLinkedQueue<>();

    /** Those who want to see the engine wait for this; null if there is nobody. */
    private final AtomicReference<@Nullable CompletableFuture<EngineView>> viewer = new AtomicReference<>();

    private volatile boolean cancelAll;
    private volatile boolean ended; // whether the engine thread has shown the engine for the last time
    private volatile @Nullable Thread thread;
    private boolean checked = true; // whether the integrity was checked after the last step

    /** Collects the parts of a loop. Model, tokenizer and configuration are required. */
    public static final class Builder {
        private final Model model;
        private final Tokenizer tokenizer;
        private final EngineConfig config;
        private @Nullable Workers workers;
        private DraftSource.Factory drafts = context -> DraftSource.NONE;
        private EngineListener listener = EngineListener.NONE;
        private LongSupplier nanoClock = System::nanoTime;
        private StepCost cost = StepCost.NONE;
        private @Nullable PageFile file;
        private Executor io = Runnable::run;
        private @Nullable TraceWriter trace;
        private long prefixSeed = ThreadLocalRandom.current().nextLong();
        private long prefixMask = -1;
        private PageReserve reserve = new PageReserve();

        private Builder(Model model, Tokenizer tokenizer, EngineConfig config) {
            this.model = model;
            this.tokenizer = tokenizer;
            this.config = config;
        }

        /**
         * Threads that choose tokens between two forward passes. They may be the model's. Default: the engine thread
         * alone.
         */
        public Builder workers(Workers value) {
            workers = value;
            return this;
        }

        /** Where draft tokens come from. Default: there are none. */
        public Builder drafts(DraftSource.Factory value) {
            drafts = value;
            return this;
        }

        /**
         * Predicts the cost of steps, to keep them within {@link EngineConfig#targetTokenGap}. Default: {@link
         * StepCost#NONE}, with which steps have no limit in time.
         */
        public Builder cost(StepCost value) {
            cost = value;
            return this;
        }

        /** Receives events. Default: {@link EngineListener#NONE}. */
        public Builder listener(EngineListener value) {
            listener = value;
            return this;
        }

        /**
         * Keeps pages in a file, if the configuration has the prefix cache. The caller closes the file after {@code
         * ioThread} has ended.
         *
         * @param ioThread reads and writes: one thread, which keeps the order
         */
        public Builder disk(PageFile value, Executor ioThread) {
            file = value;
            io = ioThread;
            return this;
        }

        /** Records the steps. The caller closes it after the engine thread has ended. Not together with {@link #disk}. */
        public Builder trace(TraceWriter value) {
            trace = value;
            return this;
        }

        /** A monotonic clock. Default: {@code System::nanoTime}. */
        public Builder nanoClock(LongSupplier value) {
            nanoClock = value;
            return this;
        }

        /** Secret seed of the hashes in the {@link PrefixIndex}, and the bits of a hash that are used; for tests. */
        Builder prefixHash(long seed, long mask) {
            prefixSeed = seed;
            prefixMask = mask;
            return this;
        }

        /** How many pages stay free for running sequences; for tests that compare. */
        Builder reserve(PageReserve value) {
            reserve = value;
            return this;
        }

        /**
         * The loop; it has no thread yet.
         *
         * @throws IllegalArgumentException if the configuration asks for more than the model can do in a step
         */
        public EngineLoop build() {
            return new EngineLoop(this);
        }
    }

    /** A builder with the defaults. */
    public static Builder builder(Model model, Tokenizer tokenizer, EngineConfig config) {
        return new Builder(model, tokenizer, config);
    }

    private EngineLoop(Builder parts) {
        EngineConfig config = parts.config;
        model = parts.model;
        tokenizer = parts.tokenizer;
        nanoClock = parts.nanoClock;
        require(
                config.maxBatchedTokens() <= model.maxBatchTokens(),
                "maxBatchedTokens is " + config.maxBatchedTokens() + ", but the model takes at most "
                        + model.maxBatchTokens() + " tokens a step");
        require(
                config.maxSequences() <= model.maxLogitRows(),
                "maxSequences is " + config.maxSequences() + ", but the model returns at most " + model.maxLogitRows()
                        + " rows of logits");
        require(
                config.maxContext() <= model.contextLength(),
                "maxContext is " + config.maxContext() + ", but the model was trained for " + model.contextLength()
                        + " positions: choose at most that, or 0");
        int wanted = config.maxContext() == 0 ? model.contextLength() : config.maxContext();
        int overflow = model.overflowPages();
        int most = overflow == 0 ? model.pageCount() : MemoryPlan.pagesOfSequence(model.pageCount()) + overflow;
        long poolTokens = (long) most * model.pageTokens();
        int ofStep = model.isEncoder() ? config.maxBatchedTokens() : Integer.MAX_VALUE;
        maxContext = (int) Math.min(Math.min(wanted, ofStep), poolTokens);
        maxSequences = config.maxSequences();
        contextLimit = ofStep < Math.min(wanted, poolTokens)
                ? "limited by maxBatchedTokens, because an encoder computes a whole text in one step"
                : poolTokens < wanted
                        ? "limited by " + most + " KV pages of " + model.pageTokens()
                                + (parts.file == null
                                        ? " tokens: raise kvCacheBytes"
                                        : " tokens in memory: raise kvCacheBytes, or set maxContext to use the disk")
                        : config.maxContext() == 0
                                ? "the context that the model was trained for"
                                : "limited by maxContext";
        StepLimits limits = new StepLimits(
                config.maxSequences(), config.maxBatchedTokens(), model.maxLogitRows(), model.isEncoder());
        PrefixIndex index = config.prefixCache()
                ? new PrefixIndex(model.pageCount() + overflow, model.pageTokens(), parts.prefixSeed, parts.prefixMask)
                : null;
        pages = new KvPages(
                model.pageCount(),
                model.pageTokens(),
                limits.sequences(),
                maxContext,
                index,
                model.windowLayers(),
                limits.tokens(),
                model.savedStates(),
                overflow);
        disk = parts.file == null || index == null
                ? null
                : new DiskTier(
                        parts.file,
                        parts.io,
                        model,
                        pages,
                        index,
                        parts.prefixSeed,
                        parts.prefixMask,
                        nanoClock,
                        this::wake);
        Workers workers = parts.workers == null ? new Workers(1) : parts.workers;
        SamplerTeam samplers = new SamplerTeam(workers, model.vocabularySize());
        drafts = parts.drafts.create(
                new DraftSource.Context(limits, pages, samplers, model.vocabularySize(), nanoClock));
        tracker = new RequestTracker(config, pages, drafts, disk);
        trace = parts.trace;
        if (trace != null) {
            require(disk == null, "the steps of an engine with a KV file cannot be recorded");
            trace.begin(new TraceHeader(
                    limits,
                    maxContext,
                    model.pageCount(),
                    model.pageTokens(),
                    index != null,
                    model.isRecurrent(),
                    model.windowLayers(),
                    model.savedStates(),
                    config.targetTokenGap().toNanos(),
                    parts.cost.start()));
        }
        PromptPace pace = new PromptPace(parts.cost, config.targetTokenGap().toNanos());
        scheduler = new Scheduler(
                limits,
                pace,
                parts.reserve,
                pages,
                drafts,
                disk,
                tracker,
                parts.listener,
                trace == null ? nanoClock : trace.noting(nanoClock),
                model.isRecurrent());
        verifier = new TokenVerifier(limits, samplers);
        constraints = new Constraints(tokenizer);
        int tokens = Math.min(tokenizer.vocabularySize(), model.vocabularySize());
        endOfText =
                IntStream.range(0, tokens).filter(tokenizer::isEndOfGeneration).toArray();
    }

    private static void require(boolean condition, String fault) {
        if (!condition) {
            throw new IllegalArgumentException(fault);
        }
    }

    /** Where draft tokens come from. */
    public DraftSource drafts() {
        return drafts;
    }

    /** Any thread: reads the vocabulary for constraints, so that the first constrained request need not wait for it. */
    public void prepareConstraints() {
        constraints.prepare();
    }

    /** Any thread: see {@link quire.engine.Engine#warmUp}. */
    public void warmUp() {
        constraints.warmUp(this::giveWay);
    }

    /** Waits while a request runs, but not for long, so that a server that is always busy is warmed up too. */
    private void giveWay() {
        long begin = nanoClock.getAsLong();
        while (tracker.stats().running() > 0 && nanoClock.getAsLong() - begin < MOST_WAIT_NANOS) {
            LockSupport.parkNanos(POLL_NANOS);
        }
    }

    /** Allows or forbids to use the prefix cache, if the configuration has one. Any thread. */
    public void setPrefixCaching(boolean wanted) {
        pages.setCaching(wanted);
    }

    /** Executes one step. Returns the number of tokens computed; 0 when there is nothing to do. */
    public int doWork() {
        drainInbox();
        StepPlan plan = scheduler.plan();
        if (trace != null) {
            trace.planned(plan, pages, tracker.preemptions());
        }
        if (plan.isEmpty()) {
            if (trace != null) {
                trace.executed(plan);
            }
            return idle();
        }
        checked = false;
        plan.executeCopies(model);
        Batch batch = plan.batch();
        FloatMatrix logits = model.forward(batch);
        verifier.choose(plan, logits, model.vectorWidth() == 0 ? null : model.vectors());
        int tokens = scheduler.commit(plan, verifier);
        plan.executeCopies(model); // of beams with several continuations
        if (trace != null) {
            trace.executed(plan);
        }
        return tokens;
    }

    private void drainInbox() {
        for (Sequence sequence = inbox.poll(); sequence != null; sequence = inbox.poll()) {
            Sequence.State before = sequence.state;
            scheduler.receive(sequence);
            if (trace != null && before == Sequence.State.SUBMITTED) {
                trace.received(sequence);
            } else if (trace != null && before != Sequence.State.ENDED) {
                trace.cancelled(sequence);
            }
        }
        if (cancelAll) {
            cancelAll = false;
            scheduler.endAll(FinishReason.CANCELLED, null);
            if (trace != null) {
                trace.cancelledAll();
            }
        }
        if (viewer.get() != null) {
            show();
        }
    }

    /** Answers all who wait in {@link #view} at once, so that many of them cost one view a step. A fault is theirs alone. */
    private void show() {
        CompletableFuture<EngineView> waiting = viewer.getAndSet(null);
        if (waiting != null) {
            try {
                waiting.complete(scheduler.view());
            } catch (RuntimeException e) {
                waiting.completeExceptionally(e);
            }
        }
    }

    /**
     * Any thread: what the engine does, seen between two steps; waits for the end of the step that is under way.
     *
     * @throws IllegalStateException if the engine has ended
     */
    public EngineView view() throws InterruptedException {
        CompletableFuture<EngineView> mine = new CompletableFuture<>();
        CompletableFuture<EngineView> other = viewer.compareAndExchange(null, mine);
        CompletableFuture<EngineView> shared = other == null ? mine : other;
        wake();
        if (ended && !shared.isDone()) {
            throw new IllegalStateException("the engine has ended"); // it may have looked for us the last time before
        }
        try {
            return shared.get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the engine cannot be shown", e.getCause());
        }
    }

    /** Uses the time without work to check the integrity, once after the last step. */
    private int idle() {
        if (!checked) {
            checkIntegrity();
            checked = true;
        }
        return 0;
    }

    /**
     * Checks pages, rows and counts.
     *
     * @throws IllegalStateException naming the first inconsistency
     */
    public void checkIntegrity() {
        scheduler.checkIntegrity();
    }

    /** Runs until the engine is closed or fails. */
    @Override
    public void run() {
        thread = Thread.currentThread();
        try {
            while (!tracker.isClosed()) {
                if (doWork() == 0) {
                    waitForWork();
                }
            }
            cancelAll = true;
            drainInbox();
        } catch (Throwable e) {
            fail(e);
        } finally {
            ended = true;
            show();
        }
    }

    /** Parks the thread. Code that changes one of these conditions calls {@link #wake} afterwards. */
    private void waitForWork() {
        if (inbox.isEmpty()
                && !cancelAll
                && viewer.get() == null
                && !tracker.isClosed()
                && (disk == null || !disk.hasNews())) {
            LockSupport.park(this);
        }
        Thread.interrupted(); // an interrupt has no meaning here; a set flag would make park return at once
    }

    /** Handles an unexpected exception: logs the state, ends all answers, and refuses requests from now on. */
    private void fail(Throwable cause) {
        tracker.fail(cause);
        try {
            LOG.log(Level.ERROR, "the engine failed and ends all answers\n" + scheduler.describe(), cause);
            for (Sequence sequence = inbox.poll(); sequence != null; sequence = inbox.poll()) {
                scheduler.enqueue(sequence);
            }
        } finally {
            scheduler.abandonAll("the engine failed: " + cause, cause);
        }
    }

    /** Any thread: checks a request and queues it, as {@link quire.engine.Engine#submit} describes. */
    public TokenStream submit(Request request) {
        int maxNewTokens = check(request);
        Constraint constraint = request.params().constraint();
        ConstraintCursor cursor = constraint == null ? null : begin(constraint);
        Sequence sequence = new Sequence(
                request, tokenizer, maxNewTokens, cursor, endOfText, nanoClock.getAsLong(), closed -> post(closed));
        tracker.accept(sequence, inbox);
        wake();
        return sequence.stream;
    }

    /** Any thread: checks a request and queues it, as {@link quire.engine.Engine#submit(Request, BeamSearch)} describes. */
    public List<TokenStream> submit(Request request, BeamSearch search) {
        int maxNewTokens = check(request);
        BeamSearch.check(request.params());
        String fault = request.pooling() != null
                ? "is not possible for a vector"
                : model.isRecurrent()
                        ? "is not possible with this model: beams share pages, and its recurrent layers keep a state that"
                                + " is not in pages"
                        : null;
        if (fault != null) {
            throw new InvalidRequestException("useBeamSearch", "beam search " + fault);
        }
        if (search.width() > maxSequences) {
            throw new InvalidRequestException(
                    "width",
                    "width is " + search.width() + "; it must be at most maxSequences, which is " + maxSequences);
        }
        BeamGroup group = new BeamGroup(search, request.params(), maxNewTokens, endOfText);
        long now = nanoClock.getAsLong();
        for (int i = 0; i < search.width(); i++) {
            group.add(new Sequence(
                    request, tokenizer, maxNewTokens, null, endOfText, now, closed -> post(closed), group.nextBeam()));
        }
        tracker.accept(group.members(), inbox);
        wake();
        return group.members().stream()
                .map(member -> (TokenStream) member.stream)
                .toList();
    }

    private ConstraintCursor begin(Constraint constraint) {
        try {
            return constraints.begin(constraint);
        } catch (InvalidConstraintException e) {
            throw new InvalidRequestException("constraint", String.valueOf(e.getMessage()));
        }
    }

    private void post(Sequence sequence) {
        inbox.add(sequence);
        wake();
    }

    /** Checks a request; returns the most tokens that its answer may have. */
    private int check(Request request) {
        int[] prompt = request.prompt();
        SamplingParams params = request.params();
        if (prompt.length == 0) {
            throw new InvalidRequestException("prompt", "the prompt is empty: give at least one token");
        }
        for (int i = 0; i < prompt.length; i++) {
            checkToken("prompt", prompt[i]);
        }
        if (request.pooling() != null) {
            return checkForVector(prompt.length);
        }
        if (model.isEncoder()) {
            throw new InvalidRequestException(
                    "prompt", "the model is an encoder, which gives vectors of texts and no answers: ask for a vector");
        }
        if (prompt.length >= maxContext) {
            throw new InvalidRequestException(
                    "prompt",
                    "the prompt has " + prompt.length + " tokens, but at most " + (maxContext - 1)
                            + " leave room for an answer in a context of " + maxContext + " (" + contextLimit + ")");
        }
        for (int token : params.stopTokens()) {
            checkToken("stopTokens", token);
        }
        for (int token : params.logitBias().keySet()) {
            checkToken("logitBias", token);
        }
        for (int token : params.allowedTokens()) {
            checkToken("allowedTokens", token);
        }
        for (List<Integer> word : params.badWords()) {
            word.forEach(token -> checkToken("badWords", token));
        }
        return Math.min(params.maxTokens(), maxContext - prompt.length);
    }

    /** A vector needs no room for an answer. Returns 1, for the step that computes it. */
    private int checkForVector(int promptTokens) {
        if (model.vectorWidth() == 0) {
            throw new InvalidRequestException("pooling", "the model gives no vectors");
        }
        if (promptTokens > maxContext) {
            throw new InvalidRequestException(
                    "prompt",
                    "the prompt has " + promptTokens + " tokens, and the context at most " + maxContext + " ("
                            + contextLimit + ")");
        }
        return 1;
    }

    private void checkToken(String parameter, int token) {
        if (token < 0 || token >= model.vocabularySize()) {
            throw new InvalidRequestException(
                    parameter,
                    "token id " + token + " does not exist: the vocabulary has ids 0 to "
                            + (model.vocabularySize() - 1));
        }
    }

    /** Any thread: makes the engine thread check for work. */
    public void wake() {
        LockSupport.unpark(thread);
    }

    /** Any thread: ends all answers with {@link FinishReason#CANCELLED} before the next step. */
    public void cancelAll() {
        cancelAll = true;
        wake();
    }

    /** Sequences that run at a time, at most. */
    public int maxSequences() {
        return maxSequences;
    }

    /** Positions of one sequence: the least of what model, configuration and KV pages allow. */
    public int maxContext() {
        return maxContext;
    }

    /** The reason for {@link #maxContext}, for logs and errors. */
    public String contextLimit() {
        return contextLimit;
    }

    /** The scheduler, for tests that check its plans. */
    Scheduler scheduler() {
        return scheduler;
    }

    /** Counts requests by state and refuses those that exceed the queue. */
    public RequestTracker tracker() {
        return tracker;
    }

    /** Which sequence owns which KV page. */
    public KvPages pages() {
        return pages;
    }
}
