package quire.tensor.x86;

/** The mask registers; K0 as a write mask means none. */
public enum Mask {
    K0,
    K1,
    K2,
    K3,
    K4,
    K5,
    K6,
    K7
}
