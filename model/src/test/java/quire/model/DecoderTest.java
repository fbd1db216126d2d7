package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufWriter;
import quire.model.format.ModelFormatException;
import quire.model.format.RandomModels;
import quire.model.format.RandomModels.Shape;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

@Tag("workers")
class DecoderTest {
    private static final Path STORIES =
            Path.of(System.getProperty("quire.shared", "../shared"), "models/stories260K.gguf");
    private static final int PAGES = 24;

    /** Whether every combination is computed. */
    private static final boolean NIGHTLY = Boolean.getBoolean("quire.nightly");

    private static final List<String> RECURRENT = List.of(
            "lfm2",
            "granitehybrid",
            "granitehybrid-dense",
            "qwen3next",
            "qwen35",
            "qwen35moe",
            "lfm2moe",
            "nemotron_h_moe",
            "falcon-h1",
            "mamba2",
            "mamba",
            "jamba");

    @TempDir
    private Path folder;

    @Test
    void forward_realModel_agreesWithTheFormulas() {
        assumeTrue(Files.exists(STORIES));
        assertThat(worstError(STORIES, KvType.F32, 100, false)).isLessThan(1e-4);
    }

    @Test
    void forward_everyOptionalPart_agreesWithTheFormulas() {
        Path file = RandomModels.write(folder, Shape.odd(), ElementType.F32, 11);
        assertThat(worstError(file, KvType.F32, 60, false)).isLessThan(1e-4);
    }

    @ParameterizedTest
    @FieldSource("quire.model.format.FamilyModels#NAMES")
    void forward_everyArchitecture_agreesWithTheFormulas(String architecture) {
        Path file = FamilyModels.write(folder, architecture, ElementType.F32, 17);
        assertThat(worstError(file, KvType.F32, 60, false)).isLessThan(1e-4);
        if (NIGHTLY) {
            assertSameBits(file, 2);
        }
        assertSameBits(FamilyModels.write(folder, architecture, ElementType.Q4_0, 18), 3);
    }

    /** The scalar kernels keep matrices as they are in the file, so an embedding that is also the head would be seen twice. */
    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen2"})
    void weightBytes_embeddingIsHeadOrNot_countsEachTensorOnce(String architecture) {
        try (Gguf gguf = Gguf.open(FamilyModels.write(folder, architecture, ElementType.Q8_0, 21))) {
            boolean tied = architecture.equals("qwen2");
            assertThat(gguf.hasTensor("output.weight")).isEqualTo(!tied);
            long bytes = ModelConfig.usedTensors(gguf).stream()
                    .mapToLong(each -> ModelConfig.isMatrix(each) ? each.byteSize() : each.elements() * Float.BYTES)
                    .sum();
            long embedding = ModelConfig.usedTensors(gguf).stream()
                    .filter(ModelConfig::isLookedUp)
                    .mapToLong(GgufTensor::byteSize)
                    .sum();
            assertThat(Decoder.weightBytes(gguf, KernelSets.named("scalar"))).isEqualTo(bytes);
            assertThat(Decoder.activeWeightBytes(gguf, ModelConfig.from(gguf), KernelSets.named("scalar")))
                    .isEqualTo(tied ? bytes : bytes - embedding);
        }
    }

    @ParameterizedTest
    @FieldSource("quire.model.format.FamilyModels#NAMES")
    void load_everyArchitecture_reportsAllBytesOfItsMatrices(String architecture) {
        AtomicLong reported = new AtomicLong();
        try (Gguf gguf = Gguf.open(FamilyModels.write(folder, architecture, ElementType.Q8_0, 21));
                Workers workers = new Workers(1)) {
            ModelConfig config = ModelConfig.from(gguf);
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F32, 16, 1, 16, 1);
            Decoder.load(gguf, config, KernelSets.best(), workers, capacity, null, reported::addAndGet)
                    .close();
            assertThat(reported.get()).isEqualTo(Decoder.matrixBytes(gguf, KernelSets.best()));
        }
    }

    /** Of equal scores the lower experts win. The weights of the others are so large that one product with them shows. */
    @Test
    void forward_expertsWithEqualScores_usesTheFirstOnly() {
        int used = 3;
        int experts = 8;
        int size = 64 * 64; // of a matrix of one expert
        GgufWriter writer = FamilyModels.writer("qwen3moe", ElementType.F32, 23);
        Random random = new Random(23);
        for (int layer = 0; layer < 4; layer++) {
            String block = "blk." + layer + ".ffn_";
            writer.withoutTensor(block + "gate_inp.weight")
                    .tensor(block + "gate_inp.weight", ElementType.F32, new float[64 * experts], 64, experts);
            for (String stem : List.of("gate_exps", "up_exps", "down_exps")) {
                float[] values = new float[size * experts];
                for (int i = 0; i < values.length; i++) {
                    values[i] = i < used * size ? (float) random.nextGaussian() / 8 : Float.MAX_VALUE;
                }
                writer.withoutTensor(block + stem + ".weight")
                        .tensor(block + stem + ".weight", ElementType.F32, values, 64, 64, experts);
            }
        }
        Path file = writer.write(folder.resolve("equal.gguf"));
        assertThat(worstError(file, KvType.F32, 20, false)).isLessThan(1e-4);
    }

    @Test
    void forward_everyArchitectureOnEverySet_sameBits() {
        for (String architecture : FamilyModels.NAMES) {
            Path file = FamilyModels.write(folder, architecture, ElementType.Q8_0, 19);
            int[] tokens =
                    new Random(6).ints(40, 0, RandomModels.VOCABULARY_SIZE).toArray();
            Map<String, List<Integer>> setToBits = new TreeMap<>();
            for (String set : KernelSets.names()) {
                if (KernelSets.obstacle(set) == null) {
                    try (Gguf gguf = Gguf.open(file);
                            Workers workers = new Workers(2);
                            Decoder decoder = load(gguf, workers, KvType.F16, 64, KernelSets.named(set))) {
                        setToBits.put(
                                set,
                                IntStream.of(lastLogits(decoder, tokens))
                                        .boxed()
                                        .toList());
                    }
                }
            }
            assertThat(setToBits.values())
                    .as("%s on %s", architecture, setToBits.keySet())
                    .containsOnly(setToBits.get("scalar"));
        }
    }

    /**
     * The formulas use the same weights. The remaining error is the rounding to f16, or to the 8 bits of the
     * activations. With int8 pages, both factors of each product are rounded to a 127th of their largest: K and queries, V and
     * weights. So the limit is twice 0.05, which rounded pages alone keep.
     */
    @ParameterizedTest
    @EnumSource(ElementType.class)
    void forward_everyWeightType_agreesWithinItsOwnError(ElementType type) {
        Path file = RandomModels.write(folder, Shape.plain(type), type, 12);
        if (type.isQuantized()) {
            assertAgreesQuantised(file);
        } else {
            assertThat(worstError(file, KvType.F32, 60, false)).isLessThan(1e-4);
            assertThat(worstError(file, KvType.F16, 60, false)).isLessThan(2e-3);
            assertThat(worstError(file, KvType.Q8_0, 60, false)).isLessThan(0.1);
        }
    }

    /**
     * The formulas round activations too. The results agree to float precision until a value near the middle between
     * two quantisation steps is rounded to the other step. The error is then one step of 127, and later positions read
     * it from the cache.
     */
    private static void assertAgreesQuantised(Path file) {
        double[] rounded = errors(file, KvType.F32, 60, true);
        assertThat(DoubleStream.of(rounded).min().orElseThrow()).isLessThan(1e-6);
        assertThat(DoubleStream.of(rounded).max().orElseThrow()).isLessThan(0.05);
        assertThat(worstError(file, KvType.F32, 60, false)).isLessThan(0.1);
    }

    /** Packed weights are in memory only once: Linux keeps no more of the file than it keeps in the page cache. */
    @Test
    void load_mappedFile_isNotHeldBesideItsPackedWeights() throws IOException {
        Path residence = Path.of("/proc/self/smaps");
        assumeTrue(Files.exists(residence), "reads Linux's list of mappings");
        Path file = RandomModels.write(folder, Shape.wide(), ElementType.F32, 3);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(gguf);
            try (Decoder decoder = Decoder.load(
                    gguf, config, KernelSets.best(), workers, new Decoder.Capacity(KvType.F16, 16, 4, 16, 1))) {
                assertThat(decoder.contextLength()).isPositive();
                long resident = 0;
                boolean ofTheFile = false;
                for (String line : Files.readAllLines(residence)) {
                    if (line.endsWith(file.getFileName().toString())) {
                        ofTheFile = true;
                    } else if (ofTheFile && line.startsWith("Rss:")) {
                        resident += Long.parseLong(line.replaceAll("\\D", "")) << 10;
                        ofTheFile = false;
                    }
                }
                assertThat(resident).isLessThan(Files.size(file) / 4);
            }
        }
    }

    /**
     * The sequences of a batch are divided into chunks of any size, computed beside other sequences, on pages in random
     * order with old data in them. No bit of the logits changes. Unless the run is nightly, a type has each shape and each type
     * of pages once.
     */
    @ParameterizedTest
    @EnumSource(ElementType.class)
    void forward_anyChunksBesideAnySequences_sameBits(ElementType type) {
        for (long seed = 1; seed <= 4; seed++) {
            if (!NIGHTLY && (seed + seed / 3 + type.name().length()) % 2 == 0) {
                continue;
            }
            Shape shape = seed % 2 == 0 ? Shape.unusual(type) : Shape.plain(type);
            assertSameBits(RandomModels.write(folder, shape, type, seed), seed);
        }
    }

    @Test
    void forward_typesMixedAsInQ4KM_agreesWithinItsOwnErrorAndKeepsItsBits() {
        Path file = RandomModels.writeMixed(folder, Shape.wide().withLayers(3), 13);
        assertAgreesQuantised(file);
        assertSameBits(file, 5);
        assertSameBits(RandomModels.writeMixed(folder, Shape.wideOdd(), 14), 6);
    }

    private static void assertSameBits(Path file, long seed) {
        Random random = new Random(seed);
        KvType kvType = seed < 3 ? KvType.F16 : KvType.Q8_0;
        try (Gguf gguf = Gguf.open(file);
                Workers one = new Workers(1);
                Workers three = new Workers(3);
                Decoder plain = load(gguf, one, kvType, 128);
                Decoder mixed = load(gguf, three, kvType, 128)) {
            List<int[]> prompts = new ArrayList<>();
            List<int[]> expected = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                int[] prompt = random.ints(2 + random.nextInt(99), 0, RandomModels.VOCABULARY_SIZE)
                        .toArray();
                prompts.add(prompt);
                expected.add(lastLogits(plain, prompt));
            }
            List<Integer> pages =
                    new ArrayList<>(IntStream.range(0, PAGES).boxed().toList());
            Collections.shuffle(pages, random);
            int[][] tables = new int[3][];
            for (int i = 0; i < 3; i++) {
                tables[i] = pages.subList(i * 8, i * 8 + 8).stream()
                        .mapToInt(Integer::intValue)
                        .toArray();
            }
            int[] computed = new int[3];
            Batch batch = new Batch(128, 4);
            for (int left = 3; left > 0; ) {
                batch.clear();
                int[] rowOf = {-1, -1, -1};
                for (int i = 0; i < 3; i++) {
                    int rest = prompts.get(i).length - computed[i];
                    int count = Math.min(rest, random.nextInt(40));
                    if (count > 0) {
                        boolean last = count == rest;
                        rowOf[i] = last ? batch.logitCount() : -1;
                        int at = batch.add(prompts.get(i), computed[i], computed[i] + count, tables[i], last ? 1 : 0);
                        batch.setState(at, i, 0, Batch.Start.CONTINUES);
                        computed[i] += count;
                    }
                }
                if (batch.rows() == 0) {
                    continue;
                }
                FloatMatrix logits = mixed.forward(batch);
                for (int i = 0; i < 3; i++) {
                    if (rowOf[i] >= 0) {
                        assertThat(bits(logits, rowOf[i])).as("sequence %d", i).isEqualTo(expected.get(i));
                        left--;
                    }
                }
            }
        }
    }

    /** Draft tokens that are rejected leave no trace, wherever they are and however many count. */
    @Test
    void forward_draftTokensTakenBack_sameBits() {
        for (String architecture : RECURRENT) {
            Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 19);
            Random random = new Random(19);
            try (Gguf gguf = Gguf.open(file);
                    Workers workers = new Workers(2);
                    Decoder decoder = load(gguf, workers, KvType.F16, 128)) {
                int[] tokens = random.ints(100, 0, RandomModels.VOCABULARY_SIZE).toArray();
                int[] expected = lastLogits(decoder, tokens);
                int[] pages = {9, 2, 11, 0, 1, 6, 3, 8};
                Batch batch = new Batch(64, 1);
                int[] text = new int[128];
                int computed = 0;
                int[] last = {};
                while (computed < tokens.length) {
                    int count = 1 + random.nextInt(Math.min(20, tokens.length - computed));
                    int drafts = random.nextInt(Batch.MAX_DRAFT_ROWS + 1);
                    int right = random.nextInt(Math.min(drafts, tokens.length - computed - count) + 1);
                    System.arraycopy(tokens, computed, text, computed, count + right);
                    for (int i = computed + count + right; i < computed + count + drafts; i++) {
                        text[i] = random.nextInt(RandomModels.VOCABULARY_SIZE);
                    }
                    batch.clear();
                    batch.add(text, computed, computed + count + drafts, pages, 1 + drafts);
                    batch.setState(0, 2, drafts, Batch.Start.CONTINUES);
                    FloatMatrix logits = decoder.forward(batch);
                    last = bits(logits, right);
                    computed += count + right;
                }
                assertThat(last).as(architecture).isEqualTo(expected);
            }
        }
    }

    /** A sequence that begins with the pages of another one takes the state behind them. */
    @Test
    void forward_beginsBehindAPage_sameBits() {
        Path file = FamilyModels.write(folder, "lfm2", ElementType.Q4_0, 20);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(gguf);
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, 16, PAGES, 64, 4, 3, true);
            try (Decoder decoder = Decoder.load(gguf, config, KernelSets.best(), workers, capacity)) {
                int[] tokens =
                        new Random(20).ints(50, 0, RandomModels.VOCABULARY_SIZE).toArray();
                int[] expected = lastLogits(decoder, tokens);
                Batch batch = new Batch(64, 1);
                for (int pages = 1; pages <= 3; pages++) {
                    batch.clear();
                    batch.add(tokens, 16 * pages, 50, IntStream.range(0, 8).toArray(), 1);
                    batch.setState(0, 2, 0, Batch.Start.AT_PAGE);
                    assertThat(bits(decoder.forward(batch), 0))
                            .as("%d pages", pages)
                            .isEqualTo(expected);
                }
            }
        }
    }

    /** States are saved in the middle of chunks, and of draft tokens that turned out to be right. */
    @ParameterizedTest
    @ValueSource(strings = {"mamba", "mamba2", "granitehybrid", "falcon-h1", "qwen3next"})
    void forward_beginsWithASavedState_sameBits(String architecture) {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 20);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(gguf);
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, 16, PAGES, 64, 4, 3, false, 0, 5, null);
            try (Decoder decoder = Decoder.load(gguf, config, KernelSets.best(), workers, capacity)) {
                assertThat(decoder.savedStates()).isEqualTo(5);
                int[] tokens =
                        new Random(20).ints(50, 0, RandomModels.VOCABULARY_SIZE).toArray();
                int[] pages = IntStream.range(0, 8).toArray();
                int[] expected = lastLogits(decoder, tokens);
                Batch batch = new Batch(64, 1);
                batch.add(tokens, 0, 20, pages, 1);
                batch.saveState(1, 4);
                batch.saveState(16, 0);
                batch.saveState(20, 1);
                decoder.forward(batch);
                batch.clear();
                batch.add(tokens, 20, 28, pages, 1);
                batch.setState(0, 0, 6, Batch.Start.CONTINUES); // the tokens from 22 on
                batch.saveState(21, 2);
                decoder.forward(batch);
                batch.clear();
                batch.add(tokens, 27, 40, pages, 1);
                batch.saveState(25, 3);
                batch.saveState(39, 2);
                decoder.forward(batch);
                int[][] positionAndState = {{1, 4}, {16, 0}, {20, 1}, {25, 3}, {39, 2}};
                for (int[] each : positionAndState) {
                    batch.clear();
                    batch.add(tokens, each[0], 50, pages, 1);
                    batch.setState(0, 2, 0, Batch.Start.CONTINUES);
                    batch.takeState(0, each[1]);
                    assertThat(bits(decoder.forward(batch), 0))
                            .as("%s from position %d", architecture, each[0])
                            .isEqualTo(expected);
                }
            }
        }
    }

    @Test
    void forward_savedStateThatIsNotThere_throws() {
        Path file = FamilyModels.write(folder, "granitehybrid", ElementType.F32, 20);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(1)) {
            ModelConfig config = ModelConfig.from(gguf);
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, 16, PAGES, 64, 4, 3, false, 0, 2, null);
            try (Decoder decoder = Decoder.load(gguf, config, KernelSets.best(), workers, capacity)) {
                int[] tokens = new int[40];
                int[] pages = {0, 1, 2};
                Batch batch = new Batch(64, 2);
                batch.add(tokens, 0, 16, pages, 1);
                batch.saveState(10, 1);
                decoder.forward(batch);
                batch.clear();
                batch.add(tokens, 12, 20, pages, 1);
                batch.takeState(0, 0);
                assertThatThrownBy(() -> decoder.forward(batch))
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("the saved state 0, which is none");
                batch.takeState(0, 1);
                assertThatThrownBy(() -> decoder.forward(batch))
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("the saved state 1 of position 10");
                for (int position : new int[] {16, 21}) { // the state has it already, or the step does not come to it
                    batch.clear();
                    batch.add(tokens, 16, 20, pages, 1);
                    batch.saveState(position, 1);
                    assertThatThrownBy(() -> decoder.forward(batch))
                            .isInstanceOf(IllegalArgumentException.class)
                            .hasMessageContaining("before position " + position + " cannot be saved");
                }
                batch.clear();
                batch.add(tokens, 16, 20, pages, 1);
                batch.setState(0, 0, 2, Batch.Start.CONTINUES);
                batch.saveState(19, 1); // behind a draft token
                assertThatThrownBy(() -> decoder.forward(batch)).isInstanceOf(IllegalArgumentException.class);
                assertThatThrownBy(() -> batch.saveState(19, 1))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("in ascending order");
                batch.clear();
                batch.add(tokens, 16, 20, pages, 1);
                batch.saveState(18, 2);
                assertThatThrownBy(() -> decoder.forward(batch)).hasMessageContaining("number 2 of 2");
                batch.clear();
                addText(batch, 0, 1, tokens, 10, 12, pages);
                batch.takeState(0, 1);
                addText(batch, 1, 0, tokens, 16, 20, pages);
                batch.saveState(17, 1);
                assertThatThrownBy(() -> decoder.forward(batch)).hasMessageContaining("in the same step");
                batch.clear();
                addText(batch, 0, 0, tokens, 16, 20, pages);
                batch.saveState(17, 1);
                addText(batch, 1, 1, tokens, 10, 12, pages);
                batch.takeState(1, 1);
                assertThatThrownBy(() -> decoder.forward(batch)).hasMessageContaining("in the same step");
                batch.clear();
                addText(batch, 0, 0, tokens, 16, 20, pages);
                batch.saveState(17, 1);
                addText(batch, 1, 0, tokens, 10, 12, pages);
                assertThatThrownBy(() -> decoder.forward(batch)).hasMessageContaining("share slot 0");
                batch.clear();
                addText(batch, 0, 1, tokens, 10, 12, pages);
                batch.takeState(0, 1); // no refused step has written over it
                decoder.forward(batch);
            }
        }
    }

    /** Adds a part of a text, whose state is in a slot. */
    private static void addText(Batch batch, int text, int slot, int[] tokens, int from, int to, int[] pages) {
        batch.add(tokens, from, to, pages, 1);
        batch.setState(text, slot, 0, Batch.Start.CONTINUES);
    }

    @Test
    void forward_stateThatIsNotThere_throws() {
        Path file = FamilyModels.write(folder, "lfm2", ElementType.F32, 20);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(1);
                Decoder decoder = load(gguf, workers, KvType.F16, 64)) {
            int[] tokens = new int[40];
            int[] pages = {0, 1, 2};
            Batch batch = new Batch(64, 2);
            batch.add(tokens, 0, 16, pages, 1);
            batch.setState(0, 0, 3, Batch.Start.CONTINUES);
            decoder.forward(batch);
            for (int position : new int[] {12, 17}) {
                batch.clear();
                batch.add(tokens, position, 20, pages, 1);
                assertThatThrownBy(() -> decoder.forward(batch))
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("position " + position)
                        .hasMessageContaining("known at 13 to 16");
            }
            batch.setState(0, 0, 0, Batch.Start.AT_PAGE);
            assertThatThrownBy(() -> decoder.forward(batch))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("no state at position 17");
            batch.setState(0, 9, 0, Batch.Start.CONTINUES);
            assertThatThrownBy(() -> decoder.forward(batch))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("slot 9 of 4");
            batch.setState(0, 1, 3, Batch.Start.CONTINUES);
            assertThatThrownBy(() -> decoder.forward(batch))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("3 draft tokens in 3 rows");
            batch.clear();
            batch.add(tokens, 0, 1, pages, 1);
            batch.add(tokens, 0, 1, pages, 1);
            batch.setState(1, 0, 0, Batch.Start.CONTINUES);
            assertThatThrownBy(() -> decoder.forward(batch))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("share slot 0");
        }
    }

    @Test
    void forward_severalLogitRows_eachLikeItsOwnStep() {
        Path file = RandomModels.write(folder, Shape.tiny(), ElementType.Q8_0, 3);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(2);
                Decoder decoder = load(gguf, workers, KvType.F16, 64)) {
            int[] tokens =
                    new Random(4).ints(30, 0, RandomModels.VOCABULARY_SIZE).toArray();
            List<int[]> expected = new ArrayList<>();
            for (int end = 27; end <= 30; end++) {
                expected.add(lastLogits(
                        decoder, IntStream.range(0, end).map(i -> tokens[i]).toArray()));
            }
            Batch batch = new Batch(64, 1);
            batch.add(tokens, 0, 30, new int[] {3, 1}, 4);
            FloatMatrix logits = decoder.forward(batch);
            for (int i = 0; i < 4; i++) {
                assertThat(bits(logits, i)).isEqualTo(expected.get(i));
            }
        }
    }

    /** Factors that are powers of two and that cancel each other change no bit; a factor of the head scales the logits. */
    @ParameterizedTest
    @ValueSource(strings = {"llama", "llama-moe"})
    void forward_factorsOfMatrices_multiplyTheirProducts(String name) {
        Path plain = FamilyModels.write(folder, name, ElementType.Q8_0, 23);
        GgufWriter writer = FamilyModels.writer(name, ElementType.Q8_0, 23);
        boolean experts = name.endsWith("moe");
        Map<String, Float> factors = Map.of(
                "attn_q", 2f, "attn_k", 0.5f, "attn_v", 4f, "attn_output", 0.25f, "ffn_up", 8f, "ffn_down", 0.125f);
        try (Gguf file = Gguf.open(plain)) {
            for (int layer = 0; layer < ModelConfig.from(file).layers(); layer++) {
                for (Map.Entry<String, Float> factor : factors.entrySet()) {
                    boolean each = experts && factor.getKey().startsWith("ffn");
                    String stem = "blk." + layer + "." + factor.getKey() + (each ? "_exps" : "");
                    long count = each ? dims(file, stem)[2] : 1;
                    float[] values = new float[Math.toIntExact(count)];
                    for (int i = 0; i < values.length; i++) {
                        // each expert has another factor
                        values[i] = (float) Math.pow(factor.getValue(), i % 3 + 1);
                    }
                    writer.tensor(stem + ".scale", ElementType.F32, values, count);
                    writer.tensor(stem + ".input_scale", ElementType.F32, new float[values.length], count);
                }
            }
        }
        writer.tensor("output.scale", ElementType.F32, new float[] {-0.5f}, 1);
        int[] tokens = new Random(4).ints(30, 0, RandomModels.VOCABULARY_SIZE).toArray();
        for (String set : KernelSets.names()) {
            if (KernelSets.obstacle(set) != null) {
                continue;
            }
            try (Gguf without = Gguf.open(plain);
                    Gguf with = writer.open();
                    Workers workers = new Workers(2);
                    Decoder expected = load(without, workers, KvType.F32, 64, KernelSets.named(set));
                    Decoder actual = load(with, workers, KvType.F32, 64, KernelSets.named(set))) {
                int[] found = lastLogits(actual, tokens);
                int[] wanted = IntStream.of(lastLogits(expected, tokens))
                        .map(bits -> Float.floatToRawIntBits(-0.5f * Float.intBitsToFloat(bits)))
                        .toArray();
                assertThat(found).as(set).isEqualTo(wanted);
            }
        }
    }

    /** A model whose context was not extended rotates by the factors for short contexts, another by those for long ones. */
    @ParameterizedTest
    @ValueSource(strings = {"phi3", "minicpm-longrope"})
    void forward_factorsForShortAndLongContexts_areChosenByTheContext(String name) {
        int original = 128; // of these models
        for (int context : new int[] {original, original + 1}) {
            String used = context > original ? "rope_factors_long.weight" : "rope_factors_short.weight";
            Map<String, List<Integer>> factorsToBits = new TreeMap<>();
            for (boolean only : new boolean[] {false, true}) {
                GgufWriter writer = FamilyModels.writer(name, ElementType.F32, 25);
                String contextKey = (name.equals("phi3") ? name : "minicpm") + ".context_length";
                writer.without(contextKey).uint32(contextKey, context);
                if (only) {
                    float[] factors;
                    try (Gguf file = writer.open()) {
                        int pairs = ModelConfig.from(file).ropeDimensions() / 2;
                        factors = file.floats(file.tensor(used, pairs));
                    }
                    writer.withoutTensor("rope_factors_long.weight")
                            .withoutTensor("rope_factors_short.weight")
                            .tensor("rope_freqs.weight", ElementType.F32, factors, factors.length);
                }
                int[] tokens = new Random(25).ints(30, 0, 256).toArray();
                try (Gguf file = writer.open();
                        Workers workers = new Workers(1);
                        Decoder decoder = load(file, workers, KvType.F32, 64)) {
                    factorsToBits.put(
                            only ? used : "both",
                            IntStream.of(lastLogits(decoder, tokens)).boxed().toList());
                }
            }
            assertThat(factorsToBits.get(used)).as(used).isEqualTo(factorsToBits.get("both"));
        }
    }

    private static long[] dims(Gguf file, String stem) {
        return file.tensors().stream()
                .filter(tensor -> tensor.name().equals(stem + ".weight"))
                .findFirst()
                .orElseThrow()
                .dims();
    }

    @Test
    void load_factorThatIsNoNumber_isRefused() {
        try (Gguf file = FamilyModels.writer("llama", ElementType.Q8_0, 23)
                        .tensor("blk.0.attn_q.scale", ElementType.F32, new float[] {Float.NaN}, 1)
                        .open();
                Workers workers = new Workers(1)) {
            assertThatThrownBy(() -> load(file, workers, KvType.F16, 8))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContainingAll("blk.0.attn_q.scale", "NaN");
        }
    }

    @Test
    void forward_batchTooLarge_saysBothSizes() {
        Path file = RandomModels.write(folder, Shape.tiny(), ElementType.F32, 3);
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(1);
                Decoder decoder = load(gguf, workers, KvType.F16, 8)) {
            Batch batch = new Batch(16, 1);
            batch.add(new int[9], 0, 9, new int[] {0}, 1);
            assertThatThrownBy(() -> decoder.forward(batch))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("9 tokens")
                    .hasMessageContaining("8");
        }
    }

    private static Decoder load(Gguf file, Workers workers, KvType type, int maxBatchTokens) {
        return load(file, workers, type, maxBatchTokens, KernelSets.best());
    }

    private static Decoder load(Gguf file, Workers workers, KvType type, int maxBatchTokens, Kernels kernels) {
        ModelConfig config = ModelConfig.from(file);
        return Decoder.load(
                file, config, kernels, workers, new Decoder.Capacity(type, 16, PAGES, maxBatchTokens, 32, 4, false));
    }

    private static int[] lastLogits(Decoder decoder, int[] tokens) {
        Batch batch = new Batch(128, 1);
        batch.add(tokens, 0, tokens.length, IntStream.range(0, 8).toArray(), 1);
        return bits(decoder.forward(batch), 0);
    }

    private static int[] bits(FloatMatrix logits, int row) {
        return IntStream.range(0, logits.columns())
                .map(i -> Float.floatToRawIntBits(logits.get(row, i)))
                .toArray();
    }

    private static double worstError(Path path, KvType type, int positions, boolean roundsActivations) {
        return DoubleStream.of(errors(path, type, positions, roundsActivations))
                .max()
                .orElseThrow();
    }

    /** The largest difference from the reference at each position, relative to the largest logit. */
    private static double[] errors(Path path, KvType type, int positions, boolean roundsActivations) {
        try (Gguf file = Gguf.open(path);
                Workers workers = new Workers(2);
                Decoder decoder = load(file, workers, type, 64)) {
            ModelConfig config = ModelConfig.from(file);
            ReferenceDecoder reference = new ReferenceDecoder(file, config, roundsActivations);
            int[] tokens =
                    new Random(1).ints(positions, 3, config.vocabularySize()).toArray();
            int[] pages = {5, 2, 7, 0, 1, 6, 3};
            Batch batch = new Batch(64, 4);
            double[] errors = new double[positions];
            for (int i = 0; i < tokens.length; i++) {
                batch.clear();
                batch.add(tokens, i, i + 1, pages, 1);
                FloatMatrix logits = decoder.forward(batch);
                double[] expected = reference.next(tokens[i]);
                double scale = 0;
                double error = 0;
                for (int t = 0; t < expected.length; t++) {
                    scale = Math.max(scale, Math.abs(expected[t]));
                    error = Math.max(error, Math.abs(expected[t] - logits.get(0, t)));
                }
                errors[i] = error / scale;
            }
            return errors;
        }
    }
}
