package quire.engine;

import com.sun.management.HotSpotDiagnosticMXBean;
import com.sun.management.VMOption;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.util.Optional;

/**
 * The memory that the Java virtual machine itself may use. Its options limit most of it. Weights and KV pages are not in it.
 *
 * @param heapBytes largest size of the heap ({@code -Xmx})
 * @param codeCacheBytes largest size of the compiled code ({@code -XX:ReservedCodeCacheSize})
 * @param directBytes most memory for the buffers of connections ({@code -XX:MaxDirectMemorySize})
 * @param threads number of threads
 * @param threadBytes stacks of all threads at their largest
 * @param otherBytes estimate for classes, the compilers' working memory and the garbage collector's tables
 */
public record JavaMemory(
        long heapBytes, long codeCacheBytes, long directBytes, int threads, long threadBytes, long otherBytes) {
    // Measured with native memory tracking on Java 25 with a heap of 2 GiB, while requests ran: classes and metaspace
    // 41 MiB, symbols 4 MiB, all others together 9 MiB, and for G1 77 MiB, which is 3.8 % of the heap.
    private static final long CLASSES_AND_COMPILERS = 64L << 20;
    private static final int HEAP_PER_COLLECTOR_BYTE = 25;

    /** Threads that are there on any machine: event loop, preparation, the JVM's own. */
    private static final int COMMON_THREADS = 24;

    /** Threads that grow with the processors, for each: garbage collection and virtual threads. */
    private static final int THREADS_PER_PROCESSOR = 2;

    private static final long STACK_BYTES = 1L << 20;

    /** What bin/java-options allows, and more than Quire uses where nothing bounds it. */
    private static final long DIRECT_BYTES = 64L << 20;

    // The heap that bin/java-options asks for: a quarter of the memory, at most this.
    private static final int MEMORY_PER_HEAP_BYTE = 4;
    private static final long MOST_HEAP_BYTES = 2L << 30;

    /**
     * This JVM.
     *
     * @param workers threads that compute
     */
    public static JavaMemory here(int workers) {
        return of(heapLimit(), workers);
    }

    /**
     * A JVM on another machine, with the options of this one. If this one's heap follows from the memory and not from an
     * option, the other one's does too: it is a quarter of the memory, at most 2 GiB, as the launcher's options say.
     *
     * @param workers threads that compute
     */
    public static JavaMemory on(MachineMemory machine, int workers) {
        boolean chosen = option("MaxHeapSize")
                .map(option -> option.getOrigin() != VMOption.Origin.ERGONOMIC
                        && option.getOrigin() != VMOption.Origin.DEFAULT)
                .orElse(true);
        long heap = chosen ? heapLimit() : Math.min(machine.totalBytes() / MEMORY_PER_HEAP_BYTE, MOST_HEAP_BYTES);
        return of(heap, workers);
    }

    private static JavaMemory of(long heap, int workers) {
        int threads = workers
                + COMMON_THREADS
                + THREADS_PER_PROCESSOR * Runtime.getRuntime().availableProcessors();
        long stack = number("ThreadStackSize") << 10;
        long direct = number("MaxDirectMemorySize");
        return new JavaMemory(
                heap,
                codeCacheLimit(),
                direct > 0 ? direct : DIRECT_BYTES,
                threads,
                threads * (stack > 0 ? stack : STACK_BYTES),
                CLASSES_AND_COMPILERS + heap / HEAP_PER_COLLECTOR_BYTE);
    }

    /** The sum. */
    public long totalBytes() {
        return heapBytes + codeCacheBytes + directBytes + threadBytes + otherBytes;
    }

    /** Largest size of this JVM's heap in bytes. {@link Runtime#maxMemory} leaves out a part that is always empty. */
    static long heapLimit() {
        long option = number("MaxHeapSize");
        return option > 0 ? option : Runtime.getRuntime().maxMemory();
    }

    /** Largest size of this JVM's compiled code in bytes. */
    static long codeCacheLimit() {
        return ManagementFactory.getMemoryPoolMXBeans().stream()
                .filter(pool -> pool.getType() == MemoryType.NON_HEAP
                        && pool.getName().startsWith("Code")) // CodeCache, or several CodeHeap '…'
                .map(MemoryPoolMXBean::getUsage)
                .mapToLong(usage -> Math.max(0, usage.getMax()))
                .sum();
    }

    private static long number(String option) {
        return option(option).map(value -> Long.parseLong(value.getValue())).orElse(0L);
    }

    /** An option of this JVM; empty on a JVM that has no such option. */
    private static Optional<VMOption> option(String name) {
        HotSpotDiagnosticMXBean hotSpot = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
        try {
            return hotSpot == null ? Optional.empty() : Optional.of(hotSpot.getVMOption(name));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }
}
