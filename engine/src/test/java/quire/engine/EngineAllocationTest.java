package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import quire.engine.constrain.Constraint;
import quire.engine.disk.PageFile;
import quire.engine.sample.TokenHistory;
import quire.engine.schedule.EngineLoop;
import quire.engine.speculate.CostModel;
import quire.engine.speculate.DraftPolicy;
import quire.engine.speculate.Speculator;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * A step of the engine allocates the outputs and nothing else.
 *
 * <p>The bounds need compiled code: the interpreter and C1 allocate iterators and boxes that C2 removes. So the tests
 * carry the tag {@code jit}, and runs without C2 leave them out.
 */
@Tag("jit")
@Tag("workers")
class EngineAllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int SEQUENCES = 3;
    private static final int ROWS = 16;
    private static final int PROMPT_TOKENS = 35;

    /**
     * Steps before bytes are counted, and steps while they are. With 5 tokens a step an answer stays within its
     * context.
     */
    private static final int BEFORE = 10;

    private static final int STEPS = 80;
    private static final int MAX_TOKENS = 470;

    /** Rounds of the same requests until C2 has compiled the step. */
    private static final int ROUNDS = 60;

    /**
     * Bytes that a token allocates, because its reader reads it later. Each of these takes 24 bytes: an {@link Output},
     * its node in the queue, its text, the bytes in the text, a copy of the token's bytes, and a copy of them behind an
     * incomplete character. The answers here consist of letters, one letter a token; other text takes more. A {@link
     * TokenHistory} allocates when it doubles: these do so before bytes are counted, because the prompts make room for
     * the answers.
     */
    private static final int TOKEN_BYTES = 6 * 24;

    /** Log probabilities of a token: {@link Logprobs} and its two arrays of five. */
    private static final int LOGPROBS_BYTES = 32 + 2 * 40;

    /** Text that was held back for a stop string and becomes certain: a string and its bytes. */
    private static final int STOP_BYTES = 2 * 24;

    /**
     * The list of tokens and the list of states of a constrained answer double from 32 to 64 and to 128 entries of 4 bytes while
     * bytes are counted, over 80 tokens.
     */
    private static final int CURSOR_BYTES = 21;

    /** A bias that makes every answer consist of letters. Token 0 is the character '!'. */
    private static final Map<Integer, Float> LETTERS =
            IntStream.range('a' - '!', 'z' - '!').boxed().collect(Collectors.toMap(token -> token, token -> 90f));

    @TempDir
    private Path folder;

    /**
     * A kind of request.
     *
     * @param params sets its sampling parameters
     * @param tokenBytes bytes that each of its tokens may allocate
     * @param speculation of the engine
     */
    record Kind(String name, UnaryOperator<SamplingParams.Builder> params, int tokenBytes, Speculation speculation) {
        static Kind of(String name, UnaryOperator<SamplingParams.Builder> params) {
            return new Kind(name, params, TOKEN_BYTES, Speculation.off());
        }

        @Override
        public String toString() {
            return name;
        }
    }

    private static final Kind GREEDY = Kind.of("greedy", params -> params.temperature(0));
    private static final Kind ALL_FILTERS =
            Kind.of("all filters", params -> params.topK(40).topP(0.9).minP(0.01));

    /** The end of the text is allowed, but the bias for letters keeps it away. */
    private static SamplingParams.Builder lettersOnly(SamplingParams.Builder params) {
        return params.constraint(Constraint.regex("[a-z]*")).ignoreEndOfText(false);
    }

    private static List<Kind> kinds() {
        Speculation lookup = new Speculation(4, true, null, null);
        Speculation byModel = new Speculation(4, false, Path.of("the model itself"), null);
        return List.of(
                GREEDY,
                ALL_FILTERS,
                Kind.of("temperature", params -> params),
                Kind.of("top-k", params -> params.topK(40)),
                Kind.of("top-p", params -> params.topP(0.9)),
                Kind.of("top-p, tokens nearly equal", params -> params.topP(0.9).temperature(10)),
                Kind.of("min-p", params -> params.minP(0.05)),
                Kind.of("penalties", params -> params.repetitionPenalty(1.2)
                        .frequencyPenalty(0.1)
                        .presencePenalty(0.1)),
                Kind.of(
                        "top-n-sigma, typical-p and XTC",
                        params -> params.topNSigma(3).typicalP(0.8).xtc(0.5, 0.02)),
                Kind.of("dry", params -> params.dry(new Dry(0.1, 1.001, 2, 400, Set.of(1), List.of(List.of(70, 71))))),
                Kind.of("excluded tokens", params -> params.allowedTokens(
                                IntStream.range(0, 200).boxed().toList())
                        .badWords(List.of(List.of(70), List.of(68, 69)))
                        .minTokens(MAX_TOKENS)),
                new Kind("logprobs", params -> params.logprobs(5), TOKEN_BYTES + LOGPROBS_BYTES, Speculation.off()),
                new Kind(
                        "stop strings and tokens",
                        params -> params.stop(List.of("aB", "zzzZ", "!")).stopTokens(List.of(0)),
                        TOKEN_BYTES + STOP_BYTES,
                        Speculation.off()),
                new Kind(
                        "regular expression",
                        EngineAllocationTest::lettersOnly,
                        TOKEN_BYTES + CURSOR_BYTES,
                        Speculation.off()),
                new Kind(
                        "JSON Schema",
                        params -> params.constraint(Constraint.jsonSchema(Map.of("type", "string")))
                                .ignoreEndOfText(false),
                        TOKEN_BYTES + CURSOR_BYTES,
                        Speculation.off()),
                new Kind(
                        "regular expression, draft model",
                        EngineAllocationTest::lettersOnly,
                        TOKEN_BYTES + CURSOR_BYTES,
                        byModel),
                new Kind("draft model", ALL_FILTERS.params, TOKEN_BYTES, byModel),
                new Kind("draft model, greedy", GREEDY.params, TOKEN_BYTES, byModel),
                new Kind("lookup", ALL_FILTERS.params, TOKEN_BYTES, lookup),
                new Kind("lookup, greedy", GREEDY.params, TOKEN_BYTES, lookup),
                new Kind("lookup, automatic", ALL_FILTERS.params, TOKEN_BYTES, Speculation.auto(null)));
    }

    /**
     * The sets that run here and do not depend on C2 for each of their operations: the Vector API boxes its vectors
     * until C2 has compiled all its loops, and {@link Math#fma} computes with {@code BigDecimal} where the JVM may not
     * use the instruction.
     */
    private static List<String> kernels() {
        return KernelSets.names().stream()
                .filter(name -> KernelSets.obstacle(name) == null && !name.equals("vector"))
                .filter(name -> !name.equals("scalar") || bytesOfMultiplyAdds() == 0)
                .toList();
    }

    private static long bytesOfMultiplyAdds() {
        long fewest = Long.MAX_VALUE;
        float sum = 0;
        for (int round = 0; round < 10; round++) {
            long start = THREADS.getCurrentThreadAllocatedBytes();
            for (int i = 0; i < 10_000; i++) {
                sum = Math.fma(sum, 0.5f, i);
            }
            fewest = Math.min(fewest, THREADS.getCurrentThreadAllocatedBytes() - start);
        }
        assertThat(sum).isPositive();
        return fewest;
    }

    /** Every kind on the fastest kernel set, and one kind on each other set. */
    private static Stream<Arguments> kindsAndKernels() {
        List<String> sets = kernels();
        return Stream.concat(
                sets.stream().limit(1).flatMap(set -> kinds().stream().map(kind -> Arguments.of(kind, set))),
                sets.stream().skip(1).map(set -> Arguments.of(ALL_FILTERS, set)));
    }

    @ParameterizedTest(name = "{0}, {1}", allowZeroInvocations = true)
    @MethodSource("kindsAndKernels")
    void doWork_decodingOnceWarm_allocatesTheOutputsOnly(Kind kind, String kernels) {
        try (Bench bench = new Bench(folder, kernels, kind.speculation)) {
            double fewest = Double.MAX_VALUE;
            for (int round = 0; round < ROUNDS && fewest > kind.tokenBytes; round++) {
                fewest = Math.min(fewest, bench.bytesPerToken(kind));
            }
            assertThat(fewest).isBetween(1.0, (double) kind.tokenBytes);
        }
    }

    @ParameterizedTest(allowZeroInvocations = true)
    @MethodSource("kernels")
    void doWork_promptOnceWarm_allocatesNothing(String kernels) {
        try (Bench bench = new Bench(folder, kernels, Speculation.off())) {
            long fewest = Long.MAX_VALUE;
            for (int round = 0; round < ROUNDS && fewest > 0; round++) {
                fewest = Math.min(fewest, bench.bytesOfPrompt(400));
            }
            assertThat(fewest).isZero();
        }
    }

    /** Full pages are written to the file by another thread; the engine's thread copies them and allocates nothing. */
    @ParameterizedTest(allowZeroInvocations = true)
    @MethodSource("kernels")
    void doWork_promptWithAKvFile_allocatesNothing(String kernels) {
        try (Bench bench = new Bench(folder, kernels, Speculation.off(), folder.resolve("pages.kv"))) {
            long fewest = Long.MAX_VALUE;
            for (int round = 0; round < ROUNDS && fewest > 0; round++) {
                fewest = Math.min(fewest, bench.bytesOfPrompt(400));
            }
            assertThat(fewest).isZero();
            assertThat(bench.writtenBytes()).isPositive();
        }
    }

    /** An engine that runs in this thread. */
    private static final class Bench implements AutoCloseable {
        private final Gguf file;
        private final Workers workers = new Workers(2);
        private final Decoder decoder;
        private final @Nullable Decoder draft;
        private final EngineLoop loop;
        private final @Nullable PageFile pages;
        private final @Nullable ExecutorService io;
        private int salt;

        Bench(Path folder, String kernels, Speculation speculation) {
            this(folder, kernels, speculation, null);
        }

        /** @param kvFile null for none */
        Bench(Path folder, String kernels, Speculation speculation, @Nullable Path kvFile) {
            file = Gguf.open(RandomModels.write(folder, RandomModels.Shape.wideOdd(), ElementType.Q4_0, 21));
            ModelConfig shape = ModelConfig.from(file);
            EngineConfig config = Requests.config(SEQUENCES, ROWS, 16).withSpeculation(speculation);
            int pageCount = SEQUENCES * shape.contextLength() / 16;
            Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, 16, pageCount, ROWS, config.maxLogitRows());
            decoder = Decoder.load(file, shape, KernelSets.named(kernels), workers, capacity);
            draft = speculation.draft() == null
                    ? null
                    : Decoder.load(file, shape, KernelSets.named(kernels), workers, capacity);
            Speculator.Draft drafter = draft == null ? null : new Speculator.Draft(draft, CostModel.unknown(ROWS));
            EngineLoop.Builder parts = EngineLoop.builder(decoder, Tokenizers.of(file), config)
                    .workers(workers)
                    .drafts(context -> Speculator.of(
                            new Speculator.Setup(config, CostModel.unknown(ROWS), drafter, DraftPolicy::of), context));
            if (kvFile == null) {
                pages = null;
                io = null;
            } else {
                String identity = "i".repeat(PageFile.IDENTITY_LENGTH);
                pages = PageFile.open(
                        kvFile, 4 << 20, new PageFile.Contents(identity, decoder.pageTokens(), decoder.pageBytes()));
                io = Engine.ioThread(decoder.pageBytes());
                parts.disk(pages, io);
            }
            loop = parts.build();
        }

        long writtenBytes() {
            return loop.tracker().stats().diskTier().writtenBytes();
        }

        /** Bytes that decoding steps allocate, divided by the tokens that they add to the answers. */
        double bytesPerToken(Kind kind) {
            List<TokenStream> streams = submit(kind, SEQUENCES, PROMPT_TOKENS);
            doWork(BEFORE);
            long tokens = generatedTokens();
            long bytes = doWork(STEPS);
            tokens = generatedTokens() - tokens;
            // The draft model is the model itself, so most of what it proposes is accepted.
            assertThat(tokens).isGreaterThanOrEqualTo((draft == null ? 1L : 3L) * STEPS * SEQUENCES);
            cancel(streams);
            return (double) bytes / tokens;
        }

        /** Bytes that the steps of one prompt allocate, without its first and its last steps. */
        long bytesOfPrompt(int promptTokens) {
            List<TokenStream> streams = submit(GREEDY, 1, promptTokens);
            doWork(2);
            long bytes = doWork(promptTokens / ROWS - 4);
            cancel(streams);
            return bytes;
        }

        /** Returns the bytes that the steps allocated. */
        private long doWork(int steps) {
            long start = THREADS.getCurrentThreadAllocatedBytes();
            for (int i = 0; i < steps; i++) {
                if (loop.doWork() == 0) {
                    throw new AssertionError("all answers have ended at step " + i);
                }
            }
            return THREADS.getCurrentThreadAllocatedBytes() - start;
        }

        private List<TokenStream> submit(Kind kind, int requests, int promptTokens) {
            List<TokenStream> streams = new ArrayList<>();
            for (int i = 0; i < requests; i++) {
                // A salt of its own, so that every round computes and caches the same prompts again.
                streams.add(loop.submit(request(kind, i, promptTokens, "round " + salt++)));
            }
            return streams;
        }

        private void cancel(List<TokenStream> streams) {
            streams.forEach(TokenStream::close);
            while (loop.doWork() > 0) {
                // until no request is left
            }
        }

        private long generatedTokens() {
            return loop.tracker().stats().generationTokens();
        }

        @Override
        public void close() {
            if (io != null) {
                io.close(); // waits for the transfers, which use the file
            }
            try {
                if (pages != null) {
                    pages.close();
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            decoder.close();
            if (draft != null) {
                draft.close();
            }
            workers.close();
            file.close();
        }
    }

    private static Request request(Kind kind, int index, int promptTokens, String salt) {
        SamplingParams.Builder params = SamplingParams.builder()
                .maxTokens(promptTokens < 100 ? MAX_TOKENS : 2)
                .seed(index)
                .logitBias(LETTERS)
                .ignoreEndOfText(true);
        int[] prompt = IntStream.range(0, promptTokens)
                .map(i -> (index + i * 7) % RandomModels.VOCABULARY_SIZE)
                .toArray();
        return new Request(prompt, kind.params.apply(params).build(), salt);
    }
}
