package quire.model.format;

import java.util.Locale;

/** The types of a metadata value; the ordinal is the number in the file. */
public enum GgufValueType {
    UINT8(1),
    INT8(1),
    UINT16(2),
    INT16(2),
    UINT32(4),
    INT32(4),
    FLOAT32(4),
    BOOL(1),
    STRING(0),
    ARRAY(0),
    UINT64(8),
    INT64(8),
    FLOAT64(8);

    private static final GgufValueType[] BY_ID = values();

    private final int bytes;

    GgufValueType(int bytes) {
        this.bytes = bytes;
    }

    static boolean isId(int id) {
        return id >= 0 && id < BY_ID.length;
    }

    static GgufValueType ofId(int id) {
        return BY_ID[id];
    }

    /** Bytes of one value, or 0 for strings and arrays, whose length stands in the file. */
    int bytes() {
        return bytes;
    }

    boolean isInteger() {
        return switch (this) {
            case UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64 -> true;
            case FLOAT32, FLOAT64, BOOL, STRING, ARRAY -> false;
        };
    }

    boolean isFloat() {
        return this == FLOAT32 || this == FLOAT64;
    }

    /** As people write it: {@code uint32}, {@code string} … */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
