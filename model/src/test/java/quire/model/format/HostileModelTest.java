package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Damaged files that can be opened are packed and run on all kernel sets of this CPU. Machine code does not check
 * bounds, so all numbers of a file must be checked before. A model of random data may return anything, including NaN. The
 * tokenizer of a damaged file is used too.
 */
@Tag("workers")
class HostileModelTest {
    private static final boolean NIGHTLY = Boolean.getBoolean("quire.nightly");
    /** Of each type and of each architecture. */
    private static final int MUTANTS = Integer.getInteger("quire.mutants", NIGHTLY ? 300 : 20);

    /** Added to the number of a mutant, so that another run has others. */
    private static final long FIRST_SEED = Long.getLong("quire.seed", 0);

    private static final int DATA_MUTANTS = 6;
    /** Most of a few mutants are refused, by chance all of them. Then others are tried. */
    private static final int MOST_ROUNDS = 10;

    private static final int PARTS = 3;
    private static final int PAGES = 4;
    private static final int TOKENS = 18;

    private static final List<Kernels> SETS = KernelSets.names().stream()
            .filter(HostileModelTest::runsHere)
            .map(KernelSets::named)
            .toList();

    /** Damaged vocabularies give thousands of warnings. */
    private static final Logger WARNINGS = Logger.getLogger(Tokenizers.class.getName());

    @BeforeAll
    static void silenceWarnings() {
        WARNINGS.setLevel(Level.OFF);
    }

    @AfterAll
    static void allowWarnings() {
        WARNINGS.setLevel(null);
    }

    private static boolean runsHere(String name) {
        try {
            return KernelSets.named(name) != null;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    @TempDir
    private Path folder;

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void forward_mutants_returnsOrTheFileIsRefused(ElementType type) {
        int least = Math.max(32, type.blockElements());
        GgufWriter writer = writer(least, type);
        Mutants mutants = new Mutants(writer);
        int ran = run(writer, MUTANTS, seed -> {
            SplittableRandom random = new SplittableRandom(FIRST_SEED + seed);
            return seed < DATA_MUTANTS ? mutants.nextData(random) : mutants.next(random);
        });
        assertThat(ran).as("files whose numbers are finite").isPositive();
    }

    static Stream<String> models() {
        return Stream.concat(FamilyModels.NAMES.stream(), ModelConfig.ENCODERS.stream());
    }

    /** Every architecture, and every variant of one. */
    @ParameterizedTest
    @MethodSource("models")
    void forward_mutantsOfEveryArchitecture_returnsOrTheFileIsRefused(String name) {
        GgufWriter writer = FamilyModels.writer(name, ElementType.Q8_0, 1);
        Mutants mutants = new Mutants(writer);
        int ran = 0;
        for (int round = 0; ran == 0 && round < MOST_ROUNDS; round++) {
            long first = FIRST_SEED + (long) round * MUTANTS;
            ran = run(writer, MUTANTS, seed -> {
                SplittableRandom random = new SplittableRandom(first + seed);
                return seed < DATA_MUTANTS ? mutants.nextData(random) : mutants.next(random);
            });
        }
        assertThat(ran).as("files whose numbers are finite").isPositive();
    }

    /** One part of a model in several files is damaged, and the model is opened by any of them. */
    @Test
    void forward_mutantsOfParts_returnsOrTheFileIsRefused() throws IOException {
        List<GgufWriter> writers = writer(32, ElementType.Q8_0).parts(PARTS);
        List<Mutants> mutants = writers.stream().map(Mutants::new).toList();
        List<Path> paths = writer(32, ElementType.Q8_0).writeParts(folder, "parts", PARTS);
        int ran = 0;
        try (Workers workers = new Workers(2)) {
            for (int seed = 0; seed < PARTS * MUTANTS; seed++) {
                SplittableRandom random = new SplittableRandom(FIRST_SEED + seed);
                int damaged = seed % PARTS;
                Path given = paths.get(random.nextInt(PARTS));
                boolean data = damaged > 0 && seed < PARTS * DATA_MUTANTS;
                Files.write(
                        paths.get(damaged),
                        data
                                ? mutants.get(damaged).nextData(random)
                                : mutants.get(damaged).next(random));
                ran += run(() -> Gguf.open(given), workers, "mutant " + seed) ? 1 : 0;
                writers.get(damaged).write(paths.get(damaged));
            }
        }
        assertThat(ran).as("models whose numbers are finite").isBetween(1, PARTS * MUTANTS - 1);
    }

    @Test
    void forward_everyNumberMadeHostile_returnsOrTheFileIsRefused() {
        GgufWriter writer = writer(32, ElementType.Q4_0);
        byte[] sound = writer.toBytes();
        int[] offsets = writer.numberOffsets();
        int ran = run(writer, offsets.length * Mutants.HOSTILE.length, number -> {
            byte[] mutant = sound.clone();
            int at = offsets[number / Mutants.HOSTILE.length];
            Mutants.put(mutant, at, Integer.BYTES, Mutants.HOSTILE[number % Mutants.HOSTILE.length]);
            return mutant;
        });
        assertThat(ran).isPositive();
    }

    /** Some numbers, of models whose blocks have sizes of their own. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "gemma4",
                "gemma4-moe",
                "llama4-chunks",
                "falcon-h1",
                "mamba2",
                "deci",
                "gemma3n",
                "modern-bert",
                "openelm",
                "falcon-norms"
            })
    void forward_numbersOfOtherBlocksMadeHostile_returnsOrTheFileIsRefused(String name) {
        int stride = NIGHTLY ? 17 : 53;
        GgufWriter writer = FamilyModels.writer(name, ElementType.Q8_0, 1);
        byte[] sound = writer.toBytes();
        int[] offsets = writer.numberOffsets();
        int ran = run(writer, offsets.length * Mutants.HOSTILE.length / stride, number -> {
            byte[] mutant = sound.clone();
            int change = number * stride;
            int at = offsets[change / Mutants.HOSTILE.length];
            Mutants.put(mutant, at, Integer.BYTES, Mutants.HOSTILE[change % Mutants.HOSTILE.length]);
            return mutant;
        });
        assertThat(ran).isPositive();
    }

    private static GgufWriter writer(int width, ElementType type) {
        return RandomModels.writer(
                new RandomModels.Shape(64, width, width, 1, 2, 1, width / 2, 8, true, true, true), type, 1);
    }

    /** The number of files that were accepted. All accepted files were run. */
    private static int run(GgufWriter writer, int count, IntFunction<byte[]> mutants) {
        int ran = 0;
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(2)) {
            MemorySegment memory = arena.allocate(writer.toBytes().length + 1024L, 4096);
            for (int number = 0; number < count; number++) {
                byte[] mutant = mutants.apply(number);
                MemorySegment file = memory.asSlice(0, mutant.length).copyFrom(MemorySegment.ofArray(mutant));
                ran += run(() -> Gguf.open("hostile.gguf", file), workers, "mutant " + number) ? 1 : 0;
            }
        }
        return ran;
    }

    /** Whether the file was accepted. */
    private static boolean run(Supplier<Gguf> open, Workers workers, String what) {
        try (Gguf file = open.get()) {
            tokenize(file);
            ModelConfig config = ModelConfig.from(file);
            for (Kernels kernels : SETS) {
                forward(file, config, kernels, workers);
            }
            return true;
        } catch (ModelFormatException e) {
            return false;
        } catch (RuntimeException | VirtualMachineError e) {
            throw new AssertionError(what + " ends in " + e, e);
        }
    }

    /** The tokens of a text, unless the vocabulary is refused or cannot spell it. */
    private static void tokenize(Gguf file) {
        Tokenizer tokenizer;
        try {
            tokenizer = Tokenizers.of(file);
        } catch (ModelFormatException e) {
            return;
        }
        try {
            tokenizer.decodeText(tokenizer.encode("<|im_start|>Hello, w\u00F6rld  1234\n", true, true));
        } catch (IllegalArgumentException e) {
            assertThat(e.getMessage()).isNotBlank().doesNotContain("\n");
        }
    }

    /** A prompt and one more token, if the context of the file allows it. */
    private static void forward(Gguf file, ModelConfig config, Kernels kernels, Workers workers) {
        int context = Math.min(TOKENS, config.contextLength());
        int[] tokens = IntStream.range(0, context)
                .map(i -> i * 7 % config.vocabularySize())
                .toArray();
        int[] pages = {3, 1, 2, 0};
        int[] windowPages = {2, 0, 1, 3};
        int apart = config.blocks().window() == 0 ? 0 : PAGES;
        Batch batch = new Batch(TOKENS, 1);
        try (Decoder decoder = Decoder.load(
                file,
                config,
                kernels,
                workers,
                new Decoder.Capacity(KvType.F16, 16, PAGES, TOKENS, 1, 1, false, apart, 0, null))) {
            if (context > 1) {
                batch.add(tokens, 0, context - 1, pages, windowPages, 1);
                decoder.forward(batch);
                batch.clear();
            }
            batch.add(tokens, context - 1, context, pages, windowPages, 1);
            decoder.forward(batch);
        }
    }
}
