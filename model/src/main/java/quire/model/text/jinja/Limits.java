package quire.model.text.jinja;

/**
 * What one render may use. Templates come inside downloaded files, so time, memory and stack are bounded: every node
 * evaluated costs one unit of work, every {@link #CHARS_PER_UNIT} characters and every list element written one more,
 * charged before they are allocated.
 */
final class Limits {
    static final int TEMPLATE_CHARS = 1 << 20;
    /** Parentheses, brackets and blocks within each other; also the terms of one chain such as a + b + c. */
    static final int PARSE_NESTING = 60;

    static final int CHAIN_LENGTH = 400;
    /** Nodes within nodes while rendering, through macro calls too. */
    static final int EVAL_DEPTH = 900;
    /** Lists within lists when printed, compared or hashed. */
    static final int VALUE_DEPTH = 200;
    /** As in Jinja's sandbox. */
    static final int RANGE_LENGTH = 100_000;
    /** The largest int that arithmetic may make. */
    static final int INTEGER_BITS = 1 << 16;
    /** The most decimal digits that an int is read or written with, as in Python. */
    static final int INTEGER_DIGITS = 4300;

    /** The longest name of a variable, attribute or filter. */
    static final int NAME_CHARS = 1024;
    /** The longest message of an error; templates make up some of them. */
    static final int ERROR_CHARS = 1000;

    private static final long BASE_UNITS = 5_000_000;
    private static final int CHARS_PER_UNIT = 4;
    private static final int UNITS_PER_INPUT_CHAR = 32;

    private long left = BASE_UNITS;
    private int depth;

    /** Grants the work that a conversation of this many characters may take on top. */
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
