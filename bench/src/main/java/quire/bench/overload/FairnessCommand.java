package quire.bench.overload;

import java.io.IOException;
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

/** The command {@code quire bench fairness}. What it measures: {@link FairnessBench}. */
@Command(
        name = "fairness",
        mixinStandardHelpOptions = true,
        description = {
            "Measure the time to the first token of one tenant's short requests beside long ones that another has queued.",
            "Fails if it is too long. The server that it starts takes requests however long they will wait."
        })
public final class FairnessCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ServerOption server;

    @Option(
            names = "--queued",
            paramLabel = "N",
            defaultValue = "600",
            description = "Long requests of the other tenant, at any time (default ${DEFAULT-VALUE}).")
    private int queued;

    @Option(
            names = "--requests",
            paramLabel = "N",
            defaultValue = "200",
            description = "Short requests, one after another, alone and beside these (default ${DEFAULT-VALUE}).")
    private int requests;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description = "All random numbers follow from it (default ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--max-ratio",
            paramLabel = "X",
            defaultValue = "3",
            description =
                    "99th percentile of the time to the first token beside the other tenant, in multiples of alone"
                            + " (default ${DEFAULT-VALUE}).")
    private double maxRatio;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Range.check(command, "--queued", queued, 1, 10_000);
        Range.check(command, "--requests", requests, 1, 1_000_000);
        RunRecord record = new RunRecord();
        record.put("seed", seed);
        record.put("queued", queued);
        record.putMachine();
        FairnessBench.Result result;
        try (ServerProcess process = server.open("--max-queue-wait", "0")) {
            int context = ServedModel.of(process.address()).context();
            FairnessBench.Settings settings = new FairnessBench.Settings(queued, requests, seed);
            result = new FairnessBench(process.address(), context, settings).measure(maxRatio);
            process.keepLog(result.bounds().broken());
        }
        record.put("tenants", result.rows());
        record.put("bounds", result.bounds().rows());
        output.print(record);
        return result.bounds().broken() ? 1 : 0;
    }
}
