package quire.tensor.memory;

import java.io.Closeable;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.memory.ReservedMemory.Mapped;

/**
 * Memory whose content lies in a file, and space in files. Java can map a file, but not at a chosen place, and it cannot allocate
 * the space of a file. Without allocated space a full disk ends the process when mapped memory is written.
 *
 * <p>Linux only.
 */
public final class FileMemory {
    /** Parts that a file is mapped over begin and end at multiples of this, which is the largest page of the processor. */
    public static final long ALIGNMENT = System.getProperty("os.arch").equals("amd64") ? 4 << 10 : 64 << 10;

    private static final boolean LINUX = System.getProperty("os.name").equals("Linux");

    private FileMemory() {}

    /** Whether this system has what this class needs. */
    public static boolean isSupported() {
        return LINUX;
    }

    /**
     * Lets the parts of a block lie in a new file, one after another. The system keeps in memory what it has room for, writes the
     * rest to the file and reads it when it is used. The file has no name any more when this returns, so its space is free when
     * the block is, and when the process ends, however it does.
     *
     * @param parts of one block of {@link ReservedMemory} of {@link ReservedMemory#HUGE_PAGE} bytes or more, each with a begin and a size that are multiples of {@link #ALIGNMENT};
     *     their content is zero afterwards
     * @param folder where the file is created
     * @throws IOException with the system's reason, if the file cannot be created or has no space; the block is as before, or
     *     parts of it are in the file
     * @throws UnsupportedOperationException if this is not Linux
     */
    public static void map(List<MemorySegment> parts, Path folder) throws IOException {
        if (!LINUX) {
            throw new UnsupportedOperationException("memory is mapped to files on Linux only");
        }
        long bytes = 0;
        for (MemorySegment part : parts) {
            if (part.address() % ALIGNMENT != 0 || part.byteSize() % ALIGNMENT != 0) {
                throw new IllegalArgumentException("the part at " + part.address() + " with " + part.byteSize()
                        + " bytes does not begin and end at multiples of " + ALIGNMENT);
            }
            bytes += part.byteSize();
        }
        if (bytes == 0) {
            return;
        }
        Path file = Files.createTempFile(folder, "quire-", ".pages"); // nobody else may read it
        try (Descriptor descriptor = new Descriptor(file)) {
            Files.delete(file);
            descriptor.allocate(bytes);
            long offset = 0;
            for (MemorySegment part : parts) {
                descriptor.map(part, offset);
                offset += part.byteSize();
            }
        }
    }

    /**
     * Allocates the first bytes of a file, so that writing there finds space. The file is at least so long afterwards, and its
     * content is as before, followed by zeros.
     *
     * @return keeps the file open, because closing any descriptor of a file gives up all locks that the process has on it; null
     *     if the file system, or the operating system, cannot allocate, and then nothing has changed
     * @throws IOException with the system's reason, if there is too little space or the file cannot be opened
     */
    public static @Nullable Closeable allocate(Path file, long bytes) throws IOException {
        if (!LINUX) {
            return null;
        }
        Descriptor descriptor = new Descriptor(file);
        try {
            descriptor.allocate(bytes);
            return descriptor;
        } catch (NotSupportedException e) {
            descriptor.close();
            return null;
        } catch (Throwable e) {
            descriptor.close();
            throw e;
        }
    }

    /** The file system cannot do what was asked for. */
    private static final class NotSupportedException extends IOException {
        private static final long serialVersionUID = 1;

        NotSupportedException(String message) {
            super(message);
        }
    }

    /** An open file. Its functions are found when the first one is opened, which most processes never do. */
    private static final class Descriptor implements Closeable {
        private static final int READ_WRITE_CLOSE_ON_EXEC = 0x80002;
        private static final int PROTECTION_READ_WRITE = 3;
        private static final int SHARED_FIXED = 0x11;
        private static final int NOT_SUPPORTED = 95; // EOPNOTSUPP

        private static final VarHandle ERRNO = Mapped.STATE.varHandle(MemoryLayout.PathElement.groupElement("errno"));
        private static final MethodHandle OPEN = ReservedMemory.handle(
                "open",
                FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_INT),
                Mapped.CAPTURE,
                Linker.Option.firstVariadicArg(2)); // the third argument counts for new files only
        private static final MethodHandle FALLOCATE = ReservedMemory.handle(
                "fallocate",
                FunctionDescriptor.of(
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_LONG),
                Mapped.CAPTURE);
        private static final MethodHandle CLOSE = ReservedMemory.handle(
                "close", FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT), Mapped.CAPTURE);

        private final Arena arena = Arena.ofShared();
        private final MemorySegment state = arena.allocate(Mapped.STATE);
        private final int number;

        Descriptor(Path file) throws IOException {
            try {
                number = (int) OPEN.invokeExact(state, arena.allocateFrom(file.toString()), READ_WRITE_CLOSE_ON_EXEC);
                check(number >= 0);
            } catch (Throwable e) {
                arena.close();
                throw asIo(e);
            }
        }

        void allocate(long bytes) throws IOException {
            try {
                check((int) FALLOCATE.invokeExact(state, number, 0, 0L, bytes) == 0);
            } catch (Throwable e) {
                throw asIo(e);
            }
        }

        void map(MemorySegment part, long offset) throws IOException {
            try {
                MemorySegment mapped = (MemorySegment) Mapped.MMAP.invokeExact(
                        state, part, part.byteSize(), PROTECTION_READ_WRITE, SHARED_FIXED, number, offset);
                check(mapped.address() == part.address());
            } catch (Throwable e) {
                throw asIo(e);
            }
        }

        @Override
        public void close() {
            try {
                int _ = (int) CLOSE.invokeExact(state, number); // nothing was written through it
            } catch (Throwable e) {
                throw new AssertionError("the C library throws nothing", e);
            } finally {
                arena.close();
            }
        }

        private void check(boolean done) throws IOException {
            if (!done) {
                int errno = (int) ERRNO.get(state, 0L);
                String reason = reason(errno);
                throw errno == NOT_SUPPORTED ? new NotSupportedException(reason) : new IOException(reason);
            }
        }

        private static String reason(int errno) throws IOException {
            MethodHandle strerror =
                    ReservedMemory.handle("strerror", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
            try {
                return ((MemorySegment) strerror.invokeExact(errno))
                        .reinterpret(256)
                        .getString(0);
            } catch (Throwable e) {
                throw asIo(e);
            }
        }

        /** What a call has thrown, if it was one of our exceptions. The C library throws nothing. */
        private static IOException asIo(Throwable thrown) {
            return switch (thrown) {
                case IOException e -> e;
                case RuntimeException e -> throw e;
                case Error e -> throw e;
                default -> throw new AssertionError("the C library throws nothing", thrown);
            };
        }
    }
}
