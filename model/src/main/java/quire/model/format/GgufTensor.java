package quire.model.format;

import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import quire.tensor.ElementType;
import quire.tensor.NumberCheck;

/**
 * A tensor as the directory of a file describes it. Dimensions are in the order of the file: the first one is
 * contiguous in memory, so a matrix is {@code [columns, rows]} = {@code [inputs, outputs]}.
 */
public final class GgufTensor {
    private final String name;
    private final long[] dims;
    private final GgufType type;
    private final long offset;
    private final long byteSize;
    private final int part;

    GgufTensor(String name, long[] dims, GgufType type, long offset, long byteSize) {
        this(name, dims, type, offset, byteSize, 0);
    }

    private GgufTensor(String name, long[] dims, GgufType type, long offset, long byteSize, int part) {
        this.name = name;
        this.dims = dims;
        this.type = type;
        this.offset = offset;
        this.byteSize = byteSize;
        this.part = part;
    }

    /** The same tensor in a part of a model in several files. */
    GgufTensor inPart(int index) {
        return new GgufTensor(name, dims, type, offset, byteSize, index);
    }

    /** The index of the file that holds the data; 0 if the model is one file. */
    public int part() {
        return part;
    }

    /** The name in the file, such as {@code blk.0.attn_q.weight}. */
    public String name() {
        return name;
    }

    /** The 1 to 4 dimensions, each positive, contiguous one first. A copy. */
    public long[] dims() {
        return dims.clone();
    }

    /** The type in the file. */
    public GgufType type() {
        return type;
    }

    /**
     * The type that Quire computes with.
     *
     * @throws IllegalStateException if there is none; {@link Gguf#tensor} never returns such a tensor
     */
    public ElementType elementType() {
        return type.elementType().orElseThrow(() -> new IllegalStateException(name + " has type " + type));
    }

    /** The start of the data, in bytes from the start of the file of its {@link #part}. */
    public long offset() {
        return offset;
    }

    /** The size of the data in bytes. */
    public long byteSize() {
        return byteSize;
    }

    /** The size of the contiguous dimension. */
    public long columns() {
        return dims[0];
    }

    /** The product of the other dimensions; 1 for a vector. */
    public long rows() {
        return elements() / dims[0];
    }

    /** The product of all dimensions. */
    public long elements() {
        return LongStream.of(dims).reduce(1, (a, b) -> a * b);
    }

    /**
     * Whether the tensor has this shape. Additional dimensions of size 1 at the end, which some converters write, do
     * not count.
     */
    boolean hasShape(long... expected) {
        int common = Math.min(dims.length, expected.length);
        return Arrays.equals(dims, 0, common, expected, 0, common)
                && LongStream.of(dims).skip(common).allMatch(dim -> dim == 1)
                && LongStream.of(expected).skip(common).allMatch(dim -> dim == 1);
    }

    /** What was found in a tensor whose numbers are not all finite, in words. */
    public String describe(NumberCheck check) {
        String numbers = (type.blockElements() > 1 ? "scale" : "number") + (check.broken() == 1 ? "" : "s");
        return "tensor " + name + " has " + check.broken() + " " + numbers + " that "
                + (check.broken() == 1 ? "is" : "are") + " infinite or NaN, the first in row "
                + check.firstBroken() / columns() + " at column " + check.firstBroken() % columns();
    }

    /** The dimensions for display: {@code [2048, 512]}. */
    public String shape() {
        return shape(dims);
    }

    static String shape(long... dims) {
        return LongStream.of(dims).mapToObj(Long::toString).collect(Collectors.joining(", ", "[", "]"));
    }

    @Override
    public String toString() {
        return name + " " + shape() + " " + type;
    }
}
