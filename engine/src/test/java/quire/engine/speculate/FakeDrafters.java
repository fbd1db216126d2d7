package quire.engine.speculate;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Function;
import quire.engine.FakeTokenizer;
import quire.engine.schedule.DraftSource;
import quire.engine.schedule.Sequence;
import quire.engine.schedule.StepLimits;
import quire.model.Model;

/** Drafters for tests. They have the right answer, and propose right or wrong draft tokens on purpose. */
public final class FakeDrafters {
    private FakeDrafters() {}

    /** How good the draft tokens are. */
    public enum Kind {
        /** All are right. */
        RIGHT,
        /** None is right. */
        WRONG,
        /** About half are right. */
        HALF,
        /** The first and the last id of the vocabulary, and ids outside it. */
        EDGES,
        /** Random ids; a random number of them, or none. */
        RANDOM
    }

    /**
     * A drafter of one kind.
     *
     * @param answer the tokens that a sequence's answer has without speculation; may be longer than what is asked for
     */
    public static Drafter of(Kind kind, Function<Sequence, int[]> answer, SplittableRandom random) {
        return new Drafter() {
            @Override
            public String name() {
                return kind.toString();
            }

            @Override
            public int offer(Sequence sequence, int most) {
                return kind == Kind.RANDOM ? random.nextInt(most + 1) : most;
            }

            @Override
            public int confidence(Sequence sequence) {
                return random.nextInt(AcceptanceRate.CONFIDENCE_LEVELS);
            }

            @Override
            public void draft(StepDrafts drafts, int self) {
                for (int i = 0; i < drafts.size(); i++) {
                    if (drafts.drafter(i) == self) {
                        write(drafts.sequence(i), drafts.count(i));
                    }
                }
            }

            private void write(Sequence sequence, int count) {
                int[] right = answer.apply(sequence);
                for (int i = 0; i < count; i++) {
                    int at = sequence.generated() + i;
                    int token = at < right.length ? right[at] : random.nextInt(FakeTokenizer.VOCABULARY_SIZE);
                    sequence.tokens()[sequence.length() + i] = switch (kind) {
                        case RIGHT -> token;
                        case WRONG -> (token + 1) % FakeTokenizer.VOCABULARY_SIZE;
                        case HALF -> random.nextBoolean() ? token : (token + 1) % FakeTokenizer.VOCABULARY_SIZE;
                        case EDGES ->
                            switch (random.nextInt(6)) {
                                case 0 -> 0;
                                case 1 -> FakeTokenizer.VOCABULARY_SIZE - 1;
                                case 2 -> random.nextInt(4) == 0 ? -1 : token;
                                case 3 -> random.nextInt(4) == 0 ? FakeTokenizer.VOCABULARY_SIZE : token;
                                case 4 -> random.nextInt(4) == 0 ? Integer.MAX_VALUE : token;
                                default -> token;
                            };
                        case RANDOM -> random.nextInt(FakeTokenizer.VOCABULARY_SIZE);
                    };
                }
            }
        };
    }

    /** Assigns a random number of draft tokens, up to the offer, from a random drafter. */
    public static DraftPolicy random(SplittableRandom random, Drafter[] drafters) {
        return drafts -> {
            int room = drafts.room();
            for (int i = 0; i < drafts.size(); i++) {
                int k = random.nextInt(drafters.length);
                int tokens = Math.min(room, random.nextInt(drafts.offered(i, k) + 1));
                if (tokens > 0) {
                    drafts.assign(i, k, drafters[k].confidence(drafts.sequence(i)), tokens);
                    room -= tokens;
                }
            }
        };
    }

    /**
     * A source with random drafters in random order, under a random policy.
     *
     * @param draft the model of those drafters that have one
     * @param answer as in {@link #of}
     */
    public static DraftSource randomSource(
            SplittableRandom random, Model draft, Function<Sequence, int[]> answer, DraftSource.Context context) {
        StepLimits limits = context.limits();
        CostModel cost = new CostModel(limits.tokens(), 1 + random.nextInt(1000));
        Drafter[] drafters = new Drafter[1 + random.nextInt(AcceptanceRate.MAX_DRAFTERS)];
        for (int k = 0; k < drafters.length; k++) {
            drafters[k] = switch (random.nextInt(4)) {
                case 0 -> new LookupDrafter();
                case 1 -> new ModelDrafter(draft, new CostModel(limits.tokens(), 1 + random.nextInt(100)), context);
                default -> of(Kind.values()[random.nextInt(Kind.values().length)], answer, random);
            };
        }
        DraftPolicy policy =
                switch (random.nextInt(4)) {
                    case 0 -> new Governor(drafters, cost, limits.sequences());
                    case 1 -> random(random, drafters);
                    default -> DraftPolicy.always(List.of(1, 4, 8, 16).get(random.nextInt(4)), drafters);
                };
        return new Speculator(drafters, policy, cost, context);
    }
}
