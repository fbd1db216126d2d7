package quire.bench.measure;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import quire.engine.DiskTierStats;
import quire.engine.EngineStats;
import quire.engine.PrefixCacheStats;
import quire.engine.SavedStateStats;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;

/** Conversion of an engine's counters to a row of a table. */
class PairedSpeedTest {
    private static final EngineStats BEFORE = stats(7, List.of(7L, 0L, 0L, 0L, 0L), 0, 0);

    @Test
    void draftCounts_draftsInThePromptsLastStep_countAsTurns() {
        // Ten answers of seven tokens; four draft tokens a turn, all right: five tokens in the prompt's last step, then
        // two.
        EngineStats after = stats(77, List.of(7L, 10L, 0L, 0L, 10L), 50, 50);
        Map<String, Object> row = row(BEFORE, after);
        assertThat(row)
                .containsEntry("tokens_a_turn", 3.5)
                .containsEntry("draft_tokens_a_turn", 2.5)
                .containsEntry("accepted_share", 1.0);
    }

    @Test
    void draftCounts_draftsBehindTheEnd_addNoTokens() {
        // The second of three draft tokens is the end of the answer, so each turn generates two tokens.
        EngineStats after = stats(27, List.of(7L, 0L, 0L, 10L, 0L), 30, 20);
        assertThat(row(BEFORE, after)).containsEntry("tokens_a_turn", 2.0).containsEntry("draft_tokens_a_turn", 3.0);
    }

    @Test
    void draftCounts_noDrafter_oneTokenATurn() {
        SpeculationStats none = SpeculationStats.NONE;
        Map<String, Object> row = row(stats(5, none), stats(50, none));
        assertThat(row).containsEntry("tokens_a_turn", 1.0).containsEntry("accepted_share", 0.0);
    }

    private static Map<String, Object> row(EngineStats before, EngineStats after) {
        PairedSpeed.DraftCounts counts = new PairedSpeed.DraftCounts();
        counts.add(before, after);
        return counts.row();
    }

    private static EngineStats stats(long generated, List<Long> decisions, long drafted, long accepted) {
        List<SpeculationCounts.Drafter> drafters = List.of(new SpeculationCounts.Drafter("test", 0, drafted, accepted));
        return stats(
                generated,
                new SpeculationStats(new SpeculationCounts(drafters, decisions, List.of(), List.of(), 0, 0), 0, 0));
    }

    private static EngineStats stats(long generated, SpeculationStats speculation) {
        return new EngineStats(
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                Map.of(),
                0,
                0,
                0,
                generated,
                0,
                0,
                speculation,
                PrefixCacheStats.NONE,
                SavedStateStats.NONE,
                DiskTierStats.NONE);
    }
}
