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

/** The governor alone, against a simulated engine whose costs and acceptance are known. */
class GovernorTest {
    private static final int ROOM = 128;

    /** Steps cost {@code fixed + perRow × rows}; guesses are right with a known probability. */
    private static class World {
        final double fixed;
        final double perRow;
        final double[] acceptance; // by sequence
        final CostModel cost;
        final Drafter drafter;
        final Governor governor;
        final Sequence[] sequences;
        final StepDrafts drafts;
        final SplittableRandom random = new SplittableRandom(4);
        /** Tokens of an answer, which the next one follows; 0: it never ends. */
        int answerTokens;
        /** Tokens that the drafter has to compute before its first guess for an answer. */
        int promptTokens = 1;

        /** Sequences that run, from the first one on. */
        int active;
        /** How often a second drafter, which costs nothing, is right; below 0 there is none. */
        double second = -1;

        /** Position from which on no guess is right. */
        int hopeless = Speculation.MAX_DRAFT_TOKENS;

        long secondDraftTokens;

        final boolean[] wasRead;
        double nanos;
        double tokens;
        long draftTokens;

        /** @param passNanos of the drafter; 0 for one that costs nothing */
        World(double fixed, double perRow, double passNanos, double... acceptance) {
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

        /** Nanoseconds that the drafter reads before it guesses for a sequence. */
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

        private void advance(int i, int tokensMore) {
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
            double took = nanos(rows) + drafting + pause();
            nanos += took;
            draftTokens += drafts.total();
            double without = nanos(drafts.size()) * (1 + (double) extra / drafts.size());
            drafts.setTimes((long) took, (long) without);
            learnCost(rows);
            governor.learn(drafts);
            for (int i = 0; i < drafts.size(); i++) {
                advance(i, drafts.accepted(i) + 1);
            }
        }

        /** What a step takes beside its work. */
        double pause() {
            return 0;
        }

        void learnCost(int rows) {
            cost.observe(rows, 0, 0, nanos(rows));
        }

        /** Tokens a second against no drafts at all, once the governor has learnt. */
        double speedup(int steps) {
            for (int i = 0; i < 300; i++) {
                step();
            }
            return speedupFromHere(steps);
        }

        /** Tokens a second against no drafts at all. */
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

        /** The best fixed number of draft tokens. */
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
                    World world = new World(36e6, 14e6, passNanos, all(size, acceptance));
                    assertThat(world.speedup(400))
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
                World world = new World(20e6, perRow, 0, acceptance);
                assertThat(world.speedup(4000))
                        .as("acceptance %s, %s ns a row", acceptance, perRow)
                        .isGreaterThan(0.92 * world.best());
            }
        }
    }

    @Test
    void decide_someArePredictable_onlyTheyAreGuessedFor() {
        World world = new World(20e6, 2e6, 0, 0.95, 0.05, 0.95, 0.05);
        assertThat(world.speedup(500)).isGreaterThan(1.5);
        long[] given = new long[4];
        for (int i = 0; i < 500; i++) {
            world.step();
            for (int k = 0; k < 4; k++) {
                given[k] += world.drafts.count(k);
            }
        }
        assertThat(given[1] + given[3]).isLessThan((given[0] + given[2]) / 20);
    }

    @Test
    void decide_aTextBecomesPredictable_isFoundOut() {
        World world = new World(20e6, 5e6, 0, 0);
        world.speedup(500);
        world.acceptance[0] = 0.95;
        for (int i = 0; i < 1500; i++) {
            world.step();
        }
        assertThat(world.speedup(500)).isGreaterThan(1.3);
    }

    /** Two guesses are nearly always right and the third never. */
    @Test
    void decide_acceptanceFallsWithThePosition_stopsThere() {
        World world = new World(20e6, 2e6, 0, 0.97);
        world.hopeless = 2;
        assertThat(world.speedup(1000)).isGreaterThan(2);
        assertThat(world.draftTokens).isBetween(1800L, 2600L);
    }

    @Test
    void decide_loadRisesAndFalls_draftsGoAndComeBack() {
        World world = new World(20e6, 5e6, 0, all(64, 0.9));
        for (int round = 0; round < 3; round++) {
            world.active = 64;
            assertThat(world.speedup(500)).as("64 in round %d", round).isGreaterThan(0.98);
            assertThat(world.draftTokens).isLessThan(500 * 64 / 20);
            world.active = 1;
            assertThat(world.speedup(500)).as("alone in round %d", round).isGreaterThan(1.8);
        }
    }

    @Test
    void decide_secondDrafterMuchBetter_guesses() {
        World world = new World(20e6, 2e6, 0, 0.3);
        world.second = 0.95;
        assertThat(world.speedup(1000)).isGreaterThan(2);
        assertThat(world.secondDraftTokens).isGreaterThan(world.draftTokens * 9 / 10);
    }

    @Test
    void decide_secondDrafterHardlyBetter_firstGuesses() {
        World world = new World(20e6, 2e6, 0, 0.85);
        world.second = 0.95;
        world.speedup(1000);
        assertThat(world.secondDraftTokens).isLessThan(world.draftTokens / 10);
    }

    @Test
    void decide_rowsCostAsMuchAsSteps_doesWithout() {
        World world = new World(0, 10e6, 0, all(8, 0.9));
        world.speedup(500);
        assertThat(world.draftTokens).isLessThan(500 * 8 / 20);
    }

    @Test
    void decide_sameHistory_decidesTheSame() {
        World one = new World(20e6, 2e6, 1e6, 0.7, 0.3);
        World other = new World(20e6, 2e6, 1e6, 0.7, 0.3);
        for (int i = 0; i < 1000; i++) {
            one.step();
            other.step();
            assertThat(Map.of(0, one.drafts.count(0), 1, one.drafts.count(1)))
                    .isEqualTo(Map.of(0, other.drafts.count(0), 1, other.drafts.count(1)));
        }
    }

    /** Reading a prompt for an answer of a few tokens costs more than its guesses save. */
    @Test
    void decide_shortAnswers_draftModelReadsNoPrompts() {
        World world = new World(80e3, 20e3, 12e3, 0.8);
        world.answerTokens = 8;
        world.promptTokens = 100;
        assertThat(world.speedup(4000)).isGreaterThan(0.97);
        assertThat(world.draftTokens).isLessThan(4000 / 20);
    }

    @Test
    void decide_longAnswers_draftModelReadsTheirPrompts() {
        World world = new World(80e3, 20e3, 12e3, 0.95);
        world.answerTokens = 200;
        world.promptTokens = 100;
        assertThat(world.speedup(4000)).isGreaterThan(1.5);
    }

    /** Half a minute of a model whose steps take long: what may be lost to begin with must not count in steps alone. */
    @Test
    void decide_largeModelNeverRight_losesLittleFromTheStart() {
        for (double acceptance : new double[] {0, 0.2}) {
            World world = new World(36e6, 7e6, 0, all(8, acceptance));
            assertThat(world.speedupFromHere(350))
                    .as("acceptance %s", acceptance)
                    .isGreaterThan(0.97);
        }
    }

    /** Prompts that are long beside their answers, and a draft model that never guesses right. */
    @Test
    void decide_longPromptsNeverRight_losesLittle() {
        World world = new World(10e6, 1e6, 1e6, 0, 0, 0, 0);
        world.answerTokens = 100;
        world.promptTokens = 400;
        assertThat(world.speedupFromHere(4000)).isGreaterThan(0.97);
    }

    /** Steps as short as a tenth of a millisecond; now and then one that a collection of garbage or another program holds up. */
    @Test
    void decide_pauses_goesOnAllTheSame() {
        World world = new World(70e3, 20e3, 0, 0.95) {
            @Override
            double pause() {
                return random.nextInt(500) == 0 ? 8e6 : 0;
            }
        };
        world.speedup(2000);
        long before = world.draftTokens;
        world.speedupFromHere(5000);
        assertThat(world.draftTokens - before).isGreaterThan(2 * 5000);
    }

    /** Where no guess is ever right, trying all the same is a small part of the time. */
    @Test
    void decide_neverRight_triesForLessThanAPercent() {
        World world = new World(70e3, 20e3, 0, 0);
        assertThat(world.speedup(20_000)).isBetween(0.99, 0.999);
    }

    /** Six guesses are best, but eight are hardly worse: to see whether they are costs next to nothing, so it is done often. */
    @Test
    void decide_moreIsHardlyWorse_triesItOften() {
        World world = new World(70e3, 20e3, 0, 0.9);
        world.speedup(500);
        int tries = 0;
        for (int step = 0; step < 5000; step++) {
            world.step();
            tries += world.drafts.total() >= 8 ? 1 : 0;
        }
        assertThat(tries).isGreaterThan(1400);
    }

    /** Whatever the governor is made to believe, the books stop it. */
    @Test
    void decide_costsAreWrong_losesLittle() {
        World world = new World(100e3, 100e3, 0, 0.5) {
            @Override
            void learnCost(int rows) {
                cost.observe(rows, 0, 0, nanos(1)); // rows look free
            }
        };
        assertThat(world.speedup(20_000)).isGreaterThan(0.96);
    }
}
