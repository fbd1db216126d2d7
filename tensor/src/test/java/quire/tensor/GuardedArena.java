package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * An arena whose memory ends, or starts, at a page without access rights. Machine code that reads or writes one byte
 * outside of it ends the process. On systems other than Linux on x86-64, it is a normal arena, because there is no
 * machine code or the system calls differ.
 *
 * <pre>
 *   behind    ░░░░[····bytes]░░░░
 *   before    ░░░░[bytes····]░░░░      on both sides if they fill their pages
 * </pre>
 *
 * <p>With the guard behind, only the size of the memory decides its alignment. The requested alignment is for speed; no
 * kernel may need it.
 */
public final class GuardedArena implements Arena {
    private static final boolean GUARDED = System.getProperty("os.name").equals("Linux")
            && System.getProperty("os.arch").equals("amd64");
    private static final long PAGE = 4096;
    private static final int NONE = 0;
    private static final int READ_WRITE = 3;
    private static final int MAP_PRIVATE_ANONYMOUS = 0x22;

    private final Arena arena;
    private final boolean behind;

    /** @param behind whether the guard is after the memory, or before it */
    @SuppressWarnings("MustBeClosedChecker") // close() closes it
    public GuardedArena(boolean behind) {
        this.behind = behind;
        arena = Arena.ofShared();
    }

    /** A separate class, because other systems do not have these functions. */
    private static final class Pages {
        private static final MethodHandle MMAP = handle(
                "mmap",
                FunctionDescriptor.of(
                        ValueLayout.ADDRESS,
                        ValueLayout.ADDRESS,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_LONG));
        private static final MethodHandle MPROTECT = handle(
                "mprotect",
                FunctionDescriptor.of(
                        ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT));
        private static final MethodHandle MUNMAP = handle(
                "munmap", FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));

        private static MethodHandle handle(String name, FunctionDescriptor descriptor) {
            Linker linker = Linker.nativeLinker();
            return linker.downcallHandle(linker.defaultLookup().findOrThrow(name), descriptor);
        }

        /** Maps whole pages; the first and the last are guards. */
        static MemorySegment map(Arena arena, long bytes) {
            try {
                MemorySegment mapped = (MemorySegment)
                        MMAP.invokeExact(MemorySegment.NULL, bytes, NONE, MAP_PRIVATE_ANONYMOUS, -1, 0L);
                if (mapped.address() == -1) {
                    throw new OutOfMemoryError("mmap refused " + bytes + " bytes");
                }
                MemorySegment owned = mapped.reinterpret(bytes, arena, Pages::unmap);
                if ((int) MPROTECT.invokeExact(owned.asSlice(PAGE), bytes - 2 * PAGE, READ_WRITE) != 0) {
                    throw new OutOfMemoryError("mprotect refused " + owned);
                }
                return owned;
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            }
        }

        private static void unmap(MemorySegment mapped) {
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

    @Override
    public MemorySegment allocate(long bytes, long alignment) {
        if (!GUARDED) {
            return arena.allocate(bytes, alignment);
        }
        long whole = Math.ceilDiv(bytes, PAGE) * PAGE;
        MemorySegment mapped = Pages.map(arena, whole + 2 * PAGE);
        return mapped.asSlice(behind ? PAGE + whole - bytes : PAGE, bytes);
    }

    @Override
    public MemorySegment.Scope scope() {
        return arena.scope();
    }

    @Override
    public void close() {
        arena.close();
    }
}
