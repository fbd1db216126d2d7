package quire.bench;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.agents.AgentsCommand;
import quire.bench.attack.AttackCommand;
import quire.bench.compare.CompareCommand;
import quire.bench.constraints.ConstraintsCommand;
import quire.bench.files.FileAttackCommand;
import quire.bench.measure.OfflineBench;
import quire.bench.measure.ProfileBench;
import quire.bench.measure.ProfileBench.Profiled;
import quire.bench.measure.TimedEngine;
import quire.bench.overload.FairnessCommand;
import quire.bench.overload.OverloadCommand;
import quire.bench.prefix.PrefixCommand;
import quire.bench.report.RunRecord;
import quire.bench.reproduce.ReproduceCommand;
import quire.bench.speculation.SpeculationCommand;
import quire.cli.CommandPlugin;
import quire.cli.option.KernelsOption;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.format.Gguf;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;

/** The command {@code quire bench}: one model's speed on this machine. */
@Command(
        name = "bench",
        subcommands = {
            SpeculationCommand.class,
            AttackCommand.class,
            FileAttackCommand.class,
            OverloadCommand.class,
            FairnessCommand.class,
            PrefixCommand.class,
            ConstraintsCommand.class,
            CompareCommand.class,
            AgentsCommand.class,
            ReproduceCommand.class,
            ReplayCommand.class
        },
        mixinStandardHelpOptions = true,
        description = "Measure the speed of a model on this machine, and the ceilings of the machine.")
public final class BenchCommand implements CommandPlugin {
    /** A prompt is measured so many times after a warm-up; the best time counts. */
    private static final int REPEATS = 3;

    private static final double NANO = 1e-9;

    @Mixin
    private ModelOption model;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens of the measured prompt (default ${DEFAULT-VALUE}).")
    private int prompt;

    @Option(
            names = "--generate",
            paramLabel = "N",
            defaultValue = "64",
            description = "Tokens that each sequence generates (default ${DEFAULT-VALUE}).")
    private int generate;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "32",
            description = "Tokens of each sequence before it decodes (default ${DEFAULT-VALUE}).")
    private int context;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,16,32",
            description = "How many sequences decode together: one number or several (default ${DEFAULT-VALUE}).")
    private List<Integer> sequences;

    @Mixin
    private ThreadsOption threads;

    @Option(
            names = "--max-batched-tokens",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens computed in one step (default ${DEFAULT-VALUE}).")
    private int maxBatchedTokens;

    @Option(
            names = "--kv-type",
            paramLabel = "TYPE",
            defaultValue = "f16",
            description = "How keys and values are stored: f16, f32 or q8_0 (default ${DEFAULT-VALUE}).")
    private KvType kvType;

    @Option(names = "--profile", description = "Measure each phase of a step too, and compare it with the ceilings.")
    private boolean profile;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Override
    public Integer call() throws InterruptedException {
        for (int count : sequences) {
            if (count < 1) {
                throw new IllegalArgumentException("--sequences takes numbers from 1, not " + count);
            }
        }
        Path path = model.path();
        RunRecord record = new RunRecord();
        record.put("model", String.valueOf(path.getFileName()));
        record.put("kernels", KernelSets.best().name());
        record.put("kv_type", kvType.name());
        record.put("threads", threads.count());
        MachineCeilings ceilings;
        try (Workers team = new Workers(threads.count())) {
            ceilings = MachineCeilings.measure(team);
        }
        record.put("read_bandwidth_bytes_per_second", ceilings.readBandwidthBytesPerSecond());
        record.put("int8_macs_per_second", ceilings.int8MacsPerSecond());
        record.put("int8_path", ceilings.int8Path());
        record.put("f32_macs_per_second", ceilings.f32MacsPerSecond());
        measure(path, record);
        record.putMachine();
        List<Profiled> profiles = profile ? profile(path) : List.of();
        if (json) {
            if (profile) {
                record.put("profiles", profiles.stream().map(Profiled::json).toList());
            }
            System.out.println(record.json());
        } else {
            print(record);
            profiles.forEach(each -> System.out.print(each.text(ceilings)));
        }
        return 0;
    }

    private int maxSequences() {
        return sequences.stream().mapToInt(Integer::intValue).max().orElseThrow();
    }

    private EngineConfig config() {
        EngineConfig defaults = EngineConfig.defaults();
        return EngineConfig.builder()
                .targetTokenGap(Duration.ZERO) // or a slow moment would cut prompts into smaller chunks
                .maxSequences(maxSequences())
                .maxBatchedTokens(maxBatchedTokens)
                .maxContext(Math.max(prompt, context) + generate + 1)
                .prefixCache(false)
                .maxQueuedTokens(Math.max(defaults.maxQueuedTokens(), (long) maxSequences() * context))
                .kvType(kvType)
                .threads(threads.count())
                .speculation(Speculation.off())
                .build();
    }

    private void measure(Path path, RunRecord record) throws InterruptedException {
        long begin = System.nanoTime();
        try (TimedEngine engine = TimedEngine.open(path, config())) {
            record.put("load_seconds", (System.nanoTime() - begin) * NANO);
            OfflineBench bench = new OfflineBench(engine);
            record.put("prompt_tokens", prompt);
            record.put("first_prompt_seconds", bench.secondsToFirstToken(prompt));
            double best = Double.POSITIVE_INFINITY;
            for (int i = 0; i < REPEATS; i++) {
                best = Math.min(best, bench.secondsToFirstToken(prompt));
            }
            record.put("time_to_first_token_seconds", best);
            record.put("prompt_tokens_per_second", prompt / best);
            record.put("context_tokens", context);
            record.put("generate_tokens", generate);
            List<Map<String, Object>> decode = new ArrayList<>();
            for (int count : sequences) {
                double cold = bench.decodeTokensPerSecond(count, context, generate);
                double warm = bench.decodeTokensPerSecond(count, context, generate);
                decode.add(Map.of("sequences", count, "tokens_per_second", Math.max(cold, warm)));
            }
            record.put("decode", decode);
        }
    }

    /** The phases of a prompt's step and of decoding steps. */
    private List<Profiled> profile(Path path) {
        List<Profiled> profiles = new ArrayList<>();
        ProfileBench.Limits limits = new ProfileBench.Limits(
                kvType,
                EngineConfig.defaults().pageTokens(),
                maxSequences(),
                Math.max(prompt, context + generate),
                maxBatchedTokens);
        try (Gguf file = Gguf.open(path);
                Workers team = new Workers(threads.count());
                ProfileBench bench = new ProfileBench(file, team, limits)) {
            profiles.add(bench.prompt(prompt, REPEATS));
            for (int count : sequences) {
                profiles.add(bench.decode(count, context, generate));
            }
        }
        return profiles;
    }

    private static void print(RunRecord record) {
        record.values().forEach((name, value) -> {
            if (value instanceof List<?>) {
                for (Map<String, Object> row : record.rows(name)) {
                    print(
                            name + "_tokens_per_second × " + row.get("sequences"),
                            String.format(Locale.ROOT, "%.1f", RunRecord.number(row, "tokens_per_second")));
                }
            } else {
                print(name, value instanceof Double number ? format(number) : String.valueOf(value));
            }
        });
    }

    private static void print(String name, String value) {
        System.out.printf("%-34s %s%n", name, value);
    }

    private static String format(double number) {
        return number >= 1e6
                ? String.format(Locale.ROOT, "%.1f G", number / 1e9)
                : String.format(Locale.ROOT, "%.3f", number);
    }
}
