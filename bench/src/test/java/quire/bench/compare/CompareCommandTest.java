package quire.bench.compare;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static quire.cli.CommandRun.run;

import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.cli.CommandRun;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class CompareCommandTest {
    @TempDir
    private static Path folder;

    private static String model;

    @BeforeAll
    static void writeModel() {
        model = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1)
                .toString();
    }

    private static CommandRun compare(String peer, String... more) {
        String[] fixed = {
            "bench",
            "compare",
            "--model",
            model,
            "--peer-cmd",
            peer,
            "--rounds",
            "2",
            "--prompt",
            "16",
            "--generate",
            "64"
        };
        String[] all = Arrays.copyOf(fixed, fixed.length + more.length);
        System.arraycopy(more, 0, all, fixed.length, more.length);
        return run(all);
    }

    @Test
    void compare_peerThatPrintsWhatItWasAsked_hasItsFiguresAndRatios() {
        CommandRun result = compare(
                "echo loading; echo prompt $BENCH_PROMPT; echo decode 1 $BENCH_GENERATE; echo decode 3 7.5",
                "--sequences",
                "1,3",
                "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode rows = JsonMapper.builder().build().readTree(result.out()).get("compare");
        assertThat(rows.size()).isEqualTo(3);
        double[] peers = {16, 64, 7.5};
        for (int i = 0; i < peers.length; i++) {
            JsonNode row = rows.get(i);
            assertThat(row.get("peer").asDouble()).isEqualTo(peers[i]);
            assertThat(row.get("quire").asDouble()).isPositive();
            // with two rounds, both medians are means
            assertThat(row.get("ratio").asDouble())
                    .isCloseTo(
                            row.get("quire").asDouble() / peers[i],
                            within(1e-6 * row.get("ratio").asDouble()));
            assertThat(row.get("share_of_ceiling").asDouble()).isPositive();
        }
        assertThat(result.err()).contains("loading");
    }

    @ParameterizedTest
    @CsvSource({
        "echo prompt 5, no line 'decode 1 <tokens a second>'",
        "echo prompt fast, no positive number in its line 'prompt fast'",
        "exit 3, ended with status 3",
    })
    void compare_peerWithoutFigures_isAnErrorThatSaysWhatIsMissing(String peer, String message) {
        CommandRun result = compare(peer, "--sequences", "1");
        assertThat(result.code()).isNotZero();
        assertThat(result.err()).contains(message);
    }
}
