package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.text.Tokenizer;

/** The engine, running in its own thread. */
@Timeout(60)
class EngineTest {
    private static final int CONTEXT = 64;
    private static final EngineConfig CONFIG = Requests.config(4, 16, 16);

    private static FakeModel model() {
        return FakeModel.fitting(CONFIG, CONTEXT);
    }

    private static Engine engine(FakeModel model) {
        return engine(model, new FakeTokenizer(), CONFIG);
    }

    private static Engine engine(FakeModel model, Tokenizer tokenizer, EngineConfig config) {
        return Engine.of(model, tokenizer, null, "fake", config, EngineListener.NONE, System::nanoTime);
    }

    @Test
    void submit_manyVirtualThreads_everyAnswerIsWhatItIsAlone() throws Exception {
        // Half of the pages that four long sequences need, so that some are preempted.
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, 4, 34, 16, 4);
        try (Engine engine = engine(model);
                ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Request> requests = new ArrayList<>();
            List<Future<Answer>> answers = new ArrayList<>();
            SplittableRandom random = new SplittableRandom(7);
            for (int i = 0; i < 300; i++) {
                Request request = Requests.random(random, CONTEXT);
                requests.add(request);
                answers.add(threads.submit(() -> {
                    try (TokenStream stream = engine.submit(request)) {
                        return Answer.read(stream);
                    }
                }));
            }
            for (int i = 0; i < requests.size(); i++) {
                assertThat(answers.get(i).get()).isEqualTo(Answer.alone(requests.get(i), CONTEXT));
            }
            EngineStats stats = engine.stats();
            assertThat(stats.usedPages()).isZero();
            assertThat(stats.started()).isEqualTo(300).isEqualTo(stats.finishedTotal());
            assertThat(stats.preemptions()).isPositive();
            assertThat(engine.failure()).isNull();
        }
        assertThat(model.isClosed()).isTrue();
    }

    @Test
    void close_atRandomMoments_everyStreamEnds() throws Exception {
        for (int seed = 0; seed < 50; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            CountDownLatch moment = new CountDownLatch(random.nextInt(30));
            FakeModel model = model().onForward(batch -> moment.countDown());
            List<Future<FinishReason>> ends = new ArrayList<>();
            Engine engine = engine(model);
            try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
                for (int i = 0; i < 20; i++) {
                    Request request = Requests.of("request " + i, 50);
                    Callable<FinishReason> caller = () -> {
                        try (TokenStream stream = engine.submit(request)) {
                            return Answer.read(stream).finish().reason();
                        } catch (IllegalStateException e) {
                            return FinishReason.CANCELLED; // submitted after close
                        }
                    };
                    ends.add(threads.submit(caller));
                }
                moment.await();
                engine.close();
                for (Future<FinishReason> end : ends) {
                    assertThat(end.get()).isIn(FinishReason.LENGTH, FinishReason.CANCELLED);
                }
            }
            EngineStats stats = engine.stats();
            assertThat(stats.usedPages()).isZero();
            assertThat(stats.started()).isEqualTo(stats.finishedTotal());
            assertThat(model.isClosed()).isTrue();
            assertThat(engine.failure()).isNull();
            assertThatIllegalStateException()
                    .isThrownBy(() -> engine.submit(Requests.of("late", 1)))
                    .withMessageContaining("closed");
        }
    }

    @Test
    void close_twice_freesTheModelOnce() {
        FakeModel model = model();
        Engine engine = engine(model);

        engine.close();
        engine.close(); // the fake model fails when closed twice

        assertThat(model.isClosed()).isTrue();
    }

    @Test
    void drain_longTimeout_waitsUntilAllHaveEnded() throws Exception {
        try (Engine engine = engine(model())) {
            List<TokenStream> streams = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                streams.add(engine.submit(Requests.of("request " + i, 30)));
            }

            assertThat(engine.drain(Duration.ofMinutes(1))).isTrue();

            for (TokenStream stream : streams) {
                assertThat(Answer.read(stream).finish().reason()).isEqualTo(FinishReason.LENGTH);
            }
            assertThatIllegalStateException()
                    .isThrownBy(() -> engine.submit(Requests.of("late", 1)))
                    .withMessageContaining("draining");
        }
    }

    @Test
    void drain_timeoutOfZero_cancelsTheRest() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (Engine engine = engine(model().onForward(batch -> await(release)))) {
            TokenStream running = engine.submit(Requests.of("running", 30));
            TokenStream other = engine.submit(Requests.of("other", 30));
            FutureTask<Boolean> drain = new FutureTask<>(() -> engine.drain(Duration.ZERO));
            Thread drainer = Thread.ofPlatform().start(drain);
            // With a timeout of 0, drain cancels first and then waits for the current step, which this test blocks. If
            // no step runs, drain does not wait.
            while (drainer.isAlive() && drainer.getState() != Thread.State.TIMED_WAITING) {
                Thread.onSpinWait();
            }
            release.countDown();

            assertThat(drain.get()).isFalse();
            assertThat(Answer.read(running).finish().reason()).isEqualTo(FinishReason.CANCELLED);
            assertThat(Answer.read(other).finish().reason()).isEqualTo(FinishReason.CANCELLED);
            assertThat(engine.stats().usedPages()).isZero();
        }
    }

    @Test
    void forward_throws_allAnswersEndWithAnErrorAndTheEngineReportsIt() throws Exception {
        AtomicInteger steps = new AtomicInteger();
        CountDownLatch allIn = new CountDownLatch(1);
        FakeModel model = model().onForward(batch -> {
            await(allIn);
            if (steps.incrementAndGet() == 5) {
                throw new IllegalStateException("boom");
            }
        });
        try (Engine engine = engine(model)) {
            List<TokenStream> streams = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                streams.add(engine.submit(Requests.of("request " + i, 30)));
            }
            allIn.countDown();
            for (TokenStream stream : streams) {
                TokenStream.Finish finish = Answer.read(stream).finish();
                assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
                assertThat(finish.error()).contains("boom");
            }
            assertThat(engine.failure()).hasMessage("boom");
            assertThatIllegalStateException()
                    .isThrownBy(() -> engine.submit(Requests.of("late", 1)))
                    .withMessageContaining("broken");
            assertThat(engine.drain(Duration.ofMinutes(1))).isFalse();
            EngineStats stats = engine.stats();
            assertThat(stats.finished()).containsEntry(FinishReason.ERROR, 10L);
            assertThat(stats.started()).isEqualTo(10);
            assertThat(stats.usedPages()).isZero();
        }
        assertThat(model.isClosed()).isTrue();
    }

    @Test
    void listener_throws_everyStreamStillEnds() throws Exception {
        EngineListener listener = new EngineListener() {
            @Override
            public void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
                throw new IllegalStateException("listener");
            }
        };
        CountDownLatch allIn = new CountDownLatch(1);
        FakeModel model = model().onForward(batch -> await(allIn));
        try (Engine engine = Engine.of(model, new FakeTokenizer(), null, "fake", CONFIG, listener, System::nanoTime)) {
            TokenStream first = engine.submit(Requests.of("a", 2));
            TokenStream second = engine.submit(Requests.of("b", 50));
            allIn.countDown();

            assertThat(Answer.read(first).finish().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(Answer.read(second).finish().reason()).isEqualTo(FinishReason.ERROR);
            assertThat(engine.failure()).hasMessage("listener");
        }
    }

    @Test
    void text_failsForOneRequest_othersContinue() throws Exception {
        Tokenizer tokenizer = new FailingTokenizer();
        Request failing = Requests.of("x", 40);
        Request healthy = new Request(
                failing.prompt(),
                SamplingParams.builder().maxTokens(40).temperature(0).build());
        // The tokenizer fails for the end token, which the first request generates, ignores as an end and searches for
        // a
        // stop string.
        Request biased = new Request(
                failing.prompt(),
                SamplingParams.builder()
                        .maxTokens(40)
                        .temperature(0)
                        .stop(List.of("stop"))
                        .ignoreEndOfText(true)
                        .logitBias(Map.of(FakeTokenizer.EOS, 100f))
                        .build());
        try (Engine engine = engine(model(), tokenizer, CONFIG)) {
            TokenStream bad = engine.submit(biased);
            TokenStream good = engine.submit(healthy);

            TokenStream.Finish finish = Answer.read(bad).finish();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error()).contains("no text for this token");
            assertThat(Answer.read(good)).isEqualTo(Answer.alone(healthy, CONTEXT));
            assertThat(engine.failure()).isNull();
            assertThat(engine.stats().usedPages()).isZero();
        }
    }

    @Test
    void submit_queueFull_isRefusedWithRetryTime() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        CountDownLatch busy = new CountDownLatch(1);
        EngineConfig config = EngineConfig.builder()
                .maxSequences(1)
                .maxBatchedTokens(16)
                .maxQueuedRequests(3)
                .maxQueuedTokens(20)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        FakeModel model = FakeModel.fitting(config, CONTEXT).onForward(batch -> {
            busy.countDown();
            await(release);
        });
        try (Engine engine = engine(model, new FakeTokenizer(), config)) {
            List<TokenStream> accepted = new ArrayList<>();
            accepted.add(engine.submit(Requests.of("running", 2)));
            busy.await();
            accepted.add(engine.submit(Requests.of("a prompt as long as", 2))); // 20 tokens: the size of the queue
            assertThatExceptionOfType(OverloadedException.class)
                    .isThrownBy(() -> engine.submit(Requests.of("b", 2)))
                    .withMessageContaining("prompt tokens wait already")
                    .satisfies(e -> assertThat(e.retryAfterSeconds()).isBetween(1, 600));
            accepted.get(1).close();
            release.countDown();
            for (TokenStream stream : accepted) {
                Answer.read(stream);
            }
            assertThat(engine.stats().started()).isEqualTo(2);
        }
    }

    @Test
    void submit_tooManyRequests_isRefused() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        CountDownLatch busy = new CountDownLatch(1);
        EngineConfig config = EngineConfig.builder()
                .maxSequences(1)
                .maxBatchedTokens(16)
                .maxQueuedRequests(3)
                .maxQueuedTokens(1000)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        FakeModel model = FakeModel.fitting(config, CONTEXT).onForward(batch -> {
            busy.countDown();
            await(release);
        });
        try (Engine engine = engine(model, new FakeTokenizer(), config)) {
            List<TokenStream> accepted = new ArrayList<>();
            accepted.add(engine.submit(Requests.of("running", 2)));
            busy.await();
            for (int i = 0; i < 3; i++) {
                accepted.add(engine.submit(Requests.of("w", 2)));
            }
            assertThatExceptionOfType(OverloadedException.class)
                    .isThrownBy(() -> engine.submit(Requests.of("b", 2)))
                    .withMessageContaining("3 requests wait already");
            release.countDown();
            for (TokenStream stream : accepted) {
                assertThat(Answer.read(stream).finish().reason()).isEqualTo(FinishReason.LENGTH);
            }
        }
    }

    @Test
    void submit_wrongParameter_isNamed() {
        try (Engine engine = engine(model())) {
            assertThatExceptionOfType(InvalidRequestException.class)
                    .isThrownBy(() -> engine.submit(
                            new Request(new int[0], SamplingParams.builder().build())))
                    .satisfies(e -> assertThat(e.parameter()).isEqualTo("prompt"));
            assertThatExceptionOfType(InvalidRequestException.class)
                    .isThrownBy(() -> engine.submit(new Request(
                            new int[] {3, 258}, SamplingParams.builder().build())))
                    .withMessageContaining("token id 258");
            assertThatExceptionOfType(InvalidRequestException.class)
                    .isThrownBy(() -> engine.submit(new Request(
                            new int[] {3},
                            SamplingParams.builder().stopTokens(List.of(-1)).build())))
                    .satisfies(e -> assertThat(e.parameter()).isEqualTo("stopTokens"));
            assertThatExceptionOfType(InvalidRequestException.class)
                    .isThrownBy(() -> engine.submit(Requests.of("x".repeat(CONTEXT - 1), 1)))
                    .withMessageContaining("the prompt has 64 tokens, but at most 63 leave room for an answer");
            assertThat(engine.stats().started()).isZero();
        }
    }

    @Test
    void submit_answerLongerThanTheContext_endsWithLength() throws Exception {
        try (Engine engine = engine(model())) {
            Answer answer = Answer.read(engine.submit(Requests.of("x".repeat(CONTEXT - 2), 1000)));

            assertThat(answer.finish().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(answer.tokens()).hasSize(1);
        }
    }

    @Test
    void maxContext_smallPool_isThePoolSize() {
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, 4, 5, 16, 4);
        try (Engine engine = engine(model)) {
            assertThat(engine.maxContext()).isEqualTo(20);
            assertThatExceptionOfType(InvalidRequestException.class)
                    .isThrownBy(() -> engine.submit(Requests.of("x".repeat(19), 1)))
                    .withMessageContaining("5 KV pages of 4 tokens");
        }
    }

    @Test
    void of_configOverTheModel_isRefused() {
        try (FakeModel model = model()) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> engine(model, new FakeTokenizer(), Requests.config(4, 17, 16)))
                    .withMessageContaining("maxBatchedTokens is 17");
        }
        // It returns a row of logits for one sequence, and 16 for prompts whose log probabilities are wanted.
        try (FakeModel model = FakeModel.fitting(Requests.config(1, 32, 16), CONTEXT)) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> engine(model, new FakeTokenizer(), Requests.config(18, 32, 16)))
                    .withMessageContaining("maxSequences is 18");
        }
    }

    @Test
    void next_anotherStreamIsNotRead_doesNotWait() throws Exception {
        try (Engine engine = engine(model())) {
            TokenStream unread = engine.submit(Requests.of("unread", 50));
            Request request = Requests.of("read", 50);

            assertThat(Answer.read(engine.submit(request))).isEqualTo(Answer.alone(request, CONTEXT));
            assertThat(Answer.read(unread).tokens()).hasSize(50);
        }
    }

    @Test
    void next_interrupted_throwsAndTheRequestContinues() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (Engine engine = engine(model().onForward(batch -> await(release)))) {
            TokenStream stream = engine.submit(Requests.of("x", 5));
            Thread.currentThread().interrupt();

            assertThatExceptionOfType(InterruptedException.class).isThrownBy(stream::next);
            assertThatIllegalStateException().isThrownBy(stream::finish);

            release.countDown();
            assertThat(Answer.read(stream).tokens()).hasSize(5);
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
