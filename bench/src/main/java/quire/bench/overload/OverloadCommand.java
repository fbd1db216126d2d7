package quire.bench.overload;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import quire.bench.client.ServerOption;
import quire.bench.client.ServerOption.ServedModel;
import quire.bench.client.ServerProcess;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.Range;

/** The command {@code quire bench overload}. What it measures: {@link OverloadBench}. */
@Command(
        name = "overload",
        mixinStandardHelpOptions = true,
        description = {
            "Offer a server more requests than it can answer, short and long ones.",
            "Fails if it then answers less than at its best, or late, or refuses slowly or without Retry-After.",
            "The server that it starts has --max-queue-wait " + OverloadCommand.QUEUE_SECONDS
                    + ", unless another one is given behind --."
        })
public final class OverloadCommand implements Callable<Integer> {
    /** An hour. */
    private static final int MAX_SECONDS = 3600;
    /** Of the server that this command starts: below the bounds for the first token and the end of an answer. */
    static final String QUEUE_SECONDS = "4";

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ServerOption server;

    @Option(
            names = "--levels",
            paramLabel = "X",
            split = ",",
            defaultValue = "0.5,1,2,4,10",
            description = "Offered load in multiples of the capacity (default ${DEFAULT-VALUE}).")
    private List<Double> levels;

    @Option(
            names = "--seconds",
            paramLabel = "N",
            defaultValue = "10",
            description = "Measured time of each level, after the same time to warm up (default ${DEFAULT-VALUE}).")
    private double seconds;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "1",
            description = "How often each level is measured, by turns; the bound is for the medians (default"
                    + " ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(
            names = "--clients",
            paramLabel = "N",
            defaultValue = "128",
            description =
                    "Clients that measure the capacity, each with one request at a time: more than the sequences that"
                            + " the server runs together, so that some always wait (default ${DEFAULT-VALUE}).")
    private int clients;

    @Option(
            names = "--deadline",
            paramLabel = "SECONDS",
            defaultValue = "10",
            description = "How long an answer may take, to its end, to count (default ${DEFAULT-VALUE}).")
    private double deadline;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description = "All random numbers follow from it (default ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--min-goodput",
            paramLabel = "SHARE",
            defaultValue = "0.9",
            description =
                    "Least goodput of the levels above 1, as a share of the best level's (default ${DEFAULT-VALUE}).")
    private double minGoodput;

    @Option(
            names = "--max-first-token",
            paramLabel = "SECONDS",
            defaultValue = "5",
            description = "99th percentile of the time to the first token of admitted requests (default"
                    + " ${DEFAULT-VALUE}).")
    private double maxFirstToken;

    @Option(
            names = "--max-refusal",
            paramLabel = "SECONDS",
            defaultValue = "0.5",
            description = "99th percentile of the time of a refusal (default ${DEFAULT-VALUE}).")
    private double maxRefusal;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Range.check(command, "--clients", clients, 1, 10_000);
        Range.check(command, "--rounds", rounds, 1, 1000);
        for (double level : levels) {
            if (!(level > 0)) {
                throw new IllegalArgumentException("--levels takes numbers above 0, not " + level);
            }
        }
        if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
            throw new IllegalArgumentException(
                    "--seconds takes a number above 0, at most " + MAX_SECONDS + ", not " + seconds);
        }
        if (!(deadline > 0)) {
            throw new IllegalArgumentException("--deadline takes a number above 0, not " + deadline);
        }
        RunRecord record = new RunRecord();
        record.put("seed", seed);
        record.put("clients", clients);
        record.put("seconds_a_level", seconds);
        record.put("rounds", rounds);
        record.put("deadline_seconds", deadline);
        record.putMachine();
        OverloadBench.Result result;
        try (ServerProcess process = server.open("--max-queue-wait", QUEUE_SECONDS)) {
            int context = ServedModel.of(process.address()).context();
            OverloadBench.Settings settings = new OverloadBench.Settings(clients, seconds, deadline, rounds, seed);
            OverloadBench.Limits limits = new OverloadBench.Limits(minGoodput, maxFirstToken, maxRefusal);
            result = new OverloadBench(process, context, settings).measure(levels, limits);
            process.keepLog(result.bounds().broken());
        }
        record.put("levels", result.rows());
        record.put("bounds", result.bounds().rows());
        record.put("failure", result.failure());
        output.print(record);
        return result.bounds().broken() ? 1 : 0;
    }
}
