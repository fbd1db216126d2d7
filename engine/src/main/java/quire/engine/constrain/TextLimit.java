package quire.engine.constrain;

/**
 * A limit for the first part of an answer, such as its reasoning: after some tokens the text that ends the part is the
 * only one that may come. Until then it excludes nothing.
 *
 * @param start the text that the part begins with, also behind white space; empty if the answer begins within the part.
 *     An answer that begins otherwise has no such part, and no limit
 * @param end the text that ends the part
 * @param tokens of the answer after which {@code end} must come; 0 or more
 */
public record TextLimit(String start, String end, int tokens) {
    /**
     * Checks the numbers.
     *
     * @throws IllegalArgumentException if {@code tokens} is negative or {@code end} is empty
     */
    public TextLimit {
        if (tokens < 0 || end.isEmpty()) {
            throw new IllegalArgumentException("a limit of " + tokens + " tokens and the end '" + end + "'");
        }
    }
}
