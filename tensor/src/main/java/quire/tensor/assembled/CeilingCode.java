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
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Vec;

/** The loops of {@link quire.tensor.machine.MachineCeilings} as machine code, in the instructions that the kernels of this processor use. */
public final class CeilingCode {
    /** {@code (stream 0, stream 1, stream 2, stream 3, turns)}: addresses; streams that are not read are ignored. */
    public static final FunctionDescriptor READ = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG);

    /** {@code (turns)}. */
    public static final FunctionDescriptor COMPUTE = FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG);

    public static final int MOST_STREAMS = 4;

    /** Bytes of each stream that a turn reads. */
    public static final int TURN_BYTES = 128;

    private static final Gp[] STREAMS = {RDI, RSI, RDX, RCX};
    private static final int LINE = 64;
    /** As far ahead as the kernels ask for weights. */
    private static final int PREFETCH_BYTES = 4096;

    /** Sums out of registers: more than latency × instructions a cycle, so that none waits for itself. */
    private static final int WIDE_SUMS = 24;

    private static final int SUMS = 12;

    /** Sums of 16 bits, each of which also has one of 32 bits. */
    private static final int SHORT_SUMS = 6;

    /** Words whose products are added up in 16 bits before that goes on to 32 bits: a block of 32 inputs. */
    private static final int WORDS = 8;

    private final Assembler a = new Assembler();
    private final IntFunction<Vec> vec;
    private final int width;

    private CeilingCode(Instructions instructions) {
        boolean wide = instructions == Instructions.AVX512_VNNI;
        vec = register -> wide ? zmm(register) : ymm(register);
        width = wide ? 64 : 32;
    }

    /** Streams read side by side. */
    public static MachineCode read(Instructions instructions, int streams) {
        CeilingCode code = new CeilingCode(instructions);
        return code.loop(R8, () -> code.readTurn(streams));
    }

    private void readTurn(int streams) {
        for (int s = 0; s < streams; s++) {
            for (int line = 0; line < TURN_BYTES; line += LINE) {
                a.prefetcht0(at(STREAMS[s], PREFETCH_BYTES + line));
            }
            for (int i = 0; i < TURN_BYTES; i += width) {
                a.vmovups(vec.apply(i / width), at(STREAMS[s], i));
            }
            a.add(STREAMS[s], TURN_BYTES);
        }
    }

    /** f32 fused multiply-adds; {@link #f32Macs} a turn. */
    public static MachineCode f32(Instructions instructions) {
        CeilingCode code = new CeilingCode(instructions);
        int sums = sums(instructions);
        return code.loop(RDI, () -> {
            for (int i = 0; i < sums; i++) {
                code.a.vfmadd231ps(code.vec.apply(i), code.vec.apply(sums), code.vec.apply(sums + 1));
            }
        });
    }

    public static double f32Macs(Instructions instructions) {
        return (double) sums(instructions) * (instructions == Instructions.AVX512_VNNI ? 16 : 8);
    }

    /** Multiply-adds of bytes; {@link #int8Macs} a turn. */
    public static MachineCode int8(Instructions instructions) {
        CeilingCode code = new CeilingCode(instructions);
        return code.loop(
                RDI, instructions == Instructions.AVX2 ? code::shortSums : () -> code.dotProducts(instructions));
    }

    public static double int8Macs(Instructions instructions) {
        return switch (instructions) {
            case AVX512_VNNI -> WIDE_SUMS * 64.0;
            case AVX2_VNNI, AVX2_VNNI_EVEX -> SUMS * 32.0;
            case AVX2 -> SHORT_SUMS * WORDS * 32.0;
        };
    }

    /** What {@link #int8} is made of, for people. */
    public static String int8Name(Instructions instructions) {
        return switch (instructions) {
            case AVX512_VNNI -> "vpdpbusd zmm";
            case AVX2_VNNI, AVX2_VNNI_EVEX -> "vpdpbusd ymm";
            case AVX2 -> "vpmaddubsw ymm";
        };
    }

    /** All of them, name to code. */
    public static Map<String, MachineCode> all(Instructions instructions) {
        Map<String, MachineCode> all = new LinkedHashMap<>();
        for (int streams = 1; streams <= MOST_STREAMS; streams *= 2) {
            all.put("ceiling-read-x" + streams, read(instructions, streams));
        }
        all.put("ceiling-f32", f32(instructions));
        all.put("ceiling-int8", int8(instructions));
        return all;
    }

    private static int sums(Instructions instructions) {
        return instructions == Instructions.AVX512_VNNI ? WIDE_SUMS : SUMS;
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

    /** As {@code Avx2MatrixCode} multiplies a block of 4-bit weights, but for loads and scales. */
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

    /** Turns, from registers that are all zero: slow numbers, such as denormal ones, stay out of it. */
    private MachineCode loop(Gp turns, Runnable turn) {
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
        turn.run();
        a.dec(turns);
        a.jnz(next);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** Addresses of a worker's streams, the last ones zero where there are fewer than {@link #MOST_STREAMS}. */
    public static long[] streams(long address, long bytesEach, int count) {
        long[] starts = new long[MOST_STREAMS];
        Arrays.setAll(starts, i -> i < count ? address + i * bytesEach : 0);
        return starts;
    }
}
