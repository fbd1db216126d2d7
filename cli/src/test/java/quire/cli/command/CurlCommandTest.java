package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CurlCommandTest {
    @Test
    void command_forAChat_isOneLine() {
        assertThat(new CurlCommand("127.0.0.1", 8000, "quire-tiny", true, null))
                .hasToString("curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json'"
                        + " -d '{\"model\":\"quire-tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'");
    }

    @Test
    void command_forAModelWithoutTemplate_completesText() {
        assertThat(new CurlCommand("127.0.0.1", 8000, "base", false, null).toString())
                .contains("/v1/completions ", "\"prompt\":");
    }

    @ParameterizedTest
    @CsvSource({
        "127.0.0.1, http://127.0.0.1:80/v1/completions",
        "localhost, http://localhost:80/v1/completions",
        "0.0.0.0, http://127.0.0.1:80/v1/completions",
        "'::', '''http://[::1]:80/v1/completions'''",
        "'::1', '''http://[::1]:80/v1/completions'''",
        "llm.example.com, http://llm.example.com:80/v1/completions"
    })
    void command_anyHost_hasAnAddressThatThisMachineReaches(String host, String url) {
        assertThat(new CurlCommand(host, 80, "m", false, null).toString()).startsWith("curl " + url + " ");
    }

    @Test
    void command_forAServerWithAKey_namesItAndDoesNotShowIt() {
        assertThat(new CurlCommand("127.0.0.1", 80, "m", false, "$QUIRE_API_KEY").toString())
                .contains(" -H \"Authorization: Bearer $QUIRE_API_KEY\" ");
    }
}
