package quire.tensor.assembled;

import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.ymm;
import static quire.tensor.x86.Vec.zmm;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.IntFunction;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.assembled.common.WeightPrefetch;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Vec;

/** Writes the loops of {@link quire.tensor.machine.MachineCeilings}, in the instructions that the kernels use. */
public final class CeilingCode {
    /**
     * Arguments of {@link #read}: {@code (stream 0, stream 1, stream 2, stream 3, iterations)}; unused streams are
     * ignored.
     */
    public static final FunctionDescriptor READ = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG);

    /** Arguments of {@link #f32} and {@link #int8}: {@code (iterations)}. */
    public static final FunctionDescriptor COMPUTE = FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG);

    /** Maximum number of streams of {@link #read}. */
    public static final int MAX_STREAMS = 4;

    /** Bytes that an iteration reads from each stream. */
    public static final int ITERATION_BYTES = 128;

    private static final Gp[] STREAMS = {RDI, RSI, RDX, RCX};

    /**
     * Number of sums with 32 registers: more than latency × instructions per cycle, so that no instruction waits for
     * the result of the instruction before it.
     */
    private static final int WIDE_SUMS = 24;

    /** Number of sums with 16 registers. */
    private static final int SUMS = 12;

    /** Number of 16-bit sums; each also has a 32-bit sum. */
    private static final int SHORT_SUMS = 6;

    /** Words whose products are summed in 16 bits before the sum is widened: a block of 32 inputs. */
    private static final int WORDS = 8;

    private final Assembler a = new Assembler();
    private final IntFunction<Vec> vec;
    private final int width;

    private CeilingCode(Instructions instructions) {
        boolean wide = instructions.isWide();
        vec = register -> wide ? zmm(register) : ymm(register);
        width = wide ? 64 : 32;
    }

    /** A loop that reads {@code streams} streams together, with the prefetches of a product of one row. */
    public static MachineCode read(Instructions instructions, int streams) {
        CeilingCode code = new CeilingCode(instructions);
        return code.loop(R8, () -> code.readIteration(streams));
    }

    private void readIteration(int streams) {
        for (int s = 0; s < streams; s++) {
            WeightPrefetch.words(a, STREAMS[s], ITERATION_BYTES, 1);
            for (int i = 0; i < ITERATION_BYTES; i += width) {
                a.vmovups(vec.apply(i / width), at(STREAMS[s], i));
            }
            a.add(STREAMS[s], ITERATION_BYTES);
        }
    }

    /** A loop of f32 fused multiply-adds, {@link #f32Macs} in each iteration. */
    public static MachineCode f32(Instructions instructions) {
        CeilingCode code = new CeilingCode(instructions);
        int sums = sums(instructions);
        return code.loop(RDI, () -> {
            for (int i = 0; i < sums; i++) {
                code.a.vfmadd231ps(code.vec.apply(i), code.vec.apply(sums), code.vec.apply(sums + 1));
            }
        });
    }

    /** Multiply-adds of an iteration of {@link #f32}. */
    public static double f32Macs(Instructions instructions) {
        return (double) sums(instructions) * (instructions.isWide() ? 16 : 8);
    }

    /** A loop of multiply-adds of bytes, {@link #int8Macs} in each iteration. */
    public static MachineCode int8(Instructions instructions) {
        CeilingCode code = new CeilingCode(instructions);
        return code.loop(
                RDI, instructions == Instructions.AVX2 ? code::shortSums : () -> code.dotProducts(instructions));
    }

    /** Multiply-adds of an iteration of {@link #int8}. */
    public static double int8Macs(Instructions instructions) {
        return switch (instructions) {
            case AVX512_VNNI, AVX512_VBMI -> WIDE_SUMS * 64.0;
            case AVX2_VNNI, AVX2_VNNI_EVEX -> SUMS * 32.0;
            case AVX2 -> SHORT_SUMS * WORDS * 32.0;
        };
    }

    /** The instruction of {@link #int8}, for display. */
    public static String int8Name(Instructions instructions) {
        return switch (instructions) {
            case AVX512_VNNI, AVX512_VBMI -> "vpdpbusd zmm";
            case AVX2_VNNI, AVX2_VNNI_EVEX -> "vpdpbusd ymm";
            case AVX2 -> "vpmaddubsw ymm";
        };
    }

    /** All loops by name. */
    public static Map<String, MachineCode> all(Instructions instructions) {
        Map<String, MachineCode> all = new LinkedHashMap<>();
        for (int streams = 1; streams <= MAX_STREAMS; streams *= 2) {
            all.put("ceiling-read-x" + streams, read(instructions, streams));
        }
        all.put("ceiling-f32", f32(instructions));
        all.put("ceiling-int8", int8(instructions));
        return all;
    }

    private static int sums(Instructions instructions) {
        return instructions.isWide() ? WIDE_SUMS : SUMS;
    }

    private void dotProducts(Instructions instructions) {
        int sums = sums(instructions);
        for (int i = 0; i < sums; i++) {
            if (instructions == Instructions.AVX2_VNNI) {
                a.vpdpbusdVex(ymm(i), ymm(sums), ymm(sums + 1));
            } else {
                a.vpdpbusd(vec.apply(i), vec.apply(sums), vec.apply(sums + 1));
            }
        }
    }

    /** Like the product of a block of 4-bit weights in {@code Avx2MatrixCode}, without loads and scales. */
    private void shortSums() {
        Vec product = ymm(2 * SHORT_SUMS);
        Vec weights = ymm(2 * SHORT_SUMS + 1);
        Vec inputs = ymm(2 * SHORT_SUMS + 2);
        Vec ones = ymm(2 * SHORT_SUMS + 3);
        for (int word = 0; word < WORDS; word++) {
            for (int i = 0; i < SHORT_SUMS; i++) {
                a.vpmaddubsw(word == 0 ? ymm(i) : product, weights, inputs);
                if (word > 0) {
                    a.vpaddw(ymm(i), ymm(i), product);
                }
            }
        }
        for (int i = 0; i < SHORT_SUMS; i++) {
            a.vpmaddwd(product, ymm(i), ones);
            a.vpaddd(ymm(SHORT_SUMS + i), ymm(SHORT_SUMS + i), product);
        }
    }

    /**
     * A loop of {@code iterations} iterations. All registers are 0 at first, so that no slow numbers occur, such as
     * denormal ones.
     */
    private MachineCode loop(Gp iterations, Runnable iteration) {
        int registers = width == 64 ? 32 : 16;
        for (int i = 0; i < registers; i++) {
            if (width == 64) {
                a.vpxord(zmm(i), zmm(i), zmm(i));
            } else {
                a.vpxor(ymm(i), ymm(i), ymm(i));
            }
        }
        Label next = a.label();
        a.align(32);
        a.bind(next);
        iteration.run();
        a.dec(iterations);
        a.jnz(next);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** The addresses of a worker's streams; 0 for unused streams. */
    public static long[] streams(long address, long bytesEach, int count) {
        long[] starts = new long[MAX_STREAMS];
        Arrays.setAll(starts, i -> i < count ? address + i * bytesEach : 0);
        return starts;
    }
}
