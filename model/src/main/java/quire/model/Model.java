package quire.model;

import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;
import quire.tensor.FloatMatrix;

/**
 * A language model with its paged KV cache. It computes whole steps; an implementation for a GPU would implement this
 * interface. Not thread-safe: one thread calls {@link #forward}.
 */
public interface Model extends AutoCloseable {
    /** The number of token ids, which is also the width of a row of logits. */
    int vocabularySize();

    /** The number of positions that the model was trained for. */
    int contextLength();

    /** The number of tokens whose K and V fit into one page. */
    int pageTokens();

    /** The number of pages in memory. */
    int pageCount();

    /**
     * The number of further pages, which have the next numbers. Their content lies in a file, so the system needs no memory for
     * them, but a step that uses them may have to wait for the disk.
     */
    default int overflowPages() {
        return 0;
    }

    /**
     * The layers with a window whose K and V have pages of their own; null if a page holds those of all layers. A sequence
     * then has a second page table, see {@link Batch#windowTable}.
     */
    default @Nullable WindowLayers windowLayers() {
        return null;
    }

    /** The most tokens in one call of {@link #forward}. */
    int maxBatchTokens();

    /** The most rows of logits that one call of {@link #forward} returns. */
    int maxLogitRows();

    /**
     * Computes all tokens of the batch: writes their K and V into the pages of their sequences, then returns the logits
     * of the rows that need them, in the order of the batch. The logits of a row depend only on its own sequence, bit
     * for bit.
     *
     * @return {@code batch.logitCount()} valid rows; the next call overwrites the memory
     */
    FloatMatrix forward(Batch batch);

    /** How many numbers the vector of a position has; 0 if the model gives no vectors. */
    default int vectorWidth() {
        return 0;
    }

    /**
     * The vectors of the last {@link #forward}: what the head would compute logits of. Row {@code i} belongs to row {@code
     * i} of the batch. Only rows of sequences that {@linkplain Batch#wantVectors wanted them} are valid, until the next
     * {@code forward}. Like logits, they depend only on their own sequence, bit for bit.
     *
     * @throws UnsupportedOperationException if {@link #vectorWidth} is 0
     */
    default FloatMatrix vectors() {
        throw new UnsupportedOperationException("this model gives no vectors");
    }

    /** Copies the K and V of all positions of a page to another page, in all layers but {@link #windowLayers}. */
    void copyPage(int from, int to);

    /**
     * The same for a page of the {@link #windowLayers}.
     *
     * @throws UnsupportedOperationException if there are none
     */
    default void copyWindowPage(int from, int to) {
        throw new UnsupportedOperationException("this model has no pages for layers with a window alone");
    }

    /**
     * Whether sequences have a state beside their keys and values, so that {@link Batch#setState} counts, and the beginning
     * of a page cannot be used without the rest of it.
     */
    default boolean isRecurrent() {
        return false;
    }

    /**
     * How many states of sequences can be {@linkplain Batch#saveState saved}. A recurrent model that saves none has a state
     * beside each page.
     */
    default int savedStates() {
        return 0;
    }

    /**
     * Whether every position sees the whole text, later positions too. Then all rows of a sequence must be in one batch, no page
     * can be used by another sequence, and there are no logits: the model gives {@linkplain #vectors vectors} only.
     */
    default boolean isEncoder() {
        return false;
    }

    /** Bytes of the K and V of all positions of a page, over all layers, and of the state beside it. */
    long pageBytes();

    /**
     * Copies what {@link #pageBytes} counts to memory of {@link #pageBytes} bytes, which another engine of the same model,
     * type of K and V, and kernels can {@linkplain #importPage import}.
     *
     * @param windowPage the page with the same positions of {@link #windowLayers}; ignored if there are none
     */
    void exportPage(int page, int windowPage, MemorySegment to);

    /** Fills a page, and one of {@link #windowLayers} if there are any, from what {@link #exportPage} has written. */
    void importPage(int page, int windowPage, MemorySegment from);

    @Override
    void close();
}
