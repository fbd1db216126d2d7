package quire.tensor.x86;

import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/**
 * Executable memory from the operating system, through the C library that the JVM has loaded. Code is copied into new
 * writable pages, which are then made executable and read-only: memory is never writable and executable together. It
 * stays for the life of the process.
 */
public final class CodeMemory {
    private static final int READ = 1;
    private static final int WRITE = 2;
    private static final int EXECUTE = 4;
    private static final int MAP_PRIVATE = 2;
    private static final int MAP_ANONYMOUS_LINUX = 0x20;
    private static final int MAP_ANONYMOUS_MACOS = 0x1000;
    private static final long PAGE = 4096;

    private static final StructLayout STATE = Linker.Option.captureStateLayout();
    private static final VarHandle ERRNO = STATE.varHandle(MemoryLayout.PathElement.groupElement("errno"));

    private final Map<String, MachineCode> nameToCode = Collections.synchronizedMap(new LinkedHashMap<>());
    private final MethodHandle mmap;
    private final MethodHandle mprotect;
    private final int flags;

    /**
     * Finds the functions of the C library.
     *
     * @throws UnsupportedOperationException if this operating system or processor is not supported
     * @throws java.util.NoSuchElementException if the C library lacks a function
     * @throws IllegalCallerException if Java was started without native access
     */
    public CodeMemory() {
        String architecture = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
        if (!architecture.equals("amd64") && !architecture.equals("x86_64")) {
            throw new UnsupportedOperationException("the processor is " + architecture + ", not x86-64");
        }
        String system = System.getProperty("os.name");
        flags = switch (system) {
            case "Linux" -> MAP_PRIVATE | MAP_ANONYMOUS_LINUX;
            case "Mac OS X" -> MAP_PRIVATE | MAP_ANONYMOUS_MACOS;
            default ->
                throw new UnsupportedOperationException("machine code runs only on Linux and macOS, not on " + system);
        };
        Linker linker = Linker.nativeLinker();
        SymbolLookup library = linker.defaultLookup();
        Linker.Option errno = Linker.Option.captureCallState("errno");
        AddressLayout address = ValueLayout.ADDRESS;
        mmap = linker.downcallHandle(
                library.findOrThrow("mmap"),
                FunctionDescriptor.of(
                        address,
                        address,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_LONG),
                errno);
        mprotect = linker.downcallHandle(
                library.findOrThrow("mprotect"),
                FunctionDescriptor.of(ValueLayout.JAVA_INT, address, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT),
                errno);
    }

    /**
     * Makes code executable.
     *
     * @param name the name in {@link #functions}
     * @return the start of the code, on a page boundary
     * @throws UnsupportedOperationException if the operating system refuses; the message has its reason
     */
    public MemorySegment install(String name, MachineCode code) {
        long length = code.bytes().byteSize();
        long bytes = (length + PAGE - 1) / PAGE * PAGE;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment state = arena.allocate(STATE);
            MemorySegment pages = ((MemorySegment)
                            mmap.invokeExact(state, MemorySegment.NULL, bytes, READ | WRITE, flags, -1, 0L))
                    .reinterpret(bytes);
            if (pages.address() == -1) {
                throw refused("memory", state);
            }
            MemorySegment.copy(code.bytes(), 0, pages, 0, length);
            if ((int) mprotect.invokeExact(state, pages, bytes, READ | EXECUTE) != 0) {
                UnsupportedOperationException refused = refused("executable memory", state);
                unmap(pages);
                throw refused;
            }
            nameToCode.put(name, new MachineCode(pages.asSlice(0, length).asReadOnly(), code.constantsAt()));
            return pages;
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw new AssertionError("the C library throws nothing", e);
        }
    }

    /** All installed functions by name, in the order of their installation. */
    public Map<String, MachineCode> functions() {
        synchronized (nameToCode) {
            return new LinkedHashMap<>(nameToCode);
        }
    }

    /** A function that most processes never call. Its handle, which takes tens of milliseconds, is made for each call. */
    private static MethodHandle function(String name, FunctionDescriptor descriptor) {
        Linker linker = Linker.nativeLinker();
        return linker.downcallHandle(linker.defaultLookup().findOrThrow(name), descriptor);
    }

    private static void unmap(MemorySegment pages) throws Throwable {
        MethodHandle munmap = function(
                "munmap", FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
        int _ = (int) munmap.invokeExact(
                pages, pages.byteSize()); // a failure here is ignored: the caller reports the first failure
    }

    private UnsupportedOperationException refused(String what, MemorySegment state) throws Throwable {
        int errno = (int) ERRNO.get(state, 0L);
        MethodHandle strerror = function("strerror", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
        String reason =
                ((MemorySegment) strerror.invokeExact(errno)).reinterpret(256).getString(0);
        return new UnsupportedOperationException("the operating system refuses " + what + ": " + reason);
    }
}
