package quire.bench.files;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import quire.bench.measure.Bounds;
import quire.bench.measure.ChildJvm;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.Range;

/**
 * The command {@code quire bench attack-files}. Child processes try damaged files, some thousand each. When one crashes or
 * hangs, the file's seed is a fault, and the next child goes on behind it.
 */
@Command(
        name = "attack-files",
        mixinStandardHelpOptions = true,
        description = {
            "Open damaged model files, and compute a step with those that open, on every kernel set.",
            "Fails if a file crashes or hangs the JVM, takes more memory than a small model needs, or gets an error that is"
                    + " not one line. The same seed is always the same file."
        })
public final class FileAttackCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--files",
            paramLabel = "N",
            defaultValue = "100000",
            description = "How many files (default ${DEFAULT-VALUE}).")
    private long files;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "The first file; the next ones are N+1, N+2 and so on (default ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--group",
            paramLabel = "N",
            defaultValue = "5000",
            description = "Files that one child process tries (default ${DEFAULT-VALUE}).")
    private long group;

    @Option(
            names = "--max-seconds",
            paramLabel = "S",
            defaultValue = "5",
            description = "Processor time that a file may take (default ${DEFAULT-VALUE}).")
    private double maxSeconds;

    @Option(
            names = "--max-memory",
            paramLabel = "MIB",
            defaultValue = "256",
            description =
                    "Memory that a child may use beyond what valid files need (default ${DEFAULT-VALUE}). Its heap has"
                            + " at most 256 MiB.")
    private long maxMebibytes;

    @Option(
            names = "--keep",
            paramLabel = "FILE",
            description =
                    "Write the file of --seed here, or its several files beside it. Print the one to open, and try nothing.")
    private @Nullable Path keep;

    @Mixin
    private RecordOutput output;

    private final List<String> faults = new ArrayList<>();
    private String kernels = "";
    private long refused;
    private long ran;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Range.check(command, "--files", files, 1, Long.MAX_VALUE);
        Range.check(command, "--seed", seed, 0, Long.MAX_VALUE);
        Range.check(command, "--group", group, 1, Long.MAX_VALUE);
        Range.check(command, "--max-memory", maxMebibytes, 1, Long.MAX_VALUE);
        if (keep != null) {
            System.out.println(FileMutants.write(FileWorker.mutants().of(seed), keep));
            return 0;
        }
        long begin = System.nanoTime();
        Path folder = Files.createTempDirectory("quire-files-");
        try {
            long next = seed;
            while (next < seed + files) {
                next = child(next, Math.min(group, seed + files - next), folder);
            }
        } finally {
            try (var left = Files.list(folder)) {
                for (Path each : left.toList()) {
                    Files.delete(each);
                }
            }
            Files.delete(folder);
        }
        return report((System.nanoTime() - begin) * 1e-9);
    }

    private int report(double seconds) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("first_seed", seed);
        row.put("files", files);
        row.put("refused", refused);
        row.put("ran", ran);
        row.put("faults", faults.size());
        row.put("seconds", seconds);
        Bounds bounds = new Bounds().atMost("files that are faults", faults.size(), 0);
        RunRecord record = new RunRecord();
        record.put("kernels", kernels);
        record.putMachine();
        record.put("files", List.of(row));
        record.put("bounds", bounds.rows());
        record.put("faults", faults);
        output.print(record);
        return bounds.broken() ? 1 : 0;
    }

    /** Tries files in a child process, and returns the seed that comes next: behind a file that ended the process. */
    private long child(long first, long count, Path folder) throws IOException, InterruptedException {
        Path errors = folder.resolve("errors");
        Process process = ChildJvm.of(
                        List.of(
                                "-Xmx256m",
                                "-XX:-ExitOnOutOfMemoryError",
                                "--add-modules=jdk.incubator.vector",
                                "-Dquire.log=ERROR",
                                "-XX:ErrorFile=" + folder.resolve("crash")),
                        FileWorker.class.getName(),
                        List.of(
                                Long.toString(first),
                                Long.toString(count),
                                Double.toString(maxSeconds),
                                Long.toString(maxMebibytes),
                                folder.resolve("mutant.gguf").toString()))
                .redirectError(errors.toFile())
                .start();
        FileProgress progress = new FileProgress(first);
        try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                progress.accept(line);
            }
        } finally {
            process.destroyForcibly();
        }
        int code = process.waitFor();
        if (!progress.begun()) {
            throw new IOException("a child process ended before its first file: " + progress.printed()
                    + Files.readString(errors).strip());
        }
        if (progress.open()) {
            progress.crashed("the JVM ended with code " + code + ": " + crash(folder));
        }
        kernels = progress.kernels();
        refused += progress.refused();
        ran += progress.ran();
        faults.addAll(progress.faults());
        return progress.next();
    }

    /** Where a JVM crashed. */
    private static String crash(Path folder) throws IOException {
        Path file = folder.resolve("crash");
        if (!Files.exists(file)) {
            return "no error file";
        }
        try (var lines = Files.lines(file)) {
            return String.join(
                    " ",
                    lines.filter(line -> line.startsWith("#")
                                    || line.startsWith("C ")
                                    || line.startsWith("j ")
                                    || line.startsWith("J "))
                            .limit(20)
                            .toList());
        } finally {
            Files.delete(file);
        }
    }
}
