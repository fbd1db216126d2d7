package quire.model.format;

import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import quire.tensor.ElementType;

/**
 * The types of tensors in GGUF files: all types that ggml has defined. A type that Quire cannot compute with still has
 * a name and a size, so that its tensors can be listed. Ids, block sizes and block bytes are those of ggml ({@code
 * ggml_type} and its type traits); ggml withdrew the ids 4 and 5 before GGUF existed.
 */
public enum GgufType {
    F32(0, 1, 4, ElementType.F32),
    F16(1, 1, 2, ElementType.F16),
    Q4_0(2, 32, 18, ElementType.Q4_0),
    Q4_1(3, 32, 20, ElementType.Q4_1),
    Q5_0(6, 32, 22, ElementType.Q5_0),
    Q5_1(7, 32, 24, ElementType.Q5_1),
    Q8_0(8, 32, 34, ElementType.Q8_0),
    Q8_1(9, 32, 36),
    Q2_K(10, 256, 84, ElementType.Q2_K),
    Q3_K(11, 256, 110, ElementType.Q3_K),
    Q4_K(12, 256, 144, ElementType.Q4_K),
    Q5_K(13, 256, 176, ElementType.Q5_K),
    Q6_K(14, 256, 210, ElementType.Q6_K),
    Q8_K(15, 256, 292),
    IQ2_XXS(16, 256, 66, ElementType.IQ2_XXS),
    IQ2_XS(17, 256, 74, ElementType.IQ2_XS),
    IQ3_XXS(18, 256, 98, ElementType.IQ3_XXS),
    IQ1_S(19, 256, 50, ElementType.IQ1_S),
    IQ4_NL(20, 32, 18, ElementType.IQ4_NL),
    IQ3_S(21, 256, 110, ElementType.IQ3_S),
    IQ2_S(22, 256, 82, ElementType.IQ2_S),
    IQ4_XS(23, 256, 136, ElementType.IQ4_XS),
    I8(24, 1, 1),
    I16(25, 1, 2),
    I32(26, 1, 4),
    I64(27, 1, 8),
    F64(28, 1, 8),
    IQ1_M(29, 256, 56, ElementType.IQ1_M),
    BF16(30, 1, 2, ElementType.BF16),
    Q4_0_4_4(31, 32, 18, "Q4_0"),
    Q4_0_4_8(32, 32, 18, "Q4_0"),
    Q4_0_8_8(33, 32, 18, "Q4_0"),
    TQ1_0(34, 256, 54, ElementType.TQ1_0),
    TQ2_0(35, 256, 66, ElementType.TQ2_0),
    IQ4_NL_4_4(36, 32, 18, "IQ4_NL"),
    IQ4_NL_4_8(37, 32, 18, "IQ4_NL"),
    IQ4_NL_8_8(38, 32, 18, "IQ4_NL"),
    MXFP4(39, 32, 17, ElementType.MXFP4),
    NVFP4(40, 64, 36, ElementType.NVFP4),
    Q1_0(41, 128, 18, ElementType.Q1_0),
    Q2_0(42, 64, 18, ElementType.Q2_0);

    /** The types that Quire computes with, for error messages. */
    static final String READABLE =
            Arrays.stream(ElementType.values()).map(ElementType::name).collect(Collectors.joining(", "));

    private static final String CONVERT = "convert the model to one of " + READABLE;

    private static final @Nullable GgufType[] BY_ID = new @Nullable GgufType[43];

    static {
        for (GgufType type : values()) {
            BY_ID[type.id] = type;
        }
    }

    private final int id;
    private final int blockElements;
    private final int blockBytes;
    private final @Nullable ElementType elementType;
    /** The type whose rows this one stored in another order, until ggml removed it. */
    private final @Nullable String rearranged;

    GgufType(int id, int blockElements, int blockBytes) {
        this(id, blockElements, blockBytes, null, null);
    }

    GgufType(int id, int blockElements, int blockBytes, ElementType elementType) {
        this(id, blockElements, blockBytes, elementType, null);
    }

    GgufType(int id, int blockElements, int blockBytes, String rearranged) {
        this(id, blockElements, blockBytes, null, rearranged);
    }

    GgufType(
            int id, int blockElements, int blockBytes, @Nullable ElementType elementType, @Nullable String rearranged) {
        this.id = id;
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
        this.elementType = elementType;
        this.rearranged = rearranged;
    }

    /** The type that has this number in the file, or empty. */
    static Optional<GgufType> ofId(int id) {
        return id < 0 || id >= BY_ID.length ? Optional.empty() : Optional.ofNullable(BY_ID[id]);
    }

    /** Why no tensor can have the number {@code id} as its type, and what to do; ends an error message. */
    static String unknown(int id) {
        return switch (id) {
            case 4 -> "the type Q4_2, which ggml removed before GGUF existed; " + CONVERT;
            case 5 -> "the type Q4_3, which ggml removed before GGUF existed; " + CONVERT;
            default -> "the unknown type " + Integer.toUnsignedString(id) + "; " + CONVERT;
        };
    }

    /** Why this type cannot be computed with, and what to do; ends an error message. */
    String obstacle() {
        return rearranged == null
                ? this + ", which this version cannot read (it reads " + READABLE
                        + "); convert the model to one of these"
                : this + ", " + rearranged
                        + " in an order for one kind of processor, which ggml removed; get the model as " + rearranged
                        + ", or convert it again";
    }

    /** The type in files for Quire's {@code elementType}. */
    public static GgufType of(ElementType elementType) {
        return valueOf(elementType.name());
    }

    /** The number of this type in a file. */
    public int id() {
        return id;
    }

    /** The number of values in a block; a row has a whole number of blocks. */
    public int blockElements() {
        return blockElements;
    }

    /** The size of a block in bytes. */
    public int blockBytes() {
        return blockBytes;
    }

    /** The type that Quire computes with; empty if it cannot. */
    public Optional<ElementType> elementType() {
        return Optional.ofNullable(elementType);
    }
}
