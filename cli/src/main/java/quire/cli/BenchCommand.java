package quire.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.cli.ProfileBench.Profiled;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.format.Gguf;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;

@Command(
        name = "bench",
        subcommands = SpeculationBenchCommand.class,
        mixinStandardHelpOptions = true,
        description = "Measure a model on this machine, beside what the machine could do at most.")
final class BenchCommand implements Callable<Integer> {
    private static final int TIMES = 3;
    private static final double NANO = 1e-9;

    @Mixin
    private ModelOption model;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it acts while the line is parsed
    private KernelsOption kernels;

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens of the prompt that is timed (default ${DEFAULT-VALUE}).")
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
            description = "Tokens in each sequence before decoding is timed (default ${DEFAULT-VALUE}).")
    private int context;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,16,32",
            description = "Numbers of sequences decoded together (default ${DEFAULT-VALUE}).")
    private List<Integer> sequences;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads (default: one a core).")
    private int threads;

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

    @Option(names = "--profile", description = "Time the phases of a step as well, beside the machine's ceilings.")
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
        int workers = threads > 0 ? threads : Runtime.getRuntime().availableProcessors();
        int most = sequences.stream().mapToInt(Integer::intValue).max().orElseThrow();
        EngineConfig defaults = EngineConfig.defaults();
        EngineConfig config = EngineConfig.builder()
                .maxSequences(most)
                .maxBatchedTokens(maxBatchedTokens)
                .maxContext(Math.max(prompt, context) + generate + 1)
                .maxQueuedTokens(Math.max(defaults.maxQueuedTokens(), (long) most * context))
                .kvType(kvType)
                .threads(workers)
                .speculation(Speculation.off())
                .build();
        Path path = model.path();
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("model", String.valueOf(path.getFileName()));
        result.put("kernels", KernelSets.best().name());
        result.put("kv_type", kvType.name());
        result.put("threads", workers);
        MachineCeilings ceilings;
        try (Workers team = new Workers(workers)) {
            ceilings = MachineCeilings.measure(team);
        }
        result.put("read_bandwidth_bytes_per_second", ceilings.readBandwidthBytesPerSecond());
        result.put("int8_macs_per_second", ceilings.int8MacsPerSecond());
        result.put("int8_path", ceilings.int8Path());
        result.put("f32_macs_per_second", ceilings.f32MacsPerSecond());

        measure(path, config, result);
        List<Profiled> profiles = profile ? profile(path, workers, most, config.pageTokens()) : List.of();
        if (json) {
            if (profile) {
                result.put("profiles", profiles.stream().map(Profiled::json).toList());
            }
            System.out.println(Json.write(result));
        } else {
            print(result);
            profiles.forEach(each -> System.out.print(each.table(ceilings)));
        }
        return 0;
    }

    /** Phases of a prompt's step and of decoding steps. */
    private List<Profiled> profile(Path path, int workers, int most, int pageTokens) {
        List<Profiled> profiles = new ArrayList<>();
        try (Gguf file = Gguf.open(path);
                Workers team = new Workers(workers);
                ProfileBench bench = new ProfileBench(
                        file, team, kvType, pageTokens, most, Math.max(prompt, context + generate), maxBatchedTokens)) {
            profiles.add(bench.prompt(prompt, TIMES));
            for (int count : sequences) {
                profiles.add(bench.decode(count, context, generate));
            }
        }
        return profiles;
    }

    private void measure(Path path, EngineConfig config, Map<String, Object> result) throws InterruptedException {
        long begin = System.nanoTime();
        try (TimedEngine engine = TimedEngine.open(path, config)) {
            result.put("load_seconds", (System.nanoTime() - begin) * NANO);
            OfflineBench bench = new OfflineBench(engine);
            result.put("prompt_tokens", prompt);
            result.put("first_prompt_seconds", bench.secondsToFirstToken(prompt));
            double best = Double.POSITIVE_INFINITY;
            for (int i = 0; i < TIMES; i++) {
                best = Math.min(best, bench.secondsToFirstToken(prompt));
            }
            result.put("time_to_first_token_seconds", best);
            result.put("prompt_tokens_per_second", prompt / best);
            result.put("context_tokens", context);
            result.put("generate_tokens", generate);
            List<Map<String, Object>> decode = new ArrayList<>();
            for (int count : sequences) {
                double speed = bench.decodeTokensPerSecond(count, context, generate); // and once more, warm
                speed = Math.max(speed, bench.decodeTokensPerSecond(count, context, generate));
                decode.add(Map.of("sequences", count, "tokens_per_second", speed));
            }
            result.put("decode", decode);
        }
    }

    private static void print(Map<String, Object> result) {
        result.forEach((key, value) -> {
            String text =
                    switch (value) {
                        case Double number when number >= 1e6 -> String.format(Locale.ROOT, "%.1f G", number / 1e9);
                        case Double number -> String.format(Locale.ROOT, "%.3f", number);
                        default -> value.toString();
                    };
            if (value instanceof List<?> list) {
                list.forEach(entry -> {
                    Map<?, ?> line = (Map<?, ?>) entry;
                    System.out.printf(
                            Locale.ROOT, "%-34s %.1f%n", "decode_tokens_per_second × " + line.get("sequences"), (Double)
                                    line.get("tokens_per_second"));
                });
            } else {
                System.out.printf("%-34s %s%n", key, text);
            }
        });
    }
}
