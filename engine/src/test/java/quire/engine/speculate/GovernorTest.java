package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import quire.engine.Speculation;
import quire.engine.schedule.Sequence;
import quire.engine.schedule.Sequences;

/** The governor alone, with a simulated engine whose costs and acceptance are known. */
class GovernorTest {
    private static final int ROOM = 128;

    /**
     * A simulated engine. A step costs {@code fixed + perRow × rows}; draft tokens are right with a known probability.
     */
    private static class Simulation {
        final double fixed;
        final double perRow;
        final double[] acceptance; // by sequence
        final CostModel cost;
        final Drafter drafter;
        final Governor governor;
        final Sequence[] sequences;
        final StepDrafts drafts;
        final SplittableRandom random = new SplittableRandom(4);
        /** Tokens of an answer, after which the next one starts; 0 for an endless answer. */
        int answerTokens;
        /** Tokens that the drafter has to compute before its first draft for an answer. */
        int promptTokens = 1;

        /** Number of running sequences: the first ones of {@link #sequences}. */
        int active;
        /** Acceptance of a second drafter, which costs nothing; below 0 for none. */
        double second = -1;

        /** First position at which no draft token is right. */
        int hopeless = Speculation.MAX_DRAFT_TOKENS;

        long secondDraftTokens;

        final boolean[] wasRead;
        double nanos;
        double tokens;
        long draftTokens;

        /** @param passNanos cost of the drafter's passes; 0 for a drafter without passes */
        Simulation(double fixed, double perRow, double passNanos, double... acceptance) {
            this.fixed = fixed;
            this.perRow = perRow;
            this.acceptance = acceptance;
            int size = acceptance.length;
            active = size;
            cost = new CostModel(512, fixed + perRow);
            for (int i = 0; i < 60; i++) {
                for (int rows = 1; rows <= 256; rows++) {
                    cost.observe(rows, 0, 0, nanos(rows));
                }
            }
            drafter = drafter(passNanos);
            governor = new Governor(new Drafter[] {drafter, drafter(0)}, cost, size);
            sequences = new Sequence[size];
            wasRead = new boolean[size];
            for (int i = 0; i < size; i++) {
                begin(i);
            }
            drafts = new StepDrafts(size, 2);
        }

        private void begin(int i) {
            sequences[i] = Sequences.started(new int[] {1}, 1000);
            wasRead[i] = false;
        }

        /** Nanoseconds that the drafter needs to catch up with a sequence. */
        private double read(int i) {
            CostModel own = drafter.cost();
            if (own == null || drafts.count(i) == 0 || drafts.drafter(i) == 1) {
                return 0;
            }
            int tokens = wasRead[i] ? 1 : promptTokens;
            wasRead[i] = true;
            drafts.setCatchUp(i, tokens);
            return tokens == 1 ? 0 : own.predict(tokens);
        }

        private void append(int i, int tokensMore) {
            for (int k = 0; k < tokensMore && answerTokens > 0; k++) {
                Sequences.append(sequences[i], 1);
                if (sequences[i].generated() == answerTokens) {
                    governor.ended(sequences[i]);
                    begin(i);
                    break;
                }
            }
        }

        long nanos(int rows) {
            return (long) (fixed + perRow * rows);
        }

        private Drafter drafter(double passNanos) {
            @Nullable CostModel own = passNanos == 0 ? null : new CostModel(512, passNanos);
            return new Drafter() {
                @Override
                public String name() {
                    return "simulated";
                }

                @Override
                public int offer(Sequence sequence, int most) {
                    return most;
                }

                @Override
                public int confidence(Sequence sequence) {
                    return 0;
                }

                @Override
                public @Nullable CostModel cost() {
                    return own;
                }

                @Override
                public int lag(Sequence sequence) {
                    return own == null ? 0 : wasRead[Arrays.asList(sequences).indexOf(sequence)] ? 1 : promptTokens;
                }

                @Override
                public void draft(StepDrafts drafts, int self) {}
            };
        }

        void step() {
            drafts.begin(active, 0, 0, ROOM);
            for (int i = 0; i < active; i++) {
                drafts.add(sequences[i], i);
                drafts.setOffer(i, 0, Speculation.MAX_DRAFT_TOKENS);
                drafts.setOffer(i, 1, second < 0 ? 0 : Speculation.MAX_DRAFT_TOKENS);
            }
            governor.decide(drafts);
            assertThat(drafts.total()).isLessThanOrEqualTo(ROOM);
            double drafting = 0;
            CostModel own = drafter.cost();
            for (int level = 0; level < Speculation.MAX_DRAFT_TOKENS && own != null; level++) {
                int members = 0;
                for (int i = 0; i < drafts.size(); i++) {
                    members += drafts.count(i) > level && drafts.drafter(i) == 0 ? 1 : 0;
                }
                drafting += own.predict(members);
            }
            int rows = drafts.rows() + drafts.total();
            tokens += drafts.size();
            int extra = 0;
            for (int i = 0; i < drafts.size(); i++) {
                int accepted = 0;
                while (accepted < drafts.count(i)
                        && random.nextDouble()
                                < (drafts.drafter(i) == 1 ? second : accepted < hopeless ? acceptance[i] : 0)) {
                    accepted++;
                }
                secondDraftTokens += drafts.drafter(i) == 1 ? drafts.count(i) : 0;
                drafts.setVerified(i, accepted, Math.min(drafts.count(i), accepted + 1));
                tokens += accepted;
                extra += accepted;
            }
            for (int i = 0; i < drafts.size(); i++) {
                drafting += read(i);
            }
            double took = nanos(rows) + drafting + delay();
            nanos += took;
            draftTokens += drafts.total();
            double without = nanos(drafts.size()) * (1 + (double) extra / drafts.size());
            drafts.setTimes((long) took, (long) without);
            learnCost(rows);
            governor.learn(drafts);
            for (int i = 0; i < drafts.size(); i++) {
                append(i, drafts.accepted(i) + 1);
            }
        }

        /** Nanoseconds that an external delay adds to a step. */
        double delay() {
            return 0;
        }

        void learnCost(int rows) {
            cost.observe(rows, 0, 0, nanos(rows));
        }

        /** Tokens a second relative to no drafts, after the governor has learnt. */
        double speedup(int steps) {
            for (int i = 0; i < 300; i++) {
                step();
            }
            return speedupFromHere(steps);
        }

        /** Tokens a second relative to no drafts. */
        double speedupFromHere(int steps) {
            nanos = 0;
            tokens = 0;
            draftTokens = 0;
            secondDraftTokens = 0;
            for (int i = 0; i < steps; i++) {
                step();
            }
            return tokens / nanos * nanos(active) / active;
        }

        /** The speed-up of the best fixed number of draft tokens. */
        double best() {
            double best = 1;
            double alpha = acceptance[0];
            int size = sequences.length;
            for (int d = 1; d <= Speculation.MAX_DRAFT_TOKENS; d++) {
                double expected = 0;
                for (int p = 0; p <= d; p++) {
                    expected += StrictMath.pow(alpha, p);
                }
                CostModel own = drafter.cost();
                double drafting = own == null ? 0 : d * own.predict(size);
                if (size * (d + 1) - size <= ROOM) {
                    best = Math.max(best, expected * nanos(size) / (nanos(size * (d + 1)) + drafting));
                }
            }
            return best;
        }
    }

    private static double[] all(int size, double acceptance) {
        double[] values = new double[size];
        Arrays.fill(values, acceptance);
        return values;
    }

    @Test
    void decide_anyLoadAndAcceptance_isNeverMuchSlowerThanOff() {
        for (int size : new int[] {1, 2, 4, 8, 16, 32, 64}) {
            for (double acceptance : new double[] {0, 0.2, 0.4, 0.6, 0.8, 0.9, 1}) {
                for (double passNanos : new double[] {0, 3e6}) {
                    Simulation simulation = new Simulation(36e6, 14e6, passNanos, all(size, acceptance));
                    assertThat(simulation.speedup(400))
                            .as("%d sequences, acceptance %s, a draft pass of %s ns", size, acceptance, passNanos)
                            .isGreaterThan(0.975);
                }
            }
        }
    }

    @Test
    void decide_oneCostOneAcceptance_isNearTheBestFixedNumber() {
        for (double acceptance : new double[] {0.3, 0.5, 0.7, 0.9, 0.97}) {
            for (double perRow : new double[] {1e5, 1e6, 5e6}) {
                Simulation simulation = new Simulation(20e6, perRow, 0, acceptance);
                assertThat(simulation.speedup(4000))
                        .as("acceptance %s, %s ns a row", acceptance, perRow)
                        .isGreaterThan(0.92 * simulation.best());
            }
        }
    }

    @Test
    void decide_someArePredictable_onlyTheyGetDrafts() {
        Simulation simulation = new Simulation(20e6, 2e6, 0, 0.95, 0.05, 0.95, 0.05);
        assertThat(simulation.speedup(500)).isGreaterThan(1.5);
        long[] given = new long[4];
        for (int i = 0; i < 500; i++) {
            simulation.step();
            for (int k = 0; k < 4; k++) {
                given[k] += simulation.drafts.count(k);
            }
        }
        assertThat(given[1] + given[3]).isLessThan((given[0] + given[2]) / 20);
    }

    @Test
    void decide_aTextBecomesPredictable_isDiscovered() {
        Simulation simulation = new Simulation(20e6, 5e6, 0, 0);
        simulation.speedup(500);
        simulation.acceptance[0] = 0.95;
        for (int i = 0; i < 1500; i++) {
            simulation.step();
        }
        assertThat(simulation.speedup(500)).isGreaterThan(1.3);
    }

    /** Two draft tokens are nearly always right, the third never. */
    @Test
    void decide_acceptanceFallsWithThePosition_stopsThere() {
        Simulation simulation = new Simulation(20e6, 2e6, 0, 0.97);
        simulation.hopeless = 2;
        assertThat(simulation.speedup(1000)).isGreaterThan(2);
        assertThat(simulation.draftTokens).isBetween(1800L, 2600L);
    }

    @Test
    void decide_loadRisesAndFalls_draftsStopAndReturn() {
        Simulation simulation = new Simulation(20e6, 5e6, 0, all(64, 0.9));
        for (int round = 0; round < 3; round++) {
            simulation.active = 64;
            assertThat(simulation.speedup(500)).as("64 in round %d", round).isGreaterThan(0.98);
            assertThat(simulation.draftTokens).isLessThan(500 * 64 / 20);
            simulation.active = 1;
            assertThat(simulation.speedup(500)).as("alone in round %d", round).isGreaterThan(1.8);
        }
    }

    @Test
    void decide_secondDrafterMuchBetter_isUsed() {
        Simulation simulation = new Simulation(20e6, 2e6, 0, 0.3);
        simulation.second = 0.95;
        assertThat(simulation.speedup(1000)).isGreaterThan(2);
        assertThat(simulation.secondDraftTokens).isGreaterThan(simulation.draftTokens * 9 / 10);
    }

    @Test
    void decide_secondDrafterHardlyBetter_firstIsUsed() {
        Simulation simulation = new Simulation(20e6, 2e6, 0, 0.85);
        simulation.second = 0.95;
        simulation.speedup(1000);
        assertThat(simulation.secondDraftTokens).isLessThan(simulation.draftTokens / 10);
    }

    @Test
    void decide_rowsCostAsMuchAsSteps_usesNoDrafts() {
        Simulation simulation = new Simulation(0, 10e6, 0, all(8, 0.9));
        simulation.speedup(500);
        assertThat(simulation.draftTokens).isLessThan(500 * 8 / 20);
    }

    @Test
    void decide_sameHistory_decidesTheSame() {
        Simulation one = new Simulation(20e6, 2e6, 1e6, 0.7, 0.3);
        Simulation other = new Simulation(20e6, 2e6, 1e6, 0.7, 0.3);
        for (int i = 0; i < 1000; i++) {
            one.step();
            other.step();
            assertThat(Map.of(0, one.drafts.count(0), 1, one.drafts.count(1)))
                    .isEqualTo(Map.of(0, other.drafts.count(0), 1, other.drafts.count(1)));
        }
    }

    /** Reading a prompt costs more than drafts save in an answer of a few tokens. */
    @Test
    void decide_shortAnswers_draftModelReadsNoPrompts() {
        Simulation simulation = new Simulation(80e3, 20e3, 12e3, 0.8);
        simulation.answerTokens = 8;
        simulation.promptTokens = 100;
        assertThat(simulation.speedup(4000)).isGreaterThan(0.97);
        assertThat(simulation.draftTokens).isLessThan(4000 / 20);
    }

    @Test
    void decide_longAnswers_draftModelReadsTheirPrompts() {
        Simulation simulation = new Simulation(80e3, 20e3, 12e3, 0.95);
        simulation.answerTokens = 200;
        simulation.promptTokens = 100;
        assertThat(simulation.speedup(4000)).isGreaterThan(1.5);
    }

    /** Half a minute of a model with long steps: the initial budget must be limited in time, and not only in steps. */
    @Test
    void decide_largeModelNeverRight_losesLittleFromTheStart() {
        for (double acceptance : new double[] {0, 0.2}) {
            Simulation simulation = new Simulation(36e6, 7e6, 0, all(8, acceptance));
            assertThat(simulation.speedupFromHere(350))
                    .as("acceptance %s", acceptance)
                    .isGreaterThan(0.97);
        }
    }

    /** Prompts that are longer than their answers, and a draft model that is never right. */
    @Test
    void decide_longPromptsNeverRight_losesLittle() {
        Simulation simulation = new Simulation(10e6, 1e6, 1e6, 0, 0, 0, 0);
        simulation.answerTokens = 100;
        simulation.promptTokens = 400;
        assertThat(simulation.speedupFromHere(4000)).isGreaterThan(0.97);
    }

    /** Steps of about 0.1 ms; sometimes garbage collection or another program delays one by 8 ms. */
    @Test
    void decide_delayedSteps_stillDrafts() {
        Simulation simulation = new Simulation(70e3, 20e3, 0, 0.95) {
            @Override
            double delay() {
                return random.nextInt(500) == 0 ? 8e6 : 0;
            }
        };
        simulation.speedup(2000);
        long before = simulation.draftTokens;
        simulation.speedupFromHere(5000);
        assertThat(simulation.draftTokens - before).isGreaterThan(2 * 5000);
    }

    /** If no draft token is ever right, probes take a small share of the time. */
    @Test
    void decide_neverRight_exploresForLessThanAPercent() {
        Simulation simulation = new Simulation(70e3, 20e3, 0, 0);
        assertThat(simulation.speedup(20_000)).isBetween(0.99, 0.999);
    }

    /**
     * Six draft tokens are best, but eight are hardly worse. Probing eight costs almost nothing, so it happens often.
     */
    @Test
    void decide_moreIsHardlyWorse_exploresItOften() {
        Simulation simulation = new Simulation(70e3, 20e3, 0, 0.9);
        simulation.speedup(500);
        int probes = 0;
        for (int step = 0; step < 5000; step++) {
            simulation.step();
            probes += simulation.drafts.total() >= 8 ? 1 : 0;
        }
        assertThat(probes).isGreaterThan(1400);
    }

    /** The overhead budget limits the loss, even if the cost model is wrong. */
    @Test
    void decide_costsAreWrong_losesLittle() {
        Simulation simulation = new Simulation(100e3, 100e3, 0, 0.5) {
            @Override
            void learnCost(int rows) {
                cost.observe(rows, 0, 0, nanos(1)); // so the model predicts that rows cost nothing
            }
        };
        assertThat(simulation.speedup(20_000)).isGreaterThan(0.96);
    }
}
