package quire.bench.attack;

import java.io.IOException;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import quire.bench.attack.AttackBench.Limits;
import quire.bench.client.ServerOption;
import quire.bench.client.ServerProcess;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.Range;

/** The command {@code quire bench attack}. What it measures: {@link AttackBench}. */
@Command(
        name = "attack",
        mixinStandardHelpOptions = true,
        description = {
            "Attack a server with hostile clients beside honest ones, whose answers are known.",
            "Fails if an honest answer changes or comes late, if the server answers an attack wrongly, or if it keeps"
                    + " sockets, pages or memory."
        })
public final class AttackCommand implements Callable<Integer> {
    /** A day. */
    private static final int MAX_SECONDS = 86_400;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ServerOption server;

    @Option(
            names = "--seconds",
            paramLabel = "N",
            defaultValue = "60",
            description = "Time of all attacks together (default ${DEFAULT-VALUE}).")
    private int seconds;

    @Option(
            names = "--round-seconds",
            paramLabel = "N",
            defaultValue = "10",
            description = "Time between two checks of sockets, pages and memory (default ${DEFAULT-VALUE}).")
    private int roundSeconds;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description = "All random numbers follow from it (default ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--attacks",
            paramLabel = "KIND",
            split = ",",
            description = "Which attacks: vanish, abandon, slow-send, last-byte, slow-reader, idle, giant-prompt,"
                    + " malformed-json, wrong-types, extreme-values, deep-nesting, routes, pipelined, split, framing,"
                    + " large-head, random-bytes (default: all).")
    private List<String> attacks = List.of();

    @Option(
            names = "--attackers",
            paramLabel = "N",
            defaultValue = "1",
            description = "Hostile clients of each kind (default ${DEFAULT-VALUE}).")
    private int attackers;

    @Option(
            names = "--pause-millis",
            paramLabel = "N",
            defaultValue = "20",
            description = "Mean time between two attacks of a client (default ${DEFAULT-VALUE}).")
    private int pauseMillis;

    @Option(
            names = "--max-silence",
            paramLabel = "SECONDS",
            defaultValue = "0.3",
            description = "Longest time between two tokens of an honest stream (default ${DEFAULT-VALUE}).")
    private double maxSilence;

    @Option(
            names = "--max-first-token",
            paramLabel = "RATIO",
            defaultValue = "3",
            description =
                    "99th percentile of the time to the first token of small honest requests, divided by what it is"
                            + " without attacks (default ${DEFAULT-VALUE}).")
    private double maxFirstToken;

    @Option(
            names = "--max-heap-growth",
            paramLabel = "MIB",
            defaultValue = "32",
            description = "Growth of the live heap from the first round to the last (default ${DEFAULT-VALUE}).")
    private double maxHeapGrowth;

    @Option(
            names = "--max-resident-growth",
            paramLabel = "MIB",
            defaultValue = "256",
            description = "Growth of resident memory beyond the heap's, from the first round to the last (default"
                    + " ${DEFAULT-VALUE}).")
    private double maxResidentGrowth;

    @Option(
            names = "--max-sockets",
            paramLabel = "N",
            defaultValue = "0",
            description = "Sockets that may stay open after a round (default ${DEFAULT-VALUE}).")
    private int maxSockets;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Range.check(command, "--seconds", seconds, 1, MAX_SECONDS);
        Range.check(command, "--round-seconds", roundSeconds, 1, seconds);
        Range.check(command, "--attackers", attackers, 1, 1000);
        Range.check(command, "--pause-millis", pauseMillis, 0, 60_000);
        Set<AttackKind> kinds = EnumSet.noneOf(AttackKind.class);
        attacks.forEach(each -> kinds.add(AttackKind.of(each)));
        if (kinds.isEmpty()) {
            kinds.addAll(Arrays.asList(AttackKind.values()));
        }
        RunRecord record = new RunRecord();
        record.put("seed", seed);
        record.put("seconds", seconds);
        record.put(
                "attacks",
                String.join(", ", kinds.stream().map(AttackKind::label).toList()));
        record.putMachine();
        AttackBench.Result result;
        try (ServerProcess process = server.open()) {
            AttackBench.Force force = new AttackBench.Force(kinds, attackers, pauseMillis, seed);
            Limits limits = new Limits(maxSilence, maxFirstToken, maxHeapGrowth, maxResidentGrowth, maxSockets);
            result = new AttackBench(process, force, limits).measure(seconds, roundSeconds);
            process.keepLog(result.bounds().broken());
        }
        record.put("kinds", result.kinds());
        record.put("rounds", result.rounds());
        record.put("bounds", result.bounds().rows());
        record.put("faults", result.faults());
        output.print(record);
        return result.bounds().broken() ? 1 : 0;
    }
}
