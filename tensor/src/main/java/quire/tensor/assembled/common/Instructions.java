package quire.tensor.assembled.common;

/** The instruction sets that kernels can be assembled for. */
public enum Instructions {
    /** AVX-512 with VNNI, which multiplies and adds bytes. */
    AVX512_VNNI,
    /** AVX2 with FMA and F16C. */
    AVX2,
    /** AVX2 with AVX-VNNI. */
    AVX2_VNNI,
    /** The same instructions in EVEX encoding, for processors that have VNNI only as a part of AVX-512. */
    AVX2_VNNI_EVEX
}
