package quire.engine;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.LongUnaryOperator;
import java.util.function.ToLongFunction;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import quire.engine.disk.PageFile;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.WindowLayers;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.memory.FileMemory;

/**
 * How an engine divides the machine's memory: a sum with one line for each use.
 *
 * <pre>
 *   80 % of the memory, or what is available now less a reserve     usable: the smaller of both
 *   − what the JVM may use: heap, compiled code, stacks …
 *   − weights − activations, also of a draft model
 *   − maxSequences × the state of recurrent layers                  for KV pages and saved states
 *   ÷ page bytes, at most maxSequences × pages of maxContext        number of pages
 *
 *   KV bytes per token = 2 × layers × KV heads × head dim × bytes of a number
 * </pre>
 *
 * <p>The plan is made before the weights are packed, so the memory in use does not contain them yet. The system commits a
 * page when it is first written. So a plan for more memory than there is fails only under load, perhaps hours later, when
 * the system ends a process.
 */
public final class MemoryPlan {
    /** The share of the memory that the engine and its JVM use; the rest is for the system and its file cache. */
    private static final double SHARE = 0.8;

    /** What is left free of the available memory: a share of all memory, and the most bytes. */
    private static final double RESERVE = 0.05;

    private static final long MOST_RESERVE = 1L << 30;

    /** The share of the heap that the engine's tables may fill; requests' texts and answers need the rest. */
    private static final double TABLES_SHARE = 0.75;

    /** The share of the heap that the tables of pages may fill. */
    private static final double PAGES_SHARE = 0.25;

    /** Saved states that are useful for each running sequence: of its prompt, of its answer, and of others like it. */
    private static final int SAVED_STATES = 4;

    /** Saved states take at most one part in so many of the memory for KV pages. */
    private static final int SAVED_SHARE = 4;

    // Bytes in the heap; the classes named hold the arrays.
    /** Of a token of the vocabulary: its spelling, its entries in the tokenizer's tables, and its place among constraints. */
    private static final int VOCABULARY_BYTES = 130;
    /** Sampler: a float, a long and a double for each logit. */
    private static final int SAMPLER_BYTES = 20;
    /** KvPages and CostModel, without the prefix index. */
    private static final int PAGE_BYTES = 6 * Integer.BYTES + 1;
    /** WindowPages: the partner of a page, and at most as many window pages. */
    private static final int WINDOW_PAGE_BYTES = 7 * Integer.BYTES;
    /** DiskTier: where the copy of a page is, and its place in the queue. */
    private static final int TIER_PAGE_BYTES = 2 * Integer.BYTES + 4 * Long.BYTES;
    /** DiskIndex and PageFile, without the prefix index: a slot of the KV file. */
    private static final int SLOT_BYTES = 4 * Integer.BYTES + Long.BYTES;
    /** PrefixIndex, beside the tokens of the page: 4 ints, 2 longs, a reference and at most one salt. */
    private static final int INDEX_PAGE_BYTES = 4 * Integer.BYTES + 2 * Long.BYTES + 40;
    /** Sequence: token ids; the array may be twice as long as what is in it. */
    private static final int TOKEN_BYTES = 2 * Integer.BYTES;
    /** TokenHistory: a distinct token of a request with penalties. */
    private static final int HISTORY_BYTES = 8 * Integer.BYTES;
    /** PromptLookup: hash chains of a sequence. */
    private static final long LOOKUP_BYTES = 512 << 10;

    private static final int LOOKUP_TOKEN_BYTES = 4 * Integer.BYTES;
    /** A queued request beside its token ids, which it holds twice. */
    private static final int QUEUED_REQUEST_BYTES = 4 << 10;

    private final Model model;
    private final @Nullable Model draft;
    private final EngineConfig config;
    private final MachineMemory machine;
    private final JavaMemory java;
    private final int maxContext;
    private final int savedStates;
    private final long wantedPages;
    /** Pages that the memory has room for, and no more than wanted; the tables of all may not fit into the heap. */
    private final long fittingPages;

    private final int pageCount;
    /** Pages in a file, behind those in memory; 0 if the longest sequence fits the pool. */
    private final int overflowPages;

    /** Pages of layers with a window alone; 0 if a page holds all layers. */
    private final int windowPageCount;

    /**
     * The properties of a model that the size of its KV cache depends on.
     *
     * @param layers the layers with keys and values, by their windows and the sizes of their heads; empty if no layer has
     *     attention
     * @param contextLength positions trained for
     * @param stateBytes bytes that recurrent layers keep of each running sequence; 0 if there are none
     * @param pageStateBytes bytes that they keep beside each page if pages are cached
     * @param savedStateBytes bytes of a state that is saved if pages are cached; 0 if none needs to be
     */
    public record Shape(
            List<Layers> layers, int contextLength, long stateBytes, long pageStateBytes, long savedStateBytes) {
        /**
         * Layers whose windows and heads have the same sizes.
         *
         * @param count decoder blocks with keys and values
         * @param kvHeads key and value heads
         * @param headDim numbers in a head
         * @param window positions that a query sees; 0 for all
         */
        public record Layers(int count, int kvHeads, int headDim, int window) {
            /** Layers without a window. */
            public Layers(int count, int kvHeads, int headDim) {
                this(count, kvHeads, headDim, 0);
            }

            /**
             * Checks the ranges.
             *
             * @throws IllegalArgumentException naming what is not positive
             */
            public Layers {
                positive("layers", count);
                positive("kvHeads", kvHeads);
                positive("headDim", headDim);
                if (window < 0) {
                    throw new IllegalArgumentException("window must be at least 1, or 0 for none, not " + window);
                }
            }

            private long kvBytesPerToken(EngineConfig config) {
                return count * new KvLayout(config.kvType(), config.pageTokens(), kvHeads, headDim).tokenBytes();
            }
        }

        /** A model without recurrent layers. */
        public Shape(int layers, int kvHeads, int headDim, int contextLength) {
            this(List.of(new Layers(layers, kvHeads, headDim)), contextLength);
        }

        /** The same for layers of several sizes. */
        public Shape(List<Layers> layers, int contextLength) {
            this(layers, contextLength, 0, 0, 0);
        }

        /**
         * Checks the ranges and copies the list.
         *
         * @throws IllegalArgumentException naming what is not positive
         */
        public Shape {
            layers = List.copyOf(layers);
            positive("contextLength", contextLength);
        }

        private static void positive(String name, int value) {
            if (value < 1) {
                throw new IllegalArgumentException(name + " must be at least 1, not " + value);
            }
        }

        /** The shape of a model. */
        public static Shape of(ModelConfig model) {
            List<ModelConfig.HeadSizes> sizes = model.cachedHeadSizes();
            List<Boolean> windowed = model.cachedHaveWindow();
            Map<Layers, Integer> counts = new LinkedHashMap<>();
            for (int i = 0; i < sizes.size(); i++) {
                int window = windowed.get(i) ? model.blocks().window() : 0;
                counts.merge(new Layers(1, sizes.get(i).kvHeads(), sizes.get(i).headDim(), window), 1, Integer::sum);
            }
            List<Layers> layers = new ArrayList<>();
            counts.forEach((one, count) -> layers.add(new Layers(count, one.kvHeads, one.headDim, one.window)));
            return new Shape(
                    layers, model.contextLength(), model.stateBytes(), model.pageStateBytes(), model.savedStateBytes());
        }

        /** The window of the layers that have one; 0 if none has. */
        int window() {
            return layers.stream().mapToInt(Layers::window).max().orElse(0);
        }
    }

    /**
     * The sizes of a target model or of a draft model. Both have the same number of KV pages.
     *
     * @param shape what a page's size depends on
     * @param vocabulary number of tokens
     * @param weightBytes bytes of the packed weights; 0 to leave them out
     * @param activeWeightBytes bytes of the weights that a step of one token reads; 0 if it is not known
     * @param activationBytes bytes of the working memory of a pass; 0 to leave it out
     * @param types the parts of the weights that are quantised, by type
     */
    public record Model(
            Shape shape,
            int vocabulary,
            long weightBytes,
            long activeWeightBytes,
            long activationBytes,
            List<Decoder.PackedType> types) {
        /** Copies the list. */
        public Model {
            types = List.copyOf(types);
        }

        /** Sizes where nothing else is known about the weights. */
        public Model(Shape shape, int vocabulary, long weightBytes, long activationBytes) {
            this(shape, vocabulary, weightBytes, 0, activationBytes, List.of());
        }

        private String weightsHow() {
            return "as packed for the kernels"
                    + (activeWeightBytes == 0 ? "" : "; a token alone reads " + size(activeWeightBytes));
        }

        private long bytes() {
            return weightBytes + activationBytes;
        }
    }

    /**
     * One line of the sum.
     *
     * @param name what the memory is for
     * @param bytes its size
     * @param how how the size was computed
     */
    public record Line(String name, long bytes, String how) {}

    /** What limits the number of sequences that run at once. */
    public enum Limit {
        /** The KV pages: more memory or a larger {@code kvCacheBytes} would allow more. */
        KV_PAGES,
        /** {@link EngineConfig#maxSequences}. */
        MAX_SEQUENCES,
        /** Such a sequence is longer than the context, so none can run. */
        MAX_CONTEXT
    }

    private MemoryPlan(
            Model model, @Nullable Model draft, EngineConfig config, MachineMemory machine, JavaMemory java) {
        this.model = model;
        this.draft = draft;
        this.config = config;
        this.machine = machine;
        this.java = java;
        Shape shape = model.shape;
        if (config.maxContext() > shape.contextLength()) {
            throw new IllegalArgumentException("maxContext is " + config.maxContext()
                    + ", but the model was trained for " + shape.contextLength()
                    + " positions: choose at most that, or 0, or extend it with ropeScale");
        }
        int context = config.maxContext() == 0 ? shape.contextLength() : config.maxContext();
        wantedPages = pagesFor(context) * config.maxSequences();
        long forCache = config.kvCacheBytes() > 0 ? config.kvCacheBytes() : Math.max(0, roomForPages());
        savedStates = savedStatesFor(forCache);
        if (config.savedStates() > 0 && savedBytes() > Math.max(0, roomForPages())) {
            throw new IllegalArgumentException("savedStates is " + savedStates + ", which take " + size(savedBytes())
                    + ", but only " + size(Math.max(0, roomForPages()))
                    + " of memory are left for them and for KV pages: choose less, or 0");
        }
        long kvBytes = config.kvCacheBytes() > 0 ? forCache : forCache - savedBytes();
        long apart = windowPagesFor(kvBytes, context);
        long ofAll = pageBytes() - windowPageBytes();
        long together = pageBytes() == 0 ? wantedPages : Math.min(wantedPages, kvBytes / pageBytes());
        long others = ofAll == 0 ? wantedPages : Math.min(wantedPages, (kvBytes - apart * windowPageBytes()) / ofAll);
        if (apart > 0 && others == wantedPages) { // what is left keeps more windows cached
            apart = (kvBytes - others * ofAll) / windowPageBytes();
        }
        apart = Math.min(apart, Math.min(others, mostPages(java.heapBytes())));
        boolean pays = apart >= leastWindowPages(context)
                && whole(apart, others, context) > (double) together / pagesFor(context);
        // Without attention, pages only count tokens.
        fittingPages = pays ? others : together;
        pageCount = (int) Math.min(fittingPages, mostPages(java.heapBytes()));
        windowPageCount = pays ? (int) apart : 0;
        if (pageCount < 1) {
            throw new IllegalArgumentException(
                    config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes()) + ", but one page takes "
                                    + size(pageBytes()) + ": raise it"
                            : "no memory is left for KV pages: " + size(modelBytes(Model::weightBytes))
                                    + " of weights, " + size(modelBytes(Model::activationBytes))
                                    + " of activations and " + size(java.totalBytes()) + " for the JVM, of "
                                    + size(usableBytes()) + " usable (" + usableReason()
                                    + "); choose a smaller model or a smaller Java heap (QUIRE_JAVA_OPTIONS=-Xmx512m),"
                                    + " end other programs, or set kvCacheBytes");
        }
        overflowPages = overflowFor(config.maxContext());
        long poolTokens = (long) pageCount * config.pageTokens();
        maxContext = overflowPages > 0 ? config.maxContext() : (int) Math.min(context, poolTokens);
        if (maxContext < config.maxContext()) {
            throw new IllegalArgumentException("maxContext is " + config.maxContext() + " tokens, which take "
                    + size(sequenceBytes(config.maxContext())) + " of KV pages, but "
                    + (config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes())
                            : "only " + size(kvBytes) + " of memory are left for them")
                    + ": set kvCacheBytes to at least " + sequenceBytes(config.maxContext())
                    + " bytes, or maxContext to at most " + poolTokens
                    + (FileMemory.isSupported() && config.prefixCache() ? ", or kvDisk for the rest" : ""));
        }
        if (overflowPages > 0 && slots() < 1) {
            throw new IllegalArgumentException("maxContext is " + config.maxContext() + " tokens, of which "
                    + overflowPages * (long) config.pageTokens() + " have no room in memory and take "
                    + size(overflowBytes()) + " on disk, but kvDiskBytes is " + size(config.kvDiskBytes())
                    + ": raise it above that, or set maxContext to at most " + poolTokens);
        }
        if (pageCount == 1 && wantedPages > 1) {
            throw new IllegalArgumentException((config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes()) + ", which is"
                            : "the memory that is left is")
                    + " one KV page of " + config.pageTokens()
                    + " tokens for prompt and answer together: set kvCacheBytes"
                    + " to several times " + size(pageBytes()));
        }
        if (tableBytesAtStart(pageCount) > TABLES_SHARE * java.heapBytes()) {
            throw new IllegalArgumentException("the engine's tables take " + size(tableBytesAtStart(pageCount))
                    + " of the Java heap from the start, which has " + size(java.heapBytes())
                    + ": set a larger one (QUIRE_JAVA_OPTIONS=-Xmx" + heapThatWouldDo(this::tableBytesAtStart)
                    + "m), fewer threads, or a smaller kvCacheBytes");
        }
    }

    /**
     * Plans for a model.
     *
     * @param draft the draft model; null for none
     * @param machine the memory of the machine; {@link MachineMemory#here} for this machine
     * @param java what the JVM may use of it
     * @throws IllegalArgumentException if the configuration's {@code maxContext} is longer than the model's context or
     *     does not fit the pages, if no more than one page fits, or if the heap cannot hold the engine's tables
     */
    public static MemoryPlan of(
            Model model, @Nullable Model draft, EngineConfig config, MachineMemory machine, JavaMemory java) {
        return new MemoryPlan(model, draft, config, machine, java);
    }

    /** What the JVM and the engine use together: a share of the memory, or what is available if that is less. */
    public long usableBytes() {
        return Math.min(shareBytes(), availableBytes());
    }

    /**
     * What engines may use beside the JVM, several together; negative if there is nothing left.
     *
     * @param machine the memory there is before the first engine opens
     */
    public static long roomForEngines(MachineMemory machine, JavaMemory java) {
        return Math.min(shareBytes(machine), availableBytes(machine)) - java.totalBytes();
    }

    private long shareBytes() {
        return shareBytes(machine);
    }

    private static long shareBytes(MachineMemory machine) {
        return (long) (machine.totalBytes() * SHARE);
    }

    private static long reserveBytes(MachineMemory machine) {
        return (long) Math.min(machine.totalBytes() * RESERVE, MOST_RESERVE);
    }

    private long availableBytes() {
        return availableBytes(machine);
    }

    private static long availableBytes(MachineMemory machine) {
        return Math.max(0, machine.availableBytes() - reserveBytes(machine));
    }

    private String usableReason() {
        return shareBytes() <= availableBytes()
                ? "80 % of the memory"
                : "available now, less a reserve of " + size(reserveBytes(machine));
    }

    /** What JVM, weights and activations leave for KV pages; negative if they do not fit. */
    private long roomForPages() {
        return usableBytes() - java.totalBytes() - bytesWithoutPages();
    }

    /** What the engine takes beside the Java heap and its KV pages: weights, activations, recurrent state, transfers. */
    public long bytesWithoutPages() {
        return model.bytes()
                + stateBytes()
                + (draft == null ? 0 : draft.bytes())
                + diskBytes()
                + overflowPages * pageStateBytes();
    }

    /** What the engine takes beside the Java heap, all KV pages included. */
    public long engineBytes() {
        return bytesWithoutPages() + savedBytes() + poolBytes();
    }

    /** What the engine's tables take of the Java heap when it opens. */
    public long heapBytes() {
        return tableBytesAtStart(pageCount);
    }

    /** The share of the Java heap that the tables of all engines together may fill. */
    public static long heapForEngines(JavaMemory java) {
        return (long) (TABLES_SHARE * java.heapBytes());
    }

    /** Bytes that recurrent layers keep of all running sequences. */
    private long stateBytes() {
        return config.maxSequences() * model.shape.stateBytes;
    }

    /** How many states are saved: with a number of their own, or as many as are useful and fit a part of the memory. */
    private int savedStatesFor(long forCache) {
        long bytes = model.shape.savedStateBytes;
        if (bytes == 0 || !config.prefixCache()) {
            return 0;
        }
        if (config.savedStates() > 0) {
            return config.savedStates();
        }
        return (int) Math.min(SAVED_STATES * (long) config.maxSequences(), forCache / SAVED_SHARE / bytes);
    }

    /** Bytes of all saved states. */
    private long savedBytes() {
        return savedStates * model.shape.savedStateBytes;
    }

    /**
     * How many states of recurrent layers are saved for the prefix cache. 0 if none needs to be, or if there is no memory for one;
     * then pages cannot be shared.
     */
    public int savedStates() {
        return savedStates;
    }

    /** Bytes that they keep beside a page. */
    private long pageStateBytes() {
        return config.prefixCache() ? model.shape.pageStateBytes : 0;
    }

    /** Memory for pages on their way to the KV file or from it. */
    private long diskBytes() {
        return config.kvDisk() == null ? 0 : PageFile.transfers(targetPageBytes()) * targetPageBytes();
    }

    private long targetPageBytes() {
        return pageBytes() - draftPageBytes();
    }

    /** Number of pages that the KV file has room for. */
    private int slots() {
        return config.kvDisk() == null ? 0 : PageFile.slots(kvFileBytes(), config.pageTokens(), targetPageBytes());
    }

    /** Size of the KV file: what overflow pages leave. */
    public long kvFileBytes() {
        return config.kvDiskBytes() - overflowBytes();
    }

    /** How many pages a sequence needs beside those of the pool; 0 if it fits, or if there is no file for them. */
    private int overflowFor(int context) {
        return config.kvDisk() == null || !FileMemory.isSupported() || pagesFor(context) <= pageCount
                ? 0
                : (int) pagesFor(context) - pagesOfSequence(pageCount);
    }

    /**
     * The most pages in memory that a sequence has if there are overflow pages: three quarters, so that others can run.
     *
     * @param pageCount pages in memory
     */
    public static int pagesOfSequence(int pageCount) {
        return pageCount - Math.ceilDiv(pageCount, 4);
    }

    /**
     * Number of pages in a file, for one sequence that is longer than the pool; 0 for none. Only with {@code kvDisk} and a {@code
     * maxContext} that the pool has no room for.
     */
    public int overflowPages() {
        return overflowPages;
    }

    /** Bytes of an overflow page in the file: without layers that have pages of their own, and without states. */
    private long overflowPageBytes() {
        return pageBytes() - pageStateBytes() - (windowPageCount == 0 ? 0 : windowPageBytes());
    }

    private long overflowBytes() {
        return overflowPages * overflowPageBytes();
    }

    private long modelBytes(ToLongFunction<Model> part) {
        return part.applyAsLong(model) + (draft == null ? 0 : part.applyAsLong(draft));
    }

    // ── tables in the heap ──────────────────────────────────────────────────────────────────────────────────────────

    /** Where nobody asks for a size, the tables of pages take at most a part of the heap. */
    private long mostPages(long heapBytes) {
        return config.kvCacheBytes() > 0 && pageBytes() > 0
                ? Integer.MAX_VALUE
                : Math.min(Integer.MAX_VALUE, (long) (heapBytes * PAGES_SHARE / heapBytesOfPage()));
    }

    private int heapBytesOfPage() {
        return PAGE_BYTES
                + (model.shape.window() > 0 ? WINDOW_PAGE_BYTES : 0)
                + (model.shape.savedStateBytes > 0 ? Integer.BYTES : 0) // SavedStates
                + (config.prefixCache() ? indexBytesOfPage() : 0)
                + (config.kvDisk() == null ? 0 : TIER_PAGE_BYTES);
    }

    private int indexBytesOfPage() {
        return INDEX_PAGE_BYTES + config.pageTokens() * Integer.BYTES;
    }

    private int workers() {
        return config.threads() == 0 ? Runtime.getRuntime().availableProcessors() : config.threads();
    }

    /** Bytes in the heap that the engine allocates when it opens. */
    private long tableBytesAtStart(long pages) {
        int teams = draft == null ? 1 : 2;
        return (long) model.vocabulary * (VOCABULARY_BYTES + (long) SAMPLER_BYTES * workers() * teams)
                + heapBytesOfPage() * (pages + overflowPages)
                + slots() * (long) (SLOT_BYTES + indexBytesOfPage());
    }

    /**
     * The same when {@code maxSequences} run at full context, and the queue is full. Without the prefix cache, every
     * token of a running sequence has room in a page of its own, so the pool bounds them too.
     */
    private long tableBytesAtMost(long pages) {
        long sequences = config.maxSequences();
        long pooled = config.prefixCache() ? Long.MAX_VALUE : pages * config.pageTokens();
        long tokens = Math.min(sequences * maxContext, pooled);
        long distinct = Math.min(tokens, sequences * model.vocabulary);
        long lookup = config.speculation().isOn() && config.speculation().lookup()
                ? Math.min(tokens * LOOKUP_TOKEN_BYTES, sequences * LOOKUP_BYTES)
                : 0;
        long tables = sequences * pagesFor(maxContext) * Integer.BYTES * (windowPageCount > 0 ? 2 : 1);
        return tableBytesAtStart(pages)
                + tokens * TOKEN_BYTES
                + distinct * HISTORY_BYTES
                + lookup
                + (config.prefixCache() ? tables : Math.min(tables, 2 * pages * Integer.BYTES))
                + queueBytes();
    }

    private long queueBytes() {
        return 2 * Integer.BYTES * config.maxQueuedTokens() + (long) QUEUED_REQUEST_BYTES * config.maxQueuedRequests();
    }

    /**
     * MiB of a heap that these tables leave room in. A larger heap may have tables for more pages, which take more of it.
     */
    private long heapThatWouldDo(LongUnaryOperator tableBytes) {
        long mebibytes = 0;
        long pages = pageCount;
        while (tableBytes.applyAsLong(pages) > TABLES_SHARE * (mebibytes << 20)) {
            mebibytes = Math.ceilDiv((long) (tableBytes.applyAsLong(pages) / TABLES_SHARE), 1L << 20);
            pages = Math.min(fittingPages, mostPages(mebibytes << 20));
        }
        return mebibytes;
    }

    private long poolBytes() {
        return windowPageCount == 0
                ? pageCount * pageBytes()
                : pageCount * (pageBytes() - windowPageBytes()) + windowPageCount * windowPageBytes();
    }

    /** What may go wrong with this plan under load, one sentence each; empty if nothing is known. */
    public List<String> warnings() {
        List<String> warnings = new ArrayList<>();
        long pages = poolBytes() + savedBytes();
        if (config.kvCacheBytes() > 0 && pages > roomForPages()) {
            warnings.add("the KV pages" + (savedStates > 0 ? " and saved states" : "") + " take " + size(pages)
                    + ", as asked for, but "
                    + size(Math.max(0, roomForPages())) + " are left for them of " + size(usableBytes()) + " usable ("
                    + usableReason() + "): under load the system may end this or another process. Set kvCacheBytes to"
                    + (roomForPages() - savedBytes() < 2 * pageBytes()
                            ? " less"
                            : " at most " + (roomForPages() - savedBytes()) + " bytes")
                    + ", or end other programs");
        }
        long tables = tableBytesAtMost(pageCount);
        if (tables > TABLES_SHARE * java.heapBytes()) {
            warnings.add("the engine's tables may take " + size(tables) + " of the Java heap when "
                    + config.maxSequences()
                    + " sequences of " + maxContext + " tokens run and the queue is full, and the heap has "
                    + size(java.heapBytes()) + ": set a larger one (QUIRE_JAVA_OPTIONS=-Xmx"
                    + heapThatWouldDo(this::tableBytesAtMost)
                    + "m), or a smaller maxSequences, maxContext or maxQueuedTokens");
        }
        return List.copyOf(warnings);
    }

    /**
     * Bytes of the keys and values of one position: 2 × layers × KV heads × head dim × bytes of a number, plus the
     * scales of a quantised type. Includes the draft model's.
     */
    public long kvBytesPerToken() {
        return kvBytesPerToken(model.shape) + draftKvBytesPerToken();
    }

    private long draftKvBytesPerToken() {
        return draft == null ? 0 : kvBytesPerToken(draft.shape);
    }

    private long kvBytesPerToken(Shape shape) {
        return shape.layers.stream()
                .mapToLong(each -> each.kvBytesPerToken(config))
                .sum();
    }

    /** Bytes of a page of the target model's layers with a window. */
    private long windowPageBytes() {
        return config.pageTokens()
                * model.shape.layers.stream()
                        .filter(each -> each.window > 0)
                        .mapToLong(each -> each.kvBytesPerToken(config))
                        .sum();
    }

    /** The most pages that the window of a sequence of {@code tokens} positions has. */
    private long windowPagesOf(int tokens) {
        return Math.min(pagesFor(tokens), new WindowLayers(model.shape.window(), false, 1).pages(config.pageTokens()));
    }

    /** How many sequences of the whole context some window pages and others have room for. */
    private double whole(long windowPages, long others, int context) {
        return Math.min(
                (double) others / pagesFor(context),
                (double) (windowPages - windowPagesOfStep()) / windowPagesOf(context));
    }

    /** What one sequence needs, and 1 if no layer has a window. */
    private long leastWindowPages(int context) {
        return model.shape.window() == 0 ? 1 : windowPagesOf(context) + windowPagesOfStep();
    }

    private long windowPagesOfStep() {
        return WindowLayers.stepPages(config.pageTokens(), config.maxSequences(), config.maxBatchedTokens());
    }

    /**
     * How many pages layers with a window get if these are apart: enough for the windows of {@code maxSequences} and half as
     * many that are cached, but at most half of the memory; 0 if they are not to be apart.
     */
    private long windowPagesFor(long kvBytes, int context) {
        if (model.shape.window() == 0 || model.shape.stateBytes > 0) {
            return 0;
        }
        long wanted = config.maxSequences() * windowPagesOf(context) * 3 / 2 + windowPagesOfStep();
        long most = pageBytes() == windowPageBytes() ? kvBytes : kvBytes / 2; // what others need is for each position
        return Math.min(wanted, most / windowPageBytes());
    }

    /** Bytes of one page and of its window page, over all layers of all models, with the state that lies beside it. */
    public long pageBytes() {
        return kvBytesPerToken() * config.pageTokens() + pageStateBytes();
    }

    private long draftPageBytes() {
        return draftKvBytesPerToken() * config.pageTokens();
    }

    /** Number of pages in the pool. */
    public int pageCount() {
        return pageCount;
    }

    /**
     * Number of pages of the layers with a window if these are apart, so that a sequence gives them back when no later position
     * sees them; 0 if a page holds all layers.
     */
    public int windowPageCount() {
        return windowPageCount;
    }

    /** Maximum number of positions of one sequence: the least of what configuration, model and pages allow. */
    public int maxContext() {
        return maxContext;
    }

    /** Bytes of the pages of a sequence of {@code tokens} positions. */
    public long sequenceBytes(int tokens) {
        return windowPageCount == 0
                ? pagesFor(tokens) * pageBytes()
                : pagesFor(tokens) * (pageBytes() - windowPageBytes()) + windowPagesOf(tokens) * windowPageBytes();
    }

    /** How many sequences of {@code tokens} positions all pages have room for. */
    private long fitting(int tokens) {
        long fitting = overflowPages > 0 && pagesFor(tokens) > pagesOfSequence(pageCount)
                ? 1 // has all overflow pages
                : pageCount / pagesFor(tokens);
        if (windowPageCount == 0) {
            return fitting;
        }
        return Math.min(fitting, (windowPageCount - windowPagesOfStep()) / windowPagesOf(tokens));
    }

    /** How many sequences of {@code tokens} positions can run at once; 0 if they are longer than the context. */
    public int sequences(int tokens) {
        return tokens > maxContext ? 0 : (int) Math.min(config.maxSequences(), fitting(tokens));
    }

    /** What limits the number of sequences of {@code tokens} positions that run at once. */
    public Limit limit(int tokens) {
        if (tokens > maxContext) {
            // Either the pool is smaller than one such sequence, or the configured context is.
            return pagesFor(tokens) > pageCount + overflowPages ? Limit.KV_PAGES : Limit.MAX_CONTEXT;
        }
        return fitting(tokens) < config.maxSequences() ? Limit.KV_PAGES : Limit.MAX_SEQUENCES;
    }

    /**
     * The sum line by line: what there is, then what is planned, from the Java heap to the KV pages, and the sum of that. The
     * lines after it are about parts of the heap and about a single token, page and sequence, and are not in the sum.
     */
    public List<Line> lines() {
        List<Line> lines = new ArrayList<>();
        lines.add(new Line("memory", machine.totalBytes(), machine.totalOf()));
        lines.add(new Line("available now", machine.availableBytes(), machine.availableOf()));
        lines.add(new Line("usable", usableBytes(), usableReason()));
        lines.add(new Line("Java heap", java.heapBytes(), "at its largest"));
        lines.add(new Line("code cache", java.codeCacheBytes(), "compiled code, at its largest"));
        lines.add(new Line("direct buffers", java.directBytes(), "of connections, at most"));
        lines.add(new Line("threads", java.threadBytes(), "stacks of " + java.threads() + " threads, at most"));
        lines.add(new Line("JVM", java.otherBytes(), "classes, compilers, garbage collector (estimate)"));
        lines.add(new Line("weights", model.weightBytes, model.weightBytes == 0 ? "not counted" : model.weightsHow()));
        lines.add(new Line(
                "activations",
                model.activationBytes,
                model.activationBytes == 0
                        ? "not counted"
                        : "a step of " + config.maxBatchedTokens() + " tokens, " + config.maxLogitRows()
                                + " rows of logits"));
        if (draft != null) {
            lines.add(new Line("draft weights", draft.weightBytes, draft.weightsHow()));
            lines.add(new Line(
                    "draft activations",
                    draft.activationBytes,
                    "a pass of " + config.maxBatchedTokens() + " tokens, " + config.maxSequences()
                            + " rows of logits"));
        }
        if (stateBytes() > 0) {
            lines.add(new Line(
                    "recurrent state",
                    stateBytes(),
                    "maxSequences (" + config.maxSequences() + ") × " + model.shape.stateBytes + " bytes"));
        }
        if (savedStates > 0) {
            lines.add(new Line(
                    "saved states",
                    savedBytes(),
                    savedStates + " × " + model.shape.savedStateBytes + " bytes, "
                            + (config.savedStates() > 0
                                    ? "set by savedStates"
                                    : savedStates == SAVED_STATES * config.maxSequences()
                                            ? SAVED_STATES + " for each of maxSequences (" + config.maxSequences() + ")"
                                            : "a quarter of the memory for KV pages")));
        }
        long pageBytes = targetPageBytes() - (windowPageCount == 0 ? 0 : windowPageBytes());
        lines.add(new Line(
                "KV pages", pageCount * pageBytes, pageCount + " pages × " + pageBytes + " bytes, " + poolReason()));
        if (windowPageCount > 0) {
            lines.add(new Line(
                    "KV window pages",
                    windowPageCount * windowPageBytes(),
                    windowPageCount + " pages × " + windowPageBytes() + " bytes, of layers with a window of "
                            + model.shape.window() + " positions; a sequence has at most "
                            + windowPagesOf(maxContext)));
        }
        if (draft != null) {
            lines.add(new Line(
                    "draft KV pages",
                    pageCount * draftPageBytes(),
                    pageCount + " pages × " + draftPageBytes() + " bytes, one for each page above"));
        }
        if (config.kvDisk() != null) {
            lines.add(new Line("KV transfers", diskBytes(), "pages on their way to the KV file or from it, at most"));
        }
        lines.add(new Line(
                "in all, at most",
                java.totalBytes() + engineBytes(),
                "from the Java heap on, when all of it is in use"));
        addLargerTypes("", model, lines);
        if (draft != null) {
            addLargerTypes("draft ", draft, lines);
        }
        lines.add(new Line(
                "in the heap, at start",
                tableBytesAtStart(pageCount),
                "tables of the engine: " + model.vocabulary + " tokens of the vocabulary, " + workers()
                        + " samplers, pages"));
        lines.add(new Line(
                "in the heap, at most",
                tableBytesAtMost(pageCount),
                "the same, with " + config.maxSequences() + " sequences of " + maxContext + " tokens and a queue of "
                        + config.maxQueuedRequests() + " requests, " + config.maxQueuedTokens() + " tokens"));
        lines.add(new Line(
                "KV bytes per token",
                kvBytesPerToken(),
                (model.shape.layers.isEmpty() ? "no layer has keys and values" : "")
                        + model.shape.layers.stream()
                                .map(each -> "2 × " + each.count + " layers"
                                        + (each.window == 0 ? "" : " with a window of " + each.window) + " × "
                                        + each.kvHeads + " KV heads × "
                                        + headSum(each.headDim))
                                .collect(Collectors.joining(" + "))
                        + (draft == null ? "" : ", and " + draftKvBytesPerToken() + " of the draft model")));
        lines.add(new Line(
                "page",
                pageBytes(),
                config.pageTokens() + " tokens × " + kvBytesPerToken() + " bytes"
                        + (pageStateBytes() > 0 ? " and the recurrent state behind them, " + pageStateBytes() : "")));
        lines.add(sequenceLine(maxContext));
        if (config.kvDisk() != null) {
            if (overflowPages > 0) {
                lines.add(new Line(
                        "overflow, on disk",
                        overflowBytes(),
                        overflowPages + " pages × " + overflowPageBytes() + " bytes, for one sequence of more than "
                                + (long) pagesOfSequence(pageCount) * config.pageTokens() + " tokens"));
            }
            lines.add(new Line(
                    "KV file, on disk",
                    kvFileBytes(),
                    slots() + " pages × " + targetPageBytes() + " bytes, " + (long) slots() * config.pageTokens()
                            + " tokens, in " + config.kvDisk()));
        }
        return List.copyOf(lines);
    }

    /** Adds a line for each type that is larger in memory than in the file; its bytes are a part of the weights. */
    private static void addLargerTypes(String whose, Model model, List<Line> lines) {
        for (Decoder.PackedType type : model.types) {
            if (type.packedBytes() > 1.03 * type.fileBytes()) { // less may be the padding of the last rows
                lines.add(new Line(
                        whose + type.type() + " weights",
                        type.packedBytes(),
                        String.format(
                                Locale.ROOT,
                                "in memory; %s in the file, where a weight has %.2f bits; the kernels read %.2f",
                                size(type.fileBytes()),
                                8.0 * type.fileBytes() / type.weights(),
                                8.0 * type.packedBytes() / type.weights())));
            }
        }
    }

    /** The quantised weights of the target model, by type. */
    public List<Decoder.PackedType> packedTypes() {
        return model.types;
    }

    private String headSum(int headDim) {
        KvType type = config.kvType();
        String numbers = headDim + " head dim × " + type.bytes() + " bytes";
        return (type.isQuantized() ? "(" + numbers + " + a scale of " + type.scaleBytes() + " bytes)" : numbers) + " ("
                + type + ")";
    }

    private Line sequenceLine(int tokens) {
        String limit =
                switch (limit(tokens)) {
                    case KV_PAGES -> "limited by the KV pages";
                    case MAX_SEQUENCES -> "limited by maxSequences";
                    case MAX_CONTEXT -> "limited by the context of " + maxContext + " tokens";
                };
        return new Line(
                "sequence of " + tokens + " tokens",
                sequenceBytes(tokens),
                pagesFor(tokens) + " pages"
                        + (windowPageCount == 0 ? "" : " and " + windowPagesOf(tokens) + " window pages") + "; "
                        + sequences(tokens) + " fit at once, " + limit);
    }

    private String poolReason() {
        if (pageCount == wantedPages) {
            return "enough for maxSequences (" + config.maxSequences() + ") of maxContext";
        }
        if (pageCount == mostPages(java.heapBytes())) {
            return "as many as the Java heap has tables for";
        }
        return config.kvCacheBytes() > 0 ? "set by kvCacheBytes" : "the rest of the usable memory";
    }

    /** The sum as an aligned table, with a line about sequences of {@code tokens} positions. */
    public String describe(int tokens) {
        List<Line> lines = new ArrayList<>(lines());
        if (tokens != maxContext) {
            lines.add(sequenceLine(tokens));
        }
        int width = lines.stream().mapToInt(line -> line.name.length()).max().orElse(0);
        StringBuilder out = new StringBuilder(1024);
        for (Line line : lines) {
            out.append(
                    String.format(Locale.ROOT, "%-" + width + "s  %10s  %s%n", line.name, size(line.bytes), line.how));
        }
        return out.toString();
    }

    /** {@link #describe} for the longest context. */
    @Override
    public String toString() {
        return describe(maxContext);
    }

    /** Formats a number of bytes with binary units and at most two decimals: {@code 2 GiB}. */
    public static String size(long bytes) {
        String[] units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        double value = bytes;
        int unit = 0;
        while (Math.abs(value) >= 1024 && unit < units.length - 1) {
            value /= 1024;
            unit++;
        }
        String number = String.format(Locale.ROOT, "%.2f", value).replaceFirst("\\.?0+$", "");
        return number + " " + units[unit];
    }

    private long pagesFor(int tokens) {
        return (tokens + (long) config.pageTokens() - 1) / config.pageTokens();
    }
}
