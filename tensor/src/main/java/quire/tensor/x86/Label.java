package quire.tensor.x86;

/** A place in the code of one {@link Assembler}: an instruction to jump to, or a constant. */
public final class Label {
    /** Offset in the code; negative while unbound. */
    int position = -1;

    Label() {}
}
