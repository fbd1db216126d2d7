package quire.engine.sample;

import org.jspecify.annotations.Nullable;
import quire.tensor.Workers;

/**
 * Chooses tokens of several sequences in parallel, with one {@link Sampler} for each worker. One choice among 128,000
 * tokens takes some tenths of a millisecond, and a step may need a hundred. The result does not depend on which worker
 * chooses, because samplers keep no state between choices.
 *
 * <p>Engine thread only. Allocates only in the constructor.
 */
public final class SamplerTeam {
    /**
     * Smallest number of logits for which several workers are used. With fewer, waking the workers takes longer than
     * the choice.
     */
    private static final long MANY = 1 << 16;

    private final Workers workers;
    private final int vocabularySize;
    private final Sampler[] samplers;
    private final Workers.Task task = this::work;
    private int units;
    private @Nullable Unit unit;

    /** A unit of work: the choices for one sequence. */
    @FunctionalInterface
    public interface Unit {
        /**
         * Does the work of one unit. Must not touch the state of other units.
         *
         * @param sampler for this call only; no other thread uses it meanwhile
         */
        void choose(int index, Sampler sampler);
    }

    /**
     * One sampler for each worker.
     *
     * @param vocabularySize logits in a row
     */
    public SamplerTeam(Workers workers, int vocabularySize) {
        this.workers = workers;
        this.vocabularySize = vocabularySize;
        samplers = new Sampler[workers.count()];
        for (int i = 0; i < samplers.length; i++) {
            samplers[i] = new Sampler(vocabularySize);
        }
    }

    /**
     * Executes the units {@code [0, count)} and returns when all are done. Each worker that is free takes the next
     * unit.
     */
    public void choose(int count, Unit work) {
        if (count <= 1 || samplers.length == 1 || (long) count * vocabularySize < MANY) {
            for (int i = 0; i < count; i++) {
                work.choose(i, samplers[0]);
            }
            return;
        }
        units = count;
        unit = work;
        workers.run(task); // publishes the lines above
        unit = null;
    }

    private void work(int worker) {
        Unit work = unit;
        if (work == null) {
            throw new IllegalStateException("a worker was started without work");
        }
        for (int i = workers.claim(); i < units; i = workers.claim()) {
            work.choose(i, samplers[worker]);
        }
    }
}
