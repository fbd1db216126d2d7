package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import quire.engine.schedule.Sequence;
import quire.engine.schedule.Sequences;

class LookupDrafterTest {
    /** The index is allocated for the longest answer, although the sequence's token array grows with the answer. */
    @Test
    void offer_repetitionFarBackInALongAnswer_isFound() {
        Sequence sequence = Sequences.started(new int[] {1}, 5000);
        LookupDrafter drafter = new LookupDrafter();
        assertThat(drafter.offer(sequence, 4)).isZero();
        for (int token = 2; token < 3000; token++) {
            Sequences.append(sequence, token);
        }
        Sequences.append(sequence, 20);
        Sequences.append(sequence, 21);

        assertThat(drafter.offer(sequence, 4)).isEqualTo(4);
    }
}
