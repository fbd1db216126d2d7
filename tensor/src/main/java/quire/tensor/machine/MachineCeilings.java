package quire.tensor.machine;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
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
 * What the machine can do at most, measured on a team of workers: figures of kernels mean something only beside the
 * ceilings of the same minute, as machines are shared and drift. Measured by machine code in the instructions that the
 * kernels use, so that no kernel can beat them; on the Vector API where none can be assembled.
 *
 * @param threads workers that ran together
 * @param readBandwidthBytesPerSecond streaming reads of memory off heap, on huge pages where there are any, with the
 *     kernels' prefetch: the best of one, two and four streams a worker
 * @param f32MacsPerSecond f32 fused multiply-adds out of registers
 * @param int8MacsPerSecond multiply-adds of 8-bit activations, out of registers
 * @param int8Path how: {@code vpdpbusd zmm}, {@code vpdpbusd ymm}, {@code vpmaddubsw ymm} (added up in 16 bits, then in
 *     32), else {@code int16}, a product and a sum each, for the Vector API knows no int8 dot product
 */
public record MachineCeilings(
        int threads,
        double readBandwidthBytesPerSecond,
        double f32MacsPerSecond,
        double int8MacsPerSecond,
        String int8Path) {
    private static final long READ_BYTES = 256L << 20;
    private static final long SETTLED_NANOS = 700_000_000L;
    private static final long LONGEST_NANOS = 3_000_000_000L;
    private static final int TURNS = 200_000;

    /** Where results go, so that nothing is optimised away. */
    private static volatile long sink;

    /** Measures on all of {@code workers}: takes 3 to 15 seconds and 256 MiB off heap. */
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
            for (int streams = 1; streams <= CeilingCode.MOST_STREAMS; streams *= 2) {
                MethodHandle loop = handle(code, CeilingCode.read(instructions, streams), CeilingCode.READ);
                read = Math.max(read, read(workers, memory, loop, streams));
            }
        }
        double f32 = turns(workers, handle(code, CeilingCode.f32(instructions), CeilingCode.COMPUTE));
        double int8 = turns(workers, handle(code, CeilingCode.int8(instructions), CeilingCode.COMPUTE));
        return new MachineCeilings(
                threads,
                read,
                f32 * threads * CeilingCode.f32Macs(instructions),
                int8 * threads * CeilingCode.int8Macs(instructions),
                CeilingCode.int8Name(instructions));
    }

    /** What {@link #measure} falls back to. */
    static MachineCeilings measureVector(Workers workers) {
        int threads = workers.count();
        double read;
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = touched(arena, workers);
            read = best(workers, worker -> {
                sink = VectorCeilings.readAll(memory, start(worker, threads), start(worker + 1, threads));
            });
        }
        double f32 = best(workers, worker -> {
            sink = (long) VectorCeilings.multiplyAddF32(TURNS, 0.999f);
        });
        double int8 = best(workers, worker -> {
            sink = VectorCeilings.multiplyAddInt16(TURNS, (short) 3);
        });
        return new MachineCeilings(
                threads,
                read * READ_BYTES,
                f32 * threads * TURNS * 12.0 * Lanes.LANES,
                int8 * threads * TURNS * 12.0 * 2 * Lanes.LANES,
                "int16");
    }

    /** Memory that is all there; each worker wrote the share that it will read. */
    private static MemorySegment touched(Arena arena, Workers workers) {
        MemorySegment memory = ReservedMemory.allocate(arena, READ_BYTES);
        int threads = workers.count();
        workers.run(
                worker -> memory.asSlice(start(worker, threads), start(worker + 1, threads) - start(worker, threads))
                        .fill((byte) 1));
        return memory;
    }

    private static MethodHandle handle(CodeMemory memory, MachineCode code, FunctionDescriptor descriptor) {
        return Linker.nativeLinker().downcallHandle(memory.install("ceiling", code), descriptor);
    }

    /** Bytes a second that the workers read, each its share of the memory in {@code streams} equal parts. */
    private static double read(Workers workers, MemorySegment memory, MethodHandle loop, int streams) {
        int threads = workers.count();
        long turns = READ_BYTES / threads / streams / CeilingCode.TURN_BYTES;
        long each = turns * CeilingCode.TURN_BYTES;
        double rounds = best(workers, worker -> {
            long[] from = CeilingCode.streams(memory.address() + worker * (streams * each), each, streams);
            try {
                loop.invokeExact(from[0], from[1], from[2], from[3], turns);
            } catch (Throwable e) {
                throw new AssertionError("machine code throws nothing", e);
            }
        });
        return rounds * threads * streams * each;
    }

    /** Turns a second of a loop that stays in registers. */
    private static double turns(Workers workers, MethodHandle loop) {
        return TURNS
                * best(workers, worker -> {
                    try {
                        loop.invokeExact((long) TURNS);
                    } catch (Throwable e) {
                        throw new AssertionError("machine code throws nothing", e);
                    }
                });
    }

    private static long start(int worker, int workers) {
        return Workers.shareStart((int) (READ_BYTES >>> 6), 4, worker, workers) * 64L;
    }

    /**
     * Turns a second, by the fastest of many. Stops when nothing has become faster for a while: at first the compiler is
     * still busy with the loop.
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
