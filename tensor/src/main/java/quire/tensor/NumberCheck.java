package quire.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * What is wrong with the numbers of a tensor as a file stores it. In a type with blocks only the scales are looked at, since
 * every stored integer is a valid one.
 *
 * @param broken how many scales, or numbers of a type without blocks, are infinite or NaN
 * @param firstBroken index of the first number that such a scale belongs to, or of the first such number; −1 for none
 * @param isZero whether all scales, or all numbers, are 0, so that the whole tensor is
 */
public record NumberCheck(long broken, long firstBroken, boolean isZero) {
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** Bytes that are copied and looked at together: an array in the cache is fast before the loops are compiled. */
    private static final int CHUNK_BYTES = 16 << 10;

    /** The exponent of MXFP4 that the OCP specification makes NaN. */
    private static final int MXFP4_NAN = 0xFF;

    private static final int HALF_EXPONENT = 0x7C00;
    private static final int HALF_MAGNITUDE = 0x7FFF;

    /** Whether all numbers are finite. */
    public boolean isFinite() {
        return broken == 0;
    }

    /**
     * Looks at all numbers of a tensor, on the calling thread.
     *
     * @param source the tensor's bytes, a whole number of blocks
     */
    public static NumberCheck of(ElementType type, MemorySegment source) {
        if (source.byteSize() % type.blockBytes() != 0) {
            throw new IllegalArgumentException(source.byteSize() + " bytes are not whole blocks of " + type);
        }
        return of(type, source, 0, source.byteSize() / type.blockBytes());
    }

    /** The same on all workers. */
    public static NumberCheck of(ElementType type, MemorySegment source, Workers workers) {
        int chunk = Math.max(1, CHUNK_BYTES / type.blockBytes());
        long blocks = source.byteSize() / type.blockBytes();
        int chunks = Math.toIntExact(Math.ceilDiv(blocks, chunk));
        NumberCheck[] parts = new NumberCheck[workers.count()];
        workers.run(worker -> {
            long from = (long) Workers.shareStart(chunks, 1, worker, parts.length) * chunk;
            long to = Math.min(blocks, (long) Workers.shareStart(chunks, 1, worker + 1, parts.length) * chunk);
            parts[worker] = of(type, source, from, to);
        });
        NumberCheck all = parts[0];
        for (int i = 1; i < parts.length; i++) {
            all = all.and(parts[i]);
        }
        return all;
    }

    private NumberCheck and(NumberCheck later) {
        return new NumberCheck(
                broken + later.broken, firstBroken < 0 ? later.firstBroken : firstBroken, isZero && later.isZero);
    }

    /** Looks at the blocks from {@code from} to {@code to}. */
    private static NumberCheck of(ElementType type, MemorySegment source, long from, long to) {
        return switch (type) {
            case F32, F16, BF16 -> floats(type, source, from, to);
            default -> blocks(type, source, from, to);
        };
    }

    // ── types without blocks: as many numbers at once as a long holds ───────────────────────────────────────────────

    /** The exponent bits of each number in a long; all of them are set in infinities and NaN only. */
    private static long exponents(ElementType type) {
        return switch (type) {
            case F32 -> 0x7F80_0000_7F80_0000L;
            case F16 -> 0x7C00_7C00_7C00_7C00L;
            case BF16 -> 0x7F80_7F80_7F80_7F80L;
            default -> throw new IllegalArgumentException(type + " has blocks");
        };
    }

    private static NumberCheck floats(ElementType type, MemorySegment source, long from, long to) {
        int numberBytes = type.blockBytes();
        int numberBits = numberBytes * Byte.SIZE;
        long exponents = exponents(type);
        long signs = (exponents << 1) & ~exponents; // the bit above each exponent
        long ones = exponents & ~(exponents << 1); // the lowest bit of each exponent
        long end = to * numberBytes;
        long[] chunk = new long[CHUNK_BYTES / Long.BYTES];
        long broken = 0;
        long first = -1;
        long any = 0;
        for (long at = from * numberBytes; at < end; at += CHUNK_BYTES) {
            int bytes = (int) Math.min(CHUNK_BYTES, end - at);
            int longs = copy(source, at, bytes, chunk);
            any |= or(chunk, longs);
            if ((carries(chunk, longs, exponents, ones) & signs) != 0) {
                long exponent = exponents >>> (Long.SIZE - numberBits);
                for (int i = 0; i < bytes / numberBytes; i++) {
                    long number = chunk[i * numberBytes / Long.BYTES] >>> (i * numberBits % Long.SIZE);
                    if ((number & exponent) == exponent) {
                        first = broken++ == 0 ? at / numberBytes + i : first;
                    }
                }
            }
        }
        return new NumberCheck(broken, first, (any & ~signs) == 0);
    }

    /** Copies bytes into longs, the rest of the last one 0; returns the number of longs. */
    private static int copy(MemorySegment source, long at, int bytes, long[] to) {
        int whole = bytes / Long.BYTES;
        MemorySegment.copy(source, LONG, at, to, 0, whole);
        if (bytes % Long.BYTES == 0) {
            return whole;
        }
        to[whole] = 0;
        for (int i = whole * Long.BYTES; i < bytes; i++) {
            to[whole] |= (source.get(ValueLayout.JAVA_BYTE, at + i) & 0xFFL) << (i % Long.BYTES * Byte.SIZE);
        }
        return whole + 1;
    }

    private static long or(long[] numbers, int count) {
        long any = 0;
        for (int i = 0; i < count; i++) {
            any |= numbers[i];
        }
        return any;
    }

    /** Adding the lowest bit of an exponent carries into the sign bit where all bits of it are set, and nowhere else. */
    private static long carries(long[] numbers, int count, long exponents, long ones) {
        long carries = 0;
        for (int i = 0; i < count; i++) {
            carries |= (numbers[i] & exponents) + ones;
        }
        return carries;
    }

    // ── types with blocks ───────────────────────────────────────────────────────────────────────────────────────────

    private static NumberCheck blocks(ElementType type, MemorySegment source, long from, long to) {
        int blockBytes = type.blockBytes();
        int most = Math.max(1, CHUNK_BYTES / blockBytes);
        byte[] chunk = new byte[most * blockBytes];
        Scales scales = new Scales(type);
        for (long block = from; block < to; block += most) {
            int count = (int) Math.min(most, to - block);
            MemorySegment.copy(source, ValueLayout.JAVA_BYTE, block * blockBytes, chunk, 0, count * blockBytes);
            scales.look(chunk, count, block);
        }
        return new NumberCheck(
                scales.broken, scales.broken == 0 ? -1 : scales.firstBlock * type.blockElements(), scales.any == 0);
    }

    /** The scales of blocks: where they are, and what was seen. */
    private static final class Scales {
        private final ElementType type;
        private final int blockBytes;
        private long broken;
        private long firstBlock;
        private int any; // the bits of all scales without their signs

        Scales(ElementType type) {
            this.type = type;
            blockBytes = type.blockBytes();
        }

        /** Looks at blocks; the first one has the number {@code firstNumber} in the tensor. */
        void look(byte[] bytes, int count, long firstNumber) {
            switch (type) {
                case Q4_0, Q5_0, Q8_0, IQ4_NL, IQ4_XS, IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_S, Q1_0, Q2_0 ->
                    halves(bytes, count, 0, firstNumber);
                case Q4_1, Q5_1, Q4_K, Q5_K -> {
                    halves(bytes, count, 0, firstNumber);
                    halves(bytes, count, 2, firstNumber);
                }
                case Q2_K -> {
                    halves(bytes, count, 80, firstNumber);
                    halves(bytes, count, 82, firstNumber);
                }
                case Q3_K -> halves(bytes, count, 108, firstNumber);
                case Q6_K -> halves(bytes, count, 208, firstNumber);
                case TQ1_0 -> halves(bytes, count, 52, firstNumber);
                case TQ2_0 -> halves(bytes, count, 64, firstNumber);
                case IQ1_M -> scattered(bytes, count, firstNumber);
                case MXFP4 -> powers(bytes, count, firstNumber);
                case NVFP4 -> small(bytes, count);
                case F32, F16, BF16 -> throw new IllegalArgumentException(type + " has no blocks");
            }
        }

        private void halves(byte[] bytes, int count, int offset, long firstNumber) {
            int seen = 0;
            for (int block = 0, at = offset; block < count; block++, at += blockBytes) {
                int half = (bytes[at] & 0xFF) | (bytes[at + 1] << Byte.SIZE);
                seen |= half;
                if ((half & HALF_EXPONENT) == HALF_EXPONENT) {
                    countBroken(firstNumber + block);
                }
            }
            any |= seen & HALF_MAGNITUDE;
        }

        /** IQ1_M: the f16 is in the highest nibbles of the last four words of 16 bits. */
        private void scattered(byte[] bytes, int count, long firstNumber) {
            for (int block = 0; block < count; block++) {
                int end = (block + 1) * blockBytes;
                int half = ((bytes[end - 7] & 0xF0) >> 4)
                        | (bytes[end - 5] & 0xF0)
                        | ((bytes[end - 3] & 0xF0) << 4)
                        | ((bytes[end - 1] & 0xF0) << 8);
                any |= half & HALF_MAGNITUDE;
                if ((half & HALF_EXPONENT) == HALF_EXPONENT) {
                    countBroken(firstNumber + block);
                }
            }
        }

        /** MXFP4: a power of two is never 0, so a block is 0 by its nibbles, whose highest bit is the sign. */
        private void powers(byte[] bytes, int count, long firstNumber) {
            for (int block = 0; block < count; block++) {
                int at = block * blockBytes;
                if ((bytes[at] & 0xFF) == MXFP4_NAN) {
                    countBroken(firstNumber + block);
                }
                for (int i = 1; i < blockBytes; i++) {
                    any |= bytes[at + i] & 0x77;
                }
            }
        }

        /** NVFP4: every byte means a finite scale, and 0x7F means 0. */
        private void small(byte[] bytes, int count) {
            for (int block = 0; block < count; block++) {
                for (int i = 0; i < 4; i++) {
                    int scale = bytes[block * blockBytes + i] & 0x7F;
                    any |= scale == 0x7F ? 0 : scale;
                }
            }
        }

        private void countBroken(long block) {
            firstBlock = broken == 0 ? block : Math.min(firstBlock, block);
            broken++;
        }
    }
}
