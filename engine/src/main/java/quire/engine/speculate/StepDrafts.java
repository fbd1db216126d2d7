package quire.engine.speculate;

import java.util.Arrays;
import quire.engine.schedule.Sequence;

/**
 * The guessing of one step: for whom, by which drafter, how far, and what became of it. Reused every step.
 *
 * <pre>
 *   who may       add, offer        sequences that get their next token in this step; what each drafter offers
 *   how far       give              decided by the {@link DraftPolicy}
 *   guesses       count             the drafters write them behind the sequences' tokens
 *   verified      accepted          a beginning of the guesses; reached: positions at which model and draft were compared
 * </pre>
 */
public final class StepDrafts {
    /** No drafter. */
    static final int NO_DRAFTER = -1;

    private final Sequence[] sequences;
    private final int[] planIndexes;
    private final int[][] offers; // by drafter
    private final int[] drafters;
    private final int[] levels;
    private final int[] counts;
    private final int[] accepted;
    private final int[] reached;
    private final int[] read;
    private int size;
    private int rows;
    private long contexts;
    private long positions;
    private long decodePositions;
    private int room;
    private long nanos;
    private long nanosWithout;

    StepDrafts(int maxSequences, int drafterCount) {
        sequences = new Sequence[maxSequences];
        planIndexes = new int[maxSequences];
        offers = new int[drafterCount][maxSequences];
        drafters = new int[maxSequences];
        levels = new int[maxSequences];
        counts = new int[maxSequences];
        accepted = new int[maxSequences];
        reached = new int[maxSequences];
        read = new int[maxSequences];
    }

    /**
     * Begins a step.
     *
     * @param rowsWithout tokens of the step without draft tokens
     * @param contextsWithout how many positions their sequences have, each counted once
     * @param positionsWithout how many positions those look back at, summed
     * @param mostTokens draft tokens that there is room for, over all sequences
     */
    void begin(int rowsWithout, long contextsWithout, long positionsWithout, int mostTokens) {
        Arrays.fill(sequences, 0, size, null);
        size = 0;
        nanos = 0;
        nanosWithout = 0;
        rows = rowsWithout;
        contexts = contextsWithout;
        positions = positionsWithout;
        decodePositions = 0;
        room = mostTokens;
    }

    /** Adds a sequence that gets its next token in this step; returns its index here. */
    int add(Sequence sequence, int planIndex) {
        sequences[size] = sequence;
        planIndexes[size] = planIndex;
        drafters[size] = NO_DRAFTER;
        levels[size] = 0;
        counts[size] = 0;
        accepted[size] = 0;
        reached[size] = 0;
        read[size] = 0;
        decodePositions += sequence.length();
        return size++;
    }

    /** Notes what a drafter offers for a sequence. */
    void offer(int index, int drafter, int tokens) {
        offers[drafter][index] = tokens;
    }

    /** Decides who guesses for a sequence, and how far. */
    void give(int index, int drafter, int level, int tokens) {
        drafters[index] = drafter;
        levels[index] = level;
        counts[index] = tokens;
    }

    /** Notes that a drafter computed that many tokens of a sequence's text, before it could guess or go on reading. */
    void read(int index, int tokens) {
        read[index] = tokens;
    }

    /** Fewer guesses than was decided. */
    void lower(int index, int tokens) {
        counts[index] = tokens;
    }

    /** What the verification found. */
    void verified(int index, int acceptedTokens, int reachedTokens) {
        accepted[index] = acceptedTokens;
        reached[index] = reachedTokens;
    }

    /** What the step took, and what its tokens would have taken without drafts. */
    void timed(long took, long tookWithout) {
        nanos = took;
        nanosWithout = tookWithout;
    }

    /** What the step took, drafting included. */
    long nanos() {
        return nanos;
    }

    /** What its tokens would have taken without drafts, as far as anybody knows. */
    long nanosWithout() {
        return nanosWithout;
    }

    /** Sequences that get their next token in this step. */
    int size() {
        return size;
    }

    /** Tokens of the step without draft tokens. */
    int rows() {
        return rows;
    }

    /** How many positions the sequences of the {@link #rows} have, each counted once; draft tokens share them. */
    long contexts() {
        return contexts;
    }

    /** How many positions the {@link #rows} look back at, summed. */
    long positions() {
        return positions;
    }

    /** How many positions those of the {@link #rows} look back at that every step has, prompts left out, summed. */
    long decodePositions() {
        return decodePositions;
    }

    /** How many positions the draft tokens look back at, summed. */
    long draftPositions() {
        long sum = 0;
        for (int i = 0; i < size; i++) {
            sum += (long) counts[i] * sequences[i].length();
        }
        return sum;
    }

    /** Draft tokens that there is room for, over all sequences. */
    int room() {
        return room;
    }

    /** Drafters there are. */
    int drafterCount() {
        return offers.length;
    }

    Sequence sequence(int index) {
        return sequences[index];
    }

    /** Where the sequence stands in the step's plan. */
    int planIndex(int index) {
        return planIndexes[index];
    }

    /** Draft tokens that a drafter offers for a sequence. */
    int offered(int index, int drafter) {
        return offers[drafter][index];
    }

    /** Who guesses for a sequence; {@link #NO_DRAFTER} if nobody does. */
    int drafter(int index) {
        return drafters[index];
    }

    /** How sure the drafter was. */
    int level(int index) {
        return levels[index];
    }

    /** Draft tokens of a sequence. */
    int count(int index) {
        return counts[index];
    }

    /** How many of them became part of the answer. */
    int accepted(int index) {
        return accepted[index];
    }

    /** At how many positions the model said yes or no; the rest lies behind a no, or behind the answer's end. */
    int reached(int index) {
        return reached[index];
    }

    /** Tokens of a sequence's text that its drafter had to compute in this step. */
    int read(int index) {
        return read[index];
    }

    /** Draft tokens of all sequences. */
    int total() {
        int total = 0;
        for (int i = 0; i < size; i++) {
            total += counts[i];
        }
        return total;
    }
}
