package quire.engine;

import java.util.SplittableRandom;
import java.util.function.Function;

/** Drafters for tests: they may look at the right answer, and need not want to help. */
final class Guessers {
    private Guessers() {}

    /** How good the guesses are. */
    enum Kind {
        /** All of them. */
        RIGHT,
        /** None of them. */
        WRONG,
        /** About half. */
        HALF,
        /** The first and the last id of the vocabulary, and ids beyond it. */
        EDGES,
        /** Any id; any number of them, or none. */
        RANDOM
    }

    /** @param answer the tokens that a sequence's answer has when nobody guesses; longer than what comes is fine */
    static Drafter of(Kind kind, Function<Sequence, int[]> answer, SplittableRandom random) {
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
            public int level(Sequence sequence) {
                return random.nextInt(Acceptance.LEVELS);
            }

            @Override
            public void draft(Drafts drafts, int self) {
                for (int i = 0; i < drafts.size(); i++) {
                    if (drafts.drafter(i) == self) {
                        guess(drafts.sequence(i), drafts.count(i));
                    }
                }
            }

            private void guess(Sequence sequence, int count) {
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

    /** Anything from nothing to all that is offered, from anybody. */
    static DraftPolicy anyhow(SplittableRandom random, Drafter[] drafters) {
        return drafts -> {
            int room = drafts.room();
            for (int i = 0; i < drafts.size(); i++) {
                int k = random.nextInt(drafters.length);
                int tokens = Math.min(room, random.nextInt(drafts.offered(i, k) + 1));
                if (tokens > 0) {
                    drafts.give(i, k, drafters[k].level(drafts.sequence(i)), tokens);
                    room -= tokens;
                }
            }
        };
    }
}
