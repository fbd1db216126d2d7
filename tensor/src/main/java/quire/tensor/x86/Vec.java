package quire.tensor.x86;

/**
 * A vector register, with the write mask of an instruction that writes it.
 *
 * @param index 0 to 31
 * @param bits 128, 256 or 512
 * @param mask K0 for none
 * @param zeroing whether lanes outside of the mask become zero; otherwise they do not change
 */
public record Vec(int index, int bits, Mask mask, boolean zeroing) implements Operand {
    /** Width of the narrowest register. */
    static final int MIN_BITS = 128;

    /** Checks the ranges. */
    public Vec {
        if (index < 0 || index > 31 || (bits != MIN_BITS && bits != 256 && bits != 512)) {
            throw new IllegalArgumentException("no vector register has number " + index + " and " + bits + " bits");
        }
        if (zeroing && mask == Mask.K0) {
            throw new IllegalArgumentException("K0 means no mask, so there are no lanes to zero");
        }
    }

    /** A 128-bit register. */
    public static Vec xmm(int index) {
        return new Vec(index, MIN_BITS, Mask.K0, false);
    }

    /** A 256-bit register. */
    public static Vec ymm(int index) {
        return new Vec(index, 256, Mask.K0, false);
    }

    /** A 512-bit register. */
    public static Vec zmm(int index) {
        return new Vec(index, 512, Mask.K0, false);
    }

    /** The low 128 bits of this register. */
    public Vec xmm() {
        return xmm(index);
    }

    /** The low 256 bits of this register. */
    public Vec ymm() {
        return ymm(index);
    }

    /** All 512 bits of this register. */
    public Vec zmm() {
        return zmm(index);
    }

    /** This register as a destination; only the lanes of the mask are written. */
    public Vec mask(Mask value) {
        return new Vec(index, bits, value, false);
    }

    /** This register as a destination; lanes outside of the mask become zero. */
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
