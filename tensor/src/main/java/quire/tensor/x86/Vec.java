package quire.tensor.x86;

/**
 * A vector register, with the write mask under which an instruction fills it.
 *
 * @param index 0 to 31
 * @param bits 128, 256 or 512
 * @param mask K0 for none
 * @param zeroing whether lanes outside the mask become zero instead of staying
 */
public record Vec(int index, int bits, Mask mask, boolean zeroing) implements Operand {
    /** Of the narrowest register. */
    static final int LEAST_BITS = 128;

    /** Checks the ranges. */
    public Vec {
        if (index < 0 || index > 31 || (bits != LEAST_BITS && bits != 256 && bits != 512)) {
            throw new IllegalArgumentException("no vector register has number " + index + " and " + bits + " bits");
        }
        if (zeroing && mask == Mask.K0) {
            throw new IllegalArgumentException("K0 masks nothing, so nothing can be zeroed");
        }
    }

    /** A 128-bit register. */
    public static Vec xmm(int index) {
        return new Vec(index, LEAST_BITS, Mask.K0, false);
    }

    /** A 256-bit register. */
    public static Vec ymm(int index) {
        return new Vec(index, 256, Mask.K0, false);
    }

    /** A 512-bit register. */
    public static Vec zmm(int index) {
        return new Vec(index, 512, Mask.K0, false);
    }

    /** Its low 128 bits. */
    public Vec xmm() {
        return xmm(index);
    }

    /** Its low 256 bits. */
    public Vec ymm() {
        return ymm(index);
    }

    /** All of it. */
    public Vec zmm() {
        return zmm(index);
    }

    /** As a destination of which only the masked lanes are written. */
    public Vec mask(Mask value) {
        return new Vec(index, bits, value, false);
    }

    /** As a destination whose lanes outside the mask become zero. */
    public Vec zero(Mask value) {
        return new Vec(index, bits, value, true);
    }

    @Override
    public String toString() {
        String name = (bits == 512 ? "zmm" : bits == 256 ? "ymm" : "xmm") + index;
        String masked = mask == Mask.K0 ? "" : "{k" + mask.number() + "}";
        return name + masked + (zeroing ? "{z}" : "");
    }
}
