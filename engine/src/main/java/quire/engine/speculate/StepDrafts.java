package quire.engine.speculate;

import java.util.Arrays;
import quire.engine.schedule.Sequence;

/**
 * The draft tokens of one step: for which sequences, from which drafter, how many, and how many were accepted. Reused
 * every step.
 *
 * <pre>
 *   filled by      methods              what
 *   Speculator     begin, add           the sequences that get their next token in this step
 *                  setOffer             how many draft tokens each drafter offers for each of them
 *   DraftPolicy    assign               how many draft tokens a sequence gets, and from which drafter
 *   Drafter        shorten              fewer, if the drafter finds fewer; the tokens follow the sequence's own
 *   Speculator     setVerified          how many were compared with the model's choice, and how many were accepted
 * </pre>
 */
public final class StepDrafts {
    /** Stands for no drafter. */
    static final int NO_DRAFTER = -1;

    private final Sequence[] sequences;
    private final int[] planIndexes;
    private final int[][] offers; // by drafter
    private final int[] drafters;
    private final int[] confidences;
    private final int[] counts;
    private final int[] accepted;
    private final int[] compared;
    private final int[] catchUps;
    private final boolean[] predicted;
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
        confidences = new int[maxSequences];
        counts = new int[maxSequences];
        accepted = new int[maxSequences];
        compared = new int[maxSequences];
        catchUps = new int[maxSequences];
        predicted = new boolean[maxSequences];
    }

    /**
     * Begins a step.
     *
     * @param rowsWithout tokens of the step without draft tokens
     * @param contextsWithout positions of their sequences, each sequence counted once
     * @param positionsWithout positions that those tokens attend to, summed over the tokens
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
        confidences[size] = 0;
        counts[size] = 0;
        accepted[size] = 0;
        compared[size] = 0;
        catchUps[size] = 0;
        predicted[size] = false;
        decodePositions += sequence.length();
        return size++;
    }

    /** Sets how many draft tokens a drafter offers for a sequence. */
    void setOffer(int index, int drafter, int tokens) {
        offers[drafter][index] = tokens;
    }

    /** Assigns a sequence to a drafter, for a number of draft tokens. */
    void assign(int index, int drafter, int confidence, int tokens) {
        drafters[index] = drafter;
        confidences[index] = confidence;
        counts[index] = tokens;
    }

    /** Sets how many tokens of a sequence's text the draft model computed in this step to catch up with it. */
    void setCatchUp(int index, int tokens) {
        catchUps[index] = tokens;
    }

    /** Says that the draft of a sequence is from the prediction of its request. */
    void setPredicted(int index) {
        predicted[index] = true;
    }

    /** Whether the draft of a sequence is from the prediction of its request. */
    boolean isPredicted(int index) {
        return predicted[index];
    }

    /** Shortens a draft to {@code tokens}. */
    void shorten(int index, int tokens) {
        counts[index] = tokens;
    }

    /** Sets what verification found. */
    void setVerified(int index, int acceptedTokens, int comparedTokens) {
        accepted[index] = acceptedTokens;
        compared[index] = comparedTokens;
    }

    /** Sets how long the step took, and how long its tokens would have taken without draft tokens. */
    void setTimes(long took, long tookWithout) {
        nanos = took;
        nanosWithout = tookWithout;
    }

    /** Nanoseconds that the step took, drafting included. */
    long nanos() {
        return nanos;
    }

    /** Nanoseconds that the step's tokens would have taken without draft tokens; an estimate. */
    long nanosWithout() {
        return nanosWithout;
    }

    /** Number of sequences that get their next token in this step. */
    int size() {
        return size;
    }

    /** Tokens of the step without draft tokens. */
    int rows() {
        return rows;
    }

    /**
     * Positions of the sequences that the {@link #rows} belong to, each sequence counted once. Draft tokens add none.
     */
    long contexts() {
        return contexts;
    }

    /** Positions that the {@link #rows} attend to, summed over the rows. */
    long positions() {
        return positions;
    }

    /** Positions that the decoding {@link #rows} attend to, summed over the rows: prompts are left out. */
    long decodePositions() {
        return decodePositions;
    }

    /** Positions that the draft tokens attend to, summed over the draft tokens. */
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

    /** The sequence at an index. */
    Sequence sequence(int index) {
        return sequences[index];
    }

    /** The sequence's index in the step's plan. */
    int planIndex(int index) {
        return planIndexes[index];
    }

    /** Draft tokens that a drafter offers for a sequence. */
    int offered(int index, int drafter) {
        return offers[drafter][index];
    }

    /** The drafter that a sequence is assigned to; {@link #NO_DRAFTER} for none. */
    int drafter(int index) {
        return drafters[index];
    }

    /** How confident the drafter was, as {@link Drafter#confidence} said. */
    int confidence(int index) {
        return confidences[index];
    }

    /** Draft tokens of a sequence. */
    int count(int index) {
        return counts[index];
    }

    /** How many of them became part of the answer. */
    int accepted(int index) {
        return accepted[index];
    }

    /**
     * How many of them were compared with the model's choice: those up to the first rejected one or the answer's end.
     */
    int compared(int index) {
        return compared[index];
    }

    /** Tokens of a sequence's text that the draft model computed in this step to catch up with it. */
    int catchUp(int index) {
        return catchUps[index];
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
