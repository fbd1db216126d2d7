package quire.tensor.x86;

import java.lang.foreign.MemorySegment;

/**
 * Instructions, and after them the constants that they load.
 *
 * @param bytes instructions and constants
 * @param constantsAt offset of the end of the instructions
 */
public record MachineCode(MemorySegment bytes, long constantsAt) {
    /** The instructions. */
    public MemorySegment instructions() {
        return bytes.asSlice(0, constantsAt);
    }

    /** The constants, with the padding before them; empty if there are none. */
    public MemorySegment constants() {
        return bytes.asSlice(constantsAt);
    }
}
