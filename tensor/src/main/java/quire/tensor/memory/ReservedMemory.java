package quire.tensor.memory;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Large zeroed memory that the operating system commits page by page, when a page is first written. {@link
 * Arena#allocate} writes every byte instead, which takes seconds for a KV pool and commits memory that may never be
 * used.
 *
 * <p>On Linux, a block starts on a boundary of {@link #HUGE_PAGE} bytes and requests huge pages ({@code madvise} with
 * {@code MADV_HUGEPAGE}), because every step reads all weights. With pages of 4 KiB, each page costs an address lookup
 * and stops the processor's prefetcher at its end. If the kernel has no huge pages, it silently gives small ones. On
 * other systems, a block is memory from {@code calloc}.
 *
 * @see Slabs
 */
public final class ReservedMemory {
    /** Size of a huge page in bytes, on x86-64 and on ARM64 with small pages of 4 KiB. */
    public static final long HUGE_PAGE = 2L << 20;

    static final long CACHE_LINE_BYTES = 64;
    private static final boolean LINUX = System.getProperty("os.name").equals("Linux");

    private ReservedMemory() {}

    /**
     * Reserves {@code bytes} zeroed bytes on a cache-line boundary, which are freed with the arena. Requests below
     * {@link #HUGE_PAGE} go to {@link Arena#allocate}.
     *
     * @throws IllegalArgumentException if {@code bytes} is negative
     * @throws OutOfMemoryError if the operating system has no memory
     */
    public static MemorySegment allocate(Arena arena, long bytes) {
        if (bytes < 0) {
            throw new IllegalArgumentException("cannot reserve " + bytes + " bytes");
        }
        if (bytes < HUGE_PAGE) {
            return arena.allocate(bytes, CACHE_LINE_BYTES);
        }
        return LINUX ? Mapped.allocate(arena, bytes) : Plain.allocate(arena, bytes);
    }

    private static OutOfMemoryError refused(long bytes) {
        return new OutOfMemoryError("the operating system refused " + bytes + " bytes");
    }

    /** A function of the C library. */
    static MethodHandle handle(String name, FunctionDescriptor descriptor, Linker.Option... options) {
        Linker linker = Linker.nativeLinker();
        SymbolLookup lookup = linker.defaultLookup();
        return linker.downcallHandle(lookup.findOrThrow(name), descriptor, options);
    }

    /** Memory from {@code mmap}, for Linux. */
    static final class Mapped {
        private static final int READ_WRITE = 3;
        private static final int MAP_PRIVATE_ANONYMOUS = 0x22;
        private static final int MADV_HUGEPAGE = 14;

        // errno is captured, and FileMemory reads it. CodeMemory captures it too, and the linker reuses its code for
        // calls with equal signatures and options. To generate that code takes tens of milliseconds.
        static final StructLayout STATE = Linker.Option.captureStateLayout();
        static final Linker.Option CAPTURE = Linker.Option.captureCallState("errno");
        static final MethodHandle MMAP = handle(
                "mmap",
                FunctionDescriptor.of(
                        ValueLayout.ADDRESS,
                        ValueLayout.ADDRESS,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_LONG),
                CAPTURE);
        private static final MethodHandle MADVISE = handle(
                "madvise",
                FunctionDescriptor.of(
                        ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT),
                CAPTURE);

        /**
         * Maps one huge page more than needed, so that a block can start on a boundary.
         *
         * <pre>
         *   mapped    |····[bytes            ····]···|      whole huge pages + 1
         *   advised        [bytes            ····]          from boundary to boundary
         * </pre>
         */
        static MemorySegment allocate(Arena arena, long bytes) {
            long advised = Math.ceilDiv(bytes, HUGE_PAGE) * HUGE_PAGE;
            try (Arena call = Arena.ofConfined()) {
                MemorySegment state = call.allocate(STATE);
                MemorySegment mapped = (MemorySegment) MMAP.invokeExact(
                        state,
                        MemorySegment.NULL,
                        Math.addExact(advised, HUGE_PAGE),
                        READ_WRITE,
                        MAP_PRIVATE_ANONYMOUS,
                        -1,
                        0L);
                if (mapped.address() == -1) {
                    throw refused(bytes);
                }
                MemorySegment owned = mapped.reinterpret(advised + HUGE_PAGE, arena, Unmap::unmap);
                MemorySegment block = owned.asSlice(-owned.address() & (HUGE_PAGE - 1), advised);
                int _ = (int) MADVISE.invokeExact(
                        state, block, advised, MADV_HUGEPAGE); // the memory is usable even if this fails
                return block.asSlice(0, bytes);
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            }
        }
    }

    /** A separate class, because most processes never unmap and so need not load it. */
    private static final class Unmap {
        private static final MethodHandle MUNMAP = handle(
                "munmap", FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));

        static void unmap(MemorySegment mapped) {
            int refused;
            try {
                refused = (int) MUNMAP.invokeExact(mapped, mapped.byteSize());
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            }
            if (refused != 0) {
                throw new IllegalStateException("munmap refused " + mapped);
            }
        }
    }

    /** Memory from the C library, which maps zero pages for these sizes and does not write them. */
    private static final class Plain {
        private static final MethodHandle CALLOC = handle(
                "calloc", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
        private static final MethodHandle FREE = handle("free", FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));

        static MemorySegment allocate(Arena arena, long bytes) {
            MemorySegment block;
            try {
                block = (MemorySegment) CALLOC.invokeExact(1L, Math.addExact(bytes, CACHE_LINE_BYTES));
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            }
            if (block.address() == 0) {
                throw refused(bytes);
            }
            MemorySegment owned = block.reinterpret(bytes + CACHE_LINE_BYTES, arena, Plain::free);
            return owned.asSlice(-owned.address() & (CACHE_LINE_BYTES - 1), bytes);
        }

        private static void free(MemorySegment block) {
            try {
                FREE.invokeExact(block);
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            }
        }
    }
}
