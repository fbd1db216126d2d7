package quire.bench.compare;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.measure.OfflineBench;
import quire.bench.measure.Quantiles;
import quire.bench.measure.TimedEngine;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.KernelsOption;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;

/**
 * The command {@code quire bench compare}. Each round measures the ceilings of the machine, the peer and Quire, one after
 * the other, because the speed of a shared machine changes:
 *
 * <pre>
 *   round 1   ceilings | peer | Quire        the next round: ceilings | Quire | peer
 *   table     medians of the rounds; the ratio and the share are medians of the rounds' own
 * </pre>
 *
 * <p>The ceiling of a prompt is the arithmetic of its tokens. The ceiling of sequences that decode together is the
 * smaller of that and of reading the weights once for a token of each. Keys and values are not counted, so at long
 * contexts no engine can reach it.
 */
@Command(
        name = "compare",
        mixinStandardHelpOptions = true,
        description = "Measure Quire and another engine by turns on one model file, and print medians and ratios.")
public final class CompareCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    @Option(
            names = "--peer-cmd",
            paramLabel = "CMD",
            required = true,
            description = "Command for sh that measures the other engine as BENCH_MODEL, BENCH_THREADS, BENCH_PROMPT,"
                    + " BENCH_CONTEXT, BENCH_GENERATE and BENCH_SEQUENCES say. It prints 'prompt X' and, for each number"
                    + " of sequences, 'decode N X' (tokens a second).")
    private String peer;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "5",
            description = "How often each engine is measured (default ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens of the measured prompt (default ${DEFAULT-VALUE}).")
    private int prompt;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "32",
            description = "Tokens of each sequence before it decodes (default ${DEFAULT-VALUE}).")
    private int context;

    @Option(
            names = "--generate",
            paramLabel = "N",
            defaultValue = "64",
            description = "Tokens that each sequence generates (default ${DEFAULT-VALUE}).")
    private int generate;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,2,4,8",
            description = "How many sequences decode together: one number or several (default ${DEFAULT-VALUE}).")
    private List<Integer> sequences;

    @Option(
            names = "--kv-type",
            paramLabel = "TYPE",
            defaultValue = "f16",
            description = "How Quire stores keys and values: f16, f32 or q8_0 (default ${DEFAULT-VALUE}).")
    private KvType kvType;

    @Mixin
    private ThreadsOption threads;

    @Mixin
    private RecordOutput output;

    /** What a model costs for each token: bytes of weights, and multiply-adds. */
    private record Cost(double bytes, double macs, boolean quantized) {
        static Cost of(Path path) {
            try (Gguf file = Gguf.open(path)) {
                double bytes = 0;
                double weights = 0;
                double quantized = 0;
                for (GgufTensor tensor : file.tensors()) {
                    bytes += tensor.byteSize();
                    weights += tensor.elements();
                    quantized += tensor.elementType().isQuantized() ? tensor.elements() : 0;
                }
                double active = ModelConfig.from(file).activeWeights(file);
                return new Cost(bytes * active / weights, active, quantized > weights / 2);
            }
        }

        /** Tokens a second of this work that the machine allows at most. */
        double ceiling(MachineCeilings machine, int together) {
            double arithmetic = (quantized ? machine.int8MacsPerSecond() : machine.f32MacsPerSecond()) / macs;
            return Math.min(arithmetic, together * machine.readBandwidthBytesPerSecond() / bytes);
        }
    }

    /** The figures of all rounds for one kind of work. */
    private static final class Figures {
        final List<Double> quire = new ArrayList<>();
        final List<Double> peer = new ArrayList<>();
        final List<Double> ceiling = new ArrayList<>();

        Map<String, Object> row(String name) {
            List<Double> ratios = new ArrayList<>();
            List<Double> shares = new ArrayList<>();
            for (int i = 0; i < quire.size(); i++) {
                ratios.add(quire.get(i) / peer.get(i));
                shares.add(quire.get(i) / ceiling.get(i));
            }
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("tokens_per_second", name);
            row.put("peer", Quantiles.median(peer));
            row.put("quire", Quantiles.median(quire));
            row.put("ratio", Quantiles.median(ratios));
            row.put("lowest_ratio", Quantiles.quantile(ratios, 0));
            row.put("highest_ratio", Quantiles.quantile(ratios, 1));
            row.put("ceiling", Quantiles.median(ceiling));
            row.put("share_of_ceiling", Quantiles.median(shares));
            return row;
        }
    }

    @Override
    public Integer call() throws InterruptedException {
        for (int number : new int[] {rounds, prompt, context, generate}) {
            if (number < 1) {
                throw new IllegalArgumentException(
                        "--rounds, --prompt, --context and --generate take numbers from 1, not " + number);
            }
        }
        for (int count : sequences) {
            if (count < 1) {
                throw new IllegalArgumentException("--sequences takes numbers from 1, not " + count);
            }
        }
        Path path = model.path();
        Cost cost = Cost.of(path);
        Map<String, Figures> works = new LinkedHashMap<>();
        works.put("prompt", new Figures());
        sequences.forEach(count -> works.put("decode " + count, new Figures()));
        PeerCommand command = new PeerCommand(peer, environment(path));
        List<Double> reads = new ArrayList<>();
        List<Double> products = new ArrayList<>();
        for (int round = 0; round < rounds; round++) {
            MachineCeilings machine;
            try (Workers team = new Workers(threads.count())) {
                machine = MachineCeilings.measure(team);
            }
            reads.add(machine.readBandwidthBytesPerSecond());
            products.add(machine.int8MacsPerSecond());
            boolean peerFirst = round % 2 == 0;
            Map<String, Double> other = peerFirst ? command.run(List.copyOf(works.keySet())) : Map.of();
            Map<String, Double> own = measure(path);
            Map<String, Double> peers = peerFirst ? other : command.run(List.copyOf(works.keySet()));
            works.forEach((name, figures) -> {
                figures.quire.add(own.getOrDefault(name, 0.0));
                figures.peer.add(peers.getOrDefault(name, 0.0));
                int together = name.equals("prompt") ? prompt : Integer.parseInt(name.substring(name.indexOf(' ') + 1));
                figures.ceiling.add(cost.ceiling(machine, together));
            });
        }
        RunRecord record = new RunRecord();
        record.put("model", String.valueOf(path.getFileName()));
        record.put("peer_command", peer);
        record.put("kernels", KernelSets.best().name());
        record.put("kv_type", kvType.name());
        record.put("threads", threads.count());
        record.put("rounds", rounds);
        record.put("prompt_tokens", prompt);
        record.put("context_tokens", context);
        record.put("generate_tokens", generate);
        record.put("read_bandwidth_bytes_per_second", Quantiles.median(reads));
        record.put("int8_macs_per_second", Quantiles.median(products));
        record.putMachine();
        List<Map<String, Object>> rows = works.entrySet().stream()
                .map(work -> work.getValue().row(work.getKey()))
                .toList();
        record.put("compare", rows);
        output.print(record);
        return 0;
    }

    private Map<String, String> environment(Path path) {
        return Map.of(
                "BENCH_MODEL", path.toAbsolutePath().toString(),
                "BENCH_THREADS", String.valueOf(threads.count()),
                "BENCH_PROMPT", String.valueOf(prompt),
                "BENCH_CONTEXT", String.valueOf(context),
                "BENCH_GENERATE", String.valueOf(generate),
                "BENCH_SEQUENCES", sequences.stream().map(String::valueOf).collect(Collectors.joining(",")));
    }

    /** Loads the model, measures each kind of work once after a warm-up, and frees it again. */
    private Map<String, Double> measure(Path path) throws InterruptedException {
        Map<String, Double> figures = new LinkedHashMap<>();
        try (TimedEngine engine = TimedEngine.open(path, config())) {
            OfflineBench bench = new OfflineBench(engine);
            bench.secondsToFirstToken(prompt);
            figures.put("prompt", prompt / bench.secondsToFirstToken(prompt));
            for (int count : sequences) {
                bench.decodeTokensPerSecond(count, context, generate);
                figures.put("decode " + count, bench.decodeTokensPerSecond(count, context, generate));
            }
        }
        return figures;
    }

    private EngineConfig config() {
        EngineConfig defaults = EngineConfig.defaults();
        int most = sequences.stream().mapToInt(Integer::intValue).max().orElseThrow();
        return EngineConfig.builder()
                .targetTokenGap(Duration.ZERO) // or a slow moment would cut prompts into smaller chunks
                .maxSequences(most)
                .maxBatchedTokens(Math.max(most, defaults.maxBatchedTokens()))
                .maxContext(Math.max(prompt, context) + generate + 1)
                .prefixCache(false)
                .maxQueuedTokens(Math.max(defaults.maxQueuedTokens(), (long) most * context))
                .kvType(kvType)
                .threads(threads.count())
                .speculation(Speculation.off())
                .build();
    }
}
