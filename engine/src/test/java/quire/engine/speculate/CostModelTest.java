package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.model.Batch;

class CostModelTest {
    private static long cost(int rows) {
        return 1000 + 40L * rows + (rows > 16 ? 100L * (rows - 16) : 0);
    }

    @Test
    void observe_anyOrder_learnsTheCurve() {
        CostModel model = new CostModel(512, 50);
        SplittableRandom random = new SplittableRandom(1);
        for (int i = 0; i < 20_000; i++) {
            int rows = 1 + random.nextInt(128);
            model.observe(rows, 0, 0, cost(rows));
        }
        for (int rows = 1; rows <= 128; rows++) {
            assertThat(model.predict(rows)).isCloseTo((double) cost(rows), Percentage.withPercentage(4));
        }
    }

    @Test
    void observe_everythingSlowsDown_unmeasuredSizesSlowDownToo() {
        CostModel model = new CostModel(64, 1000);
        double before = model.predict(40);
        for (int i = 0; i < 200; i++) {
            model.observe(1, 0, 0, 3000);
        }
        assertThat(model.predict(1)).isCloseTo(3000, within(1.0));
        assertThat(model.predict(40)).isGreaterThan(1.05 * before);
    }

    @Test
    void observe_oneDelayedPass_isIgnored() {
        CostModel model = new CostModel(64, 1000);
        model.observe(4, 0, 0, 1_000_000_000_000L);
        assertThat(model.predict(4)).isLessThan(2.2 * 1900);
        model.observe(4, 0, 0, -1); // a clock that went backwards is ignored
        assertThat(model.predict(4)).isLessThan(2.2 * 1900);
    }

    @Test
    void observe_besideASizeThatWasMuchSlower_staysTheObservedTime() {
        CostModel model = new CostModel(512, 1000);
        for (int i = 0; i < 9; i++) {
            model.observe(72, 0, 0, 1_000_000_000_000L);
        }
        for (int i = 0; i < 5000; i++) {
            model.observe(67, 0, 0, 20_000);
        }
        assertThat(model.predict(64)).isBetween(15_000.0, 20_000.0);
    }

    @Test
    void measure_oneSizeDelayed_doesNotMakeSmallSizesCheap() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 16, 32, 512, 2);
        fake.onForward(batch -> nanos.addAndGet(cost(batch.rows()) * (batch.rows() == 256 ? 1000 : 1)));
        CostModel model = CostModel.measure(fake, 512, nanos::get, 1_000_000_000);
        fake.close();
        for (int i = 0; i < 9; i++) {
            model.observe(256, 0, 0, cost(256));
        }
        assertThat(model.predict(1)).isBetween(cost(1) / 20.0, 2.0 * cost(1));
    }

    @Test
    void observe_impossiblyShortPass_predictionStaysAboveZero() {
        CostModel model = new CostModel(64, 1e6);
        for (int i = 0; i < 9; i++) {
            model.observe(1, 0, 0, 1);
        }
        assertThat(model.predict(1)).isCloseTo(1e3, within(1.0)); // a thousandth of the start's value
    }

    @Test
    void observe_manyDelaysFromTheStart_staysNearTheObservedTimes() {
        for (int seed = 0; seed < 30; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            AtomicLong nanos = new AtomicLong();
            FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 16, 32, 512, 2);
            fake.onForward(batch -> nanos.addAndGet(delayed(random, cost(batch.rows()))));
            CostModel model = CostModel.measure(fake, 512, nanos::get, 3_000_000);
            fake.close();
            for (int i = 0; i < 20_000; i++) {
                int rows = random.nextInt(4) > 0 ? 1 + random.nextInt(8) : 1 + random.nextInt(512);
                model.observe(rows, 40L * rows, 40L * rows, delayed(random, cost(rows)));
                assertThat(model.predict(rows)).isBetween(cost(1) / 2000.0, 1e11);
            }
        }
    }

    /** One pass in ten takes up to ten thousand times as long, as on a machine that others use. */
    private static long delayed(SplittableRandom random, long nanos) {
        return random.nextInt(10) > 0 ? nanos : (long) (nanos * Math.pow(10, 4 * random.nextDouble()));
    }

    @Test
    void predict_anyRows_liesBetweenItsNeighbours() {
        CostModel model = new CostModel(500, 1000);
        for (int rows = 1; rows < 600; rows++) {
            assertThat(model.predict(rows + 1)).isGreaterThanOrEqualTo(model.predict(rows));
        }
        assertThat(model.predict(0)).isZero();
    }

    @Test
    void measure_modelAndClock_findsTheCostOfRows() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 64, 16, 4, 64, 2);
        fake.onForward(batch -> nanos.addAndGet(cost(batch.rows()) + 3 * context(batch) + 5 * seen(batch)));
        CostModel model = CostModel.measure(fake, 64, nanos::get, 1_000_000);
        fake.close();
        for (int rows : new int[] {1, 2, 4, 8, 12, 16, 32, 64}) {
            assertThat(model.predict(rows)).isCloseTo((double) cost(rows), within(4.0));
            assertThat(model.predict(rows, 400, 1000)).isCloseTo(cost(rows) + 6200.0, within(8.0));
        }
    }

    /** Positions of the batch's only sequence. */
    private static long context(Batch batch) {
        return batch.positions()[batch.rows() - 1] + 1L;
    }

    /** Positions that the rows of a batch attend to, summed; each row attends to itself too. */
    private static long seen(Batch batch) {
        return Arrays.stream(batch.positions(), 0, batch.rows())
                .mapToLong(position -> position + 1L)
                .sum();
    }

    /** A large model, for which the time is over before arithmetic binds: 20 ms for up to 6 rows, then 3.3 ms a row. */
    @Test
    void measure_onlySizesBoundByReading_doesNotMakeLargeStepsCheap() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 16, 32, 512, 2);
        fake.onForward(batch -> nanos.addAndGet(Math.max(20_000_000, 3_300_000L * batch.rows())));
        CostModel model = CostModel.measure(fake, 512, nanos::get, 100_000_000); // 1, 2 and 4 rows
        fake.close();
        assertThat(model.predict(4)).isCloseTo(20_000_000, within(10_000.0));
        assertThat(model.predict(8)).isBetween(20_000_000.0, 50_000_000.0);
        for (int rows : new int[] {64, 200, 512}) {
            assertThat(model.predict(rows)).isBetween(3_300_000.0 * rows, 2 * 3_300_000.0 * rows);
        }
    }

    /** Where a measured size shows the cost of arithmetic, its slope counts. */
    @Test
    void measure_arithmeticBinds_extrapolatesItsSlope() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 512, 16, 32, 512, 2);
        fake.onForward(batch -> nanos.addAndGet(Math.max(20_000_000, 1_000_000L * batch.rows())));
        CostModel model = CostModel.measure(fake, 512, nanos::get, 400_000_000); // up to 64 rows
        fake.close();
        assertThat(model.predict(512)).isCloseTo(512_000_000.0, within(140_000_000.0));
    }

    @Test
    void measure_noTime_measuresTwoSizesOnce() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 64, 16, 4, 64, 2);
        fake.onForward(batch -> nanos.addAndGet(1000));
        CostModel model = CostModel.measure(fake, 64, nanos::get, 500);
        fake.close();
        assertThat(nanos).hasValue(2000);
        assertThat(model.predict(1)).isCloseTo(1000, within(2.0));
        assertThat(model.predict(2)).isCloseTo(1000, within(3.0)); // equal, so reading binds
        assertThat(model.predict(64)).isCloseTo(16_000, within(2.0)); // a quarter of a row each
    }

    /** Attention costs time. Texts of different lengths show how much. */
    @Test
    void observe_differentContexts_separatesRowsFromPositions() {
        CostModel model = new CostModel(64, 100);
        SplittableRandom random = new SplittableRandom(2);
        for (int i = 0; i < 20_000; i++) {
            int rows = 1 + random.nextInt(8);
            long positions = (long) rows * random.nextInt(4000);
            model.observe(rows, positions, positions, cost(rows) + positions / 2);
        }
        for (int rows = 1; rows <= 8; rows++) {
            for (long context : new long[] {0, 1000, 4000}) {
                assertThat(model.predict(rows, rows * context))
                        .as("%d rows after %d tokens", rows, context)
                        .isCloseTo(cost(rows) + rows * context / 2.0, Percentage.withPercentage(6));
            }
        }
    }

    /** Batches of N rows and of N + 1 rows, for one draft token, have different costs. */
    @Test
    void observe_mostlyOneRowMore_keepsBothCosts() {
        CostModel model = new CostModel(256, 100);
        for (int i = 0; i < 1000; i++) {
            int rows = i % 10 == 0 ? 32 : 33;
            model.observe(rows, 0, 0, rows == 32 ? 5000 : 5400);
        }
        assertThat(model.predict(32)).isCloseTo(5000, within(1.0));
        assertThat(model.predict(33)).isCloseTo(5400, within(1.0));
    }

    /** Draft tokens share the context of their sequence, so a further row costs less than the first. */
    @Test
    void observe_rowsThatShareAContext_separatesContextsFromPositions() {
        CostModel model = new CostModel(64, 100);
        SplittableRandom random = new SplittableRandom(2);
        for (int i = 0; i < 20_000; i++) {
            long context = random.nextInt(1000);
            int rows = i % 2 == 0 ? 1 : 1 + random.nextInt(8);
            model.observe(rows, context, rows * context, cost(rows) + 2 * context + rows * context / 4);
        }
        for (int rows = 1; rows <= 8; rows++) {
            for (long context : new long[] {0, 300, 1000}) {
                assertThat(model.predict(rows, context, rows * context))
                        .as("%d rows after %d tokens", rows, context)
                        .isCloseTo(cost(rows) + 2 * context + rows * context / 4.0, Percentage.withPercentage(6));
            }
        }
    }

    /**
     * A coefficient cannot be negative: if the coefficient of contexts would be, the coefficient of positions becomes
     * smaller.
     */
    @Test
    void observe_contextSeemsToSaveTime_keepsCoefficientsNonNegative() {
        CostModel model = new CostModel(64, 100);
        SplittableRandom random = new SplittableRandom(2);
        for (int i = 0; i < 20_000; i++) {
            long context = random.nextInt(1000);
            int rows = 1 + random.nextInt(4);
            model.observe(rows, context, rows * context, cost(rows) + ((long) rows * rows * context) / 8);
        }
        assertThat(model.predict(1, 1000, 1000)).isGreaterThanOrEqualTo(model.predict(1));
        assertThat(model.predict(4, 1000, 4000)).isGreaterThan(model.predict(4, 1000, 2000));
    }

    @Test
    void measure_longContext_findsTheCoefficients() {
        AtomicLong nanos = new AtomicLong();
        FakeModel fake = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 64, 16, 4, 64, 8);
        fake.onForward(batch -> {
            long positions = 0;
            for (int row = 0; row < batch.rows(); row++) {
                positions += batch.positions()[row];
            }
            nanos.addAndGet(cost(batch.rows()) + 3 * positions);
        });
        CostModel model = CostModel.measure(fake, 64, nanos::get, 1_000_000);
        fake.close();
        assertThat(model.predict(2, 1000) - model.predict(2)).isCloseTo(3000, Percentage.withPercentage(10));
    }

    /**
     * The start measures ten times too much. Passes correct the sizes that run, the other sizes, and a following model.
     */
    @Test
    void observe_everythingGetsFaster_ratiosStay() {
        CostModel model = new CostModel(64, 10_000);
        CostModel draft = new CostModel(64, 1000).follows(model);
        double ratio = model.predict(8) / model.predict(1);
        for (int i = 0; i < 500; i++) {
            model.observe(1, 0, 0, 1000);
        }
        assertThat(model.predict(1)).isCloseTo(1000, Percentage.withPercentage(1));
        assertThat(model.predict(8) / model.predict(1)).isCloseTo(ratio, Percentage.withPercentage(1));
        assertThat(draft.predict(1)).isCloseTo(100, Percentage.withPercentage(5));
    }

    /** Alternates 100 passes of one row with passes of another size. */
    private static CostModel oneRowAnd(int rows, long nanos, int times) {
        CostModel model = new CostModel(64, 100);
        for (int i = 0; i < times; i++) {
            model.observe(1, 0, 0, 100);
            model.observe(rows, 0, 0, nanos);
        }
        return model;
    }

    /** The first passes of a size are slow, because workers sleep. Later passes replace them. */
    @Test
    void observe_oneSizeGetsCheaper_isLearntInAFewPasses() {
        CostModel model = oneRowAnd(4, 390, 50);
        for (int i = 0; i < 5; i++) {
            model.observe(4, 0, 0, 150);
        }
        assertThat(model.predict(4)).isCloseTo(150, within(1.0));
        assertThat(model.predict(1)).isCloseTo(100, within(1.0));
    }

    @Test
    void predict_muchMoreThanOneByOne_isLimited() {
        CostModel model = oneRowAnd(4, 3000, 50);
        assertThat(model.predict(4)).isCloseTo(400, within(1.0));
        for (int i = 0; i < 5; i++) {
            model.observe(4, 0, 0, 150);
        }
        assertThat(model.predict(4)).as("the exaggerated cost is forgotten").isCloseTo(150, within(1.0));
    }

    @Test
    void observe_largerPassCostsLess_removesTheOldCostOfTheSmaller() {
        CostModel model = oneRowAnd(3, 290, 50);
        for (int i = 0; i < 20; i++) {
            model.observe(5, 0, 0, 200);
        }
        assertThat(model.predict(3)).isLessThanOrEqualTo(200);
        assertThat(model.predict(4)).isLessThanOrEqualTo(200);
    }

    @Test
    void observe_sizeUnusedForLong_isForgotten() {
        CostModel fresh = new CostModel(64, 100);
        double ratio = fresh.predict(8) / fresh.predict(1);
        CostModel model = oneRowAnd(8, 790, 20);
        for (int i = 0; i < 1 << 15; i++) {
            model.observe(1, 0, 0, 100);
        }
        assertThat(model.predict(8) / model.predict(1)).isCloseTo(ratio, Percentage.withPercentage(1));
    }
}
