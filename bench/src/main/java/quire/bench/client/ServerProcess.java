package quire.bench.client;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.bench.measure.ChildJvm;

/**
 * The process of a server, where its sockets and its memory can be counted. A server that this class has started ends
 * with {@link #close}. Of a server that was there before, the process is looked up by its port; on another machine, or
 * for another user's process, nothing can be counted and all counts are empty. Linux only.
 */
public final class ServerProcess implements AutoCloseable {
    private static final Path PROC = Path.of("/proc");
    private static final String READY = "ready on ";
    private static final String LISTENING = "0A"; // in /proc/net/tcp
    private static final int LOCAL_COLUMN = 1;
    private static final int STATE_COLUMN = 3;
    private static final int INODE_COLUMN = 9;
    private static final int STOP_SECONDS = 30;
    private static final double MEBI = 1 << 20;
    private static final double NANO = 1e-9;

    /** Rank, instances, bytes, class. */
    private static final Pattern HISTOGRAM_ROW = Pattern.compile("\\s*\\d+:\\s+\\d+\\s+(\\d+)\\s+(.*)");

    private final ServerAddress address;
    private final long pid;
    private final @Nullable Process child;
    private final @Nullable Path log;

    private ServerProcess(ServerAddress address, long pid, @Nullable Process child, @Nullable Path log) {
        this.address = address;
        this.pid = pid;
        this.child = child;
        this.log = log;
    }

    /** The server at this address. */
    public static ServerProcess at(ServerAddress address) {
        boolean here;
        try {
            InetAddress host = InetAddress.getByName(address.host());
            here = host.isLoopbackAddress() || NetworkInterface.getByInetAddress(host) != null;
        } catch (IOException e) {
            here = false; // the first connection will say why
        }
        return new ServerProcess(address, here ? processListeningOn(address.port()) : -1, null, null);
    }

    /**
     * Starts {@code quire serve} in a JVM of its own, on any free port.
     *
     * @param arguments further arguments of {@code quire serve}
     * @param log where the server's log goes
     * @throws IOException if it does not become ready; the message has what it printed
     */
    public static ServerProcess start(List<String> arguments, Path log) throws IOException {
        List<String> all = new ArrayList<>(List.of("serve", "--port", "0"));
        all.addAll(arguments);
        Process child = ChildJvm.of(List.of(), "quire.cli.Quire", all)
                .redirectError(log.toFile())
                .start();
        // A measurement that is interrupted leaves no server behind.
        Runtime.getRuntime()
                .addShutdownHook(Thread.ofPlatform().name("stop-server").unstarted(child::destroy));
        try {
            BufferedReader out = child.inputReader(StandardCharsets.UTF_8);
            for (String line = out.readLine(); line != null; line = out.readLine()) {
                if (line.startsWith(READY)) {
                    String address = line.substring(READY.length()).split(" ", 2)[0]; // the model's name follows
                    return new ServerProcess(ServerAddress.of(address), child.pid(), child, log);
                }
            }
            throw new IOException(
                    "the server did not start: " + Files.readString(log).strip());
        } catch (IOException | RuntimeException e) {
            child.destroyForcibly();
            throw e;
        }
    }

    /** Where it listens. */
    public ServerAddress address() {
        return address;
    }

    /** Deletes the log of the server that was started here, or says on standard error where it is. */
    public void keepLog(boolean keep) throws IOException {
        if (log != null && keep) {
            System.err.println("the server's log: " + log);
        } else if (log != null) {
            Files.deleteIfExists(log);
        }
    }

    /** Whether the server still runs, as far as this can be known. */
    public boolean isAlive() {
        return child == null || child.isAlive();
    }

    /** Sockets that the process has open: connections, and the one that listens. */
    public OptionalLong openSockets() {
        Set<String> sockets = pid < 0 ? null : sockets(pid);
        return sockets == null ? OptionalLong.empty() : OptionalLong.of(sockets.size());
    }

    /** Processor time that the process has used. */
    public OptionalDouble processorSeconds() {
        return pid < 0
                ? OptionalDouble.empty()
                : ProcessHandle.of(pid).map(ServerProcess::processorSeconds).orElse(OptionalDouble.empty());
    }

    /** Processor time that a process has used. */
    public static OptionalDouble processorSeconds(ProcessHandle process) {
        return process.info()
                .totalCpuDuration()
                .map(used -> OptionalDouble.of(used.toNanos() * NANO))
                .orElse(OptionalDouble.empty());
    }

    /** Memory that the process has in RAM, in MiB. */
    public OptionalDouble residentMebibytes() {
        if (pid < 0) {
            return OptionalDouble.empty();
        }
        try (var lines = Files.lines(PROC.resolve(pid + "/status"))) {
            return lines.filter(line -> line.startsWith("VmRSS:"))
                    .mapToDouble(line -> Double.parseDouble(line.replaceAll("\\D", "")) / 1024)
                    .findFirst();
        } catch (IOException e) {
            return OptionalDouble.empty();
        }
    }

    /**
     * Objects on the heap after a full garbage collection, in MiB. The collection stops the server for a moment, so this
     * is for idle servers. Empty if the JDK's {@code jcmd} cannot reach the process.
     */
    public OptionalDouble liveHeapMebibytes() {
        if (pid < 0) {
            return OptionalDouble.empty();
        }
        try {
            Process jcmd = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "jcmd")
                                    .toString(),
                            Long.toString(pid),
                            "GC.class_histogram")
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            try (BufferedReader out = jcmd.inputReader(StandardCharsets.UTF_8)) {
                return liveMebibytes(out.lines());
            }
        } catch (IOException e) {
            return OptionalDouble.empty(); // a Java runtime without jcmd
        }
    }

    /** The sum of a class histogram, without the fillers of gaps between objects. */
    static OptionalDouble liveMebibytes(Stream<String> histogram) {
        double bytes = 0;
        boolean any = false;
        for (String line : histogram.toList()) {
            Matcher row = HISTOGRAM_ROW.matcher(line);
            if (row.matches() && !row.group(2).contains("jdk.internal.vm.Filler")) {
                bytes += Long.parseLong(row.group(1));
                any = true;
            }
        }
        return any ? OptionalDouble.of(bytes / MEBI) : OptionalDouble.empty();
    }

    /** The inodes of the open sockets of a process; null if it cannot be looked into. */
    private static @Nullable Set<String> sockets(long pid) {
        Set<String> inodes = new HashSet<>();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(PROC.resolve(pid + "/fd"))) {
            for (Path file : files) {
                String target = target(file);
                if (target.startsWith("socket:[")) {
                    inodes.add(target.substring("socket:[".length(), target.length() - 1));
                }
            }
        } catch (IOException e) {
            return null;
        }
        return inodes;
    }

    private static String target(Path link) {
        try {
            return Files.readSymbolicLink(link).toString();
        } catch (IOException e) {
            return ""; // closed since the folder was listed
        }
    }

    /** The process that listens on a port of this machine; −1 if it cannot be found. */
    private static long processListeningOn(int port) {
        Set<String> inodes = new HashSet<>();
        String suffix = String.format(Locale.ROOT, ":%04X", port);
        for (String table : List.of("tcp", "tcp6")) {
            try {
                for (String line : Files.readAllLines(PROC.resolve("net/" + table))) {
                    String[] columns = line.strip().split("\\s+", -1);
                    if (columns.length > INODE_COLUMN
                            && columns[LOCAL_COLUMN].endsWith(suffix)
                            && columns[STATE_COLUMN].equals(LISTENING)) {
                        inodes.add(columns[INODE_COLUMN]);
                    }
                }
            } catch (IOException e) {
                // no such table: another system, or no IPv6
            }
        }
        return inodes.isEmpty()
                ? -1
                : ProcessHandle.allProcesses()
                        .mapToLong(ProcessHandle::pid)
                        .filter(pid -> {
                            Set<String> sockets = sockets(pid);
                            return sockets != null && sockets.stream().anyMatch(inodes::contains);
                        })
                        .findFirst()
                        .orElse(-1);
    }

    /** Stops the server if this object has started it. */
    @Override
    public void close() {
        if (child == null) {
            return;
        }
        child.destroy();
        try {
            if (!child.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
                child.destroyForcibly();
            }
        } catch (InterruptedException e) {
            child.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}
