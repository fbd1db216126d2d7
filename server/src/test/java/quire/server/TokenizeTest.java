package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.FakeTokenizer;
import quire.model.BuiltInModel;
import quire.model.text.Tokenizer;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.StringNode;

/** Tokens that are converted back to text give the original text, and so does the echo of a prompt. */
@Timeout(60)
class TokenizeTest {
    private static final List<String> TEXTS =
            List.of("Hello", " Hello", "  Hello", "\nHello", "Hello world  twice", "\u00e9\u20ac", "", " ", "\n\n x");

    @Test
    void detokenize_ofTokenizedText_isTheText() throws Exception {
        assertRoundTrips(TestServer.builder());
        assertRoundTrips(TestServer.builder().tokenizer(new SpacePrefixTokenizer()));
        assertRoundTrips(TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()));
    }

    @Test
    void applyTemplate_ofAChat_isTheTextOfItsPrompt() throws Exception {
        try (TestServer server = TestServer.builder()
                .context(2048)
                .template(ReasoningTest.template())
                .start()) {
            String chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\","
                    + "\"function\":{\"name\":\"stop\"}}],\"temperature\":0,\"enable_thinking\":false";
            assertThat(TestServer.json(server.post("/apply-template", chat + "}"))
                            .get("prompt")
                            .stringValue())
                    .isEqualTo("[stop]<user>hi<assistant><think>\n\n</think>\n\n");
            assertThat(TestServer.json(server.post("/apply-template", chat + ",\"tool_choice\":\"none\"}"))
                            .get("prompt")
                            .stringValue())
                    .startsWith("<user>hi");
            assertThat(server.post("/apply-template", "{\"prompt\":\"x\"}").statusCode())
                    .isEqualTo(400);
        }
    }

    @Test
    void detokenize_ofTextTokenizedBySentencePiece_isTheText() throws Exception {
        Path path = Path.of(System.getProperty("quire.shared", "../shared"), "models/stories260K.gguf");
        assumeTrue(Files.exists(path), path + " is not there");
        assertRoundTrips(TestServer.builder().model(path));
    }

    private static void assertRoundTrips(TestServer.Builder builder) throws Exception {
        try (TestServer server = builder.start()) {
            for (String text : TEXTS) {
                for (boolean special : new boolean[] {true, false}) {
                    JsonNode tokens = TestServer.json(server.post(
                                    "/tokenize",
                                    "{\"prompt\":" + Json.text(StringNode.valueOf(text)) + ",\"add_special_tokens\":"
                                            + special + "}"))
                            .get("tokens");
                    assertThat(TestServer.json(server.post("/detokenize", "{\"tokens\":" + tokens + "}"))
                                    .get("prompt")
                                    .stringValue())
                            .isEqualTo(text);
                    if (!tokens.isEmpty()) {
                        String request = "{\"seed\":1,\"max_tokens\":3,\"prompt\":" + tokens;
                        String answer = text(server, request + "}");
                        assertThat(text(server, request + ",\"echo\":true}")).isEqualTo(text + answer);
                    }
                }
            }
        }
    }

    private static String text(TestServer server, String body) throws Exception {
        return TestServer.json(server.post("/v1/completions", body))
                .get("choices")
                .get(0)
                .get("text")
                .stringValue();
    }

    /** Puts a space before each text, as vocabularies of SentencePiece do. */
    private static final class SpacePrefixTokenizer implements Tokenizer {
        private final Tokenizer bytes = new FakeTokenizer();

        @Override
        public int vocabularySize() {
            return bytes.vocabularySize();
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            return bytes.encode(text.isEmpty() ? "" : " " + text, addSpecial, parseSpecial);
        }

        @Override
        public String decodeText(int... tokens) {
            String text = bytes.decode(tokens);
            return text.startsWith(" ") ? text.substring(1) : text;
        }

        @Override
        public byte[] bytes(int token) {
            return bytes.bytes(token);
        }

        @Override
        public String spelling(int token) {
            return bytes.spelling(token);
        }

        @Override
        public boolean isControl(int token) {
            return bytes.isControl(token);
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return bytes.isEndOfGeneration(token);
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
