package quire.model.format;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.stream.IntStream;
import java.util.zip.CRC32C;

/** The CRC-32C of each block of some memory, which find damage. Several threads compute them. */
public final class Checksums {
    /** Bytes of a block. */
    public static final int BLOCK = 1 << 20;

    private Checksums() {}

    /** The checksums of memory that other threads may read, one for each {@link #BLOCK} bytes and one for the rest. */
    public static int[] of(MemorySegment memory) {
        int blocks = Math.toIntExact(Math.ceilDiv(memory.byteSize(), BLOCK));
        return IntStream.range(0, blocks)
                .parallel()
                .map(block -> {
                    long from = (long) block * BLOCK;
                    CRC32C crc = new CRC32C();
                    crc.update(memory.asSlice(from, Math.min(BLOCK, memory.byteSize() - from))
                            .asByteBuffer());
                    return (int) crc.getValue();
                })
                .toArray();
    }

    /** Checksums as bytes, the highest first. */
    public static byte[] bytes(int[] checksums) {
        ByteBuffer bytes = ByteBuffer.allocate(checksums.length * Integer.BYTES);
        bytes.asIntBuffer().put(checksums);
        return bytes.array();
    }
}
