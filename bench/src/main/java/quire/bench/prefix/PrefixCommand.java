package quire.bench.prefix;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.measure.TimedEngine;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.FilePath;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.engine.DiskTierStats;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.tensor.machine.KernelSets;

/** The command {@code quire bench prefix}. What it measures: {@link PrefixBench}. */
@Command(
        name = "prefix",
        mixinStandardHelpOptions = true,
        description = "Measure what the prefix cache saves, by the share of prompts that hits, and what it costs at 0.")
public final class PrefixCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(
            names = "--hits",
            paramLabel = "H",
            split = ",",
            defaultValue = "0,0.5,0.95",
            description = "Shares of the prompt that are cached, from 0 to below 1 (default ${DEFAULT-VALUE}).")
    private List<Double> hits;

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "2105",
            description = "Tokens of each prompt (default ${DEFAULT-VALUE}: at 95 %% hits, 2,000 are shared).")
    private int prompt;

    @Option(
            names = "--generate",
            paramLabel = "N",
            defaultValue = "8",
            description = "Tokens of each answer (default ${DEFAULT-VALUE}).")
    private int generate;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            defaultValue = "4",
            description = "Requests that run together for the throughput (default ${DEFAULT-VALUE}).")
    private int sequences;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "2",
            description = "Rounds with the cache and as many without (default ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(
            names = "--kv-disk",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "With the cache, pages are written to this file too, as by serve --kv-disk (default: none).")
    private @Nullable Path kvDisk;

    @Mixin
    private ThreadsOption threads;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws InterruptedException {
        for (double share : hits) {
            if (!(share >= 0 && share < 1)) {
                throw new IllegalArgumentException("--hits takes numbers from 0 to below 1, not " + share);
            }
        }
        for (int number : new int[] {prompt, generate, sequences, rounds}) {
            if (number < 1) {
                throw new IllegalArgumentException(
                        "--prompt, --generate, --sequences and --rounds take numbers from 1, not " + number);
            }
        }
        Path path = model.path();
        RunRecord record = new RunRecord();
        record.put("model", String.valueOf(path.getFileName()));
        record.put("kernels", KernelSets.best().name());
        record.put("threads", threads.count());
        record.put("prompt_tokens", prompt);
        record.put("generate_tokens", generate);
        record.put("sequences", sequences);
        record.put("rounds", rounds);
        record.putMachine();
        List<Map<String, Object>> rows = new ArrayList<>();
        try (TimedEngine engine = TimedEngine.open(path, config())) {
            PrefixBench bench = new PrefixBench(engine, prompt, generate, sequences);
            for (double share : hits) {
                rows.add(bench.measure(share, rounds));
            }
            DiskTierStats file = engine.engine().stats().diskTier();
            if (kvDisk != null) {
                record.put("kv_file_written_bytes", file.writtenBytes());
                record.put("kv_file_pages_left_out", file.skippedPages());
            }
        }
        record.put("prefix", rows);
        output.print(record);
        return 0;
    }

    private EngineConfig config() {
        EngineConfig defaults = EngineConfig.defaults();
        return EngineConfig.builder()
                .targetTokenGap(Duration.ZERO) // or a slow moment would cut prompts into smaller chunks
                .maxSequences(2 * sequences) // the shared pages stay cached beside a group without the cache
                .maxBatchedTokens(Math.max(2 * sequences, defaults.maxBatchedTokens()))
                .maxContext(prompt + generate)
                .maxQueuedTokens(Math.max(defaults.maxQueuedTokens(), (long) sequences * prompt))
                .threads(threads.count())
                .speculation(Speculation.off())
                .kvDisk(kvDisk)
                .build();
    }
}
