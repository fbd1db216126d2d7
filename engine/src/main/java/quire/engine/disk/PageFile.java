package quire.engine.disk;

import java.io.Closeable;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import quire.tensor.memory.FileMemory;

/**
 * A file of KV pages in slots of equal size. Pages that one process has written can be read by the next one.
 *
 * <pre>
 *   header    magic, version, sizes, identity, checksum                           4 KiB
 *   records   [record 0][record 1] …      slots × recordBytes                     what a page contains
 *   pages     [page 0][page 1] …          slots × a page                          K and V
 *
 *   record    generation   parent's generation   parent's slot   checksum of the page   salt   tokens   checksum
 *             counts the pages ever written; 0 for none
 * </pre>
 *
 * <p><b>A process may end at any moment.</b> {@link #write} empties the record of the slot, writes the page, and then
 * its record. So a record that is there belongs to a complete page, as long as the operating system goes on. After a
 * power failure it may have kept the record and lost the page; the checksum of the page then tells.
 *
 * <p>A record's checksum covers its slot too, so a record in a wrong place is not taken for a valid one. A page refers to
 * the page before it by slot and generation, and the records have all tokens: no page is found by a hash alone.
 *
 * <p>The file is this process's alone: it is locked, and only its user may read it, because it contains what users wrote.
 * A file of another model or of another size is started anew. A file that is not of this kind is refused, never
 * overwritten.
 *
 * <p>After {@link #open}, one thread at a time may use it.
 */
public final class PageFile implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    private static final byte[] MAGIC = "QUIRE-KV".getBytes(StandardCharsets.US_ASCII);
    /**
     * Raise it when the layout of the file or of a page changes, and when a formula of the kernels does: pages from
     * before would then differ in their last bits.
     */
    private static final int VERSION = 3;

    /** Length of {@link Contents#identity}. */
    public static final int IDENTITY_LENGTH = 64;

    private static final int HEADER_BYTES = 4096;
    private static final int HEADER_USED = MAGIC.length + 3 * Integer.BYTES + Long.BYTES + IDENTITY_LENGTH;
    private static final int RECORD_HEAD = 4 * Long.BYTES + 2 * Integer.BYTES; // before the tokens
    private static final int ALIGNMENT = 64;
    private static final int MOST_SLOTS = 1 << 30;

    /** Slots that a log line names; further ones are counted. */
    private static final int NAMED = 5;

    private static final Set<PosixFilePermission> OWNER_ONLY = PosixFilePermissions.fromString("rw-------");

    private final Path path;
    private final FileChannel channel;
    private final @Nullable Closeable space; // closed with the channel: before, it would give up the lock
    private final int slots;
    private final int pageTokens;
    private final long pageBytes;
    private final int[] checksums; // of the pages, by slot
    private final Arena arena = Arena.ofShared();
    private final byte[] recordBytes;
    private final ByteBuffer record; // of these bytes
    private final CRC32C checksum = new CRC32C();

    /**
     * What the pages of a file are.
     *
     * @param identity {@value #IDENTITY_LENGTH} ASCII characters, equal only for engines whose pages are equal
     * @param pageTokens tokens of a page
     * @param pageBytes bytes of a page
     */
    public record Contents(String identity, int pageTokens, long pageBytes) {
        /**
         * Checks the ranges.
         *
         * @throws IllegalArgumentException if one is wrong
         */
        public Contents {
            if (identity.length() != IDENTITY_LENGTH || pageTokens < 1 || pageBytes < 1) {
                throw new IllegalArgumentException("pages of " + pageTokens + " tokens and " + pageBytes
                        + " bytes, with an identity of " + identity.length() + " characters");
            }
        }
    }

    /** What a page contains. Mutable, so that it can be used again. */
    public static final class PageRecord {
        /** Number of this content, larger than those of all pages written before it; at least 1. */
        public long generation;
        /** The slot of the page before it; −1 for a first page. */
        public int parentSlot;
        /** The generation of the page before it; 0 for a first page. */
        public long parentGeneration;
        /** First half of a first page's salt. */
        public long saltHigh;
        /** Second half. */
        public long saltLow;
        /** The tokens. */
        public final int[] tokens;

        /** An empty record for pages of {@code pageTokens} tokens. */
        public PageRecord(int pageTokens) {
            tokens = new int[pageTokens];
        }
    }

    /** Receives the records of a file. */
    @FunctionalInterface
    public interface Visitor {
        /**
         * A page in the file.
         *
         * @param record valid during the call
         * @return whether the page is of use
         */
        boolean visit(int slot, PageRecord record);
    }

    private PageFile(Path path, FileChannel channel, @Nullable Closeable space, int slots, Contents contents) {
        this.path = path;
        this.channel = channel;
        this.space = space;
        this.slots = slots;
        pageTokens = contents.pageTokens;
        pageBytes = contents.pageBytes;
        checksums = new int[slots];
        recordBytes = new byte[(int) recordBytes(pageTokens)];
        record = littleEndian(recordBytes);
    }

    // ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /** Number of pages that a file of at most {@code bytes} has room for. */
    public static int slots(long bytes, int pageTokens, long pageBytes) {
        return Math.clamp((bytes - HEADER_BYTES) / (recordBytes(pageTokens) + roundUp(pageBytes)), 0, MOST_SLOTS);
    }

    /** Number of pages that are on their way to or from a file at most: 32 MiB, but at least 4 and at most 64. */
    public static int transfers(long pageBytes) {
        return Math.clamp((32L << 20) / pageBytes, 4, 64);
    }

    private static long recordBytes(int pageTokens) {
        return roundUp(RECORD_HEAD + (pageTokens + 1L) * Integer.BYTES);
    }

    private static long roundUp(long bytes) {
        return Math.ceilDiv(bytes, ALIGNMENT) * (long) ALIGNMENT;
    }

    private static long fileBytes(int slots, Contents contents) {
        return HEADER_BYTES + slots * (recordBytes(contents.pageTokens) + roundUp(contents.pageBytes));
    }

    private long recordOffset(int slot) {
        return HEADER_BYTES + slot * (long) record.capacity();
    }

    private long pageOffset(int slot) {
        return HEADER_BYTES + slots * (long) record.capacity() + slot * roundUp(pageBytes);
    }

    // ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /**
     * Opens a file or creates it. Logs why it is started anew, if it is.
     *
     * @param bytes size of the file at most
     * @throws IllegalArgumentException if no page fits, if the file cannot be opened or created, if another engine uses
     *     it, or if it is another kind of file; the message says what to do
     */
    public static PageFile open(Path path, long bytes, Contents contents) {
        int slots = slots(bytes, contents.pageTokens, contents.pageBytes);
        if (slots < 1) {
            throw new IllegalArgumentException("kvDiskBytes is " + bytes + " bytes, but a file for one KV page takes "
                    + fileBytes(1, contents) + ": raise it");
        }
        if (Files.isDirectory(path)) {
            throw new IllegalArgumentException("the KV file " + path + " is a folder: name a file in it");
        }
        FileChannel channel = null;
        try {
            channel = openChannel(path);
            lock(path, channel);
            PageFile file = open(path, channel, slots, contents);
            channel = null;
            return file;
        } catch (IOException e) {
            throw new IllegalArgumentException(
                    "the KV file " + path + " cannot be used: " + reason(path, e)
                            + "; check the folder, its permissions and its free space, or choose another file",
                    e);
        } finally {
            closeQuietly(channel);
        }
    }

    private static FileChannel openChannel(Path path) throws IOException {
        Set<StandardOpenOption> options =
                Set.of(StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        return path.getFileSystem().supportedFileAttributeViews().contains("posix")
                ? FileChannel.open(path, options, PosixFilePermissions.asFileAttribute(OWNER_ONLY))
                : FileChannel.open(path, options);
    }

    private static void lock(Path path, FileChannel channel) throws IOException {
        FileLock lock;
        try {
            lock = channel.tryLock(); // freed when the channel is closed
        } catch (OverlappingFileLockException e) {
            lock = null;
        }
        if (lock == null) {
            throw new IllegalArgumentException("the KV file " + path
                    + " is in use by another engine: end that one, or choose another file for this one");
        }
    }

    private static void closeQuietly(@Nullable FileChannel channel) {
        if (channel != null) {
            try {
                channel.close();
            } catch (IOException e) {
                LOG.log(Level.WARNING, "could not close a KV file", e);
            }
        }
    }

    static PageFile open(Path path, FileChannel channel, int slots, Contents contents) throws IOException {
        long size = channel.size();
        byte[] header = new byte[HEADER_USED + Integer.BYTES];
        readFully(channel, ByteBuffer.wrap(header), 0);
        if (size > 0 && !Arrays.equals(MAGIC, 0, MAGIC.length, header, 0, MAGIC.length)) {
            throw new IllegalArgumentException(
                    path + " is not a file of KV pages, and is not overwritten: delete it, or choose another file");
        }
        String fault = size == 0 ? null : fault(header, header(slots, contents), size, fileBytes(slots, contents));
        if (size > 0 && fault == null) {
            protect(path);
            return new PageFile(path, channel, null, slots, contents);
        }
        if (fault != null) {
            LOG.log(Level.WARNING, "the KV file " + path + " is started anew, without its old pages: " + fault);
        }
        return create(path, channel, slots, contents);
    }

    /** Why the pages of a file cannot be used; null if they can. */
    private static @Nullable String fault(byte[] found, byte[] wanted, long size, long wantedSize) {
        int sum = littleEndian(found).getInt(HEADER_USED);
        int version = littleEndian(found).getInt(MAGIC.length);
        int identity = HEADER_USED - IDENTITY_LENGTH;
        if (sum != checksum(found, HEADER_USED)) {
            return "its header is damaged";
        }
        if (version != VERSION) {
            return "it has version " + version + " of the format, not " + VERSION;
        }
        if (!Arrays.equals(found, identity, HEADER_USED, wanted, identity, HEADER_USED)) {
            return "its pages are of another model, another type of K and V, or other kernels";
        }
        if (!Arrays.equals(found, 0, identity, wanted, 0, identity)) {
            return "it was made for another size of the file or of a page";
        }
        return size == wantedSize ? null : "it has " + size + " bytes where " + wantedSize + " are expected";
    }

    /** The header with its checksum. */
    private static byte[] header(int slots, Contents contents) {
        byte[] bytes = new byte[HEADER_USED + Integer.BYTES];
        littleEndian(bytes)
                .put(MAGIC)
                .putInt(VERSION)
                .putInt(contents.pageTokens)
                .putInt(slots)
                .putLong(contents.pageBytes)
                .put(contents.identity.getBytes(StandardCharsets.US_ASCII));
        littleEndian(bytes).putInt(HEADER_USED, checksum(bytes, HEADER_USED));
        return bytes;
    }

    private static PageFile create(Path path, FileChannel channel, int slots, Contents contents) throws IOException {
        long bytes = fileBytes(slots, contents);
        channel.truncate(0);
        protect(path);
        long room = Files.getFileStore(path).getUsableSpace();
        if (room < bytes) {
            throw new IllegalArgumentException(
                    "the KV file " + path + " would take " + bytes + " bytes, but its disk has " + room
                            + " free: set kvDiskBytes to less, or choose a file on another disk");
        }
        writeFully(channel, ByteBuffer.wrap(header(slots, contents)), 0);
        Closeable space = FileMemory.allocate(path, bytes); // the records and pages are zeros
        if (space == null) {
            LOG.log(Level.INFO, "the system cannot allocate the space of the KV file " + path + " in advance");
            writeFully(channel, ByteBuffer.allocate(1), bytes - 1);
        }
        return new PageFile(path, channel, space, slots, contents);
    }

    private static void protect(Path path) throws IOException {
        PosixFileAttributeView view = Files.getFileAttributeView(path, PosixFileAttributeView.class);
        if (view != null) {
            view.setPermissions(OWNER_ONLY);
        }
    }

    private static String reason(Path path, IOException e) {
        String message = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
        Path folder = path.toAbsolutePath().getParent();
        return message != null
                ? message
                : folder != null && !Files.isDirectory(folder)
                        ? "there is no folder " + folder
                        : e.getClass().getSimpleName();
    }

    // ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /** The file. */
    public Path path() {
        return path;
    }

    /** Number of pages that the file has room for. */
    public int slots() {
        return slots;
    }

    /** Tokens of a page. */
    public int pageTokens() {
        return pageTokens;
    }

    /** Memory for one page, freed by {@link #close}. */
    public MemorySegment newPage() {
        return arena.allocate(pageBytes, ALIGNMENT);
    }

    /**
     * Reads all records, a page before those that follow it. Logs how many are damaged.
     *
     * @return number of pages of use
     * @throws IllegalArgumentException if the file cannot be read
     */
    public int restore(Visitor visitor) {
        List<Integer> found = new ArrayList<>();
        List<Integer> damaged = new ArrayList<>();
        PageRecord page = new PageRecord(pageTokens);
        long[] generations = new long[slots];
        try {
            for (int slot = 0; slot < slots; slot++) {
                switch (readRecord(slot, page)) {
                    case VALID -> {
                        generations[slot] = page.generation;
                        found.add(slot);
                    }
                    case DAMAGED -> damaged.add(slot);
                    case EMPTY -> {}
                }
            }
            found.sort(Comparator.comparingLong(slot -> generations[slot]));
            int kept = 0;
            for (int slot : found) {
                kept += readRecord(slot, page) == State.VALID && visitor.visit(slot, page) ? 1 : 0;
            }
            if (!damaged.isEmpty()) {
                LOG.log(
                        Level.WARNING,
                        "the KV file " + path + " has " + damaged.size() + " damaged records, which are ignored: slots "
                                + damaged.subList(0, Math.min(NAMED, damaged.size()))
                                + (damaged.size() > NAMED ? " and others" : ""));
            }
            LOG.log(
                    Level.INFO,
                    "KV file " + path + ": " + kept + " pages kept from before, room for " + slots + " pages of "
                            + pageBytes + " bytes");
            return kept;
        } catch (IOException e) {
            throw new IllegalArgumentException("the KV file " + path + " cannot be read: " + reason(path, e), e);
        }
    }

    private enum State {
        EMPTY,
        VALID,
        DAMAGED
    }

    private State readRecord(int slot, PageRecord to) throws IOException {
        record.clear();
        readFully(channel, record, recordOffset(slot));
        if (record.hasRemaining()) {
            return State.DAMAGED; // the file was cut short
        }
        if (isZero(recordBytes)) {
            return State.EMPTY;
        }
        if (record.getInt(record.capacity() - Integer.BYTES) != recordChecksum(slot)) {
            return State.DAMAGED;
        }
        record.flip();
        to.generation = record.getLong();
        to.parentGeneration = record.getLong();
        to.parentSlot = record.getInt();
        checksums[slot] = record.getInt();
        to.saltHigh = record.getLong();
        to.saltLow = record.getLong();
        for (int i = 0; i < pageTokens; i++) {
            to.tokens[i] = record.getInt();
        }
        return State.VALID;
    }

    private static boolean isZero(byte[] bytes) {
        for (byte b : bytes) {
            if (b != 0) {
                return false;
            }
        }
        return true;
    }

    /** Of the record in the buffer, without the last four bytes, which are for this checksum. */
    private int recordChecksum(int slot) {
        checksum.reset();
        for (int shift = 0; shift < Integer.SIZE; shift += Byte.SIZE) {
            checksum.update(slot >>> shift);
        }
        checksum.update(recordBytes, 0, recordBytes.length - Integer.BYTES);
        return (int) checksum.getValue();
    }

    /**
     * Writes a page in place of what the slot has.
     *
     * @param page what {@link #newPage} returned
     * @throws IOException if that fails, for example because the disk is full; then the slot is empty, or its page is
     *     found to be damaged when it is read
     */
    public void write(int slot, PageRecord contents, MemorySegment page) throws IOException {
        record.clear();
        Arrays.fill(recordBytes, (byte) 0);
        writeFully(channel, record, recordOffset(slot));
        ByteBuffer bytes = page.asByteBuffer();
        int sum = pageChecksum(bytes);
        checksums[slot] = sum;
        writeFully(channel, bytes.rewind(), pageOffset(slot));
        record.clear();
        record.putLong(contents.generation)
                .putLong(contents.parentGeneration)
                .putInt(contents.parentSlot)
                .putInt(sum)
                .putLong(contents.saltHigh)
                .putLong(contents.saltLow);
        for (int token : contents.tokens) {
            record.putInt(token);
        }
        record.putInt(record.capacity() - Integer.BYTES, recordChecksum(slot));
        record.clear();
        writeFully(channel, record, recordOffset(slot));
    }

    /**
     * Reads a page.
     *
     * @param page what {@link #newPage} returned
     * @return whether it is what was written; if not, its record is emptied, so that it is not found again
     */
    public boolean read(int slot, MemorySegment page) throws IOException {
        ByteBuffer bytes = page.asByteBuffer();
        readFully(channel, bytes, pageOffset(slot));
        boolean intact = !bytes.hasRemaining() && pageChecksum(bytes.rewind()) == checksums[slot];
        if (!intact) {
            record.clear();
            Arrays.fill(recordBytes, (byte) 0);
            writeFully(channel, record, recordOffset(slot));
        }
        return intact;
    }

    private int pageChecksum(ByteBuffer page) {
        checksum.reset();
        checksum.update(page);
        return (int) checksum.getValue();
    }

    private static int checksum(byte[] bytes, int length) {
        CRC32C sum = new CRC32C();
        sum.update(bytes, 0, length);
        return (int) sum.getValue();
    }

    private static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Fills the buffer, as far as the file reaches. */
    private static void readFully(FileChannel channel, ByteBuffer to, long offset) throws IOException {
        long at = offset;
        while (to.hasRemaining()) {
            int count = channel.read(to, at);
            if (count < 0) {
                return;
            }
            at += count;
        }
    }

    private static void writeFully(FileChannel channel, ByteBuffer from, long offset) throws IOException {
        long at = offset;
        while (from.hasRemaining()) {
            at += channel.write(from, at);
        }
    }

    /** Closes the file and frees the memory of {@link #newPage}. */
    @Override
    public void close() throws IOException {
        try (space) {
            channel.close();
        } finally {
            arena.close();
        }
    }
}
