package quire.bench.files;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import quire.model.format.GgufType;

/**
 * The parts of a GGUF file, which may be changed in any way and written again, also as a file that is not valid. Counts,
 * lengths and offsets are written as the parts need them; an override changes one.
 *
 * <pre>
 *   version  keys: name, type, value …   tensors: name, dims, type, data …
 * </pre>
 */
final class GgufParts {
    static final int UINT16 = 2;
    static final int UINT32 = 4;
    static final int INT32 = 5;
    static final int FLOAT32 = 6;
    static final int BOOL = 7;
    static final int STRING = 8;
    static final int ARRAY = 9;

    private static final int ALIGNMENT = 32;

    /** Bytes of a value, by its type's number; 0 where the file has a length. */
    private static final int[] VALUE_BYTES = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    final List<Key> keys = new ArrayList<>();
    final List<Tensor> tensors = new ArrayList<>();
    int version = 3;

    /** What is written instead of the number of tensors and of keys; −1 for the right ones. */
    long tensorCount = -1;

    long keyCount = -1;

    /** A key with its value as the bytes in the file. */
    static final class Key {
        private final byte[] name;
        private final int type;
        private final byte[] value;

        Key(byte[] name, int type, byte[] value) {
            this.name = name;
            this.type = type;
            this.value = value;
        }

        byte[] name() {
            return name;
        }

        int type() {
            return type;
        }

        byte[] value() {
            return value;
        }

        /** The name, for comparisons. */
        String text() {
            return new String(name, StandardCharsets.UTF_8);
        }

        Key with(int newType, byte[] newValue) {
            return new Key(name, newType, newValue);
        }
    }

    /** A tensor. */
    static final class Tensor {
        private final byte[] name;
        private final long[] dims;
        private final int type;
        private final byte[] data;
        private final long offset;

        /**
         * @param type the number of its type
         * @param offset what the directory says; −1 for the right one
         */
        Tensor(byte[] name, long[] dims, int type, byte[] data, long offset) {
            this.name = name;
            this.dims = dims;
            this.type = type;
            this.data = data;
            this.offset = offset;
        }

        byte[] name() {
            return name;
        }

        long[] dims() {
            return dims;
        }

        int type() {
            return type;
        }

        byte[] data() {
            return data;
        }

        long offset() {
            return offset;
        }
    }

    /** Reads a valid file. */
    static GgufParts of(byte[] file) {
        ByteBuffer in = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        GgufParts parts = new GgufParts();
        in.getInt(); // the magic number
        parts.version = in.getInt();
        int tensorCount = (int) in.getLong();
        int keyCount = (int) in.getLong();
        for (int i = 0; i < keyCount; i++) {
            byte[] name = string(in);
            int type = in.getInt();
            int from = in.position();
            skip(in, type);
            parts.keys.add(new Key(name, type, Arrays.copyOfRange(file, from, in.position())));
        }
        List<Tensor> directory = new ArrayList<>();
        for (int i = 0; i < tensorCount; i++) {
            byte[] name = string(in);
            long[] dims = new long[in.getInt()];
            for (int d = 0; d < dims.length; d++) {
                dims[d] = in.getLong();
            }
            directory.add(new Tensor(name, dims, in.getInt(), new byte[0], in.getLong()));
        }
        long start = (in.position() + ALIGNMENT - 1L) / ALIGNMENT * ALIGNMENT;
        for (Tensor tensor : directory) {
            long from = start + tensor.offset;
            byte[] data = Arrays.copyOfRange(file, (int) from, (int) (from + bytes(tensor.type, tensor.dims)));
            parts.tensors.add(new Tensor(tensor.name, tensor.dims, tensor.type, data, -1));
        }
        return parts;
    }

    private static byte[] string(ByteBuffer in) {
        byte[] bytes = new byte[(int) in.getLong()];
        in.get(bytes);
        return bytes;
    }

    private static void skip(ByteBuffer in, int type) {
        if (type == STRING) {
            string(in);
        } else if (type == ARRAY) {
            int itemType = in.getInt();
            for (long count = in.getLong(); count > 0; count--) {
                skip(in, itemType);
            }
        } else {
            in.position(in.position() + VALUE_BYTES[type]);
        }
    }

    private static long bytes(int type, long... dims) {
        for (GgufType each : GgufType.values()) {
            if (each.id() == type) {
                return Arrays.stream(dims).reduce(1, (a, b) -> a * b) / each.blockElements() * each.blockBytes();
            }
        }
        throw new IllegalArgumentException("no type has the number " + type);
    }

    /** A copy; the byte arrays are shared. */
    GgufParts copy() {
        GgufParts copy = new GgufParts();
        copy.keys.addAll(keys);
        copy.tensors.addAll(tensors);
        copy.version = version;
        return copy;
    }

    /** The same model in several files. The first one has all keys. */
    List<GgufParts> split(int count) {
        List<GgufParts> files = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            GgufParts file = new GgufParts();
            if (i == 0) {
                file.keys.addAll(keys);
            }
            file.add("split.no", UINT16, number(Short.BYTES, i))
                    .add("split.count", UINT16, number(Short.BYTES, count))
                    .add("split.tensors.count", INT32, number(Integer.BYTES, tensors.size()));
            file.tensors.addAll(tensors.subList(tensors.size() * i / count, tensors.size() * (i + 1) / count));
            files.add(file);
        }
        return files;
    }

    GgufParts add(String key, int type, byte[] value) {
        keys.add(new Key(utf8(key), type, value));
        return this;
    }

    GgufParts add(String key, String value) {
        return add(key, STRING, string(utf8(value)));
    }

    GgufParts add(String key, int value) {
        return add(key, UINT32, number(Integer.BYTES, value));
    }

    GgufParts add(String key, float value) {
        return add(key, FLOAT32, number(Integer.BYTES, Float.floatToRawIntBits(value)));
    }

    GgufParts tensor(String name, GgufType type, byte[] data, long... dims) {
        tensors.add(new Tensor(utf8(name), dims, type.id(), data, -1));
        return this;
    }

    /** The file. */
    byte[] toBytes() {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(utf8("GGUF"));
        out.writeBytes(number(Integer.BYTES, version));
        out.writeBytes(number(Long.BYTES, tensorCount < 0 ? tensors.size() : tensorCount));
        out.writeBytes(number(Long.BYTES, keyCount < 0 ? keys.size() : keyCount));
        for (Key key : keys) {
            out.writeBytes(string(key.name));
            out.writeBytes(number(Integer.BYTES, key.type));
            out.writeBytes(key.value);
        }
        long offset = 0;
        for (Tensor tensor : tensors) {
            out.writeBytes(string(tensor.name));
            out.writeBytes(number(Integer.BYTES, tensor.dims.length));
            for (long dim : tensor.dims) {
                out.writeBytes(number(Long.BYTES, dim));
            }
            out.writeBytes(number(Integer.BYTES, tensor.type));
            out.writeBytes(number(Long.BYTES, tensor.offset < 0 ? offset : tensor.offset));
            offset += padded(tensor.data.length);
        }
        out.writeBytes(new byte[(int) (padded(out.size()) - out.size())]);
        for (Tensor tensor : tensors) {
            out.writeBytes(tensor.data);
            out.writeBytes(new byte[(int) padded(tensor.data.length) - tensor.data.length]);
        }
        return out.toByteArray();
    }

    private static long padded(long bytes) {
        return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /** The index of a key; −1 if it is not there. */
    int indexOf(String key) {
        for (int i = 0; i < keys.size(); i++) {
            if (keys.get(i).text().equals(key)) {
                return i;
            }
        }
        return -1;
    }

    /** The items of an array of strings; of a damaged one, those that can be read. */
    static List<byte[]> strings(Key key) {
        ByteBuffer in = ByteBuffer.wrap(key.value).order(ByteOrder.LITTLE_ENDIAN);
        List<byte[]> items = new ArrayList<>();
        if (in.remaining() >= Integer.BYTES + Long.BYTES) {
            in.getInt(); // the type of the items
            for (long count = in.getLong(); count > 0 && in.remaining() >= Long.BYTES; count--) {
                long length = in.getLong(in.position());
                if (length < 0 || length > in.remaining() - Long.BYTES) {
                    break;
                }
                items.add(string(in));
            }
        }
        return items;
    }

    /** Whether a value is an array of strings. */
    static boolean isStrings(Key key) {
        return key.type == ARRAY && key.value.length >= Integer.BYTES && key.value[0] == STRING;
    }

    /** The value of an array of strings. */
    static byte[] array(List<byte[]> items) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(number(Integer.BYTES, STRING));
        out.writeBytes(number(Long.BYTES, items.size()));
        items.forEach(item -> out.writeBytes(string(item)));
        return out.toByteArray();
    }

    /** The value of an array of numbers of 32 bits. */
    static byte[] array(int type, int... items) {
        ByteBuffer out = ByteBuffer.allocate(Integer.BYTES + Long.BYTES + items.length * Integer.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN);
        out.putInt(type).putLong(items.length);
        for (int item : items) {
            out.putInt(item);
        }
        return out.array();
    }

    /** The value of a string. */
    static byte[] string(byte[] value) {
        return ByteBuffer.allocate(Long.BYTES + value.length)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(value.length)
                .put(value)
                .array();
    }

    /** A number in so many bytes. */
    static byte[] number(int width, long value) {
        return Arrays.copyOf(
                ByteBuffer.allocate(Long.BYTES)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(value)
                        .array(),
                width);
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
