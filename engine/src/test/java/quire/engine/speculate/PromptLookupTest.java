package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class PromptLookupTest {
    private static int[] guess(int count, int... tokens) {
        int[] room = Arrays.copyOf(tokens, tokens.length + count);
        PromptLookup lookup = new PromptLookup(room.length);
        lookup.update(room, tokens.length);
        if (lookup.matchLength() == 0) {
            return new int[0];
        }
        lookup.writeDraft(room, tokens.length, count);
        return Arrays.copyOfRange(room, tokens.length, room.length);
    }

    @Test
    void guess_repetition_goesOnAsBefore() {
        assertThat(guess(3, 1, 2, 3, 4, 5, 9, 2, 3)).containsExactly(4, 5, 9);
    }

    @Test
    void guess_severalMatches_takesTheLongestThenTheLatest() {
        assertThat(guess(1, 7, 1, 2, 50, 8, 1, 2, 60, 7, 1, 2)).containsExactly(50); // 7 1 2 is longer than 1 2
        assertThat(guess(1, 1, 2, 50, 1, 2, 60, 1, 2)).containsExactly(60);
    }

    @Test
    void guess_matchReachesTheEnd_goesRoundAndRound() {
        assertThat(guess(7, 1, 2, 3, 1, 2)).containsExactly(3, 1, 2, 3, 1, 2, 3);
        assertThat(guess(4, 5, 5, 5)).containsExactly(5, 5, 5, 5);
    }

    @Test
    void guess_nothingRepeats_isSilent() {
        assertThat(guess(3, 1)).isEmpty();
        assertThat(guess(3, 1, 1)).isEmpty();
        assertThat(guess(3, 1, 2, 3, 4, 5)).isEmpty();
        assertThat(guess(3, 1, 2, 3, 1)).isEmpty(); // one token is no evidence
    }

    @Test
    void advance_anyTextInAnyPieces_findsWhatAScanFinds() {
        for (int seed = 0; seed < 300; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int[] tokens = random.ints(400, 0, 2 + random.nextInt(40)).toArray();
            int[] room = Arrays.copyOf(tokens, tokens.length + 16);
            PromptLookup lookup = new PromptLookup(room.length);
            int length = 0;
            while (length < tokens.length) {
                length = Math.min(tokens.length, length + 1 + random.nextInt(4));
                lookup.update(room, length);
                int longest = longestMatch(tokens, length);
                if (longest < 2) {
                    assertThat(lookup.matchLength()).isZero();
                    continue;
                }
                // A chain is followed for a few matches only, so a longer one may be missed; what is found is true.
                assertThat(lookup.matchLength()).isBetween(2, longest);
                lookup.writeDraft(room, length, 1);
                boolean isTrue = false;
                for (int end = lookup.matchLength() - 1; end < length - 1 && !isTrue; end++) {
                    isTrue = matchAt(tokens, length, end) >= lookup.matchLength() && tokens[end + 1] == room[length];
                }
                assertThat(isTrue).as("seed %d, length %d", seed, length).isTrue();
                System.arraycopy(tokens, 0, room, 0, tokens.length);
            }
        }
    }

    private static int longestMatch(int[] tokens, int length) {
        int longest = 0;
        for (int end = 0; end < length - 1; end++) {
            longest = Math.max(longest, matchAt(tokens, length, end));
        }
        return longest;
    }

    /** How many tokens before and at {@code end} are the last ones. */
    private static int matchAt(int[] tokens, int length, int end) {
        int match = 0;
        while (match <= end && tokens[end - match] == tokens[length - 1 - match]) {
            match++;
        }
        return match;
    }
}
