package quire.tensor.machine;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import quire.tensor.Workers;
import quire.tensor.assembled.CeilingCode;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.memory.ReservedMemory;
import quire.tensor.vector.Lanes;
import quire.tensor.vector.VectorCeilings;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCode;

/**
 * The highest speeds of this machine, measured on a team of workers. Compare a kernel's speed only with ceilings that
 * were measured in the same minute, because machines are shared and their speed changes. Machine code with the kernels'
 * instructions measures them, so no kernel can be faster. The Vector API measures them if no machine code can run.
 *
 * @param threads number of workers that ran together
 * @param readBandwidthBytesPerSecond streaming reads from native memory, on huge pages if available, with the kernels'
 *     prefetch: the best of one, two and four streams for each worker
 * @param f32MacsPerSecond f32 fused multiply-adds on registers
 * @param int8MacsPerSecond multiply-adds of 8-bit activations on registers
 * @param int8Path the instructions of {@code int8MacsPerSecond}: {@code vpdpbusd zmm}, {@code vpdpbusd ymm}, {@code
 *     vpmaddubsw ymm} (summed in 16 bits, then in 32), or {@code int16}, a product and an addition, because the Vector
 *     API has no int8 dot product
 */
public record MachineCeilings(
        int threads,
        double readBandwidthBytesPerSecond,
        double f32MacsPerSecond,
        double int8MacsPerSecond,
        String int8Path) {
    private static final long LEAST_READ_BYTES = 256L << 20;
    /** Of a memory this many times as large as the last cache, little is in the cache when it is read again. */
    private static final int CACHES = 8;

    private static final Path CACHE_FOLDER = Path.of("/sys/devices/system/cpu/cpu0/cache");
    private static final int MEMORY_SHARE = 16;

    /** Set by tests that need any speeds, not the highest ones. */
    private static final boolean QUICK = Boolean.getBoolean("quire.ceilings.quick");

    private static final long SETTLED_NANOS = QUICK ? 20_000_000 : 700_000_000;

    private static final long LONGEST_NANOS = 3_000_000_000L;
    private static final int ITERATIONS = 200_000;

    /** Receives results, so that the compiler does not remove the loops. */
    private static volatile long sink;

    /**
     * Measures on all of {@code workers}. Takes 3 to 20 seconds, and native memory of 256 MiB, or of eight times the last cache
     * if that is more, but at most a sixteenth of the machine's memory.
     */
    public static MachineCeilings measure(Workers workers) {
        Instructions instructions = KernelSets.instructions();
        return instructions == null ? measureVector(workers) : measureAssembled(workers, instructions);
    }

    private static MachineCeilings measureAssembled(Workers workers, Instructions instructions) {
        CodeMemory code = new CodeMemory();
        int threads = workers.count();
        double read = 0;
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = touched(arena, workers);
            for (int streams = 1; streams <= CeilingCode.MAX_STREAMS; streams *= 2) {
                MethodHandle loop = handle(code, CeilingCode.read(instructions, streams), CeilingCode.READ);
                read = Math.max(read, read(workers, memory, loop, streams));
            }
        }
        double f32 = iterations(workers, handle(code, CeilingCode.f32(instructions), CeilingCode.COMPUTE));
        double int8 = iterations(workers, handle(code, CeilingCode.int8(instructions), CeilingCode.COMPUTE));
        return new MachineCeilings(
                threads,
                read,
                f32 * threads * CeilingCode.f32Macs(instructions),
                int8 * threads * CeilingCode.int8Macs(instructions),
                CeilingCode.int8Name(instructions));
    }

    /** Measures with the Vector API. */
    static MachineCeilings measureVector(Workers workers) {
        int threads = workers.count();
        double read;
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = touched(arena, workers);
            read = best(workers, worker -> {
                long bytes = memory.byteSize();
                sink = VectorCeilings.readAll(memory, start(bytes, worker, threads), start(bytes, worker + 1, threads));
            });
            read *= memory.byteSize();
        }
        double f32 = best(workers, worker -> {
            sink = (long) VectorCeilings.multiplyAddF32(ITERATIONS, 0.999f);
        });
        double int8 = best(workers, worker -> {
            sink = VectorCeilings.multiplyAddInt16(ITERATIONS, (short) 3);
        });
        return new MachineCeilings(
                threads,
                read,
                f32 * threads * ITERATIONS * 12.0 * Lanes.LANES,
                int8 * threads * ITERATIONS * 12.0 * 2 * Lanes.LANES,
                "int16");
    }

    /** Committed memory; each worker has written the share that it will read. */
    private static MemorySegment touched(Arena arena, Workers workers) {
        long bytes = QUICK ? LEAST_READ_BYTES : readBytes(lastCacheBytes(CACHE_FOLDER), machineMemory());
        MemorySegment memory = ReservedMemory.allocate(arena, bytes);
        int threads = workers.count();
        workers.run(worker -> {
            long from = start(bytes, worker, threads);
            memory.asSlice(from, start(bytes, worker + 1, threads) - from).fill((byte) 1);
        });
        return memory;
    }

    /**
     * How much memory is read. A smaller one would be in the cache in part, and a read from there is not bound by memory.
     *
     * @param cacheBytes size of the last cache; 0 if not known
     * @param memoryBytes size of the machine's memory
     */
    static long readBytes(long cacheBytes, long memoryBytes) {
        return Math.max(LEAST_READ_BYTES, Math.min(CACHES * cacheBytes, memoryBytes / MEMORY_SHARE))
                & -LEAST_READ_BYTES;
    }

    /** Size of the largest cache of a processor, as Linux lists them; 0 if they are not listed. */
    static long lastCacheBytes(Path folder) {
        long largest = 0;
        for (int i = 0; Files.isReadable(folder.resolve("index" + i).resolve("size")); i++) {
            try {
                String size = Files.readString(folder.resolve("index" + i).resolve("size"))
                        .strip();
                largest = Math.max(
                        largest, size.endsWith("K") ? Long.parseLong(size, 0, size.length() - 1, 10) << 10 : 0);
            } catch (IOException | NumberFormatException e) {
                return largest; // what the others say is enough
            }
        }
        return largest;
    }

    private static long machineMemory() {
        return ManagementFactory.getOperatingSystemMXBean() instanceof OperatingSystemMXBean system
                ? system.getTotalMemorySize()
                : 0;
    }

    private static MethodHandle handle(CodeMemory memory, MachineCode code, FunctionDescriptor descriptor) {
        return Linker.nativeLinker().downcallHandle(memory.install("ceiling", code), descriptor);
    }

    /** Bytes per second that the workers read. Each reads its share of the memory as {@code streams} equal parts. */
    private static double read(Workers workers, MemorySegment memory, MethodHandle loop, int streams) {
        int threads = workers.count();
        long iterations = memory.byteSize() / threads / streams / CeilingCode.ITERATION_BYTES;
        long each = iterations * CeilingCode.ITERATION_BYTES;
        double rounds = best(workers, worker -> {
            long[] from = CeilingCode.streams(memory.address() + worker * (streams * each), each, streams);
            try {
                loop.invokeExact(from[0], from[1], from[2], from[3], iterations);
            } catch (Throwable e) {
                throw new AssertionError("machine code throws nothing", e);
            }
        });
        return rounds * threads * streams * each;
    }

    /** Iterations per second of a loop on registers. */
    private static double iterations(Workers workers, MethodHandle loop) {
        return ITERATIONS
                * best(workers, worker -> {
                    try {
                        loop.invokeExact((long) ITERATIONS);
                    } catch (Throwable e) {
                        throw new AssertionError("machine code throws nothing", e);
                    }
                });
    }

    private static long start(long bytes, int worker, int workers) {
        return Workers.shareStart((int) (bytes >>> 6), 4, worker, workers) * 64L;
    }

    /**
     * Runs of {@code task} per second, from the fastest of many. Repeats until it has not become faster for {@link
     * #SETTLED_NANOS}, because the compiler still works on the loop at first.
     */
    private static double best(Workers workers, Workers.Task task) {
        long shortest = Long.MAX_VALUE;
        long begin = System.nanoTime();
        long improved = begin;
        long now = begin;
        while (now - improved < SETTLED_NANOS && now - begin < LONGEST_NANOS) {
            long start = System.nanoTime();
            workers.run(task);
            now = System.nanoTime();
            if (now - start < shortest * 0.98) {
                improved = now;
            }
            shortest = Math.min(shortest, now - start);
        }
        return 1e9 / shortest;
    }

    @Override
    public String toString() {
        return String.format(
                Locale.ROOT,
                "%d threads: read %.1f GB/s, f32 %.1f GMAC/s, int8 (%s) %.1f GMAC/s",
                threads,
                readBandwidthBytesPerSecond / 1e9,
                f32MacsPerSecond / 1e9,
                int8Path,
                int8MacsPerSecond / 1e9);
    }
}
