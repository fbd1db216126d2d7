package quire.engine.constrain;

import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.Tokenizer;

/**
 * The constraints of one engine: requests with equal constraints share the states and masks that were found before.
 * Keeps those that were used last. Thread-safe.
 */
public final class Constraints {
    /** Most states of all automata that are kept. */
    private static final int MAX_STATES = 4 * Automaton.STATES;

    private static final int MAX_AUTOMATA = 64;

    private final Tokenizer tokenizer;
    private @Nullable Vocabulary vocabulary;
    private final Profiles profiles = new Profiles();
    private final Map<Constraint, Automaton> automata = new LinkedHashMap<>(16, 0.75f, true);

    /** @param tokenizer whose tokens an answer has */
    public Constraints(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /** Reads all tokens, in some tenths of a second for a large vocabulary, so that {@link #begin} need not do it. */
    public void prepare() {
        vocabulary();
    }

    /**
     * Also compiles a sample, so that the first constraint of the process is compiled about as fast as later ones. Takes
     * about half a second of a processor, once for each process.
     *
     * @param giveWay called before each part of it: waits while others need the processors
     */
    public void warmUp(Runnable giveWay) {
        WarmUp.run(vocabulary(), profiles, giveWay);
    }

    private synchronized Vocabulary vocabulary() {
        Vocabulary all = vocabulary;
        if (all == null) {
            all = new Vocabulary(tokenizer);
            vocabulary = all;
        }
        return all;
    }

    /**
     * Begins an answer. Reads all tokens if {@link #prepare} has not done it, or waits until it has.
     *
     * @throws InvalidConstraintException if the vocabulary has no token that ends an answer
     */
    public synchronized ConstraintCursor begin(Constraint constraint) {
        Vocabulary all = vocabulary();
        if (all.endTokens().length == 0) {
            throw new InvalidConstraintException(
                    "", "the model has no token that ends an answer, so it cannot end a constrained one");
        }
        Automaton automaton = automata.get(constraint);
        if (automaton == null || automaton.isFull()) {
            automaton = new Automaton(constraint, all, profiles);
            automata.put(constraint, automaton);
            dropOldest();
        }
        return new ConstraintCursor(automaton);
    }

    private void dropOldest() {
        int states = automata.values().stream().mapToInt(Automaton::size).sum();
        Iterator<Automaton> oldest = automata.values().iterator();
        while ((states > MAX_STATES || automata.size() > MAX_AUTOMATA) && automata.size() > 1) {
            states -= oldest.next().size();
            oldest.remove();
        }
    }
}
