package quire.engine.schedule;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;

/**
 * The hand-off of one answer from the engine thread to its reader. The queue has no bound of its own: an answer has at
 * most {@code maxTokens} tokens, and a slow reader must never hold up the step that others wait for.
 *
 * <p>The reader parks; platform and virtual threads alike give up their carrier. The writer publishes first and looks
 * for a parked reader then, the reader announces itself first and looks again then, so no wake-up is missed.
 */
final class OutputQueue implements TokenStream {
    private final ConcurrentLinkedQueue<Output> outputs = new ConcurrentLinkedQueue<>();
    private final Runnable cancel;
    private SpeculationCounts speculation = SpeculationCounts.NONE; // published by finish
    private volatile @Nullable Finish finish;
    private volatile @Nullable Thread reader;

    /** @param cancel tells the engine that nobody waits for this answer any more; harmless when it has ended */
    OutputQueue(Runnable cancel) {
        this.cancel = cancel;
    }

    /** Engine thread: one more token. The reader hears of it with the next {@link #wake} or {@link #end}. */
    void put(Output output) {
        outputs.add(output);
    }

    /** Engine thread: lets the reader look. Once for all tokens of a step, since waking costs as much as a small step. */
    void wake() {
        LockSupport.unpark(reader);
    }

    /** Engine thread: the end; comes exactly once. */
    void end(Finish end, SpeculationCounts counts) {
        if (finish != null) {
            throw new IllegalStateException("an answer ended twice: " + finish + ", then " + end);
        }
        speculation = counts;
        finish = end;
        LockSupport.unpark(reader);
    }

    boolean hasEnded() {
        return finish != null;
    }

    @Override
    public @Nullable Output next() throws InterruptedException {
        while (true) {
            Output output = outputs.poll();
            if (output != null) {
                return output;
            }
            if (finish != null) {
                return outputs.poll(); // put between the first look and the end
            }
            if (Thread.interrupted()) {
                throw new InterruptedException("interrupted while waiting for a token");
            }
            reader = Thread.currentThread();
            if (outputs.isEmpty() && finish == null) {
                LockSupport.park(this);
            }
            reader = null;
        }
    }

    @Override
    public @Nullable Output poll() {
        return outputs.poll();
    }

    @Override
    public Finish finish() {
        Finish end = finish;
        if (end == null || !outputs.isEmpty()) {
            throw new IllegalStateException("the answer has not ended: read until next() returns null");
        }
        return end;
    }

    @Override
    public SpeculationCounts speculation() {
        return finish == null ? SpeculationCounts.NONE : speculation;
    }

    @Override
    public void close() {
        if (finish == null) {
            cancel.run();
        }
    }
}
