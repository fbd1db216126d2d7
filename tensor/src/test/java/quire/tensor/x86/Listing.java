package quire.tensor.x86;

import static quire.tensor.x86.Mem.at;

import java.lang.foreign.ValueLayout;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Every instruction of {@link Assembler} with operands that are encoded differently: low and high registers, masks,
 * broadcasts, each size of displacement, and the bases and indexes that need more bytes. Each line has the instruction
 * as text for another assembler, in Intel's syntax.
 */
final class Listing {
    /** An instruction as text, and its bytes in hexadecimal. */
    record Line(String text, String code) {}

    private static final int[][] VEX_REGISTERS = {{1, 2, 3}, {9, 2, 3}, {1, 10, 3}, {9, 10, 11}};
    private static final int[][] EVEX_REGISTERS = {{17, 2, 3}, {1, 18, 3}, {1, 2, 19}, {25, 26, 27}};

    private static final List<Mem> MEMORY = List.of(
            at(Gp.RAX),
            at(Gp.RBP),
            at(Gp.R13),
            at(Gp.RSP, 8),
            at(Gp.R12, -128),
            at(Gp.RDI, 127),
            at(Gp.RSI, 128),
            at(Gp.RDX, 508),
            at(Gp.RDX, -512),
            at(Gp.R9, 4096),
            at(Gp.R8, 8128),
            at(Gp.RBX, -8192),
            at(Gp.RAX, Gp.R10, 4),
            at(Gp.R14, Gp.RCX, 8, 64),
            at(Gp.RBP, Gp.RDI, 2, 100000),
            constant(0),
            constant(64),
            constant(-4));

    /** For tests of masks. */
    private static final List<Mem> SOME_MEMORY =
            List.of(at(Gp.RAX), at(Gp.RDX, 512), at(Gp.R9, Gp.R10, 4), constant(8));

    /** Distances of jumps from the end of the jump. */
    private static final int[] DISTANCES = {0, 1, 300};

    private static final Set<String> NO_INSTRUCTIONS = Set.of("label", "bind", "align", "constant", "finish");

    private final List<Line> lines = new ArrayList<>();
    private final Set<String> listed = new TreeSet<>();

    private Listing() {}

    static List<Line> all() {
        Listing listing = new Listing();
        listing.general();
        listing.jumps();
        listing.vectors();
        Set<String> instructions = Arrays.stream(Assembler.class.getDeclaredMethods())
                .filter(method -> Modifier.isPublic(method.getModifiers()))
                .filter(method -> !NO_INSTRUCTIONS.contains(method.getName()))
                .map(Method::toString) // overloads are different instructions
                .collect(Collectors.toCollection(TreeSet::new));
        instructions.removeAll(listing.listed);
        if (!instructions.isEmpty()) {
            throw new IllegalStateException("instructions without a line: " + instructions);
        }
        return listing.lines;
    }

    /** A constant relative to the end of the instruction; {@link #add} puts a label there. */
    private static Mem constant(int displacement) {
        return Mem.rip(new Label()).plus(displacement);
    }

    private void general() {
        Gp[] registers = {Gp.RAX, Gp.RBX, Gp.RSP, Gp.RBP, Gp.R8, Gp.R12, Gp.R15};
        for (Gp a : registers) {
            for (Gp b : registers) {
                for (String name : List.of("add", "or", "and", "sub", "xor", "cmp", "test", "mov", "imul")) {
                    add(name, name, a, b);
                }
                add("movl", "mov " + half(a) + ", " + half(b), a, b);
                add("imul", "imul " + text(a) + ", " + text(b) + ", 7", a, b, 7);
                add("imul", "imul " + text(a) + ", " + text(b) + ", 700", a, b, 700);
            }
            for (int value : new int[] {1, -128, 127, 128, 1 << 20}) {
                for (String name : List.of("add", "or", "and", "sub", "xor", "cmp")) {
                    add(name, name, a, value);
                }
            }
            add("mov", "mov", a, 0xFFFFL);
            add("mov", "mov", a, -1L);
            add("mov", "movabs " + text(a) + ", " + 0x123456789ABCL, a, 0x123456789ABCL);
            for (String name : List.of("inc", "dec", "neg", "push", "pop")) {
                add(name, name, a);
            }
            for (String name : List.of("shl", "shr", "sar")) {
                add(name, name, a, 5);
            }
            for (Mem mem : MEMORY) {
                for (String name : List.of("add", "or", "and", "sub", "xor", "cmp", "mov", "lea")) {
                    add(name, name + " " + text(a) + ", " + plain(mem), a, mem);
                }
                add("mov", "mov " + plain(mem) + ", " + text(a), mem, a);
                add("movl", "mov " + half(a) + ", " + plain(mem), a, mem);
                add("movl", "mov " + plain(mem) + ", " + half(a), mem, a);
                add("movsxd", "movsxd " + text(a) + ", DWORD PTR " + plain(mem), a, mem);
                add("movzxw", "movzx " + half(a) + ", WORD PTR " + plain(mem), a, mem);
                add("movzxb", "movzx " + half(a) + ", BYTE PTR " + plain(mem), a, mem);
            }
            add("kmovw", "kmovw k3, " + half(a), Mask.K3, a);
            add("kmovd", "kmovd k7, " + half(a), Mask.K7, a);
            add("vmovd", "vmovd xmm9, " + half(a), Vec.xmm(9), a);
            add("vmovd", "vmovd xmm21, " + half(a), Vec.xmm(21), a);
            add("vmovd", "vmovd " + half(a) + ", xmm5", a, Vec.xmm(5));
            add("vmovd", "vmovd " + half(a) + ", xmm25", a, Vec.xmm(25));
        }
        for (Mem mem : MEMORY) {
            for (String name : List.of("prefetcht0", "prefetcht1", "prefetchnta")) {
                add(name, name + " " + plain(mem), mem);
            }
        }
        for (String name : List.of("ret", "cpuid", "xgetbv", "vzeroupper")) {
            add(name, name);
        }
    }

    /** Jumps with 32-bit distances; the assembler writes no others. */
    private void jumps() {
        for (String name : "jmp jb jae jz jnz jbe ja jl jge jle jg".split(" ", -1)) {
            for (int distance : DISTANCES) {
                Assembler forwards = new Assembler();
                Label behind = forwards.label();
                invoke(forwards, name, behind);
                space(forwards, distance);
                forwards.bind(behind);
                String code = hex(forwards);
                lines.add(new Line(
                        "{disp32} " + name + " 8f+" + distance, code.substring(0, code.length() - 2 * distance)));

                Assembler backwards = new Assembler();
                Label before = backwards.label();
                backwards.bind(before);
                space(backwards, distance);
                invoke(backwards, name, before);
                lines.add(new Line(
                        "{disp32} " + name + " 7b-" + distance, hex(backwards).substring(2 * distance)));
            }
        }
    }

    private static void space(Assembler assembler, int bytes) {
        for (int i = 0; i < bytes; i++) {
            assembler.ret();
        }
    }

    private void vectors() {
        for (String name :
                ("vpaddd vpsubd vpmulld vpsllvd vpackssdw vpmaxsd vpmaxud vpminsd vaddps vsubps vmulps vdivps vmaxps vminps vfmadd213ps"
                                + " vfmadd231ps vfmsub231ps vfmsub213ps vfnmadd231ps vfnmadd213ps vfmaddsub213ps vunpcklps vunpckhps")
                        .split(" ", -1)) {
            three(name, true, true, true, 128);
        }
        three("vpermd", true, true, true, 256);
        three("vpermb", false, true, false, 128);
        for (String name : "vpmaddubsw vpmaddwd vpaddw vpaddb vpsubb vpshufb vpacksswb".split(" ", -1)) {
            three(name, true, true, false, 128);
        }
        for (String name : "vpsignb vpand vpor vpxor vandps vorps vxorps vpdpbusdVex".split(" ", -1)) {
            three(name, true, false, false, 128);
        }
        for (String name : "vpdpbusd vpandd vpord vpxord vblendmps vscalefps".split(" ", -1)) {
            three(name, false, true, true, 128);
        }
        three("vpternlogd", false, true, true, 128, 0xF8);
        three("vshufps", true, true, true, 128, 0x4E);
        three("vshuff32x4", false, true, true, 256, 0x4E);
        for (String name : List.of("vcvtdq2ps", "vcvtps2dq", "vsqrtps")) {
            two(name, true, 1);
        }
        two("vpabsb", false, 1);
        two("vpermilps", true, 1, 0xB1);
        two("vpshufd", true, 1, 0xB1);
        for (String name : List.of("vpmovzxbd", "vpmovsxbd")) {
            two(name, false, 4);
        }
        for (String name : List.of("vpmovzxwd", "vpmovsxwd", "vpmovzxbw", "vpmovsxbw", "vcvtph2ps")) {
            two(name, false, 2);
        }
        for (String name : List.of("vpbroadcastb", "vpbroadcastw", "vpbroadcastd", "vbroadcastss")) {
            broadcasts(name);
        }
        moves();
        narrowing();
        for (String name : List.of("vpsrld", "vpsrad", "vpslld", "vpsrlw", "vpsraw", "vpsllw")) {
            for (int bits : new int[] {128, 256, 512}) {
                for (int[] r : bits < 512 ? both() : EVEX_REGISTERS) {
                    Vec to = vec(r[0], bits);
                    Vec from = vec(r[2], bits);
                    add(name, name + " " + to + ", " + from + ", 11", to, from, 11);
                }
                Vec masked = vec(4, bits).zero(Mask.K2);
                add(name, name + " " + masked + ", " + vec(5, bits) + ", 11", masked, vec(5, bits), 11);
            }
        }
        for (int[] r : VEX_REGISTERS) {
            for (Mem mem : MEMORY) {
                add("vmovq", "vmovq QWORD PTR " + plain(mem) + ", xmm" + r[0], mem, Vec.xmm(r[0]));
                for (String name : List.of("vpextrb", "vpextrw", "vpextrd")) {
                    add(name, name + " " + plain(mem) + ", xmm" + r[0] + ", 3", mem, Vec.xmm(r[0]), 3);
                }
            }
            for (int bits : new int[] {128, 256}) {
                legacy(vec(r[0], bits), vec(r[1], bits), vec(r[2], bits));
            }
            for (Operand last : operands(Vec.xmm(r[2]), false)) {
                add(
                        "vinserti128",
                        "vinserti128 ymm" + r[0] + ", ymm" + r[1] + ", " + text(last, 128, 1) + ", 1",
                        Vec.ymm(r[0]),
                        Vec.ymm(r[1]),
                        last,
                        1);
            }
        }
        for (int bits = 128; bits <= 512; bits *= 2) {
            for (int[] r : both()) {
                Vec a = vec(r[1], bits);
                for (Operand last : operands(vec(r[2], bits), true)) {
                    add("vcmpps", "vcmpps k2, " + a + ", " + text(last, bits, 1) + ", 5", Mask.K2, a, last, 5);
                }
            }
        }
    }

    /** Instructions that exist only in VEX. */
    private void legacy(Vec x, Vec y, Vec z) {
        for (Mem mem : MEMORY) {
            add("vmaskmovps", "vmaskmovps " + x + ", " + y + ", " + plain(mem), x, y, mem);
            add("vmaskmovps", "vmaskmovps " + plain(mem) + ", " + y + ", " + x, mem, y, x);
        }
        Vec signs = vec(7, x.bits());
        for (Operand last : operands(z, false)) {
            String text = x + ", " + y + ", " + text(last, x.bits(), 1) + ", ";
            add("vcmpps", "vcmpps " + text + 5, x, y, last, 5);
            add("vblendvps", "vblendvps " + text + signs, x, y, last, signs);
        }
    }

    private static int[][] both() {
        int[][] all = Arrays.copyOf(VEX_REGISTERS, VEX_REGISTERS.length + EVEX_REGISTERS.length);
        System.arraycopy(EVEX_REGISTERS, 0, all, VEX_REGISTERS.length, EVEX_REGISTERS.length);
        return all;
    }

    private void three(String name, boolean vex, boolean evex, boolean broadcast, int least, Object... immediate) {
        for (int bits = least; bits <= (evex ? 512 : 256); bits *= 2) {
            int[][] registers = !evex ? VEX_REGISTERS : vex && bits < 512 ? both() : EVEX_REGISTERS;
            for (int[] r : registers) {
                for (Operand last : operands(vec(r[2], bits), evex && broadcast)) {
                    line(name, vec(r[0], bits), vec(r[1], bits), last, bits, immediate);
                }
            }
            if (evex) {
                line(name, vec(1, bits).mask(Mask.K5), vec(2, bits), vec(3, bits), bits, immediate);
                line(name, vec(30, bits).zero(Mask.K1), vec(2, bits), vec(3, bits), bits, immediate);
                for (Mem mem : SOME_MEMORY) {
                    line(name, vec(1, bits).mask(Mask.K5), vec(2, bits), mem, bits, immediate);
                    line(name, vec(30, bits).zero(Mask.K1), vec(2, bits), mem, bits, immediate);
                    if (broadcast) {
                        line(name, vec(1, bits).zero(Mask.K5), vec(2, bits), mem.bcast(), bits, immediate);
                    }
                }
            }
        }
    }

    private void line(String name, Vec to, Vec a, Operand last, int bits, Object... immediate) {
        String mnemonic = name.equals("vpdpbusdVex") ? "{vex} vpdpbusd" : name;
        String tail = immediate.length == 0 ? "" : ", " + immediate[0];
        List<Object> operands = new ArrayList<>(List.of(to, a, last));
        operands.addAll(List.of(immediate));
        add(name, mnemonic + " " + to + ", " + a + ", " + text(last, bits, 1) + tail, operands.toArray());
    }

    private void two(String name, boolean broadcast, int ratio, Object... immediate) {
        String tail = immediate.length == 0 ? "" : ", " + immediate[0];
        for (int bits = 128; bits <= 512; bits *= 2) {
            for (int[] r : bits < 512 ? both() : EVEX_REGISTERS) {
                for (Operand from : operands(vec(r[2], Math.max(128, bits / ratio)), broadcast)) {
                    Vec to = vec(r[0], bits);
                    List<Object> operands = new ArrayList<>(List.of(to, from));
                    operands.addAll(List.of(immediate));
                    add(name, name + " " + to + ", " + text(from, bits, ratio) + tail, operands.toArray());
                }
            }
            List<Operand> sources = new ArrayList<>(SOME_MEMORY);
            sources.add(vec(5, Math.max(128, bits / ratio)));
            if (broadcast) {
                SOME_MEMORY.forEach(mem -> sources.add(mem.bcast()));
            }
            for (Vec masked : List.of(vec(4, bits).zero(Mask.K2), vec(28, bits).mask(Mask.K7))) {
                for (Operand from : sources) {
                    List<Object> operands = new ArrayList<>(List.of(masked, from));
                    operands.addAll(List.of(immediate));
                    add(name, name + " " + masked + ", " + text(from, bits, ratio) + tail, operands.toArray());
                }
            }
        }
    }

    private void broadcasts(String name) {
        String size = name.endsWith("b") ? "BYTE" : name.endsWith("w") ? "WORD" : "DWORD";
        for (int bits = 128; bits <= 512; bits *= 2) {
            for (int[] r : bits < 512 ? both() : EVEX_REGISTERS) {
                add(name, name + " " + vec(r[0], bits) + ", xmm" + r[2], vec(r[0], bits), Vec.xmm(r[2]));
                for (Mem mem : MEMORY) {
                    add(name, name + " " + vec(r[0], bits) + ", " + size + " PTR " + plain(mem), vec(r[0], bits), mem);
                }
            }
            Vec masked = vec(4, bits).zero(Mask.K2);
            add(name, name + " " + masked + ", xmm5", masked, Vec.xmm(5));
            for (Mem mem : SOME_MEMORY) {
                add(name, name + " " + masked + ", " + size + " PTR " + plain(mem), masked, mem);
            }
        }
    }

    private void moves() {
        for (String name : List.of("vmovups", "vmovdqu", "vmovdqu32", "vmovdqa")) {
            String vexName = name.substring(0, 7);
            String evexName = name.equals("vmovups") ? name : vexName + "32";
            boolean stores = name.equals("vmovups") || name.equals("vmovdqu");
            for (int bits = 128; bits <= 512; bits *= 2) {
                for (int[] r : bits < 512 ? both() : EVEX_REGISTERS) {
                    Vec register = vec(r[0], bits);
                    boolean high = r[0] > 15 || bits == 512;
                    String copyName = high || r[2] > 15 ? evexName : vexName;
                    String memoryName = high ? evexName : vexName;
                    add(name, copyName + " " + register + ", " + vec(r[2], bits), register, vec(r[2], bits));
                    for (Mem mem : MEMORY) {
                        add(name, memoryName + " " + register + ", " + plain(mem), register, mem);
                        if (stores) {
                            add(name, memoryName + " " + plain(mem) + ", " + register, mem, register);
                        }
                    }
                }
                for (Vec masked :
                        List.of(vec(7, bits).mask(Mask.K1), vec(27, bits).zero(Mask.K6))) {
                    add(name, evexName + " " + masked + ", " + vec(3, bits), masked, vec(3, bits));
                    for (Mem mem : MEMORY) {
                        add(name, evexName + " " + masked + ", " + plain(mem), masked, mem);
                        if (stores && !masked.zeroing()) {
                            add(name, evexName + " " + plain(mem) + "{k1}, " + vec(7, bits), mem, masked);
                        }
                    }
                }
            }
        }
        for (Mem mem : MEMORY) {
            for (int register : new int[] {2, 12, 22}) {
                add("vmovss", "vmovss xmm" + register + ", DWORD PTR " + plain(mem), Vec.xmm(register), mem);
                add("vmovss", "vmovss DWORD PTR " + plain(mem) + ", xmm" + register, mem, Vec.xmm(register));
            }
            add("vbroadcasti128", "vbroadcasti128 ymm9, XMMWORD PTR " + plain(mem), Vec.ymm(9), mem);
            for (Vec to :
                    List.of(Vec.zmm(9), Vec.ymm(19), Vec.ymm(2), Vec.zmm(1).zero(Mask.K4))) {
                add("vbroadcasti32x4", "vbroadcasti32x4 " + to + ", XMMWORD PTR " + plain(mem), to, mem);
            }
        }
    }

    private void narrowing() {
        for (int[] r : EVEX_REGISTERS) {
            for (String name : List.of("vpmovsdb", "vpmovdb")) {
                narrow(name, Vec.xmm(r[0]), Vec.zmm(r[2]));
                narrow(name, Vec.xmm(r[0]), Vec.ymm(r[2]));
                narrow(name, Vec.xmm(r[0]), Vec.xmm(r[2]));
                narrow(name, Vec.xmm(r[0]).zero(Mask.K3), Vec.zmm(r[2]).mask(Mask.K3));
            }
            narrow("vextracti32x4", Vec.xmm(r[0]), Vec.zmm(r[2]), 3);
            narrow("vextracti32x4", Vec.xmm(r[0]), Vec.ymm(r[2]), 1);
            narrow("vextracti32x4", Vec.xmm(r[0]).mask(Mask.K3), Vec.zmm(r[2]).mask(Mask.K3), 2);
            narrow("vextracti64x4", Vec.ymm(r[0]), Vec.zmm(r[2]), 1);
            narrow("vcvtps2ph", Vec.ymm(r[0]), Vec.zmm(r[2]), 0);
            narrow("vcvtps2ph", Vec.xmm(r[0]), Vec.ymm(r[2]), 0);
            narrow("vcvtps2ph", Vec.xmm(r[0]), Vec.xmm(r[2]), 0);
            narrow("vcvtps2ph", Vec.ymm(r[0]).zero(Mask.K3), Vec.zmm(r[2]).mask(Mask.K3), 0);
        }
        for (int[] r : VEX_REGISTERS) {
            narrow("vextracti32x4", Vec.xmm(r[0]), Vec.ymm(r[2]), 1);
            narrow("vcvtps2ph", Vec.xmm(r[0]), Vec.xmm(r[2]), 0);
            narrow("vextracti128", Vec.xmm(r[0]), Vec.ymm(r[2]), 1);
            narrow("vcvtps2ph", Vec.xmm(r[0]), Vec.ymm(r[2]), 0);
        }
    }

    private void narrow(String name, Vec to, Vec from, Object... immediate) {
        String tail = immediate.length == 0 ? "" : ", " + immediate[0];
        List<Operand> targets = new ArrayList<>(MEMORY);
        targets.add(to);
        for (Operand target : targets) {
            List<Object> operands = new ArrayList<>(List.of(target, from));
            operands.addAll(List.of(immediate));
            String mask = from.mask() == Mask.K0 ? "" : "{k" + from.mask().number() + "}";
            String text = target instanceof Mem mem ? plain(mem) + mask : target.toString();
            add(name, name + " " + text + ", " + vec(from.index(), from.bits()) + tail, operands.toArray());
        }
    }

    private static List<Operand> operands(Vec register, boolean broadcast) {
        List<Operand> operands = new ArrayList<>(MEMORY);
        operands.add(register);
        if (broadcast) {
            MEMORY.forEach(mem -> operands.add(mem.bcast()));
        }
        return operands;
    }

    private static Vec vec(int index, int bits) {
        return new Vec(index, bits, Mask.K0, false);
    }

    private static String text(Operand operand, int bits, int ratio) {
        return switch (operand) {
            case Vec vec -> vec.toString();
            case Mem mem ->
                mem.broadcast()
                        ? "DWORD PTR " + plain(mem) + "{1to" + bits / 32 + "}"
                        : (switch (bits / ratio) {
                                    case 512 -> "ZMMWORD";
                                    case 256 -> "YMMWORD";
                                    case 128 -> "XMMWORD";
                                    case 64 -> "QWORD";
                                    default -> "DWORD";
                                })
                                + " PTR " + plain(mem);
        };
    }

    private static String plain(Mem mem) {
        return mem.toString().replace("{bcst}", "");
    }

    private static String text(Object operand) {
        return operand.toString().toLowerCase(Locale.ROOT);
    }

    private static String half(Gp register) {
        String name = text(register);
        return Character.isDigit(name.charAt(1)) ? name + "d" : "e" + name.substring(1);
    }

    /** Adds a line; {@code text} is the whole line or only the mnemonic. */
    private void add(String method, String text, Object... operands) {
        String line = text.contains(" ") || operands.length == 0
                ? text
                : text + " " + Arrays.stream(operands).map(Listing::text).collect(Collectors.joining(", "));
        Assembler assembler = new Assembler();
        Label end = assembler.label();
        invoke(
                assembler,
                method,
                Arrays.stream(operands).map(each -> from(end, each)).toArray());
        assembler.bind(end);
        lines.add(new Line(line, hex(assembler)));
    }

    /** The operand; if it is relative to a label, then relative to {@code end}. */
    private static Object from(Label end, Object operand) {
        return operand instanceof Mem mem && mem.label() != null
                ? new Mem(null, null, 1, mem.displacement(), end, mem.broadcast())
                : operand;
    }

    private static String hex(Assembler assembler) {
        return HexFormat.of().formatHex(assembler.finish().bytes().toArray(ValueLayout.JAVA_BYTE));
    }

    private void invoke(Assembler assembler, String name, Object... operands) {
        for (Method method : Assembler.class.getDeclaredMethods()) {
            if (method.getName().equals(name) && fits(method, operands)) {
                try {
                    method.invoke(assembler, operands);
                    listed.add(method.toString());
                    return;
                } catch (IllegalAccessException e) {
                    throw new AssertionError(e);
                } catch (InvocationTargetException e) {
                    throw new IllegalStateException(name + Arrays.toString(operands), e.getCause());
                }
            }
        }
        throw new IllegalStateException("no method takes " + name + Arrays.toString(operands));
    }

    private static boolean fits(Method method, Object[] operands) {
        Class<?>[] types = method.getParameterTypes();
        if (types.length != operands.length || !Modifier.isPublic(method.getModifiers())) {
            return false;
        }
        for (int i = 0; i < types.length; i++) {
            @Nullable
            Class<?> primitive =
                    operands[i] instanceof Integer ? int.class : operands[i] instanceof Long ? long.class : null;
            if (primitive == null ? !types[i].isInstance(operands[i]) : types[i] != primitive) {
                return false;
            }
        }
        return true;
    }
}
