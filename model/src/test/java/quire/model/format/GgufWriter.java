package quire.model.format;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import quire.tensor.ElementType;

/**
 * Writes small GGUF files for tests. The raw methods can write invalid files. Keys and tensors are written in the order
 * in which they were added.
 */
public final class GgufWriter {
    private final List<Entry> keys = new ArrayList<>();
    private final List<Tensor> tensors = new ArrayList<>();
    private final List<Integer> numberOffsets = new ArrayList<>();
    private int version = 3;
    private int alignment = 32;

    /** A value as its bytes in the file. */
    private record Entry(String key, int type, Bytes value) {}

    private record Tensor(String name, int type, Bytes data, List<Long> dims) {}

    /** A growing array of little-endian bytes. */
    private static final class Bytes {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        Bytes int16(int value) {
            return raw(buffer(2).putShort((short) value).array());
        }

        Bytes int32(long value) {
            return raw(buffer(4).putInt((int) value).array());
        }

        Bytes int64(long value) {
            return raw(buffer(8).putLong(value).array());
        }

        Bytes float32(float value) {
            return int32(Float.floatToRawIntBits(value));
        }

        Bytes string(byte[] value) {
            return int64(value.length).raw(value);
        }

        Bytes raw(byte[] value) {
            out.writeBytes(value);
            return this;
        }

        int size() {
            return out.size();
        }

        byte[] toArray() {
            return out.toByteArray();
        }

        private static ByteBuffer buffer(int size) {
            return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** Replaces the version, which is 3 by default. */
    public GgufWriter version(int version) {
        this.version = version;
        return this;
    }

    /** Replaces the alignment, which is 32 by default, and writes it to the metadata. */
    public GgufWriter alignment(int alignment) {
        this.alignment = alignment;
        return uint32("general.alignment", alignment);
    }

    /** Adds a value as bytes in the file. */
    public GgufWriter raw(String key, int valueType, byte[] value) {
        keys.add(new Entry(key, valueType, new Bytes().raw(value)));
        return this;
    }

    private GgufWriter add(String key, GgufValueType type, Bytes value) {
        return raw(key, type.id(), value.toArray());
    }

    /** Removes a key, so that it can get another value. */
    public GgufWriter without(String key) {
        keys.removeIf(entry -> entry.key().equals(key));
        return this;
    }

    /** Removes a tensor. */
    public GgufWriter withoutTensor(String name) {
        tensors.removeIf(tensor -> tensor.name().equals(name));
        return this;
    }

    /** Adds a number of the given integer type. */
    public GgufWriter integer(String key, GgufValueType type, long value) {
        byte[] bytes = new Bytes().int64(value).toArray();
        return raw(key, type.id(), Arrays.copyOf(bytes, type.bytes()));
    }

    /** Adds an unsigned 32-bit number. */
    public GgufWriter uint32(String key, long value) {
        return integer(key, GgufValueType.UINT32, value);
    }

    /** Adds a float. */
    public GgufWriter float32(String key, float value) {
        return add(key, GgufValueType.FLOAT32, new Bytes().float32(value));
    }

    /** Adds a double. */
    public GgufWriter float64(String key, double value) {
        return add(key, GgufValueType.FLOAT64, new Bytes().int64(Double.doubleToRawLongBits(value)));
    }

    /** Adds a bool. */
    public GgufWriter bool(String key, boolean value) {
        return integer(key, GgufValueType.BOOL, value ? 1 : 0);
    }

    /** Adds a string. */
    public GgufWriter string(String key, String value) {
        return bytes(key, value.getBytes(StandardCharsets.UTF_8));
    }

    /** Adds a string as bytes, which need not be UTF-8. */
    public GgufWriter bytes(String key, byte[] value) {
        return add(key, GgufValueType.STRING, new Bytes().string(value));
    }

    /** Adds an array of strings. */
    public GgufWriter strings(String key, List<String> values) {
        return byteStrings(
                key,
                values.stream().map(v -> v.getBytes(StandardCharsets.UTF_8)).toList());
    }

    /** Adds an array of strings as bytes, which need not be UTF-8. */
    public GgufWriter byteStrings(String key, List<byte[]> values) {
        Bytes bytes = array(GgufValueType.STRING, values.size());
        values.forEach(bytes::string);
        return add(key, GgufValueType.ARRAY, bytes);
    }

    /** Adds an array of signed 32-bit numbers. */
    public GgufWriter int32s(String key, int... values) {
        Bytes bytes = array(GgufValueType.INT32, values.length);
        for (int value : values) {
            bytes.int32(value);
        }
        return add(key, GgufValueType.ARRAY, bytes);
    }

    /** Adds an array of bools. */
    public GgufWriter bools(String key, boolean... values) {
        Bytes bytes = array(GgufValueType.BOOL, values.length);
        for (boolean value : values) {
            bytes.raw(new byte[] {(byte) (value ? 1 : 0)});
        }
        return add(key, GgufValueType.ARRAY, bytes);
    }

    /** Adds an array of floats. */
    public GgufWriter float32s(String key, float... values) {
        Bytes bytes = array(GgufValueType.FLOAT32, values.length);
        for (float value : values) {
            bytes.float32(value);
        }
        return add(key, GgufValueType.ARRAY, bytes);
    }

    /** Adds {@code depth} nested arrays; the innermost one is empty. */
    public GgufWriter nested(String key, int depth) {
        Bytes bytes = new Bytes();
        for (int i = 1; i < depth; i++) {
            bytes.raw(array(GgufValueType.ARRAY, 1).toArray());
        }
        return add(
                key,
                GgufValueType.ARRAY,
                bytes.raw(array(GgufValueType.UINT8, 0).toArray()));
    }

    private static Bytes array(GgufValueType type, long count) {
        return new Bytes().int32(type.id()).int64(count);
    }

    /** Adds a tensor as bytes in the file, which need not fit its type and shape. */
    public GgufWriter tensor(String name, int type, byte[] data, long... dims) {
        tensors.add(new Tensor(
                name, type, new Bytes().raw(data), Arrays.stream(dims).boxed().toList()));
        return this;
    }

    /** Adds a tensor with these numbers, rounded to the type. */
    public GgufWriter tensor(String name, ElementType type, float[] values, long... dims) {
        return tensor(name, GgufType.of(type).id(), encode(type, values), dims);
    }

    /** Encodes numbers in a type: rounded to the nearest value; blocks are made by {@link BlockEncoder}. */
    public static byte[] encode(ElementType type, float... values) {
        Bytes bytes = new Bytes();
        switch (type) {
            case F32 -> {
                for (float value : values) {
                    bytes.float32(value);
                }
            }
            case F16 -> {
                for (float value : values) {
                    bytes.int16(Float.floatToFloat16(value));
                }
            }
            case BF16 -> {
                for (float value : values) {
                    // Round to nearest, ties to even.
                    int bits = Float.floatToRawIntBits(value);
                    bytes.int16((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
                }
            }
            default -> bytes.raw(BlockEncoder.encode(type, values));
        }
        return bytes.toArray();
    }

    /** The bytes of the whole file. */
    public byte[] toBytes() {
        numberOffsets.clear();
        Bytes out = new Bytes().raw("GGUF".getBytes(StandardCharsets.US_ASCII));
        number32(out, version);
        number64(out, tensors.size());
        number64(out, keys.size());
        for (Entry entry : keys) {
            name(out, entry.key());
            number32(out, entry.type());
            numberOffsets.add(out.size()); // the value, or its length, or the type of its items
            if (entry.type() == GgufValueType.ARRAY.id()) {
                numberOffsets.add(out.size() + Integer.BYTES); // the count
                numberOffsets.add(out.size() + Integer.BYTES + Long.BYTES); // the first item
            }
            out.raw(entry.value().toArray());
        }
        long offset = 0;
        for (Tensor tensor : tensors) {
            name(out, tensor.name());
            number32(out, tensor.dims().size());
            tensor.dims().forEach(dim -> number64(out, dim));
            number32(out, tensor.type());
            number64(out, offset);
            offset += tensor.data().size() + padding(tensor.data().size());
        }
        out.raw(new byte[padding(out.size())]);
        for (Tensor tensor : tensors) {
            out.raw(tensor.data().toArray()).raw(new byte[padding(tensor.data().size())]);
        }
        return out.toArray();
    }

    private void name(Bytes out, String name) {
        numberOffsets.add(out.size());
        out.string(name.getBytes(StandardCharsets.UTF_8));
    }

    private void number32(Bytes out, int value) {
        numberOffsets.add(out.size());
        out.int32(value);
    }

    private void number64(Bytes out, long value) {
        numberOffsets.add(out.size());
        out.int64(value);
    }

    private int padding(int size) {
        return Math.floorMod(-size, alignment);
    }

    /**
     * The positions of versions, counts, lengths, types, dimensions and offsets in the last result of {@link #toBytes}.
     */
    int[] numberOffsets() {
        return numberOffsets.stream().mapToInt(Integer::intValue).toArray();
    }

    /** A model in several files. The first has all keys and no tensors. */
    List<GgufWriter> parts(int count) {
        List<GgufWriter> parts = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            GgufWriter part = new GgufWriter();
            part.keys.addAll(i == 0 ? keys : List.of());
            part.integer("split.no", GgufValueType.UINT16, i)
                    .integer("split.count", GgufValueType.UINT16, count)
                    .integer("split.tensors.count", GgufValueType.INT32, tensors.size());
            for (int t = 0; i > 0 && t < tensors.size(); t++) {
                if (t % (count - 1) == i - 1) {
                    part.tensors.add(tensors.get(t));
                }
            }
            parts.add(part);
        }
        return parts;
    }

    /**
     * Writes a model in several files, {@code NAME-00001-of-00003.gguf} and so on. The first has all keys and no tensors.
     *
     * @return the paths of the files
     */
    public List<Path> writeParts(Path folder, String name, int count) {
        List<GgufWriter> parts = parts(count);
        return IntStream.range(0, count)
                .mapToObj(i ->
                        parts.get(i).write(folder.resolve(String.format("%s-%05d-of-%05d.gguf", name, i + 1, count))))
                .toList();
    }

    /** Writes the file. */
    public Path write(Path path) {
        try {
            return Files.write(path, toBytes());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Opens the file without writing it, under the name {@code test.gguf}. */
    public Gguf open() {
        return Gguf.open("test.gguf", MemorySegment.ofArray(toBytes()));
    }
}
