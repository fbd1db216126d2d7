package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.server.api.Parameter;
import quire.server.openai.ParameterTable;
import tools.jackson.databind.JsonNode;

/** A neutral value counts as absent, in every form that languages and servers use for it. */
@Timeout(300)
class NeutralValuesTest {
    private static final List<String> VALUES = List.of("null", "false", "0", "\"\"", "[]", "{}");

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @Test
    void parameters_withValuesThatCanMeanNothing_areAnsweredAsTheTableSays() throws Exception {
        List<String> wrong = new ArrayList<>();
        for (String line : table()) {
            List<String> cells = cells(line);
            for (String route : cells.get(0).equals("both") ? List.of("completions", "chat") : List.of(cells.get(0))) {
                for (int i = 0; i < VALUES.size(); i++) {
                    HttpResponse<String> response = post(route, cells.get(1), VALUES.get(i));
                    if (response.statusCode() != Integer.parseInt(cells.get(2 + i))) {
                        wrong.add(route + " " + cells.get(1) + ": " + VALUES.get(i) + " gives " + response.body());
                    } else if (response.statusCode() == 400) {
                        assertThat(TestServer.error(response).get("param").stringValue())
                                .isEqualTo(cells.get(1));
                    }
                }
            }
        }
        assertThat(wrong).isEmpty();
    }

    @Test
    void table_ofNeutralValues_hasEveryParameterOnce() throws Exception {
        Set<String> seen = new HashSet<>();
        for (String line : table()) {
            List<String> cells = cells(line);
            assertThat(seen.add(cells.get(0) + " " + cells.get(1))).as(line).isTrue();
            assertThat(cells.get(0).equals("both") || !seen.contains("both " + cells.get(1)))
                    .as(line)
                    .isTrue();
        }
    }

    /** Every parameter that the server knows has its row, so that none is forgotten. */
    @ParameterizedTest
    @EnumSource(names = {"COMPLETIONS", "CHAT"})
    void table_ofNeutralValues_hasEveryParameterThatIsComputed(Parameter.Place place) throws Exception {
        String route = place == Parameter.Place.CHAT ? "chat" : "completions";
        Set<String> tested = new HashSet<>(Set.of("enable_thinking")); // the template answers for it: ReasoningTest
        for (String line : table()) {
            List<String> cells = cells(line);
            if (Set.of(route, "both").contains(cells.get(0))) {
                tested.add(cells.get(1));
            }
        }
        assertThat(ParameterTable.ROWS)
                .filteredOn(row -> row.places().contains(place))
                .filteredOn(row -> row.treatment() == Parameter.Treatment.COMPUTED)
                .extracting(Parameter::name)
                .isSubsetOf(tested);
    }

    /** What is not computed may be said to be off: all such parameters in one request. */
    @ParameterizedTest
    @EnumSource(names = {"COMPLETIONS", "CHAT"})
    void parameters_thatAreNotComputed_acceptNeutralValues(Parameter.Place place) throws Exception {
        List<String> names = ParameterTable.ROWS.stream()
                .filter(row -> row.places().contains(place) && row.treatment() == Parameter.Treatment.REFUSED)
                .filter(row -> row.accepted().equals(Parameter.Values.NEUTRAL))
                .map(Parameter::name)
                .toList();
        assertThat(names).hasSizeGreaterThan(50);
        for (String value : VALUES) {
            String fields =
                    names.stream().map(name -> "\"" + name + "\":" + value).collect(Collectors.joining(","));
            assertAccepted(post(place == Parameter.Place.CHAT ? "chat" : "completions", fields + ",\"max_tokens\":2"));
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "completions|\"logprobs\":false",
                "completions|\"stop\":[\"\",null]",
                "completions|\"stop\":[null]",
                "completions|\"stop_token_ids\":[null]",
                "completions|\"guided_choice\":[\"a\",null]",
                "completions|\"structured_outputs\":{\"choice\":[null,\"a\"]}",
                "completions|\"max_tokens\":-1",
                "completions|\"top_k\":-1",
                "completions|\"top_k\":-40",
                "completions|\"stream_options\":{\"include_usage\":false}",
                "completions|\"bad_words\":[\"\"]",
                "chat|\"top_logprobs\":0",
                "chat|\"logprobs\":false,\"top_logprobs\":0",
                "chat|\"max_tokens\":-1,\"max_completion_tokens\":-1",
                "chat|\"max_tokens\":-1,\"max_completion_tokens\":5",
                "chat|\"stream_options\":{}",
                "chat|\"tools\":[null]",
                "chat|\"functions\":[],\"function_call\":\"none\"",
            })
    void parameters_thatAskForNothing_areAccepted(String route, String fields) throws Exception {
        assertAccepted(post(route, fields));
    }

    @Test
    void logprobs_true_isOne() throws Exception {
        String same = ",\"seed\":3,\"max_tokens\":4";
        JsonNode byTrue = TestServer.json(assertAccepted(post("completions", "\"logprobs\":true" + same)));
        JsonNode byOne = TestServer.json(assertAccepted(post("completions", "\"logprobs\":1" + same)));
        assertThat(byTrue.get("choices")).isEqualTo(byOne.get("choices"));
        assertThat(byTrue.get("choices").get(0).get("logprobs").isObject()).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "4294967295", "null"})
    void seed_thatMeansNone_givesDifferentAnswers(String seed) throws Exception {
        Set<String> texts = new HashSet<>();
        for (int i = 0; i < 3; i++) {
            texts.add(text("\"temperature\":1.5,\"max_tokens\":40,\"ignore_eos\":true,\"seed\":" + seed));
        }
        assertThat(texts).hasSize(3);
    }

    @ParameterizedTest
    @CsvSource({
        "18446744073709551615, 18446744073709551615",
        "9223372036854775808, -9223372036854775808",
        "18446744073709551614, -2",
        "-2, -2",
        "0, 0",
        "4294967294, 4294967294"
    })
    void seed_signedOrUnsigned_isTheSame64Bits(String seed, String sameBits) throws Exception {
        String rest = ",\"temperature\":1.5,\"max_tokens\":40,\"ignore_eos\":true";
        assertThat(text("\"seed\":" + seed + rest)).isEqualTo(text("\"seed\":" + sameBits + rest));
    }

    @ParameterizedTest
    @ValueSource(strings = {"18446744073709551616", "-9223372036854775809", "99999999999999999999999999"})
    void seed_ofMoreThan64Bits_isRefusedWithTheRange(String seed) throws Exception {
        HttpResponse<String> response = post("completions", "\"seed\":" + seed);
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue())
                .contains("must be -9223372036854775808 to 18446744073709551615");
    }

    private static List<String> table() throws IOException {
        InputStream file = NeutralValuesTest.class.getResourceAsStream("neutral-values.txt");
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(Objects.requireNonNull(file), StandardCharsets.UTF_8))) {
            List<String> rows =
                    lines.lines().filter(line -> !line.startsWith("#")).toList();
            assertThat(cells(rows.getFirst())).endsWith(VALUES.toArray(new String[0]));
            return rows.subList(1, rows.size());
        }
    }

    private static List<String> cells(String line) {
        return Arrays.asList(line.split("\\s+", -1));
    }

    private static HttpResponse<String> post(String route, String parameter, String value) throws Exception {
        return post(route, "\"" + parameter + "\":" + value);
    }

    /** A valid request, with these fields instead of its own. */
    private static HttpResponse<String> post(String route, String fields) throws Exception {
        String good = "";
        if (!fields.startsWith("\"model\"")) {
            good += ",\"model\":\"fake\"";
        }
        if (!fields.contains("\"max_")) {
            good += ",\"max_tokens\":2";
        }
        if (route.equals("chat")) {
            good += fields.startsWith("\"messages\"") ? "" : ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
        } else {
            good += fields.startsWith("\"prompt\"") ? "" : ",\"prompt\":\"hi\"";
        }
        return server.post(
                route.equals("chat") ? "/v1/chat/completions" : "/v1/completions", "{" + fields + good + "}");
    }

    private static String text(String fields) throws Exception {
        return TestServer.json(assertAccepted(post("completions", fields)))
                .get("choices")
                .get(0)
                .get("text")
                .stringValue();
    }

    private static HttpResponse<String> assertAccepted(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response;
    }
}
