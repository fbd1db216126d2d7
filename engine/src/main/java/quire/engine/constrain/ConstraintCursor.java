package quire.engine.constrain;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Where an answer is in the text that its constraint allows. Belongs to one sequence; one thread at a time.
 *
 * <p>The automaton is shared with other requests. If it has reached its limit, which may be because of them, the cursor
 * takes a new one and repeats the answer's own tokens. So whether a request exceeds the limit depends on its own tokens
 * only.
 */
public final class ConstraintCursor {
    private Automaton automaton;
    private int[] tokens = new int[32];
    private int[] states = new int[33];
    private int length;
    private final @Nullable LimitedPart part; // null without a limit
    private int[] places = {}; // of the part, as states

    ConstraintCursor(Automaton automaton) {
        this.automaton = automaton;
        states[0] = automaton.start();
        TextLimit limit = automaton.limit();
        part = limit == null ? null : new LimitedPart(limit, automaton.vocabulary());
        if (part != null) {
            places = new int[states.length];
            places[0] = part.start();
        }
    }

    /**
     * The tokens that may come next; none after an end token.
     *
     * @throws ConstraintException if the answer needs too many states
     */
    public Mask mask() {
        if (part != null && part.mustEnd(places[length], length)) {
            return part.mask(places[length]);
        }
        try {
            return automaton.mask(states[length]);
        } catch (ConstraintException e) {
            renew();
            return automaton.mask(states[length]);
        }
    }

    /**
     * Adds a token of the answer.
     *
     * @throws ConstraintException if the answer needs too many states
     */
    public void append(int token) {
        int next;
        try {
            next = automaton.advance(states[length], token);
        } catch (ConstraintException e) {
            renew();
            next = automaton.advance(states[length], token);
        }
        if (length == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * length);
            states = Arrays.copyOf(states, 2 * length + 1);
            places = part == null ? places : Arrays.copyOf(places, 2 * length + 1);
        }
        tokens[length++] = token;
        states[length] = next;
        if (part != null) {
            places[length] = part.advance(places[length - 1], token);
        }
    }

    /** Reverts the last {@link #append}. */
    public void undo() {
        length--;
    }

    /** How many of these tokens are allowed one after the other, beginning with the first. */
    public int allowed(int[] draft, int from, int count) {
        int state = states[length];
        int place = part == null ? 0 : places[length];
        try {
            for (int i = 0; i < count; i++) {
                if (part != null) {
                    if (part.mustEnd(place, length + i) && !part.mask(place).allows(draft[from + i])) {
                        return i;
                    }
                    place = part.advance(place, draft[from + i]);
                }
                int next = automaton.advance(state, draft[from + i]);
                if (next == Expressions.NONE) {
                    return automaton.mayEnd(state) && automaton.isEnd(draft[from + i]) ? i + 1 : i;
                }
                state = next;
            }
        } catch (ConstraintException e) {
            return 0;
        }
        return count;
    }

    /**
     * Writes the tokens of the text that must come next, as the longest tokens that spell it. The model may choose other
     * tokens for the same text.
     *
     * @return how many tokens were written, at most {@code most}
     */
    public int forced(int[] draft, int at, int most) {
        return automaton.forced(states[length], draft, at, most);
    }

    private void renew() {
        automaton = automaton.fresh();
        for (int i = 0; i < length; i++) {
            states[i + 1] = automaton.advance(states[i], tokens[i]);
        }
    }
}
