package quire.tensor.x86;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * A memory operand: {@code [base + index × scale + displacement]}, or a constant of the code.
 *
 * @param base null if {@code label} is the address
 * @param index null for none
 * @param scale 1, 2, 4 or 8
 * @param displacement in bytes
 * @param label the address of a constant; null for none
 * @param broadcast whether one element is read and copied to all lanes
 */
public record Mem(
        @Nullable Gp base,
        @Nullable Gp index,
        int scale,
        int displacement,
        @Nullable Label label,
        boolean broadcast) implements Operand {
    /** Checks the ranges. */
    public Mem {
        if ((base == null) == (label == null)) {
            throw new IllegalArgumentException("a memory operand has either a base register or a label");
        }
        if (index == Gp.RSP) {
            throw new IllegalArgumentException("rsp cannot be an index");
        }
        if (scale != 1 && scale != 2 && scale != 4 && scale != 8) {
            throw new IllegalArgumentException("an index is scaled by 1, 2, 4 or 8, not " + scale);
        }
    }

    /** {@code [base]}. */
    public static Mem at(Gp base) {
        return at(base, 0);
    }

    /** {@code [base + displacement]}. */
    public static Mem at(Gp base, int displacement) {
        return new Mem(base, null, 1, displacement, null, false);
    }

    /** {@code [base + index × scale]}. */
    public static Mem at(Gp base, Gp index, int scale) {
        return at(base, index, scale, 0);
    }

    /** {@code [base + index × scale + displacement]}. */
    public static Mem at(Gp base, Gp index, int scale, int displacement) {
        return new Mem(base, index, scale, displacement, null, false);
    }

    /** A constant, addressed relative to the instruction. */
    public static Mem rip(Label label) {
        return new Mem(null, null, 1, 0, label, false);
    }

    /** This operand, with one element copied to all lanes. */
    public Mem bcast() {
        return new Mem(base, index, scale, displacement, label, true);
    }

    /** This operand, a number of bytes further. */
    public Mem plus(int bytes) {
        return new Mem(base, index, scale, Math.addExact(displacement, bytes), label, broadcast);
    }

    @Override
    public String toString() {
        String where = base == null ? "rip" : base.name().toLowerCase(Locale.ROOT);
        String times = index == null ? "" : " + " + index.name().toLowerCase(Locale.ROOT) + " * " + scale;
        String offset = displacement == 0 ? "" : (displacement < 0 ? " - " : " + ") + Math.abs((long) displacement);
        return "[" + where + times + offset + "]" + (broadcast ? "{bcst}" : "");
    }
}
