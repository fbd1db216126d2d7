package quire.engine;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Whether and how an engine uses draft tokens (speculative decoding). It changes the speed of answers and nothing else.
 * Text that a request's constraint forces is drafted whenever speculation is on.
 *
 * @param draftTokens draft tokens of a sequence in a step: {@link #AUTO}, {@link #OFF}, or a fixed number from 1 to
 *     {@value #MAX_DRAFT_TOKENS}
 * @param lookup whether to take draft tokens from repetitions in prompt and answer
 * @param draft a GGUF file with a small model that has the same tokenizer; null for none. It drafts if lookup finds
 *     nothing
 * @param replay recorded answers to take draft tokens from, for measurements; null for none
 */
public record Speculation(
        int draftTokens,
        boolean lookup,
        @Nullable Path draft,
        @Nullable Replay replay) {
    /** The engine chooses the number, in each step for each sequence, from measured costs and acceptance rates. */
    public static final int AUTO = -1;

    /** No draft tokens. */
    public static final int OFF = 0;

    /** Maximum number of draft tokens of a sequence in a step. */
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

    /** No speculation. */
    public static Speculation off() {
        return new Speculation(OFF, false, null, null);
    }

    /**
     * Prompt lookup, and a draft model if there is one. The engine chooses the number of draft tokens.
     *
     * @param draft its GGUF file; null for none
     */
    public static Speculation auto(@Nullable Path draft) {
        return new Speculation(AUTO, true, draft, null);
    }

    /** Whether there is a drafter, and draft tokens are not {@link #OFF}. */
    public boolean isOn() {
        return draftTokens != OFF && (lookup || draft != null || replay != null);
    }
}
