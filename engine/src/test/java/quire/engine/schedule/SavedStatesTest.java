package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;

class SavedStatesTest {
    private static final int PAGES = 6;

    private final SavedStates states = new SavedStates(3, PAGES);

    /** Saves a state behind a page; returns its number. */
    private int save(int page) {
        int state = states.reserve();
        states.bind(state, page);
        return state;
    }

    @Test
    void reserve_allSaved_takesTheLeastRecentlyUsed() {
        int first = save(0);
        int second = save(1);
        int third = save(2);
        states.release(states.hold(0)); // used again

        assertThat(save(3)).isEqualTo(second);
        assertThat(save(4)).isEqualTo(third);
        assertThat(save(5)).isEqualTo(first);
        assertThat(states.isBehind(0)).isFalse();
        assertThat(states.isBehind(5)).isTrue();
        assertThat(states.saved()).isEqualTo(3);
    }

    @Test
    void reserve_heldAndReservedOnes_areLeft() {
        save(0);
        save(1);
        int held = states.hold(0);
        int reserved = states.reserve();
        int last = states.reserve();

        assertThat(states.reserve()).isEqualTo(SavedStates.NONE);
        assertThat(states.isBehind(0)).isTrue();
        assertThat(states.isBehind(1)).isFalse();
        states.free(last);
        assertThat(states.reserve()).isEqualTo(last);
        states.release(held);
        assertThat(states.reserve()).isEqualTo(held).isNotEqualTo(reserved);
        assertThat(states.isBehind(0)).isFalse();
    }

    @Test
    void bind_pageWithAState_keepsThatAndFreesTheOther() {
        int first = save(0);
        int second = save(1);
        int again = states.reserve();
        states.bind(again, 0);

        assertThat(save(2)).isEqualTo(again);
        assertThat(save(3))
                .as("less recently than the first, which was computed again")
                .isEqualTo(second);
        assertThat(states.hold(0)).isEqualTo(first);
    }

    @Test
    void forget_page_freesItsState() {
        int state = save(0);
        save(1);
        save(2);
        states.release(states.hold(0)); // used last
        states.forget(0);
        states.forget(5); // has none

        assertThat(states.isBehind(0)).isFalse();
        assertThat(states.reserve()).isEqualTo(state);
    }

    @Test
    void reserveAgain_lostUsedOrHeld_takesAnother() {
        int own = save(0);
        long stamp = states.stamp(own);
        assertThat(states.reserveAgain(own, stamp)).isEqualTo(own);
        assertThat(states.isBehind(0)).isFalse();
        states.bind(own, 1);

        assertThat(states.reserveAgain(own, stamp)).as("written again").isNotEqualTo(own);
        long other = states.stamp(own);
        states.hold(1);
        assertThat(states.reserveAgain(own, other)).as("held").isNotEqualTo(own);
        states.release(own);
        states.forget(1);
        assertThat(states.reserveAgain(SavedStates.NONE, 0))
                .as("the only one left")
                .isEqualTo(own);
    }

    @Test
    void reserveAgain_anotherHasReservedIt_takesAnother() {
        int own = save(0);
        long stamp = states.stamp(own);
        save(1);
        save(2);
        assertThat(states.reserve()).isEqualTo(own);

        assertThat(states.reserveAgain(own, stamp)).isNotEqualTo(own);
    }

    @Test
    void counts_ofStates_areThoseOfEvents() {
        int first = save(0);
        save(1);
        save(2);
        states.begin(states.hold(0));
        states.release(states.hold(1));
        states.hold(0);
        states.begin(first);
        assertCounts(3, 2, 3, 0);

        states.free(states.reserve()); // that of page 2, which nobody has begun with
        assertCounts(2, 2, 3, 1);
        states.bind(states.reserve(), 0); // has one
        assertCounts(2, 2, 3, 1);
        states.forget(1);
        assertCounts(1, 2, 3, 1);

        states.bind(states.reserveAgain(first, states.stamp(first)), 3); // has moved on
        assertCounts(1, 2, 3, 1);
        save(0);
        save(1);
        save(2);
        assertThat(states.isBehind(3)).isFalse();
        assertCounts(3, 2, 6, 2);
    }

    private void assertCounts(int saved, long hits, long written, long evictedUnused) {
        assertThat(List.of((long) states.saved(), states.hits(), states.written(), states.evictedUnused()))
                .containsExactly((long) saved, hits, written, evictedUnused);
    }

    @Test
    void checkIntegrity_faults_areNamed() {
        PrefixIndex index = new PrefixIndex(PAGES, 2, 7, -1);
        index.add(0, PrefixIndex.NONE, new int[] {1, 2}, 0, CacheSalt.NONE);
        save(0);
        int[] rowToState = {SavedStates.NONE, SavedStates.NONE};
        states.checkIntegrity(index, rowToState);

        rowToState[1] = states.hold(0);
        states.checkIntegrity(index, rowToState);
        states.release(rowToState[1]);
        assertThatThrownBy(() -> states.checkIntegrity(index, rowToState))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("held by 1 rows, but counts 0");
        rowToState[1] = SavedStates.NONE;
        int reserved = states.reserve();
        assertThatThrownBy(() -> states.checkIntegrity(index, rowToState))
                .hasMessageContaining("saved state " + reserved + " of 3 is written by no step");
        states.bind(reserved, 3);
        assertThatThrownBy(() -> states.checkIntegrity(index, rowToState))
                .hasMessageContaining("behind page 3, which is not in the index");
    }
}
