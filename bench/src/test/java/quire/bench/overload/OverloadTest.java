package quire.bench.overload;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.offset;
import static quire.cli.CommandRun.run;

import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.bench.client.HttpSocket;
import quire.bench.client.StreamedAnswer;
import quire.bench.overload.LoadRequests.Kind;
import quire.bench.overload.LoadRequests.LoadRequest;
import quire.cli.CommandRun;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

@Timeout(300)
class OverloadTest {
    private static StreamedAnswer answer(int status, Map<String, String> headers, double seconds) {
        return new StreamedAnswer(new HttpSocket.Head(status, headers), "", 1, true, seconds / 2, 0, seconds);
    }

    /** Answers a second. */
    private static final Map<Kind, Double> ALONE = Map.of(Kind.SHORT, 4.0, Kind.LONG, 1.0);

    private static final long SECOND = 1_000_000_000L;

    /** The measured time is from second 10 to second 15. */
    private static LevelResult level() {
        return new LevelResult(2, 10 * SECOND, 15 * SECOND);
    }

    private static void add(LevelResult level, int status, double seconds, int tokens, double sent) {
        LoadRequest request = new LoadRequest("", tokens < 100 ? Kind.SHORT : Kind.LONG, tokens);
        Map<String, String> headers = status == 429 ? Map.of("retry-after", "1") : Map.of();
        level.add(
                answer(status, headers, seconds), request, (long) (sent * SECOND), (long) ((sent + seconds) * SECOND));
    }

    @Test
    void levelResult_onlyAnswersInTimeAreGoodput() {
        LevelResult result = level();
        add(result, 200, 1, 10, 11);
        add(result, 200, 3, 100, 11);
        add(result, 429, 0.1, 1000, 11);
        add(result, 503, 0.1, 1000, 11);
        add(result, 500, 0.1, 1000, 11);
        result.addFailure("reset", 11 * SECOND);
        assertThat(result.goodAnswers()).isEqualTo(0.2);
        assertThat(result.withoutRetryAfter()).isEqualTo(1);
        assertThat(result.failed()).isEqualTo(2);
        assertThat(result.offered()).isEqualTo(6);
        result.setProcessors(0.5, OptionalDouble.of(1.5));
        assertThat(result.row("x", ALONE))
                .containsEntry("requests_a_second", 1.2)
                .containsEntry("tokens_a_second", 2.0)
                .containsEntry("late", 1)
                .containsEntry("refused", 2)
                .containsEntry("client_processors", 0.5)
                .containsEntry("server_processors", 1.5);
    }

    /** A queue that is left at the end of the time is no goodput of that time. */
    @Test
    void levelResult_answersThatEndOutsideOfTheTime_areNoGoodput() {
        LevelResult result = level();
        add(result, 200, 1, 1, 8.5); // sent and ended before
        add(result, 200, 1, 10, 9.5); // ends within
        add(result, 200, 1, 100, 14.5); // ends after
        add(result, 200, 1, 1000, 15.5);
        result.addFailure("reset", 9 * SECOND);
        assertThat(result.goodAnswers()).isEqualTo(0.2);
        assertThat(result.offered()).isEqualTo(1);
        assertThat(result.failed()).isZero();
    }

    @Test
    void levelResult_work_isTheSameWhateverTheMix() {
        LevelResult shorts = level();
        IntStream.range(0, 20).forEach(i -> add(shorts, 200, 1, 10, 11)); // 4 a second
        LevelResult longs = level();
        IntStream.range(0, 5).forEach(i -> add(longs, 200, 1, 100, 11)); // 1 a second
        LevelResult both = level();
        IntStream.range(0, 8).forEach(i -> add(both, 200, 1, 10, 11));
        IntStream.range(0, 3).forEach(i -> add(both, 200, 1, 100, 11));
        for (LevelResult level : List.of(shorts, longs, both)) {
            assertThat(level.work(ALONE)).isCloseTo(1, offset(1e-9));
        }
        assertThat(both.row("x", ALONE))
                .containsEntry("short_answers_a_second", 1.6)
                .containsEntry("long_answers_a_second", 0.6);
    }

    @Test
    void retryAfter_isSecondsOrNothing() {
        assertThat(answer(429, Map.of("retry-after", "7"), 1).retryAfterSeconds())
                .isEqualTo(7);
        assertThat(answer(503, Map.of("retry-after", "Sun, 29 Nov 2026 00:00:00 GMT"), 1)
                        .retryAfterSeconds())
                .isZero();
        assertThat(answer(200, Map.of(), 1).retryAfterSeconds()).isZero();
    }

    /** The bound is wide: this test does not measure. */
    @Test
    void fairness_ownServer_answersShortRequestsBesideLongOnes() {
        CommandRun result = run(
                "bench",
                "fairness",
                "--queued",
                "80",
                "--requests",
                "5",
                "--max-ratio",
                "1000000",
                "--json",
                "--",
                "--speculation",
                "off",
                "--max-sequences",
                "8");
        assertThat(result.code()).as(result.out() + result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("tenants").get(1).get("short_requests").asString()).isEqualTo("beside 80 long ones");
        assertThat(json.get("tenants").get(1).get("answered").asInt()).isEqualTo(5);
        assertThat(json.get("bounds").size()).isEqualTo(2);
    }

    /** The curve begins below the capacity, so that one sees where answers begin to wait. */
    @Test
    void overload_withoutLevels_goesFromHalfToTenTimesTheCapacity() {
        CommandRun help = run("bench", "overload", "--help");
        assertThat(help.out().replaceAll("\\s+", " "))
                .contains("Offered load in multiples of the capacity (default 0.5,1,2,4,10).");
    }

    /** The bounds are wide: this test does not measure. */
    @Test
    void overload_ownServer_answersOrRefusesEveryRequest() {
        CommandRun result = run(
                "bench",
                "overload",
                "--seconds",
                "0.5",
                "--levels",
                "0.5,3",
                "--rounds",
                "2",
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
        assertThat(json.get("levels").size()).isEqualTo(3 + 2 * 2);
        assertThat(json.at("/levels/4/load").asString())
                .isEqualTo("× 3.00")
                .isEqualTo(json.at("/levels/6/load").asString());
        JsonNode level = json.get("levels").get(4);
        assertThat(level.get("answered").asInt()).isPositive();
        assertThat(level.get("answered").asInt() + level.get("refused").asInt())
                .isEqualTo(level.get("offered").asInt());
    }
}
