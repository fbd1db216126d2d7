package quire.engine.schedule;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.Answer;
import quire.engine.BeamSearch;
import quire.engine.DiskTierStats;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.EngineStats;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.FinishReason;
import quire.engine.MemoryPlan;
import quire.engine.OverloadedException;
import quire.engine.PrefixCacheStats;
import quire.engine.ReplayedTrace;
import quire.engine.Request;
import quire.engine.Requests;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;
import quire.engine.Timeline;
import quire.engine.TokenStream;
import quire.engine.disk.PageFile;
import quire.engine.speculate.CostModel;
import quire.engine.speculate.FakeDrafters;
import quire.model.Batch;
import quire.model.WindowLayers;

/**
 * Seeded histories: requests start and are cancelled at random steps, under random and mostly tight limits. After every
 * step the test checks the integrity and poisons the free pages.
 */
class EngineHistoryTest {
    /** The nightly run plays more. One history has about 40 steps. */
    private static final int FACTOR = Integer.getInteger("quire.histories", 1);

    private static final int HISTORIES = 1_500 * FACTOR;
    private static final int SPECULATIVE_HISTORIES = 2_000 * FACTOR;
    private static final int DISK_HISTORIES = 500 * FACTOR;
    private static final int RECORDED_HISTORIES = 500 * FACTOR;

    private static final int BEAM_HISTORIES = 60 * FACTOR;

    /** Events of the long histories together: a million in the nightly run. */
    private static final int EVENTS = FACTOR == 1 ? 10_000 : 1_000_000;

    private static final int LONG_HISTORIES = 8;

    private static final int WINDOW_HISTORIES = 400 * FACTOR;

    private static final int STATE_HISTORIES = 400 * FACTOR;
    /** Histories with overflow pages that have found faults. */
    private static final long[] OVERFLOW_SEEDS = {418, 1379, 4722, 5170};

    /** Bits of the prefix index's hash: with none or few of them, many different texts have equal hashes. */
    private static final long[] HASH_MASKS = {0, 3, -1};

    private static final int[] PRIORITIES = {-2, -1, 0, 1, 2, Scheduling.BACKGROUND};

    @TempDir
    private Path folder;

    @Test
    void randomHistories_anyLimits_everyAnswerIsWhatItIsAlone() throws IOException {
        long preemptions = 0;
        long overtaken = 0;
        long hitTokens = 0;
        long evictedPages = 0;
        long leftOut = 0;
        long paused = 0;
        long shortestWithHalf = 0;
        Map<FinishReason, Long> ends = new EnumMap<>(FinishReason.class);
        for (long seed = 0; seed < HISTORIES; seed++) {
            History history = new History(seed, false);
            history.play();
            preemptions += history.preempted;
            overtaken += history.overtaken;
            leftOut += history.leftOut;
            paused += history.paused;
            shortestWithHalf += history.shortestWithHalf;
            PrefixCacheStats cache = history.loop.tracker().stats().prefixCache();
            hitTokens += cache.hitTokens();
            evictedPages += cache.evictedPages();
            history.finished.forEach((reason, count) -> ends.merge(reason, count, Long::sum));
        }
        // The histories must cover preemption and all ends.
        assertThat(preemptions).isGreaterThan(HISTORIES / 3);
        assertThat(overtaken).isGreaterThan(HISTORIES / 3);
        assertThat(leftOut).isGreaterThan(HISTORIES / 10);
        assertThat(paused).isGreaterThan(HISTORIES / 10);
        assertThat(shortestWithHalf).isGreaterThan(HISTORIES / 50);
        assertThat(hitTokens).isGreaterThan(10L * HISTORIES);
        assertThat(evictedPages).isGreaterThan(HISTORIES);
        assertThat(ends)
                .containsOnlyKeys(FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.TIMEOUT);
        assertThat(ends.values()).allSatisfy(count -> assertThat(count).isGreaterThan(HISTORIES / 2));
    }

    @Test
    void randomHistories_anyDrafts_everyAnswerIsWhatItIsAlone() throws IOException {
        long preemptions = 0;
        long hitTokens = 0;
        long acceptedTokens = 0;
        long rejectedTokens = 0;
        Map<String, Long> drafterToAccepted = new TreeMap<>();
        Map<FinishReason, Long> ends = new EnumMap<>(FinishReason.class);
        for (long seed = 0; seed < SPECULATIVE_HISTORIES; seed++) {
            History history = new History(seed, true);
            history.play();
            preemptions += history.preempted;
            hitTokens += history.loop.tracker().stats().prefixCache().hitTokens();
            SpeculationCounts stats =
                    history.loop.tracker().stats().speculation().counts();
            acceptedTokens += stats.acceptedTokens();
            rejectedTokens += stats.draftTokens() - stats.acceptedTokens();
            stats.drafters()
                    .forEach(drafter -> drafterToAccepted.merge(drafter.name(), drafter.acceptedTokens(), Long::sum));
            history.finished.forEach((reason, count) -> ends.merge(reason, count, Long::sum));
        }
        assertThat(preemptions).isGreaterThan(SPECULATIVE_HISTORIES / 3);
        assertThat(hitTokens).isGreaterThan(10L * SPECULATIVE_HISTORIES);
        assertThat(acceptedTokens).isGreaterThan(SPECULATIVE_HISTORIES);
        assertThat(rejectedTokens).isGreaterThan(SPECULATIVE_HISTORIES);
        assertThat(drafterToAccepted)
                .containsOnlyKeys("lookup", "model", "RIGHT", "WRONG", "HALF", "EDGES", "RANDOM")
                .containsEntry("WRONG", 0L);
        assertThat(drafterToAccepted.get("model")).isGreaterThan(SPECULATIVE_HISTORIES / 10);
        assertThat(drafterToAccepted.get("RIGHT")).isGreaterThan(SPECULATIVE_HISTORIES / 10);
        assertThat(drafterToAccepted.get("lookup")).isPositive();
        assertThat(ends)
                .containsOnlyKeys(FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.TIMEOUT);
        assertThat(ends.values()).allSatisfy(count -> assertThat(count).isGreaterThan(SPECULATIVE_HISTORIES / 2));
    }

    /**
     * Each history is played twice with one KV file: the second time its pages are there, as far as the file has room, and
     * now and then some bytes of the file have changed. Reading and writing take any number of steps.
     */
    @Test
    void randomHistories_withAKvFile_everyAnswerIsWhatItIsAlone() throws IOException {
        long preemptions = 0;
        long readBytes = 0;
        long hitTokens = 0;
        long skippedPages = 0;
        long damagedPages = 0;
        for (long seed = 0; seed < DISK_HISTORIES; seed++) {
            Path path = folder.resolve("pages.kv");
            for (int turn = 0; turn < 2; turn++) {
                History history = new History(seed, seed % 4 == 3, path, null);
                history.play();
                preemptions += history.preempted;
                DiskTierStats disk = history.loop.tracker().stats().diskTier();
                readBytes += disk.readBytes();
                hitTokens += disk.hitTokens();
                skippedPages += disk.skippedPages();
                damagedPages += disk.damagedPages();
                if (seed % 3 == 0 && Files.exists(path)) {
                    damage(path, new SplittableRandom(seed));
                }
            }
            Files.deleteIfExists(path);
        }
        assertThat(preemptions).isGreaterThan(DISK_HISTORIES / 3);
        assertThat(readBytes).isGreaterThan(100L * DISK_HISTORIES);
        assertThat(hitTokens).isGreaterThan(5L * DISK_HISTORIES);
        assertThat(skippedPages).isGreaterThan(DISK_HISTORIES / 5);
        assertThat(damagedPages).isGreaterThan(DISK_HISTORIES / 50);
    }

    /** Each history is recorded. Replayed, it is decided as before; with another reserve of pages, some are not. */
    @Test
    void randomHistories_recorded_areDecidedTheSameWhenReplayed() throws IOException {
        int changed = 0;
        long preemptions = 0;
        long leftOut = 0;
        for (long seed = 0; seed < RECORDED_HISTORIES; seed++) {
            Path path = folder.resolve("trace");
            History history = new History(seed, seed % 2 == 1, null, path);
            history.play();
            preemptions += history.preempted;
            leftOut += history.leftOut;
            ReplayedTrace other = TraceReplay.run(path, CostModel::ofStart, new PageReserve(0, 0));
            changed += other.difference() == null ? 0 : 1;
            Files.delete(path);
        }
        assertThat(preemptions).isGreaterThan(RECORDED_HISTORIES / 3);
        assertThat(leftOut).isGreaterThan(RECORDED_HISTORIES / 10);
        assertThat(changed).isGreaterThan(RECORDED_HISTORIES / 20);
    }

    /**
     * In a long history requests come, fork and are cancelled at random for as long as it lasts, so that pages, rows and
     * counts are used again and again. Every second one has a KV file.
     */
    @Test
    void longHistories_anyEvents_booksBalanceAfterEach() throws IOException {
        long preemptions = 0;
        long answers = 0;
        long evictedPages = 0;
        for (long seed = 0, played = 0; played < LONG_HISTORIES; seed++) {
            Path path = seed % 2 == 0 ? null : folder.resolve("long.kv");
            History history = new History(seed, seed % 4 > 1, path, null);
            if (history.maxContext < 8) {
                history.close();
                continue;
            }
            history.play(EVENTS / LONG_HISTORIES);
            delete(path);
            played++;
            preemptions += history.preempted;
            EngineStats stats = history.loop.tracker().stats();
            answers += stats.finishedTotal();
            evictedPages += stats.prefixCache().evictedPages();
        }
        assertThat(preemptions).isGreaterThan(EVENTS / 100);
        assertThat(answers).isGreaterThan(EVENTS / 20);
        assertThat(evictedPages).isGreaterThan(EVENTS / 20);
    }

    /** Beam searches fork, retire and wait for each other among other requests. */
    @Test
    void longHistories_withBeams_booksBalanceAfterEachEvent() throws IOException {
        long preemptions = 0;
        Map<FinishReason, Long> ends = new EnumMap<>(FinishReason.class);
        for (long seed = 100, played = 0; played < BEAM_HISTORIES; seed++) {
            Path path = seed % 4 == 0 ? folder.resolve("beams.kv") : null;
            Path trace = seed % 4 == 2 ? folder.resolve("beams.trace") : null;
            History history = new History(seed, seed % 4 == 1, path, trace);
            history.beams = true;
            if (history.maxContext < 8) {
                history.close();
                delete(trace);
                continue;
            }
            history.play(200);
            delete(path);
            delete(trace);
            played++;
            preemptions += history.preempted;
            history.searches.forEach((reason, count) -> ends.merge(reason, count, Long::sum));
        }
        assertThat(preemptions).isGreaterThan(10L * BEAM_HISTORIES);
        assertThat(ends)
                .containsOnlyKeys(FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.TIMEOUT);
        assertThat(ends.values()).allSatisfy(count -> assertThat(count).isGreaterThan(BEAM_HISTORIES));
    }

    /**
     * Layers with a window give pages back, so that others write to them while the sequence goes on. Some histories have beams,
     * some are recorded and replayed, and some are played twice with one KV file.
     */
    @Test
    void randomHistories_withWindows_everyAnswerIsWhatItIsAlone() throws IOException {
        long preemptions = 0;
        long hitTokens = 0;
        long readTokens = 0;
        long rejectedTokens = 0;
        long givenBack = 0;
        long lost = 0;
        for (long seed = 0; seed < WINDOW_HISTORIES; seed++) {
            Path trace = seed % 8 == 0 ? folder.resolve("windows.trace") : null;
            Path path = seed % 8 == 3 || seed % 8 == 4 ? folder.resolve("windows.kv") : null;
            for (int turn = path == null ? 1 : 0; turn < 2; turn++) {
                History history = new History(seed, seed % 2 == 1, path, trace, Layers.WINDOWS);
                history.beams = seed % 16 == 2 && history.maxContext >= 8;
                history.play(history.beams ? 60 : 0);
                EngineStats stats = history.loop.tracker().stats();
                preemptions += history.preempted;
                hitTokens += stats.prefixCache().hitTokens();
                readTokens += stats.diskTier().hitTokens();
                SpeculationCounts counts = stats.speculation().counts();
                rejectedTokens += counts.draftTokens() - counts.acceptedTokens();
                givenBack += history.givenBack;
                lost += history.withoutPartner;
            }
            delete(path);
            delete(trace);
        }
        assertThat(preemptions).isGreaterThan(WINDOW_HISTORIES / 3);
        assertThat(hitTokens).isGreaterThan(10L * WINDOW_HISTORIES);
        assertThat(readTokens).isGreaterThan(WINDOW_HISTORIES);
        assertThat(rejectedTokens).isGreaterThan(WINDOW_HISTORIES / 10);
        assertThat(givenBack)
                .as("window pages before the windows, in all steps")
                .isGreaterThan(WINDOW_HISTORIES);
        assertThat(lost)
                .as("pages in the index without a window page, in all steps")
                .isGreaterThan(WINDOW_HISTORIES / 3);
    }

    /**
     * With states that are saved behind some pages: few, so that they are written over while others begin with them. Some
     * histories are recorded and replayed.
     */
    @Test
    void randomHistories_withSavedStates_everyAnswerIsWhatItIsAlone() throws IOException {
        long preemptions = 0;
        long hitTokens = 0;
        long rejectedTokens = 0;
        long savedStates = 0;
        for (long seed = 0; seed < STATE_HISTORIES; seed++) {
            Path trace = seed % 8 == 0 ? folder.resolve("states.trace") : null;
            History history = new History(seed, seed % 2 == 1, null, trace, Layers.STATES);
            history.play(seed % 16 == 2 && history.maxContext >= 8 ? 1_000 : 0);
            delete(trace);
            EngineStats stats = history.loop.tracker().stats();
            preemptions += history.preempted;
            hitTokens += stats.prefixCache().hitTokens();
            SpeculationCounts counts = stats.speculation().counts();
            rejectedTokens += counts.draftTokens() - counts.acceptedTokens();
            savedStates += history.savedStates;
        }
        assertThat(preemptions).isGreaterThan(STATE_HISTORIES / 3);
        assertThat(hitTokens).isGreaterThan(10L * STATE_HISTORIES);
        assertThat(rejectedTokens).isGreaterThan(STATE_HISTORIES / 10);
        assertThat(savedStates).as("saved states, in all steps").isGreaterThan(10L * STATE_HISTORIES);
    }

    /**
     * The same with pages behind those in memory, for one sequence at a time: alone, with a KV file, and with layers that have
     * a window.
     */
    @Test
    void randomHistories_overflowPages_keepTheInvariants() throws IOException {
        long preemptions = 0;
        long overflowed = 0;
        long hitTokens = 0;
        long[] seeds = LongStream.concat(LongStream.range(0, STATE_HISTORIES), LongStream.of(OVERFLOW_SEEDS))
                .toArray();
        for (long seed : seeds) {
            Path path = seed % 8 == 3 ? folder.resolve("overflow.kv") : null;
            Layers layers = seed % 4 == 1 ? Layers.WINDOWS_AND_OVERFLOW : Layers.OVERFLOW;
            History history = new History(seed, seed % 2 == 1, path, null, layers);
            history.beams = seed % 16 == 2 && history.maxContext >= 8;
            history.play(history.beams ? 60 : 0);
            delete(path);
            preemptions += history.preempted;
            overflowed += history.overflowed;
            hitTokens += history.loop.tracker().stats().prefixCache().hitTokens();
        }
        assertThat(preemptions).isGreaterThan(STATE_HISTORIES / 3);
        assertThat(overflowed).isGreaterThan(STATE_HISTORIES);
        assertThat(hitTokens).isGreaterThan(10L * STATE_HISTORIES);
    }

    /** What a model has beside keys and values of all positions. */
    private enum Layers {
        PLAIN,
        /** Layers with a window, whose pages are apart. */
        WINDOWS,
        /** Recurrent layers, whose states are saved behind some pages. */
        STATES,
        /** Keys and values that are not in memory, of one sequence that is longer than the pool. */
        OVERFLOW,
        /** Both. */
        WINDOWS_AND_OVERFLOW
    }

    private static void delete(@Nullable Path path) throws IOException {
        if (path != null) {
            Files.deleteIfExists(path);
        }
    }

    /** Changes bits in a random part of a file, but not those that say what kind of file it is. */
    private static void damage(Path path, SplittableRandom random) throws IOException {
        byte[] bytes = Files.readAllBytes(path);
        int at = random.nextInt(8, bytes.length);
        int to = Math.min(bytes.length, at + 1 + random.nextInt(2_000));
        for (int i = at; i < to; i++) {
            bytes[i] ^= (byte) (1 << random.nextInt(8));
        }
        Files.write(path, bytes);
    }

    /** One history, determined by its seed. It is the engine's listener and clock too. */
    private static final class History implements EngineListener {
        private final long seed;
        private final SplittableRandom random;
        private final EngineConfig config;
        private final FakeModel model;
        private final FakeModel draft;
        private final boolean speculating;
        private final int tenants;
        private final EngineLoop loop;
        private final int maxContext;
        private final List<Call> calls = new ArrayList<>();
        private final Map<FinishReason, Long> finished = new EnumMap<>(FinishReason.class);
        private long nanos;
        private long started;
        private long preempted;
        private long overtaken;
        private long leftOut; // decoding sequences of all steps
        private long paused; // sequences of the background of all steps
        private long shortestWithHalf; // steps with a short prompt behind a longer one
        private long givenBack; // window pages before the windows, in all steps
        private long savedStates; // in all steps
        private long takenStates;
        private long withoutPartner;
        private long overflowed; // pages in the index, in all steps
        private final IdentityHashMap<Sequence, Integer> missedSteps = new IdentityHashMap<>(); // in a row
        private boolean lastForGuests;
        private @Nullable Sequence lastHead;
        private long lastPreempted;
        private long tokensReported;
        private long tokensFinished;
        private long steps;
        private boolean beams;
        private final Map<FinishReason, Long> searches = new EnumMap<>(FinishReason.class);
        private List<Sequence> ranBefore = List.of();
        private final @Nullable PageFile file;
        private final @Nullable Path trace;
        private final @Nullable TraceWriter writer;
        private final DelayedIo io = new DelayedIo();

        History(long seed, boolean speculating) {
            this(seed, speculating, null, null);
        }

        /**
         * @param path of a KV file; null for none
         * @param trace file for a trace; null for none
         */
        History(long seed, boolean speculating, @Nullable Path path, @Nullable Path trace) {
            this(seed, speculating, path, trace, Layers.PLAIN);
        }

        /** @param layers what else the model has */
        History(long seed, boolean speculating, @Nullable Path path, @Nullable Path trace, Layers layers) {
            this.seed = seed;
            this.speculating = speculating;
            this.trace = trace;
            random = new SplittableRandom(seed);
            tenants = 1 + random.nextInt(4);
            int maxSequences = 1 + random.nextInt(8);
            int maxBatchedTokens = maxSequences + random.nextInt(random.nextBoolean() ? 4 : 60);
            int context = 2 + random.nextInt(70);
            int pageTokens = 1 + random.nextInt(random.nextBoolean() ? 4 : 20);
            int pagesPerSequence = (context + pageTokens - 1) / pageTokens;
            int least = layers == Layers.OVERFLOW || layers == Layers.WINDOWS_AND_OVERFLOW ? 2 : 1;
            int pageCount = Math.max(least, pagesPerSequence / (2 * least))
                    + random.nextInt(random.nextBoolean() ? pagesPerSequence + 2 : pagesPerSequence * maxSequences);
            config = EngineConfig.builder()
                    .maxSequences(maxSequences)
                    .maxBatchedTokens(maxBatchedTokens)
                    .maxContext(random.nextBoolean() ? 0 : context)
                    .maxQueuedRequests(1 + random.nextInt(30))
                    .maxQueuedTokens(1 + random.nextInt(600))
                    .threads(1)
                    .speculation(Speculation.off())
                    .prefixCache(random.nextInt(4) > 0 || path != null)
                    .targetTokenGap(trace == null ? Duration.ofMillis(200) : Duration.ofNanos(1 + random.nextInt(60)))
                    .build();
            int vocabulary = FakeTokenizer.VOCABULARY_SIZE;
            int logitRows =
                    speculating ? maxSequences + random.nextInt(maxBatchedTokens - maxSequences + 1) : maxSequences;
            model = new FakeModel(vocabulary, context, pageTokens, pageCount, maxBatchedTokens, logitRows);
            if (layers == Layers.STATES) {
                model.withStates(maxSequences, 1 + new SplittableRandom(~seed).nextInt(3 * maxSequences));
            }
            int most = pageCount;
            if (layers == Layers.OVERFLOW || layers == Layers.WINDOWS_AND_OVERFLOW) {
                int overflow = 1 + new SplittableRandom(~seed).nextInt(pagesPerSequence + 1);
                model.withOverflow(overflow);
                most = MemoryPlan.pagesOfSequence(pageCount) + overflow;
            }
            if (layers == Layers.WINDOWS || layers == Layers.WINDOWS_AND_OVERFLOW) {
                SplittableRandom sizes = new SplittableRandom(~seed);
                int positions = 1 + sizes.nextInt(sizes.nextBoolean() ? 8 : context);
                int step = WindowLayers.stepPages(pageTokens, maxSequences, maxBatchedTokens);
                int window = new WindowLayers(positions, false, 1).pages(pageTokens) + step;
                int count = window + sizes.nextInt(sizes.nextBoolean() ? 3 : window + 1);
                model.withWindows(new WindowLayers(positions, sizes.nextInt(4) == 0, count));
            }
            draft = new FakeModel(vocabulary, context, pageTokens, pageCount, maxBatchedTokens, maxSequences)
                    .withOverflow(model.overflowPages())
                    .differing(2 + random.nextInt(8));
            EngineLoop.Builder parts = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .prefixHash(seed, trace == null ? HASH_MASKS[random.nextInt(HASH_MASKS.length)] : -1)
                    .listener(this)
                    .nanoClock(() -> nanos);
            if (speculating) {
                parts.drafts(drafts -> FakeDrafters.randomSource(random, draft, this::rightAnswer, drafts));
            }
            file = path == null ? null : openFile(path, pageTokens, model.pageBytes());
            if (file != null) {
                parts.disk(file, random.nextBoolean() ? Runnable::run : io);
            }
            writer = trace == null ? null : TraceWriter.create(trace);
            if (writer != null) {
                parts.trace(writer).cost(CostModel.unknown(maxBatchedTokens));
            }
            loop = parts.build();
            maxContext = loop.maxContext();
            assertThat(maxContext).isEqualTo(Math.min(context, most * pageTokens));
            model.onForward(batch -> {
                checkPlan(batch);
                nanos += batch.rows();
                for (int s = 0; s < batch.sequences(); s++) {
                    takenStates += batch.start(s) == Batch.Start.SAVED ? 1 : 0;
                }
            });
        }

        private PageFile openFile(Path path, int pageTokens, long pageBytes) {
            PageFile.Contents contents =
                    new PageFile.Contents("i".repeat(PageFile.IDENTITY_LENGTH), pageTokens, pageBytes);
            int slots = 1 + random.nextInt(60);
            long bytes = 8_000;
            while (PageFile.slots(bytes, pageTokens, pageBytes) < slots) {
                bytes += 64;
            }
            return PageFile.open(path, bytes, contents);
        }

        /** Checks the invariants of {@link Scheduler} that a plan shows. */
        @SuppressWarnings("ReferenceEquality") // the same sequence
        private void checkPlan(Batch batch) {
            KvPages pages = loop.pages();
            List<Sequence> waiting = loop.scheduler().waiting();
            Sequence head = waiting.isEmpty() ? null : waiting.getFirst();
            Sequence first = null;
            int firstRows = 0;
            int promptRows = 0;
            int shorter = 0; // rows of prompts of one token that started in this plan
            int before = 0;
            boolean loading = loop.scheduler().running().stream().anyMatch(Sequence::isLoading);
            boolean pausing = loop.scheduler().running().stream()
                    .anyMatch(sequence -> !sequence.isBackground() && rows(batch, pages.table(sequence.row)) > 0);
            for (Sequence sequence : loop.scheduler().running()) {
                int rows = rows(batch, pages.table(sequence.row));
                if (sequence.isLoading() || sequence.isReady()) {
                    assertThat(rows).as("%s waits", sequence).isZero();
                } else if (sequence.isBackground() && pausing) {
                    assertThat(rows).as("%s beside others", sequence).isZero();
                    paused++;
                } else if (sequence.remaining() == 1) { // it decodes, or started in this plan with one token to compute
                    boolean isNew = !ranBefore.contains(sequence);
                    if (sequence.isLeftOut) { // also one that starts again behind cached pages
                        assertThat(rows).as("%s is left out", sequence).isZero();
                        checkLeftOut(sequence);
                    } else {
                        assertThat(rows).as("%s decodes", sequence).isPositive();
                        missedSteps.remove(sequence);
                    }
                    shorter += isNew ? rows : 0;
                    if (isNew && first == null && !sequence.isLeftOut) {
                        first = sequence;
                        firstRows = rows;
                    }
                } else {
                    promptRows += rows;
                    firstRows = first == null ? rows : firstRows;
                    first = first == null ? sequence : first;
                    assertThat(loading
                                    || rows == 0
                                    || sequence.priority == first.priority
                                    || firstRows >= first.remaining()
                                    || first.needsScores()) // the rows of logits bound its tokens
                            .as("%s gets tokens before %s", sequence, first)
                            .isTrue();
                }
                if (head != null && head.isBefore(sequence)) {
                    overtaken++;
                } else {
                    before++;
                }
            }
            boolean forGuests = loop.scheduler().isForGuests();
            assertThat(forGuests && lastForGuests)
                    .as("two steps for guests in a row")
                    .isFalse();
            lastForGuests = forGuests;
            if (first != null
                    && !loading
                    && !forGuests
                    && preempted == lastPreempted // one that starts again in this plan may have been the first
                    && writer == null) { // not in light steps, nor for pages that come from the file
                assertThat(firstRows)
                        .as(
                                "tokens, of %d for prompts, for the first prompt %s\n%s",
                                promptRows, first, loop.scheduler().describe())
                        .isGreaterThanOrEqualTo(
                                first.needsScores() // it needs a row of logits for each token
                                        ? Math.min(1, promptRows)
                                        : Math.min(first.remaining(), promptRows - promptRows / 2));
            }
            if (first != null
                    && !loading
                    && !forGuests
                    && preempted == lastPreempted
                    && writer == null
                    && !config.prefixCache()) { // a prompt may wait for a page that another one computes
                checkShortest(batch, first, shorter, promptRows);
            }
            // If no sequence started, and so moved others, the head of the last plan was the head when this plan began.
            // Without a preemption, no row became free during the plan.
            if (head != null
                    && !loading
                    && !forGuests
                    && !(head.isBackground() && pausing)
                    && head == lastHead
                    && preempted == lastPreempted
                    && ranBefore.containsAll(loop.scheduler().running())
                    && loop.scheduler().running().size() < config.maxSequences()
                    && (first == null || head.isBefore(first))
                    && !loop.scheduler().isHeldUpByTenant(head)) {
                head.match(pages);
                int missing = pages.missingWithout(
                        loop.scheduler().running(),
                        before,
                        loop.scheduler().running().size(),
                        head.prefix,
                        loop.scheduler().expectedLength(head));
                int windows = pages.missingWindowsWithout(
                        loop.scheduler().running(),
                        before,
                        loop.scheduler().running().size(),
                        loop.scheduler().expectedLength(head));
                assertThat(missing + loop.scheduler().reserve(before) > pages.available()
                                || windows + loop.scheduler().windowReserve(before) > pages.windowsLeft())
                        .as("pages for the head %s\n%s", head, loop.scheduler().describe())
                        .isTrue();
            }
            assertThat(loop.scheduler().running()).noneMatch(sequence -> sequence.isLate(nanos));
            assertThat(waiting).noneMatch(sequence -> sequence.isLate(nanos));
            lastHead = head;
            lastPreempted = preempted;
        }

        /**
         * Of the prompts behind the first, the shortest gets half of the tokens for prompts in each step until it is
         * complete, without those that shorter ones take. So a prompt of n tokens that no shorter one follows has its first
         * token after at most 2 n / b + 1 steps, if steps have b tokens for prompts, whatever else is being read.
         */
        @SuppressWarnings("ReferenceEquality") // the same sequence
        private void checkShortest(Batch batch, Sequence first, int shorter, int promptRows) {
            Sequence shortest = null;
            int longest = first.remaining();
            for (Sequence sequence : loop.scheduler().running()) {
                boolean paused = sequence.isLoading() || sequence.isReady() || sequence.priority != first.priority;
                if (sequence != first && !paused && sequence.remaining() > 1) {
                    if (sequence.needsScores()) {
                        return; // the rows of logits bound its tokens
                    }
                    longest = Math.max(longest, sequence.remaining());
                    shortest = shortest == null || sequence.remaining() < shortest.remaining() ? sequence : shortest;
                }
            }
            if (shortest == null
                    || startsBehindAnother(shortest, first)
                    || first.needsScores()
                    || first.remaining() <= shortest.remaining() // the first may be completed before
                    || shortest.remaining() == longest
                    || shortest.remaining() > promptRows) { // too long for a step of its own: others may be expected
                return;
            }
            shortestWithHalf++;
            int remaining = shortest.remaining();
            boolean headStarts = loop.scheduler().running().stream() // and takes one token
                    .anyMatch(other -> !ranBefore.contains(other) && other.remaining() > remaining);
            assertThat(rows(batch, loop.pages().table(shortest.row)))
                    .as(
                            "tokens, of %d for prompts, for the shortest prompt %s beside %s\n%s",
                            promptRows, shortest, first, loop.scheduler().describe())
                    .isGreaterThanOrEqualTo(
                            Math.min(remaining, (promptRows + shorter) / 2 - shorter - (headStarts ? 1 : 0)));
        }

        /** Whether it starts in this plan behind another one: perhaps it could not pass that one, which took tokens then. */
        @SuppressWarnings("ReferenceEquality") // the same sequence
        private boolean startsBehindAnother(Sequence shortest, Sequence first) {
            return !ranBefore.contains(shortest)
                    && loop.scheduler().running().stream()
                            .anyMatch(
                                    other -> other != first && other.isBefore(shortest) && !ranBefore.contains(other));
        }

        /** A decoding sequence without tokens in a step: only if other tenants come, and not for long. */
        private void checkLeftOut(Sequence sequence) {
            leftOut++;
            assertThat(tenants).as("tenants, while %s is left out", sequence).isGreaterThan(1);
            assertThat(sequence.generated()).isPositive();
            assertThat(missedSteps.merge(sequence, 1, Integer::sum))
                    .as("steps that left out %s", sequence)
                    .isLessThanOrEqualTo(Turns.MOST_MISSED);
        }

        @SuppressWarnings("ReferenceEquality") // the same table
        private static int rows(Batch batch, int[] pageTable) {
            for (int i = 0; i < batch.sequences(); i++) {
                if (batch.pageTable(i) == pageTable) {
                    return batch.rowCount(i);
                }
            }
            return 0;
        }

        private int[] rightAnswer(Sequence sequence) {
            for (Call call : calls) {
                if (call.stream == sequence.stream) {
                    return call.alone(maxContext).tokens().stream()
                            .mapToInt(Integer::intValue)
                            .toArray();
                }
            }
            throw new AssertionError("no call has " + sequence);
        }

        void play() throws IOException {
            play(0);
        }

        /**
         * Plays so many events, or some requests to their end if there are none. Replays the trace if it is recorded.
         *
         * @throws AssertionError naming the history
         */
        void play(int events) throws IOException {
            try {
                if (events > 0) {
                    playLong(events);
                } else {
                    playRequests();
                }
                if (trace != null) {
                    ReplayedTrace replayed = TraceReplay.run(trace, CostModel::ofStart);
                    assertThat(replayed.difference()).isNull();
                    assertThat(replayed.isWhole()).isTrue();
                    assertThat(replayed.steps()).isEqualTo(steps);
                    assertThat(replayed.preemptions()).isEqualTo(preempted);
                }
            } catch (AssertionError | RuntimeException e) {
                throw new AssertionError(
                        "history " + seed + " " + config + ", " + model.pageCount() + " pages of " + model.pageTokens()
                                + ", context " + maxContext,
                        e);
            }
        }

        /** A random request, or one that continues the text of an earlier one, cut at a random token. */
        private Request request() {
            Request fresh = Requests.random(random, maxContext);
            String salt = random.nextInt(4) == 0 ? "tenant " + random.nextInt(2) : null;
            if (calls.isEmpty() || random.nextInt(3) == 0) {
                return new Request(fresh.prompt(), fresh.params(), salt, scheduling());
            }
            Call earlier = calls.get(random.nextInt(calls.size()));
            IntStream text = IntStream.concat(
                    Arrays.stream(earlier.request.prompt()),
                    earlier.alone(maxContext).tokens().stream().mapToInt(Integer::intValue));
            int[] tokens = IntStream.concat(
                            random.nextInt(4) == 0 ? Arrays.stream(earlier.request.prompt()) : text,
                            Arrays.stream(fresh.prompt()))
                    .limit(random.nextBoolean() ? maxContext - 1 : 1 + random.nextInt(maxContext - 1))
                    .toArray();
            return new Request(
                    tokens, fresh.params(), random.nextInt(4) == 0 ? salt : earlier.request.cacheSalt(), scheduling());
        }

        private Scheduling scheduling() {
            int tenant = random.nextInt(tenants);
            return Scheduling.DEFAULT
                    .withTenant("tenant " + tenant, 1 + tenant * tenant)
                    .withPriority(random.nextInt(3) == 0 ? PRIORITIES[random.nextInt(PRIORITIES.length)] : 0)
                    .withTimeout(Duration.ofNanos(random.nextInt(3) == 0 ? random.nextInt(250) : 0));
        }

        /** Plays so many events: requests, cancellations, transfers of the KV file, and steps. */
        private void playLong(int events) {
            int answered = 0;
            for (int event = 0; event < events; event++) {
                switch (random.nextInt(8)) {
                    case 0, 1 -> {
                        Call call = new Call(request(), event, random);
                        if (beams && random.nextBoolean()) {
                            calls.add(call.search(config.maxSequences(), random));
                            break;
                        }
                        calls.add(call);
                        for (int forks = random.nextInt(6) == 0 ? 1 + random.nextInt(4) : 0; forks > 0; forks--) {
                            calls.add(call.fork(random));
                        }
                    }
                    case 2 -> io.run(1 + random.nextInt(3));
                    default -> loop.doWork();
                }
                for (Call call : calls) {
                    call.turn(event, loop);
                }
                if (calls.stream().noneMatch(call -> call.closed && call.isOpen())) {
                    check();
                } else {
                    loop.checkIntegrity(); // the next step ends what was closed
                }
                if (calls.size() > 20) { // also behind one that waits for long: each event looks at all of them
                    for (Call call : calls) {
                        if (!call.isOpen()) {
                            call.checkAnswer(maxContext, searches);
                            answered++;
                        }
                    }
                    calls.removeIf(call -> !call.isOpen());
                }
            }
            for (int event = events; io.size() > 0 || calls.stream().anyMatch(Call::isOpen); event++) {
                io.run(1);
                loop.doWork();
                for (Call call : calls) {
                    call.turn(event, loop);
                }
                loop.checkIntegrity();
                assertThat(event - events).as("steps after the last event").isLessThan(20_000);
            }
            calls.forEach(call -> call.checkAnswer(maxContext, searches));
            assertThat(beams || answered > 0).isTrue();
            EngineStats stats = loop.tracker().stats();
            assertThat(stats.running() + stats.waiting() + stats.usedPages()).isZero();
            assertThat(stats.preemptions()).isEqualTo(preempted);
            assertThat(stats.steps()).isEqualTo(steps);
            assertThat(stats.generationTokens()).isEqualTo(tokensReported);
            assertThat(beams || tokensReported == tokensFinished).isTrue();
            close();
        }

        void close() {
            model.close();
            draft.close();
            closeFiles();
        }

        private void playRequests() {
            if (maxContext < 2) {
                closeFiles();
                return; // no prompt leaves room for an answer
            }
            int requests = 1 + random.nextInt(16);
            for (int i = 0; i < requests; i++) {
                Call call = new Call(request(), random);
                calls.add(call);
                for (int forks = random.nextInt(6) == 0 ? 1 + random.nextInt(4) : 0; forks > 0; forks--) {
                    calls.add(call.fork(random));
                }
            }
            int step = 0;
            while (calls.stream().anyMatch(Call::isOpen)) {
                for (Call call : calls) {
                    call.turn(step, loop);
                }
                if (file != null) {
                    io.run(random.nextInt(4));
                }
                int done = loop.doWork();
                assertThat(done).isLessThanOrEqualTo(config.maxBatchedTokens());
                check();
                assertThat(step++).as("steps").isLessThan(20_000);
            }
            while (io.size() > 0) {
                io.run(1);
                assertThat(loop.doWork()).isZero();
            }
            assertThat(loop.doWork()).isZero();
            check();
            EngineStats stats = loop.tracker().stats();
            assertThat(stats.running()).isZero();
            assertThat(stats.waiting()).isZero();
            assertThat(stats.usedPages()).isZero();
            assertThat(stats.preemptions()).isEqualTo(preempted);
            assertThat(stats.steps()).isEqualTo(steps);
            assertThat(stats.generationTokens()).isEqualTo(tokensReported);
            long answered = 0;
            long prompts = 0;
            long sent = 0;
            long accepted = 0;
            long rejected = 0;
            long cached = 0;
            for (Call call : calls) {
                call.checkAnswer(maxContext, searches);
                if (call.stream != null) {
                    sent++;
                    accepted += call.stream.acceptedTokens();
                    rejected += call.stream.rejectedTokens();
                    cached += call.stream.cachedTokens();
                    answered += call.answer().tokens().size();
                    prompts += call.wasAnswered() ? call.request.prompt().length : 0;
                }
            }
            assertThat(stats.started()).isEqualTo(sent);
            assertThat(answered).isEqualTo(tokensReported).isEqualTo(tokensFinished);
            PrefixCacheStats cache = stats.prefixCache();
            assertThat(stats.promptTokens() + cache.hitTokens()).isGreaterThanOrEqualTo(prompts);
            assertThat(cache.hitTokens()).isEqualTo(cached).isLessThanOrEqualTo(cache.queriedTokens());
            if (!config.prefixCache()) {
                assertThat(cache.hitTokens() + cache.evictedPages() + cache.cachedPages())
                        .isZero();
            }
            SpeculationCounts speculation = stats.speculation().counts();
            assertThat(accepted).isEqualTo(speculation.acceptedTokens());
            assertThat(accepted + rejected).isEqualTo(speculation.draftTokens());
            checkCounts(stats);
            close();
        }

        private void closeFiles() {
            try {
                if (file != null) {
                    file.close();
                }
                if (writer != null) {
                    writer.close();
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        /** Checks counts that can be computed in two ways. */
        private void checkCounts(EngineStats stats) {
            if (!speculating) {
                assertThat(stats.speculation()).isEqualTo(SpeculationStats.NONE);
                return;
            }
            SpeculationCounts counts = stats.speculation().counts();
            List<Long> decisions = counts.decisions();
            assertThat(sum(decisions.subList(1, decisions.size())))
                    .isEqualTo(counts.drafters().stream()
                            .mapToLong(SpeculationCounts.Drafter::drafts)
                            .sum());
            assertThat(sum(counts.draftedAt())).isEqualTo(counts.draftTokens());
            assertThat(sum(counts.acceptedAt())).isEqualTo(counts.acceptedTokens());
            for (int position = 0; position < Speculation.MAX_DRAFT_TOKENS; position++) {
                long drafted = counts.draftedAt().get(position);
                assertThat(drafted).isEqualTo(sum(decisions.subList(position + 1, decisions.size())));
                // Accepted draft tokens are a prefix of the draft.
                long before = position == 0 ? drafted : counts.acceptedAt().get(position - 1);
                assertThat(counts.acceptedAt().get(position)).isBetween(0L, Math.min(drafted, before));
            }
            assertThat(counts.drafters())
                    .allSatisfy(drafter -> assertThat(drafter.acceptedTokens()).isBetween(0L, drafter.draftTokens()));
            // Each decision yields one token besides the accepted ones, unless the answer ends before it.
            assertThat(sum(decisions) + counts.acceptedTokens() - stats.generationTokens())
                    .isBetween(0L, stats.finishedTotal());
        }

        private static long sum(List<Long> counts) {
            return counts.stream().mapToLong(Long::longValue).sum();
        }

        private void check() {
            loop.checkIntegrity();
            ranBefore = List.copyOf(loop.scheduler().running());
            checkOrder(loop.scheduler().running());
            checkOrder(loop.scheduler().waiting());
            EngineStats stats = loop.tracker().stats();
            assertThat(stats.started()).isEqualTo(stats.finishedTotal() + stats.running() + stats.waiting());
            finished.forEach((reason, count) -> assertThat(stats.finished()).containsEntry(reason, count));
            for (Call call : calls) {
                // A closed stream has ended, and its pages are free, after the next step.
                assertThat(call.closed && call.isOpen()).isFalse();
            }
            for (Sequence sequence : loop.scheduler().running()) {
                for (int i = 0; i < sequence.computed / loop.pages().pageTokens(); i++) {
                    givenBack += loop.pages().isWhole(sequence.row, i) ? 0 : 1;
                }
            }
            for (int window = 0; window < loop.pages().windowTotal(); window++) {
                if (loop.pages().isWindowFree(window)) {
                    model.poisonWindow(window);
                }
            }
            savedStates += stats.savedStates().used();
            assertThat(stats.savedStates().hits()).isEqualTo(takenStates);
            withoutPartner += loop.pages().indexedWithoutPartner();
            overflowed += stats.usedOverflowPages();
            for (int page = 0; page < model.pageCount() + model.overflowPages(); page++) {
                if (loop.pages().isFree(page)) {
                    model.poison(page);
                    draft.poison(page);
                }
            }
        }

        /** The sequences of one tenant and one priority are in the order of arrival. */
        private static void checkOrder(List<Sequence> sorted) {
            Map<String, Long> toLast = new TreeMap<>();
            for (Sequence sequence : sorted) {
                Long last = toLast.put(sequence.tenantName + ", " + sequence.priority, sequence.number);
                assertThat(last == null || last < sequence.number)
                        .as("order in %s", sorted)
                        .isTrue();
            }
        }

        @Override
        public void onStart(long queueNanos, int promptTokens) {
            assertThat(queueNanos).isNotNegative();
            started++;
        }

        @Override
        public void onFirstToken(long elapsed) {
            assertThat(elapsed).isPositive();
            tokensReported++;
        }

        @Override
        public void onToken(long elapsed) {
            if (!speculating) {
                assertThat(elapsed).isPositive();
            }
            tokensReported++;
        }

        @Override
        public void onPreempt() {
            preempted++;
        }

        @Override
        public void onStep(int tokens, int sequences, long elapsed) {
            assertThat(elapsed).isEqualTo(tokens);
            steps++;
        }

        @Override
        public void onFinish(FinishReason reason, long elapsed, int promptTokens, int completionTokens) {
            tokensFinished += completionTokens;
            finished.merge(reason, 1L, Long::sum);
            if (reason != FinishReason.CANCELLED && reason != FinishReason.TIMEOUT) {
                assertThat(started).isPositive();
            }
        }
    }

    /** One caller: submits at some step, may cancel at a later one, and may read in between. */
    private static final class Call {
        final Request request;
        private final int sendAt;
        private final int closeAt;
        private final boolean readsAsItComes;
        private final Answer.Reader reader = new Answer.Reader();
        private boolean refused;
        private boolean closed;
        private @Nullable OutputQueue stream;
        private @Nullable Answer alone;
        private @Nullable BeamSearch search;
        private List<TokenStream> streams = List.of(); // of a search; the first one is the stream

        Call(Request request, SplittableRandom random) {
            this(request, random.nextInt(30), random);
        }

        private Call(Request request, int sendAt, SplittableRandom random) {
            this.request = request;
            this.sendAt = sendAt;
            closeAt = random.nextInt(3) == 0 ? sendAt + random.nextInt(60) : Integer.MAX_VALUE;
            readsAsItComes = random.nextBoolean();
        }

        /** Another answer to the same prompt, sent at the same time. */
        Call fork(SplittableRandom random) {
            SamplingParams params =
                    request.params().toBuilder().seed(random.nextLong()).build();
            Request other = new Request(request.prompt(), params, request.cacheSalt(), request.scheduling());
            return new Call(other, sendAt, random);
        }

        /** A beam search with the same prompt. */
        Call search(int maxSequences, SplittableRandom random) {
            SamplingParams params = SamplingParams.builder()
                    .temperature(0)
                    .maxTokens(request.params().maxTokens())
                    .ignoreEndOfText(random.nextInt(4) == 0)
                    .stopTokens(random.ints(random.nextInt(8), 'a' + 2, 'z' + 2)
                            .boxed()
                            .toList())
                    .logprobs(random.nextInt(3) - 1)
                    .promptLogprobs(random.nextInt(6) == 0 ? 1 : -1)
                    .build();
            Call call = new Call(
                    new Request(request.prompt(), params, request.cacheSalt(), request.scheduling()), sendAt, random);
            call.search = new BeamSearch(
                    1 + random.nextInt(Math.min(6, maxSequences)),
                    random.nextInt(-1, 3),
                    List.of(BeamSearch.EarlyStopping.values()).get(random.nextInt(3)));
            return call;
        }

        void turn(int step, EngineLoop loop) {
            if (step == sendAt) {
                try {
                    streams = search == null ? List.of(loop.submit(request)) : loop.submit(request, search);
                    stream = (OutputQueue) streams.getFirst();
                } catch (OverloadedException e) {
                    assertThat(e.retryAfterSeconds()).isPositive();
                    refused = true;
                }
            }
            if (stream != null && step >= closeAt) {
                streams.getLast().close();
                closed = true;
            }
            if (stream != null && readsAsItComes) {
                reader.poll(stream);
            }
        }

        boolean isOpen() {
            return !refused && (stream == null || streams.stream().anyMatch(each -> !((OutputQueue) each).hasEnded()));
        }

        Answer answer() {
            OutputQueue ended = requireNonNull(stream);
            reader.poll(ended);
            return reader.end(ended.finish());
        }

        Answer alone(int maxContext) {
            if (alone == null) {
                alone = Answer.alone(request, maxContext);
            }
            return alone;
        }

        boolean wasAnswered() {
            return switch (answer().finish().reason()) {
                case CANCELLED, TIMEOUT -> false;
                default -> true;
            };
        }

        /** The timeline begins and ends as the request did, and its times do not go back. */
        private void checkTimeline() {
            Timeline timeline = requireNonNull(stream).timeline();
            List<Timeline.Event> events = timeline.events();
            assertThat(events.getFirst())
                    .isEqualTo(new Timeline.Event(Timeline.Kind.QUEUED, 0, request.prompt().length, 0));
            assertThat(events.getLast().kind()).isEqualTo(Timeline.Kind.ENDED);
            assertThat(events.getLast().tokens()).isEqualTo(answer().finish().completionTokens());
            for (int i = 1; i < events.size(); i++) {
                assertThat(events.get(i).nanos())
                        .isGreaterThanOrEqualTo(events.get(i - 1).nanos());
            }
            long starts = events.stream()
                    .filter(e -> e.kind() == Timeline.Kind.STARTED)
                    .count();
            long preemptions = events.stream()
                    .filter(e -> e.kind() == Timeline.Kind.PREEMPTED)
                    .count();
            if (timeline.leftOut() == 0) {
                assertThat(starts - preemptions).isBetween(0L, 1L);
                assertThat(events.stream().filter(e -> e.kind() == Timeline.Kind.FIRST_TOKEN))
                        .hasSize(Math.min(1, answer().tokens().size()));
            }
        }

        private void checkSearch(BeamSearch wanted, int maxContext, Map<FinishReason, Long> reasons) {
            List<Answer> found = new ArrayList<>();
            found.add(answer());
            for (TokenStream each : streams.subList(1, streams.size())) {
                Answer.Reader other = new Answer.Reader();
                other.poll(each);
                found.add(other.end(each.finish()));
            }
            FinishReason reason = found.getFirst().finish().reason();
            reasons.merge(reason, 1L, Long::sum);
            if (reason == FinishReason.CANCELLED) {
                assertThat(closed).isTrue();
            } else if (found.stream().noneMatch(each -> each.finish().reason() == FinishReason.TIMEOUT)) {
                assertThat(found).isEqualTo(Answer.alone(request, wanted, maxContext));
            }
        }

        void checkAnswer(int maxContext, Map<FinishReason, Long> searches) {
            if (refused) {
                return;
            }
            if (search != null) {
                checkSearch(search, maxContext, searches);
                return;
            }
            checkTimeline();
            Answer alone = alone(maxContext);
            Answer answer = answer();
            if (wasAnswered()) {
                assertThat(answer).isEqualTo(alone);
            } else {
                assertThat(closed || answer.finish().reason() == FinishReason.TIMEOUT)
                        .isTrue();
                assertThat(answer.isPrefixOf(alone))
                        .as("%s is a prefix of %s", answer, alone)
                        .isTrue();
            }
            assertThat(answer.tokens()).hasSize(answer.finish().completionTokens());
        }
    }
}
