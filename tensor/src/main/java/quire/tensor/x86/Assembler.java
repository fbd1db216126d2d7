package quire.tensor.x86;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Writes x86-64 machine code: the instructions that the kernels use, with the manual's names and the destination first.
 * An instruction gets its shorter VEX encoding if its operands allow it. It gets EVEX if it is masked, broadcasts, has
 * 512 bits or uses a register above 15.
 *
 * <pre>
 *   Assembler a = new Assembler();
 *   Label next = a.label();
 *   a.bind(next);
 *   a.vmovups(zmm(1), at(RDI));
 *   a.vfmadd231ps(zmm(0), zmm(1), at(RSI, 64).bcast());
 *   a.add(RDI, 64);
 *   a.dec(RCX);
 *   a.jnz(next);
 *   a.ret();
 *   MachineCode code = a.finish();
 * </pre>
 *
 * <p>Operands without an encoding, or of a width that the instruction does not have, throw an {@link
 * IllegalArgumentException} that names the instruction and the operands.
 */
public final class Assembler {
    private static final int NO_IMMEDIATE = -1;

    private byte[] code = new byte[1024];
    private int size;
    private final List<Fixup> fixups = new ArrayList<>();
    private final List<Constant> constants = new ArrayList<>();

    /** A 32-bit distance from {@code end} to a label; it is written at {@code at} when the label is bound. */
    private record Fixup(int at, int end, Label label) {}

    private record Constant(Label label, ByteBuffer bytes, int alignment) {}

    // ── labels and constants ────────────────────────────────────────────────────────────────────────────────────────

    /** A new label, not yet bound. */
    public Label label() {
        return new Label();
    }

    /** Binds {@code label} to this place in the code. */
    public void bind(Label label) {
        if (label.position >= 0) {
            throw new IllegalStateException("a label is bound twice");
        }
        label.position = size;
    }

    /** Adds no-operations up to a multiple of {@code bytes}, a power of two. */
    public void align(int bytes) {
        while (size % bytes != 0) {
            emit(0x90);
        }
    }

    /** A constant after the code. Equal constants are stored once. */
    public Label constant(byte[] bytes, int alignment) {
        for (Constant known : constants) {
            if (known.alignment >= alignment && known.bytes.equals(ByteBuffer.wrap(bytes))) {
                return known.label;
            }
        }
        Label label = label();
        constants.add(new Constant(label, ByteBuffer.wrap(bytes.clone()), alignment));
        return label;
    }

    /** A constant of 32-bit integers. */
    public Label constant(int[] values, int alignment) {
        ByteBuffer bytes = ByteBuffer.allocate(values.length * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asIntBuffer().put(values);
        return constant(bytes.array(), alignment);
    }

    /** A constant of floats. */
    public Label constant(float[] values, int alignment) {
        int[] bits = new int[values.length];
        for (int i = 0; i < bits.length; i++) {
            bits[i] = Float.floatToRawIntBits(values[i]);
        }
        return constant(bits, alignment);
    }

    /**
     * The code, with its constants after it. Constants are aligned relative to the start, so load it on a 64-byte
     * boundary.
     *
     * @throws IllegalStateException if a label was used but not bound
     */
    public MachineCode finish() {
        int constantsAt = size;
        for (Constant constant : constants) {
            while (size % constant.alignment != 0) {
                emit(0xCC);
            }
            bind(constant.label);
            for (int i = 0; i < constant.bytes.capacity(); i++) {
                emit(constant.bytes.get(i));
            }
        }
        constants.clear();
        byte[] finished = Arrays.copyOf(code, size);
        ByteBuffer words = ByteBuffer.wrap(finished).order(ByteOrder.LITTLE_ENDIAN);
        for (Fixup fixup : fixups) {
            if (fixup.label.position < 0) {
                throw new IllegalStateException("a label is used and never bound");
            }
            words.putInt(fixup.at, words.getInt(fixup.at) + fixup.label.position - fixup.end);
        }
        return new MachineCode(MemorySegment.ofArray(finished), constantsAt);
    }

    // ── general instructions ────────────────────────────────────────────────────────────────────────────────────────

    /** {@code add a, b} on 64 bits. */
    public void add(Gp a, Gp b) {
        general(0x01, b.number(), a);
    }

    /** {@code add a, b} on 64 bits; b is sign-extended. */
    public void add(Gp a, int b) {
        immediate(0, a, b);
    }

    /** {@code add a, b} on 64 bits. */
    public void add(Gp a, Mem b) {
        general(0x03, a.number(), b, true);
    }

    /** {@code or a, b} on 64 bits. */
    public void or(Gp a, Gp b) {
        general(0x09, b.number(), a);
    }

    /** {@code or a, b} on 64 bits; b is sign-extended. */
    public void or(Gp a, int b) {
        immediate(1, a, b);
    }

    /** {@code or a, b} on 64 bits. */
    public void or(Gp a, Mem b) {
        general(0x0b, a.number(), b, true);
    }

    /** {@code and a, b} on 64 bits. */
    public void and(Gp a, Gp b) {
        general(0x21, b.number(), a);
    }

    /** {@code and a, b} on 64 bits; b is sign-extended. */
    public void and(Gp a, int b) {
        immediate(4, a, b);
    }

    /** {@code and a, b} on 64 bits. */
    public void and(Gp a, Mem b) {
        general(0x23, a.number(), b, true);
    }

    /** {@code sub a, b} on 64 bits. */
    public void sub(Gp a, Gp b) {
        general(0x29, b.number(), a);
    }

    /** {@code sub a, b} on 64 bits; b is sign-extended. */
    public void sub(Gp a, int b) {
        immediate(5, a, b);
    }

    /** {@code sub a, b} on 64 bits. */
    public void sub(Gp a, Mem b) {
        general(0x2b, a.number(), b, true);
    }

    /** {@code xor a, b} on 64 bits. */
    public void xor(Gp a, Gp b) {
        general(0x31, b.number(), a);
    }

    /** {@code xor a, b} on 64 bits; b is sign-extended. */
    public void xor(Gp a, int b) {
        immediate(6, a, b);
    }

    /** {@code xor a, b} on 64 bits. */
    public void xor(Gp a, Mem b) {
        general(0x33, a.number(), b, true);
    }

    /** {@code cmp a, b} on 64 bits. */
    public void cmp(Gp a, Gp b) {
        general(0x39, b.number(), a);
    }

    /** {@code cmp a, b} on 64 bits; b is sign-extended. */
    public void cmp(Gp a, int b) {
        immediate(7, a, b);
    }

    /** {@code cmp a, b} on 64 bits. */
    public void cmp(Gp a, Mem b) {
        general(0x3b, a.number(), b, true);
    }

    /** {@code test a, b} on 64 bits. */
    public void test(Gp a, Gp b) {
        general(0x85, b.number(), a);
    }

    /** Copies 64 bits. */
    public void mov(Gp to, Gp from) {
        general(0x89, from.number(), to);
    }

    /** Loads 64 bits. */
    public void mov(Gp to, Mem from) {
        general(0x8b, to.number(), from, true);
    }

    /** Stores 64 bits. */
    public void mov(Mem to, Gp from) {
        general(0x89, from.number(), to, true);
    }

    /** Loads a constant. */
    public void mov(Gp to, long value) {
        if (value == (int) value) {
            rex(true, 0, 0, to.number(), false);
            emit(0xC7);
            emit(0xC0 | (to.number() & 7));
            emit32((int) value);
        } else {
            rex(true, 0, 0, to.number(), false);
            emit(0xB8 | (to.number() & 7));
            emit32((int) value);
            emit32((int) (value >>> 32));
        }
    }

    /** Loads 32 bits; the upper half becomes zero. */
    public void movl(Gp to, Mem from) {
        general(0x8b, to.number(), from, false);
    }

    /** Stores 32 bits. */
    public void movl(Mem to, Gp from) {
        general(0x89, from.number(), to, false);
    }

    /** Copies 32 bits; the upper half becomes zero. */
    public void movl(Gp to, Gp from) {
        rex(false, from.number(), 0, to.number(), false);
        emit(0x89);
        modrm(from.number(), to.number());
    }

    /** Loads 32 bits, sign-extended. */
    public void movsxd(Gp to, Mem from) {
        general(0x63, to.number(), from, true);
    }

    /** Loads 16 bits, zero-extended. */
    public void movzxw(Gp to, Mem from) {
        escaped(0xB7, to.number(), from);
    }

    /** Loads 8 bits, zero-extended. */
    public void movzxb(Gp to, Mem from) {
        escaped(0xB6, to.number(), from);
    }

    /** {@code a = a × b}. */
    public void imul(Gp a, Gp b) {
        rex(true, a.number(), 0, b.number(), false);
        emit(0x0F);
        emit(0xAF);
        modrm(a.number(), b.number());
    }

    /** {@code to = a × b}. */
    public void imul(Gp to, Gp a, int b) {
        rex(true, to.number(), 0, a.number(), false);
        emit(isByte(b) ? 0x6B : 0x69);
        modrm(to.number(), a.number());
        emitImmediate(b);
    }

    /** Computes an address. */
    public void lea(Gp to, Mem address) {
        general(0x8d, to.number(), address, true);
    }

    /** {@code shl a, count} on 64 bits. */
    public void shl(Gp a, int count) {
        rex(true, 0, 0, a.number(), false);
        emit(0xC1);
        modrm(4, a.number());
        emit(count);
    }

    /** {@code shr a, count} on 64 bits. */
    public void shr(Gp a, int count) {
        rex(true, 0, 0, a.number(), false);
        emit(0xC1);
        modrm(5, a.number());
        emit(count);
    }

    /** {@code sar a, count} on 64 bits. */
    public void sar(Gp a, int count) {
        rex(true, 0, 0, a.number(), false);
        emit(0xC1);
        modrm(7, a.number());
        emit(count);
    }

    /** {@code a + 1}. */
    public void inc(Gp a) {
        rex(true, 0, 0, a.number(), false);
        emit(0xFF);
        modrm(0, a.number());
    }

    /** {@code a − 1}. */
    public void dec(Gp a) {
        rex(true, 0, 0, a.number(), false);
        emit(0xFF);
        modrm(1, a.number());
    }

    /** {@code −a}. */
    public void neg(Gp a) {
        rex(true, 0, 0, a.number(), false);
        emit(0xF7);
        modrm(3, a.number());
    }

    /** Pushes 64 bits. */
    public void push(Gp a) {
        rex(false, 0, 0, a.number(), false);
        emit(0x50 | (a.number() & 7));
    }

    /** Pops 64 bits. */
    public void pop(Gp a) {
        rex(false, 0, 0, a.number(), false);
        emit(0x58 | (a.number() & 7));
    }

    /** Returns. */
    public void ret() {
        emit(0xC3);
    }

    /** Reads leaf eax, subleaf ecx into eax, ebx, ecx and edx. */
    public void cpuid() {
        emit(0x0F);
        emit(0xA2);
    }

    /** Reads the extended control register ecx into edx:eax. */
    public void xgetbv() {
        emit(0x0F);
        emit(0x01);
        emit(0xD0);
    }

    /** Jumps. */
    public void jmp(Label to) {
        emit(0xE9);
        distance(to);
    }

    /** Jumps if below (unsigned). */
    public void jb(Label to) {
        emit(0x0F);
        emit(0x82);
        distance(to);
    }

    /** Jumps if not below (unsigned). */
    public void jae(Label to) {
        emit(0x0F);
        emit(0x83);
        distance(to);
    }

    /** Jumps if zero or equal. */
    public void jz(Label to) {
        emit(0x0F);
        emit(0x84);
        distance(to);
    }

    /** Jumps if not zero or not equal. */
    public void jnz(Label to) {
        emit(0x0F);
        emit(0x85);
        distance(to);
    }

    /** Jumps if not above (unsigned). */
    public void jbe(Label to) {
        emit(0x0F);
        emit(0x86);
        distance(to);
    }

    /** Jumps if above (unsigned). */
    public void ja(Label to) {
        emit(0x0F);
        emit(0x87);
        distance(to);
    }

    /** Jumps if less. */
    public void jl(Label to) {
        emit(0x0F);
        emit(0x8C);
        distance(to);
    }

    /** Jumps if not less. */
    public void jge(Label to) {
        emit(0x0F);
        emit(0x8D);
        distance(to);
    }

    /** Jumps if not greater. */
    public void jle(Label to) {
        emit(0x0F);
        emit(0x8E);
        distance(to);
    }

    /** Jumps if greater. */
    public void jg(Label to) {
        emit(0x0F);
        emit(0x8F);
        distance(to);
    }

    /** Prefetches a cache line; any address is allowed. */
    public void prefetchnta(Mem address) {
        prefetch(0, address);
    }

    /** Prefetches a cache line; any address is allowed. */
    public void prefetcht0(Mem address) {
        prefetch(1, address);
    }

    /** Prefetches a cache line; any address is allowed. */
    public void prefetcht1(Mem address) {
        prefetch(2, address);
    }

    /** Copies the low 16 bits to a mask. */
    public void kmovw(Mask to, Gp from) {
        kmov(0, to, from);
    }

    /** Copies the low 32 bits to a mask. */
    public void kmovd(Mask to, Gp from) {
        kmov(3, to, from);
    }

    /** Clears the upper halves of the vector registers, so that later SSE code is not slowed down. */
    public void vzeroupper() {
        emit(0xC5);
        emit(0xF8);
        emit(0x77);
    }

    // ── vector instructions ─────────────────────────────────────────────────────────────────────────────────────────

    /** Loads or copies. */
    public void vmovups(Vec to, Operand from) {
        vector(Op.VMOVUPS_LOAD, to, from);
    }

    /** Stores, under the mask of the register if it has one. */
    public void vmovups(Mem to, Vec from) {
        vector(Op.VMOVUPS_STORE, from, to);
    }

    /** Loads the lanes whose sign bit is set in {@code signs}. The other lanes become zero and are not read. */
    public void vmaskmovps(Vec to, Vec signs, Mem from) {
        vector(Op.VMASKMOVPS_LOAD, to, signs, from);
    }

    /** Stores the lanes whose sign bit is set in {@code signs}. The other lanes are not written. */
    public void vmaskmovps(Mem to, Vec signs, Vec from) {
        vector(Op.VMASKMOVPS_STORE, from, signs, to);
    }

    /** Loads or copies. */
    public void vmovdqu(Vec to, Operand from) {
        vector(Op.VMOVDQU_LOAD, to, from);
    }

    /** Stores, under the mask of the register if it has one. */
    public void vmovdqu(Mem to, Vec from) {
        vector(Op.VMOVDQU_STORE, from, to);
    }

    /** {@link #vmovdqu} by its EVEX name. Without a mask and below register 16 it has the shorter VEX encoding. */
    public void vmovdqu32(Vec to, Operand from) {
        vector(Op.VMOVDQU_LOAD, to, from);
    }

    /** Loads from an aligned address, or copies. */
    public void vmovdqa(Vec to, Operand from) {
        vector(Op.VMOVDQA_LOAD, to, from);
    }

    /** Loads one float; the rest becomes zero. */
    public void vmovss(Vec to, Mem from) {
        vector(Op.VMOVSS_LOAD, to.xmm(), from);
    }

    /** Stores the first float. */
    public void vmovss(Mem to, Vec from) {
        vector(Op.VMOVSS_STORE, from.xmm(), to);
    }

    /** Copies 32 bits; the rest becomes zero. */
    public void vmovd(Vec to, Gp from) {
        vector(Op.VMOVD_LOAD, to.xmm(), from);
    }

    /** Copies the first 32 bits. */
    public void vmovd(Gp to, Vec from) {
        vector(Op.VMOVD_STORE, from.xmm(), to);
    }

    /** Stores the first 64 bits. */
    public void vmovq(Mem to, Vec from) {
        vector(Op.VMOVQ_STORE, from.xmm(), to);
    }

    /** Stores one byte of 16. */
    public void vpextrb(Mem to, Vec from, int index) {
        narrow(Op.VPEXTRB, to, from.xmm(), index);
    }

    /** Stores one of eight 16-bit integers. */
    public void vpextrw(Mem to, Vec from, int index) {
        narrow(Op.VPEXTRW, to, from.xmm(), index);
    }

    /** Stores one of four 32-bit integers. */
    public void vpextrd(Mem to, Vec from, int index) {
        narrow(Op.VPEXTRD, to, from.xmm(), index);
    }

    /** Copies the first element of memory or of a register to all lanes. */
    public void vpbroadcastb(Vec to, Operand from) {
        vector(Op.VPBROADCASTB, to, low(from));
    }

    /** Copies the first element of memory or of a register to all lanes. */
    public void vpbroadcastw(Vec to, Operand from) {
        vector(Op.VPBROADCASTW, to, low(from));
    }

    /** Copies the first element of memory or of a register to all lanes. */
    public void vpbroadcastd(Vec to, Operand from) {
        vector(Op.VPBROADCASTD, to, low(from));
    }

    /** Copies the first element of memory or of a register to all lanes. */
    public void vbroadcastss(Vec to, Operand from) {
        vector(Op.VBROADCASTSS, to, low(from));
    }

    /** Copies 128 bits to all 128-bit lanes. */
    public void vbroadcasti128(Vec to, Mem from) {
        vector(Op.VBROADCASTI128, to, from);
    }

    /** Copies 128 bits to all 128-bit lanes. */
    public void vbroadcasti32x4(Vec to, Mem from) {
        vector(Op.VBROADCASTI32X4, to, from);
    }

    /** Adds the products of 4 unsigned bytes of a and 4 signed bytes of b to each 32-bit lane (AVX512_VNNI). */
    public void vpdpbusd(Vec to, Vec a, Operand b) {
        vector(Op.VPDPBUSD, to, a, b);
    }

    /** Sums pairs of products of unsigned bytes of a and signed bytes of b, saturating at 16 bits. */
    public void vpmaddubsw(Vec to, Vec a, Operand b) {
        vector(Op.VPMADDUBSW, to, a, b);
    }

    /** Sums pairs of products of 16-bit integers. */
    public void vpmaddwd(Vec to, Vec a, Operand b) {
        vector(Op.VPMADDWD, to, a, b);
    }

    /** {@code a + b}, 32 bits. */
    public void vpaddd(Vec to, Vec a, Operand b) {
        vector(Op.VPADDD, to, a, b);
    }

    /** {@code a + b}, 16 bits. */
    public void vpaddw(Vec to, Vec a, Operand b) {
        vector(Op.VPADDW, to, a, b);
    }

    /** {@code a + b}, 8 bits. */
    public void vpaddb(Vec to, Vec a, Operand b) {
        vector(Op.VPADDB, to, a, b);
    }

    /** {@code a − b}, 32 bits. */
    public void vpsubd(Vec to, Vec a, Operand b) {
        vector(Op.VPSUBD, to, a, b);
    }

    /** {@code a − b}, 8 bits. */
    public void vpsubb(Vec to, Vec a, Operand b) {
        vector(Op.VPSUBB, to, a, b);
    }

    /** The low 32 bits of {@code a × b}. */
    public void vpmulld(Vec to, Vec a, Operand b) {
        vector(Op.VPMULLD, to, a, b);
    }

    /** Bytes of a: negated where b is negative, 0 where b is 0. */
    public void vpsignb(Vec to, Vec a, Operand b) {
        vector(Op.VPSIGNB, to, a, b);
    }

    /** {@code a & b}. */
    public void vpand(Vec to, Vec a, Operand b) {
        vector(Op.VPAND, to, a, b);
    }

    /** {@code a | b}. */
    public void vpor(Vec to, Vec a, Operand b) {
        vector(Op.VPOR, to, a, b);
    }

    /** {@code a ^ b}. */
    public void vpxor(Vec to, Vec a, Operand b) {
        vector(Op.VPXOR, to, a, b);
    }

    /** {@code a & b}, maskable. */
    public void vpandd(Vec to, Vec a, Operand b) {
        vector(Op.VPANDD, to, a, b);
    }

    /** {@code a | b}, maskable. */
    public void vpord(Vec to, Vec a, Operand b) {
        vector(Op.VPORD, to, a, b);
    }

    /** {@code a ^ b}, maskable. */
    public void vpxord(Vec to, Vec a, Operand b) {
        vector(Op.VPXORD, to, a, b);
    }

    /** Bytes of a at the indexes b, within 128 bits; 0 where b is negative. */
    public void vpshufb(Vec to, Vec a, Operand b) {
        vector(Op.VPSHUFB, to, a, b);
    }

    /** 32-bit lanes of b at the indexes a. */
    public void vpermd(Vec to, Vec a, Operand b) {
        vector(Op.VPERMD, to, a, b);
    }

    /** Bytes of b at the indexes a, whose bits above those of an index do not count (AVX512VBMI). */
    public void vpermb(Vec to, Vec a, Operand b) {
        vector(Op.VPERMB, to, a, b);
    }

    /** Narrows 32-bit integers of a and b to 16 bits, saturating, within 128 bits. */
    public void vpackssdw(Vec to, Vec a, Operand b) {
        vector(Op.VPACKSSDW, to, a, b);
    }

    /** Narrows 16-bit integers of a and b to 8 bits, saturating, within 128 bits. */
    public void vpacksswb(Vec to, Vec a, Operand b) {
        vector(Op.VPACKSSWB, to, a, b);
    }

    /** The maximum of signed 32-bit integers. */
    public void vpmaxsd(Vec to, Vec a, Operand b) {
        vector(Op.VPMAXSD, to, a, b);
    }

    /** The maximum of unsigned 32-bit integers. */
    public void vpmaxud(Vec to, Vec a, Operand b) {
        vector(Op.VPMAXUD, to, a, b);
    }

    /** The minimum of signed 32-bit integers. */
    public void vpminsd(Vec to, Vec a, Operand b) {
        vector(Op.VPMINSD, to, a, b);
    }

    /** {@code a + b}. */
    public void vaddps(Vec to, Vec a, Operand b) {
        vector(Op.VADDPS, to, a, b);
    }

    /** {@code a − b}. */
    public void vsubps(Vec to, Vec a, Operand b) {
        vector(Op.VSUBPS, to, a, b);
    }

    /** {@code a × b}. */
    public void vmulps(Vec to, Vec a, Operand b) {
        vector(Op.VMULPS, to, a, b);
    }

    /** {@code a / b}. */
    public void vdivps(Vec to, Vec a, Operand b) {
        vector(Op.VDIVPS, to, a, b);
    }

    /** {@code a > b ? a : b}: b if either is NaN. */
    public void vmaxps(Vec to, Vec a, Operand b) {
        vector(Op.VMAXPS, to, a, b);
    }

    /** {@code a < b ? a : b}: b if either is NaN. */
    public void vminps(Vec to, Vec a, Operand b) {
        vector(Op.VMINPS, to, a, b);
    }

    /** {@code a & b}. */
    public void vandps(Vec to, Vec a, Operand b) {
        vector(Op.VANDPS, to, a, b);
    }

    /** {@code a | b}. */
    public void vorps(Vec to, Vec a, Operand b) {
        vector(Op.VORPS, to, a, b);
    }

    /** {@code a ^ b}. */
    public void vxorps(Vec to, Vec a, Operand b) {
        vector(Op.VXORPS, to, a, b);
    }

    /** {@code to = a × to + b}, rounded once. */
    public void vfmadd213ps(Vec to, Vec a, Operand b) {
        vector(Op.VFMADD213PS, to, a, b);
    }

    /** {@code to = a × b + to}, rounded once. */
    public void vfmadd231ps(Vec to, Vec a, Operand b) {
        vector(Op.VFMADD231PS, to, a, b);
    }

    /** {@code to = a × to − b} in even lanes, {@code a × to + b} in odd lanes, rounded once. */
    public void vfmaddsub213ps(Vec to, Vec a, Operand b) {
        vector(Op.VFMADDSUB213PS, to, a, b);
    }

    /** {@code to = a × b − to}, rounded once. */
    public void vfmsub231ps(Vec to, Vec a, Operand b) {
        vector(Op.VFMSUB231PS, to, a, b);
    }

    /** {@code to = a × to − b}, rounded once. */
    public void vfmsub213ps(Vec to, Vec a, Operand b) {
        vector(Op.VFMSUB213PS, to, a, b);
    }

    /** {@code to = −(a × b) + to}, rounded once. */
    public void vfnmadd231ps(Vec to, Vec a, Operand b) {
        vector(Op.VFNMADD231PS, to, a, b);
    }

    /** {@code to = −(a × to) + b}, rounded once. */
    public void vfnmadd213ps(Vec to, Vec a, Operand b) {
        vector(Op.VFNMADD213PS, to, a, b);
    }

    /** Interleaves the low halves of 128 bits. */
    public void vunpcklps(Vec to, Vec a, Operand b) {
        vector(Op.VUNPCKLPS, to, a, b);
    }

    /** Interleaves the high halves of 128 bits. */
    public void vunpckhps(Vec to, Vec a, Operand b) {
        vector(Op.VUNPCKHPS, to, a, b);
    }

    /** {@code mask ? b : a}; the mask is the destination's. */
    public void vblendmps(Vec to, Vec a, Operand b) {
        vector(Op.VBLENDMPS, to, a, b);
    }

    /** {@link #vpdpbusd} in the VEX encoding of AVX-VNNI. */
    public void vpdpbusdVex(Vec to, Vec a, Operand b) {
        vector(Op.VPDPBUSD_VEX, to, a, b);
    }

    /** Absolute values of bytes. */
    public void vpabsb(Vec to, Operand from) {
        vector(Op.VPABSB, to, from);
    }

    /** Converts integers to floats, rounding to nearest even. */
    public void vcvtdq2ps(Vec to, Operand from) {
        vector(Op.VCVTDQ2PS, to, from);
    }

    /**
     * Converts floats to integers, rounding to nearest even. NaN and numbers out of range become the smallest integer.
     */
    public void vcvtps2dq(Vec to, Operand from) {
        vector(Op.VCVTPS2DQ, to, from);
    }

    /** Converts half to single precision. The source register has the width that is read. */
    public void vcvtph2ps(Vec to, Operand from) {
        vector(Op.VCVTPH2PS, to, from);
    }

    /** Square roots. */
    public void vsqrtps(Vec to, Operand from) {
        vector(Op.VSQRTPS, to, from);
    }

    /** {@code a × 2^⌊b⌋}, rounded once. */
    public void vscalefps(Vec to, Vec a, Operand b) {
        vector(Op.VSCALEFPS, to, a, b);
    }

    /** Widens unsigned bytes to 32 bits. The source register has the width that is read. */
    public void vpmovzxbd(Vec to, Operand from) {
        vector(Op.VPMOVZXBD, to, from);
    }

    /** Widens bytes to 32 bits. The source register has the width that is read. */
    public void vpmovsxbd(Vec to, Operand from) {
        vector(Op.VPMOVSXBD, to, from);
    }

    /** Widens unsigned 16-bit integers to 32 bits. The source register has the width that is read. */
    public void vpmovzxwd(Vec to, Operand from) {
        vector(Op.VPMOVZXWD, to, from);
    }

    /** Widens 16-bit integers to 32 bits. The source register has the width that is read. */
    public void vpmovsxwd(Vec to, Operand from) {
        vector(Op.VPMOVSXWD, to, from);
    }

    /** Widens unsigned bytes to 16 bits. The source register has the width that is read. */
    public void vpmovzxbw(Vec to, Operand from) {
        vector(Op.VPMOVZXBW, to, from);
    }

    /** Widens bytes to 16 bits. The source register has the width that is read. */
    public void vpmovsxbw(Vec to, Operand from) {
        vector(Op.VPMOVSXBW, to, from);
    }

    /** Narrows 32 bits to bytes, saturating. */
    public void vpmovsdb(Operand to, Vec from) {
        narrow(Op.VPMOVSDB, to, from, NO_IMMEDIATE);
    }

    /** Narrows 32 bits to bytes. */
    public void vpmovdb(Operand to, Vec from) {
        narrow(Op.VPMOVDB, to, from, NO_IMMEDIATE);
    }

    /** Converts single to half precision; rounding mode 0 rounds to nearest even. */
    public void vcvtps2ph(Operand to, Vec from, int rounding) {
        narrow(Op.VCVTPS2PH, to, from, rounding);
    }

    /** Extracts 128 of 256 bits. */
    public void vextracti128(Operand to, Vec from, int half) {
        narrow(Op.VEXTRACTI128, to, from, half);
    }

    /** Extracts 128 bits. */
    public void vextracti32x4(Operand to, Vec from, int quarter) {
        narrow(Op.VEXTRACTI32X4, to, from, quarter);
    }

    /** Extracts 256 of 512 bits. */
    public void vextracti64x4(Operand to, Vec from, int half) {
        narrow(Op.VEXTRACTI64X4, to, from, half);
    }

    /** Copies a and replaces 128 of its bits. */
    public void vinserti128(Vec to, Vec a, Operand b, int half) {
        vector(Op.VINSERTI128, to, a, b, half);
    }

    /** Any function of three bits: the result is bit {@code 4 × to + 2 × a + b} of the table. */
    public void vpternlogd(Vec to, Vec a, Operand b, int table) {
        vector(Op.VPTERNLOGD, to, a, b, table);
    }

    /** Compares; the result is a mask. */
    public void vcmpps(Mask to, Vec a, Operand b, int predicate) {
        compare(to, a, b, predicate);
    }

    /** Compares; the lanes of the result are all ones or all zeros. */
    public void vcmpps(Vec to, Vec a, Operand b, int predicate) {
        vector(Op.VCMPPS_VEX, to, a, b, predicate);
    }

    /** Rearranges 4 lanes within 128 bits. */
    public void vpermilps(Vec to, Operand from, int order) {
        vector(Op.VPERMILPS, to, from, order);
    }

    /** Rearranges 4 lanes within 128 bits. */
    public void vpshufd(Vec to, Operand from, int order) {
        vector(Op.VPSHUFD, to, from, order);
    }

    /** Selects two lanes of a and two lanes of b, within 128 bits. */
    public void vshufps(Vec to, Vec a, Operand b, int order) {
        vector(Op.VSHUFPS, to, a, b, order);
    }

    /** Selects 128-bit lanes: half of the result's from a and half from b. */
    public void vshuff32x4(Vec to, Vec a, Operand b, int order) {
        vector(Op.VSHUFF32X4, to, a, b, order);
    }

    /** {@code sign bit of the mask ? b : a}. */
    public void vblendvps(Vec to, Vec a, Operand b, Vec signs) {
        checkSameWidth(Op.VBLENDVPS, to, signs, b);
        if (signs.index() > 15) {
            throw refusal(Op.VBLENDVPS, to.index(), a.index(), b, "has no encoding for a mask in a register above 15");
        }
        vector(Op.VBLENDVPS, to, a, b, signs.index() << 4);
    }

    /** Shifts each lane of a to the left by the same lane of b. */
    public void vpsllvd(Vec to, Vec a, Operand b) {
        vector(Op.VPSLLVD, to, a, b);
    }

    /** Shifts every lane by a constant. */
    public void vpsrld(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTD, 2, to, from, count);
    }

    /** Shifts every lane by a constant. */
    public void vpsrad(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTD, 4, to, from, count);
    }

    /** Shifts every lane by a constant. */
    public void vpslld(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTD, 6, to, from, count);
    }

    /** Shifts every lane by a constant. */
    public void vpsrlw(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTW, 2, to, from, count);
    }

    /** Shifts every lane by a constant. */
    public void vpsraw(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTW, 4, to, from, count);
    }

    /** Shifts every lane by a constant. */
    public void vpsllw(Vec to, Vec from, int count) {
        shift(Op.VPSHIFTW, 6, to, from, count);
    }

    // ── encoding ────────────────────────────────────────────────────────────────────────────────────────────────────

    private void shift(Op op, int extension, Vec to, Vec from, int count) {
        encode(op, to.bits(), extension, to.index(), from, to.mask(), to.zeroing(), count);
    }

    /** Encodes a store: the register is the source and the operand is the destination. */
    private void narrow(Op op, Operand to, Vec from, int immediate) {
        Mask mask = to instanceof Vec vec ? vec.mask() : from.mask();
        encode(op, from.bits(), from.index(), 0, to, mask, to instanceof Vec vec && vec.zeroing(), immediate);
    }

    private void compare(Mask to, Vec a, Operand b, int predicate) {
        checkWidth(Op.VCMPPS, a.bits(), to.number(), a.index(), b);
        // only EVEX has a mask as the destination
        evex(Op.VCMPPS, a.bits(), to.number(), a.index(), b, Mask.K0, false);
        tail(Op.VCMPPS, a.bits(), to.number(), b, true, predicate);
    }

    private void vector(Op op, Vec register, Vec second, Operand last) {
        vector(op, register, second, last, NO_IMMEDIATE);
    }

    private void vector(Op op, Vec register, Vec second, Operand last, int immediate) {
        checkSameWidth(op, register, second, last);
        encode(
                op,
                register.bits(),
                register.index(),
                second.index(),
                last,
                register.mask(),
                register.zeroing(),
                immediate);
    }

    private void vector(Op op, Vec register, Operand last) {
        vector(op, register, last, NO_IMMEDIATE);
    }

    private void vector(Op op, Vec register, Operand last, int immediate) {
        encode(op, register.bits(), register.index(), 0, last, register.mask(), register.zeroing(), immediate);
    }

    /** Encodes an instruction with a general register as its operand. */
    private void vector(Op op, Vec register, Gp last) {
        encode(op, 128, register.index(), 0, Vec.xmm(last.number()), Mask.K0, false, NO_IMMEDIATE);
    }

    private static Operand low(Operand from) {
        return from instanceof Vec vec ? vec.xmm() : from;
    }

    private void encode(
            Op op, int bits, int register, int second, Operand last, Mask mask, boolean zeroing, int immediate) {
        boolean high = register > 15 || second > 15 || (last instanceof Vec vec && vec.index() > 15);
        boolean broadcast = last instanceof Mem mem && mem.broadcast();
        boolean fitsVex = !high && !broadcast && bits < 512 && mask == Mask.K0;
        checkWidth(op, bits, register, second, last);
        if (broadcast && op.tuple != Op.Tuple.FULL) {
            throw refusal(op, register, second, last, "has no broadcast");
        }
        if (op.forms != Op.Forms.EVEX && fitsVex) {
            vex(op, bits, register, second, last);
            tail(op, bits, register, last, false, immediate);
        } else if (op.forms != Op.Forms.VEX) {
            evex(op, bits, register, second, last, mask, zeroing);
            tail(op, bits, register, last, true, immediate);
        } else {
            throw refusal(op, register, second, last, "has no form with 512 bits, masks or registers above 15");
        }
    }

    private static void checkSameWidth(Op op, Vec register, Vec second, Operand last) {
        if (register.bits() != second.bits()) {
            throw refusal(
                    op,
                    register.index(),
                    second.index(),
                    last,
                    "takes no " + register.bits() + " and " + second.bits() + " bits");
        }
    }

    /** A register operand must have the width of the memory operand, but at least 128 bits. */
    private static void checkWidth(Op op, int bits, int register, int second, Operand last) {
        if (!op.hasWidth(bits)) {
            throw refusal(op, register, second, last, "has no form of " + bits + " bits");
        }
        int needed = Math.max(Vec.MIN_BITS, op.tuple.bytes(bits, false) * Byte.SIZE);
        if (last instanceof Vec vec && vec.bits() != needed) {
            throw refusal(
                    op, register, second, last, "of " + bits + " bits needs another register of " + needed + " bits");
        }
    }

    private static IllegalArgumentException refusal(Op op, int register, int second, Operand last, String why) {
        return new IllegalArgumentException(op.name().toLowerCase(Locale.ROOT) + " " + why + ": registers " + register
                + " and " + second + ", " + last);
    }

    /** {@code C5 [R vvvv L pp]} or {@code C4 [R X B map] [W vvvv L pp]}, R, X, B and vvvv inverted. */
    private void vex(Op op, int bits, int register, int second, Operand last) {
        int r = register >> 3 & 1;
        int x = last instanceof Mem mem && mem.index() != null ? mem.index().number() >> 3 : 0;
        int b = baseOf(last) >> 3 & 1;
        int rest = (~second & 15) << 3 | (bits == 256 ? 4 : 0) | op.prefix;
        if (x == 0 && b == 0 && op.map == 1 && op.w == 0) {
            emit(0xC5);
            emit((r ^ 1) << 7 | rest);
        } else {
            emit(0xC4);
            emit((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | op.map);
            emit(op.w << 7 | rest);
        }
    }

    /** {@code 62 [R X B R' 0 map] [W vvvv 1 pp] [z L'L b V' aaa]}, all register bits inverted. */
    private void evex(Op op, int bits, int register, int second, Operand last, Mask mask, boolean zeroing) {
        int x = last instanceof Mem mem ? mem.index() == null ? 0 : mem.index().number() >> 3 : baseOf(last) >> 4 & 1;
        int b = baseOf(last) >> 3 & 1;
        boolean broadcast = last instanceof Mem mem && mem.broadcast();
        emit(0x62);
        emit((~register >> 3 & 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (~register >> 4 & 1) << 4 | op.map);
        emit(op.w << 7 | (~second & 15) << 3 | 4 | op.prefix);
        int length = bits == 512 ? 2 : bits == 256 ? 1 : 0;
        emit((zeroing ? 0x80 : 0) | length << 5 | (broadcast ? 0x10 : 0) | (~second >> 4 & 1) << 3 | mask.number());
    }

    private static int baseOf(Operand last) {
        return switch (last) {
            case Vec vec -> vec.index();
            case Mem mem -> mem.base() == null ? 0 : mem.base().number();
        };
    }

    private void tail(Op op, int bits, int register, Operand last, boolean compressed, int immediate) {
        emit(op.opcode);
        boolean hasImmediate = immediate != NO_IMMEDIATE;
        switch (last) {
            case Vec vec -> modrm(register, vec.index());
            case Mem mem -> {
                int unit = compressed ? op.tuple.bytes(bits, mem.broadcast()) : 1;
                modrm(register, mem, unit, hasImmediate ? 1 : 0);
            }
        }
        if (hasImmediate) {
            emit(immediate);
        }
    }

    private void kmov(int prefix, Mask to, Gp from) {
        boolean extended = from.number() > 7;
        if (extended) {
            emit(0xC4);
            emit(0xC1);
        } else {
            emit(0xC5);
        }
        emit((extended ? 0x78 : 0xF8) | prefix);
        emit(0x92);
        modrm(to.number(), from.number());
    }

    private void general(int opcode, int register, Gp other) {
        rex(true, register, 0, other.number(), false);
        emit(opcode);
        modrm(register, other.number());
    }

    private void general(int opcode, int register, Mem mem, boolean wide) {
        rex(wide, register, indexOf(mem), baseOf(mem), false);
        emit(opcode);
        modrm(register, mem, 1, 0);
    }

    private void escaped(int opcode, int register, Mem mem) {
        rex(false, register, indexOf(mem), baseOf(mem), false);
        emit(0x0F);
        emit(opcode);
        modrm(register, mem, 1, 0);
    }

    private void prefetch(int hint, Mem mem) {
        rex(false, 0, indexOf(mem), baseOf(mem), false);
        emit(0x0F);
        emit(0x18);
        modrm(hint, mem, 1, 0);
    }

    private void immediate(int extension, Gp a, int value) {
        rex(true, 0, 0, a.number(), false);
        if (isByte(value)) {
            emit(0x83);
            modrm(extension, a.number());
        } else if (a == Gp.RAX) {
            emit(extension << 3 | 5);
        } else {
            emit(0x81);
            modrm(extension, a.number());
        }
        emitImmediate(value);
    }

    private static int indexOf(Mem mem) {
        @Nullable Gp index = mem.index();
        return index == null ? 0 : index.number();
    }

    private void rex(boolean wide, int register, int index, int base, boolean always) {
        int bits = (wide ? 8 : 0) | (register >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if (bits != 0 || always) {
            emit(0x40 | bits);
        }
    }

    private void modrm(int register, int other) {
        emit(0xC0 | (register & 7) << 3 | (other & 7));
    }

    /**
     * Encodes a memory operand.
     *
     * @param unit the unit of a one-byte displacement, in bytes
     * @param following number of bytes of the instruction after the displacement
     */
    private void modrm(int register, Mem mem, int unit, int following) {
        int reg = (register & 7) << 3;
        Gp base = mem.base();
        if (base == null) {
            emit(5 | reg);
            fixups.add(new Fixup(size, size + 4 + following, label(mem)));
            emit32(mem.displacement());
            return;
        }
        int displacement = mem.displacement();
        int low = base.number() & 7;
        boolean none = displacement == 0 && low != 5; // rbp and r13 have no encoding without displacement
        boolean small = displacement % unit == 0 && isByte(displacement / unit);
        int mode = none ? 0 : small ? 0x40 : 0x80;
        if (mem.index() != null || low == 4) {
            emit(mode | reg | 4);
            int index = mem.index() == null ? 4 : mem.index().number() & 7;
            emit(Integer.numberOfTrailingZeros(mem.scale()) << 6 | index << 3 | low);
        } else {
            emit(mode | reg | low);
        }
        if (mode == 0x40) {
            emit(displacement / unit);
        } else if (mode == 0x80) {
            emit32(displacement);
        }
    }

    private static Label label(Mem mem) {
        Label label = mem.label();
        if (label == null) {
            throw new AssertionError(mem);
        }
        return label;
    }

    private void distance(Label to) {
        fixups.add(new Fixup(size, size + 4, to));
        emit32(0);
    }

    private static boolean isByte(int value) {
        return value == (byte) value;
    }

    private void emitImmediate(int value) {
        if (isByte(value)) {
            emit(value);
        } else {
            emit32(value);
        }
    }

    private void emit(int value) {
        if (size == code.length) {
            code = Arrays.copyOf(code, 2 * size);
        }
        code[size++] = (byte) value;
    }

    private void emit32(int value) {
        emit(value);
        emit(value >> 8);
        emit(value >> 16);
        emit(value >> 24);
    }
}
