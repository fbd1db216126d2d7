package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.FakeTokenizer;
import quire.model.text.Tokenizer;
import tools.jackson.databind.JsonNode;

/** The text behind a gap, for a model whose vocabulary has tokens for that. */
@Timeout(60)
class SuffixTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .tokenizer(new GapTokenizer())
                .script(
                        "<fim_middle>",
                        prompt -> prompt.contains("<fim_prefix>int f() {<fim_suffix>}<fim_middle>")
                                ? " return 5; "
                                : "unexpected " + prompt)
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static HttpResponse<String> post(String fields) throws Exception {
        return server.post("/v1/completions", "{\"temperature\":0,\"max_tokens\":60," + fields + "}");
    }

    @Test
    void suffix_ofAText_isBehindTheGap() throws Exception {
        for (String prompt : List.of("\"int f() {\"", "[\"int f() {\"]")) {
            HttpResponse<String> response = post("\"prompt\":" + prompt + ",\"suffix\":\"}\"");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            JsonNode answer = TestServer.json(response);
            assertThat(answer.get("choices").get(0).get("text").stringValue()).isEqualTo(" return 5; ");
            // BOS, the text on both sides, and three tokens around it
            assertThat(answer.get("usage").get("prompt_tokens").intValue()).isEqualTo(1 + 9 + 1 + 3);
        }
    }

    @Test
    void suffix_withEchoOrAModelWithoutTheTokens_isRefused() throws Exception {
        JsonNode error = TestServer.error(post("\"prompt\":\"a\",\"suffix\":\"b\",\"echo\":true"));
        assertThat(error.get("param").stringValue()).isEqualTo("echo");
        assertThat(TestServer.error(post("\"prompt\":\"a\",\"suffix\":5"))
                        .get("param")
                        .stringValue())
                .isEqualTo("suffix");
        try (TestServer plain = TestServer.start()) {
            JsonNode other = TestServer.error(plain.post("/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"b\"}"));
            assertThat(other.get("param").stringValue()).isEqualTo("suffix");
            assertThat(other.get("message").stringValue()).contains("no tokens for filling a gap");
        }
    }

    /** Bytes, and the three tokens for gaps. */
    private static final class GapTokenizer implements Tokenizer {
        private static final List<String> TOKENS = List.of("<fim_middle>", "<fim_prefix>", "<fim_suffix>");
        private final FakeTokenizer bytes = new FakeTokenizer();

        @Override
        public int vocabularySize() {
            return bytes.vocabularySize() + TOKENS.size();
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            return bytes.encode(text, addSpecial, parseSpecial);
        }

        @Override
        public byte[] bytes(int token) {
            return token < bytes.vocabularySize() ? bytes.bytes(token) : new byte[0];
        }

        @Override
        public String spelling(int token) {
            return token < bytes.vocabularySize() ? bytes.spelling(token) : TOKENS.get(token - bytes.vocabularySize());
        }

        @Override
        public boolean isControl(int token) {
            return token >= bytes.vocabularySize() || bytes.isControl(token);
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return token < bytes.vocabularySize() && bytes.isEndOfGeneration(token);
        }

        @Override
        public OptionalInt bos() {
            return bytes.bos();
        }

        @Override
        public OptionalInt eos() {
            return bytes.eos();
        }
    }
}
