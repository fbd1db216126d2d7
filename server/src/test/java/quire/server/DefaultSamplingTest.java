package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.model.SamplingDefaults;
import quire.model.format.GgufValueType;
import quire.model.format.RandomModels;
import quire.server.api.Json;
import quire.tensor.ElementType;
import tools.jackson.databind.JsonNode;

/** Absent sampling parameters: the operator's, then those of the model's file, then neutral ones. */
@Timeout(60)
class DefaultSamplingTest {
    private static final String BODY = "{\"prompt\":\"the\",\"max_tokens\":12,\"ignore_eos\":true";

    @TempDir
    private Path folder;

    /** A model whose file recommends values with which the likeliest token is always chosen. */
    private Path greedy() {
        return RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 3)
                .float32("general.sampling.temp", 0.01f)
                .integer("general.sampling.top_k", GgufValueType.INT32, 1)
                .float32("general.sampling.top_p", 0.1f)
                .float32("general.sampling.min_p", 0.9f)
                .float32("general.sampling.penalty_repeat", 1)
                .write(folder.resolve("greedy.gguf"));
    }

    private Path plain() {
        return RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 3);
    }

    private static String text(TestServer server, String options) throws Exception {
        HttpResponse<String> response = server.post("/v1/completions", BODY + options + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body()).get("choices").get(0).get("text").stringValue();
    }

    private static TestServer serve(Path model, SamplingDefaults operator) {
        return TestServer.builder()
                .model(model)
                .config(TestServer.config().samplingDefaults(operator).build())
                .start();
    }

    @Test
    void completion_withoutSampling_usesWhatTheFileRecommends() throws Exception {
        try (TestServer server = serve(greedy(), SamplingDefaults.NONE)) {
            String greedy = text(server, ",\"temperature\":0");
            for (int seed = 0; seed < 4; seed++) {
                assertThat(text(server, ",\"seed\":" + seed)).isEqualTo(greedy);
                assertThat(text(server, ",\"temperature\":null,\"seed\":" + seed))
                        .isEqualTo(greedy);
            }
        }
    }

    @Test
    void completion_requestSaysAllValues_fileIsIgnored() throws Exception {
        String all = ",\"seed\":1,\"temperature\":2,\"top_k\":0,\"top_p\":1,\"min_p\":0";
        try (TestServer server = serve(greedy(), SamplingDefaults.NONE);
                TestServer plain = serve(plain(), SamplingDefaults.NONE)) {
            assertThat(text(server, all)).isEqualTo(text(plain, all)).isNotEqualTo(text(plain, ",\"temperature\":0"));
            // One value alone: the others are the file's.
            assertThat(text(server, ",\"seed\":1,\"temperature\":2")).isEqualTo(text(server, ",\"temperature\":0"));
        }
    }

    @Test
    void completion_operatorSaysAllValues_fileIsIgnored() throws Exception {
        try (TestServer server = serve(greedy(), SamplingDefaults.NEUTRAL);
                TestServer plain = serve(plain(), SamplingDefaults.NONE)) {
            assertThat(text(server, ",\"seed\":1")).isEqualTo(text(plain, ",\"seed\":1"));
            assertThat(text(server, ",\"seed\":1,\"top_k\":1")).isEqualTo(text(plain, ",\"temperature\":0"));
        }
    }

    @Test
    void penaltyWindow_withAPenaltyOfTheFile_isRefused() throws Exception {
        Path model = RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 3)
                .float32("general.sampling.penalty_repeat", 1.25f)
                .write(folder.resolve("penalty.gguf"));
        try (TestServer server = serve(model, SamplingDefaults.NONE)) {
            HttpResponse<String> refused = server.post("/v1/completions", BODY + ",\"repeat_last_n\":64}");
            assertThat(refused.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(refused).get("param").stringValue()).isEqualTo("repeat_last_n");
            assertThat(TestServer.error(refused).get("message").stringValue()).contains("repetition penalty of 1.25");
            // The window of the file's penalty is the whole text, and a penalty of 1 needs no window.
            text(server, ",\"repeat_last_n\":-1");
            text(server, ",\"repeat_last_n\":64,\"repeat_penalty\":1");
        }
        try (TestServer server = serve(plain(), SamplingDefaults.NONE)) {
            text(server, ",\"repeat_last_n\":64");
        }
    }

    @Test
    void models_showTheDefaults() throws Exception {
        try (TestServer server = serve(greedy(), SamplingDefaults.NONE)) {
            JsonNode shown =
                    TestServer.json(server.get("/v1/models")).get("data").get(0).get("default_sampling");
            assertThat(shown)
                    .isEqualTo(
                            Json.read(
                                    "{\"temperature\":0.01,\"top_k\":1,\"top_p\":0.1,\"min_p\":0.9,\"repetition_penalty\":1.0}"));
        }
        try (TestServer server = TestServer.start()) {
            JsonNode shown =
                    TestServer.json(server.get("/v1/models")).get("data").get(0).get("default_sampling");
            assertThat(shown)
                    .isEqualTo(
                            Json.read(
                                    "{\"temperature\":1.0,\"top_k\":0,\"top_p\":1.0,\"min_p\":0.0,\"repetition_penalty\":1.0}"));
        }
    }
}
