package quire.tensor.block;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.BitSet;
import java.util.Objects;

/**
 * The points of 8 or 4 numbers that an index means in a block of an IQ type. A number of a point is a level: 0 to 2, or 0
 * to 7 if a point has 4 numbers. {@code grids.txt} holds the points and says where they are defined.
 */
public enum Grid {
    /** For IQ1_S and IQ1_M. */
    IQ1(3, 8, 2048),
    /** For IQ2_XXS. */
    IQ2_XXS(3, 8, 256),
    /** For IQ2_XS. */
    IQ2_XS(3, 8, 512),
    /** For IQ2_S. */
    IQ2_S(3, 8, 1024),
    /** For IQ3_XXS. */
    IQ3_XXS(8, 4, 256),
    /** For IQ3_S. */
    IQ3_S(8, 4, 512);

    static {
        try (InputStream in = Grid.class.getResourceAsStream("grids.txt")) {
            String text = new String(Objects.requireNonNull(in, "grids.txt").readAllBytes(), StandardCharsets.US_ASCII);
            text.lines().filter(line -> !line.startsWith("#")).forEach(line -> {
                String[] words = line.split(" ", 2);
                valueOf(words[0]).fill(BitSet.valueOf(Base64.getDecoder().decode(words[1])));
            });
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private final int levels;
    private final int numbers;

    @SuppressWarnings("ImmutableEnumChecker") // written once, while the class is initialised
    private final long[] points;

    Grid(int levels, int numbers, int size) {
        this.levels = levels;
        this.numbers = numbers;
        points = new long[size];
    }

    private void fill(BitSet set) {
        if (set.cardinality() != points.length) {
            throw new IllegalStateException(this + " has " + set.cardinality() + " points, not " + points.length);
        }
        int point = -1;
        for (int i = 0; i < points.length; i++) {
            point = set.nextSetBit(point + 1);
            for (int j = 0, digits = point; j < numbers; j++, digits /= levels) {
                points[i] |= (long) (digits % levels) << (Byte.SIZE * j);
            }
        }
    }

    /** Number of points. */
    public int size() {
        return points.length;
    }

    /** The levels of a point's numbers, one in each byte, lowest byte first. */
    public long point(int index) {
        return points[index];
    }
}
