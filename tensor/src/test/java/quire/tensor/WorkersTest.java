package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
@Tag("workers")
class WorkersTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4})
    void run_thousandsOfRoundsWithBarriers_everyWriteIsSeenAfterTheBarrier(int count) {
        try (Workers workers = new Workers(count)) {
            int[] written = new int[count];
            AtomicLong errors = new AtomicLong();
            for (int round = 1; round <= 3000; round++) {
                int value = round;
                workers.run(worker -> {
                    for (int phase = 0; phase < 3; phase++) {
                        written[worker] = value * 10 + phase;
                        workers.barrier(worker);
                        for (int other : written) {
                            if (other != value * 10 + phase) {
                                errors.incrementAndGet();
                            }
                        }
                        workers.barrier(worker);
                    }
                });
                assertThat(errors.get()).as("round %s", round).isZero();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, Workers.GROUP + 1, 2 * Workers.GROUP + 3})
    void run_teamsOfAllSizesInTurn_onlyTheirWorkersRunAndMeet(int count) {
        try (Workers workers = new Workers(count)) {
            AtomicIntegerArray ran = new AtomicIntegerArray(count);
            AtomicInteger wrong = new AtomicInteger();
            int[] expected = new int[count];
            SplittableRandom random = new SplittableRandom(count);
            for (int round = 0; round < (count > Workers.GROUP ? 300 : 3000); round++) {
                int team = random.nextInt(count) + 1;
                AtomicInteger met = new AtomicInteger();
                workers.run(
                        worker -> {
                            ran.incrementAndGet(worker);
                            met.incrementAndGet();
                            workers.barrier(worker);
                            if (met.get() != team || workers.active() != team) {
                                wrong.incrementAndGet();
                            }
                        },
                        team);
                for (int i = 0; i < team; i++) {
                    expected[i]++;
                }
            }
            assertThat(wrong.get()).isZero();
            for (int i = 0; i < count; i++) {
                assertThat(ran.get(i)).as("worker %s", i).isEqualTo(expected[i]);
            }
        }
    }

    @Test
    void run_moreWorkersThanThereAre_isRefused() {
        try (Workers workers = new Workers(2)) {
            assertThatThrownBy(() -> workers.run(worker -> {}, 3))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("3 of 2 workers");
        }
    }

    /** Also in a run after a run with unused claims, and across a barrier. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4})
    void claim_manyRoundsAndBarriers_everyUnitGoesToOneWorker(int count) {
        int units = 37;
        try (Workers workers = new Workers(count)) {
            AtomicIntegerArray taken = new AtomicIntegerArray(2 * units);
            for (int round = 1; round <= 1000; round++) {
                workers.run(worker -> {
                    for (int unit = workers.claim(); unit < units; unit = workers.claim()) {
                        taken.incrementAndGet(unit);
                    }
                    workers.barrier(worker);
                    for (int unit = workers.claim(); unit < units; unit = workers.claim()) {
                        taken.incrementAndGet(units + unit);
                    }
                });
                for (int i = 0; i < taken.length(); i++) {
                    assertThat(taken.get(i)).as("unit %s", i).isEqualTo(round);
                }
            }
        }
    }

    /** Also in a run after a run with unused claims, across a barrier, and with fewer units than workers. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4})
    void claim_shares_everyUnitGoesToOneWorker(int count) {
        int[] units = {37, 2, 0, 1, 64};
        try (Workers workers = new Workers(count)) {
            AtomicIntegerArray taken = new AtomicIntegerArray(64 * units.length);
            for (int round = 0; round < 1000; round++) {
                int team = round % count + 1;
                workers.run(
                        worker -> {
                            for (int phase = 0; phase < units.length; phase++) {
                                long claimed = workers.claim(worker, units[phase]);
                                for (; claimed >= 0; claimed = workers.claim(worker, units[phase])) {
                                    for (int unit = Workers.firstUnit(claimed);
                                            unit < Workers.endUnit(claimed);
                                            unit++) {
                                        taken.incrementAndGet(64 * phase + unit);
                                    }
                                }
                                workers.barrier(worker);
                            }
                            workers.claim(worker, 64);
                        },
                        team);
                for (int i = 0; i < taken.length(); i++) {
                    assertThat(taken.get(i)).as("unit %s", i).isEqualTo(i % 64 < units[i / 64] ? round + 1 : 0);
                }
            }
        }
    }

    @Test
    void claim_othersTakeNothing_halvesOfOwnShareThenOfTheOthersInOrder() {
        try (Workers workers = new Workers(3)) {
            StringBuilder order = new StringBuilder();
            workers.run(worker -> {
                if (worker == 1) {
                    long claimed = workers.claim(worker, 26);
                    for (; claimed >= 0; claimed = workers.claim(worker, 26)) {
                        order.append(Workers.firstUnit(claimed))
                                .append('-')
                                .append(Workers.endUnit(claimed))
                                .append(' ');
                    }
                }
            });
            assertThat(order)
                    .hasToString("8-12 12-14 14-15 15-16 16-17 17-21 21-23 23-24 24-25 25-26 0-4 4-6 6-7 7-8 ");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4, 2 * Workers.GROUP + 1})
    void run_oneWorkerFails_othersLeaveTheBarrierAndTheTeamStaysUsable(int count) {
        try (Workers workers = new Workers(count)) {
            for (int round = 0; round < (count > Workers.GROUP ? 50 : 500); round++) {
                int failing = round % count;
                assertThatThrownBy(() -> workers.run(worker -> {
                            if (worker == failing) {
                                throw new IllegalArgumentException("worker " + worker);
                            }
                            workers.barrier(worker);
                            workers.barrier(worker);
                        }))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessage("worker " + failing);
                AtomicInteger ran = new AtomicInteger();
                workers.run(worker -> {
                    workers.barrier(worker);
                    ran.incrementAndGet();
                    workers.barrier(worker);
                });
                assertThat(ran.get()).isEqualTo(count);
            }
        }
    }

    @Test
    void run_failureBetweenBarriers_isReported() {
        try (Workers workers = new Workers(3)) {
            assertThatThrownBy(() -> workers.run(worker -> {
                        workers.barrier(worker);
                        if (worker == 2) {
                            throw new StackOverflowError("deep");
                        }
                        workers.barrier(worker);
                    }))
                    .isInstanceOf(StackOverflowError.class);
        }
    }

    @Test
    void run_afterClose_isRefused() {
        Workers workers = new Workers(2);
        workers.close();
        assertThatThrownBy(() -> workers.run(worker -> {})).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void shareStart_anySplit_coversEverythingOnceInWholeGrains() {
        for (int items = 0; items < 70; items++) {
            for (int grain = 1; grain < 40; grain += 3) {
                for (int workers = 1; workers <= 9; workers++) {
                    int[] taken = new int[items];
                    for (int worker = 0; worker < workers; worker++) {
                        int from = Workers.shareStart(items, grain, worker, workers);
                        int to = Workers.shareStart(items, grain, worker + 1, workers);
                        assertThat(from == items || from % grain == 0).isTrue();
                        for (int i = from; i < to; i++) {
                            taken[i]++;
                        }
                    }
                    assertThat(Arrays.stream(taken).allMatch(n -> n == 1)).isTrue();
                }
            }
        }
    }

    @Test
    void shareStart_mostItems_doesNotOverflow() {
        assertThat(Workers.shareStart(Integer.MAX_VALUE, 64, 7, 7)).isEqualTo(Integer.MAX_VALUE);
        assertThat(Workers.shareStart(Integer.MAX_VALUE, 64, 1, 7)).isBetween(306_000_000, 307_000_000);
    }
}
