package quire.bench.speculation;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import quire.bench.report.RunRecord;

class SpeculationPageTest {
    @Test
    void of_load_sortsByAcceptanceAndPutsOffAgainstOffLast() {
        String page = SpeculationPage.of(new RunRecord(Map.of(
                "load",
                List.of(
                        Map.of("acceptance", "none: off against off", "sequences", 1),
                        Map.of("acceptance", 0.8, "sequences", 1),
                        Map.of("acceptance", 0.0, "sequences", 4),
                        Map.of("acceptance", 0.0, "sequences", 1)))));
        assertThat(page).containsSubsequence("α = 0.0<", "α = 0.8<", "α = none: off against off<");
    }

    @Test
    void of_rowsOfSeveralRuns_statesTheMeasuredTimeOfEachTable() {
        String page = SpeculationPage.of(new RunRecord(Map.of(
                "costs_seconds",
                9.0,
                "curve",
                List.of(Map.of("seconds_a_case", 2.0), Map.of("seconds_a_case", 5.0)),
                "load",
                List.of(Map.of("seconds_a_case", 4.0), Map.of("sequences", 1)),
                "tasks",
                List.of(Map.of("seconds_a_case", 3.0)))));
        assertThat(page)
                .containsSubsequence(
                        "<h2>Tokens a step",
                        "measured for 2.0 s or more",
                        "<td>2.000</td>",
                        "<td>5.000</td>",
                        "<h2>Never slower",
                        "<h2>One chat",
                        "measured for 3.0 s or more",
                        "<h2>Cost of passes",
                        "measured for 9.0 s, all");
        // One row of the load has no time, so the page states none for this table, and the cell of that row is empty.
        assertThat(page).doesNotContain("measured for 4.0 s");
        assertThat(page.substring(page.indexOf("<h2>Never slower"), page.indexOf("<h2>One chat")))
                .contains("<td>4.000</td>", "<td></td>");
    }
}
