package quire.bench.attack;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIOException;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.util.EnumSet;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.bench.attack.Tally.Outcome;
import quire.bench.client.CannedServer;
import quire.cli.CommandRun;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What counts as a fault of a server, and the command. */
@Timeout(300)
class AttackTest {
    private static final String ERROR = "{\"error\":{\"message\":\"wrong\"}}";

    /** What an attack makes of an answer. */
    private static Tally attack(String answer) throws IOException, InterruptedException {
        Tally tally = new Tally();
        try (CannedServer server = new CannedServer(answer)) {
            HonestClients.Known known = new HonestClients.Known("small", "GET / HTTP/1.1\r\n\r\n", "a", true);
            new Attack(
                            AttackKind.WRONG_TYPES,
                            server.address(),
                            known,
                            new SplittableRandom(1),
                            new CountDownLatch(1),
                            tally)
                    .run();
        }
        return tally;
    }

    @ParameterizedTest
    @CsvSource({
        "200, '', '{}', ANSWERED",
        "400, '', '{\"error\":{\"message\":\"wrong\"}}', REFUSED",
        "429, 'Retry-After: 1', '{\"error\":{\"message\":\"wrong\"}}', OVERLOADED",
        "503, 'Retry-After: 1', '{\"error\":{\"message\":\"wrong\"}}', OVERLOADED",
        "429, '', '{\"error\":{\"message\":\"wrong\"}}', FAULT",
        "400, '', 'wrong', FAULT",
        "400, '', '{\"error\":{\"message\":\" \"}}', FAULT",
        "500, '', '{\"error\":{\"message\":\"wrong\"}}', FAULT",
    })
    void answer_toAnAttack_isJudged(int status, String header, String body, Outcome outcome) throws Exception {
        Tally tally = attack(CannedServer.answer(status, header.isEmpty() ? "" : header + "\r\n", body));
        assertThat(tally.total(outcome)).as(tally.faults().toString()).isEqualTo(1);
        assertThat(tally.total()).isEqualTo(1);
        assertThat(tally.faults()).hasSize(outcome == Outcome.FAULT ? 1 : 0);
    }

    @Test
    void answer_notHttp_isAFault() throws Exception {
        assertThat(attack("nonsense\r\n\r\n").faults())
                .singleElement()
                .asString()
                .contains("nonsense");
    }

    @Test
    void answer_missing_isAClosedConnection() throws Exception {
        assertThat(attack("").total(Outcome.CLOSED)).isEqualTo(1);
    }

    @Test
    void honestClients_twoAnswersToOneRequest_areRefused() throws IOException {
        try (CannedServer server = new CannedServer(
                CannedServer.answer(200, "", "{\"text\":\"a\"}"), CannedServer.answer(200, "", "{\"text\":\"b\"}"))) {
            assertThatIOException()
                    .isThrownBy(() -> HonestClients.learn(server.address(), 512))
                    .withMessageContaining("two answers")
                    .withMessageContaining("from character 9 on");
        }
    }

    @Test
    void honestClients_refused_saysWhy() throws IOException {
        try (CannedServer server = new CannedServer(CannedServer.answer(404, "", ERROR))) {
            assertThatIOException()
                    .isThrownBy(() -> HonestClients.learn(server.address(), 512))
                    .withMessageContaining("wrong");
        }
    }

    @Test
    void attackKinds_labels_areReadAgain() {
        String help = run("bench", "attack", "--help").out().replaceAll("\\s", ""); // lines may end behind a hyphen
        for (AttackKind kind : EnumSet.allOf(AttackKind.class)) {
            assertThat(AttackKind.of(kind.label())).isEqualTo(kind);
            assertThat(help).contains(kind.label());
        }
    }

    /** The bounds of time are wide: this test does not measure. */
    @Test
    void attack_ownServer_answersEveryAttack() {
        CommandRun result = run(
                "bench",
                "attack",
                "--seconds",
                "2",
                "--round-seconds",
                "1",
                "--attacks",
                "malformed-json,wrong-types,split,pipelined,vanish,routes",
                "--max-silence",
                "60",
                "--max-first-token",
                "1e9",
                "--max-resident-growth",
                "4096",
                "--json",
                "--",
                "--speculation",
                "off",
                "--target-itl",
                "0");
        assertThat(result.code()).as(result.out() + result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("kinds").size()).isEqualTo(6);
        assertThat(json.get("rounds").size()).isEqualTo(3);
        assertThat(json.get("faults").size()).isZero();
        assertThat(json.get("rounds").get(2).get("honest_answers").asInt()).isPositive();
        assertThat(json.get("rounds").get(2).get("pages_in_use").asDouble()).isZero();
    }

    @Test
    void attack_boundBroken_exitsWithOne() {
        CommandRun result = run(
                "bench",
                "attack",
                "--seconds",
                "1",
                "--round-seconds",
                "1",
                "--attacks",
                "split",
                "--max-silence",
                "0",
                "--",
                "--speculation",
                "off",
                "--target-itl",
                "0");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.out()).contains("BROKEN", "longest silence of an honest stream");
    }
}
