package quire.model;

import java.util.stream.IntStream;
import quire.model.format.Gguf;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;

/**
 * A model that reads one text at a time, to measure what it thinks of the text: for perplexity, and to compare it with recorded
 * log probabilities. It needs no engine. Not thread-safe.
 */
public final class TextScorer implements AutoCloseable {
    private static final int PAGE_TOKENS = 16;

    /** Rows of logits are long: 32 rows of 256,000 tokens are 32 MB. */
    private static final int MAX_LOGIT_ROWS = 32;

    private static final int MAX_BATCH_TOKENS = 512;

    private final Workers workers;
    private final Decoder decoder;
    private final Batch batch;
    private final int[] pages;
    private final int maxTokens;

    /**
     * Loads a model.
     *
     * @param file is no longer used afterwards
     * @param kvType how K and V are stored
     * @param threads worker threads
     * @param maxTokens the longest text, in tokens
     * @throws quire.model.format.ModelFormatException if the model cannot be computed
     * @throws IllegalArgumentException if the model's context is shorter than {@code maxTokens}
     */
    @SuppressWarnings("MustBeClosedChecker") // close() closes both
    public TextScorer(Gguf file, Kernels kernels, KvType kvType, int threads, int maxTokens) {
        ModelConfig config = ModelConfig.from(file);
        if (maxTokens < 1 || maxTokens > config.contextLength()) {
            throw new IllegalArgumentException("a text of " + maxTokens
                    + " tokens does not fit the model's context, which has 1 to " + config.contextLength());
        }
        if (config.blocks().encoder()) {
            throw file.fault("key general.architecture: is " + config.architecture()
                    + ", which gives vectors of texts and no next token; use a model that answers");
        }
        config.checkTensors(file);
        this.maxTokens = maxTokens;
        pages = IntStream.range(0, Math.ceilDiv(maxTokens, PAGE_TOKENS)).toArray();
        int batchTokens = Math.min(maxTokens, MAX_BATCH_TOKENS);
        batch = new Batch(batchTokens, 1);
        workers = new Workers(threads);
        try {
            decoder = Decoder.load(
                    file,
                    config.upTo(maxTokens, file),
                    kernels,
                    workers,
                    new Decoder.Capacity(
                            kvType, PAGE_TOKENS, pages.length, batchTokens, Math.min(batchTokens, MAX_LOGIT_ROWS)));
        } catch (RuntimeException | Error e) {
            workers.close();
            throw e;
        }
    }

    /** The number of token ids. */
    public int vocabularySize() {
        return decoder.vocabularySize();
    }

    /**
     * The log probabilities that the model gives to the last tokens of a text, each from all tokens before it.
     *
     * @param tokens at most as many as the scorer was made for
     * @param scored how many of the last tokens, fewer than there are
     */
    public double[] score(int[] tokens, int scored) {
        if (tokens.length > maxTokens || scored < 0 || scored >= tokens.length) {
            throw new IllegalArgumentException(
                    scored + " scored tokens of " + tokens.length + ", where at most " + maxTokens + " are possible");
        }
        double[] logprobs = new double[scored];
        int unscored = tokens.length - scored;
        read(tokens, 0, unscored - 1);
        for (int next = unscored; next < tokens.length; next += MAX_LOGIT_ROWS) {
            int end = Math.min(tokens.length, next + MAX_LOGIT_ROWS);
            batch.clear();
            batch.add(tokens, next - 1, end - 1, pages, end - next);
            FloatMatrix logits = decoder.forward(batch);
            for (int i = next; i < end; i++) {
                logprobs[i - unscored] = logprob(logits, i - next, tokens[i]);
            }
        }
        return logprobs;
    }

    /**
     * The logits for the token behind a text.
     *
     * @param computed so many of the first tokens were read by the call before; 0 begins another text
     * @return one row, which the next call overwrites
     */
    public FloatMatrix next(int[] tokens, int computed, int length) {
        read(tokens, computed, length - 1);
        batch.clear();
        batch.add(tokens, length - 1, length, pages, 1);
        return decoder.forward(batch);
    }

    private void read(int[] tokens, int from, int to) {
        for (int start = from; start < to; start += MAX_BATCH_TOKENS) {
            batch.clear();
            batch.add(tokens, start, Math.min(to, start + MAX_BATCH_TOKENS), pages, 0);
            decoder.forward(batch);
        }
    }

    /** The natural logarithm of the probability of a token, with the softmax of a row of logits. */
    public static double logprob(FloatMatrix logits, int row, int token) {
        double sum = 0;
        for (int i = 0; i < logits.columns(); i++) {
            sum += Math.exp((double) logits.get(row, i) - logits.get(row, token));
        }
        return -Math.log(sum);
    }

    @Override
    public void close() {
        decoder.close();
        workers.close();
    }
}
