package quire.model.text.jinja;

/**
 * The limits of one rendering. Templates are in downloaded files, so their time, memory and stack are limited. Work is
 * counted in units: one for each node that is evaluated, one for each {@link #CHARS_PER_UNIT} characters that are read
 * or written, and one for each list element. Units are charged before the memory is allocated.
 */
final class Limits {
    static final int TEMPLATE_CHARS = 1 << 20;
    /** The nesting depth of parentheses, brackets and blocks. */
    static final int PARSE_NESTING = 60;

    static final int CHAIN_LENGTH = 400;
    /** The nesting depth of nodes during rendering, including macro calls. */
    static final int EVAL_DEPTH = 900;
    /** The nesting depth of lists that are printed, compared or used as keys. */
    static final int VALUE_DEPTH = 200;
    /** The longest range, as in Jinja's sandbox. */
    static final int RANGE_LENGTH = 100_000;
    /** The size of the largest int that arithmetic can make. */
    static final int INTEGER_BITS = 1 << 16;
    /** The most decimal digits of an int that is read or written, as in Python. */
    static final int INTEGER_DIGITS = 4300;

    /** The longest name of a variable, attribute or filter. */
    static final int NAME_CHARS = 1024;
    /** The longest error message. Templates can make messages of any length. */
    static final int ERROR_CHARS = 1000;

    /**
     * Published templates take about 10,000 for a short conversation with a tool. A template is rendered about fifty times
     * while a model is loaded, so this is a few seconds at most.
     */
    private static final long BASE_UNITS = 500_000;

    private static final int CHARS_PER_UNIT = 4;
    private static final int UNITS_PER_INPUT_CHAR = 32;

    private long left = BASE_UNITS;
    private int depth;

    /** Adds the work that {@code chars} characters of a conversation may take. */
    void grantInput(long chars) {
        left += chars * UNITS_PER_INPUT_CHAR;
    }

    void charge(long units) {
        left -= units;
        if (left < 0) {
            throw new JinjaError("the template takes too long or writes too much (limit " + BASE_UNITS + " steps and "
                    + UNITS_PER_INPUT_CHAR + " more for each character it is given)");
        }
    }

    void chargeChars(long chars) {
        charge(chars / CHARS_PER_UNIT);
    }

    void enter() {
        if (++depth > EVAL_DEPTH) {
            throw new JinjaError("expressions, blocks or macro calls nested deeper than " + EVAL_DEPTH);
        }
        charge(1);
    }

    void leave() {
        depth--;
    }

    static int deeper(int valueDepth) {
        if (valueDepth >= VALUE_DEPTH) {
            throw new JinjaError("lists or dicts nested deeper than " + VALUE_DEPTH);
        }
        return valueDepth + 1;
    }
}
