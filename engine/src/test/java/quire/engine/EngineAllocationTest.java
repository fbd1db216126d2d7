package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
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
@Tag("jit") // escape analysis removes what the source allocates: without C2 there is no such bound
class EngineAllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int SEQUENCES = 3;
    private static final int ROWS = 16;
    /** Of the same requests, until the compiler has seen enough. */
    private static final int ROUNDS = 20;

    /**
     * What a token leaves, since its reader comes later, 24 bytes each: an {@link Output} and its node in the queue, its text and
     * the bytes in that, and on the way there a copy of the token's bytes and one of them behind what an incomplete character
     * left. These answers are letters, one a token; other text takes more. So does an answer's {@link TokenHistory} whenever it
     * has to double, and these do so before anybody measures: their prompts make room for the letters.
     */
    private static final int TOKEN_BYTES = 6 * 24;

    /** Every answer consists of these: bytes are the first tokens, visible ones first. */
    private static final Map<Integer, Float> LETTERS =
            IntStream.range('a' - '!', 'z' - '!').boxed().collect(Collectors.toMap(token -> token, token -> 90f));

    @TempDir
    private Path folder;

    @Test
    void doWork_decodingOnceWarm_allocatesTheOutputsOnly() {
        int steps = 200;
        long most = (long) steps * SEQUENCES * TOKEN_BYTES;
        assertThat(fewestBytes(SEQUENCES, 35, 220, 10, steps, most)).isBetween(1L, most);
    }

    @Test
    void doWork_promptOnceWarm_allocatesNothing() {
        assertThat(fewestBytes(1, 400, 2, 2, 20, 0)).isZero();
    }

    /**
     * Bytes that this thread, which is the engine's here, allocates in some steps of some requests, in the best of many rounds
     * of the same requests. All outputs are read after each round.
     *
     * @param before steps to do first
     * @param enough ends the search
     */
    private long fewestBytes(int requests, int promptTokens, int maxTokens, int before, int steps, long enough) {
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
                for (int round = 0; round < ROUNDS && fewest > enough; round++) {
                    List<TokenStream> streams = new ArrayList<>();
                    for (int i = 0; i < requests; i++) {
                        streams.add(loop.submit(request(i, promptTokens, maxTokens)));
                    }
                    for (int i = 0; i < before; i++) {
                        assertThat(loop.doWork()).isPositive();
                    }
                    fewest = Math.min(fewest, bytesOf(loop, steps));
                    while (loop.doWork() > 0) {
                        // the rest of the answers
                    }
                    for (TokenStream stream : streams) {
                        read(stream, maxTokens);
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

    private static void read(TokenStream stream, int maxTokens) {
        int tokens = 0;
        while (stream.poll() != null) {
            tokens++;
        }
        assertThat(stream.finish().reason()).isEqualTo(FinishReason.LENGTH);
        assertThat(tokens).isEqualTo(maxTokens);
    }

    /** The first greedy, the others drawn, with everything that looks at the history. */
    private static Request request(int index, int promptTokens, int maxTokens) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(maxTokens)
                .seed(index)
                .temperature(index == 0 ? 0 : 1)
                .topK(index == 0 ? 0 : 40)
                .topP(index == 0 ? 1 : 0.9)
                .repetitionPenalty(index == 0 ? 1 : 1.2)
                .frequencyPenalty(index == 0 ? 0 : 0.1)
                .logitBias(LETTERS)
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
