package quire.tensor.x86;

import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RBX;
import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mem.at;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/**
 * The features of this processor that the operating system enables, read with {@code cpuid} and {@code xgetbv}.
 *
 * @param brand the processor's brand string
 * @param features the usable features
 */
public record Cpu(String brand, Set<Feature> features) {
    /** Extensions of the instruction set, with the {@code cpuid} bit of each. */
    public enum Feature {
        FMA(1, 0, 2, 12, State.YMM),
        F16C(1, 0, 2, 29, State.YMM),
        AVX2(7, 0, 1, 5, State.YMM),
        AVX_VNNI(7, 1, 0, 4, State.YMM),
        AVX512F(7, 0, 1, 16, State.ZMM),
        AVX512DQ(7, 0, 1, 17, State.ZMM),
        AVX512BW(7, 0, 1, 30, State.ZMM),
        AVX512VL(7, 0, 1, 31, State.ZMM),
        AVX512VBMI(7, 0, 2, 1, State.ZMM),
        AVX512_VNNI(7, 0, 2, 11, State.ZMM),
        AVX512_BF16(7, 1, 0, 5, State.ZMM),
        AVX512_FP16(7, 0, 3, 23, State.ZMM);

        private final int leaf;
        private final int subleaf;
        private final int register;
        private final int bit;
        private final State state;

        Feature(int leaf, int subleaf, int register, int bit, State state) {
            this.leaf = leaf;
            this.subleaf = subleaf;
            this.register = register;
            this.bit = bit;
            this.state = state;
        }
    }

    /** Registers that the operating system must save, as bits of XCR0. */
    private enum State {
        YMM(0b110),
        ZMM(0b1110_0110);

        private final int bits;

        State(int bits) {
            this.bits = bits;
        }
    }

    private static final int OSXSAVE = 1 << 27;

    /** Copies the features. */
    public Cpu {
        features = Collections.unmodifiableSet(
                features.isEmpty() ? EnumSet.noneOf(Feature.class) : EnumSet.copyOf(features));
    }

    /**
     * Reads the features of this machine.
     *
     * @throws UnsupportedOperationException if machine code cannot run here
     */
    public static Cpu detect(CodeMemory memory) {
        MemorySegment cpuid = memory.install("cpuid", cpuidCode());
        MemorySegment xgetbv = memory.install("xgetbv", xgetbvCode());
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(16, Long.BYTES);
            int[] leaf = leaf(cpuid, 0, 0, out);
            int most = leaf[0];
            boolean savesState = (leaf(cpuid, 1, 0, out)[2] & OSXSAVE) != 0;
            long saved = savesState ? xcr0(xgetbv, out) : 0;
            EnumSet<Feature> features = EnumSet.noneOf(Feature.class);
            for (Feature feature : Feature.values()) {
                if (feature.leaf <= most
                        && (feature.subleaf == 0 || leaf(cpuid, feature.leaf, 0, out)[0] >= feature.subleaf)
                        && (leaf(cpuid, feature.leaf, feature.subleaf, out)[feature.register] >>> feature.bit & 1) != 0
                        && (saved & feature.state.bits) == feature.state.bits) {
                    features.add(feature);
                }
            }
            return new Cpu(brand(cpuid, out), features);
        }
    }

    /** The functions that {@link #detect} runs, by name. */
    public static Map<String, MachineCode> machineCode() {
        return Map.of("cpuid", cpuidCode(), "xgetbv", xgetbvCode());
    }

    private static String brand(MemorySegment cpuid, MemorySegment out) {
        if (leaf(cpuid, 0x80000000, 0, out)[0] - 0x80000004 < 0) {
            return "x86-64";
        }
        byte[] name = new byte[48];
        for (int i = 0; i < 3; i++) {
            leaf(cpuid, 0x80000002 + i, 0, out);
            MemorySegment.copy(out, ValueLayout.JAVA_BYTE, 0, name, 16 * i, 16);
        }
        return new String(name, StandardCharsets.US_ASCII).replace('\0', ' ').strip();
    }

    private static int[] leaf(MemorySegment cpuid, int leaf, int subleaf, MemorySegment out) {
        MachineCall.call(cpuid, leaf, subleaf, out.address(), 0);
        return out.toArray(ValueLayout.JAVA_INT);
    }

    /** The register in which the operating system says which registers it saves. */
    private static long xcr0(MemorySegment xgetbv, MemorySegment out) {
        MachineCall.call(xgetbv, out.address(), 0);
        return out.get(ValueLayout.JAVA_LONG, 0);
    }

    private static MachineCode cpuidCode() {
        Assembler a = new Assembler();
        a.push(RBX);
        a.mov(R8, RDX);
        a.mov(RAX, RDI);
        a.mov(RCX, RSI);
        a.cpuid();
        a.movl(at(R8), RAX);
        a.movl(at(R8, 4), RBX);
        a.movl(at(R8, 8), RCX);
        a.movl(at(R8, 12), RDX);
        a.pop(RBX);
        a.ret();
        return a.finish();
    }

    private static MachineCode xgetbvCode() {
        Assembler a = new Assembler();
        a.xor(RCX, RCX);
        a.xgetbv();
        a.shl(RDX, 32);
        a.or(RAX, RDX);
        a.mov(at(RDI), RAX);
        a.ret();
        return a.finish();
    }
}
