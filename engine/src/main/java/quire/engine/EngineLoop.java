package quire.engine;

import java.lang.System.Logger.Level;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Batch;
import quire.model.Model;
import quire.model.text.Tokenizer;
import quire.tensor.FloatMatrix;
import quire.tensor.Workers;

/**
 * The one thread that owns the state: requests come in through the inbox, steps are executed, answers leave through
 * their streams. Everything here but {@link #submit}, {@link #wake} and {@link #cancelAll} belongs to it.
 */
final class EngineLoop implements Runnable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    private final Model model;
    private final Tokenizer tokenizer;
    private final LongSupplier nanoClock;
    private final int maxContext;
    private final String contextLimit;
    private final KvPages pages;
    private final Ledger ledger;
    private final Speculator speculator;
    private final Scheduler scheduler;
    private final Tokens tokens;
    /** Many to one: new sequences, and those whose stream was closed. */
    private final ConcurrentLinkedQueue<Sequence> inbox = new ConcurrentLinkedQueue<>();

    private volatile boolean cancelAll;
    private volatile @Nullable Thread thread;
    private boolean audited = true;

    /** Makes the part that guesses ahead, once it is known what it works with. */
    @FunctionalInterface
    interface Speculators {
        /** For these pages, with these samplers. */
        Speculator create(KvPages pages, SamplerTeam team);
    }

    /** A loop that chooses tokens on its own thread and knows nothing yet about what the model's passes cost. */
    EngineLoop(Model model, Tokenizer tokenizer, EngineConfig config, EngineListener listener, LongSupplier nanoClock) {
        this(
                model,
                new Workers(1),
                tokenizer,
                config,
                (pages, team) -> Speculator.of(
                        config,
                        model,
                        CostModel.unknown(config.maxBatchedTokens()),
                        null,
                        DraftPolicy::of,
                        pages,
                        team,
                        nanoClock),
                listener,
                nanoClock);
    }

    /** @param workers choose tokens between two passes of the model; they may be the model's own */
    EngineLoop(
            Model model,
            Workers workers,
            Tokenizer tokenizer,
            EngineConfig config,
            Speculators speculators,
            EngineListener listener,
            LongSupplier nanoClock) {
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
        this.model = model;
        this.tokenizer = tokenizer;
        this.nanoClock = nanoClock;
        int wanted = config.maxContext() == 0 ? model.contextLength() : config.maxContext();
        long poolTokens = (long) model.pageCount() * model.pageTokens();
        maxContext = (int) Math.min(wanted, poolTokens);
        contextLimit = poolTokens < wanted
                ? model.pageCount() + " KV pages of " + model.pageTokens() + " tokens hold no more: raise kvCacheBytes"
                : config.maxContext() == 0 ? "what the model was trained for" : "maxContext";
        pages = new KvPages(model.pageCount(), model.pageTokens(), config.maxSequences(), maxContext);
        SamplerTeam team = new SamplerTeam(workers, model.vocabularySize());
        speculator = speculators.create(pages, team);
        ledger =
                new Ledger(config.maxQueuedRequests(), config.maxQueuedTokens(), model.pageCount(), speculator.names());
        scheduler = new Scheduler(
                pages,
                speculator,
                config.maxSequences(),
                config.maxBatchedTokens(),
                model.maxLogitRows(),
                ledger,
                listener,
                nanoClock);
        tokens = new Tokens(config.maxSequences(), model.maxLogitRows(), team);
    }

    private static void require(boolean condition, String fault) {
        if (!condition) {
            throw new IllegalArgumentException(fault);
        }
    }

    /** Where drafts are switched on and off. */
    Speculator speculator() {
        return speculator;
    }

    /** One step. Returns tokens computed; 0 when there is nothing to do. */
    int doWork() {
        drainInbox();
        StepPlan plan = scheduler.plan();
        if (plan.isEmpty()) {
            return idle();
        }
        audited = false;
        Batch batch = plan.batch();
        FloatMatrix logits = model.forward(batch);
        tokens.choose(plan, logits);
        return scheduler.commit(plan, tokens);
    }

    private void drainInbox() {
        for (Sequence sequence = inbox.poll(); sequence != null; sequence = inbox.poll()) {
            scheduler.receive(sequence);
        }
        if (cancelAll) {
            cancelAll = false;
            scheduler.endAll(FinishReason.CANCELLED, null);
        }
    }

    /** Nothing to do: time to look whether everything is where it should be. */
    private int idle() {
        if (!audited) {
            checkIntegrity();
            audited = true;
        }
        return 0;
    }

    /**
     * Audits pages, rows and books.
     *
     * @throws IllegalStateException naming what does not add up
     */
    void checkIntegrity() {
        scheduler.checkIntegrity();
    }

    /** The engine thread's life. */
    @Override
    public void run() {
        thread = Thread.currentThread();
        try {
            while (!ledger.isClosed()) {
                if (doWork() == 0) {
                    waitForWork();
                }
            }
            cancelAll = true;
            drainInbox();
        } catch (Throwable e) {
            breakDown(e);
        }
    }

    /** Parks; whoever changes something looked at here calls {@link #wake} afterwards. */
    private void waitForWork() {
        if (inbox.isEmpty() && !cancelAll && !ledger.isClosed()) {
            LockSupport.park(this);
        }
        Thread.interrupted(); // nobody has a reason to interrupt this thread; do not spin if somebody did
    }

    /** Our bug: say everything that is known, leave nobody waiting, never run again. */
    private void breakDown(Throwable cause) {
        ledger.breakDown(cause);
        try {
            LOG.log(Level.ERROR, "the engine broke and ends all answers\n" + scheduler.describe(), cause);
            for (Sequence sequence = inbox.poll(); sequence != null; sequence = inbox.poll()) {
                scheduler.enqueue(sequence);
            }
        } finally {
            scheduler.abandonAll("the engine broke: " + cause, cause);
        }
    }

    /** Any thread: checks a request and queues it. See {@link Engine#submit}. */
    TokenStream submit(Request request) {
        int maxNewTokens = check(request);
        Sequence sequence =
                new Sequence(request, tokenizer, maxNewTokens, nanoClock.getAsLong(), closed -> post(closed));
        ledger.accept(sequence, inbox);
        wake();
        return sequence.stream;
    }

    private void post(Sequence sequence) {
        inbox.add(sequence);
        wake();
    }

    /** Most tokens the answer may have. */
    private int check(Request request) {
        int[] prompt = request.prompt();
        SamplingParams params = request.params();
        if (prompt.length == 0) {
            throw new InvalidRequestException("prompt", "the prompt is empty: give at least one token");
        }
        for (int i = 0; i < prompt.length; i++) {
            checkToken("prompt", prompt[i]);
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
        return Math.min(params.maxTokens(), maxContext - prompt.length);
    }

    private void checkToken(String parameter, int token) {
        if (token < 0 || token >= model.vocabularySize()) {
            throw new InvalidRequestException(
                    parameter,
                    "token id " + token + " does not exist: the vocabulary has ids 0 to "
                            + (model.vocabularySize() - 1));
        }
    }

    /** Any thread: lets the engine thread look around. */
    void wake() {
        LockSupport.unpark(thread);
    }

    /** Any thread: ends everybody with CANCELLED in the next step. */
    void cancelAll() {
        cancelAll = true;
        wake();
    }

    int maxContext() {
        return maxContext;
    }

    /** What decides {@link #maxContext}, for people. */
    String contextLimit() {
        return contextLimit;
    }

    Ledger ledger() {
        return ledger;
    }

    KvPages pages() {
        return pages;
    }
}
