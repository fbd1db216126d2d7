package quire.server;

import java.util.List;
import quire.engine.Engine;
import quire.server.api.AnswerService;
import quire.server.api.Preparation;
import quire.server.api.ServedModel;
import quire.server.http.ErrorFormat;
import quire.server.http.Handler;
import quire.server.http.Route;
import quire.server.http.Router;
import quire.server.openai.OpenAiApi;
import quire.server.openai.OpenAiErrors;
import quire.server.openai.TokenizeApi;

/** Every path that the server answers. */
final class Routes {
    private static final ErrorFormat OPENAI_ERRORS = new OpenAiErrors();

    private Routes() {}

    static Router router(Engine engine, ServerConfig config, ServerMetrics metrics, Preparation preparation) {
        ServedModel model =
                new ServedModel(engine, config.aliases(), config.modelRequired(), config.samplingDefaults());
        AnswerService answers = new AnswerService(engine, preparation, config.heartbeat());
        OpenAiApi openAi = new OpenAiApi(model, answers, !config.unknownParametersAllowed());
        TokenizeApi tokens = new TokenizeApi(model, answers, !config.unknownParametersAllowed());
        Health health = new Health(engine);
        List<Route> routes = List.of(
                // OpenAI's API, with and without /v1: some clients are configured with the address of the server only
                answer(answers, openAi::chatCompletions, "/v1/chat/completions", "/chat/completions"),
                answer(answers, openAi::completions, "/v1/completions", "/completions"),
                get(openAi::models, "/v1/models", "/models"),
                get(openAi::model, "/v1/models/*", "/models/*"),
                // vLLM's additions to it
                post(tokens::tokenize, "/tokenize"),
                post(tokens::detokenize, "/detokenize"),
                // for operators, without an API key
                open((Handler.Immediate) health::live, "/health/live"),
                open((Handler.Immediate) health::ready, "/health", "/health/ready"),
                open((Handler.Blocking) exchange -> exchange.send(metrics.response(engine)), "/metrics"));
        return new Router(routes, OPENAI_ERRORS);
    }

    /** A route whose requests the engine answers: they are refused at once while its queue is full. */
    private static Route answer(AnswerService answers, Handler.Blocking handler, String... paths) {
        return new Route("POST", List.of(paths), false, OPENAI_ERRORS, answers::checkRoom, handler);
    }

    private static Route post(Handler.Blocking handler, String... paths) {
        return new Route("POST", List.of(paths), false, OPENAI_ERRORS, handler);
    }

    private static Route get(Handler.Immediate handler, String... paths) {
        return new Route("GET", List.of(paths), false, OPENAI_ERRORS, handler);
    }

    private static Route open(Handler handler, String... paths) {
        return new Route("GET", List.of(paths), true, OPENAI_ERRORS, handler);
    }
}
