package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.MemoryPlan.Limit;
import quire.engine.MemoryPlan.Shape;
import quire.tensor.KvLayout.KvType;
import quire.tensor.memory.FileMemory;

class MemoryPlanTest {
    private static final Shape LLAMA_2_7B = new Shape(32, 32, 128, 4096);
    private static final long GIB = 1L << 30;

    private static final JavaMemory JAVA = new JavaMemory(2 * GIB, 0, 0, 0, 0, 0);

    /** A plan on a machine where this much is left for weights, activations and KV pages. */
    private static MemoryPlan plan(EngineConfig config, long weights, long activations, long room) {
        return plan(config, weights, activations, null, room);
    }

    private static MemoryPlan plan(
            EngineConfig config, long weights, long activations, MemoryPlan.@Nullable Model draft, long room) {
        return MemoryPlan.of(
                new MemoryPlan.Model(LLAMA_2_7B, 32_000, weights, activations), draft, config, machine(room), JAVA);
    }

    private static MachineMemory machine(long room) {
        long available = room + JAVA.totalBytes() + GIB; // a reserve of 1 GiB
        return new MachineMemory(2 * available + 100 * GIB, "in a test", available, "left by others");
    }

    private static MemoryPlan plan(EngineConfig config, MachineMemory machine, JavaMemory java) {
        return MemoryPlan.of(new MemoryPlan.Model(LLAMA_2_7B, 32_000, 4 * GIB, GIB / 2), null, config, machine, java);
    }

    private static EngineConfig config(int maxSequences, int maxContext, long kvCacheBytes) {
        return EngineConfig.builder()
                .maxSequences(maxSequences)
                .maxBatchedTokens(512)
                .maxContext(maxContext)
                .maxQueuedRequests(100)
                .maxQueuedTokens(1000)
                .kvCacheBytes(kvCacheBytes)
                .threads(1)
                .speculation(Speculation.off())
                .build();
    }

    @Test
    void sequenceBytes_llama2Shape_isTwoGibibytes() {
        MemoryPlan plan = plan(config(64, 0, 0), 0, 0, 100 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(2L * 32 * 32 * 128 * 2);
        assertThat(plan.sequenceBytes(4096)).isEqualTo(2 * GIB);
        assertThat(plan.describe(4096)).containsPattern("sequence of 4096 tokens +2 GiB");
    }

    @Test
    void kvBytesPerToken_int8Pages_areBytesAndScales() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(64)
                .maxBatchedTokens(512)
                .maxQueuedRequests(100)
                .maxQueuedTokens(1000)
                .kvType(KvType.Q8_0)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        MemoryPlan plan = plan(config, 0, 0, 100 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(2L * 32 * 32 * (128 + 4));
        assertThat(plan.describe(4096)).contains("(128 head dim × 1 bytes + a scale of 4 bytes) (Q8_0)");
    }

    @Test
    void sequences_littleMemory_pagesLimitThem() {
        MemoryPlan plan = plan(config(64, 0, 0), 4 * GIB, GIB, 12 * GIB);

        assertThat(plan.pageCount() * plan.pageBytes()).isEqualTo(7 * GIB);
        assertThat(plan.sequences(4096)).isEqualTo(3);
        assertThat(plan.limit(4096)).isEqualTo(Limit.KV_PAGES);
        assertThat(plan.sequences(1024)).isEqualTo(14);
    }

    @Test
    void sequences_muchMemory_maxSequencesLimitsThemAndNoPageIsWasted() {
        MemoryPlan plan = plan(config(4, 1000, 0), 0, 0, 1000 * GIB);

        assertThat(plan.pageCount()).isEqualTo(4 * 63);
        assertThat(plan.sequences(1000)).isEqualTo(4);
        assertThat(plan.limit(1000)).isEqualTo(Limit.MAX_SEQUENCES);
        assertThat(plan.sequences(1001)).isZero();
        assertThat(plan.limit(1001)).isEqualTo(Limit.MAX_CONTEXT);
    }

    @Test
    void pageCount_kvCacheBytes_isUsed() {
        MemoryPlan plan = plan(config(64, 0, GIB), 0, 0, 0);

        assertThat(plan.pageCount()).isEqualTo(128);
        assertThat(plan.maxContext()).isEqualTo(2048);
        assertThat(plan.limit(4096)).isEqualTo(Limit.KV_PAGES);
    }

    @Test
    void of_weightsOverMemory_saysHowToMendIt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 0, 0), 14 * GIB, GIB, 8 * GIB))
                .withMessageContaining("14 GiB of weights")
                .withMessageContaining("kvCacheBytes");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 0, 1 << 20), 0, 0, 8 * GIB))
                .withMessageContaining("one page takes 8 MiB");
    }

    @Test
    void of_contextBeyondTheModel_isRefusedBeforeTheMemoryIsLookedAt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 4097, 1), 14 * GIB, GIB, 8 * GIB))
                .withMessage("maxContext is 4097, but the model was trained for 4096 positions: choose at most that,"
                        + " or 0, or extend it with ropeScale");
    }

    @Test
    void of_contextBeyondThePages_isRefusedWithBothSizesAndWhatWouldDo() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 4096, GIB), 0, 0, 100 * GIB))
                .withMessage("maxContext is 4096 tokens, which take 2 GiB of KV pages, but kvCacheBytes is 1 GiB: set"
                        + " kvCacheBytes to at least 2147483648 bytes, or maxContext to at most 2048"
                        + (FileMemory.isSupported() ? ", or kvDisk for the rest" : ""));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 4096, 0), 4 * GIB, GIB, 6 * GIB))
                .withMessageContaining("but only 1 GiB of memory are left for them")
                .withMessageContaining("maxContext to at most 2048");
        assertThat(plan(config(64, 4096, 2 * GIB), 0, 0, 0).maxContext()).isEqualTo(4096);
    }

    @Test
    void of_onePage_isRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 0, 8 << 20), 0, 0, 0))
                .withMessageContaining("one KV page of 16 tokens")
                .withMessageContaining("kvCacheBytes");
    }

    @Test
    void lines_anyPlan_addUpToAtMostTheAvailableMemory() {
        for (int maxSequences = 1; maxSequences < 100; maxSequences += 7) {
            MemoryPlan plan = plan(config(maxSequences, 0, 0), 4 * GIB, GIB / 3, 23 * GIB);
            long sum = plan.lines().stream()
                    .filter(line -> line.name().equals("weights")
                            || line.name().equals("activations")
                            || line.name().equals("KV pages"))
                    .mapToLong(MemoryPlan.Line::bytes)
                    .sum();

            assertThat(sum).isGreaterThan(6 * GIB).isLessThanOrEqualTo(23 * GIB);
        }
    }

    @Test
    void lines_inAllAtMost_isTheSumOfTheLinesBefore() {
        JavaMemory java = new JavaMemory(2 * GIB, 64 << 20, 64 << 20, 30, 30 << 20, 70 << 20);
        EngineConfig config = config(4, 4096, GIB).toBuilder()
                .maxContext(512)
                .kvDisk(Path.of("pages.kv"))
                .build();
        List<MemoryPlan.Line> lines =
                plan(config, MachineMemory.of(64 * GIB), java).lines();
        List<String> names = lines.stream().map(MemoryPlan.Line::name).toList();
        int sum = names.indexOf("in all, at most");
        assertThat(lines.get(sum).bytes())
                .isEqualTo(lines.subList(names.indexOf("Java heap"), sum).stream()
                        .mapToLong(MemoryPlan.Line::bytes)
                        .sum());
    }

    @Test
    void lines_withAKvFile_countItsBuffersAndTables() {
        EngineConfig without = config(64, 4096, 0);
        EngineConfig with = without.toBuilder()
                .kvDisk(Path.of("pages.kv"))
                .kvDiskBytes(20 * GIB)
                .build();
        MemoryPlan plan = plan(with, 4 * GIB, GIB, 23 * GIB);

        // A page has 8 MiB, so four transfers; a slot takes 8 MiB and a record.
        assertThat(plan.lines())
                .contains(
                        new MemoryPlan.Line(
                                "KV transfers", 32 << 20, "pages on their way to the KV file or from it, at most"),
                        new MemoryPlan.Line(
                                "KV file, on disk", 20 * GIB, "2559 pages × 8388608 bytes, 40944 tokens, in pages.kv"));
        assertThat(plan.pageCount())
                .isEqualTo(plan(without, 4 * GIB, GIB, 23 * GIB).pageCount() - 4);
        assertThat(heapAtStart(plan) - heapAtStart(plan(without, 4 * GIB, GIB, 23 * GIB)))
                .isBetween(2559L * 100, 2559L * 200 + plan.pageCount() * 40L);
    }

    /** 4096 tokens are 256 pages; of 128 pages in memory a sequence has 96. */
    @Test
    void of_contextBeyondThePagesWithAKvFile_hasTheRestOnDisk() {
        assumeThat(FileMemory.isSupported()).isTrue();
        EngineConfig config = config(64, 4096, GIB).toBuilder()
                .kvDisk(Path.of("pages.kv"))
                .kvDiskBytes(2 * GIB)
                .build();

        MemoryPlan plan = plan(config, 0, 0, 100 * GIB);

        assertThat(plan.pageCount()).isEqualTo(128);
        assertThat(plan.overflowPages()).isEqualTo(160);
        assertThat(plan.maxContext()).isEqualTo(4096);
        assertThat(plan.sequences(4096)).isEqualTo(1);
        assertThat(plan.sequences(1537)).isEqualTo(1);
        assertThat(plan.sequences(512)).isEqualTo(4);
        assertThat(plan.limit(4096)).isEqualTo(MemoryPlan.Limit.KV_PAGES);
        assertThat(plan.kvFileBytes()).isEqualTo(2 * GIB - 160 * (8 << 20));
        assertThat(plan.lines())
                .contains(new MemoryPlan.Line(
                        "overflow, on disk",
                        160 * (8 << 20),
                        "160 pages × 8388608 bytes, for one sequence of more than 1536 tokens"));
        assertThat(plan.engineBytes())
                .isEqualTo(plan(config.toBuilder().maxContext(2048).build(), 0, 0, 100 * GIB)
                        .engineBytes());
    }

    @Test
    void of_overflowThatTheDiskHasNoRoomFor_isRefusedWithItsSize() {
        assumeThat(FileMemory.isSupported()).isTrue();
        EngineConfig config = config(64, 4096, GIB).toBuilder()
                .kvDisk(Path.of("pages.kv"))
                .kvDiskBytes(GIB)
                .build();

        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config, 0, 0, 100 * GIB))
                .withMessage(
                        "maxContext is 4096 tokens, of which 2560 have no room in memory and take 1.25 GiB on disk,"
                                + " but kvDiskBytes is 1 GiB: raise it above that, or set maxContext to at most 2048");
    }

    private static long heapAtStart(MemoryPlan plan) {
        return plan.lines().stream()
                .filter(line -> line.name().equals("in the heap, at start"))
                .mapToLong(MemoryPlan.Line::bytes)
                .sum();
    }

    @Test
    void size_anyNumber_hasBinaryUnits() {
        assertThat(MemoryPlan.size(0)).isEqualTo("0 B");
        assertThat(MemoryPlan.size(100)).isEqualTo("100 B");
        assertThat(MemoryPlan.size(1536)).isEqualTo("1.5 KiB");
        assertThat(MemoryPlan.size(10 << 10)).isEqualTo("10 KiB");
        assertThat(MemoryPlan.size(2 * GIB)).isEqualTo("2 GiB");
        assertThat(MemoryPlan.size(Long.MAX_VALUE)).isEqualTo("8 EiB");
    }

    @Test
    void pageCount_otherProgramsHoldMemory_isWhatTheyLeave() {
        EngineConfig config = config(64, 0, 0);
        MachineMemory idle = new MachineMemory(24 * GIB, "in a test", 23 * GIB, "free");
        MachineMemory busy = new MachineMemory(24 * GIB, "in a test", 12 * GIB, "free");

        long left = (long) (24 * 0.8 * GIB) - 2 * GIB - 4 * GIB - GIB / 2;
        assertThat(plan(config, idle, JAVA).pageCount()).isEqualTo((int) (left / (8 << 20)));
        assertThat(plan(config, idle, JAVA).describe(4096)).containsPattern("usable +19.2 GiB +80 % of the memory");
        left = 12 * GIB - GIB - 2 * GIB - 4 * GIB - GIB / 2;
        assertThat(plan(config, busy, JAVA).pageCount()).isEqualTo((int) (left / (8 << 20)));
        assertThat(plan(config, busy, JAVA).describe(4096))
                .containsPattern("memory +24 GiB +in a test")
                .containsPattern("available now +12 GiB +free")
                .containsPattern("usable +11 GiB +available now, less a reserve of 1 GiB");
        assertThat(plan(config, busy, JAVA).warnings()).isEmpty();
    }

    @Test
    void warnings_kvCacheLargerThanWhatIsLeft_nameBoth() {
        MachineMemory busy = new MachineMemory(24 * GIB, "in a test", 12 * GIB, "free");

        assertThat(plan(config(64, 0, 4 * GIB), busy, JAVA).warnings()).isEmpty();
        assertThat(plan(config(64, 0, 5 * GIB), busy, JAVA).warnings())
                .singleElement()
                .asString()
                .contains("the KV pages take 5 GiB", "4.5 GiB are left", "at most " + 9 * GIB / 2 + " bytes");
        assertThat(plan(config(64, 0, 5 * GIB), new MachineMemory(8 * GIB, "", GIB, ""), JAVA)
                        .warnings())
                .singleElement()
                .asString()
                .contains("0 B are left", "Set kvCacheBytes to less");
    }

    @Test
    void of_nothingAvailable_saysWhatTakesIt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan(config(64, 0, 0), new MachineMemory(24 * GIB, "", 7 * GIB, ""), JAVA))
                .withMessageContaining("4 GiB of weights, 512 MiB of activations and 2 GiB for the JVM")
                .withMessageContaining("of 6 GiB usable (available now, less a reserve of 1 GiB)")
                .withMessageContaining("end other programs");
    }

    /** Containers in which the heap is a quarter, as bin/java-options says. */
    @ParameterizedTest
    @ValueSource(ints = {512, 1024, 1536, 2048, 16_384})
    void lines_container_eachPartHasALineAndTheSumIsBelowTheLimit(int mebibytes) {
        MachineMemory container = MachineMemory.of((long) mebibytes << 20);
        JavaMemory java = new JavaMemory(container.totalBytes() / 4, 64 << 20, 64 << 20, 30, 30 << 20, 70 << 20);
        Shape tiny = new Shape(2, 2, 16, 1024);
        MemoryPlan plan = MemoryPlan.of(
                new MemoryPlan.Model(tiny, 321, 3 << 20, 8 << 20), null, config(64, 0, 0), container, java);

        List<String> parts = List.of(
                "Java heap", "code cache", "direct buffers", "threads", "JVM", "weights", "activations", "KV pages");
        List<MemoryPlan.Line> lines = plan.lines().stream()
                .filter(line -> parts.contains(line.name()))
                .toList();
        assertThat(lines).extracting(MemoryPlan.Line::name).containsExactlyElementsOf(parts);
        assertThat(lines.stream().mapToLong(MemoryPlan.Line::bytes).sum())
                .isLessThanOrEqualTo(plan.usableBytes())
                .isLessThan(container.totalBytes());
        assertThat(plan.warnings()).isEmpty();
    }

    @Test
    void warnings_tablesThatFillTheHeap_sayWhichHeapWouldDo() {
        Shape longContext = new Shape(16, 8, 64, 1 << 20);
        MemoryPlan.Model model = new MemoryPlan.Model(longContext, 32_000, 0, 0);
        MachineMemory machine = MachineMemory.of(1000 * GIB);
        JavaMemory half = new JavaMemory(GIB / 2, 0, 0, 0, 0, 0);

        MemoryPlan plan = MemoryPlan.of(model, null, config(512, 0, 0), machine, half);
        String warning = plan.warnings().getFirst();
        assertThat(warning)
                .contains("512 sequences of 1048576 tokens", "the heap has 512 MiB", "QUIRE_JAVA_OPTIONS=-Xmx");
        Matcher heap = Pattern.compile("-Xmx(\\d+)m").matcher(warning);
        assertThat(heap.find()).isTrue();
        JavaMemory enough = new JavaMemory(Long.parseLong(heap.group(1)) << 20, 0, 0, 0, 0, 0);
        assertThat(MemoryPlan.of(model, null, config(512, 0, 0), machine, enough)
                        .warnings())
                .isEmpty();
        assertThat(MemoryPlan.of(model, null, config(2, 0, 0), machine, half).warnings())
                .isEmpty();
    }

    @Test
    void pageCount_tinyPages_isLimitedByTheHeap() {
        MemoryPlan.Model model = new MemoryPlan.Model(new Shape(1, 1, 16, 1 << 20), 100, 0, 0);
        JavaMemory half = new JavaMemory(GIB / 2, 0, 0, 0, 0, 0);

        MemoryPlan plan = MemoryPlan.of(model, null, config(512, 0, 0), MachineMemory.of(1000 * GIB), half);
        assertThat(plan.pageCount()).isEqualTo(GIB / 2 / 4 / 161); // 25 bytes, 72 of the index, 16 tokens
        assertThat(plan.toString()).contains("as many as the Java heap has tables for");
    }

    @Test
    void of_tablesBeyondTheHeapAtStart_isRefused() {
        MemoryPlan.Model model = new MemoryPlan.Model(LLAMA_2_7B, 256_000, 0, 0);
        JavaMemory small = new JavaMemory(32 << 20, 0, 0, 0, 0, 0);

        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(model, null, config(1, 0, 0), MachineMemory.of(100 * GIB), small))
                .withMessageContaining("of the Java heap from the start, which has 32 MiB")
                .withMessageContaining("QUIRE_JAVA_OPTIONS=-Xmx");
    }

    /** The state of running sequences, and with the prefix cache a state beside each page. */
    @Test
    void of_recurrentLayers_areInTheSum() {
        MemoryPlan.Shape shape =
                new MemoryPlan.Shape(List.of(new MemoryPlan.Shape.Layers(32, 32, 128)), 4096, GIB / 64, 1 << 20, 0);
        MemoryPlan.Model model = new MemoryPlan.Model(shape, 32_000, 4 * GIB, GIB);
        for (boolean caching : new boolean[] {true, false}) {
            EngineConfig config =
                    config(64, 0, 0).toBuilder().prefixCache(caching).build();
            MemoryPlan plan = MemoryPlan.of(model, null, config, machine(12 * GIB), JAVA);

            long page = 16 * plan.kvBytesPerToken() + (caching ? 1 << 20 : 0);
            assertThat(plan.pageBytes()).isEqualTo(page);
            assertThat((long) plan.pageCount()).isEqualTo(6 * GIB / page);
            assertThat(plan.lines()).anySatisfy(line -> assertThat(line)
                    .isEqualTo(
                            new MemoryPlan.Line("recurrent state", GIB, "maxSequences (64) × " + GIB / 64 + " bytes")));
        }
    }

    @Test
    void of_layersWithOtherHeads_addsTheirBytes() {
        Shape shape = new Shape(List.of(new Shape.Layers(5, 8, 256), new Shape.Layers(1, 2, 512)), 4096);
        MemoryPlan.Model model = new MemoryPlan.Model(shape, 32_000, GIB, GIB);
        MemoryPlan plan = MemoryPlan.of(model, null, config(64, 0, 0), machine(12 * GIB), JAVA);

        assertThat(plan.kvBytesPerToken()).isEqualTo(2 * 2 * (5 * 8 * 256 + 2 * 512));
        assertThat(plan.toString())
                .contains("2 × 5 layers × 8 KV heads × 256 head dim × 2 bytes (F16) + 2 × 1 layers × 2 KV heads × 512");
    }

    private static MemoryPlan windows(
            int layers, int every, int kvHeads, int headDim, int window, EngineConfig config) {
        int all = every == 0 ? 0 : layers / every;
        List<Shape.Layers> kinds = all == 0
                ? List.of(new Shape.Layers(layers, kvHeads, headDim, window))
                : List.of(
                        new Shape.Layers(all, kvHeads, headDim),
                        new Shape.Layers(layers - all, kvHeads, headDim, window));
        MemoryPlan.Model model = new MemoryPlan.Model(new Shape(kinds, 131_072), 32_000, GIB, GIB);
        return MemoryPlan.of(model, null, config, machine(12 * GIB), JAVA);
    }

    /** Sequences of 32,768 tokens in 8 GiB: of a Gemma 3 with 4 B, of gpt-oss with 20 B and of a Mistral with 7 B. */
    @ParameterizedTest
    @CsvSource({"34, 6, 4, 256, 1024, 1, 6", "24, 2, 8, 64, 128, 5, 10", "32, 0, 8, 128, 4096, 2, 15"})
    void sequences_layersWithAWindow_areMoreThanIfAPageHeldAllLayers(
            int layers, int every, int kvHeads, int headDim, int window, int together, int apart) {
        EngineConfig config = config(64, 32_768, 8 * GIB);
        MemoryPlan plan = windows(layers, every, kvHeads, headDim, window, config);

        assertThat(8 * GIB / (32_768 * plan.kvBytesPerToken())).isEqualTo(together);
        assertThat(plan.sequences(32_768)).isEqualTo(apart);
        assertThat(plan.windowPageCount()).isBetween(1, plan.pageCount());
        long sum = plan.lines().stream()
                .filter(line -> line.name().matches("KV (window )?pages"))
                .mapToLong(MemoryPlan.Line::bytes)
                .sum();
        assertThat(sum).isLessThanOrEqualTo(8 * GIB);
        assertThat(plan.toString()).contains("with a window of " + window);
    }

    /** Where each sequence fits into the window, and where there is memory for all. */
    @Test
    void windowPageCount_nothingWouldBeGained_isZero() {
        assertThat(windows(34, 6, 4, 256, 1024, config(64, 1024, 8 * GIB)).windowPageCount())
                .isZero();
        assertThat(windows(34, 6, 4, 256, 1024, config(1, 32_768, 8 * GIB)).windowPageCount())
                .isZero();
    }

    @Test
    void of_modelWithoutAttention_hasPagesWithoutBytes() {
        MemoryPlan.Model model = new MemoryPlan.Model(new Shape(List.of(), 4096, 1 << 20, 0, 0), 32_000, GIB, GIB);
        MemoryPlan plan = MemoryPlan.of(model, null, config(64, 0, 0), machine(12 * GIB), JAVA);

        assertThat(plan.pageBytes()).isZero();
        assertThat(plan.pageCount()).isEqualTo(64 * 4096 / 16);
        assertThat(plan.toString()).contains("no layer has keys and values");
    }

    @Test
    void of_draftModel_isInTheSum() {
        MemoryPlan alone = plan(config(64, 0, 0), 4 * GIB, GIB, 12 * GIB);
        MemoryPlan.Shape small = new MemoryPlan.Shape(16, 8, 64, 4096);
        MemoryPlan.Model draft = new MemoryPlan.Model(small, 32_000, GIB, GIB / 2);
        MemoryPlan plan = plan(config(64, 0, 0), 4 * GIB, GIB, draft, 12 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(alone.kvBytesPerToken() + 2 * 16 * 8 * 64 * 2);
        assertThat(plan.pageCount()).isLessThan(alone.pageCount());
        assertThat(plan.pageCount() * plan.pageBytes()).isLessThanOrEqualTo(12 * GIB - 5 * GIB - 3 * GIB / 2);
        long sum = 0;
        for (MemoryPlan.Line line : plan.lines()) {
            if (line.name().matches("(draft )?(weights|activations|KV pages)")) {
                sum += line.bytes();
            }
        }
        assertThat(sum).isEqualTo(6 * GIB + GIB / 2 + plan.pageCount() * plan.pageBytes());
    }
}
