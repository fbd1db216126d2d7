package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import quire.cli.command.CurlCommand.Example;

class CurlCommandTest {
    @Test
    void command_forAChat_isOneLine() {
        assertThat(new CurlCommand("http://127.0.0.1:8000", List.of(), "quire-tiny", Example.CHAT, null))
                .hasToString("curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json'"
                        + " -d '{\"model\":\"quire-tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'");
    }

    @Test
    void command_forAModelWithoutTemplate_completesText() {
        assertThat(new CurlCommand("http://127.0.0.1:8000", List.of(), "base", Example.COMPLETION, null).toString())
                .contains("/v1/completions ", "\"prompt\":");
    }

    @Test
    void command_forAnEncoder_asksForAVector() {
        assertThat(Example.of(true, true)).isEqualTo(Example.EMBEDDING);
        assertThat(new CurlCommand("http://127.0.0.1:8000", List.of(), "bert", Example.EMBEDDING, null).toString())
                .contains("/v1/embeddings ", "\"input\":");
    }

    @Test
    void command_forAUnixSocketOrTls_hasTheOptions() {
        assertThat(new CurlCommand(
                                "https://[::1]:80",
                                List.of("--unix-socket", "/a b", "--insecure"),
                                "m",
                                Example.COMPLETION,
                                null)
                        .toString())
                .startsWith("curl --unix-socket '/a b' --insecure 'https://[::1]:80/v1/completions' -H ");
    }

    @Test
    void command_forAServerWithAKey_namesItAndDoesNotShowIt() {
        assertThat(new CurlCommand("http://127.0.0.1:80", List.of(), "m", Example.COMPLETION, "$QUIRE_API_KEY")
                        .toString())
                .contains(" -H \"Authorization: Bearer $QUIRE_API_KEY\" ");
    }
}
