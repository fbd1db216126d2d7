package quire.server;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Numbers of this process, under the names that Prometheus' libraries give them in every language. What the JDK does not
 * know comes from {@code /proc}, and is left out where there is none.
 */
final class ProcessMetrics {
    private static final Path PROC = Path.of("/proc/self");
    private static final int LIMIT_WORDS = 3;

    private ProcessMetrics() {}

    static void write(MetricsText text) {
        ProcessHandle.Info info = ProcessHandle.current().info();
        info.startInstant()
                .ifPresent(start -> text.gauge(
                        "process_start_time_seconds",
                        "When the process started, in seconds since 1970.",
                        start.toEpochMilli() * 1e-3));
        info.totalCpuDuration()
                .ifPresent(time ->
                        text.counter("process_cpu_seconds_total", "CPU time of all threads.", time.toNanos() * 1e-9));
        try {
            writeFiles(text);
        } catch (IOException | UncheckedIOException e) {
            // no /proc, or not this process' own: the numbers are of use, and never a reason to fail
        }
    }

    private static void writeFiles(MetricsText text) throws IOException {
        List<String> status = Files.readAllLines(PROC.resolve("status"));
        memory(status, "VmRSS:", "process_resident_memory_bytes", "Memory of the process that is in RAM.", text);
        memory(status, "VmSize:", "process_virtual_memory_bytes", "Addresses that the process has.", text);
        try (Stream<Path> open = Files.list(PROC.resolve("fd"))) {
            text.gauge("process_open_fds", "Open files and sockets.", (double) open.count());
        }
        String limit = word(Files.readAllLines(PROC.resolve("limits")), "Max open files", LIMIT_WORDS);
        if (limit != null && !limit.equals("unlimited")) {
            text.gauge("process_max_fds", "Files and sockets that may be open.", (double) Long.parseLong(limit));
        }
    }

    private static void memory(List<String> status, String key, String name, String help, MetricsText text) {
        String kibibytes = word(status, key, 1);
        if (kibibytes != null) {
            text.gauge(name, help, (double) (Long.parseLong(kibibytes) << 10));
        }
    }

    /** A word of the line that begins like this; null if there is no such line. */
    private static @Nullable String word(List<String> lines, String begin, int index) {
        return lines.stream()
                .filter(line -> line.startsWith(begin))
                .map(line -> line.split("\\s+", -1)[index])
                .findFirst()
                .orElse(null);
    }
}
