package quire.bench.constraints;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.measure.TimedEngine;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.engine.constrain.Constraint;
import quire.model.format.Gguf;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.machine.KernelSets;

/** The command {@code quire bench constraints}. What it measures: {@link ConstraintsBench}. */
@Command(
        name = "constraints",
        mixinStandardHelpOptions = true,
        description =
                "Measure the time of a mask, and the speed of constrained answers beside free ones and of forced text.")
public final class ConstraintsCommand implements Callable<Integer> {
    private static final int PROMPT_TOKENS = 16;

    @Mixin
    private ModelOption model;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            defaultValue = "16",
            description = "Answers that run together (default ${DEFAULT-VALUE}).")
    private int sequences;

    @Option(
            names = "--generate",
            paramLabel = "N",
            defaultValue = "64",
            description = "Tokens of each answer (default ${DEFAULT-VALUE}).")
    private int generate;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "9",
            description = "Rounds with constraints and as many without, by turns (default ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(
            names = "--vocabulary",
            paramLabel = "FILE",
            description = "A GGUF file whose tokens the masks are measured with (default: the model).")
    private @Nullable Path vocabulary;

    @Mixin
    private ThreadsOption threads;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws InterruptedException {
        for (int number : new int[] {sequences, generate - 1, rounds}) {
            if (number < 1) {
                throw new IllegalArgumentException("--sequences and --rounds take numbers from 1, --generate from 2");
            }
        }
        Path path = model.path();
        RunRecord record = new RunRecord();
        record.put("model", String.valueOf(path.getFileName()));
        record.put("kernels", KernelSets.best().name());
        record.put("threads", threads.count());
        record.putMachine();
        List<Map<String, Object>> masks = new ArrayList<>();
        Map<String, Object> speed;
        List<Map<String, Object>> forced = new ArrayList<>();
        try (TimedEngine engine = TimedEngine.open(path, config(Speculation.off()))) {
            Tokenizer tokenizer = vocabulary == null ? engine.engine().tokenizer() : tokenizer(vocabulary);
            ConstraintsBench bench = new ConstraintsBench(tokenizer);
            record.put("vocabulary_tokens", tokenizer.vocabularySize());
            record.put("vocabulary_read_millis", bench.readVocabulary());
            for (Map.Entry<String, IntFunction<Constraint>> kind :
                    ConstraintsBench.kinds().entrySet()) {
                masks.add(bench.masks(kind.getKey(), kind.getValue()));
            }
            speed = ConstraintsBench.speed(engine, sequences, generate, rounds);
            try (TimedEngine drafting = TimedEngine.open(path, config(Speculation.auto(null)))) {
                for (int together : sequences == 1 ? new int[] {1} : new int[] {1, sequences}) {
                    forced.add(ConstraintsBench.forced(engine, drafting, together, generate, rounds));
                }
            }
        }
        record.put("masks", masks);
        record.put("speed", List.of(speed));
        record.put("forced_text", forced);
        output.print(record);
        return 0;
    }

    private static Tokenizer tokenizer(Path file) {
        try (Gguf gguf = Gguf.open(file)) {
            return Tokenizers.of(gguf);
        }
    }

    private EngineConfig config(Speculation speculation) {
        EngineConfig defaults = EngineConfig.defaults();
        return EngineConfig.builder()
                .maxSequences(sequences)
                .maxBatchedTokens(Math.max(sequences, defaults.maxBatchedTokens()))
                .maxContext(PROMPT_TOKENS + generate)
                .threads(threads.count())
                .speculation(speculation)
                .build();
    }
}
