package quire.bench.attack;

import java.util.Locale;

/** What hostile clients do. {@link Attack} has the code of each. */
enum AttackKind {
    /** Leaves in the middle of a streamed answer. */
    VANISH,
    /** Sends a request and leaves at once. */
    ABANDON,
    /** Sends a good request byte by byte. */
    SLOW_SEND,
    /** Sends large bodies and holds back the last byte of each. */
    LAST_BYTE,
    /** Asks for a long answer and does not read it. */
    SLOW_READER,
    /** Opens connections and sends nothing, or half a head. */
    IDLE,
    /** Sends a prompt that no context can hold. */
    GIANT_PROMPT,
    /** Damages the JSON of a good body. */
    MALFORMED_JSON,
    /** Gives parameters values of wrong types. */
    WRONG_TYPES,
    /** Gives parameters extreme values of the right types. */
    EXTREME_VALUES,
    /** Nests arrays and objects deeply. */
    DEEP_NESTING,
    /** Random methods and paths. */
    ROUTES,
    /** Several requests in one write, good and bad ones. */
    PIPELINED,
    /** A good request in pieces that are cut at odd places. */
    SPLIT,
    /** Wrong lengths, chunks, versions and headers. */
    FRAMING,
    /** Very long request lines and very many headers. */
    LARGE_HEAD,
    /** Random bytes, and good requests with some bytes changed. */
    RANDOM_BYTES;

    /** The name on the command line and in tables. */
    String label() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /**
     * The kind with this name.
     *
     * @throws IllegalArgumentException if there is none
     */
    static AttackKind of(String label) {
        for (AttackKind kind : values()) {
            if (kind.label().equals(label.strip().toLowerCase(Locale.ROOT))) {
                return kind;
            }
        }
        throw new IllegalArgumentException("--attacks takes names such as vanish,framing, not " + label
                + "; quire bench attack --help lists them");
    }
}
