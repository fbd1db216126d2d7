package quire.tensor.vector;

import static quire.tensor.vector.Lanes.F;
import static quire.tensor.vector.Lanes.I;
import static quire.tensor.vector.Lanes.LANES;
import static quire.tensor.vector.Lanes.ORDER;
import static quire.tensor.vector.Lanes.S;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/** The loops that measure a machine's ceilings where no machine code can be assembled. */
public final class VectorCeilings {
    private VectorCeilings() {}

    /**
     * Reads bytes {@code [from, to)}, a multiple of four registers; returns a sum, so that no read is optimised away.
     */
    public static long readAll(MemorySegment memory, long from, long to) {
        IntVector a = IntVector.zero(I);
        IntVector b = a;
        IntVector c = a;
        IntVector d = a;
        long step = LANES * (long) Integer.BYTES;
        for (long at = from; at < to; at += 4 * step) {
            a = a.add(IntVector.fromMemorySegment(I, memory, at, ORDER));
            b = b.add(IntVector.fromMemorySegment(I, memory, at + step, ORDER));
            c = c.add(IntVector.fromMemorySegment(I, memory, at + 2 * step, ORDER));
            d = d.add(IntVector.fromMemorySegment(I, memory, at + 3 * step, ORDER));
        }
        return a.add(b).add(c.add(d)).lane(0);
    }

    /** Does {@code iterations} × 12 × {@link Lanes#LANES} fused multiply-adds in registers; returns a sum of them. */
    public static float multiplyAddF32(int iterations, float factor) {
        FloatVector x = FloatVector.broadcast(F, factor);
        FloatVector z = FloatVector.broadcast(F, 1f);
        FloatVector a = z;
        FloatVector b = FloatVector.broadcast(F, 2f);
        FloatVector c = FloatVector.broadcast(F, 3f);
        FloatVector d = FloatVector.broadcast(F, 4f);
        FloatVector e = FloatVector.broadcast(F, 5f);
        FloatVector f = FloatVector.broadcast(F, 6f);
        FloatVector g = FloatVector.broadcast(F, 7f);
        FloatVector h = FloatVector.broadcast(F, 8f);
        FloatVector i = FloatVector.broadcast(F, 9f);
        FloatVector j = FloatVector.broadcast(F, 10f);
        FloatVector k = FloatVector.broadcast(F, 11f);
        FloatVector l = FloatVector.broadcast(F, 12f);
        for (int iteration = 0; iteration < iterations; iteration++) {
            a = a.fma(x, z);
            b = b.fma(x, z);
            c = c.fma(x, z);
            d = d.fma(x, z);
            e = e.fma(x, z);
            f = f.fma(x, z);
            g = g.fma(x, z);
            h = h.fma(x, z);
            i = i.fma(x, z);
            j = j.fma(x, z);
            k = k.fma(x, z);
            l = l.fma(x, z);
        }
        return a.add(b)
                .add(c)
                .add(d)
                .add(e.add(f).add(g).add(h))
                .add(i.add(j).add(k).add(l))
                .lane(0);
    }

    /**
     * Does {@code iterations} × 12 × 2 × {@link Lanes#LANES} products and sums of 16 bits in registers; returns a sum
     * of them.
     */
    public static short multiplyAddInt16(int iterations, short factor) {
        ShortVector w = ShortVector.broadcast(S, factor);
        ShortVector x = w.addIndex(1);
        ShortVector a = ShortVector.zero(S);
        ShortVector b = a.add((short) 1);
        ShortVector c = a.add((short) 2);
        ShortVector d = a.add((short) 3);
        ShortVector e = a.add((short) 4);
        ShortVector f = a.add((short) 5);
        ShortVector g = a.add((short) 6);
        ShortVector h = a.add((short) 7);
        ShortVector i = a.add((short) 8);
        ShortVector j = a.add((short) 9);
        ShortVector k = a.add((short) 10);
        ShortVector l = a.add((short) 11);
        for (int iteration = 0; iteration < iterations; iteration++) {
            // each product takes the sum of the iteration before, so that none can be moved out of the loop
            a = a.mul(x).add(w);
            b = b.mul(x).add(w);
            c = c.mul(x).add(w);
            d = d.mul(x).add(w);
            e = e.mul(x).add(w);
            f = f.mul(x).add(w);
            g = g.mul(x).add(w);
            h = h.mul(x).add(w);
            i = i.mul(x).add(w);
            j = j.mul(x).add(w);
            k = k.mul(x).add(w);
            l = l.mul(x).add(w);
        }
        return a.add(b)
                .add(c)
                .add(d)
                .add(e.add(f).add(g).add(h))
                .add(i.add(j).add(k).add(l))
                .lane(0);
    }
}
