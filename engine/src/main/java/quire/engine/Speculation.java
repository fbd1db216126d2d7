package quire.engine;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Whether and how the engine guesses tokens ahead. It changes the speed of answers and nothing else about them.
 *
 * @param draftTokens how many a sequence gets a step: {@link #AUTO}, {@link #OFF}, or always so many, at most
 *     {@value #MAX_DRAFT_TOKENS}
 * @param lookup whether to guess from repetitions in prompt and answer
 * @param draft a GGUF file with a small model of the same tokenizer that guesses where lookup has nothing; null for none
 * @param replay recorded answers to guess from, for measurements; null for none
 */
public record Speculation(
        int draftTokens,
        boolean lookup,
        @Nullable Path draft,
        @Nullable Replay replay) {
    /** The engine decides by measurement, each step, for each sequence. */
    public static final int AUTO = -1;

    /** No guessing. */
    public static final int OFF = 0;

    /** Most draft tokens of a sequence in a step. */
    public static final int MAX_DRAFT_TOKENS = 16;

    /**
     * Checks the range.
     *
     * @throws IllegalArgumentException naming what is allowed
     */
    public Speculation {
        if (draftTokens < AUTO || draftTokens > MAX_DRAFT_TOKENS) {
            throw new IllegalArgumentException(
                    "speculation must be auto, off or 1 to " + MAX_DRAFT_TOKENS + " draft tokens, not " + draftTokens);
        }
    }

    /** No speculation at all. */
    public static Speculation off() {
        return new Speculation(OFF, false, null, null);
    }

    /** Prompt lookup, and a draft model if there is one, as far as it pays. */
    public static Speculation auto(@Nullable Path draft) {
        return new Speculation(AUTO, true, draft, null);
    }

    /** Whether anybody guesses. */
    public boolean isOn() {
        return draftTokens != OFF && (lookup || draft != null || replay != null);
    }
}
