package quire.tensor.x86;

import java.lang.foreign.MemorySegment;

/**
 * Instructions, and behind them the constants that they load.
 *
 * @param bytes all of it
 * @param constantsAt where the instructions end
 */
public record MachineCode(MemorySegment bytes, long constantsAt) {
    /** What is executed. */
    public MemorySegment instructions() {
        return bytes.asSlice(0, constantsAt);
    }

    /** What is loaded, with what aligns it in front; empty where there is none. */
    public MemorySegment constants() {
        return bytes.asSlice(constantsAt);
    }
}
