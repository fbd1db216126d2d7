package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;
import quire.model.BuiltInModel;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * The built-in model answers 50 chats that were not in its training data with exactly the tokens that its training program
 * computed for them and stored.
 */
@Timeout(120)
class HeldOutChatsTest {
    private static final JsonMapper MAPPER = JsonMapper.shared();

    private static List<JsonNode> chats;
    private static Engine engine;
    private static QuireServer server;
    private static HttpClient http;

    @BeforeAll
    static void start() throws IOException {
        Path workshop = Path.of(System.getProperty("quire.workshop", "../workshop"));
        chats = new ArrayList<>();
        MAPPER.readTree(Files.readString(workshop.resolve("heldout.json"))).forEach(chats::add);
        ServerMetrics metrics = new ServerMetrics();
        engine = Engine.open(BuiltInModel.QUIRE_TINY.path(), EngineConfig.defaults(), metrics);
        server = QuireServer.start(engine, ServerConfig.builder().port(0).build(), metrics);
        http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    }

    @AfterAll
    static void stop() {
        http.close();
        server.close();
        engine.close();
    }

    @Test
    void heldOutChats_asTokens_areAnsweredTokenByTokenAsInTraining() throws InterruptedException {
        assertThat(chats).hasSize(50);
        List<TokenStream> streams = new ArrayList<>();
        for (JsonNode chat : chats) {
            SamplingParams greedy = SamplingParams.builder()
                    .temperature(0)
                    .maxTokens(chat.get("output_ids").size())
                    .build();
            streams.add(engine.submit(new Request(ints(chat.get("prompt_ids")), greedy)));
        }
        for (int i = 0; i < chats.size(); i++) {
            List<Integer> tokens = new ArrayList<>();
            TokenStream stream = streams.get(i);
            for (Output output = stream.next(); output != null; output = stream.next()) {
                tokens.add(output.token());
            }
            List<Integer> expected = new ArrayList<>();
            chats.get(i).get("output_ids").forEach(id -> expected.add(id.asInt()));
            expected.removeIf(id -> engine.tokenizer()
                    .isEndOfGeneration(id)); // an end token is the finish reason, not part of the text
            tokens.removeIf(id -> engine.tokenizer().isEndOfGeneration(id));
            assertThat(tokens).as(chats.get(i).get("prompt").asString()).isEqualTo(expected);
        }
    }

    @Test
    void heldOutChats_overHttp_areTheSameAloneAndTogether() throws IOException, InterruptedException {
        List<CompletableFuture<HttpResponse<String>>> together = new ArrayList<>();
        for (JsonNode chat : chats) {
            together.add(http.sendAsync(request(chat), HttpResponse.BodyHandlers.ofString()));
        }
        for (int i = 0; i < chats.size(); i++) {
            String expected = chats.get(i).get("output").asString();
            assertThat(content(together.get(i).join())).isEqualTo(expected);
        }
        for (JsonNode chat : chats) {
            HttpResponse<String> alone = http.send(request(chat), HttpResponse.BodyHandlers.ofString());
            assertThat(content(alone)).isEqualTo(chat.get("output").asString());
        }
    }

    private static HttpRequest request(JsonNode chat) {
        ObjectNode body = MAPPER.createObjectNode();
        body.put("model", engine.modelName());
        body.set("messages", chat.get("messages"));
        body.put("temperature", 0);
        body.put("max_tokens", chat.get("output_ids").size());
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/v1/chat/completions"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString()))
                .build();
    }

    private static String content(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode choice = MAPPER.readTree(response.body()).get("choices").get(0);
        return choice.get("message").get("content").asString();
    }

    private static int[] ints(JsonNode array) {
        int[] values = new int[array.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = array.get(i).asInt();
        }
        return values;
    }
}
