package quire.bench.files;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/**
 * The child process that tries files, so that a crash of the JVM is seen. It prints a line before each file and one after
 * it, with the seed:
 *
 * <pre>
 *   begin 17 │ refused 17 │ begin 18 │ ran 18 │ begin 19 │ fault 19 java.lang.… │ …      a crash: no line after begin
 * </pre>
 */
final class FileWorker {
    /** Commands take longer than the classes behind them, so they get one seed of so many. */
    private static final int INSPECT_EVERY = 20;

    /** One valid file of so many is also cut into parts and inspected in the warm-up; also the last one. */
    private static final int WARM_UP_EVERY = 10;

    private static final long NANOS = 1_000_000_000L;
    private static final long WATCH_MILLIS = 100;
    private static final int HUNG = 70;

    /** Waiting for nothing, without using a processor: longer than any pause on a busy machine. */
    private static final long MAX_WAIT_NANOS = 120 * NANOS;

    private static final Path STATUS = Path.of("/proc/self/status");

    private final FileMutants mutants = mutants();
    private final PrintStream out;

    private volatile long seed;
    private volatile long cpuNanosAtBegin;
    private volatile long nanosAtBegin;

    private FileWorker(PrintStream out) {
        this.out = out;
    }

    /** Arguments: the first seed, the number of seeds, seconds of work for a file, MiB of memory, the file to write. */
    public static void main(String[] args) throws IOException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        new FileWorker(out)
                .run(
                        Long.parseLong(args[0]),
                        Long.parseLong(args[1]),
                        Double.parseDouble(args[2]),
                        Long.parseLong(args[3]),
                        Path.of(args[4]));
        System.exit(0);
    }

    private void run(long first, long count, double maxSeconds, long maxMebibytes, Path path) throws IOException {
        try (FileTrial trial = new FileTrial()) {
            out.println("kernels " + String.join(",", trial.kernelSets()));
            warmUp(trial, path);
            long memory = peakMebibytes();
            Thread main = Thread.currentThread();
            begin(first);
            Thread.ofPlatform().daemon().name("watchdog").start(() -> watch(main, (long) (maxSeconds * NANOS)));
            for (long number = first; number < first + count; number++) {
                Path file = FileMutants.write(mutants.of(number), path);
                begin(number);
                out.println("begin " + number);
                out.println(attempt(trial, file, number));
                long peak = peakMebibytes();
                if (peak > memory + maxMebibytes) {
                    out.println("fault " + number + " resident memory grew to " + peak + " MiB, from " + memory);
                    memory = peak;
                }
            }
        }
    }

    /** Valid files must compute; they also load and compile the code, so that the memory of that does not count. */
    private static void warmUp(FileTrial trial, Path path) throws IOException {
        List<GgufParts> all = new ArrayList<>(SoundModels.small());
        all.addAll(SoundModels.builtIn());
        for (int i = 0; i < all.size(); i++) {
            GgufParts parts = all.get(i);
            Files.write(path, parts.toBytes());
            if (!trial.run(path)) {
                throw new IllegalStateException("a valid file is refused");
            }
            if (i % WARM_UP_EVERY > 0 && i < all.size() - 1) {
                continue; // parts and commands are alike for all types
            }
            FileTrial.inspect(path);
            Path part = FileMutants.write(
                    parts.split(2).stream().map(GgufParts::toBytes).toList(), path);
            if (!trial.run(part)) {
                throw new IllegalStateException("a valid file in two parts is refused");
            }
        }
    }

    /** All mutants. */
    static FileMutants mutants() {
        return new FileMutants(SoundModels.small(), SoundModels.builtIn());
    }

    private void begin(long number) {
        seed = number;
        nanosAtBegin = System.nanoTime();
        cpuNanosAtBegin = cpuNanos();
    }

    /** The line for a file. */
    private static String attempt(FileTrial trial, Path path, long number) {
        try {
            boolean ran = trial.run(path);
            if (number % INSPECT_EVERY == 0) {
                FileTrial.inspect(path);
            }
            return (ran ? "ran " : "refused ") + number;
        } catch (RuntimeException | Error e) {
            return "fault " + number + " " + describe(e);
        }
    }

    private static String describe(Throwable e) {
        return (e + " at "
                        + Arrays.stream(e.getStackTrace())
                                .filter(frame -> frame.getClassName().startsWith("quire."))
                                .limit(4)
                                .map(StackTraceElement::toString)
                                .collect(Collectors.joining(" < ")))
                .replaceAll("\\R", "\\\\n");
    }

    /** Ends the process when a file takes too much work, or waits for something that never comes. */
    private void watch(Thread main, long maxNanos) {
        while (true) {
            try {
                Thread.sleep(WATCH_MILLIS);
            } catch (InterruptedException e) {
                return;
            }
            long worked = cpuNanos() - cpuNanosAtBegin;
            long waited = System.nanoTime() - nanosAtBegin;
            if ((worked > maxNanos && waited > maxNanos) || waited > MAX_WAIT_NANOS) {
                out.println("fault " + seed + " more than "
                        + (worked > maxNanos
                                ? maxNanos / NANOS + " s of work"
                                : MAX_WAIT_NANOS / NANOS + " s of waiting")
                        + ", at "
                        + Arrays.stream(main.getStackTrace())
                                .limit(12)
                                .map(StackTraceElement::toString)
                                .collect(Collectors.joining(" < ")));
                Runtime.getRuntime().halt(HUNG);
            }
        }
    }

    /** Processor time of this process. */
    private static long cpuNanos() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    /** The most memory that this process had in RAM; 0 where it cannot be read. */
    private static long peakMebibytes() {
        try {
            for (String line : Files.readAllLines(STATUS)) {
                if (line.startsWith("VmHWM:")) {
                    return Long.parseLong(line.replaceAll("\\D", "")) >> 10;
                }
            }
        } catch (IOException e) {
            return 0; // no such file on this system
        }
        return 0;
    }
}
