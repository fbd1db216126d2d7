package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** Errors name parameters as the API does, and say what was expected and what was found. */
@Timeout(60)
class ErrorWordsTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            "top_p":-1                     | top_p                | Invalid value: 'top_p' is -1; it must be from 0 to 1.
            "top_p":1.5                    | top_p                | Invalid value: 'top_p' is 1.5; it must be from 0 to 1.
            "temperature":-1               | temperature          | Invalid value: 'temperature' is -1; it must be from 0 to 100.
            "min_p":2                      | min_p                | Invalid value: 'min_p' is 2; it must be from 0 to 1.
            "repetition_penalty":0         | repetition_penalty   | Invalid value: 'repetition_penalty' is 0; it must be over 0 and at most 100 (1 is none).
            "repeat_penalty":0             | repeat_penalty       | Invalid value: 'repeat_penalty' is 0; it must be over 0 and at most 100 (1 is none).
            "presence_penalty":3           | presence_penalty     | Invalid value: 'presence_penalty' is 3; it must be from -2 to 2.
            "frequency_penalty":-3         | frequency_penalty    | Invalid value: 'frequency_penalty' is -3; it must be from -2 to 2.
            "top_k":1e10                   | top_k                | Invalid value for 'top_k': must be -9223372036854775808 to 2147483647, but is 10000000000.
            "logprobs":21                  | logprobs             | Invalid value for 'logprobs': must be 0 to 20, but is 21.
            "logit_bias":{"5":101}         | logit_bias           | Invalid value for 'logit_bias.5': must be -100 to 100, but is 101.
            "logit_bias":{"x":1}           | logit_bias           | Invalid key in 'logit_bias': must be a token id from 0 to 257.
            "stop_token_ids":[-1]          | stop_token_ids[0]    | Invalid value for 'stop_token_ids[0]': must be 0 to 257, but is -1.
            "max_tokens":-2                | max_tokens           | Invalid value for 'max_tokens': must be 0 to 2147483647, but is -2.
            "top_p":"0.9"                  | top_p                | Invalid type for 'top_p': expected a number, but got a string.
            "stream":"yes"                 | stream               | Invalid type for 'stream': expected a boolean, but got a string.
            "ignore_eos":1                 | ignore_eos           | Invalid type for 'ignore_eos': expected a boolean, but got an integer.
            "max_tokens":1.5               | max_tokens           | Invalid type for 'max_tokens': expected an integer, but got a number.
            "stop":[1]                     | stop[0]              | Invalid type for 'stop[0]': expected a string, but got an integer.
            "stop":{"a":1}                 | stop                 | Invalid type for 'stop': expected a string or an array of strings, but got an object.
            "logit_bias":[1]               | logit_bias           | Invalid type for 'logit_bias': expected an object from token id to bias, but got an array.
            "stream_options":"x"           | stream_options       | Invalid type for 'stream_options': expected an object, but got a string.
            "model":7                      | model                | Invalid type for 'model': expected a string, but got an integer.
            "seed":"x"                     | seed                 | Invalid type for 'seed': expected an integer, but got a string.
            """)
    void completions_wrongValue_isToldInTheNamesOfTheApi(String field, String parameter, String message)
            throws Exception {
        check(server.post("/v1/completions", "{\"prompt\":\"hi\"," + field + "}"), parameter, message);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            "x"                                          | messages             | Invalid type for 'messages': expected an array of messages, but got a string.
            ["x"]                                        | messages[0]          | Invalid type for 'messages[0]': expected an object, but got a string.
            [{"role":1,"content":"a"}]                   | messages[0].role     | Invalid type for 'messages[0].role': expected a string, but got an integer.
            [{"role":"user","content":1}]                | messages[0].content  | Invalid type for 'messages[0].content': expected a string or an array of text parts, but got an integer.
            [{"role":"user","content":[{"type":"text"}]}]| messages[0].content[0].text | Missing required parameter: 'messages[0].content[0].text'.
            """)
    void chat_wrongMessage_isToldByItsPath(String messages, String parameter, String message) throws Exception {
        check(server.post("/v1/chat/completions", "{\"messages\":" + messages + "}"), parameter, message);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"prompt":"hi","stop":[}      | The body is not JSON: line 1, column 24, in $.stop[0]: expected a value, found '}'.
            {"prompt":"hi",}              | The body is not JSON: line 1, column 16: expected a field's name in double quotes, found '}'; JSON has no comma behind the last one.
            {"prompt":"hi"                | The body is not JSON: line 1, column 15: expected ',' or '}' after the field 'prompt', found the end.
            [1]                           | The body must be a JSON object, but it is an array.
            "x"                           | The body must be a JSON object, but it is a string.
            null                          | The body must be a JSON object, but it is null.
            ``                            | The body is not JSON: there is nothing in it.
            """)
    void body_noJson_isToldWithoutTheParsersWords(String body, String message) throws Exception {
        check(server.post("/v1/completions", body), null, message);
    }

    private static void check(HttpResponse<String> response, @Nullable String parameter, String message) {
        assertThat(response.statusCode()).isEqualTo(400);
        JsonNode error = TestServer.error(response);
        assertThat(error.get("message").stringValue()).isEqualTo(message);
        assertThat(error.get("param").isNull() ? null : error.get("param").stringValue())
                .isEqualTo(parameter);
    }
}
