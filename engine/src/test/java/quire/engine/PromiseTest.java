package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.model.BuiltInModel;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;

/**
 * The promise: a request's output never depends on its company. Every answer, with its log probabilities, must be the same
 * to the last bit as when the request ran alone on one thread with its prompt in one piece.
 */
class PromiseTest {
    private static final Path STORIES =
            Path.of(System.getProperty("quire.shared", "../shared"), "models/stories260K.gguf");
    private static final Path TINY = BuiltInModel.QUIRE_TINY.path();
    private static final Path TINY_DRAFT = BuiltInModel.QUIRE_TINY_DRAFT.path();
    private static final int REQUESTS = 64;

    @TempDir
    private Path folder;

    /** All that a client can see of an answer; floats as bits, so that equality means to the last bit. */
    private record Answer(List<Integer> tokens, List<Integer> logprobBits, String text, TokenStream.Finish finish) {}

    @Test
    void output_realModelInAnyCompany_isBitIdentical() throws Exception {
        assumeTrue(Files.exists(STORIES));
        assertPromise(STORIES);
    }

    @Test
    void output_quantizedModelInAnyCompany_isBitIdentical() throws Exception {
        assertPromise(RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q4_0, 5));
    }

    @Test
    void output_whoeverGuesses_isBitIdentical() throws Exception {
        int together = 20; // each way of choosing four times
        List<Request> requests = requests(TINY).subList(0, together);
        List<Answer> alone = answers(TINY, requests, config(1, 512, 0, 1), 1);
        long accepted = 0;
        for (int drafts : new int[] {1, 4, 8, Speculation.AUTO}) {
            Speculation both = new Speculation(drafts, true, TINY_DRAFT, null);
            GuessCount guesses = new GuessCount();
            EngineConfig config = config(together, 100, 0, 2).withSpeculation(both);
            assertThat(answers(TINY, requests, config, together, guesses))
                    .as("together, %s", both)
                    .isEqualTo(alone);
            accepted += guesses.accepted;
            Speculation lookup = new Speculation(drafts, true, null, null);
            EngineConfig scarce = config(together, 30, 12 * pageBytes(TINY), 1).withSpeculation(lookup);
            assertThat(answers(TINY, requests, scarce, together))
                    .as("with too few pages, %s", lookup)
                    .isEqualTo(alone);
        }
        Speculation draft = new Speculation(4, false, TINY_DRAFT, null);
        assertThat(answers(TINY, requests, config(1, 512, 0, 2).withSpeculation(draft), 1))
                .as("alone, %s", draft)
                .isEqualTo(alone);
        Speculation any = new Speculation(Speculation.AUTO, true, TINY_DRAFT, null);
        for (int seed = 0; seed < 3; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            EngineConfig config = config(together, 60, 0, 2).withSpeculation(any);
            DraftPolicy.Maker anyhow = (drafters, cost, asked) -> Guessers.anyhow(random, drafters);
            try (Engine engine = Engine.open(TINY, config, EngineListener.NONE, anyhow)) {
                assertThat(answers(engine, requests, together))
                        .as("any number from anybody, seed %d", seed)
                        .isEqualTo(alone);
                accepted += engine.stats().speculation().acceptedTokens();
            }
        }
        Speculation itself = new Speculation(4, false, TINY, null);
        assertThat(answers(TINY, requests, config(together, 512, 0, 1).withSpeculation(itself), together))
                .as("its own draft, %s", itself)
                .isEqualTo(alone);
        assertThat(accepted)
                .as("guesses must be right for the test to mean anything")
                .isGreaterThan(200);
    }

    @Test
    void output_replayedGuesses_isBitIdentical() throws Exception {
        int promptTokens = 6;
        List<Request> requests = new ArrayList<>();
        for (Request request : requests(TINY)) {
            if (request.prompt().length > promptTokens && request.params().maxTokens() > 1) {
                requests.add(new Request(Arrays.copyOf(request.prompt(), promptTokens), request.params()));
            }
        }
        List<Answer> alone = answers(TINY, requests, config(1, 512, 0, 1), 1);
        List<int[]> texts = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            texts.add(IntStream.concat(
                            Arrays.stream(requests.get(i).prompt()),
                            alone.get(i).tokens().stream().mapToInt(Integer::intValue))
                    .toArray());
        }
        texts.removeIf(text -> text.length == promptTokens);
        for (double acceptance : new double[] {0, 0.7, 1}) {
            Replay replay = new Replay(texts, promptTokens, acceptance, 1, 2048);
            for (int drafts : new int[] {1, 8, Speculation.AUTO}) {
                Speculation oracle = new Speculation(drafts, false, null, replay);
                EngineConfig config = config(20, 100, 0, 2).withSpeculation(oracle);
                GuessCount guesses = new GuessCount();
                assertThat(answers(TINY, requests, config, 20, guesses))
                        .as("right %s of the time, %d draft tokens", acceptance, drafts)
                        .isEqualTo(alone);
                assertThat(guesses.accepted > 0)
                        .as("accepted, of drafts right %s of the time, %d draft tokens", acceptance, drafts)
                        .isEqualTo(acceptance > 0);
            }
        }
    }

    private static void assertPromise(Path file) throws Exception {
        List<Request> requests = requests(file);
        List<Answer> alone = answers(file, requests, config(1, 512, 0, 1), 1);
        assertThat(alone.stream().map(Answer::tokens).distinct().count())
                .as("the requests must differ for the test to mean anything")
                .isGreaterThan(REQUESTS / 2);
        for (int threads = 1; threads <= 2; threads++) {
            for (int chunk : new int[] {1, 7, 16, 512}) {
                EngineConfig config = config(REQUESTS, chunk, 0, threads);
                assertThat(answers(file, requests, config, REQUESTS))
                        .as("%d together, %d tokens a step, %d threads", REQUESTS, chunk, threads)
                        .isEqualTo(alone);
            }
            PreemptionCount preemptions = new PreemptionCount();
            EngineConfig scarce = config(REQUESTS, 64, 12 * pageBytes(file), threads);
            assertThat(answers(file, requests, scarce, REQUESTS, preemptions))
                    .as("with too few pages, %d threads", threads)
                    .isEqualTo(alone);
            assertThat(preemptions.count).as("the pool must be too small").isPositive();
        }
    }

    /** Prompts of 1 to 60 tokens; every way of choosing. */
    private static List<Request> requests(Path file) {
        Random random = new Random(3);
        List<Request> requests = new ArrayList<>();
        try (Gguf gguf = Gguf.open(file)) {
            Tokenizer tokenizer = Tokenizers.of(gguf);
            int[] words = tokenizer.encode("Once upon a time, there was a little girl", false, false);
            for (int i = 0; i < REQUESTS; i++) {
                int[] prompt = random.ints(1 + random.nextInt(60), 0, words.length)
                        .map(at -> words[at])
                        .toArray();
                SamplingParams.Builder params = SamplingParams.builder()
                        .maxTokens(1 + random.nextInt(50))
                        .seed(i)
                        .logprobs(i % 4)
                        .ignoreEndOfText(i % 4 != 0);
                switch (i % 5) {
                    case 0 -> params.temperature(0);
                    case 1 -> params.temperature(1);
                    case 2 -> params.temperature(0.8).topP(0.9).topK(20);
                    case 3 -> params.temperature(1.2).minP(0.05).repetitionPenalty(1.3);
                    default ->
                        params.temperature(0)
                                .presencePenalty(0.7)
                                .frequencyPenalty(0.4)
                                .logitBias(Map.of(words[0], 1.5f))
                                .stop(List.of("the", "a b"));
                }
                requests.add(new Request(prompt, params.build()));
            }
        }
        return requests;
    }

    /** @param kvCacheBytes 0 for as much as can be used */
    private static EngineConfig config(int sequences, int batchedTokens, long kvCacheBytes, int threads) {
        EngineConfig defaults = EngineConfig.defaults();
        return new EngineConfig(
                Math.min(sequences, batchedTokens),
                batchedTokens,
                112,
                defaults.maxQueuedRequests(),
                defaults.maxQueuedTokens(),
                kvCacheBytes,
                16,
                KvType.F16,
                threads);
    }

    private static long pageBytes(Path file) {
        try (Gguf gguf = Gguf.open(file)) {
            ModelConfig shape = ModelConfig.from(gguf);
            return shape.layers() * new KvLayout(KvType.F16, 16, shape.kvHeads(), shape.headDim()).pageBytes();
        }
    }

    private static List<Answer> answers(Path file, List<Request> requests, EngineConfig config, int together)
            throws Exception {
        return answers(file, requests, config, together, EngineListener.NONE);
    }

    private static List<Answer> answers(
            Path file, List<Request> requests, EngineConfig config, int together, EngineListener listener)
            throws Exception {
        try (Engine engine = Engine.open(file, config, listener)) {
            List<Answer> answers = answers(engine, requests, together);
            if (listener instanceof GuessCount guesses) {
                guesses.accepted = engine.stats().speculation().acceptedTokens();
            }
            return answers;
        }
    }

    private static List<Answer> answers(Engine engine, List<Request> requests, int together) throws Exception {
        try (ExecutorService clients = Executors.newFixedThreadPool(together)) {
            List<Future<Answer>> futures = new ArrayList<>();
            for (Request request : requests) {
                futures.add(clients.submit(() -> answer(engine, request)));
            }
            List<Answer> answers = new ArrayList<>();
            for (Future<Answer> future : futures) {
                answers.add(future.get());
            }
            assertThat(engine.stats().usedPages()).isZero();
            return answers;
        }
    }

    private static Answer answer(Engine engine, Request request) throws InterruptedException {
        List<Integer> tokens = new ArrayList<>();
        List<Integer> bits = new ArrayList<>();
        StringBuilder text = new StringBuilder();
        try (TokenStream stream = engine.submit(request)) {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                tokens.add(output.token());
                text.append(output.text());
                Logprobs logprobs = output.logprobs();
                if (logprobs != null) {
                    bits.add(Float.floatToRawIntBits(logprobs.chosen()));
                    for (int i = 0; i < logprobs.topTokens().length; i++) {
                        bits.add(logprobs.topTokens()[i]);
                        bits.add(Float.floatToRawIntBits(logprobs.topLogprobs()[i]));
                    }
                }
            }
            return new Answer(tokens, bits, text.toString(), stream.finish());
        }
    }

    /** Asks to be told how many guesses were right. */
    private static final class GuessCount implements EngineListener {
        private long accepted;
    }

    private static final class PreemptionCount implements EngineListener {
        private volatile int count;

        @Override
        @SuppressWarnings("NonAtomicVolatileUpdate") // written by the engine thread alone
        public void onPreempt() {
            count++;
        }
    }
}
