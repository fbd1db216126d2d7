package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.FakeTokenizer;
import quire.model.text.Tokenizer;

/** Requests that are being read never delay the tokens of answers. */
@Timeout(60)
class PreparationThreadsTest {
    private static final String HONEST =
            "{\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":300,\"ignore_eos\":true,\"stream\":true}";

    /** A fake tokenizer that keeps the processor busy for texts with "slow" in them, until the gate opens. */
    private static final class SlowTokenizer implements Tokenizer {
        private final Tokenizer fake = new FakeTokenizer();
        final Semaphore reading = new Semaphore(0);
        final CountDownLatch gate = new CountDownLatch(1);
        final List<String> threads = new ArrayList<>();

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            synchronized (threads) {
                threads.add(Thread.currentThread().getName());
            }
            if (text.contains("slow")) {
                reading.release();
                while (gate.getCount() > 0) {
                    Thread.onSpinWait(); // like encoding, it occupies a carrier if it runs on a virtual thread
                }
            }
            return fake.encode(text, addSpecial, parseSpecial);
        }

        @Override
        public int vocabularySize() {
            return fake.vocabularySize();
        }

        @Override
        public byte[] bytes(int token) {
            return fake.bytes(token);
        }

        @Override
        public String spelling(int token) {
            return fake.spelling(token);
        }

        @Override
        public boolean isControl(int token) {
            return fake.isControl(token);
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return fake.isEndOfGeneration(token);
        }

        @Override
        public OptionalInt bos() {
            return fake.bos();
        }

        @Override
        public OptionalInt eos() {
            return fake.eos();
        }
    }

    @Test
    void stream_whileAllThreadsRead_goesOnToItsEnd() throws Exception {
        SlowTokenizer tokenizer = new SlowTokenizer();
        CountDownLatch begun = new CountDownLatch(1);
        int threads = 3;
        ServerConfig config = TestServer.config().preparationThreads(threads).build();
        try (TestServer server = TestServer.builder()
                        .config(config)
                        .tokenizer(tokenizer)
                        .onForward(batch -> {
                            if (begun.getCount() > 0) {
                                begun.countDown();
                                tokenizer.reading.acquireUninterruptibly(threads);
                            }
                        })
                        .start();
                Permits _ = tokenizer.gate::countDown;
                Permits _ = () -> tokenizer.reading.release(threads);
                ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
            try (RawClient honest = new RawClient(server)) {
                honest.send(RawClient.post("/v1/completions", HONEST));
                begun.await();
                List<Future<HttpResponse<String>>> slow = new ArrayList<>();
                for (int i = 0; i < 3 * threads; i++) { // more than there are threads, carriers and processors
                    slow.add(clients.submit(
                            () -> server.post("/v1/completions", "{\"prompt\":\"slow\",\"max_tokens\":1}")));
                }
                assertThat(honest.response().body()).endsWith("data: [DONE]\n\n");
                tokenizer.gate.countDown();
                for (Future<HttpResponse<String>> response : slow) {
                    assertThat(response.get().statusCode()).isEqualTo(200);
                }
            }
        }
        assertThat(tokenizer.threads).allMatch(name -> name.startsWith("prepare-"));
    }
}
