package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.Speculation;
import tools.jackson.databind.JsonNode;

/** All parameters that constrain an answer, on both routes, with and without draft tokens. */
@Timeout(60)
class ConstraintTest {
    private static TestServer server;
    private static TestServer drafting;

    @BeforeAll
    static void start() {
        server = TestServer.start();
        drafting = TestServer.builder()
                .speculation(new Speculation(4, true, null, null))
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
        drafting.close();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '\0',
            value = {
                "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"strict\":true,\"schema\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":2,\"maxItems\":3}}}#\\[(true|false)(,"
                        + " ?(true|false)){1,2}\\]",
                "\"response_format\":{\"type\":\"json_object\",\"schema\":{\"type\":\"integer\",\"minimum\":0.1,\"maximum\":3.5}}#[123]",
                "\"structured_outputs\":{\"regex\":\"[A-Z]{3}-\\\\d{2}\"}#[A-Z]{3}-[0-9]{2}",
                "\"structured_outputs\":{\"choice\":[\"left\",\"right\"]}#left|right",
                "\"structured_outputs\":{\"json\":{\"const\":{\"a\":[1,null]}},\"disable_fallback\":true}#\\{\"a\":"
                        + " ?\\[1, ?null\\]\\}",
                "\"structured_outputs\":{\"json\":\"{\\\"enum\\\":[0.10,\\\"x\\\"]}\"}#0\\.1|\"x\"",
                "\"guided_json\":{\"type\":\"null\"}#null",
                "\"guided_json\":\"{\\\"type\\\":\\\"null\\\"}\"#null",
                "\"guided_regex\":\"(ab){2}\"#abab",
                "\"guided_choice\":[\"é\",\"€\"],\"guided_decoding_backend\":\"outlines\"#é|€",
                "\"json_schema\":{\"const\":5}#5",
                "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"strict\":true,\"schema\":{\"const\":{\"b\":1,\"a\":2,\"c\":3}}}}#\\{\"b\": ?1, ?\"a\": ?2,"
                        + " ?\"c\": ?3\\}",
                "\"guided_json\":{\"const\":{\"b\":1,\"a\":2,\"c\":3}},\"property_order\":\"schema\"#\\{\"b\": ?1, ?\"a\": ?2,"
                        + " ?\"c\": ?3\\}",
                "\"guided_json\":{\"const\":{\"a\":1,\"b\":2}},\"property_order\":\"any\"#\\{\"(a\": ?1, ?\"b\": ?2|b\": ?2,"
                        + " ?\"a\": ?1)\\}",
                "\"regex\":\"x+y\",\"response_format\":{\"type\":\"text\"}#x+y",
                "\"guided_json\":{\"type\":\"number\",\"multipleOf\":0.25,\"minimum\":0.1,\"maximum\":0.4}#0\\.250*"
            })
    void answer_constrained_isAnAllowedText(String fields, String expected) throws Exception {
        for (int seed = 0; seed < 3; seed++) {
            String settings = fields + ",\"max_tokens\":400,\"seed\":" + seed;
            for (String body : new String[] {
                "{\"model\":\"fake\",\"prompt\":\"hi\"," + settings + "}",
                "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," + settings + "}"
            }) {
                String route = body.contains("messages") ? "/v1/chat/completions" : "/v1/completions";
                JsonNode choice = choice(server.post(route, body));
                String text = text(choice);
                assertThat(text).matches(expected);
                assertThat(choice.get("finish_reason").stringValue()).isEqualTo("stop");
                assertThat(text(choice(drafting.post(route, body)))).isEqualTo(text);
            }
        }
    }

    private static JsonNode choice(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return TestServer.json(response).get("choices").get(0);
    }

    private static String text(JsonNode choice) {
        JsonNode message = choice.get("message");
        return (message == null ? choice.get("text") : message.get("content")).stringValue();
    }

    @Test
    void request_twoConstraints_isRefused() throws Exception {
        HttpResponse<String> response = server.post(
                "/v1/completions",
                "{\"model\":\"fake\",\"prompt\":\"hi\",\"guided_regex\":\"a\",\"response_format\":{\"type\":\"json_object\"}}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue())
                .contains("'response_format' and 'guided_regex' are both sent");
    }

    @Test
    void request_ignoreEos_isRefusedWithAConstraint() throws Exception {
        HttpResponse<String> response = server.post(
                "/v1/completions", "{\"model\":\"fake\",\"prompt\":\"hi\",\"guided_regex\":\"a\",\"ignore_eos\":true}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo("ignore_eos");
        assertThat(TestServer.error(response).get("message").stringValue()).contains("with a constraint");
    }

    @Test
    void answer_tooFewTokens_endsWithLength() throws Exception {
        JsonNode choice = choice(server.post(
                "/v1/completions",
                "{\"model\":\"fake\",\"prompt\":\"hi\",\"guided_choice\":[\"abcdef\"],\"max_tokens\":3}"));
        assertThat(choice.get("text").stringValue()).isEqualTo("abc");
        assertThat(choice.get("finish_reason").stringValue()).isEqualTo("length");
    }
}
