package quire.engine;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import quire.model.ModelConfig;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;

/**
 * How an engine divides the machine's memory: a sum with one line for each use.
 *
 * <pre>
 *   80 % of (physical memory − Java heap)                       available; the rest is for other programs
 *   − weights − activations, also of a draft model              for KV pages
 *   ÷ page bytes, at most maxSequences × pages of maxContext    number of pages
 *
 *   KV bytes per token = 2 × layers × KV heads × head dim × bytes of a number
 * </pre>
 */
public final class MemoryPlan {
    /**
     * The share of the memory outside the Java heap that the engine uses; the rest is for the system and its file
     * cache.
     */
    private static final double SHARE = 0.8;

    private final Shape shape;
    private final EngineConfig config;
    private final long weightBytes;
    private final long activationBytes;
    private final long availableBytes;
    private final @Nullable Draft draft;
    private final int maxContext;
    private final long wantedPages;
    private final int pageCount;

    /**
     * The properties of a model that the size of its KV cache depends on.
     *
     * @param layers decoder blocks
     * @param kvHeads key and value heads
     * @param headDim numbers in a head
     * @param contextLength positions trained for
     */
    public record Shape(int layers, int kvHeads, int headDim, int contextLength) {
        /**
         * Checks the ranges.
         *
         * @throws IllegalArgumentException naming what is not positive
         */
        public Shape {
            positive("layers", layers);
            positive("kvHeads", kvHeads);
            positive("headDim", headDim);
            positive("contextLength", contextLength);
        }

        private static void positive(String name, int value) {
            if (value < 1) {
                throw new IllegalArgumentException(name + " must be at least 1, not " + value);
            }
        }

        /** The shape of a model. */
        public static Shape of(ModelConfig model) {
            return new Shape(model.layers(), model.kvHeads(), model.headDim(), model.contextLength());
        }
    }

    /**
     * A draft model. It has as many KV pages as the target model.
     *
     * @param shape what a page's size depends on
     * @param weightBytes bytes of the packed weights
     * @param activationBytes bytes of the working memory of a pass
     */
    public record Draft(Shape shape, long weightBytes, long activationBytes) {}

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
            Shape shape,
            EngineConfig config,
            long weightBytes,
            long activationBytes,
            @Nullable Draft draft,
            long availableBytes) {
        this.draft = draft;
        this.shape = shape;
        this.config = config;
        this.weightBytes = weightBytes;
        this.activationBytes = activationBytes;
        this.availableBytes = availableBytes;
        if (config.maxContext() > shape.contextLength()) {
            throw new IllegalArgumentException("maxContext is " + config.maxContext()
                    + ", but the model was trained for " + shape.contextLength()
                    + " positions: choose at most that, or 0");
        }
        int context = config.maxContext() == 0 ? shape.contextLength() : config.maxContext();
        wantedPages = pagesFor(context) * config.maxSequences();
        long kvBytes = config.kvCacheBytes() > 0 ? config.kvCacheBytes() : kvBudgetBytes();
        pageCount = (int) Math.min(Math.min(wantedPages, kvBytes / pageBytes()), Integer.MAX_VALUE);
        if (pageCount < 1) {
            throw new IllegalArgumentException(
                    config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes()) + ", but one page takes "
                                    + size(pageBytes()) + ": raise it"
                            : "no memory is left for KV pages: " + size(weightBytes) + " of weights and "
                                    + size(activationBytes) + " of activations, of " + size(availableBytes)
                                    + " available; choose a smaller model or a smaller Java heap, or set kvCacheBytes");
        }
        long poolTokens = (long) pageCount * config.pageTokens();
        maxContext = (int) Math.min(context, poolTokens);
        if (maxContext < config.maxContext()) {
            throw new IllegalArgumentException("maxContext is " + config.maxContext() + " tokens, which take "
                    + size(sequenceBytes(config.maxContext())) + " of KV pages, but "
                    + (config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes())
                            : "only " + size(kvBytes) + " of memory are left for them")
                    + ": set kvCacheBytes to at least " + sequenceBytes(config.maxContext())
                    + " bytes, or maxContext to at most " + poolTokens);
        }
        if (pageCount == 1 && wantedPages > 1) {
            throw new IllegalArgumentException((config.kvCacheBytes() > 0
                            ? "kvCacheBytes is " + size(config.kvCacheBytes()) + ", which is"
                            : "the memory that is left is")
                    + " one KV page of " + config.pageTokens()
                    + " tokens for prompt and answer together: set kvCacheBytes"
                    + " to several times " + size(pageBytes()));
        }
    }

    /**
     * Plans for a model.
     *
     * @param weightBytes bytes of the packed weights; 0 to leave them out
     * @param activationBytes bytes of the working memory of a step; 0 to leave it out
     * @param availableBytes bytes for everything; {@link #availableBytesHere} for this machine
     * @throws IllegalArgumentException if the configuration's {@code maxContext} is longer than the model's context or
     *     does not fit the pages, or if no more than one page fits
     */
    public static MemoryPlan of(
            Shape shape, EngineConfig config, long weightBytes, long activationBytes, long availableBytes) {
        return of(shape, config, weightBytes, activationBytes, null, availableBytes);
    }

    /**
     * Plans for a model with a draft model.
     *
     * @param draft null for none
     * @see #of(Shape, EngineConfig, long, long, long)
     */
    public static MemoryPlan of(
            Shape shape,
            EngineConfig config,
            long weightBytes,
            long activationBytes,
            @Nullable Draft draft,
            long availableBytes) {
        return new MemoryPlan(shape, config, weightBytes, activationBytes, draft, availableBytes);
    }

    /** Bytes that an engine may use on this machine or in this container: 80 % of the memory outside the Java heap. */
    public static long availableBytesHere() {
        long heap = Runtime.getRuntime().maxMemory();
        return (long) (Math.max(0, physicalBytes() - heap) * SHARE);
    }

    private static long physicalBytes() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
    }

    /**
     * Bytes of the keys and values of one position: 2 × layers × KV heads × head dim × bytes of a number, plus the
     * scales of a quantised type. Includes the draft model's.
     */
    public long kvBytesPerToken() {
        return kvBytesPerToken(shape) + draftKvBytesPerToken();
    }

    private long draftKvBytesPerToken() {
        return draft == null ? 0 : kvBytesPerToken(draft.shape);
    }

    private long kvBytesPerToken(Shape model) {
        return model.layers * kvLayout(model).tokenBytes();
    }

    /** Bytes of one page, over all layers of all models. */
    public long pageBytes() {
        return kvBytesPerToken() * config.pageTokens();
    }

    private long draftPageBytes() {
        return draftKvBytesPerToken() * config.pageTokens();
    }

    /** Number of pages in the pool. */
    public int pageCount() {
        return pageCount;
    }

    /** Maximum number of positions of one sequence: the least of what configuration, model and pages allow. */
    public int maxContext() {
        return maxContext;
    }

    /** Bytes of the pages of a sequence of {@code tokens} positions. */
    public long sequenceBytes(int tokens) {
        return pagesFor(tokens) * pageBytes();
    }

    /** How many sequences of {@code tokens} positions can run at once; 0 if they are longer than the context. */
    public int sequences(int tokens) {
        return tokens > maxContext ? 0 : (int) Math.min(config.maxSequences(), pageCount / pagesFor(tokens));
    }

    /** What limits the number of sequences of {@code tokens} positions that run at once. */
    public Limit limit(int tokens) {
        if (tokens > maxContext) {
            // Either the pool is smaller than one such sequence, or the configured context is.
            return pagesFor(tokens) > pageCount ? Limit.KV_PAGES : Limit.MAX_CONTEXT;
        }
        return pageCount / pagesFor(tokens) < config.maxSequences() ? Limit.KV_PAGES : Limit.MAX_SEQUENCES;
    }

    /**
     * The sum line by line. The last lines are about a single token, page and sequence, and are not part of the sum.
     */
    public List<Line> lines() {
        List<Line> lines = new ArrayList<>();
        lines.add(new Line("available", availableBytes, "80 % of (physical memory - Java heap)"));
        lines.add(new Line("weights", weightBytes, weightBytes == 0 ? "not counted" : "as packed for the kernels"));
        lines.add(new Line(
                "activations",
                activationBytes,
                activationBytes == 0
                        ? "not counted"
                        : "a step of " + config.maxBatchedTokens() + " tokens, " + config.maxLogitRows()
                                + " rows of logits"));
        if (draft != null) {
            lines.add(new Line("draft weights", draft.weightBytes, "as packed for the kernels"));
            lines.add(new Line(
                    "draft activations",
                    draft.activationBytes,
                    "a pass of " + config.maxBatchedTokens() + " tokens, " + config.maxSequences()
                            + " rows of logits"));
        }
        lines.add(new Line(
                "KV pages",
                pageCount * (pageBytes() - draftPageBytes()),
                pageCount + " pages × " + (pageBytes() - draftPageBytes()) + " bytes, " + poolReason()));
        if (draft != null) {
            lines.add(new Line(
                    "draft KV pages",
                    pageCount * draftPageBytes(),
                    pageCount + " pages × " + draftPageBytes() + " bytes, one for each page above"));
        }
        lines.add(new Line(
                "queue (in the heap)",
                config.maxQueuedTokens() * Integer.BYTES,
                config.maxQueuedTokens() + " prompt tokens × 4 bytes, at most " + config.maxQueuedRequests()
                        + " requests"));
        lines.add(new Line(
                "KV bytes per token",
                kvBytesPerToken(),
                "2 × " + shape.layers + " layers × " + shape.kvHeads + " KV heads × " + headSum()
                        + (draft == null ? "" : ", and " + draftKvBytesPerToken() + " of the draft model")));
        lines.add(new Line("page", pageBytes(), config.pageTokens() + " tokens × " + kvBytesPerToken() + " bytes"));
        lines.add(sequenceLine(maxContext));
        return List.copyOf(lines);
    }

    private String headSum() {
        KvType type = config.kvType();
        String numbers = shape.headDim + " head dim × " + type.bytes() + " bytes";
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
                pagesFor(tokens) + " pages; " + sequences(tokens) + " fit at once, " + limit);
    }

    private String poolReason() {
        if (pageCount == wantedPages) {
            return "enough for maxSequences (" + config.maxSequences() + ") of maxContext";
        }
        return config.kvCacheBytes() > 0 ? "set by kvCacheBytes" : "the rest of the available memory";
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

    /** Bytes that weights and activations leave for KV pages. */
    private long kvBudgetBytes() {
        long drafting = draft == null ? 0 : draft.weightBytes + draft.activationBytes;
        return Math.max(0, availableBytes - weightBytes - activationBytes - drafting);
    }

    private long pagesFor(int tokens) {
        return (tokens + (long) config.pageTokens() - 1) / config.pageTokens();
    }

    /** The layout of K and V in a page. */
    public KvLayout kvLayout() {
        return kvLayout(shape);
    }

    /** The layout of K and V in a page of another model, with as many tokens a page. */
    KvLayout kvLayout(Shape model) {
        return new KvLayout(config.kvType(), config.pageTokens(), model.kvHeads, model.headDim);
    }
}
