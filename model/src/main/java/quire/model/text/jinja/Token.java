package quire.model.text.jinja;

/**
 * A token of a template. {@code text} is a name, an operator, or template text as written. {@code value} is the value
 * of a literal (String, Long, BigInteger, Double), otherwise the text.
 */
record Token(Kind kind, String text, Object value, int line) {
    enum Kind {
        DATA,
        OUTPUT_BEGIN,
        OUTPUT_END,
        BLOCK_BEGIN,
        BLOCK_END,
        NAME,
        STRING,
        INTEGER,
        FLOAT,
        OPERATOR,
        EOF
    }

    boolean is(Kind wanted) {
        return kind == wanted;
    }

    boolean isName(String name) {
        return kind == Kind.NAME && text.equals(name);
    }

    boolean isOperator(String operator) {
        return kind == Kind.OPERATOR && text.equals(operator);
    }

    String describe() {
        return switch (kind) {
            case EOF -> "end of template";
            case OUTPUT_END -> "'}}'";
            case BLOCK_END -> "'%}'";
            case DATA -> "template text";
            default -> "'" + text + "'";
        };
    }
}
