package quire.engine.schedule;

import java.nio.file.Path;
import quire.engine.EngineConfig;
import quire.engine.Request;
import quire.engine.TokenStream;
import quire.engine.speculate.CostModel;
import quire.engine.speculate.DraftPolicy;
import quire.engine.speculate.Speculator;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.text.Tokenizers;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * A real model on the clock of a {@link SlowModel}: what depends on time is the same on every machine. The caller makes the
 * steps.
 */
public final class TimedEngine implements AutoCloseable {
    private static final int PAGES = 200;

    private final SlowModel slow = new SlowModel();
    private final Workers workers = new Workers(2);
    private final Decoder model;
    private final EngineLoop loop;
    private long leftOut;

    /** Opens a model, with pages for all sequences. */
    public TimedEngine(Path path, EngineConfig config) {
        try (Gguf file = Gguf.open(path)) {
            model = Decoder.load(
                    file,
                    ModelConfig.from(file),
                    KernelSets.best(),
                    workers,
                    new Decoder.Capacity(
                            config.kvType(),
                            config.pageTokens(),
                            PAGES,
                            config.maxBatchedTokens(),
                            config.maxLogitRows()));
            Speculator.Setup setup =
                    new Speculator.Setup(config, CostModel.unknown(config.maxBatchedTokens()), null, DraftPolicy::of);
            loop = EngineLoop.builder(model, Tokenizers.of(file), config)
                    .workers(workers)
                    .drafts(context -> Speculator.of(setup, context))
                    .cost(slow)
                    .nanoClock(() -> slow.nanos)
                    .build();
        }
    }

    /** Queues a request. */
    public TokenStream submit(Request request) {
        return loop.submit(request);
    }

    /** Makes a step, which takes as long as predicted; returns the tokens computed. */
    public int step() {
        int rows = loop.doWork();
        for (Sequence sequence : loop.scheduler().running()) {
            leftOut += sequence.isLeftOut ? 1 : 0;
        }
        slow.nanos += (long) slow.predict(rows, 0, 0);
        return rows;
    }

    /** Decoding sequences that steps have left out so far, each counted in each step. */
    public long leftOut() {
        return leftOut;
    }

    @Override
    public void close() {
        model.close();
        workers.close();
    }
}
