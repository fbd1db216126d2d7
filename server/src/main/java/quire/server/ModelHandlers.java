package quire.server;

import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import quire.engine.Engine;
import quire.model.SamplingDefaults;
import quire.server.anthropic.MessagesApi;
import quire.server.api.AnswerService;
import quire.server.api.Preparation;
import quire.server.api.ServedModel;
import quire.server.api.Telemetry;
import quire.server.api.Timelines;
import quire.server.api.Vectors;
import quire.server.ollama.OllamaApi;
import quire.server.openai.EmbeddingsApi;
import quire.server.openai.OpenAiApi;
import quire.server.openai.RankApi;
import quire.server.openai.TokenizeApi;
import quire.server.page.LiveView;
import quire.server.responses.KeptResponses;
import quire.server.responses.ResponsesApi;

/** A model in memory: its engine, and the handlers that answer with it. */
final class ModelHandlers {
    final Engine engine;
    final ServedModel served;
    final AnswerService answers;
    final OpenAiApi openAi;
    final EmbeddingsApi embeddings;
    final RankApi ranks;
    final TokenizeApi tokens;
    final ResponsesApi responses;
    final MessagesApi messages;
    final OllamaApi ollama;
    final LiveView live;

    /**
     * What the handlers of all models share.
     *
     * @param timelines of the last requests
     * @param kept the responses that are kept for later requests
     */
    record Shared(ServerConfig config, Preparation preparation, Timelines timelines, KeptResponses kept) {}

    /**
     * The handlers of a model.
     *
     * @param name under which it is served
     * @param aliases its further names
     * @param sampling the operator's values for requests that do not say how tokens are chosen
     * @param stay is told how long the model stays loaded when nobody uses it
     */
    ModelHandlers(
            Engine engine,
            String name,
            List<String> aliases,
            SamplingDefaults sampling,
            Consumer<Duration> stay,
            Shared shared) {
        this.engine = engine;
        ServerConfig config = shared.config;
        served = new ServedModel(engine, name, aliases, config.modelRequired(), sampling);
        answers = new AnswerService(
                engine, shared.preparation, new Telemetry(config.openTelemetry(), name), shared.timelines, name);
        Vectors vectors = new Vectors(served, answers);
        boolean refuseUnknown = !config.unknownParametersAllowed();
        openAi = new OpenAiApi(served, answers, refuseUnknown, config.strictLimits());
        embeddings = new EmbeddingsApi(served, answers, vectors, refuseUnknown);
        ranks = new RankApi(served, answers, vectors, refuseUnknown);
        tokens = new TokenizeApi(served, answers, refuseUnknown);
        responses = new ResponsesApi(answers, openAi.chats(), shared.kept, refuseUnknown);
        messages = new MessagesApi(served, answers, openAi.chats(), refuseUnknown);
        ollama = new OllamaApi(served, answers, openAi.chats(), vectors, stay, refuseUnknown);
        live = new LiveView(engine, name);
    }
}
