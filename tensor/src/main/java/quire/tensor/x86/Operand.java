package quire.tensor.x86;

/** The last source of a vector instruction: a register or memory. */
public sealed interface Operand permits Vec, Mem {}
