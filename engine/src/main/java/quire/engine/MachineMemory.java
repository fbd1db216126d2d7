package quire.engine;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * How much memory there is for this process, and how much of it is free now.
 *
 * <pre>
 *                   in all                       free now
 *   machine         MemTotal                     MemAvailable: free pages and what the file cache can give back
 *   cgroup          its limit                    its limit − its use + its inactive file pages
 *   address space   ulimit -v                    ulimit -v − what the process has mapped
 * </pre>
 *
 * <p>The least of each column counts. A process may be in several cgroups, one within the other; versions 1 and 2 are read.
 * What this JVM uses already counts as free, because a {@link MemoryPlan} lists it in lines of its own.
 *
 * @param totalBytes memory that the process may use at most
 * @param totalOf what sets this limit, in words
 * @param availableBytes memory that the process can get now, with what it has; at most {@code totalBytes}
 * @param availableOf what sets this figure, in words
 */
public record MachineMemory(long totalBytes, String totalOf, long availableBytes, String availableOf) {
    private static final Pattern MEMINFO_LINE = Pattern.compile("(\\w+(?:\\(\\w+\\))?):\\s+(\\d{1,15})\\s*kB");
    private static final Pattern ADDRESS_SPACE = Pattern.compile("Max address space\\s+(\\d{1,18})\\s.*");

    /**
     * Checks the ranges.
     *
     * @throws IllegalArgumentException if there is no memory at all, or more of it is available than there is
     */
    public MachineMemory {
        if (totalBytes < 1 || availableBytes < 0 || availableBytes > totalBytes) {
            throw new IllegalArgumentException(
                    "a machine has at least one byte of memory, and at most all of it is available: " + availableBytes
                            + " of " + totalBytes + " bytes");
        }
    }

    /**
     * Another machine, on which nothing else runs.
     *
     * @param bytes its memory; at least 1
     */
    public static MachineMemory of(long bytes) {
        return new MachineMemory(bytes, "of a machine with nothing else on it", bytes, "all of it");
    }

    /** This machine, or the container that this process runs in. */
    public static MachineMemory here() {
        MemoryMXBean java = ManagementFactory.getMemoryMXBean();
        long committed = java.getHeapMemoryUsage().getCommitted()
                + java.getNonHeapMemoryUsage().getCommitted();
        long reserved = JavaMemory.heapLimit() + JavaMemory.codeCacheLimit();
        try {
            return read(Path.of("/"), committed, reserved);
        } catch (IOException e) {
            return fromJava(); // not Linux, or a sandbox that hides these files
        }
    }

    private static MachineMemory fromJava() {
        OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        long total = Math.max(1, system.getTotalMemorySize());
        long free = Math.clamp(system.getFreeMemorySize(), 0, total);
        return new MachineMemory(total, "of this machine, as Java says", free, "free, as Java says");
    }

    /**
     * Reads the figures from Linux's files.
     *
     * @param root {@code /}, or a folder with copies of these files
     * @param javaBytes what this JVM uses for heap, code and classes; counts as available as far as it is committed
     * @param reservedBytes address space that this JVM has reserved for heap and code
     * @throws IOException if there is no {@code proc/meminfo} or it does not say how much memory there is
     */
    static MachineMemory read(Path root, long javaBytes, long reservedBytes) throws IOException {
        Map<String, Long> machine = fields(root.resolve("proc/meminfo"));
        Long all = machine.get("MemTotal");
        if (all == null || all < 1) {
            throw new IOException("proc/meminfo has no MemTotal");
        }
        Map<String, Long> process = fields(root.resolve("proc/self/status"));
        long own = Math.min(javaBytes, process.getOrDefault("RssAnon", 0L));
        List<MachineMemory> limits = new ArrayList<>();
        limits.add(
                limit(all, "of this machine", available(machine) + own, "free on this machine, file cache included"));
        for (Group group : groups(root)) {
            group.read(all, own).ifPresent(limits::add);
        }
        addressSpace(root)
                .ifPresent(space -> limits.add(limit(
                        space,
                        "of address space (ulimit -v)",
                        space - process.getOrDefault("VmSize", 0L) + reservedBytes,
                        "not mapped yet (ulimit -v)")));
        MachineMemory total = limits.getFirst();
        MachineMemory available = limits.getFirst();
        for (MachineMemory next : limits) {
            total = next.totalBytes < total.totalBytes ? next : total;
            available = next.availableBytes < available.availableBytes ? next : available;
        }
        return limit(total.totalBytes, total.totalOf, available.availableBytes, available.availableOf);
    }

    private static MachineMemory limit(long total, String totalOf, long available, String availableOf) {
        return new MachineMemory(total, totalOf, Math.clamp(available, 0, total), availableOf);
    }

    /** MemAvailable; older kernels than 3.14 do not have it. */
    private static long available(Map<String, Long> meminfo) {
        Long available = meminfo.get("MemAvailable");
        return available != null
                ? available
                : meminfo.getOrDefault("MemFree", 0L)
                        + meminfo.getOrDefault("Inactive(file)", 0L)
                        + meminfo.getOrDefault("SReclaimable", 0L);
    }

    private static OptionalLong addressSpace(Path root) {
        for (String line : lines(root.resolve("proc/self/limits"))) {
            Matcher matcher = ADDRESS_SPACE.matcher(line);
            if (matcher.matches()) {
                return OptionalLong.of(Math.max(1, Long.parseLong(matcher.group(1))));
            }
        }
        return OptionalLong.empty(); // unlimited
    }

    /** The lines {@code name: number kB} of a file, in bytes; none if the file is missing. */
    private static Map<String, Long> fields(Path file) {
        Map<String, Long> fields = new HashMap<>();
        for (String line : lines(file)) {
            Matcher matcher = MEMINFO_LINE.matcher(line.strip());
            if (matcher.matches()) {
                fields.put(matcher.group(1), Long.parseLong(matcher.group(2)) << 10);
            }
        }
        return fields;
    }

    /** The lines of a file; none if it is missing or the process may not read it. */
    private static List<String> lines(Path file) {
        try {
            return Files.readAllLines(file);
        } catch (IOException e) {
            return List.of();
        }
    }

    // ── cgroups ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /**
     * The cgroups of this process, and all those around them. A container may see its own cgroup as the root, whatever
     * path {@code proc/self/cgroup} names; so the folders on the path may be missing.
     */
    private static List<Group> groups(Path root) {
        Path mount = root.resolve("sys/fs/cgroup").normalize();
        List<Group> groups = new ArrayList<>();
        for (String line : lines(root.resolve("proc/self/cgroup"))) {
            String[] parts = line.split(":", 3); // number:controllers:path
            if (parts.length < 3) {
                continue;
            }
            String path = parts[2].replaceFirst("^/+", "");
            if (parts[1].isEmpty()) {
                addGroups(mount, path, Version.TWO, groups);
                addGroups(mount.resolve("unified"), path, Version.TWO, groups);
            } else if (List.of(parts[1].split(",")).contains("memory")) {
                addGroups(mount.resolve("memory"), path, Version.ONE, groups);
            }
        }
        return groups;
    }

    private static void addGroups(Path mount, String path, Version version, List<Group> groups) {
        Path folder = mount.resolve(path).normalize();
        for (; folder != null && folder.startsWith(mount); folder = folder.getParent()) {
            groups.add(new Group(folder, version));
        }
    }

    /** The names of the files of a cgroup. */
    private enum Version {
        ONE("memory.limit_in_bytes", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        /** Above {@code memory.high} the kernel slows a process down until it is useless. */
        TWO("memory.max", "memory.high", "memory.current", "inactive_file");

        private final String hardLimit;
        private final String softLimit;
        private final String use;
        private final String inactiveFile;

        Version(String hardLimit, String softLimit, String use, String inactiveFile) {
            this.hardLimit = hardLimit;
            this.softLimit = softLimit;
            this.use = use;
            this.inactiveFile = inactiveFile;
        }
    }

    private record Group(Path folder, Version version) {
        /** The limit of this cgroup and what is left of it; empty if it has none below the machine's memory. */
        Optional<MachineMemory> read(long machineBytes, long own) {
            long limit = machineBytes;
            String file = "";
            for (String name : List.of(version.hardLimit, version.softLimit)) {
                long value = number(name).orElse(machineBytes); // "max" is no number
                if (value < limit) {
                    limit = value;
                    file = name;
                }
            }
            if (limit == machineBytes) {
                return Optional.empty();
            }
            long inactive = 0;
            for (String line : lines(folder.resolve("memory.stat"))) {
                String[] words = line.split(" ", 2);
                if (words.length == 2 && words[0].equals(version.inactiveFile)) {
                    inactive = parse(words[1]).orElse(0);
                }
            }
            long available = limit - number(version.use).orElse(0) + inactive + own;
            return Optional.of(limit(
                    Math.max(1, limit),
                    "of this container (" + file + ")",
                    available,
                    "free in this container, file cache included"));
        }

        private OptionalLong number(String name) {
            List<String> lines = lines(folder.resolve(name));
            return lines.isEmpty() ? OptionalLong.empty() : parse(lines.getFirst());
        }

        /** A number, if the text is one; numbers beyond a long are no limit. */
        private static OptionalLong parse(String text) {
            try {
                return OptionalLong.of(Long.parseLong(text.strip()));
            } catch (NumberFormatException e) {
                return OptionalLong.empty();
            }
        }
    }
}
