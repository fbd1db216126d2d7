package quire.model;

/**
 * The shape of a Llama-family decoder, read from a file's metadata.
 *
 * @param architecture {@code llama} …
 * @param name for people
 * @param vocabularySize token ids
 * @param contextLength positions trained for
 * @param hidden width of the residual stream
 * @param feedForward width of the feed-forward layer
 * @param layers blocks
 * @param heads query heads
 * @param kvHeads key and value heads; divides {@code heads}
 * @param headDim numbers in a head
 * @param normEpsilon of RMSNorm
 * @param ropeDimensions how many dimensions of a head are rotated, even
 * @param ropeBase base of the rotation's frequencies
 * @param ropeScale positions are divided by it (linear scaling); 1 is none
 */
public record ModelConfig(
        String architecture,
        String name,
        int vocabularySize,
        int contextLength,
        int hidden,
        int feedForward,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        float normEpsilon,
        int ropeDimensions,
        float ropeBase,
        float ropeScale) {}
