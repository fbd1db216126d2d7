package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;

/** What a step of the engine leaves to the collector: nothing but the answers themselves. */
class EngineAllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int SEQUENCES = 3;
    private static final int ROWS = 16;
    private static final int MAX_TOKENS = 220;
    /** Of the same requests, until the compiler has seen enough. */
    private static final int ROUNDS = 20;

    /**
     * What one token leaves, since its reader may come later: an {@link Output} and its node in the queue (24 bytes each), its
     * text (24 and 24), and on the way there a copy of the token's bytes, another behind what an incomplete character has
     * left over, and sometimes such a rest (24 each).
     */
    private static final long TOKEN_BYTES = 7 * 24;

    @TempDir
    private Path folder;

    @Test
    void doWork_decodingOnceWarm_allocatesTheOutputsOnly() {
        long fewest = fewestBytes(SEQUENCES, 10, 10, 200);
        assertThat(fewest).isPositive().isLessThanOrEqualTo(200 * SEQUENCES * TOKEN_BYTES);
    }

    @Test
    void doWork_promptOnceWarm_allocatesNothing() {
        assertThat(fewestBytes(1, 400, 2, 20)).isZero();
    }

    /**
     * Bytes that this thread, which is the engine's here, allocates in some steps of some requests, in the best of many rounds
     * of the same requests. All outputs are read after each round.
     *
     * @param before steps to do first
     */
    private long fewestBytes(int requests, int promptTokens, int before, int steps) {
        Path path = RandomModels.write(folder, RandomModels.Shape.wideOdd(), ElementType.Q4_0, 21);
        EngineConfig config = Requests.config(SEQUENCES, ROWS, 16);
        try (Gguf file = Gguf.open(path);
                Workers workers = new Workers(2)) {
            ModelConfig shape = ModelConfig.from(file);
            Tokenizer tokenizer = Tokenizers.of(file);
            KvLayout layout = new KvLayout(KvType.F16, 16, shape.kvHeads(), shape.headDim());
            int pages = SEQUENCES * shape.contextLength() / 16;
            try (Decoder decoder =
                    Decoder.load(file, shape, kernels(), workers, layout, pages, ROWS, config.maxLogitRows())) {
                EngineLoop loop = new EngineLoop(
                        decoder,
                        workers,
                        tokenizer,
                        config,
                        (free, team) -> Speculator.of(
                                config,
                                decoder,
                                CostModel.unknown(ROWS),
                                null,
                                DraftPolicy::of,
                                free,
                                team,
                                System::nanoTime),
                        EngineListener.NONE,
                        System::nanoTime);
                long fewest = Long.MAX_VALUE;
                for (int round = 0; round < ROUNDS; round++) {
                    List<TokenStream> streams = new ArrayList<>();
                    for (int i = 0; i < requests; i++) {
                        streams.add(loop.submit(request(i, promptTokens)));
                    }
                    for (int i = 0; i < before; i++) {
                        assertThat(loop.doWork()).isPositive();
                    }
                    fewest = Math.min(fewest, bytesOf(loop, steps));
                    while (loop.doWork() > 0) {
                        // the rest of the answers
                    }
                    for (TokenStream stream : streams) {
                        read(stream);
                    }
                }
                return fewest;
            }
        }
    }

    private static long bytesOf(EngineLoop loop, int steps) {
        long start = THREADS.getCurrentThreadAllocatedBytes();
        for (int i = 0; i < steps; i++) {
            loop.doWork();
        }
        return THREADS.getCurrentThreadAllocatedBytes() - start;
    }

    private static void read(TokenStream stream) {
        int tokens = 0;
        while (stream.poll() != null) {
            tokens++;
        }
        assertThat(stream.finish().reason()).isEqualTo(FinishReason.LENGTH);
        assertThat(tokens).isEqualTo(MAX_TOKENS);
    }

    /** The first greedy, the others drawn, with everything that looks at the history. */
    private static Request request(int index, int promptTokens) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(MAX_TOKENS)
                .seed(index)
                .temperature(index == 0 ? 0 : 1)
                .topK(index == 0 ? 0 : 40)
                .topP(index == 0 ? 1 : 0.9)
                .repetitionPenalty(index == 0 ? 1 : 1.2)
                .frequencyPenalty(index == 0 ? 0 : 0.1)
                .ignoreEndOfText(true)
                .build();
        int[] prompt = IntStream.range(0, promptTokens)
                .map(i -> (index + i * 7) % RandomModels.VOCABULARY_SIZE)
                .toArray();
        return new Request(prompt, params);
    }

    /** The best set here; but the Vector API boxes its vectors until C2 has compiled the loop, and who knows when that is. */
    private static Kernels kernels() {
        return Kernels.best().name().equals("vector") ? Kernels.named("scalar") : Kernels.best();
    }
}
