package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Large zeroed memory of which the operating system commits a part only when it is first written. {@link Arena#allocate}
 * writes every byte, which takes seconds and the whole memory for a KV pool that may never be full.
 */
public final class ReservedMemory {
    private static final long CACHE_LINE_BYTES = 64;

    private ReservedMemory() {}

    /**
     * Reserves {@code bytes} zeroed bytes on a cache-line border, freed with the arena.
     *
     * @throws OutOfMemoryError if the operating system refuses
     */
    public static MemorySegment allocate(Arena arena, long bytes) {
        if (bytes < 0) {
            throw new IllegalArgumentException("cannot reserve " + bytes + " bytes");
        }
        MemorySegment block;
        try {
            // calloc maps fresh zero pages for sizes like these, and does not touch them.
            block = (MemorySegment) Native.CALLOC.invokeExact(1L, Math.addExact(bytes, CACHE_LINE_BYTES));
        } catch (Throwable e) {
            throw new IllegalStateException("calloc failed", e);
        }
        if (block.address() == 0) {
            throw new OutOfMemoryError("the operating system refused " + bytes + " bytes");
        }
        MemorySegment owned = block.reinterpret(bytes + CACHE_LINE_BYTES, arena, ReservedMemory::free);
        return owned.asSlice(-owned.address() & (CACHE_LINE_BYTES - 1), bytes);
    }

    private static void free(MemorySegment block) {
        try {
            Native.FREE.invokeExact(block);
        } catch (Throwable e) {
            throw new IllegalStateException("free failed", e);
        }
    }

    private static final class Native {
        static final MethodHandle CALLOC = handle(
                "calloc", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
        static final MethodHandle FREE = handle("free", FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));

        private static MethodHandle handle(String name, FunctionDescriptor descriptor) {
            Linker linker = Linker.nativeLinker();
            SymbolLookup lookup = linker.defaultLookup();
            return linker.downcallHandle(lookup.findOrThrow(name), descriptor);
        }
    }
}
