package quire.model.format;

import java.util.Locale;

/** The types of a metadata value, in the order of their numbers in the file. */
public enum GgufValueType {
    UINT8(0, 1),
    INT8(1, 1),
    UINT16(2, 2),
    INT16(3, 2),
    UINT32(4, 4),
    INT32(5, 4),
    FLOAT32(6, 4),
    BOOL(7, 1),
    STRING(8, 0),
    ARRAY(9, 0),
    UINT64(10, 8),
    INT64(11, 8),
    FLOAT64(12, 8);

    private static final GgufValueType[] BY_ID = values();

    private final int id;
    private final int bytes;

    GgufValueType(int id, int bytes) {
        this.id = id;
        this.bytes = bytes;
    }

    static boolean isId(int id) {
        return id >= 0 && id < BY_ID.length;
    }

    static GgufValueType ofId(int id) {
        return BY_ID[id];
    }

    /** The number of this type in a file. */
    int id() {
        return id;
    }

    /** The size of one value in bytes, or 0 for strings and arrays, whose length is in the file. */
    int bytes() {
        return bytes;
    }

    boolean isInteger() {
        return switch (this) {
            case UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64 -> true;
            case FLOAT32, FLOAT64, BOOL, STRING, ARRAY -> false;
        };
    }

    /** Whether a value is a floating-point number. */
    public boolean isFloat() {
        return this == FLOAT32 || this == FLOAT64;
    }

    /** The name for display: {@code uint32}, {@code string} … */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
