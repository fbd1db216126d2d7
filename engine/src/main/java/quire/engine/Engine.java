package quire.engine;

import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.time.ZoneId;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Decoder;
import quire.model.Model;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/** Many requests, one model: continuous batching over a paged KV cache. Thread-safe. */
public final class Engine implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    /** How long the passes of a model are measured before the first step, at most. */
    private static final long COST_NANOS = 300_000_000;

    private static final long DRAFT_COST_NANOS = 100_000_000;

    private final Model model;
    private final Runnable release;
    private final Tokenizer tokenizer;
    private final @Nullable ChatTemplate chatTemplate;
    private final String chatTemplateError;
    private final String name;
    private final EngineLoop loop;
    private final Thread thread;
    private final AtomicBoolean modelClosed = new AtomicBoolean();

    private Engine(
            Model model,
            Runnable release,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String chatTemplateError,
            String name,
            EngineLoop loop) {
        this.model = model;
        this.release = release;
        this.tokenizer = tokenizer;
        this.chatTemplate = chatTemplate;
        this.chatTemplateError = chatTemplateError;
        this.name = name;
        this.loop = loop;
        thread = Thread.ofPlatform().daemon().name("engine").unstarted(loop);
    }

    /**
     * Loads a GGUF file, plans the memory, packs the weights and starts the engine thread. The file stays mapped until
     * {@link #close}. A chat template that cannot be used is a warning, and {@link #chatTemplateError} says why.
     *
     * @throws quire.model.format.ModelFormatException if the file cannot be used
     * @throws IllegalArgumentException if the configuration asks for more than the machine or the model has
     */
    public static Engine open(Path path, EngineConfig config, EngineListener listener) {
        return open(path, config, listener, DraftPolicy::of);
    }

    @SuppressWarnings("MustBeClosedChecker") // the engine owns file, workers and decoder and closes them
    static Engine open(Path path, EngineConfig config, EngineListener listener, DraftPolicy.Maker policies) {
        Deque<AutoCloseable> owned = new ArrayDeque<>(); // last opened, first closed
        Runnable release = () -> closeAll(owned);
        try {
            Gguf file = Gguf.open(path);
            owned.push(file);
            ModelConfig shape = ModelConfig.from(file);
            Tokenizer tokenizer = Tokenizers.of(file);
            Kernels kernels = Kernels.best();
            Gguf draftFile = openDraft(config);
            if (draftFile != null) {
                owned.push(draftFile);
                checkSameTokens(tokenizer, Tokenizers.of(draftFile), config.speculation());
            }
            MemoryPlan plan = plan(file, shape, draftFile, config);
            int threads = config.threads() == 0 ? Runtime.getRuntime().availableProcessors() : config.threads();
            Workers workers = new Workers(threads);
            owned.push(workers);
            Decoder decoder = Decoder.load(
                    file,
                    shape,
                    kernels,
                    workers,
                    plan.kvLayout(),
                    plan.pageCount(),
                    config.maxBatchedTokens(),
                    config.maxLogitRows());
            owned.push(decoder);
            Decoder draft = null;
            if (draftFile != null) {
                ModelConfig draftShape = ModelConfig.from(draftFile);
                draft = Decoder.load(
                        draftFile,
                        draftShape,
                        kernels,
                        workers,
                        plan.kvLayout(MemoryPlan.Shape.of(draftShape)),
                        plan.pageCount(),
                        config.maxBatchedTokens(),
                        config.maxSequences());
                owned.push(draft);
            }
            LOG.log(Level.INFO, "kernels " + kernels.name() + " on " + threads + " threads: " + kernels.reason());
            plan.describe(plan.maxContext()).lines().forEach(line -> LOG.log(Level.INFO, line));
            ChatTemplate template = null;
            String templateError = "";
            try {
                template = ChatTemplates.of(file, tokenizer, Clock.system(ZoneId.systemDefault()));
                templateError = template == null ? "the model has no chat template" : "";
            } catch (ChatTemplateException e) {
                templateError = "the model's chat template cannot be used: " + e.getMessage();
                LOG.log(Level.WARNING, templateError);
            }
            String name = shape.name().isEmpty() ? String.valueOf(path.getFileName()) : shape.name();
            CostModel cost = cost(decoder, config, COST_NANOS);
            Speculator.Draft drafter = draft == null
                    ? null
                    : new Speculator.Draft(
                            draft, cost(draft, config, DRAFT_COST_NANOS).follows(cost));
            Speculation speculation = config.speculation();
            if (speculation.isOn()) {
                LOG.log(
                        Level.INFO,
                        "speculation: "
                                + (speculation.draftTokens() == Speculation.AUTO
                                        ? "as far as it pays"
                                        : speculation.draftTokens() + " draft tokens a step")
                                + (speculation.lookup() ? ", by lookup" : "")
                                + (draft == null ? "" : ", by " + speculation.draft()));
            }
            LongSupplier nanoClock = System::nanoTime;
            EngineLoop loop = new EngineLoop(
                    decoder,
                    workers,
                    tokenizer,
                    config,
                    (pages, team) -> Speculator.of(config, decoder, cost, drafter, policies, pages, team, nanoClock),
                    listener,
                    nanoClock);
            Engine engine = new Engine(decoder, release, tokenizer, template, templateError, name, loop);
            engine.start(config);
            return engine;
        } catch (Throwable e) {
            closeAll(owned);
            throw e;
        }
    }

    /** What the governor has to know before the first step; nothing is measured when nobody asks. */
    private static CostModel cost(Model model, EngineConfig config, long budgetNanos) {
        return config.speculation().isOn()
                ? CostModel.measure(model, config.maxBatchedTokens(), System::nanoTime, budgetNanos)
                : CostModel.unknown(config.maxBatchedTokens());
    }

    @SuppressWarnings("MustBeClosedChecker") // the caller owns it
    private static @Nullable Gguf openDraft(EngineConfig config) {
        Path draft = config.speculation().draft();
        return draft == null || !config.speculation().isOn() ? null : Gguf.open(draft);
    }

    /** Draft tokens are passed on as ids, so every id must mean the same. */
    private static void checkSameTokens(Tokenizer tokenizer, Tokenizer other, Speculation speculation) {
        String where = "the draft model " + speculation.draft() + " does not fit: ";
        String way = "; choose a draft model of the same family, or none";
        if (tokenizer.vocabularySize() != other.vocabularySize()) {
            throw new IllegalArgumentException(where + "it has " + other.vocabularySize() + " tokens, the model "
                    + tokenizer.vocabularySize() + way);
        }
        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
            if (!tokenizer.spelling(token).equals(other.spelling(token))
                    || tokenizer.isControl(token) != other.isControl(token)) {
                throw new IllegalArgumentException(where + "token " + token + " is \"" + other.spelling(token)
                        + "\" there and \"" + tokenizer.spelling(token) + "\" in the model" + way);
            }
        }
    }

    /**
     * The memory that {@link #open} would plan for; reads the draft model's file if there is one.
     *
     * @throws quire.model.format.ModelFormatException if that file cannot be used
     */
    public static MemoryPlan plan(Gguf file, ModelConfig shape, EngineConfig config) {
        try (Gguf draft = openDraft(config)) {
            return plan(file, shape, draft, config);
        }
    }

    private static MemoryPlan plan(Gguf file, ModelConfig shape, @Nullable Gguf draft, EngineConfig config) {
        MemoryPlan.Draft drafting = null;
        if (draft != null) {
            ModelConfig draftShape = ModelConfig.from(draft);
            drafting = new MemoryPlan.Draft(
                    MemoryPlan.Shape.of(draftShape),
                    Decoder.weightBytes(draft),
                    Decoder.activationBytes(draftShape, config.maxBatchedTokens(), config.maxSequences()));
        }
        return MemoryPlan.of(
                MemoryPlan.Shape.of(shape),
                config,
                Decoder.weightBytes(file),
                Decoder.activationBytes(shape, config.maxBatchedTokens(), config.maxLogitRows()),
                drafting,
                MemoryPlan.availableBytesHere());
    }

    private static void closeAll(Deque<AutoCloseable> owned) {
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (Exception e) {
                LOG.log(Level.WARNING, "could not close", e);
            }
        }
    }

    /**
     * Starts an engine on a model that is already there. The engine owns it from now on. What shapes a model
     * ({@code kvCacheBytes}, {@code pageTokens}, {@code kvType}, {@code threads}) has shaped this one already and is not
     * looked at, nor is a draft model's file.
     *
     * @param name for people and for the API's {@code model} field
     * @param nanoClock a monotonic clock, {@code System::nanoTime}
     * @throws IllegalArgumentException if the configuration asks for more than the model can do in a step
     */
    public static Engine of(
            Model model,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String name,
            EngineConfig config,
            EngineListener listener,
            LongSupplier nanoClock) {
        String error = chatTemplate == null ? "the model has no chat template" : "";
        EngineLoop loop = new EngineLoop(model, tokenizer, config, listener, nanoClock);
        Engine engine = new Engine(model, model::close, tokenizer, chatTemplate, error, name, loop);
        engine.start(config);
        return engine;
    }

    private void start(EngineConfig config) {
        LOG.log(
                Level.INFO,
                name + ": context " + maxContext() + " tokens (" + loop.contextLimit() + "), " + model.pageCount()
                        + " KV pages of "
                        + model.pageTokens() + " tokens, at most " + config.maxSequences() + " sequences and "
                        + config.maxBatchedTokens() + " tokens a step");
        thread.start();
    }

    /**
     * Queues a request. The answer ends with {@link FinishReason#LENGTH} after {@code maxTokens} tokens or at the end of
     * the context, whichever comes first.
     *
     * @throws InvalidRequestException if the request is at fault: empty prompt, unknown token id, prompt that leaves no
     *     room for an answer in the context
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    public TokenStream submit(Request request) {
        return loop.submit(request);
    }

    /**
     * Lets the engine do without draft tokens from the next step on, or use them again as its {@link Speculation} says; answers stay the
     * same. For comparing the two on one engine: two engines differ in where their memory lies.
     */
    public void setSpeculating(boolean speculating) {
        loop.speculator().setOn(speculating);
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /** The model's chat template; null when it has none, or none that can be rendered ({@link #chatTemplateError}). */
    public @Nullable ChatTemplate chatTemplate() {
        return chatTemplate;
    }

    /** Why there is no chat template, for people: names the construct. Empty when there is one. */
    public String chatTemplateError() {
        return chatTemplateError;
    }

    /** The model's name. */
    public String modelName() {
        return name;
    }

    /** Positions of one sequence, prompt and answer: what the model, the configuration and the KV pages all allow. */
    public int maxContext() {
        return loop.maxContext();
    }

    /** A picture of the engine. It knows of every request that was accepted and of every end that was told. */
    public EngineStats stats() {
        return loop.ledger().stats();
    }

    /** What broke the engine; null while it is healthy. */
    public @Nullable Throwable failure() {
        return loop.ledger().failure();
    }

    /**
     * Refuses new requests and waits until those accepted have ended; cancels what is left after {@code patience}.
     *
     * @return whether all ended by themselves; false if some had to be cancelled or the engine broke
     * @throws InterruptedException if interrupted while waiting; the engine stays draining
     */
    public boolean drain(Duration patience) throws InterruptedException {
        loop.ledger().drain();
        boolean ended = loop.ledger().awaitEmpty(patience.toNanos());
        if (!ended) {
            loop.cancelAll();
            loop.ledger().awaitEmpty();
        }
        return ended && failure() == null;
    }

    /** Cancels everything, waits for the step under way, ends the engine thread and frees the model. */
    @Override
    public void close() {
        loop.ledger().close();
        loop.wake();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true; // the model must not be freed under the engine thread
            }
        }
        if (modelClosed.compareAndSet(false, true)) {
            release.run();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
