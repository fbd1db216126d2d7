package quire.bench.speculation;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.report.RunRecord;
import quire.bench.speculation.SpeculationBench.Part;
import quire.cli.option.ModelOption;
import quire.cli.option.ThreadsOption;
import quire.model.BuiltInModel;
import quire.tensor.machine.KernelSets;

/** The command {@code quire bench speculation}. What it measures: {@link SpeculationBench}. */
@Command(
        name = "speculation",
        mixinStandardHelpOptions = true,
        description = "Measure speculative decoding: tables and charts in one HTML page.")
public final class SpeculationCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(
            names = "--draft",
            paramLabel = "FILE",
            description = "The draft model (default: none; the built-in model has its own).")
    private @Nullable Path draft;

    @Option(
            names = "--out",
            paramLabel = "DIR",
            required = true,
            description = "The folder for speculation.html and speculation.json.")
    private Path out;

    @Option(
            names = "--parts",
            paramLabel = "PART",
            split = ",",
            defaultValue = "costs,curve,tasks,load,rules",
            description = "What to measure (default ${DEFAULT-VALUE}).")
    private List<String> parts;

    @Option(
            names = "--add",
            description = "Keep the results of earlier runs in DIR, and replace those that are measured again.")
    private boolean add;

    @Option(
            names = "--loads",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,2,4,8,16,32,64",
            description = "Numbers of sequences at the same time, at most 64 (default ${DEFAULT-VALUE}).")
    private List<Integer> loads;

    @Option(
            names = "--acceptances",
            paramLabel = "A",
            split = ",",
            defaultValue = "0,0.3,0.6,0.8,0.9,1",
            description = "Probabilities with which a draft token of the oracle is right (default ${DEFAULT-VALUE}).")
    private List<Double> acceptances;

    @Option(
            names = "--lengths",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,2,4,8",
            description = "Numbers of draft tokens for the comparison with theory (default ${DEFAULT-VALUE}).")
    private List<Integer> lengths;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            defaultValue = "256",
            description = "Maximum tokens of an answer; slow models give shorter ones (default ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(
            names = "--seconds",
            paramLabel = "S",
            defaultValue = "3",
            description = "Minimum time of each case (default ${DEFAULT-VALUE}).")
    private double seconds;

    @Option(
            names = "--quick",
            description = "Few cases of half a second each: a trial run, whose figures are not reliable.")
    private boolean quick;

    @Mixin
    private ThreadsOption threads;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Set<Part> chosen = checkOptions();
        Path modelFile = model.path();
        Path draftFile = draft == null && model.isBuiltIn() ? BuiltInModel.QUIRE_TINY_DRAFT.path() : draft;
        Files.createDirectories(out);
        Path json = out.resolve("speculation.json");
        RunRecord record = add && Files.exists(json) ? RunRecord.read(Files.readString(json)) : new RunRecord();
        record.put("model", String.valueOf(modelFile.getFileName()));
        record.put("draft", draftFile == null ? "none" : String.valueOf(draftFile.getFileName()));
        record.put("kernels", KernelSets.best().name());
        record.put("threads", threads.count());
        record.put("tokens_an_answer", tokens);
        record.putMachine();
        SpeculationBench.Cases cases = new SpeculationBench.Cases(loads, acceptances, lengths, tokens, seconds);
        new SpeculationBench(modelFile, draftFile, threads.count(), cases).measure(chosen, record, this::save);
        System.out.println(out.resolve("speculation.html"));
        return 0;
    }

    private void save(RunRecord record) throws IOException {
        Files.writeString(out.resolve("speculation.json"), record.json());
        Files.writeString(out.resolve("speculation.html"), SpeculationPage.of(record));
    }

    private Set<Part> checkOptions() {
        if (quick) {
            seconds = 0.5;
            loads = List.of(1, 8, 64);
            acceptances = List.of(0.0, 0.8, 1.0);
            lengths = List.of(1, 4);
        }
        for (int load : loads) {
            if (load < 1 || load > SpeculationBench.MAX_SEQUENCES) {
                throw new IllegalArgumentException(
                        "--loads takes numbers from 1 to " + SpeculationBench.MAX_SEQUENCES + ", not " + load);
            }
        }
        for (double acceptance : acceptances) {
            if (!(acceptance >= 0 && acceptance <= 1)) {
                throw new IllegalArgumentException("--acceptances takes numbers from 0 to 1, not " + acceptance);
            }
        }
        if (tokens < SpeculationBench.MIN_TOKENS) {
            throw new IllegalArgumentException(
                    "--tokens takes a number from " + SpeculationBench.MIN_TOKENS + ", not " + tokens);
        }
        if (!(seconds > 0)) {
            throw new IllegalArgumentException("--seconds takes a number above 0, not " + seconds);
        }
        Set<Part> chosen = EnumSet.noneOf(Part.class);
        for (String part : parts) {
            try {
                chosen.add(Part.valueOf(part.toUpperCase(Locale.ROOT)));
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException("--parts takes costs, curve, tasks, load and rules, not " + part, e);
            }
        }
        return chosen;
    }
}
