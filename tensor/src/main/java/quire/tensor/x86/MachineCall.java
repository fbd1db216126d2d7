package quire.tensor.x86;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Collections;

/**
 * Calls functions of machine code. All have one shape: nine whole numbers and no result. Java writes code for each shape of
 * native calls at each start, some milliseconds for each, and the kernels would have ten. A function ignores the arguments that it
 * does not have; floats are passed as their bits.
 *
 * <pre>
 *   argument   1    2    3    4    5   6   7          8           9              System V, as on Linux and macOS
 *              rdi  rsi  rdx  rcx  r8  r9  [rsp + 8]  [rsp + 16]  [rsp + 24]     at the beginning of the function
 * </pre>
 *
 * <p>Calls are critical: they skip the change of thread state. So a function takes microseconds only, and no collection of
 * garbage waits for long.
 */
public final class MachineCall {
    private static final int ARGUMENTS = 9;

    private static final MethodHandle CALL = Linker.nativeLinker()
            .downcallHandle(
                    FunctionDescriptor.ofVoid(Collections.nCopies(ARGUMENTS, ValueLayout.JAVA_LONG)
                            .toArray(MemoryLayout[]::new)),
                    Linker.Option.critical(false));

    private MachineCall() {}

    /** A float as an argument. */
    public static long bits(float number) {
        return Float.floatToRawIntBits(number);
    }

    /** Calls a function of two arguments. */
    public static void call(MemorySegment function, long a, long b) {
        call(function, a, b, 0, 0, 0, 0, 0, 0, 0);
    }

    /** Calls a function of four arguments. */
    public static void call(MemorySegment function, long a, long b, long c, long d) {
        call(function, a, b, c, d, 0, 0, 0, 0, 0);
    }

    /** Calls a function of five arguments. */
    public static void call(MemorySegment function, long a, long b, long c, long d, long e) {
        call(function, a, b, c, d, e, 0, 0, 0, 0);
    }

    /** Calls a function of six arguments. */
    public static void call(MemorySegment function, long a, long b, long c, long d, long e, long f) {
        call(function, a, b, c, d, e, f, 0, 0, 0);
    }

    /** Calls a function of seven arguments. */
    public static void call(MemorySegment function, long a, long b, long c, long d, long e, long f, long g) {
        call(function, a, b, c, d, e, f, g, 0, 0);
    }

    /** Calls a function of eight arguments. */
    public static void call(MemorySegment function, long a, long b, long c, long d, long e, long f, long g, long h) {
        call(function, a, b, c, d, e, f, g, h, 0);
    }

    /** Calls a function of nine arguments. */
    public static void call(
            MemorySegment function, long a, long b, long c, long d, long e, long f, long g, long h, long i) {
        try {
            CALL.invokeExact(function, a, b, c, d, e, f, g, h, i);
        } catch (Throwable t) {
            throw new AssertionError("machine code throws nothing", t);
        }
    }
}
