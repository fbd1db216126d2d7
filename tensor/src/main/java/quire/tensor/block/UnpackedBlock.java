package quire.tensor.block;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The contents of a quantised block in one form for every format: signed 8-bit quants q, and for each group of {@link
 * quire.tensor.ElementType#scaleElements} quants an integer scale and an integer minimum, which the block's floats d
 * and dmin multiply:
 *
 * <pre>
 *   weight i  =  (d × scales[g]) × quants[i]  −  (dmin × mins[g])          g = i / scaleElements
 * </pre>
 *
 * <p>A format with one scale for each block has {@code scales[0] = 1}; a format without minimum ignores {@code mins}.
 * Only this class uses the position of the bits in a file; {@link quire.tensor.ElementType} has a table of the layouts.
 * An object is reused for all blocks of a thread.
 */
public final class UnpackedBlock {
    /** Number of elements of the largest block. */
    private static final int MAX_ELEMENTS = 256;
    /** The 16 values of the nibbles of IQ4_NL and IQ4_XS. */
    private static final byte[] IQ4_VALUES = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    /**
     * Twice the 16 values of the nibbles of MXFP4, which are 0, ½, 1, 1½, 2, 3, 4, 6 and the same with a minus sign.
     */
    private static final byte[] FP4_DOUBLED = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

    /**
     * Eight times the values of IQ1_S and IQ1_M, which are −1, 0 and 1, plus ⅛ (the first four) or minus ⅛. The value of
     * a code that no file has is 0; so in the following tables.
     */
    private static final byte[] IQ1_VALUES = {-7, 1, 9, 0, -9, -1, 7, 0};
    /** The values of IQ2_XXS, IQ2_XS and IQ2_S, positive and negative. */
    private static final byte[] IQ2_VALUES = {8, 25, 43, 0, -8, -25, -43, 0};
    /** Half of the values of IQ3_XXS, positive and negative. */
    private static final byte[] IQ3_XXS_VALUES = {2, 6, 10, 14, 18, 22, 26, 31, -2, -6, -10, -14, -18, -22, -26, -31};
    /** The values of IQ3_S, positive and negative. */
    private static final byte[] IQ3_S_VALUES = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

    private static final ThreadLocal<UnpackedBlock> OWN = ThreadLocal.withInitial(UnpackedBlock::new);

    /** The integers of the weights, after the zero point is subtracted or the table is applied. */
    public final byte[] quants = new byte[MAX_ELEMENTS];

    /** The integer scale of each group; the bits of a small float if {@link #floatScales}. */
    public final byte[] scales = new byte[MAX_ELEMENTS / 16];
    /** The integer minimum of each group. */
    public final byte[] mins = new byte[MAX_ELEMENTS / 16];

    /** The factor of {@link #scales}. */
    public float d;

    /** The factor of {@link #mins}. */
    public float dmin;

    /** Whether the scales are small floats, see {@link #smallFloat}. */
    private boolean floatScales;

    private final byte[] bytes = new byte[MAX_ELEMENTS];

    /** The 16 values of the nibbles of IQ4_NL and IQ4_XS. */
    public static byte[] iq4Values() {
        return IQ4_VALUES.clone();
    }

    /** Twice the 16 values of the nibbles of MXFP4. */
    public static byte[] fp4ValuesDoubled() {
        return FP4_DOUBLED.clone();
    }

    /** Eight times the values of IQ1_S and IQ1_M, by code: the level, plus 4 if ⅛ is subtracted. */
    public static byte[] iq1Values() {
        return IQ1_VALUES.clone();
    }

    /** The values of IQ2_XXS, IQ2_XS and IQ2_S, by code: the level, plus 4 if the number is negative. */
    public static byte[] iq2Values() {
        return IQ2_VALUES.clone();
    }

    /** Half of the values of IQ3_XXS, by code: the level, plus 8 if the number is negative. */
    public static byte[] iq3XxsValues() {
        return IQ3_XXS_VALUES.clone();
    }

    /** The values of IQ3_S, by code: the level, plus 8 if the number is negative. */
    public static byte[] iq3SValues() {
        return IQ3_S_VALUES.clone();
    }

    /** The calling thread's object. */
    public static UnpackedBlock own() {
        return OWN.get();
    }

    /**
     * The scale of a group, {@code d × scales[group]}. It is exact: the factors have 11 and at most 7 significant bits.
     */
    public float scale(int group) {
        return floatScales ? d * smallFloat(scales[group]) : d * (float) scales[group];
    }

    /**
     * The number that a group adds to each of its weights, {@code −(dmin × mins[group])}; exact. For formats with
     * minimum.
     */
    public float minimum(int group) {
        return -(dmin * (float) mins[group]);
    }

    /**
     * The exact sum of {@code count} products: quants from {@code first} on, times int8 activations from byte {@code
     * at} on.
     */
    public int dot(int first, int count, MemorySegment x, long at) {
        int sum = 0;
        for (int i = 0; i < count; i++) {
            sum += quants[first + i] * x.get(JAVA_BYTE, at + i);
        }
        return sum;
    }

    /**
     * Copies the bytes of one block and resets the contents. The {@code read} method of its format must follow; {@link
     * quire.tensor.ElementType#unpack} does both.
     */
    public void load(MemorySegment source, long offset, int byteCount, int elementCount) {
        MemorySegment.copy(source, JAVA_BYTE, offset, bytes, 0, byteCount);
        Arrays.fill(quants, 0, elementCount, (byte) 0);
        Arrays.fill(scales, (byte) 1);
        mins[0] = 1;
        floatScales = false;
        d = half(0);
        dmin = 0f;
    }

    /** Reads a block of Q4_0. */
    public void readQ40() {
        addNibbles(2, 16, 0);
        subtract(8, 32);
    }

    /** Reads a block of Q4_1. */
    public void readQ41() {
        dmin = -half(2);
        addNibbles(4, 16, 0);
    }

    /** Reads a block of Q5_0. */
    public void readQ50() {
        addNibbles(6, 16, 0);
        addFifthBits(2);
        subtract(16, 32);
    }

    /** Reads a block of Q5_1. */
    public void readQ51() {
        dmin = -half(2);
        addNibbles(8, 16, 0);
        addFifthBits(4);
    }

    /** Reads a block of Q8_0. */
    public void readQ80() {
        System.arraycopy(bytes, 2, quants, 0, 32);
    }

    /** Reads a block of Q4_K. */
    public void readQ4K() {
        dmin = half(2);
        readSixBitPairs(4);
        for (int i = 0; i < 4; i++) {
            addNibbles(16 + 32 * i, 32, 64 * i);
        }
    }

    /** Reads a block of Q5_K. */
    public void readQ5K() {
        dmin = half(2);
        readSixBitPairs(4);
        addBits(16, 4);
        for (int i = 0; i < 4; i++) {
            addNibbles(48 + 32 * i, 32, 64 * i);
        }
    }

    /** Reads a block of Q6_K. */
    public void readQ6K() {
        d = half(208);
        System.arraycopy(bytes, 192, scales, 0, 16);
        for (int i = 0; i < 2; i++) {
            addNibbles(64 * i, 64, 128 * i);
            addTwoBits(128 + 32 * i, 128 * i, 4);
        }
        subtract(32, 256);
    }

    /** Reads a block of IQ4_NL. */
    public void readIq4Nl() {
        addNibbles(2, 16, 0);
        lookUp(IQ4_VALUES, 32);
    }

    /** Reads a block of MXFP4. */
    public void readMxfp4() {
        d = halfPower(bytes[0] & 0xff);
        addNibbles(1, 16, 0);
        lookUp(FP4_DOUBLED, 32);
    }

    /** Reads a block of Q2_K. */
    public void readQ2K() {
        d = half(80);
        dmin = half(82);
        for (int i = 0; i < 16; i++) {
            scales[i] = (byte) (bytes[i] & 15);
            mins[i] = (byte) ((bytes[i] >>> 4) & 15);
        }
        addTwoBits(16, 0, 0);
        addTwoBits(48, 128, 0);
    }

    /** Reads a block of Q3_K. */
    public void readQ3K() {
        d = half(108);
        for (int i = 0; i < 16; i++) {
            int low = (bytes[96 + i % 8] >>> (i / 8 * 4)) & 15;
            int high = (bytes[104 + i % 4] >>> (i / 4 * 2)) & 3;
            scales[i] = (byte) ((low | (high << 4)) - 32);
        }
        addBits(0, 2);
        addTwoBits(32, 0, 0);
        addTwoBits(64, 128, 0);
        subtract(4, 256);
    }

    /** Reads a block of IQ4_XS. */
    public void readIq4Xs() {
        int high = Short.toUnsignedInt(FileNumbers.shortAt(bytes, 2));
        for (int i = 0; i < 8; i++) {
            int low = (bytes[4 + i / 2] >>> (i % 2 * 4)) & 15;
            scales[i] = (byte) ((low | (((high >>> (2 * i)) & 3) << 4)) - 32);
            addNibbles(8 + 16 * i, 16, 32 * i);
        }
        lookUp(IQ4_VALUES, 256);
    }

    /** Reads a block of NVFP4: four scales, then the nibbles of 16 numbers after each other. */
    public void readNvfp4() {
        d = 0.5f;
        floatScales = true;
        for (int group = 0; group < 4; group++) {
            scales[group] = smallFloatBits(bytes[group]);
            addNibbles(4 + 8 * group, 8, 16 * group);
        }
        lookUp(FP4_DOUBLED, 64);
    }

    /** Reads a block of Q1_0. */
    public void readQ10() {
        for (int i = 0; i < 128; i++) {
            quants[i] = (byte) ((bytes[2 + i / 8] >>> (i % 8) & 1) * 2 - 1);
        }
    }

    /** Reads a block of Q2_0. */
    public void readQ20() {
        for (int i = 0; i < 64; i++) {
            quants[i] = (byte) ((bytes[2 + i / 4] >>> (i % 4 * 2) & 3) - 1);
        }
    }

    /**
     * Reads a block of TQ1_0. A byte is a fraction in base 3 of five digits, rounded up; the digits of 32, 16 and at last 4
     * bytes beside each other belong to consecutive numbers.
     */
    public void readTq10() {
        d = half(52);
        addDigits(0, 32, 5, 0);
        addDigits(32, 16, 5, 160);
        addDigits(48, 4, 4, 240);
        subtract(1, 256);
    }

    private void addDigits(int at, int count, int digits, int to) {
        for (int i = 0; i < count; i++) {
            int fraction = bytes[at + i] & 0xff;
            for (int digit = 0; digit < digits; digit++) {
                quants[to + digit * count + i] = (byte) ((fraction * 3) >>> 8);
                fraction = fraction * 3 & 0xff;
            }
        }
    }

    /** Reads a block of TQ2_0. */
    public void readTq20() {
        d = half(64);
        addTwoBits(0, 0, 0);
        addTwoBits(32, 128, 0);
        subtract(1, 256);
    }

    /**
     * Reads a block of IQ1_S: for each 32 numbers four low bytes of indexes, and a word of four times three high bits, a
     * 3-bit scale and a bit that subtracts ⅛.
     */
    public void readIq1S() {
        d *= 0.125f;
        for (int i = 0; i < 8; i++) {
            int word = FileNumbers.shortAt(bytes, 34 + 2 * i);
            scales[i] = (byte) (2 * (word >>> 12 & 7) + 1);
            for (int j = 0; j < 4; j++) {
                int index = (bytes[2 + 4 * i + j] & 0xff) | (word >>> (3 * j) & 7) << 8;
                addPoint(Grid.IQ1.point(index), (word & 0x8000) == 0 ? 0 : 0xff, 4, 8, 32 * i + 8 * j);
            }
        }
        lookUp(IQ1_VALUES, 256);
    }

    /**
     * Reads a block of IQ1_M: low bytes of indexes, then nibbles of three high bits and a bit that subtracts ⅛, then four
     * words with four 3-bit scales each, and in their highest nibbles the bits of d.
     */
    public void readIq1M() {
        int bits = 0;
        for (int i = 0; i < 4; i++) {
            int word = FileNumbers.shortAt(bytes, 48 + 2 * i);
            bits |= (word >>> 12 & 15) << (4 * i);
            for (int j = 0; j < 4; j++) {
                scales[4 * i + j] = (byte) (2 * (word >>> (3 * j) & 7) + 1);
            }
        }
        d = Float.float16ToFloat((short) bits) * 0.125f;
        for (int i = 0; i < 32; i++) {
            int nibble = bytes[32 + i / 2] >>> (i % 2 * 4) & 15;
            int index = (bytes[i] & 0xff) | (nibble & 7) << 8;
            addPoint(Grid.IQ1.point(index), nibble < 8 ? 0 : 0xff, 4, 8, 8 * i);
        }
        lookUp(IQ1_VALUES, 256);
    }

    /** Reads a block of IQ2_XXS: for each 32 numbers four indexes, and a word of four times 7 signs and a 4-bit scale. */
    public void readIq2Xxs() {
        d *= 0.125f;
        for (int i = 0; i < 8; i++) {
            int word = FileNumbers.intAt(bytes, 6 + 8 * i);
            scales[i] = (byte) (2 * (word >>> 28) + 1);
            for (int j = 0; j < 4; j++) {
                int index = bytes[2 + 8 * i + j] & 0xff;
                addPoint(Grid.IQ2_XXS.point(index), allSigns(word >>> (7 * j)), 4, 8, 32 * i + 8 * j);
            }
        }
        lookUp(IQ2_VALUES, 256);
    }

    /** Reads a block of IQ2_XS: words of an index of 9 bits and 7 signs, then 4-bit scales. */
    public void readIq2Xs() {
        d *= 0.125f;
        for (int i = 0; i < 32; i++) {
            int word = FileNumbers.shortAt(bytes, 2 + 2 * i);
            addPoint(Grid.IQ2_XS.point(word & 511), allSigns(word >>> 9), 4, 8, 8 * i);
        }
        readOddScales(66, 16);
        lookUp(IQ2_VALUES, 256);
    }

    /** Reads a block of IQ2_S: low bytes of indexes, signs, two high bits of each index, 4-bit scales. */
    public void readIq2S() {
        d *= 0.125f;
        for (int i = 0; i < 32; i++) {
            int index = (bytes[2 + i] & 0xff) | (bytes[66 + i / 4] >>> (i % 4 * 2) & 3) << 8;
            addPoint(Grid.IQ2_S.point(index), bytes[34 + i], 4, 8, 8 * i);
        }
        readOddScales(74, 16);
        lookUp(IQ2_VALUES, 256);
    }

    /** Reads a block of IQ3_XXS: indexes, then for each 32 numbers a word of four times 7 signs and a 4-bit scale. */
    public void readIq3Xxs() {
        d *= 0.5f;
        for (int i = 0; i < 8; i++) {
            int word = FileNumbers.intAt(bytes, 66 + 4 * i);
            scales[i] = (byte) (2 * (word >>> 28) + 1);
            for (int j = 0; j < 8; j++) {
                int signs = allSigns(word >>> (j / 2 * 7)) >>> (j % 2 * 4);
                addPoint(Grid.IQ3_XXS.point(bytes[2 + 8 * i + j] & 0xff), signs, 8, 4, 32 * i + 4 * j);
            }
        }
        lookUp(IQ3_XXS_VALUES, 256);
    }

    /** Reads a block of IQ3_S: low bytes of indexes, their high bits, signs, 4-bit scales. */
    public void readIq3S() {
        for (int i = 0; i < 64; i++) {
            int index = (bytes[2 + i] & 0xff) | (bytes[66 + i / 8] >>> (i % 8) & 1) << 8;
            addPoint(Grid.IQ3_S.point(index), bytes[74 + i / 2] >>> (i % 2 * 4), 8, 4, 4 * i);
        }
        readOddScales(106, 8);
        lookUp(IQ3_S_VALUES, 256);
    }

    /** Sets the codes of a point's numbers: the level, plus {@code negative} where a sign is set, lowest bit first. */
    private void addPoint(long levels, int signs, int negative, int count, int to) {
        for (int i = 0; i < count; i++) {
            int level = (int) (levels >>> (Byte.SIZE * i)) & 0xff;
            quants[to + i] = (byte) (level + ((signs >>> i & 1) == 0 ? 0 : negative));
        }
    }

    /** Reads nibbles s, the low one first, which mean the scales 2s + 1. */
    private void readOddScales(int at, int count) {
        for (int i = 0; i < count; i++) {
            scales[i] = (byte) (2 * (bytes[at + i / 2] >>> (i % 2 * 4) & 15) + 1);
        }
    }

    /** Seven signs and the eighth, which makes the number of negative signs even. */
    public static int allSigns(int sevenSigns) {
        int signs = sevenSigns & 127;
        return signs | (Integer.bitCount(signs) & 1) << 7;
    }

    /**
     * Reads eight 6-bit scales s and minimums m from 12 bytes:
     *
     * <pre>
     *   byte   0..3   s[i + 4] bits 5 4 │ s[i] bits 5 … 0
     *          4..7   m[i + 4] bits 5 4 │ m[i] bits 5 … 0
     *          8..11  m[i + 4] bits 3 … 0 │ s[i + 4] bits 3 … 0
     * </pre>
     */
    private void readSixBitPairs(int at) {
        for (int i = 0; i < 4; i++) {
            int scale = bytes[at + i];
            int minimum = bytes[at + 4 + i];
            int lower = bytes[at + 8 + i];
            scales[i] = (byte) (scale & 63);
            mins[i] = (byte) (minimum & 63);
            scales[i + 4] = (byte) ((lower & 15) | ((scale >>> 2) & 0x30));
            mins[i + 4] = (byte) (((lower >>> 4) & 15) | ((minimum >>> 2) & 0x30));
        }
    }

    /** Adds the low nibbles of {@code count} bytes to as many quants, and the high nibbles to the quants after them. */
    private void addNibbles(int at, int count, int to) {
        for (int i = 0; i < count; i++) {
            quants[to + i] |= (byte) (bytes[at + i] & 15);
            quants[to + count + i] |= (byte) ((bytes[at + i] >>> 4) & 15);
        }
    }

    /** Adds 2-bit fields of 32 bytes to 128 quants: field j of byte i belongs to quant 32j + i. */
    private void addTwoBits(int at, int to, int shift) {
        for (int j = 0; j < 4; j++) {
            for (int i = 0; i < 32; i++) {
                quants[to + 32 * j + i] |= (byte) (((bytes[at + i] >>> (2 * j)) & 3) << shift);
            }
        }
    }

    /** Adds single bits of 32 bytes to 256 quants: bit j of byte i belongs to quant 32j + i. */
    private void addBits(int at, int shift) {
        for (int j = 0; j < 8; j++) {
            for (int i = 0; i < 32; i++) {
                quants[32 * j + i] |= (byte) (((bytes[at + i] >>> j) & 1) << shift);
            }
        }
    }

    /** Adds the fifth bits of 32 quants: 4 bytes, lowest bit first. */
    private void addFifthBits(int at) {
        for (int i = 0; i < 32; i++) {
            quants[i] |= (byte) (((bytes[at + i / 8] >>> (i % 8)) & 1) << 4);
        }
    }

    private void subtract(int zero, int count) {
        for (int i = 0; i < count; i++) {
            quants[i] -= (byte) zero;
        }
    }

    private void lookUp(byte[] table, int count) {
        for (int i = 0; i < count; i++) {
            quants[i] = table[quants[i]];
        }
    }

    private float half(int at) {
        return Float.float16ToFloat(FileNumbers.shortAt(bytes, at));
    }

    /** {@code 2^(exponent − 128)}; the two smallest results are denormal. */
    public static float halfPower(int exponent) {
        return Float.intBitsToFloat(exponent < 2 ? 0x00200000 << exponent : (exponent - 1) << 23);
    }

    /**
     * The float of 7 bits without a sign: 4 bits of exponent with a bias of 7, and 3 bits of mantissa (UE4M3). It has no
     * infinity and no NaN; the largest is 480.
     */
    public static float smallFloat(int bits) {
        return Float.intBitsToFloat(bits << 20) * 0x1p120f; // the exponent's bias in an f32 is 127
    }

    /** The bits of the float that a scale of NVFP4 means in a file: 0x7F means 0, and otherwise the highest bit is ignored. */
    public static byte smallFloatBits(byte inFile) {
        return inFile == 0x7f ? 0 : (byte) (inFile & 0x7f);
    }
}
