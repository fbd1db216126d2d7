package quire.model;

import quire.tensor.FloatMatrix;

/**
 * A language model with its paged KV cache, executing whole steps. This is where a GPU plugs in. Not thread-safe: one
 * thread calls {@link #forward}.
 */
public interface Model extends AutoCloseable {
    /** Number of token ids; logits rows are this wide. */
    int vocabularySize();

    /** Positions the model was trained for. */
    int contextLength();

    /** Tokens whose K and V one page holds. */
    int pageTokens();

    /** Pages in the pool. */
    int pageCount();

    /** Tokens that one {@link #forward} takes at most. */
    int maxBatchTokens();

    /** Logits rows that one {@link #forward} returns at most. */
    int maxLogitRows();

    /**
     * Computes every token of the batch: writes its K and V into the sequence's pages, then returns the logits of the
     * rows that asked for them, in batch order. A row's logits depend on its own sequence alone, bit for bit.
     *
     * @return {@code batch.logitCount()} valid rows; the memory is overwritten by the next call
     */
    FloatMatrix forward(Batch batch);

    @Override
    void close();
}
