package quire.bench.reproduce;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import quire.bench.reproduce.PoolSimulation.Reservation;
import quire.bench.reproduce.PoolSimulation.Result;

class PoolSimulationTest {
    @Test
    void play_maximumReserved_runsAsManyAsFitTheMaximum() {
        // Blocks of 64: two fit 128 slots. Each takes 3 steps, the second pair starts after the first.
        Result result = play(Reservation.MAXIMUM, 128, false, Collections.nCopies(4, new Length(10, 3)));
        assertThat(result.steps()).isEqualTo(6);
        assertThat(result.tokens()).isEqualTo(12);
        assertThat(result.batch()).isEqualTo(2);
        // Two sequences hold 10, 11 and 12 tokens in the three steps in which others wait.
        assertThat(result.live()).isCloseTo(22 / 128.0, within(1e-9));
        assertThat(result.held()).isEqualTo(1);
    }

    @Test
    void play_groups_waitForTheLongest() {
        List<Length> lengths = List.of(new Length(10, 1), new Length(10, 5), new Length(10, 1), new Length(10, 1));
        assertThat(play(Reservation.MAXIMUM, 128, true, lengths).steps()).isEqualTo(5 + 1);
        assertThat(play(Reservation.MAXIMUM, 128, false, lengths).steps()).isEqualTo(5);
    }

    @Test
    void play_paged_growsPageByPageAndPreemptsTheLast() {
        // Four pages. A prompt of 15 tokens and its next token take one page, and each running sequence may need
        // another:
        // two sequences start. Each grows to 40 tokens, three pages, so the second is preempted and computed again.
        Result result = play(Reservation.PAGED, 64, false, Collections.nCopies(2, new Length(15, 26)));
        assertThat(result.preemptions()).isPositive();
        assertThat(result.tokens()).isEqualTo(52);
        // With room for both there is no preemption, and both end together.
        Result roomy = play(Reservation.PAGED, 128, false, Collections.nCopies(2, new Length(15, 26)));
        assertThat(roomy.preemptions()).isZero();
        assertThat(roomy.steps()).isEqualTo(26);
    }

    @Test
    void play_costOfSteps_countsPromptsOnceAndLiveTokens() {
        long[] sum = new long[2];
        new PoolSimulation(Reservation.ORACLE, 64, 64, 1, false, (tokens, live) -> {
                    sum[0] += tokens;
                    sum[1] += live;
                    return 1;
                })
                .play(List.of(new Length(5, 3)));
        assertThat(sum[0]).isEqualTo(5 + 1 + 1);
        assertThat(sum[1]).isEqualTo(5 + 6 + 7);
    }

    @Test
    void play_requestLargerThanTheMemory_isRefused() {
        for (Reservation reservation : Reservation.values()) {
            assertThatThrownBy(() -> play(reservation, 32, false, List.of(new Length(40, 2))))
                    .as("%s", reservation)
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("does not fit a memory of 32 tokens");
        }
    }

    @Test
    void simulate_lengthsLikeShareGpts_comesCloseToThePaper() {
        Result maximum = Paging.simulate(Reservation.MAXIMUM);
        Result powerOfTwo = Paging.simulate(Reservation.POWER_OF_TWO);
        Result oracle = Paging.simulate(Reservation.ORACLE);
        Result paged = Paging.simulate(Reservation.PAGED);
        assertThat(maximum.batch()).isEqualTo(7);
        assertThat(powerOfTwo.batch()).isBetween(8.0, 13.0);
        assertThat(oracle.batch()).isBetween(powerOfTwo.batch(), 17.0);
        assertThat(paged.batch()).isBetween(26.0, 38.0);
        assertThat(1 - paged.live() / paged.held()).isLessThan(0.04);
        assertThat(1 - maximum.live() / maximum.held()).isBetween(0.6, 0.85);
    }

    @Test
    void blocks_freed_joinAgain() {
        BuddyPool pool = new BuddyPool(15_700);
        int[] begins = new int[7];
        for (int i = 0; i < begins.length; i++) {
            begins[i] = pool.allocate(2048);
            assertThat(begins[i]).isNotNegative();
        }
        assertThat(pool.allocate(2048)).isNegative();
        assertThat(pool.allocate(1024)).isNotNegative(); // what is left at the end
        pool.free(begins[0], 2048);
        int small = pool.allocate(513); // no block of 1024 is left, so one of 2048 is split
        assertThat(pool.allocate(2048)).isNegative();
        pool.free(small, 513);
        assertThat(pool.allocate(1025)).isEqualTo(begins[0]);
    }

    @Test
    void lengths_haveTheMeansOfThePaper() {
        List<Length> lengths = Length.likeShareGpt(4000, 5);
        assertThat(lengths.stream().mapToInt(Length::prompt).average().orElseThrow())
                .isCloseTo(161.3, within(1.0));
        assertThat(lengths.stream().mapToInt(Length::output).average().orElseThrow())
                .isCloseTo(338, within(1.0));
        assertThat(lengths).isEqualTo(Length.likeShareGpt(4000, 5)).isNotEqualTo(Length.likeShareGpt(4000, 6));
        List<Length> cut = Length.exponential(2000, 64, 32, 40, 1);
        assertThat(cut).allMatch(length -> length.prompt() == 64 && length.output() >= 1 && length.output() <= 40);
        // The mean of an exponential variable that is cut at c is m × (1 − e^(−c/m)), and rounding up adds a half.
        assertThat(cut.stream().mapToInt(Length::output).average().orElseThrow())
                .isCloseTo(32 * (1 - Math.exp(-40 / 32.0)) + 0.4, within(0.8));
    }

    private static Result play(Reservation reservation, int slots, boolean groups, List<Length> lengths) {
        return new PoolSimulation(reservation, slots, 64, Integer.MAX_VALUE, groups, (tokens, live) -> 0).play(lengths);
    }
}
