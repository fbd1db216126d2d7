package quire.bench.reproduce;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import quire.bench.report.HtmlPage;
import quire.bench.report.RunRecord;
import quire.cli.option.KernelsOption;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.tensor.machine.KernelSets;

/** The command {@code quire bench reproduce}: published results, measured in one engine, as one page. */
@Command(
        name = "reproduce",
        mixinStandardHelpOptions = true,
        description = "Reproduce published results in one engine: tables and charts in one HTML page.")
public final class ReproduceCommand implements Callable<Integer> {
    private static final String ALL = "all";
    private static final int QUICK_REQUESTS = 24;
    private static final int MAX_REQUESTS = 1024; // as many as an engine queues
    private static final int MIN_PROMPT = 64;

    private static final Map<String, Reproduction> NAME_TO_REPRODUCTION = new LinkedHashMap<>();

    static {
        NAME_TO_REPRODUCTION.put("continuous-batching", ContinuousBatching::report);
        NAME_TO_REPRODUCTION.put("paging", Paging::report);
        NAME_TO_REPRODUCTION.put("flash-attention", FlashAttention::report);
        NAME_TO_REPRODUCTION.put("chunked-prefill", ChunkedPrefill::report);
        NAME_TO_REPRODUCTION.put("prefix-caching", PrefixCaching::report);
        NAME_TO_REPRODUCTION.put("memory", setup -> MemorySum.report());
    }

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Parameters(
            paramLabel = "NAME",
            arity = "0..*",
            defaultValue = ALL,
            description =
                    "What to reproduce: all (the default), or some of continuous-batching, paging, flash-attention,"
                            + " chunked-prefill, prefix-caching and memory.")
    private List<String> names;

    @Mixin
    private ModelOption model;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    @Option(
            names = "--out",
            paramLabel = "DIR",
            required = true,
            description = "The folder for reproduce.html and reproduce.json.")
    private Path out;

    @Option(
            names = "--add",
            description = "Keep the results of earlier runs in DIR, and replace those that are measured again.")
    private boolean add;

    @Option(
            names = "--requests",
            paramLabel = "N",
            defaultValue = "128",
            description = "Requests of each workload, 1 to " + MAX_REQUESTS + " (default ${DEFAULT-VALUE}).")
    private int requests;

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "2048",
            description =
                    "Tokens of a long prompt, at least 64 (default ${DEFAULT-VALUE}); at most three quarters of the"
                            + " model's context are used.")
    private int prompt;

    @Option(
            names = "--quick",
            description = "Small workloads, less than a minute with the built-in model: a trial run, whose figures are"
                    + " not reliable.")
    private boolean quick;

    @Mixin
    private ThreadsOption threads;

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (requests < 1 || requests > MAX_REQUESTS) {
            throw new IllegalArgumentException(
                    "--requests takes a number from 1 to " + MAX_REQUESTS + ", not " + requests);
        }
        for (String name : names) {
            if (!name.equals(ALL) && !NAME_TO_REPRODUCTION.containsKey(name)) {
                throw new IllegalArgumentException("NAME is one of " + ALL + ", "
                        + String.join(", ", NAME_TO_REPRODUCTION.keySet()) + ", not " + name);
            }
        }
        if (prompt < MIN_PROMPT) {
            throw new IllegalArgumentException("--prompt takes a number from " + MIN_PROMPT + ", not " + prompt);
        }
        Path file = model.path();
        Setup setup = new Setup(
                file,
                threads.count(),
                quick,
                quick ? Math.min(requests, QUICK_REQUESTS) : requests,
                Math.min(prompt, Setup.context(file) * 3 / 4));
        Files.createDirectories(out);
        Path json = out.resolve("reproduce.json");
        RunRecord record = add && Files.exists(json) ? RunRecord.read(Files.readString(json)) : new RunRecord();
        for (String name : NAME_TO_REPRODUCTION.keySet()) {
            if (names.contains(name) || names.contains(ALL)) {
                System.err.println(name);
                RunRecord report = new RunRecord(
                        NAME_TO_REPRODUCTION.get(name).report(setup).values());
                report.put("model", String.valueOf(setup.model().getFileName()));
                report.put("command", commandLine());
                report.put("kernels", KernelSets.best().name());
                report.put("threads", threads.count());
                report.putMachine();
                record.put(name, report.values());
                Files.writeString(json, record.json()); // a run that is interrupted leaves what it has measured
                Files.writeString(out.resolve("reproduce.html"), page(record));
                System.out.print(Report.text(report.values()));
            }
        }
        System.out.println("\n" + out.resolve("reproduce.html"));
        return 0;
    }

    private String commandLine() {
        return "quire "
                + String.join(" ", command.root().commandLine().getParseResult().originalArgs());
    }

    /** The reports of a record in the order of the list above, however they got into it. */
    static String page(RunRecord record) {
        HtmlPage page = new HtmlPage("Published results", "Published results, reproduced in one engine");
        page.paragraph(
                "One engine, one set of kernels, one KV memory: what differs between the rows of a table is named"
                        + " there. What is simulated or computed and not measured is marked so.");
        for (String name : NAME_TO_REPRODUCTION.keySet()) {
            Map<String, Object> report = record.row(name);
            if (report != null) {
                Report.addTo(page, report);
                page.paragraph("<small><code>" + HtmlPage.escape(report.get("command")) + "</code><br>"
                        + HtmlPage.escape(report.get("model")) + "; " + HtmlPage.escape(report.get("cpu")) + "; "
                        + HtmlPage.escape(report.get("machine")) + "; kernels " + HtmlPage.escape(report.get("kernels"))
                        + "; " + HtmlPage.escape(report.get("threads")) + " threads; commit "
                        + HtmlPage.escape(report.get("commit")) + "</small>");
            }
        }
        return page.html();
    }
}
