package quire.bench.measure;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.LongSupplier;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.TokenStream;

/**
 * An engine that answers groups of requests and measures how fast all requests of a group decode together.
 *
 * <p>The measured time consists of whole steps, because all tokens of a step come at its end and a sequence may get
 * several. It begins at the end of the step in which the last sequence gets its first token. It ends at the end of the
 * step in which the first sequence gets its last token.
 *
 * <pre>
 *   steps        |   1   |   2   |   3   |   4   |   5   |
 *   sequence 1   | ·· xx |  xx   |   x   |  xxx  |   x   |        · a token of the prompt, x of the answer
 *   sequence 2   |  ···· | ·· xx |  xx   |   x   |       |
 *                                |─── counted ───|                7 tokens
 * </pre>
 */
public final class TimedEngine implements AutoCloseable {
    private final Engine engine;
    private final Clock clock;

    private TimedEngine(Engine engine, Clock clock) {
        this.engine = engine;
        this.clock = clock;
    }

    /** Opens an engine for a GGUF file. */
    public static TimedEngine open(Path model, EngineConfig config) {
        Clock clock = new Clock(System::nanoTime);
        return new TimedEngine(Engine.open(model, config, clock), clock);
    }

    /** The engine itself. */
    public Engine engine() {
        return engine;
    }

    /**
     * The answers of a group and their times.
     *
     * @param answers the tokens of each answer, in the order of the requests
     * @param nanosToFirst time from the acceptance of a request to its first token, in nanoseconds: of the request that
     *     got its first token last
     * @param tokens number of tokens in the measured time
     * @param nanos the measured time in nanoseconds; 0 or negative if the first answer ended before the last began
     */
    public record Group(List<int[]> answers, long nanosToFirst, long tokens, long nanos) {}

    /**
     * Submits all requests and reads all answers.
     *
     * @throws IllegalStateException if an answer ends with an error
     */
    public Group answer(List<Request> requests) throws InterruptedException {
        clock.begin(requests.size());
        List<TokenStream> streams = new ArrayList<>();
        try {
            try {
                for (Request request : requests) {
                    streams.add(engine.submit(request));
                }
            } finally {
                clock.submitted();
            }
            List<int[]> answers = new ArrayList<>();
            for (int i = 0; i < streams.size(); i++) {
                answers.add(read(streams.get(i), requests.get(i).params().maxTokens()));
            }
            return new Group(answers, clock.nanosToFirst, clock.tokens(), clock.nanos());
        } finally {
            streams.forEach(TokenStream::close);
        }
    }

    private static int[] read(TokenStream stream, int maxTokens) throws InterruptedException {
        int[] tokens = new int[maxTokens];
        int size = 0;
        for (Output output = stream.next(); output != null; output = stream.next()) {
            tokens[size++] = output.token();
        }
        String error = stream.finish().error();
        if (error != null) {
            throw new IllegalStateException(error);
        }
        return Arrays.copyOf(tokens, size);
    }

    @Override
    public void close() {
        engine.close();
    }

    /**
     * Counts tokens and time on the engine thread. The thread of a reader cannot do this: with a small model on few
     * cores, it may not run before the answers have ended. Read the results after all answers of a group have ended.
     */
    static final class Clock implements EngineListener {
        private final LongSupplier nanoClock;
        private volatile CountDownLatch submitted = new CountDownLatch(0);
        private int waiting; // sequences of the group that have no token yet
        private boolean ended; // a sequence has its last token
        private boolean counting; // the tokens of this step count
        private long stepEndNanos; // end of the step whose tokens come now
        private long nanosToFirst;
        private long beginNanos;
        private long endNanos;
        private long tokens;

        Clock(LongSupplier nanoClock) {
            this.nanoClock = nanoClock;
        }

        /** Begins a group; no sequence of an earlier group may still run. */
        void begin(int sequences) {
            submitted = new CountDownLatch(1);
            waiting = sequences;
            ended = false;
            counting = false;
            tokens = 0;
        }

        /**
         * The group is complete. The first step of the group waits for this, so that no answer of the group can end
         * before the last request is there, however late the submitting thread runs.
         */
        void submitted() {
            submitted.countDown();
        }

        long tokens() {
            return tokens;
        }

        long nanos() {
            return endNanos - beginNanos;
        }

        /** The engine calls this before it reports the tokens and the ends of the step. */
        @Override
        public void onStep(int rows, int sequences, long nanos) {
            try {
                submitted.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            stepEndNanos = nanoClock.getAsLong();
            counting = waiting == 0 && !ended;
        }

        @Override
        public void onFirstToken(long nanos) {
            nanosToFirst = nanos;
            if (--waiting == 0) {
                beginNanos = stepEndNanos;
            }
        }

        @Override
        public void onToken(long nanos) {
            if (counting) {
                tokens++;
            }
        }

        @Override
        public void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
            if (!ended) {
                ended = true;
                endNanos = stepEndNanos;
            }
        }
    }
}
