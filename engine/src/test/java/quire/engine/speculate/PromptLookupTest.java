package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class PromptLookupTest {
    private static int[] draft(int count, int... tokens) {
        return draft(new int[0], count, tokens);
    }

    private static int[] draft(int[] prediction, int count, int... tokens) {
        int[] room = Arrays.copyOf(tokens, tokens.length + count);
        PromptLookup lookup = new PromptLookup(prediction, room.length);
        lookup.update(room, Math.min(2, tokens.length)); // the prompt
        lookup.update(room, tokens.length);
        if (lookup.matchLength() == 0) {
            return new int[0];
        }
        lookup.writeDraft(room, tokens.length, count);
        return Arrays.copyOfRange(room, tokens.length, room.length);
    }

    @Test
    void draft_repetition_continuesAsBefore() {
        assertThat(draft(3, 1, 2, 3, 4, 5, 9, 2, 3)).containsExactly(4, 5, 9);
    }

    @Test
    void draft_severalMatches_takesTheLongestThenTheLatest() {
        assertThat(draft(1, 7, 1, 2, 50, 8, 1, 2, 60, 7, 1, 2)).containsExactly(50); // 7 1 2 is longer than 1 2
        assertThat(draft(1, 1, 2, 50, 1, 2, 60, 1, 2)).containsExactly(60);
    }

    @Test
    void draft_matchReachesTheEnd_repeatsItself() {
        assertThat(draft(7, 1, 2, 3, 1, 2)).containsExactly(3, 1, 2, 3, 1, 2, 3);
        assertThat(draft(4, 5, 5, 5)).containsExactly(5, 5, 5, 5);
    }

    @Test
    void draft_prediction_beginsAtItsBeginning() {
        int[] prediction = {31, 32, 33, 34};
        assertThat(draft(prediction, 4, 1, 2)).containsExactly(31, 32, 33, 34);
        assertThat(draft(prediction, 2, 1, 2, 31, 32)).containsExactly(33, 34);
        assertThat(draft(prediction, 1, 1, 2, 31, 32, 33, 34)).isEmpty();
    }

    @Test
    void draft_answerThatLeavesThePrediction_findsTheWayBack() {
        int[] prediction = {31, 32, 33, 34, 35, 36, 37};
        assertThat(draft(prediction, 1, 1, 2, 31, 50)).isEmpty();
        assertThat(draft(prediction, 2, 1, 2, 31, 50, 51, 34, 35)).containsExactly(36, 37);
        assertThat(draft(prediction, 1, 1, 2, 31, 50, 36, 37)).isEmpty();
    }

    @Test
    void available_inAPrediction_endsWithIt() {
        PromptLookup lookup = new PromptLookup(new int[] {31, 32, 33}, 20);
        lookup.update(new int[] {1, 2, 31}, 2);
        assertThat(lookup.available()).isEqualTo(3);
        lookup.update(new int[] {1, 2, 31}, 3);
        assertThat(lookup.available()).isEqualTo(2);
        lookup.update(new int[] {1, 2, 31, 1, 2}, 5);
        assertThat(lookup.matchLength()).isEqualTo(2);
        assertThat(lookup.available()).isEqualTo(Integer.MAX_VALUE);
    }

    @Test
    void draft_noRepetition_isEmpty() {
        assertThat(draft(3, 1)).isEmpty();
        assertThat(draft(3, 1, 1)).isEmpty();
        assertThat(draft(3, 1, 2, 3, 4, 5)).isEmpty();
        assertThat(draft(3, 1, 2, 3, 1)).isEmpty(); // a match has at least two tokens
    }

    @Test
    void update_anyTextInAnyPieces_findsARealMatch() {
        for (int seed = 0; seed < 300; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int[] tokens = random.ints(400, 0, 2 + random.nextInt(40)).toArray();
            int[] room = Arrays.copyOf(tokens, tokens.length + 16);
            PromptLookup lookup = new PromptLookup(new int[0], room.length);
            int length = 0;
            while (length < tokens.length) {
                length = Math.min(tokens.length, length + 1 + random.nextInt(4));
                lookup.update(room, length);
                int longest = longestMatch(tokens, length);
                if (longest < 2) {
                    assertThat(lookup.matchLength()).isZero();
                    continue;
                }
                // The search follows a chain for a few matches only, so it may miss a longer one. What it finds must be
                // a match.
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

    /** How many tokens up to {@code end} equal the last ones. */
    private static int matchAt(int[] tokens, int length, int end) {
        int match = 0;
        while (match <= end && tokens[end - match] == tokens[length - 1 - match]) {
            match++;
        }
        return match;
    }
}
