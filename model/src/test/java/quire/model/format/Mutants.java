package quire.model.format;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.SplittableRandom;

/** Damages a valid file. */
final class Mutants {
    /** Numbers that a reader must not trust. */
    static final long[] HOSTILE = {
        0,
        1,
        -1,
        2,
        4,
        8,
        9,
        10,
        12,
        13,
        31,
        33,
        255,
        65_535,
        65_536,
        65_537,
        1 << 22,
        (1 << 22) + 1,
        1 << 24,
        (1 << 24) + 1,
        Integer.MAX_VALUE,
        Integer.MIN_VALUE,
        0xFFFF_FFFFL,
        1L << 32,
        1L << 33,
        1L << 40,
        1L << 58,
        1L << 60,
        1L << 61,
        1L << 62,
        Long.MAX_VALUE,
        Long.MAX_VALUE - 31,
        Long.MIN_VALUE,
        Long.MIN_VALUE + 32,
        -8,
        -32
    };

    private final byte[] sound;
    private final int[] numbers;
    private final int dataStart;

    Mutants(GgufWriter writer) {
        sound = writer.toBytes();
        numbers = writer.numberOffsets();
        try (Gguf gguf = writer.open()) {
            dataStart = gguf.tensors().stream()
                    .mapToInt(tensor -> (int) tensor.offset())
                    .min()
                    .orElse(sound.length);
        }
    }

    /** The file with one to three changes, most of them before its data. */
    byte[] next(SplittableRandom random) {
        byte[] mutant = sound.clone();
        int changes = 1 + random.nextInt(3);
        for (int i = 0; i < changes && mutant.length > 0; i++) {
            mutant = mutate(mutant, random);
        }
        return mutant;
    }

    /**
     * The file with some of its data overwritten: by any bytes, or by bytes of very large, infinite or NaN numbers.
     */
    byte[] nextData(SplittableRandom random) {
        byte[] mutant = sound.clone();
        // A few changed bytes are seldom a scale that is not finite, for which a file is refused.
        boolean few = random.nextBoolean();
        int changes = 1 + random.nextInt(few ? 2 : 64);
        for (int i = 0; i < changes; i++) {
            int from = random.nextInt(dataStart, mutant.length);
            int to = Math.min(mutant.length, from + 1 + random.nextInt(few ? 8 : 300));
            switch (random.nextInt(4)) {
                case 0 -> Arrays.fill(mutant, from, to, (byte) 0xFF);
                case 1 -> Arrays.fill(mutant, from, to, (byte) 0x7C);
                case 2 -> Arrays.fill(mutant, from, to, (byte) 0x80);
                default -> {
                    for (int at = from; at < to; at++) {
                        mutant[at] = (byte) random.nextInt();
                    }
                }
            }
        }
        return mutant;
    }

    private byte[] mutate(byte[] bytes, SplittableRandom random) {
        // Nine of ten changes are before the data, which a reader interprets. An earlier cut may have left less.
        int end = random.nextInt(10) == 0 ? bytes.length : Math.min(bytes.length, dataStart);
        int at = random.nextInt(end);
        int number = numbers[random.nextInt(numbers.length)];
        return switch (random.nextInt(8)) {
            case 0 -> Arrays.copyOf(bytes, at);
            case 1 -> {
                put(bytes, number, Long.BYTES, HOSTILE[random.nextInt(HOSTILE.length)]);
                yield bytes;
            }
            case 2 -> {
                put(bytes, at, Integer.BYTES, HOSTILE[random.nextInt(HOSTILE.length)]);
                yield bytes;
            }
            case 3 -> { // another number in the file
                int other = numbers[random.nextInt(numbers.length)];
                if (Math.max(number, other) + Long.BYTES <= bytes.length) {
                    System.arraycopy(bytes, other, bytes, number, Long.BYTES);
                }
                yield bytes;
            }
            case 4 -> { // insert or remove bytes
                int count = 1 + random.nextInt(16);
                byte[] longer = new byte[bytes.length + count];
                System.arraycopy(bytes, 0, longer, 0, at);
                System.arraycopy(bytes, at, longer, at + count, bytes.length - at);
                yield longer;
            }
            case 5 -> {
                int count = Math.min(1 + random.nextInt(16), bytes.length - at);
                byte[] shorter = new byte[bytes.length - count];
                System.arraycopy(bytes, 0, shorter, 0, at);
                System.arraycopy(bytes, at + count, shorter, at, shorter.length - at);
                yield shorter;
            }
            case 6 -> { // swap two ranges
                int length = Math.min(1 + random.nextInt(64), end / 2);
                int one = random.nextInt(end - length + 1);
                int two = random.nextInt(end - length + 1);
                byte[] kept = Arrays.copyOfRange(bytes, one, one + length);
                System.arraycopy(bytes, two, bytes, one, length);
                System.arraycopy(kept, 0, bytes, two, length);
                yield bytes;
            }
            default -> {
                bytes[at] ^= (byte) (1 << random.nextInt(8));
                yield bytes;
            }
        };
    }

    /** Writes as many bytes of a number as there is room for. */
    static void put(byte[] bytes, int at, int width, long value) {
        byte[] number = ByteBuffer.allocate(Long.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(value)
                .array();
        System.arraycopy(number, 0, bytes, Math.min(at, bytes.length), Math.clamp(bytes.length - at, 0, width));
    }
}
