package quire.engine;

import static java.util.Objects.requireNonNull;

import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Clock;
import java.time.Duration;
import java.time.ZoneId;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.disk.PageFile;
import quire.engine.schedule.EngineLoop;
import quire.engine.schedule.TraceReplay;
import quire.engine.schedule.TraceWriter;
import quire.engine.speculate.CostModel;
import quire.engine.speculate.DraftPolicy;
import quire.engine.speculate.Speculator;
import quire.model.Decoder;
import quire.model.Model;
import quire.model.ModelConfig;
import quire.model.ModelFacts;
import quire.model.Pooling;
import quire.model.Ranking;
import quire.model.RopeScaling;
import quire.model.SamplingDefaults;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.Kernels;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Serves many requests with one model: continuous batching over a paged KV cache. Thread-safe.
 *
 * <pre>{@code
 * try (Engine engine = Engine.open(path, EngineConfig.defaults(), EngineListener.NONE)) {
 *     int[] prompt = engine.tokenizer().encode("Once upon a time", true, false);
 *     SamplingParams params = SamplingParams.builder().maxTokens(100).build();
 *     try (TokenStream stream = engine.submit(new Request(prompt, params))) {
 *         for (Output output = stream.next(); output != null; output = stream.next()) {
 *             System.out.print(output.text());
 *         }
 *     }
 * }
 * }</pre>
 */
public final class Engine implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    /** Nanoseconds for the first measurement of a model's passes; it takes longer where a few passes do. */
    private static final long COST_NANOS = 100_000_000;

    private static final long DRAFT_COST_NANOS = 50_000_000;

    private final Model model;
    private final Runnable release;
    private final Tokenizer tokenizer;
    private final @Nullable ChatTemplate chatTemplate;
    private final String chatTemplateError;
    private final SamplingDefaults recommendedSampling;
    private final String name;
    private final Pooling pooling;
    private final @Nullable Ranking ranking;
    private final @Nullable ModelFacts facts;
    private final EngineLoop loop;
    private final Thread thread;
    private final AtomicBoolean modelClosed = new AtomicBoolean();

    private Engine(
            Model model,
            Runnable release,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String chatTemplateError,
            SamplingDefaults recommendedSampling,
            String name,
            Pooling pooling,
            @Nullable Ranking ranking,
            @Nullable ModelFacts facts,
            EngineLoop loop) {
        this.model = model;
        this.release = release;
        this.tokenizer = tokenizer;
        this.chatTemplate = chatTemplate;
        this.chatTemplateError = chatTemplateError;
        this.recommendedSampling = recommendedSampling;
        this.name = name;
        this.pooling = pooling;
        this.ranking = ranking;
        this.facts = facts;
        this.loop = loop;
        thread = Thread.ofPlatform().daemon().name("engine").unstarted(loop);
    }

    /**
     * Loads a GGUF file, plans the memory, packs the weights and starts the engine thread. The metadata of the files is
     * checked completely before the first weight is read. After this method has returned, the files are no longer used:
     * they may be replaced or changed. If the chat template cannot be used, the engine opens without it, logs a
     * warning, and {@link #chatTemplateError} says why.
     *
     * @throws quire.model.format.ModelFormatException if the file cannot be used
     * @throws IllegalArgumentException if the configuration asks for more than the machine or the model has, or if {@code
     *     kvDisk} cannot be used
     */
    public static Engine open(Path path, EngineConfig config, EngineListener listener) {
        return open(path, config, listener, DraftPolicy::of);
    }

    @SuppressWarnings("MustBeClosedChecker") // the engine owns workers and decoders and closes them
    static Engine open(Path path, EngineConfig wanted, EngineListener listener, DraftPolicy.Maker policies) {
        Deque<AutoCloseable> owned = new ArrayDeque<>(); // closed in reverse order
        Runnable release = () -> closeAll(owned);
        try (Gguf file = Gguf.open(path);
                Gguf draftFile = openDraft(wanted)) {
            ModelConfig shape = ModelConfig.from(file, wanted.rope());
            EngineConfig possible = withPrefixCache(wanted, shape);
            Tokenizer tokenizer = Tokenizers.of(file);
            Kernels kernels = KernelSets.best();
            if (draftFile != null) {
                checkSameTokens(tokenizer, Tokenizers.of(draftFile), possible.speculation());
            }
            shape.checkTensors(file);
            if (draftFile != null) {
                ModelConfig draftShape = ModelConfig.from(draftFile);
                draftShape.checkTensors(draftFile);
                refuseRecurrent(draftShape, possible.speculation());
            }
            int threads = threads(possible);
            MemoryPlan plan =
                    plan(file, shape, draftFile, possible, kernels, MachineMemory.here(), JavaMemory.here(threads));
            boolean hasNoState = shape.savedStateBytes() > 0 && plan.savedStates() == 0;
            EngineConfig config =
                    hasNoState ? possible.toBuilder().prefixCache(false).build() : possible;
            if (wanted.prefixCache() && !config.prefixCache()) {
                LOG.log(
                        Level.INFO,
                        "prefix cache off: "
                                + (shape.blocks().encoder()
                                        ? "every position of an encoder sees the whole text"
                                        : "a saved state takes " + MemoryPlan.size(shape.savedStateBytes())
                                                + ", more than a quarter of the KV cache: raise kvCacheBytes, or set"
                                                + " savedStates"));
            }
            String name = shape.name().isEmpty() ? String.valueOf(path.getFileName()) : shape.name();
            LoadProgress progress = new LoadProgress(
                    name,
                    Decoder.matrixBytes(file, kernels)
                            + (draftFile == null ? 0 : Decoder.matrixBytes(draftFile, kernels)),
                    listener);
            Workers workers = new Workers(threads);
            owned.push(workers);
            ModelConfig computed = shape.upTo(config.maxContext(), file);
            Path kvDisk = config.kvDisk();
            Decoder.Overflow overflow = kvDisk == null || plan.overflowPages() == 0
                    ? null
                    : new Decoder.Overflow(
                            plan.overflowPages(),
                            requireNonNull(kvDisk.toAbsolutePath().getParent()));
            Decoder decoder = Decoder.load(
                    file,
                    computed,
                    kernels,
                    workers,
                    new Decoder.Capacity(
                            config.kvType(),
                            config.pageTokens(),
                            plan.pageCount(),
                            config.maxBatchedTokens(),
                            config.maxLogitRows(),
                            config.maxSequences(),
                            config.prefixCache(),
                            plan.windowPageCount(),
                            plan.savedStates(),
                            overflow),
                    config.packedCache(),
                    progress::add);
            owned.push(decoder);
            Decoder draft = null;
            if (draftFile != null) {
                ModelConfig draftShape = ModelConfig.from(draftFile);
                draft = Decoder.load(
                        draftFile,
                        draftShape.upTo(config.maxContext(), draftFile),
                        kernels,
                        workers,
                        new Decoder.Capacity(
                                config.kvType(),
                                config.pageTokens(),
                                plan.pageCount(),
                                config.maxBatchedTokens(),
                                config.maxSequences(),
                                config.maxSequences(),
                                false,
                                0,
                                0,
                                overflow),
                        config.packedCache(),
                        progress::add);
                owned.push(draft);
            }
            progress.end();
            LOG.log(Level.INFO, "kernels " + kernels.name() + " on " + threads + " threads: " + kernels.reason());
            plan.describe(plan.maxContext()).lines().forEach(line -> LOG.log(Level.INFO, line));
            plan.warnings().forEach(warning -> LOG.log(Level.WARNING, warning));
            ChatTemplate template = null;
            String templateError = "";
            try {
                template = ChatTemplates.of(file, tokenizer, Clock.system(ZoneId.systemDefault()));
                templateError = template == null ? "the model has no chat template" : "";
            } catch (ChatTemplateException e) {
                templateError = "the model's chat template cannot be used: " + e.getMessage();
                LOG.log(Level.WARNING, templateError);
            }
            SamplingDefaults.Recommendation recommended = SamplingDefaults.from(file);
            recommended.warnings().forEach(warning -> LOG.log(Level.WARNING, warning));
            LOG.log(
                    Level.INFO,
                    "sampling that the model's file recommends: "
                            + recommended.values().describe());
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
                                        ? "the number of draft tokens is chosen by measurement"
                                        : speculation.draftTokens() + " draft tokens a step")
                                + (speculation.lookup() ? ", by lookup" : "")
                                + (draft == null ? "" : ", by " + speculation.draft()));
            }
            Speculator.Setup setup = new Speculator.Setup(config, cost, drafter, policies);
            EngineLoop.Builder parts = EngineLoop.builder(decoder, tokenizer, config)
                    .workers(workers)
                    .drafts(context -> Speculator.of(setup, context))
                    .cost(cost.copyOfStart())
                    .listener(listener);
            Path trace = config.trace();
            if (trace != null) {
                TraceWriter writer = TraceWriter.create(trace);
                owned.push(writer);
                parts.trace(writer);
            }
            if (kvDisk != null) {
                PageFile.Contents contents = new PageFile.Contents(
                        identity(file, config, kernels, !computed.equals(shape)),
                        decoder.pageTokens(),
                        decoder.pageBytes());
                PageFile pages = PageFile.open(kvDisk, plan.kvFileBytes(), contents);
                owned.push(pages);
                ExecutorService io = ioThread(decoder.pageBytes());
                owned.push(io); // closed first: it ends what it has begun
                parts.disk(pages, io);
            }
            EngineLoop loop = parts.build();
            Engine engine = new Engine(
                    decoder,
                    release,
                    tokenizer,
                    template,
                    templateError,
                    recommended.values(),
                    name,
                    Pooling.of(file),
                    Ranking.of(file, shape.hidden()),
                    ModelFacts.of(file, shape),
                    loop);
            engine.start(config);
            Thread.ofPlatform().daemon().name("vocabulary").start(loop::prepareConstraints);
            return engine;
        } catch (Throwable e) {
            closeAll(owned);
            throw e;
        }
    }

    /**
     * What the pages of an engine depend on, to the last bit. The kernel sets agree to the last bit on one machine; the name
     * is there because the promise is for one machine and one set.
     *
     * @param shortContext whether the model rotates by its factors for short contexts, see {@link ModelConfig#upTo}
     */
    private static String identity(Gguf file, EngineConfig config, Kernels kernels, boolean shortContext) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(file.fingerprint());
            digest.update((config.kvType() + " " + config.pageTokens() + " " + kernels.name())
                    .getBytes(StandardCharsets.UTF_8));
            if (!config.rope().equals(RopeScaling.OF_FILE)) {
                digest.update(config.rope().toString().getBytes(StandardCharsets.UTF_8));
            }
            if (shortContext) {
                digest.update("short context".getBytes(StandardCharsets.UTF_8));
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    /** One thread that reads and writes pages, in order. Its queue never has more than all transfers. */
    static ExecutorService ioThread(long pageBytes) {
        return new ThreadPoolExecutor(
                1,
                1,
                0,
                TimeUnit.SECONDS,
                new ArrayBlockingQueue<>(PageFile.transfers(pageBytes)),
                Thread.ofPlatform().daemon().name("kv-disk").factory());
    }

    /** Tells a listener how much of the weights is loaded. */
    private static final class LoadProgress {
        private final String model;
        private final long totalBytes;
        private final EngineListener listener;
        private long loadedBytes;

        LoadProgress(String model, long totalBytes, EngineListener listener) {
            this.model = model;
            this.totalBytes = totalBytes;
            this.listener = listener;
            listener.onLoad(model, 0, totalBytes);
        }

        void add(long bytes) {
            loadedBytes = Math.min(loadedBytes + bytes, totalBytes);
            listener.onLoad(model, loadedBytes, totalBytes);
        }

        /** A file may have matrices that the model does not use, so the sum may end below the total. */
        void end() {
            add(totalBytes);
        }
    }

    /** A cost model; measured only if speculation or the bound on steps needs it. */
    private static CostModel cost(Model model, EngineConfig config, long budgetNanos) {
        return config.speculation().isOn() || config.targetTokenGap().isPositive()
                ? CostModel.measure(model, config.maxBatchedTokens(), System::nanoTime, budgetNanos)
                : CostModel.unknown(config.maxBatchedTokens());
    }

    @SuppressWarnings("MustBeClosedChecker") // the caller owns it
    private static @Nullable Gguf openDraft(EngineConfig config) {
        Path draft = config.speculation().draft();
        return draft == null || !config.speculation().isOn() ? null : Gguf.open(draft);
    }

    /** A draft model computes what it likes ahead of the sequences, and recurrent layers would keep it. */
    private static void refuseRecurrent(ModelConfig draft, Speculation speculation) {
        if (draft.blocks().encoder()) {
            throw new IllegalArgumentException(
                    "the draft model " + speculation.draft() + " is a " + draft.architecture()
                            + " model, which gives vectors and no tokens; choose another draft model, or none");
        }
        if (draft.stateBytes() > 0) {
            throw new IllegalArgumentException(
                    "the draft model " + speculation.draft() + " is a " + draft.architecture()
                            + " model with recurrent layers, which cannot draft; choose another draft model, or none");
        }
    }

    /** Checks that every token id means the same in both models, since draft tokens are passed on as ids. */
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
     * The memory plan that {@link #open} would make here and now.
     *
     * @see #plan(Gguf, ModelConfig, EngineConfig, MachineMemory, JavaMemory)
     */
    public static MemoryPlan plan(Gguf file, ModelConfig shape, EngineConfig config) {
        return plan(file, shape, config, MachineMemory.here(), JavaMemory.here(threads(config)));
    }

    /**
     * The memory plan that {@link #open} would make on a machine. Reads the draft model's file if there is one.
     *
     * @param machine the memory there is; {@link MachineMemory#here} for this machine
     * @param java what the JVM may use of it
     * @throws quire.model.format.ModelFormatException if that file cannot be used
     * @throws IllegalArgumentException if the configuration asks for more than the machine or the model has
     */
    public static MemoryPlan plan(
            Gguf file, ModelConfig shape, EngineConfig config, MachineMemory machine, JavaMemory java) {
        try (Gguf draft = openDraft(config)) {
            return plan(file, shape, draft, config, KernelSets.best(), machine, java);
        }
    }

    /** The configuration without a prefix cache, if the model is an encoder. */
    private static EngineConfig withPrefixCache(EngineConfig config, ModelConfig shape) {
        boolean isEncoder = shape.blocks().encoder();
        if (config.kvDisk() != null && (isEncoder || shape.savedStateBytes() > 0)) {
            throw new IllegalArgumentException(
                    "kvDisk cannot be used with a model of the architecture " + shape.architecture()
                            + (isEncoder
                                    ? ", whose positions see the whole text: leave it out"
                                    : ", whose recurrent states are not written to files: leave it out"));
        }
        if (!isEncoder) {
            return config;
        }
        return config.toBuilder().prefixCache(false).build();
    }

    private static MemoryPlan plan(
            Gguf file,
            ModelConfig shape,
            @Nullable Gguf draft,
            EngineConfig wanted,
            Kernels kernels,
            MachineMemory machine,
            JavaMemory java) {
        EngineConfig config = withPrefixCache(wanted, shape);
        return MemoryPlan.of(
                sizes(file, shape, config, config.maxLogitRows(), kernels),
                draft == null ? null : sizes(draft, ModelConfig.from(draft), config, config.maxSequences(), kernels),
                config,
                machine,
                java);
    }

    private static int threads(EngineConfig config) {
        return config.threads() == 0 ? Runtime.getRuntime().availableProcessors() : config.threads();
    }

    private static MemoryPlan.Model sizes(
            Gguf file, ModelConfig shape, EngineConfig config, int logitRows, Kernels kernels) {
        return new MemoryPlan.Model(
                MemoryPlan.Shape.of(shape),
                shape.vocabularySize(),
                Decoder.weightBytes(file, kernels),
                Decoder.activeWeightBytes(file, shape, kernels),
                Decoder.activationBytes(shape, config.maxBatchedTokens(), logitRows),
                Decoder.packedTypes(file, kernels));
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
     * Starts an engine on a model that is loaded already. The engine owns the model from now on. It ignores the parts
     * of the configuration that matter when a model is loaded: {@code kvCacheBytes}, {@code pageTokens}, {@code
     * kvType}, {@code kvDisk}, {@code trace}, {@code threads} and the draft model's file.
     *
     * @param name of the model, for logs and for the API's {@code model} field
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
        Speculator.Setup setup =
                new Speculator.Setup(config, CostModel.unknown(config.maxBatchedTokens()), null, DraftPolicy::of);
        EngineLoop loop = EngineLoop.builder(model, tokenizer, config)
                .drafts(context -> Speculator.of(setup, context))
                .listener(listener)
                .nanoClock(nanoClock)
                .build();
        Engine engine = new Engine(
                model,
                model::close,
                tokenizer,
                chatTemplate,
                error,
                SamplingDefaults.NONE,
                name,
                Pooling.LAST,
                null,
                null,
                loop);
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
     * Queues a request. The answer ends with {@link FinishReason#LENGTH} after {@code maxTokens} tokens or at the end
     * of the context, whichever comes first.
     *
     * @throws InvalidRequestException if the prompt is empty, names an unknown token id, or leaves no room for an
     *     answer in the context
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    public TokenStream submit(Request request) {
        return loop.submit(request);
    }

    /**
     * Queues a request for a beam search. Each of the streams, as many as the search is wide, gets one answer, the best one
     * first, when the search ends. If it finds fewer answers, the last ones are empty. Closing one of the streams cancels all.
     *
     * <p>When the timeout passes, the answers are the best ones so far, unfinished ones included.
     *
     * @param request its {@link SamplingParams} as {@link BeamSearch#check} wants them
     * @throws InvalidRequestException as {@link #submit(Request)}; also if the width is more than the engine's {@code
     *     maxSequences}, or if the model has recurrent layers
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    public List<TokenStream> submit(Request request, BeamSearch search) {
        return loop.submit(request, search);
    }

    /**
     * Compiles a sample of constraints, so that the first constrained request of the process does not wait until Java has
     * loaded and compiled the code for it. Takes about half a second of a processor, on the calling thread, and waits in
     * between while requests run, up to 20 seconds in all. A server calls it when it is ready; a program without constraints need not.
     */
    public void warmUp() {
        loop.warmUp();
    }

    /**
     * Checks whether the queue has room, so that a caller need not prepare a request that {@link #submit} would refuse.
     * Does nothing if the engine takes no requests for another reason. Any thread.
     *
     * @param tenant the request's {@link Scheduling#tenant}
     * @throws OverloadedException if the queue is full
     */
    public void checkRoom(String tenant) {
        loop.tracker().checkRoom(tenant);
    }

    /**
     * Gives a new scheduler all that the one of a recorded engine got ({@link EngineConfig#trace}), and compares what it
     * decides. Needs no model.
     *
     * @throws IllegalArgumentException if the file cannot be read, or is no trace of this version
     */
    public static ReplayedTrace replayTrace(Path trace) {
        return TraceReplay.run(trace, CostModel::ofStart);
    }

    /**
     * Switches speculation off or on again, from the next step on. Answers stay the same. A benchmark uses it to
     * compare both on one engine, because two engines have different memory addresses.
     *
     * @param speculating whether to use draft tokens as the engine's {@link Speculation} says
     */
    public void setSpeculating(boolean speculating) {
        loop.drafts().setOn(speculating);
    }

    /**
     * Switches the prefix cache off or on again, from the next step on, if the configuration has one. Answers stay the
     * same. A benchmark uses it to compare both on one engine, because two engines have different memory addresses.
     *
     * @param caching whether requests use pages that earlier ones computed
     */
    public void setPrefixCaching(boolean caching) {
        loop.setPrefixCaching(caching);
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /**
     * The model's chat template; null if it has none or the template cannot be used. See {@link #chatTemplateError}.
     */
    public @Nullable ChatTemplate chatTemplate() {
        return chatTemplate;
    }

    /**
     * Why there is no chat template, in words; names the construct that cannot be used. Empty if there is a template.
     */
    public String chatTemplateError() {
        return chatTemplateError;
    }

    /**
     * What the model's file recommends for choosing tokens. The engine does not apply it: who builds {@link
     * SamplingParams} decides. Empty for a model that was not opened from a file.
     */
    public SamplingDefaults recommendedSampling() {
        return recommendedSampling;
    }

    /** Tokens of a KV page. */
    public int pageTokens() {
        return model.pageTokens();
    }

    /** Whether requests use pages that earlier ones computed. */
    public boolean cachesPrefixes() {
        return loop.pages().isCaching();
    }

    /** How many numbers the {@link TokenStream#vector} of a prompt has; 0 if the model gives no vectors. */
    public int vectorWidth() {
        return model.vectorWidth();
    }

    /** Whether the model is an encoder, which gives vectors and no answers. */
    public boolean isEncoder() {
        return model.isEncoder();
    }

    /** How the model's file says that a prompt becomes a vector. */
    public Pooling pooling() {
        return pooling;
    }

    /** How the model ranks texts; null if its file does not say how. */
    public @Nullable Ranking ranking() {
        return ranking;
    }

    /** The model's name. */
    public String modelName() {
        return name;
    }

    /** What the model's file says of it; null if the model did not come from a file. */
    public @Nullable ModelFacts facts() {
        return facts;
    }

    /**
     * Maximum number of positions of one sequence, prompt and answer: the least of what model, configuration and KV
     * pages allow.
     */
    public int maxContext() {
        return loop.maxContext();
    }

    /** Sequences that run at a time, at most. */
    public int maxSequences() {
        return loop.maxSequences();
    }

    /**
     * What the engine does at this moment, seen between two steps. Waits for the end of the step that is under way; costs the
     * engine some microseconds, once for all who ask during the same step.
     *
     * @throws IllegalStateException if the engine is closed or has failed
     */
    public EngineView view() throws InterruptedException {
        return loop.view();
    }

    /** A consistent snapshot of the statistics. It includes every accepted request and every answer that has ended. */
    public EngineStats stats() {
        return loop.tracker().stats();
    }

    /** The failure that stopped the engine; null if it has not failed. */
    public @Nullable Throwable failure() {
        return loop.tracker().failure();
    }

    /**
     * Waits until the engine has ended: it was closed, or it failed. All answers have ended then.
     *
     * @return what broke the engine; null if it was closed
     */
    public @Nullable Throwable awaitEnd() throws InterruptedException {
        thread.join();
        return failure();
    }

    /**
     * Refuses new requests and waits until the accepted ones have ended. Cancels those that have not ended after {@code
     * timeout}.
     *
     * @return whether all ended by themselves; false if some were cancelled or the engine failed
     * @throws InterruptedException if interrupted while waiting; the engine stays draining
     */
    public boolean drain(Duration timeout) throws InterruptedException {
        loop.tracker().drain();
        boolean ended = loop.tracker().awaitEmpty(timeout.toNanos());
        if (!ended) {
            loop.cancelAll();
            loop.tracker().awaitEmpty();
        }
        return ended && failure() == null;
    }

    /** Cancels all requests, waits for the current step, ends the engine thread and frees the model. */
    @Override
    public void close() {
        loop.tracker().close();
        loop.wake();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true; // keep waiting: the engine thread still uses the model
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
