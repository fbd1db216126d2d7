package quire.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.TokenStream;

/**
 * An engine that answers groups of requests and counts what it generates while all of a group decode.
 *
 * <p>Whole steps count, since all tokens of a step come at its end, and a sequence may get several: from the end of the
 * step in which the last sequence gets its first token to the end of the one in which the first gets its last.
 *
 * <pre>
 *   steps        |   1   |   2   |   3   |   4   |   5   |
 *   sequence 1   | ·· xx |  xx   |   x   |  xxx  |   x   |        · a token of the prompt, x of the answer
 *   sequence 2   |  ···· | ·· xx |  xx   |   x   |       |
 *                                |─── counted ───|                7 tokens
 * </pre>
 */
final class TimedEngine implements AutoCloseable {
    private final Engine engine;
    private final Clock clock;

    private TimedEngine(Engine engine, Clock clock) {
        this.engine = engine;
        this.clock = clock;
    }

    static TimedEngine open(Path model, EngineConfig config) {
        Clock clock = new Clock(System::nanoTime);
        return new TimedEngine(Engine.open(model, config, clock), clock);
    }

    Engine engine() {
        return engine;
    }

    /**
     * What became of a group.
     *
     * @param nanosToFirst from when a request was accepted to its first token; of several, of the last that got one
     * @param tokens that were counted
     * @param nanos in which they were; not more than 0 if the first answer was over before the last began
     */
    record Group(List<int[]> answers, long nanosToFirst, long tokens, long nanos) {}

    /** Submits all requests and reads all answers. */
    Group answer(List<Request> requests) throws InterruptedException {
        clock.begin(requests.size());
        List<TokenStream> streams = new ArrayList<>();
        try {
            for (Request request : requests) {
                streams.add(engine.submit(request));
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

    private static int[] read(TokenStream stream, int most) throws InterruptedException {
        int[] tokens = new int[most];
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
     * Counts on the engine thread: readers of a small model, on a machine with few cores, may not run before the answers
     * are over. Read once all of a group's answers have ended.
     */
    static final class Clock implements EngineListener {
        private final LongSupplier nanoClock;
        private int silent; // sequences of the group without a token
        private boolean ended; // one has its last
        private boolean counting;
        private long stepEnd; // of the step whose tokens come now
        private long nanosToFirst;
        private long from;
        private long to;
        private long tokens;

        Clock(LongSupplier nanoClock) {
            this.nanoClock = nanoClock;
        }

        /** Nobody of the group before may still be running. */
        void begin(int sequences) {
            silent = sequences;
            ended = false;
            counting = false;
            tokens = 0;
        }

        long tokens() {
            return tokens;
        }

        long nanos() {
            return to - from;
        }

        /** Comes before the tokens and the ends of its step. */
        @Override
        public void onStep(int rows, int sequences, long nanos) {
            stepEnd = nanoClock.getAsLong();
            counting = silent == 0 && !ended;
        }

        @Override
        public void onFirstToken(long nanos) {
            nanosToFirst = nanos;
            if (--silent == 0) {
                from = stepEnd;
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
                to = stepEnd;
            }
        }
    }
}
