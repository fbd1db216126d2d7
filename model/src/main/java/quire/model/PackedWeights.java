package quire.model;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import quire.model.format.Checksums;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.ElementType;
import quire.tensor.Kernels;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;

/**
 * The packed matrices of a model in a file of their own. The first start writes it; later ones map it. So they pack nothing
 * and need no new memory, and processes with the same model share the memory of its weights.
 *
 * <pre>
 *   [matrix][matrix] … [matrix]   each on a cache line
 *   [CRC-32C of each MiB above]
 *   [name, offset and bytes of each matrix]
 *   [bytes of the matrices, bytes of the table, CRC-32C of checksums and table, magic]     24 bytes at the end
 * </pre>
 *
 * <p>The file's name has a digest of all that the content depends on: every byte of the model's file, the kernel set, and what
 * the set makes of a sample of each type of weights. So a file never belongs to another model, and a Quire that packs in another
 * way writes another file. Every byte is compared with its checksum before the file is used; a damaged file is written anew. A file is
 * complete when it gets its name.
 */
final class PackedWeights {
    private static final System.Logger LOG = System.getLogger(PackedWeights.class.getName());

    private static final int MAGIC = 0x51504B31; // QPK1
    private static final int TRAILER_BYTES = 2 * Long.BYTES + 2 * Integer.BYTES;
    private static final int LINE = 64;
    private static final MemorySegment PADDING = MemorySegment.ofArray(new byte[LINE]);

    /** Rows of the samples: those of a panel. */
    private static final int SAMPLE_ROWS = 16;

    private final Kernels kernels;
    private final Path path;
    /** The matrices of the file, by name; empty if there is no file yet. */
    private final Map<String, MemorySegment> found;
    /** The matrices that were asked for. */
    private final Map<String, List<MemorySegment>> used = new LinkedHashMap<>();

    private boolean isWhole = true; // whether all of them were in the file

    private PackedWeights(Kernels kernels, Path path, Map<String, MemorySegment> found) {
        this.kernels = kernels;
        this.path = path;
        this.found = found;
    }

    /**
     * Opens the file of a model's packed weights if there is one.
     *
     * @param folder where it is or will be; created if it is not there
     * @param arena the file is mapped until it is closed
     * @return null if the kernel set packs weights anew each time
     * @throws IllegalArgumentException if the folder cannot be used, with the reason
     */
    static @Nullable PackedWeights open(Path folder, Gguf file, Kernels kernels, Workers workers, Arena arena) {
        if (!kernels.keepsPacked()) {
            LOG.log(
                    Level.WARNING,
                    "the kernel set " + kernels.name() + " packs weights anew at each start, so " + folder
                            + " is not used");
            return null;
        }
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw new IllegalArgumentException(
                    "packedCache is " + folder + ", which is no folder and cannot be made one: " + e, e);
        }
        Path path = folder.resolve(name(file) + "-" + digest(file, kernels, workers) + ".packed");
        Map<String, MemorySegment> found = Map.of();
        if (Files.exists(path)) {
            try {
                found = read(path, arena);
            } catch (IOException e) {
                LOG.log(Level.WARNING, path + " is not used and written anew: " + e.getMessage());
            }
        }
        return new PackedWeights(kernels, path, found);
    }

    /** The name of the model's file, without what stands behind the last dot. */
    private static String name(Gguf file) {
        List<Path> paths = file.paths();
        String name =
                paths.isEmpty() ? "model" : String.valueOf(paths.getFirst().getFileName());
        int dot = name.lastIndexOf('.');
        return dot > 0 ? name.substring(0, dot) : name;
    }

    /** See {@link PackedWeights}; the first 16 bytes in hexadecimal digits. */
    private static String digest(Gguf file, Kernels kernels, Workers workers) {
        try (Arena arena = Arena.ofShared()) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(file.fingerprint());
            digest.update(kernels.name().getBytes(StandardCharsets.UTF_8));
            Set<ElementType> seen = EnumSet.noneOf(ElementType.class);
            for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
                if (ModelConfig.isMatrix(tensor) && seen.add(tensor.elementType())) {
                    int rows = (int) Math.min(SAMPLE_ROWS, tensor.rows());
                    int columns = Math.toIntExact(tensor.columns());
                    MemorySegment source =
                            file.data(tensor).asSlice(0, tensor.elementType().byteSize((long) rows * columns));
                    for (MemorySegment part : kernels.pack(tensor.elementType(), rows, columns, source, arena, workers)
                            .packed()) {
                        digest.update(part.asByteBuffer());
                    }
                }
            }
            return HexFormat.of().formatHex(digest.digest(), 0, 16);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    /** Maps a file and compares all of it with its checksums. */
    private static Map<String, MemorySegment> read(Path path, Arena arena) throws IOException {
        MemorySegment all;
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            all = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
        }
        long size = all.byteSize();
        ByteBuffer trailer = size < TRAILER_BYTES
                ? ByteBuffer.allocate(TRAILER_BYTES)
                : all.asSlice(size - TRAILER_BYTES).asByteBuffer();
        long matrixBytes = trailer.getLong();
        long tableBytes = trailer.getLong();
        int tableSum = trailer.getInt();
        if (trailer.getInt() != MAGIC
                || matrixBytes < 0
                || tableBytes < 0
                || tableBytes > Integer.MAX_VALUE
                || matrixBytes != size - TRAILER_BYTES - tableBytes) {
            throw new IOException("it is not whole");
        }
        byte[] table = all.asSlice(matrixBytes, tableBytes).toArray(ValueLayout.JAVA_BYTE);
        if (sum(table) != tableSum) {
            throw new IOException("its table is damaged");
        }
        MemorySegment matrices = all.asSlice(0, matrixBytes);
        int[] sums = Checksums.of(matrices);
        DataInputStream in = new DataInputStream(new ByteArrayInputStream(table));
        byte[] expected = in.readNBytes(sums.length * Integer.BYTES);
        int different = Arrays.mismatch(expected, Checksums.bytes(sums));
        if (different >= 0) {
            throw new IOException("it is damaged in the MiB number " + different / Integer.BYTES);
        }
        Map<String, MemorySegment> found = new LinkedHashMap<>();
        for (int left = in.readInt(); left > 0; left--) {
            String name = in.readUTF();
            long offset = in.readLong();
            long bytes = in.readLong();
            if (offset < 0 || offset % LINE != 0 || bytes < 0 || offset > matrixBytes - bytes) {
                throw new IOException("it has no bytes for " + name);
            }
            found.put(name, matrices.asSlice(offset, bytes));
        }
        return found;
    }

    private static int sum(byte[] bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return (int) crc.getValue();
    }

    /**
     * A matrix of the file; if it has none of this name, what {@code pack} makes, which {@link #write} will write.
     *
     * @param name says which rows of which tensor, in which order
     */
    WeightMatrix matrix(String name, ElementType type, int rows, int columns, Supplier<WeightMatrix> pack) {
        MemorySegment there = found.get(name);
        WeightMatrix matrix;
        if (there != null && there.byteSize() == kernels.packedBytes(type, rows, columns)) {
            matrix = kernels.ofPacked(type, rows, columns, there);
        } else {
            matrix = pack.get();
            isWhole = false;
        }
        used.put(name, matrix.packed());
        return matrix;
    }

    /** Writes the file if it lacks a matrix. A failure is logged: the model can be used without the file. */
    void write() {
        if (isWhole) {
            LOG.log(Level.INFO, "mapped the packed weights of " + path);
            return;
        }
        long begin = System.nanoTime();
        Path unfinished = path.resolveSibling(path.getFileName() + ".new");
        try (FileChannel channel = FileChannel.open(unfinished, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            if (!lock(channel) || !Files.exists(unfinished)) { // without its name it is finished
                LOG.log(Level.INFO, "the packed weights are being written to " + path + " already");
                return;
            }
            channel.truncate(0);
            long bytes = write(channel);
            Files.move(unfinished, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            LOG.log(
                    Level.INFO,
                    "wrote " + (bytes >> 20) + " MiB of packed weights to " + path + " in "
                            + (System.nanoTime() - begin) / 1_000_000 + " ms; the next start maps them");
        } catch (IOException e) {
            LOG.log(Level.WARNING, "the packed weights were not written to " + path + ": " + e);
            delete(unfinished);
        }
    }

    /** Locks a file until it is closed; false if another process or another engine of this one has locked it. */
    private static boolean lock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock() != null;
        } catch (OverlappingFileLockException e) {
            return false;
        }
    }

    private static void delete(Path unfinished) {
        try {
            Files.deleteIfExists(unfinished);
        } catch (IOException e) {
            LOG.log(Level.WARNING, unfinished + " cannot be deleted: " + e);
        }
    }

    private long write(FileChannel channel) throws IOException {
        Blocks blocks = new Blocks(channel);
        ByteArrayOutputStream names = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(names);
        out.writeInt(used.size());
        for (Map.Entry<String, List<MemorySegment>> matrix : used.entrySet()) {
            long offset = blocks.bytes;
            for (MemorySegment part : matrix.getValue()) {
                blocks.write(part);
            }
            out.writeUTF(matrix.getKey());
            out.writeLong(offset);
            out.writeLong(blocks.bytes - offset);
            blocks.write(PADDING.asSlice(0, -blocks.bytes & (LINE - 1)));
        }
        blocks.end();
        int tableBytes = blocks.sums.size() + names.size();
        byte[] table = ByteBuffer.allocate(tableBytes)
                .put(blocks.sums.toByteArray())
                .put(names.toByteArray())
                .array();
        writeAll(
                channel,
                ByteBuffer.allocate(tableBytes + TRAILER_BYTES)
                        .put(table)
                        .putLong(blocks.bytes)
                        .putLong(tableBytes)
                        .putInt(sum(table))
                        .putInt(MAGIC)
                        .flip());
        return blocks.bytes;
    }

    private static void writeAll(FileChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /** Writes memory and computes the checksum of each block. */
    private static final class Blocks {
        private final FileChannel channel;
        private final ByteBuffer block = ByteBuffer.allocateDirect(Checksums.BLOCK);
        private final ByteArrayOutputStream sums = new ByteArrayOutputStream();
        private long bytes;

        Blocks(FileChannel channel) {
            this.channel = channel;
        }

        void write(MemorySegment memory) throws IOException {
            for (long at = 0; at < memory.byteSize(); ) {
                int count = (int) Math.min(block.remaining(), memory.byteSize() - at);
                block.put(memory.asSlice(at, count).asByteBuffer());
                at += count;
                bytes += count;
                if (!block.hasRemaining()) {
                    end();
                }
            }
        }

        /** Writes what there is of a block. */
        void end() throws IOException {
            block.flip();
            sums.writeBytes(Checksums.bytes(Checksums.of(MemorySegment.ofBuffer(block))));
            writeAll(channel, block);
            block.clear();
        }
    }
}
