package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.tensor.ElementType;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Damaged files that can be opened are packed and run on all kernel sets of this CPU. Machine code does not check
 * bounds, so all numbers of a file must be checked before. A model of random data may return anything, including NaN.
 */
@Tag("workers")
class HostileModelTest {
    private static final boolean NIGHTLY = Boolean.getBoolean("quire.nightly");
    private static final int MUTANTS = Integer.getInteger("quire.mutants", 50);
    private static final int DATA_MUTANTS = 6;
    private static final int PAGES = 4;
    private static final int TOKENS = 18;

    private static final List<Kernels> SETS = KernelSets.names().stream()
            .filter(HostileModelTest::runsHere)
            .map(KernelSets::named)
            .toList();

    private static boolean runsHere(String name) {
        try {
            return KernelSets.named(name) != null;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    @ParameterizedTest
    @EnumSource(
            names = {
                "F32", "F16", "Q8_0", "Q5_1", "MXFP4", "Q4_K", "NVFP4", "IQ3_S", "IQ2_XS", "IQ1_M", "TQ1_0", "Q1_0",
                "Q2_0"
            })
    void forward_mutants_returnsOrTheFileIsRefused(ElementType type) {
        int least = Math.max(32, type.blockElements());
        GgufWriter writer = writer(least, type);
        Mutants mutants = new Mutants(writer);
        int ran = run(writer, MUTANTS, seed -> {
            SplittableRandom random = new SplittableRandom(seed);
            return seed < DATA_MUTANTS ? mutants.nextData(random) : mutants.next(random);
        });
        assertThat(ran).as("files whose numbers are finite").isPositive();
    }

    /** One of each kind of state, of experts, of windows and of encoders. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "lfm2moe",
                "granitehybrid",
                "nemotron_h_moe",
                "qwen3next-fused",
                "qwen35moe",
                "deepseek2",
                "gpt-oss",
                "bailingmoe2",
                "mistral3",
                "gemma4-moe",
                "llama4-chunks",
                "falcon-h1",
                "mamba2",
                "jamba",
                "deci",
                "bert",
                "modern-bert",
                "gemma-embedding",
                "gemma3n",
                "gemma3",
                "cohere2",
                "maincoder",
                "nomic-bert-moe"
            })
    void forward_mutantsOfOtherBlocks_returnsOrTheFileIsRefused(String name) {
        GgufWriter writer = FamilyModels.writer(name, ElementType.Q8_0, 1);
        Mutants mutants = new Mutants(writer);
        int ran = run(writer, MUTANTS, seed -> {
            SplittableRandom random = new SplittableRandom(seed);
            return seed < DATA_MUTANTS ? mutants.nextData(random) : mutants.next(random);
        });
        assertThat(ran).as("files whose numbers are finite").isPositive();
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
            strings = {"gemma4", "gemma4-moe", "llama4-chunks", "falcon-h1", "mamba2", "deci", "gemma3n", "modern-bert"
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
                ran += run(file, workers, "mutant " + number) ? 1 : 0;
            }
        }
        return ran;
    }

    /** Whether the file was accepted. */
    private static boolean run(MemorySegment memory, Workers workers, String what) {
        try (Gguf file = Gguf.open("hostile.gguf", memory)) {
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
                new Decoder.Capacity(KvType.F16, 16, PAGES, TOKENS, 1, 1, false, apart))) {
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
