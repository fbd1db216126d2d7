package quire.engine.constrain;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Elements of a list of which no two are the same. Each value has one text, so texts are compared. Which texts have been
 * written is a {@link State}; {@link Expressions#distinct} makes expressions of it. Immutable.
 *
 * @param string what may stand within the quotes of an element; {@link Expressions#NONE} if strings may not be elements
 * @param other other elements, which are lexemes; {@link Expressions#NONE} if there are none
 * @param separator between two elements
 * @param close behind the last element
 * @param least fewest elements
 * @param most most elements; {@link Expressions#UNLIMITED} for no limit
 * @param isPlain whether elements are strings that may have any characters
 */
record Distinct(int string, int other, int separator, int close, int least, int most, boolean isPlain) {
    /** Stands for a text that is not known and that equals no other. */
    static final String UNKNOWN = "?";

    /**
     * What has been written.
     *
     * @param elements the texts of the elements, ascending, each byte as one character
     * @param begun the beginning of the next element; empty between two elements
     */
    record State(List<String> elements, String begun) {
        static final State START = new State(List.of(), "");

        /** After a further byte of an element. */
        State with(byte b) {
            return new State(elements, begun + (char) (b & 0xFF));
        }

        /** After an element. */
        State after(String element) {
            List<String> more = new ArrayList<>(elements);
            more.add(element);
            Collections.sort(more);
            return new State(List.copyOf(more), "");
        }
    }
}
