package quire.tensor.assembled.common;

/** The instruction sets that kernels can be assembled for. */
public enum Instructions {
    /** AVX-512 with VNNI, which multiplies and adds bytes. */
    AVX512_VNNI,
    /** The same with VBMI, which looks up bytes in a whole register. */
    AVX512_VBMI,
    /** AVX2 with FMA and F16C. */
    AVX2,
    /** AVX2 with AVX-VNNI. */
    AVX2_VNNI,
    /** The same instructions in EVEX encoding, for processors that have VNNI only as a part of AVX-512. */
    AVX2_VNNI_EVEX;

    /** Whether registers have 512 bits. */
    public boolean isWide() {
        return this == AVX512_VNNI || this == AVX512_VBMI;
    }
}
