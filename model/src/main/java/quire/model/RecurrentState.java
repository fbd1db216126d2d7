package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import quire.tensor.FloatMatrix;
import quire.tensor.memory.ReservedMemory;

/**
 * What recurrent layers keep of each sequence between two steps. The state before a position depends on the tokens
 * before it and on nothing else, so it may be computed again, or copied from where the same tokens were computed.
 *
 * <pre>
 *   slot    a sequence's last inputs, by position modulo the length of the ring
 *           [ … p−3 p−2 p−1 | d0 d1 d2 ]     d0 … are draft tokens; if they are rejected, others overwrite them
 *   page    the last inputs before the end of a page: the state that a sequence begins with behind that page
 *   state   of each head, behind the last position that is no draft token
 *   pending what draft tokens would add to the states, by position
 *   saved   a slot that belongs to no sequence: last inputs and states before one position of a text
 * </pre>
 *
 * <p>The ring is long enough that the inputs before the first draft token stay when all draft tokens are written. So
 * nothing needs to be restored when they are rejected. A checkpoint lies beside the keys and values of its page and
 * has the same number, so the page's owner, its place in the prefix index and its eviction hold for both. The states of heads
 * are so large that only a few are kept: {@link Batch#saveState} says which, and {@link Batch#takeState} which of them a
 * sequence begins with. They are copied head by head when the step comes to their position, so neither chunks nor draft
 * tokens need to end there.
 *
 * <p>This class checks that a sequence continues where its slot ends. A mistake of a caller is an error and never a wrong
 * result.
 */
final class RecurrentState {
    /** {@link #certain} of a saved state that is not there. */
    private static final int NOT_SAVED = -1;

    private final int taps;
    private final int ring;
    private final int pageTokens;
    private final long layerCheckpointBytes;
    private final int heads;
    private final int stateSize;
    /** By layer: a row for each position of the ring of each slot. */
    private final FloatMatrix[] inputs;
    /** By layer: a row for each input before the end of each page; empty if pages have no states. */
    private final FloatMatrix[] checkpoints;
    /** By layer: the states of all heads of each slot, a row for each number of a key; empty if there are none. */
    private final FloatMatrix[] states;
    /** By layer: what the draft tokens of each slot add to the states, with their factors. */
    private final FloatMatrix[] pending;

    private final FloatMatrix[] pendingFactors;
    /** Slots of sequences; those of saved states follow them. */
    private final int slots;
    /** By slot: the position behind the last row that counts. */
    private final int[] certain;
    /** By slot: the position behind the last row, draft tokens included. */
    private final int[] ends;

    /**
     * @param slots most sequences at once
     * @param saved most saved states; 0 for layers without states
     * @param pageCount pages that have a state; 0 if none has one
     * @param pageTokens positions of a page
     */
    RecurrentState(Recurrence recurrence, int slots, int saved, int pageCount, int pageTokens, Arena arena) {
        this.slots = slots;
        taps = recurrence.taps();
        ring = ring(recurrence);
        layerCheckpointBytes = layerCheckpointBytes(recurrence);
        this.pageTokens = pageTokens;
        inputs = new FloatMatrix[recurrence.count()];
        checkpoints = new FloatMatrix[pageCount == 0 ? 0 : inputs.length];
        int all = Math.addExact(slots, saved);
        Arrays.setAll(inputs, i -> reserve(arena, Math.multiplyExact(all, ring), recurrence.channels()));
        Arrays.setAll(checkpoints, i -> reserve(arena, Math.multiplyExact(pageCount, taps - 1), recurrence.channels()));
        heads = recurrence.heads();
        stateSize = recurrence.stateSize();
        states = new FloatMatrix[recurrence.hasStates() ? inputs.length : 0];
        pending = new FloatMatrix[states.length];
        pendingFactors = new FloatMatrix[states.length];
        int stateRows = Math.multiplyExact(all, heads * stateSize);
        Arrays.setAll(states, i -> reserve(arena, stateRows, recurrence.headDim()));
        Arrays.setAll(pending, i -> reserve(arena, slots * Batch.MAX_DRAFT_ROWS, recurrence.inputWidth()));
        Arrays.setAll(pendingFactors, i -> reserve(arena, slots * Batch.MAX_DRAFT_ROWS, recurrence.factorWidth()));
        certain = new int[all];
        ends = new int[all];
        Arrays.fill(certain, slots, all, NOT_SAVED);
    }

    private static int ring(Recurrence recurrence) {
        return recurrence.taps() - 1 + Batch.MAX_DRAFT_ROWS;
    }

    private static FloatMatrix reserve(Arena arena, int rows, int columns) {
        long bytes = Math.multiplyExact((long) rows, (long) columns * Float.BYTES);
        return new FloatMatrix(ReservedMemory.allocate(arena, bytes), rows, columns);
    }

    /** Bytes of the state of one sequence, in all layers. */
    static long slotBytes(Recurrence recurrence) {
        long ofStates = (long) recurrence.stateSize() * recurrence.width()
                + Batch.MAX_DRAFT_ROWS * ((long) recurrence.inputWidth() + recurrence.factorWidth());
        long inputs = (long) ring(recurrence) * recurrence.channels();
        return (long) Float.BYTES * recurrence.count() * (inputs + (recurrence.hasStates() ? ofStates : 0));
    }

    /** Bytes of a saved state, in all layers; 0 if there are no states. */
    static long savedBytes(Recurrence recurrence) {
        long states = (long) recurrence.stateSize() * recurrence.width();
        long inputs = (long) ring(recurrence) * recurrence.channels();
        return recurrence.hasStates() ? (long) Float.BYTES * recurrence.count() * (states + inputs) : 0;
    }

    /** Bytes of the state beside one page, in all layers; 0 if they are too large for that. */
    static long checkpointBytes(Recurrence recurrence) {
        return recurrence.hasStates() ? 0 : recurrence.count() * layerCheckpointBytes(recurrence);
    }

    private static long layerCheckpointBytes(Recurrence recurrence) {
        return (long) Float.BYTES * (recurrence.taps() - 1) * recurrence.channels();
    }

    /** How many states can be saved. */
    int savedStates() {
        return certain.length - slots;
    }

    /** The states of all heads of all sequences in a layer. */
    FloatMatrix states(int layer) {
        return states[layer];
    }

    /** The first row of a head's state. */
    int stateRow(int slot, int head) {
        return (slot * heads + head) * stateSize;
    }

    /** What draft tokens add to the states of a layer. */
    FloatMatrix pending(int layer) {
        return pending[layer];
    }

    /** Their factors. */
    FloatMatrix pendingFactors(int layer) {
        return pendingFactors[layer];
    }

    /** The row of {@link #pending} for a position. */
    int pendingRow(int slot, int position) {
        return slot * Batch.MAX_DRAFT_ROWS + position % Batch.MAX_DRAFT_ROWS;
    }

    /** The first position before a sequence's first row that its states do not contain; its first position for none. */
    int replayFrom(Batch batch, int s) {
        int first = batch.firstPosition(s);
        return first == 0 || batch.start(s) == Batch.Start.ANY ? first : certain[batch.stateSlot(s)];
    }

    /** Makes the state of a head that of an empty text. */
    static void clear(FloatMatrix states, int first, int rows) {
        long bytes = states.columns() * (long) Float.BYTES;
        for (long at = states.rowOffset(first), end = at + rows * bytes; at < end; at += Float.BYTES) {
            states.segment().set(ValueLayout.JAVA_FLOAT, at, 0f);
        }
    }

    /** Bytes of the state beside a page, in all layers; 0 if pages have none. */
    long pageBytes() {
        return checkpoints.length * layerCheckpointBytes;
    }

    /** Copies the state beside a page, one layer after another. */
    void exportPage(int page, MemorySegment to) {
        long bytes = layerCheckpointBytes;
        for (int layer = 0; layer < checkpoints.length; layer++) {
            FloatMatrix from = checkpoints[layer];
            MemorySegment.copy(from.segment(), from.rowOffset(checkpoint(page, 1)), to, layer * bytes, bytes);
        }
    }

    /** Fills the state beside a page with what {@link #exportPage} has written. */
    void importPage(int page, MemorySegment from) {
        long bytes = layerCheckpointBytes;
        for (int layer = 0; layer < checkpoints.length; layer++) {
            FloatMatrix to = checkpoints[layer];
            MemorySegment.copy(from, layer * bytes, to.segment(), to.rowOffset(checkpoint(page, 1)), bytes);
        }
    }

    /** The last inputs of all sequences in a layer. */
    FloatMatrix inputs(int layer) {
        return inputs[layer];
    }

    /** The row of {@link #inputs} that has the input at a position. */
    int row(int slot, int position) {
        return slot * ring + position % ring;
    }

    /**
     * Prepares a step: finds the state before the first row of each sequence.
     *
     * @throws IllegalArgumentException if a sequence has no such slot, or too many draft tokens
     * @throws IllegalStateException if the state before a sequence's first row is not known
     */
    void begin(Batch batch) {
        for (int s = 0; s < batch.sequences(); s++) {
            int slot = batch.stateSlot(s);
            int position = batch.firstPosition(s);
            int drafts = batch.draftRows(s);
            if (slot >= slots || drafts > Batch.MAX_DRAFT_ROWS || drafts >= batch.rowCount(s)) {
                throw new IllegalArgumentException("slot " + slot + " of " + slots + " with " + drafts
                        + " draft tokens in " + batch.rowCount(s) + " rows: at most " + Batch.MAX_DRAFT_ROWS
                        + " are possible, behind a row that counts");
            }
            for (int other = 0; other < s; other++) {
                if (batch.stateSlot(other) == slot) {
                    throw new IllegalArgumentException("sequences " + other + " and " + s + " share slot " + slot);
                }
            }
            checkSaves(batch, s);
            Batch.Start start = batch.start(s);
            if (position == 0 || start == Batch.Start.ANY) {
                continue;
            }
            if (start == Batch.Start.AT_PAGE) {
                load(slot, position, batch.pageTable(s));
            } else if (start == Batch.Start.SAVED) {
                take(slot, position, batch.source(s));
            } else if (position < certain[slot] || position > ends[slot]) {
                throw new IllegalStateException("the sequence in slot " + slot + " continues at position " + position
                        + ", but its state is known at " + certain[slot] + " to " + ends[slot]);
            }
        }
    }

    /** Checks that the step comes to the positions of the states that are saved, and that nobody takes these. */
    private void checkSaves(Batch batch, int s) {
        int end = batch.firstPosition(s) + batch.rowCount(s) - batch.draftRows(s);
        int from = batch.start(s) == Batch.Start.CONTINUES ? replayFrom(batch, s) : batch.firstPosition(s);
        for (int save = batch.firstSave(s); save < batch.lastSave(s); save++) {
            int position = batch.savePosition(save);
            int saved = batch.saveTarget(save);
            if (position <= from || position > end || saved >= savedStates() || states.length == 0) {
                throw new IllegalArgumentException("the state before position " + position
                        + " cannot be saved as number " + saved + " of " + savedStates()
                        + ", in a step from position " + from + " to " + end);
            }
            for (int other = 0; other < batch.sequences(); other++) {
                if (batch.start(other) == Batch.Start.SAVED && batch.source(other) == saved) {
                    throw new IllegalArgumentException(
                            "the saved state " + saved + " is taken and overwritten in the same step");
                }
            }
        }
    }

    private void take(int slot, int position, int saved) {
        int from = slots + saved;
        if (certain[from] != position) {
            throw new IllegalStateException("a sequence begins at position " + position + " with the saved state "
                    + saved + (certain[from] == NOT_SAVED ? ", which is none" : " of position " + certain[from]));
        }
        for (int layer = 0; layer < inputs.length; layer++) {
            copy(inputs[layer], from * ring, inputs[layer], slot * ring, ring);
            copy(states[layer], stateRow(from, 0), states[layer], stateRow(slot, 0), heads * stateSize);
        }
        certain[slot] = position;
        ends[slot] = position;
    }

    private void load(int slot, int position, int[] pageTable) {
        if (position % pageTokens != 0 || checkpoints.length == 0) {
            throw new IllegalStateException("there is no state at position " + position + " of pages of " + pageTokens
                    + " tokens" + (checkpoints.length == 0 ? ", which have none" : ""));
        }
        int page = pageTable[position / pageTokens - 1];
        for (int layer = 0; layer < inputs.length; layer++) {
            for (int back = 1; back < taps; back++) {
                copy(checkpoints[layer], checkpoint(page, back), inputs[layer], row(slot, position - back));
            }
        }
    }

    private int checkpoint(int page, int back) {
        return page * (taps - 1) + back - 1;
    }

    /**
     * Keeps the inputs of a sequence in a layer, and the states at the ends of pages, once all workers have read the old
     * ones.
     *
     * @param rows the inputs of the batch
     */
    void keep(int layer, Batch batch, int s, FloatMatrix rows) {
        int slot = batch.stateSlot(s);
        int first = batch.firstPosition(s);
        int end = first + batch.rowCount(s);
        int offset = batch.firstRow(s) - first;
        if (checkpoints.length > 0) {
            for (int pageEnd = first - first % pageTokens + pageTokens; pageEnd <= end; pageEnd += pageTokens) {
                int page = batch.pageTable(s)[pageEnd / pageTokens - 1];
                for (int back = 1; back < taps; back++) {
                    copyInput(layer, batch, s, rows, pageEnd - back, checkpoints[layer], checkpoint(page, back));
                }
            }
        }
        for (int save = batch.firstSave(s); save < batch.lastSave(s); save++) {
            int saved = slots + batch.saveTarget(save);
            int behind = batch.savePosition(save);
            for (int position = Math.max(0, behind - taps + 1); position < behind; position++) {
                copyInput(layer, batch, s, rows, position, inputs[layer], row(saved, position));
            }
        }
        for (int position = Math.max(first, end - ring); position < end; position++) {
            copy(rows, offset + position, inputs[layer], row(slot, position));
        }
    }

    /** Copies the input at a position of a sequence: a row of the batch, or one kept from a step before. */
    private void copyInput(int layer, Batch batch, int s, FloatMatrix rows, int position, FloatMatrix to, int toRow) {
        int row = position - batch.firstPosition(s);
        if (row >= 0) {
            copy(rows, batch.firstRow(s) + row, to, toRow);
        } else {
            copy(inputs[layer], row(batch.stateSlot(s), position), to, toRow);
        }
    }

    /** Saves the state of a head. */
    void save(int layer, int slot, int head, int saved) {
        copy(states[layer], stateRow(slot, head), states[layer], stateRow(slots + saved, head), stateSize);
    }

    /** Keeps what the draft tokens of a sequence add to the states of a layer. */
    void keepDrafts(int layer, Batch batch, int s, FloatMatrix rows, FloatMatrix factors) {
        int end = batch.firstRow(s) + batch.rowCount(s);
        for (int row = end - batch.draftRows(s); row < end; row++) {
            int at = pendingRow(batch.stateSlot(s), batch.positions()[row]);
            copy(rows, row, pending[layer], at);
            copy(factors, row, pendingFactors[layer], at);
        }
    }

    /** Records what is known after a step. */
    void end(Batch batch) {
        for (int s = 0; s < batch.sequences(); s++) {
            int slot = batch.stateSlot(s);
            ends[slot] = batch.firstPosition(s) + batch.rowCount(s);
            certain[slot] = ends[slot] - batch.draftRows(s);
            for (int save = batch.firstSave(s); save < batch.lastSave(s); save++) {
                certain[slots + batch.saveTarget(save)] = batch.savePosition(save);
            }
        }
    }

    private static void copy(FloatMatrix from, int fromRow, FloatMatrix to, int toRow) {
        copy(from, fromRow, to, toRow, 1);
    }

    /** Copies some rows of a matrix to another one with rows of the same length. */
    static void copy(FloatMatrix from, int fromRow, FloatMatrix to, int toRow, int rows) {
        MemorySegment.copy(
                from.segment(),
                from.rowOffset(fromRow),
                to.segment(),
                to.rowOffset(toRow),
                rows * (to.columns() * (long) Float.BYTES));
    }
}
