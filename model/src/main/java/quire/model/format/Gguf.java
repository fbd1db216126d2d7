package quire.model.format;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A GGUF file, version 2 or 3, little-endian, mapped into memory. Opening reads the header and the directories once and
 * trusts none of their numbers: each count is compared with the bytes that are left before memory is allocated by it.
 * So a malicious file leads to a {@link ModelFormatException} with a message of one line, and uses no memory. Only the
 * names are kept on the heap; values and tensors are read from the mapping when they are requested.
 *
 * <pre>
 *   "GGUF" version tensorCount keyCount             4 4 8 8 bytes
 *   key type value          × keyCount              a string is length (8) and bytes; an array is type (4), count (8), items
 *   name dims type offset   × tensorCount           offsets count from dataStart and are multiples of general.alignment
 *   padding
 *   dataStart ── tensor ── padding ── tensor ── …   tensors do not overlap
 * </pre>
 *
 * <p>A model may be in several files ({@code NAME-00001-of-00003.gguf} …). {@link #open} takes any one of them and opens
 * all.
 *
 * <p>Thread-safe. The files must not become shorter while they are open. Format: the GGUF specification in ggml's {@code
 * docs/gguf.md}.
 */
public final class Gguf implements AutoCloseable {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private static final int MAGIC = 0x46554747; // "GGUF"
    private static final int DEFAULT_ALIGNMENT = 32;
    private static final String DAMAGED = "the file is damaged or cut short; download it again";

    // Far above the numbers of any real file. They limit the memory on the heap for any file.
    private static final int MAX_KEYS = 1 << 16;
    private static final int MAX_TENSORS = 1 << 16;
    private static final int MAX_NAME_BYTES = 1 << 10;
    private static final int MAX_STRING_BYTES = 1 << 24;
    private static final int MAX_STRINGS_BYTES = 1 << 28; // of an array
    private static final int MAX_ITEMS = 1 << 22;
    private static final int MAX_DIMS = 4;
    private static final int MAX_NESTING = 4;
    private static final int MAX_ALIGNMENT = 1 << 16;

    // The smallest size of an entry: an empty name, a type, and the smallest value or one dimension.
    private static final int MIN_KEY_BYTES = Long.BYTES + Integer.BYTES + 1;
    private static final int MIN_TENSOR_BYTES = Long.BYTES + Integer.BYTES + Long.BYTES + Integer.BYTES + Long.BYTES;

    private static final int SHOWN_CHARS = 80;

    private final String file;
    private final MemorySegment memory;
    private final @Nullable Arena arena;
    private final @Nullable Path path;
    /** All parts of a model in several files, in order; empty if there is one file. */
    private final List<Gguf> parts;

    private final Map<String, Value> values = new LinkedHashMap<>();
    private final Map<String, GgufTensor> tensors = new LinkedHashMap<>();
    private final int version;
    private final int alignment;
    private long position;
    private byte @Nullable [] fingerprint;

    /**
     * The position of a value. {@code offset} is its first byte; for strings and arrays the first byte after the
     * length. {@code end} is the first byte behind it.
     */
    private record Value(GgufValueType type, GgufValueType itemType, long offset, long count, long end) {}

    /**
     * Opens a file, and the other parts of the model if it is one of several. Files are mapped; an entry of an archive, of
     * at most 2 GiB, is read into memory outside of the heap.
     *
     * @throws ModelFormatException if a file cannot be read or is not a valid GGUF file, if a part is missing, or if the
     *     parts do not belong together
     */
    public static Gguf open(Path path) {
        Gguf file = openOne(path);
        List<Gguf> parts = List.of(file);
        try {
            parts = SplitFiles.parts(path, file, Gguf::openOne);
            return parts.size() == 1 ? file : new Gguf(parts);
        } catch (RuntimeException | Error e) {
            parts.forEach(Gguf::close);
            throw e;
        }
    }

    // The arena lives as long as the file: close() closes it, and so does every exit from here except the return.
    @SuppressWarnings("MustBeClosedChecker")
    private static Gguf openOne(Path path) {
        String file = oneLine(path.toString());
        if (Files.isDirectory(path)) {
            throw new ModelFormatException(file + ": is a folder; name the .gguf file in it");
        }
        if (!Files.exists(path)) {
            throw new ModelFormatException(file + ": there is no such file; check the path");
        }
        if (!Files.isRegularFile(path)) {
            throw new ModelFormatException(file + ": is not a regular file and cannot be mapped; name a .gguf file");
        }
        Arena arena = Arena.ofShared();
        try {
            boolean mappable = path.getFileSystem().equals(FileSystems.getDefault());
            return new Gguf(file, mappable ? map(path, arena) : read(path, arena), arena, path);
        } catch (NoSuchFileException e) {
            arena.close();
            throw new ModelFormatException(file + ": there is no such file; check the path", e);
        } catch (AccessDeniedException e) {
            arena.close();
            throw new ModelFormatException(
                    file + ": cannot be read, permission denied; change the permissions of the file", e);
        } catch (IOException e) {
            arena.close();
            throw new ModelFormatException(
                    file + ": cannot be read (" + oneLine(String.valueOf(e.getMessage())) + "); check disk and path",
                    e);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    private static MemorySegment map(Path path, Arena arena) throws IOException {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            return channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
        }
    }

    /** Reads an entry of an archive, which cannot be mapped. */
    private static MemorySegment read(Path path, Arena arena) throws IOException {
        byte[] bytes = Files.readAllBytes(path);
        MemorySegment memory = arena.allocate(bytes.length, 64);
        MemorySegment.copy(bytes, 0, memory, ValueLayout.JAVA_BYTE, 0, bytes.length);
        return memory.asReadOnly();
    }

    /** Opens a file that is in memory already. The caller keeps the memory. */
    static Gguf open(String file, MemorySegment memory) {
        return new Gguf(oneLine(file), memory.asReadOnly(), null, null);
    }

    /** A model in several files. The metadata are those of the first one. */
    private Gguf(List<Gguf> parts) {
        Gguf first = parts.getFirst();
        this.parts = List.copyOf(parts);
        file = first.file;
        memory = first.memory;
        arena = null;
        path = first.path;
        version = first.version;
        alignment = first.alignment;
        values.putAll(first.values);
        for (int i = 0; i < parts.size(); i++) {
            for (GgufTensor tensor : parts.get(i).tensors.values()) {
                GgufTensor other = tensors.putIfAbsent(tensor.name(), tensor.inPart(i));
                if (other != null) {
                    throw parts.get(i)
                            .fault("tensor " + tensor.name() + ": is in part " + (other.part() + 1)
                                    + " too; download all parts of one model again");
                }
            }
        }
    }

    private Gguf(String file, MemorySegment memory, @Nullable Arena arena, @Nullable Path path) {
        parts = List.of();
        this.file = file;
        this.memory = memory;
        this.arena = arena;
        this.path = path;
        if (memory.byteSize() == 0) {
            throw fault("is empty; download it again");
        }
        if (memory.byteSize() < 2 * Integer.BYTES + 2 * Long.BYTES || memory.get(INT, 0) != MAGIC) {
            throw fault("is not a GGUF file (it does not begin with a GGUF header); name a .gguf file");
        }
        position = Integer.BYTES;
        version = nextInt("the version");
        if (version != 2 && version != 3) {
            int swapped = Integer.reverseBytes(version);
            throw fault(
                    swapped > 0 && swapped < 16
                            ? "is a big-endian GGUF file; convert the model to a little-endian one"
                            : "has GGUF version " + Integer.toUnsignedString(version)
                                    + ", which this version cannot read (it reads 2 and 3); convert the model again");
        }
        long tensorCount = nextLong("the number of tensors");
        long keyCount = nextLong("the number of keys");
        checkCount("header: the number of keys", keyCount, MAX_KEYS, MIN_KEY_BYTES);
        for (long i = 0; i < keyCount; i++) {
            readKey(i);
        }
        alignment = readAlignment();
        checkCount("header: the number of tensors", tensorCount, MAX_TENSORS, MIN_TENSOR_BYTES);
        readTensors((int) tensorCount);
    }

    // ---------------------------------------------------------------- header and directories

    private void readKey(long index) {
        String place = "key " + (index + 1) + " of the metadata";
        String key = nextName(place);
        place = "key " + shortened(key, SHOWN_CHARS);
        GgufValueType type = nextValueType(place);
        Value value =
                switch (type) {
                    case STRING -> nextString(place);
                    case ARRAY -> nextArray(place, 1);
                    default -> nextScalar(place, type);
                };
        if (values.putIfAbsent(key, value) != null) {
            throw fault(place + ": is there twice; convert the model again");
        }
    }

    private Value nextScalar(String place, GgufValueType type) {
        need(type.bytes(), place);
        Value value = new Value(type, type, position, 1, position + type.bytes());
        if (type == GgufValueType.BOOL) {
            checkBools(place, position, 1);
        }
        position += type.bytes();
        return value;
    }

    private Value nextString(String place) {
        long length = nextLong(place);
        if (length < 0 || length > MAX_STRING_BYTES) {
            throw fault(place + ": a string of " + Long.toUnsignedString(length) + " bytes is beyond the limit of "
                    + MAX_STRING_BYTES + "; " + DAMAGED);
        }
        need(length, place);
        Value value = new Value(GgufValueType.STRING, GgufValueType.STRING, position, length, position + length);
        position += length;
        return value;
    }

    private Value nextArray(String place, int depth) {
        if (depth > MAX_NESTING) {
            throw fault(place + ": arrays are nested more than " + MAX_NESTING + " deep; " + DAMAGED);
        }
        GgufValueType type = nextValueType(place);
        long count = nextLong(place);
        int least =
                switch (type) {
                    case STRING -> Long.BYTES;
                    case ARRAY -> Integer.BYTES + Long.BYTES;
                    default -> type.bytes();
                };
        checkCount(place + ": the array's length", count, MAX_ITEMS, least);
        long offset = position;
        if (type == GgufValueType.STRING) {
            for (long i = 0; i < count; i++) {
                long length = nextLong(place);
                if (length < 0 || length > memory.byteSize() - position) {
                    throw fault(place + ": string " + i + " of the array says it has " + Long.toUnsignedString(length)
                            + " bytes, where " + (memory.byteSize() - position) + " are left; " + DAMAGED);
                }
                position += length;
            }
        } else if (type == GgufValueType.ARRAY) {
            for (long i = 0; i < count; i++) {
                nextArray(place, depth + 1);
            }
        } else {
            if (type == GgufValueType.BOOL) {
                checkBools(place, position, count);
            }
            position += count * type.bytes();
        }
        return new Value(GgufValueType.ARRAY, type, offset, count, position);
    }

    private void checkBools(String place, long offset, long count) {
        for (long i = 0; i < count; i++) {
            int value = memory.get(ValueLayout.JAVA_BYTE, offset + i);
            if (value != 0 && value != 1) {
                throw fault(place + ": a bool is " + (value & 0xFF) + ", not 0 or 1; " + DAMAGED);
            }
        }
    }

    private int readAlignment() {
        long value = values.containsKey("general.alignment") ? int64("general.alignment") : DEFAULT_ALIGNMENT;
        if (value < Long.BYTES || value > MAX_ALIGNMENT || Long.bitCount(value) != 1) {
            throw fault("key general.alignment: is " + value + ", not a power of two from " + Long.BYTES + " to "
                    + MAX_ALIGNMENT + "; convert the model again");
        }
        return (int) value;
    }

    private void readTensors(int count) {
        List<GgufTensor> byOffset = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            byOffset.add(nextTensor(i)); // the offset is still relative to the data
        }
        long dataStart = (position + alignment - 1) / alignment * alignment;
        byOffset.replaceAll(t -> placed(t, dataStart));
        for (GgufTensor tensor : byOffset) {
            if (tensors.putIfAbsent(tensor.name(), tensor) != null) {
                throw fault("tensor " + tensor.name() + ": is there twice; convert the model again");
            }
        }
        byOffset.sort(Comparator.comparingLong(GgufTensor::offset));
        for (int i = 1; i < count; i++) {
            GgufTensor before = byOffset.get(i - 1);
            GgufTensor tensor = byOffset.get(i);
            if (tensor.offset() < before.offset() + before.byteSize()) {
                throw fault("tensor " + tensor.name() + ": overlaps tensor " + before.name() + " (begins at byte "
                        + tensor.offset() + ", the other ends at " + (before.offset() + before.byteSize())
                        + "); convert the model again");
            }
        }
    }

    private GgufTensor nextTensor(int index) {
        String name = nextName("tensor " + (index + 1) + " of the directory");
        String place = "tensor " + shortened(name, SHOWN_CHARS);
        int dimCount = nextInt(place);
        if (dimCount < 0 || dimCount > MAX_DIMS) {
            throw fault(place + ": has " + Integer.toUnsignedString(dimCount) + " dimensions, not 0 to " + MAX_DIMS
                    + "; " + DAMAGED);
        }
        long[] dims = new long[Math.max(1, dimCount)];
        dims[0] = 1; // a scalar has no dimension in the file, and one of 1 here
        for (int i = 0; i < dimCount; i++) {
            dims[i] = nextLong(place);
        }
        int typeId = nextInt(place);
        long offset = nextLong(place);
        GgufType type = GgufType.ofId(typeId).orElseThrow(() -> fault(place + ": has " + GgufType.unknown(typeId)));
        long elements = 1;
        for (long dim : dims) {
            // The densest type (Q1_0) has 18 bytes for 128 numbers, so a tensor has fewer than 8 numbers in a byte.
            if (dim < 1 || dim > memory.byteSize() * 8 / elements) {
                throw fault(place + ": its shape " + unsignedShape(dims) + " does not fit into a file of "
                        + memory.byteSize() + " bytes; " + DAMAGED);
            }
            elements *= dim;
        }
        if (dims[0] % type.blockElements() != 0) {
            throw fault(place + ": rows of " + dims[0] + " numbers are not whole blocks of " + type.blockElements()
                    + " as type " + type + " needs; convert the model to F16");
        }
        long byteSize = elements / type.blockElements() * type.blockBytes();
        return new GgufTensor(name, dims, type, offset, byteSize);
    }

    /** The tensor with its offset from the start of the file; checks that the tensor is inside of the file. */
    private GgufTensor placed(GgufTensor tensor, long dataStart) {
        long offset = tensor.offset();
        if (offset % alignment != 0) {
            throw fault("tensor " + tensor.name() + ": its offset " + Long.toUnsignedString(offset)
                    + " is not a multiple of the alignment " + alignment + "; convert the model again");
        }
        long room = memory.byteSize() - dataStart;
        if (offset < 0 || offset > room || tensor.byteSize() > room - offset) {
            throw fault("tensor " + tensor.name() + ": its " + tensor.byteSize() + " bytes at offset "
                    + Long.toUnsignedString(offset) + " of the data reach beyond the file's end (" + memory.byteSize()
                    + " bytes, data from " + dataStart + "); " + DAMAGED);
        }
        return new GgufTensor(tensor.name(), tensor.dims(), tensor.type(), dataStart + offset, tensor.byteSize());
    }

    private static String unsignedShape(long[] dims) {
        return Arrays.stream(dims).mapToObj(Long::toUnsignedString).toList().toString();
    }

    private void need(long bytes, String place) {
        if (bytes > memory.byteSize() - position) {
            throw fault(place + ": the file ends here, at byte " + memory.byteSize() + ", " + bytes
                    + " bytes are wanted from byte " + position + "; " + DAMAGED);
        }
    }

    /** Refuses a count that is too large, or that the rest of the file cannot hold. */
    private void checkCount(String what, long count, int limit, int leastBytes) {
        if (count < 0 || count > limit) {
            throw fault(
                    what + " is " + Long.toUnsignedString(count) + ", beyond the limit of " + limit + "; " + DAMAGED);
        }
        long left = memory.byteSize() - position;
        if (count > left / leastBytes) {
            throw fault(what + " is " + count + ", which does not fit into the " + left + " bytes that are left; "
                    + DAMAGED);
        }
    }

    private int nextInt(String place) {
        need(Integer.BYTES, place);
        int value = memory.get(INT, position);
        position += Integer.BYTES;
        return value;
    }

    private long nextLong(String place) {
        need(Long.BYTES, place);
        long value = memory.get(LONG, position);
        position += Long.BYTES;
        return value;
    }

    private GgufValueType nextValueType(String place) {
        int id = nextInt(place);
        if (!GgufValueType.isId(id)) {
            throw fault(place + ": has the unknown value type " + Integer.toUnsignedString(id) + "; " + DAMAGED);
        }
        return GgufValueType.ofId(id);
    }

    private String nextName(String place) {
        long length = nextLong(place);
        if (length < 1 || length > MAX_NAME_BYTES) {
            throw fault(place + ": a name of " + Long.toUnsignedString(length) + " bytes, not 1 to " + MAX_NAME_BYTES
                    + "; " + DAMAGED);
        }
        need(length, place);
        String name = new String(bytesAt(position, length), StandardCharsets.UTF_8);
        position += length;
        return name;
    }

    private byte[] bytesAt(long offset, long length) {
        return memory.asSlice(offset, length).toArray(ValueLayout.JAVA_BYTE);
    }

    // ---------------------------------------------------------------- metadata

    /** The file name as the caller gave it, without characters that cannot be printed. */
    public String file() {
        return file;
    }

    /** The GGUF version, 2 or 3. */
    public int version() {
        return version;
    }

    /** The data of each tensor begin at a multiple of this. */
    public int alignment() {
        return alignment;
    }

    /** The size in bytes, of all parts together. */
    public long byteSize() {
        return parts.isEmpty()
                ? memory.byteSize()
                : parts.stream().mapToLong(Gguf::byteSize).sum();
    }

    /**
     * A number for everything in the files, metadata and weights: the SHA-256 of the CRC-32C of each MiB. So two models
     * have the same one only if they are the same, unless someone has made them so. Reads all of it once, with several
     * threads.
     */
    public synchronized byte[] fingerprint() {
        if (fingerprint == null) {
            fingerprint = readFingerprint();
        }
        return fingerprint.clone();
    }

    private byte[] readFingerprint() {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            for (Gguf part : parts.isEmpty() ? List.of(this) : parts) {
                digest.update(Checksums.bytes(Checksums.of(part.memory)));
                digest.update(Long.toString(part.memory.byteSize()).getBytes(StandardCharsets.US_ASCII));
                if (part.memory.isMapped()) {
                    part.memory.unload(); // else the process would appear to use twice the memory while it loads
                }
            }
            return digest.digest();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    /** The files that were opened: one, or all parts in order. Empty if the file was in memory already. */
    public List<Path> paths() {
        return parts.isEmpty()
                ? Stream.ofNullable(path).toList()
                : parts.stream().flatMap(part -> part.paths().stream()).toList();
    }

    /** The keys of the metadata, in the order of the file. */
    public Set<String> keys() {
        return Collections.unmodifiableSet(values.keySet());
    }

    /** Whether the file has this key. */
    public boolean has(String key) {
        return values.containsKey(key);
    }

    /** The type of a key's value. */
    public GgufValueType type(String key) {
        return value(key).type();
    }

    /** The type of an array's items. */
    public GgufValueType itemType(String key) {
        return array(key).itemType();
    }

    /** The number of items in an array. */
    public int length(String key) {
        return (int) array(key).count();
    }

    /** A string; bytes that are not UTF-8 become U+FFFD. */
    public String string(String key) {
        return new String(bytes(key), StandardCharsets.UTF_8);
    }

    /** A string, or {@code otherwise} if the file does not have the key. */
    public String string(String key, String otherwise) {
        return has(key) ? string(key) : otherwise;
    }

    /** A string, or empty if the file does not have the key. */
    public Optional<String> optionalString(String key) {
        return has(key) ? Optional.of(string(key)) : Optional.empty();
    }

    /** The bytes of a string. */
    public byte[] bytes(String key) {
        Value value = value(key);
        if (value.type() != GgufValueType.STRING) {
            throw wrongType(key, value, "a string");
        }
        return bytesAt(value.offset(), value.count());
    }

    /** An integer of any width; its value must fit a signed 32-bit integer. */
    public int int32(String key) {
        long value = int64(key);
        if (value != (int) value) {
            throw fault("key " + key + ": " + value + " does not fit 32 bits; convert the model again");
        }
        return (int) value;
    }

    /** The same, or {@code otherwise} if the file does not have the key. */
    public int int32(String key, int otherwise) {
        return has(key) ? int32(key) : otherwise;
    }

    /** An integer of any width; its value must fit a signed 64-bit integer. */
    public long int64(String key) {
        Value value = value(key);
        if (!value.type().isInteger()) {
            throw wrongType(key, value, "an integer");
        }
        return integerAt(key, value.type(), value.offset());
    }

    /** A number as a float: float32, float64 rounded, or an integer rounded. */
    public float float32(String key) {
        Value value = value(key);
        if (!value.type().isFloat() && !value.type().isInteger()) {
            throw wrongType(key, value, "a number");
        }
        return floatAt(key, value.type(), value.offset());
    }

    /** The same, or {@code otherwise} if the file does not have the key. */
    public float float32(String key, float otherwise) {
        return has(key) ? float32(key) : otherwise;
    }

    /** A bool. */
    public boolean bool(String key) {
        Value value = value(key);
        if (value.type() != GgufValueType.BOOL) {
            throw wrongType(key, value, "a bool");
        }
        return memory.get(ValueLayout.JAVA_BYTE, value.offset()) != 0;
    }

    /** A bool, or {@code otherwise} if the file does not have the key. */
    public boolean bool(String key, boolean otherwise) {
        return has(key) ? bool(key) : otherwise;
    }

    /** An array of bools. Each call returns a new copy. */
    public boolean[] bools(String key) {
        Value value = array(key, GgufValueType.BOOL);
        boolean[] result = new boolean[(int) value.count()];
        for (int i = 0; i < result.length; i++) {
            result[i] = memory.get(ValueLayout.JAVA_BYTE, value.offset() + i) != 0;
        }
        return result;
    }

    /** An array of strings. Bytes that are not UTF-8 become U+FFFD. Each call returns a new copy. */
    public String[] strings(String key) {
        Value value = array(key, GgufValueType.STRING);
        String[] result = new String[(int) value.count()];
        long at = value.offset();
        for (int i = 0; i < result.length; i++) {
            long length = memory.get(LONG, at);
            result[i] = new String(bytesAt(at + Long.BYTES, length), StandardCharsets.UTF_8);
            at += Long.BYTES + length;
        }
        return result;
    }

    /** An array of strings, as bytes. Each call returns a new copy. */
    public ByteStrings byteStrings(String key) {
        Value value = array(key, GgufValueType.STRING);
        int count = (int) value.count();
        long total = value.end() - value.offset() - value.count() * Long.BYTES;
        if (total > MAX_STRINGS_BYTES) {
            throw fault("key " + key + ": strings of " + total + " bytes together are beyond the limit of "
                    + MAX_STRINGS_BYTES + "; " + DAMAGED);
        }
        byte[] bytes = new byte[(int) total];
        int[] starts = new int[count + 1];
        long at = value.offset();
        for (int i = 0; i < count; i++) {
            int length = (int) memory.get(LONG, at);
            MemorySegment.copy(memory, ValueLayout.JAVA_BYTE, at + Long.BYTES, bytes, starts[i], length);
            starts[i + 1] = starts[i] + length;
            at += Long.BYTES + length;
        }
        return new ByteStrings(bytes, starts);
    }

    /** An array of integers of any width; each value must fit 32 bits. Each call returns a new copy. */
    public int[] int32s(String key) {
        Value value = array(key);
        GgufValueType type = value.itemType();
        if (!type.isInteger()) {
            throw wrongType(key, value, "an array of integers");
        }
        int[] result = new int[(int) value.count()];
        if (type == GgufValueType.INT32) {
            MemorySegment.copy(memory, INT, value.offset(), result, 0, result.length);
            return result;
        }
        for (int i = 0; i < result.length; i++) {
            long item = integerAt(key, type, value.offset() + (long) i * type.bytes());
            if (item != (int) item) {
                throw fault("key " + key + ": item " + i + ", " + item + ", does not fit 32 bits; convert the model"
                        + " again");
            }
            result[i] = (int) item;
        }
        return result;
    }

    /** An array of numbers, as floats. Each call returns a new copy. */
    public float[] float32s(String key) {
        Value value = array(key);
        GgufValueType type = value.itemType();
        if (!type.isFloat() && !type.isInteger()) {
            throw wrongType(key, value, "an array of numbers");
        }
        float[] result = new float[(int) value.count()];
        if (type == GgufValueType.FLOAT32) {
            MemorySegment.copy(memory, FLOAT, value.offset(), result, 0, result.length);
            return result;
        }
        for (int i = 0; i < result.length; i++) {
            result[i] = floatAt(key, type, value.offset() + (long) i * type.bytes());
        }
        return result;
    }

    /** A value that is not an array: Long or BigInteger, Float, Double, Boolean or String. */
    public Object scalar(String key) {
        Value value = value(key);
        return switch (value.type()) {
            case FLOAT32 -> memory.get(FLOAT, value.offset());
            case FLOAT64 -> memory.get(DOUBLE, value.offset());
            case BOOL -> bool(key);
            case STRING -> string(key);
            case ARRAY -> throw wrongType(key, value, "a single value");
            case UINT64 -> {
                long bits = memory.get(LONG, value.offset());
                yield bits >= 0 ? (Object) bits : new BigInteger(Long.toUnsignedString(bits));
            }
            default -> int64(key);
        };
    }

    /**
     * A value for display, on one line of at most about {@code maxChars} characters: {@code 4096}, {@code llama},
     * {@code [1, 2, 3]}, {@code [128256 strings]}.
     */
    public String describe(String key, int maxChars) {
        Value value = value(key);
        if (value.type() != GgufValueType.ARRAY) {
            return shortened(scalar(key).toString(), maxChars);
        }
        String counted = "[" + value.count() + " " + value.itemType() + (value.count() == 1 ? "]" : "s]");
        boolean numbers = value.itemType().isInteger() || value.itemType().isFloat();
        if (!numbers || value.count() > maxChars / 3) {
            return counted;
        }
        StringBuilder text = new StringBuilder("[");
        for (long i = 0; i < value.count(); i++) {
            long at = value.offset() + i * value.itemType().bytes();
            text.append(i == 0 ? "" : ", ")
                    .append(
                            value.itemType().isFloat()
                                    ? Float.toString(floatAt(key, value.itemType(), at))
                                    : value.itemType() == GgufValueType.UINT64
                                            ? Long.toUnsignedString(memory.get(LONG, at))
                                            : Long.toString(integerAt(key, value.itemType(), at)));
        }
        return text.length() < maxChars ? text.append(']').toString() : counted;
    }

    /** Whether another file has this key too, with the same type and the same bytes. */
    boolean hasSameValue(String key, Gguf other) {
        Value value = value(key);
        Value same = other.values.get(key);
        return same != null
                && same.type() == value.type()
                && same.itemType() == value.itemType()
                && same.count() == value.count()
                && MemorySegment.mismatch(memory, value.offset(), value.end(), other.memory, same.offset(), same.end())
                        < 0;
    }

    private Value value(String key) {
        Value value = values.get(key);
        if (value == null) {
            throw fault("key " + key + ": is missing; convert the model again with a current converter");
        }
        return value;
    }

    private Value array(String key) {
        Value value = value(key);
        if (value.type() != GgufValueType.ARRAY) {
            throw wrongType(key, value, "an array");
        }
        return value;
    }

    private Value array(String key, GgufValueType itemType) {
        Value value = array(key);
        if (value.itemType() != itemType) {
            throw wrongType(key, value, "an array of " + itemType + "s");
        }
        return value;
    }

    private ModelFormatException wrongType(String key, Value value, String wanted) {
        String found = value.type() == GgufValueType.ARRAY
                ? "array of " + value.count() + " " + value.itemType() + "s"
                : value.type().toString();
        return fault("key " + key + ": is of type " + found + " where " + wanted
                + " is expected; convert the model again with a current converter");
    }

    private long integerAt(String key, GgufValueType type, long offset) {
        return switch (type) {
            case UINT8 -> memory.get(ValueLayout.JAVA_BYTE, offset) & 0xFFL;
            case INT8 -> memory.get(ValueLayout.JAVA_BYTE, offset);
            case UINT16 -> memory.get(SHORT, offset) & 0xFFFFL;
            case INT16 -> memory.get(SHORT, offset);
            case UINT32 -> memory.get(INT, offset) & 0xFFFF_FFFFL;
            case INT32 -> memory.get(INT, offset);
            case INT64 -> memory.get(LONG, offset);
            case UINT64 -> {
                long value = memory.get(LONG, offset);
                if (value < 0) {
                    throw fault("key " + key + ": " + Long.toUnsignedString(value) + " is too large; " + DAMAGED);
                }
                yield value;
            }
            case FLOAT32, FLOAT64, BOOL, STRING, ARRAY -> throw new IllegalArgumentException(type + " is no integer");
        };
    }

    private float floatAt(String key, GgufValueType type, long offset) {
        return switch (type) {
            case FLOAT32 -> memory.get(FLOAT, offset);
            case FLOAT64 -> (float) memory.get(DOUBLE, offset);
            default -> integerAt(key, type, offset);
        };
    }

    // ---------------------------------------------------------------- tensors

    /** All tensors in the order of the file, including those of types that Quire cannot compute with. */
    public Collection<GgufTensor> tensors() {
        return Collections.unmodifiableCollection(tensors.values());
    }

    /** Whether the file has this tensor. */
    public boolean hasTensor(String name) {
        return tensors.containsKey(name);
    }

    /**
     * A tensor that the file must have.
     *
     * @param dims the required shape, contiguous dimension first: {@code columns, rows} for a matrix
     * @throws ModelFormatException if the tensor is missing, has another shape or a type that Quire cannot compute with
     */
    public GgufTensor tensor(String name, long... dims) {
        GgufTensor tensor = tensors.get(name);
        if (tensor == null) {
            throw fault(
                    tensors.isEmpty()
                            ? "holds no tensors, only metadata such as a vocabulary; name a file with the model's"
                                    + " weights"
                            : "tensor " + name + ": is missing (shape " + GgufTensor.shape(dims)
                                    + " is expected); convert the model again");
        }
        if (!tensor.hasShape(dims)) {
            throw fault("tensor " + name + ": has shape " + tensor.shape() + " where the metadata say "
                    + GgufTensor.shape(dims) + "; convert the model again");
        }
        if (tensor.type().elementType().isEmpty()) {
            throw fault("tensor " + name + ": has type " + tensor.type().obstacle());
        }
        return tensor;
    }

    /** The same for an optional tensor; empty if the file does not have it. */
    public Optional<GgufTensor> optionalTensor(String name, long... dims) {
        return tensors.containsKey(name) ? Optional.of(tensor(name, dims)) : Optional.empty();
    }

    /**
     * The bytes of a tensor in the mapped file: read-only, {@link GgufTensor#byteSize} long, valid until {@link
     * #close}.
     */
    public MemorySegment data(GgufTensor tensor) {
        MemorySegment part = parts.isEmpty() ? memory : parts.get(tensor.part()).memory;
        return part.asSlice(tensor.offset(), tensor.byteSize());
    }

    /**
     * The numbers of a short tensor: norms, biases, frequencies.
     *
     * @throws ModelFormatException if the tensor is quantised or too long for an array
     */
    public float[] floats(GgufTensor tensor) {
        long count = tensor.elements();
        if (count > MAX_ITEMS) {
            throw fault("tensor " + tensor.name() + ": " + count + " numbers are too many for a vector; " + DAMAGED);
        }
        MemorySegment data = data(tensor);
        float[] result = new float[(int) count];
        for (int i = 0; i < result.length; i++) {
            result[i] = switch (tensor.type()) {
                case F32 -> data.get(FLOAT, 4L * i);
                case F16 -> Float.float16ToFloat(data.get(SHORT, 2L * i));
                case BF16 -> Float.intBitsToFloat(data.get(SHORT, 2L * i) << 16);
                default ->
                    throw fault("tensor " + tensor.name() + ": has type " + tensor.type()
                            + " where F32, F16 or BF16 is expected; convert the model again");
            };
        }
        return result;
    }

    /**
     * An error about this file.
     *
     * @param message place, fault and remedy; line breaks are removed
     */
    public ModelFormatException fault(String message) {
        return new ModelFormatException(file + ": " + oneLine(message));
    }

    /** Unmaps the file, all parts of it. Segments from {@link #data} must not be used after that. */
    @Override
    public void close() {
        parts.forEach(Gguf::close);
        if (arena != null) {
            arena.close();
        }
    }

    // ---------------------------------------------------------------- messages

    private static String shortened(String text, int maxChars) {
        String line = oneLine(text);
        return line.length() <= maxChars ? line : line.substring(0, Math.max(0, maxChars - 1)) + "…";
    }

    /** Control characters and line breaks, which a malicious name may contain, become spaces or question marks. */
    private static String oneLine(String text) {
        StringBuilder line = new StringBuilder(text.length());
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            int type = Character.getType(c);
            boolean breaks = type == Character.LINE_SEPARATOR || type == Character.PARAGRAPH_SEPARATOR;
            line.append(c == '\n' || c == '\t' || breaks ? ' ' : Character.isISOControl(c) ? '?' : c);
        }
        return line.toString();
    }
}
