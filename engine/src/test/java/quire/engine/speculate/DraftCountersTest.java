package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import quire.engine.Answer;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.Requests;
import quire.engine.SpeculationCounts;
import quire.engine.schedule.EngineLoop;
import quire.engine.schedule.StepCost;

/** Counts of drafts whose outcome is known. */
class DraftCountersTest {
    private static final int CONTEXT = 64;

    /** A draft: its drafter, its length, and how many of its tokens are right. */
    private record Draft(int drafter, int tokens, int right) {}

    /** Every length up to 4 with every number of right tokens. So all expected counts differ. */
    private static final List<Draft> DRAFTS = drafts();

    private static List<Draft> drafts() {
        List<Draft> drafts = new ArrayList<>();
        for (int tokens = 1; tokens <= 4; tokens++) {
            for (int right = 0; right <= tokens; right++) {
                drafts.add(new Draft(drafts.size() % 3 == 2 ? 1 : 0, tokens, right));
            }
        }
        return drafts;
    }

    @Test
    void counts_knownDrafts_areExact() {
        Request request =
                Requests.of("abc", 35); // one from the prompt's step, one for each draft, and the accepted ones
        int[] answer = Answer.alone(request, CONTEXT).tokens().stream()
                .mapToInt(Integer::intValue)
                .toArray();
        int promptLength = request.prompt().length;
        Set<Integer> errors = new TreeSet<>();
        int length = promptLength + 1;
        for (Draft draft : DRAFTS) {
            if (draft.right < draft.tokens) {
                errors.add(length + draft.right);
            }
            length += draft.right + 1;
        }
        assertThat(length).isEqualTo(promptLength + answer.length);
        int[] faulty = answer.clone();
        errors.forEach(position -> faulty[position - promptLength]++); // letters, so the next id is in the vocabulary

        SpeculationCounts stats = run(request, errors, faulty);

        assertThat(stats.decisions().subList(0, 6)).containsExactly(1L, 2L, 3L, 4L, 5L, 0L);
        assertThat(stats.draftedAt().subList(0, 5)).containsExactly(14L, 12L, 9L, 5L, 0L);
        assertThat(stats.acceptedAt().subList(0, 5)).containsExactly(10L, 6L, 3L, 1L, 0L);
        assertThat(stats.drafters())
                .containsExactly(
                        new SpeculationCounts.Drafter("model", 10, 28, 15),
                        new SpeculationCounts.Drafter("RIGHT", 4, 12, 5));
        assertThat(stats.draftTokens()).isEqualTo(40);
        assertThat(stats.acceptedTokens()).isEqualTo(20);
    }

    /**
     * Runs {@link #DRAFTS}, with a draft model that is wrong at these positions and a drafter that has a wrong answer.
     */
    private static SpeculationCounts run(Request request, Set<Integer> errors, int[] faulty) {
        EngineConfig config = Requests.config(1, CONTEXT, 16);
        CostModel cost = CostModel.unknown(CONTEXT);
        try (FakeModel model = model();
                FakeModel draft = model().contraryAt(errors::contains)) {
            EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .drafts(context -> {
                        Drafter[] drafters = {
                            new ModelDrafter(draft, cost, StepCost.NONE, 0, context),
                            FakeDrafters.of(FakeDrafters.Kind.RIGHT, sequence -> faulty, new SplittableRandom(1))
                        };
                        return new Speculator(drafters, script(), cost, context);
                    })
                    .nanoClock(() -> 0)
                    .build();
            loop.submit(request);
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
            }
            return loop.tracker().stats().speculation().counts();
        }
    }

    private static FakeModel model() {
        return new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, 4, CONTEXT / 4, CONTEXT, CONTEXT);
    }

    /** Assigns one of {@link #DRAFTS} in each step after the first token. */
    private static DraftPolicy script() {
        Iterator<Draft> next = DRAFTS.iterator();
        return drafts -> {
            if (drafts.size() > 0 && drafts.sequence(0).generated() > 0) {
                Draft draft = next.next();
                drafts.assign(0, draft.drafter, 0, draft.tokens);
            }
        };
    }
}
