package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import quire.engine.Script;
import quire.engine.Speculation;

/** The model that follows a {@link Script} answers what the script says, over HTTP. */
class ScriptedAnswerTest {
    private static final TestServer SERVER = TestServer.builder()
            .script(prompt -> prompt.contains("2+2") ? "4, of course €" : "I do not know")
            .speculation(new Speculation(4, true, null, null))
            .start();

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    @Test
    void chat_scriptedPrompt_givesTheScriptedAnswer() throws Exception {
        for (String temperature : new String[] {"0", "1"}) {
            assertThat(chat("What is 2+2?", "\"temperature\":" + temperature)).isEqualTo("4, of course €");
            assertThat(chat("What is 3+3?", "\"temperature\":" + temperature)).isEqualTo("I do not know");
        }
    }

    @Test
    void chat_constraintThatTheScriptFits_keepsTheScript() throws Exception {
        assertThat(chat("2+2", "\"guided_regex\":\"4, .+\"")).isEqualTo("4, of course €");
    }

    @Test
    void chat_constraintThatExcludesAToken_takesAnotherOne() throws Exception {
        assertThat(chat("2+2", "\"guided_regex\":\"[5-9], of course €\"")).matches("[5-9], of course €");
    }

    private static String chat(String question, String more) throws Exception {
        HttpResponse<String> response = SERVER.post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"" + question + "\"}]," + more + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return TestServer.json(response)
                .get("choices")
                .get(0)
                .get("message")
                .get("content")
                .stringValue();
    }
}
