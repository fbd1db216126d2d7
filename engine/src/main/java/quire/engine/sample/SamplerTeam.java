package quire.engine.sample;

import org.jspecify.annotations.Nullable;
import quire.tensor.Workers;

/**
 * A {@link Sampler} for each worker, so that tokens of different sequences are chosen at the same time: a choice among
 * 128 k tokens takes some tenths of a millisecond, and a step may have a hundred to make. Who chooses for whom changes
 * nothing: a sampler keeps nothing from one choice to the next.
 *
 * <p>Engine thread only; nothing is allocated after construction.
 */
public final class SamplerTeam {
    /** Logits to look at from which on waking the others is worth it: some tens of microseconds' work. */
    private static final long MANY = 1 << 16;

    private final Workers workers;
    private final int vocabularySize;
    private final Sampler[] samplers;
    private final Workers.Task task = this::work;
    private int units;
    private @Nullable Unit unit;

    /** What is dealt out: the choices for one sequence. */
    @FunctionalInterface
    public interface Unit {
        /** Does the work of one unit with a sampler that nobody else uses meanwhile. Touches no other unit's state. */
        void choose(int index, Sampler sampler);
    }

    public SamplerTeam(Workers workers, int vocabularySize) {
        this.workers = workers;
        this.vocabularySize = vocabularySize;
        samplers = new Sampler[workers.count()];
        for (int i = 0; i < samplers.length; i++) {
            samplers[i] = new Sampler(vocabularySize);
        }
    }

    /** Does the units {@code [0, count)}, whoever is free the next one, and returns when all are done. */
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
            throw new IllegalStateException("no work");
        }
        for (int i = workers.claim(); i < units; i = workers.claim()) {
            work.choose(i, samplers[worker]);
        }
    }
}
