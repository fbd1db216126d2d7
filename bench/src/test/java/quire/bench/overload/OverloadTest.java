package quire.bench.overload;

import static org.assertj.core.api.Assertions.assertThat;
import static quire.cli.CommandRun.run;

import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.bench.client.HttpSocket;
import quire.bench.client.StreamedAnswer;
import quire.cli.CommandRun;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

@Timeout(300)
class OverloadTest {
    private static StreamedAnswer answer(int status, Map<String, String> headers, double seconds) {
        return new StreamedAnswer(new HttpSocket.Head(status, headers), "", 1, true, seconds / 2, 0, seconds);
    }

    @Test
    void levelResult_onlyAnswersInTimeAreGoodput() {
        LevelResult result = new LevelResult(2);
        result.add(answer(200, Map.of(), 1), 10);
        result.add(answer(200, Map.of(), 3), 100);
        result.add(answer(429, Map.of("retry-after", "1"), 0.1), 1000);
        result.add(answer(503, Map.of(), 0.1), 1000);
        result.add(answer(500, Map.of(), 0.1), 1000);
        result.addFailure("reset");
        assertThat(result.goodTokens()).isEqualTo(10);
        assertThat(result.withoutRetryAfter()).isEqualTo(1);
        assertThat(result.failed()).isEqualTo(2);
        assertThat(result.offered()).isEqualTo(6);
        assertThat(result.row("x", 3, 5))
                .containsEntry("goodput_tokens_a_second", 2.0)
                .containsEntry("late", 1)
                .containsEntry("refused", 2);
    }

    /** The bounds are wide: this test does not measure. */
    @Test
    void overload_ownServer_answersOrRefusesEveryRequest() {
        CommandRun result = run(
                "bench",
                "overload",
                "--seconds",
                "1",
                "--levels",
                "0.5,3",
                "--clients",
                "4",
                "--deadline",
                "100",
                "--min-goodput",
                "0",
                "--max-first-token",
                "100",
                "--max-refusal",
                "100",
                "--json",
                "--",
                "--speculation",
                "off",
                "--target-itl",
                "0");
        assertThat(result.code()).as(result.out() + result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("levels").size()).isEqualTo(3);
        JsonNode level = json.get("levels").get(2);
        assertThat(level.get("answered").asInt()).isPositive();
        assertThat(level.get("answered").asInt() + level.get("refused").asInt())
                .isEqualTo(level.get("offered").asInt());
    }
}
