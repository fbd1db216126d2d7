package quire.tensor.x86;

import static quire.tensor.x86.Op.Tuple.BYTES_16;
import static quire.tensor.x86.Op.Tuple.BYTES_32;
import static quire.tensor.x86.Op.Tuple.BYTES_4;
import static quire.tensor.x86.Op.Tuple.BYTES_8;
import static quire.tensor.x86.Op.Tuple.FULL;
import static quire.tensor.x86.Op.Tuple.HALF;
import static quire.tensor.x86.Op.Tuple.ONE_1;
import static quire.tensor.x86.Op.Tuple.ONE_2;
import static quire.tensor.x86.Op.Tuple.QUARTER;
import static quire.tensor.x86.Op.Tuple.WHOLE;

/**
 * The vector instructions as in the manual's tables (Intel SDM volume 2): mandatory prefix, opcode map, opcode, W, the
 * unit of a compressed displacement, and the available encodings.
 */
enum Op {
    // moves: prefix, map, opcode, W, tuple
    VMOVUPS_LOAD(0, 1, 0x10, 0, WHOLE),
    VMOVUPS_STORE(0, 1, 0x11, 0, WHOLE),
    VMOVDQU_LOAD(2, 1, 0x6F, 0, WHOLE),
    VMOVDQU_STORE(2, 1, 0x7F, 0, WHOLE),
    VMOVDQA_LOAD(1, 1, 0x6F, 0, WHOLE),
    VMASKMOVPS_LOAD(1, 2, 0x2C, 0, WHOLE, Forms.VEX),
    VMASKMOVPS_STORE(1, 2, 0x2E, 0, WHOLE, Forms.VEX),
    VMOVSS_LOAD(2, 1, 0x10, 0, BYTES_4),
    VMOVSS_STORE(2, 1, 0x11, 0, BYTES_4),
    VMOVD_LOAD(1, 1, 0x6E, 0, BYTES_4),
    VMOVD_STORE(1, 1, 0x7E, 0, BYTES_4),
    VMOVQ_STORE(1, 1, 0xD6, 0, BYTES_8, Forms.VEX),
    VPEXTRB(1, 3, 0x14, 0, ONE_1, Forms.VEX),
    VPEXTRW(1, 3, 0x15, 0, ONE_2, Forms.VEX),
    VPEXTRD(1, 3, 0x16, 0, BYTES_4, Forms.VEX),
    VPBROADCASTB(1, 2, 0x78, 0, ONE_1),
    VPBROADCASTW(1, 2, 0x79, 0, ONE_2),
    VPBROADCASTD(1, 2, 0x58, 0, BYTES_4),
    VBROADCASTSS(1, 2, 0x18, 0, BYTES_4),
    VBROADCASTI128(1, 2, 0x5A, 0, BYTES_16, Forms.VEX),
    VBROADCASTI32X4(1, 2, 0x5A, 0, BYTES_16, Forms.EVEX),
    // integers
    VPDPBUSD(1, 2, 0x50, 0, FULL, Forms.EVEX),
    VPDPBUSD_VEX(1, 2, 0x50, 0, FULL, Forms.VEX),
    VPMADDUBSW(1, 2, 0x04, 0, WHOLE),
    VPMADDWD(1, 1, 0xF5, 0, WHOLE),
    VPADDD(1, 1, 0xFE, 0, FULL),
    VPADDW(1, 1, 0xFD, 0, WHOLE),
    VPADDB(1, 1, 0xFC, 0, WHOLE),
    VPSUBD(1, 1, 0xFA, 0, FULL),
    VPSUBB(1, 1, 0xF8, 0, WHOLE),
    VPMULLD(1, 2, 0x40, 0, FULL),
    VPSIGNB(1, 2, 0x08, 0, WHOLE, Forms.VEX),
    VPABSB(1, 2, 0x1C, 0, WHOLE),
    VPAND(1, 1, 0xDB, 0, FULL, Forms.VEX),
    VPOR(1, 1, 0xEB, 0, FULL, Forms.VEX),
    VPXOR(1, 1, 0xEF, 0, FULL, Forms.VEX),
    VPANDD(1, 1, 0xDB, 0, FULL, Forms.EVEX),
    VPORD(1, 1, 0xEB, 0, FULL, Forms.EVEX),
    VPXORD(1, 1, 0xEF, 0, FULL, Forms.EVEX),
    VPTERNLOGD(1, 3, 0x25, 0, FULL, Forms.EVEX),
    VPSLLVD(1, 2, 0x47, 0, FULL),
    VPSHIFTD(1, 1, 0x72, 0, FULL),
    VPSHIFTW(1, 1, 0x71, 0, WHOLE),
    VPSHUFB(1, 2, 0x00, 0, WHOLE),
    VPSHUFD(1, 1, 0x70, 0, FULL),
    VPERMD(1, 2, 0x36, 0, FULL),
    VPERMB(1, 2, 0x8D, 0, WHOLE, Forms.EVEX),
    VEXTRACTI128(1, 3, 0x39, 0, BYTES_16, Forms.VEX),
    VINSERTI128(1, 3, 0x38, 0, BYTES_16, Forms.VEX),
    VEXTRACTI32X4(1, 3, 0x39, 0, BYTES_16, Forms.EVEX),
    VEXTRACTI64X4(1, 3, 0x3B, 1, BYTES_32, Forms.EVEX),
    VPMOVZXBD(1, 2, 0x31, 0, QUARTER),
    VPMOVSXBD(1, 2, 0x21, 0, QUARTER),
    VPMOVZXWD(1, 2, 0x33, 0, HALF),
    VPMOVSXWD(1, 2, 0x23, 0, HALF),
    VPMOVZXBW(1, 2, 0x30, 0, HALF),
    VPMOVSXBW(1, 2, 0x20, 0, HALF),
    VPMOVSDB(2, 2, 0x21, 0, QUARTER, Forms.EVEX),
    VPMOVDB(2, 2, 0x31, 0, QUARTER, Forms.EVEX),
    VPACKSSDW(1, 1, 0x6B, 0, FULL),
    VPACKSSWB(1, 1, 0x63, 0, WHOLE),
    VPMAXSD(1, 2, 0x3D, 0, FULL),
    VPMAXUD(1, 2, 0x3F, 0, FULL),
    VPMINSD(1, 2, 0x39, 0, FULL),
    // conversions
    VCVTDQ2PS(0, 1, 0x5B, 0, FULL),
    VCVTPS2DQ(1, 1, 0x5B, 0, FULL),
    VCVTPH2PS(1, 2, 0x13, 0, HALF),
    VCVTPS2PH(1, 3, 0x1D, 0, HALF),
    // floats
    VADDPS(0, 1, 0x58, 0, FULL),
    VMULPS(0, 1, 0x59, 0, FULL),
    VSUBPS(0, 1, 0x5C, 0, FULL),
    VMINPS(0, 1, 0x5D, 0, FULL),
    VDIVPS(0, 1, 0x5E, 0, FULL),
    VMAXPS(0, 1, 0x5F, 0, FULL),
    VSQRTPS(0, 1, 0x51, 0, FULL),
    VSCALEFPS(1, 2, 0x2C, 0, FULL, Forms.EVEX),
    VANDPS(0, 1, 0x54, 0, FULL, Forms.VEX),
    VORPS(0, 1, 0x56, 0, FULL, Forms.VEX),
    VXORPS(0, 1, 0x57, 0, FULL, Forms.VEX),
    VFMADD213PS(1, 2, 0xA8, 0, FULL),
    VFMADD231PS(1, 2, 0xB8, 0, FULL),
    VFMADDSUB213PS(1, 2, 0xA6, 0, FULL),
    VFMSUB231PS(1, 2, 0xBA, 0, FULL),
    VFMSUB213PS(1, 2, 0xAA, 0, FULL),
    VFNMADD213PS(1, 2, 0xAC, 0, FULL),
    VFNMADD231PS(1, 2, 0xBC, 0, FULL),
    VCMPPS(0, 1, 0xC2, 0, FULL),
    VCMPPS_VEX(0, 1, 0xC2, 0, WHOLE, Forms.VEX),
    VPERMILPS(1, 3, 0x04, 0, FULL),
    VSHUFPS(0, 1, 0xC6, 0, FULL),
    VSHUFF32X4(1, 3, 0x23, 0, FULL, Forms.EVEX),
    VUNPCKLPS(0, 1, 0x14, 0, FULL),
    VUNPCKHPS(0, 1, 0x15, 0, FULL),
    VBLENDMPS(1, 2, 0x65, 0, FULL, Forms.EVEX),
    VBLENDVPS(1, 3, 0x4A, 0, WHOLE, Forms.VEX);

    /** The encodings of an instruction. */
    enum Forms {
        VEX,
        EVEX,
        BOTH
    }

    /** The memory that an instruction reads. It is the unit of one-byte displacements in EVEX. */
    enum Tuple {
        /** All lanes, or one 4-byte element that is broadcast. */
        FULL,
        /** All lanes, no broadcast. */
        WHOLE,
        HALF,
        QUARTER,
        ONE_1,
        ONE_2,
        BYTES_4,
        BYTES_8,
        BYTES_16,
        BYTES_32;

        int bytes(int bits, boolean broadcast) {
            return switch (this) {
                case FULL -> broadcast ? 4 : bits / 8;
                case WHOLE -> bits / 8;
                case HALF -> bits / 16;
                case QUARTER -> bits / 32;
                case ONE_1 -> 1;
                case ONE_2 -> 2;
                case BYTES_4 -> 4;
                case BYTES_8 -> 8;
                case BYTES_16 -> 16;
                case BYTES_32 -> 32;
            };
        }
    }

    final int prefix;
    final int map;
    final int opcode;
    final int w;
    final Tuple tuple;
    final Forms forms;

    /** Whether the instruction has a form of this many bits. It does not check that VEX has at most 256. */
    boolean hasWidth(int bits) {
        return switch (this) {
            case VBROADCASTI128, VEXTRACTI128, VINSERTI128 -> bits == 256;
            case VPERMD, VBROADCASTI32X4, VEXTRACTI32X4, VSHUFF32X4 -> bits >= 256;
            case VEXTRACTI64X4 -> bits == 512;
            default -> true;
        };
    }

    Op(int prefix, int map, int opcode, int w, Tuple tuple) {
        this(prefix, map, opcode, w, tuple, Forms.BOTH);
    }

    Op(int prefix, int map, int opcode, int w, Tuple tuple, Forms forms) {
        this.prefix = prefix;
        this.map = map;
        this.opcode = opcode;
        this.w = w;
        this.tuple = tuple;
        this.forms = forms;
    }
}
