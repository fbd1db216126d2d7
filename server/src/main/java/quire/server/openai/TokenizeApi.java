package quire.server.openai;

import java.util.List;
import quire.model.text.Tokenizer;
import quire.server.api.AnswerService;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of the paths that convert text to tokens and back, in vLLM's format, and chats to text as llama.cpp does. */
public final class TokenizeApi {
    private final ServedModel model;
    private final Tokenizer tokenizer;
    private final AnswerService answers;
    private final Parameters parameters;

    /**
     * Handlers for this model's tokenizer.
     *
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public TokenizeApi(ServedModel model, AnswerService answers, boolean refuseUnknown) {
        this.model = model;
        this.tokenizer = model.tokenizer();
        this.answers = answers;
        this.parameters = new Parameters(ParameterTable.ROWS, refuseUnknown);
    }

    /** {@code POST /tokenize}. */
    public void tokenize(Exchange exchange) throws ClientGoneException, InterruptedException {
        exchange.send(Response.json(200, answers.read(exchange, body -> Json.bytes(tokenize(body)))));
    }

    /** {@code POST /apply-template}: the text that a chat's messages and tools become, without an answer to it. */
    public void applyTemplate(Exchange exchange) throws ClientGoneException, InterruptedException {
        exchange.send(Response.json(200, answers.read(exchange, body -> Json.bytes(applyTemplate(body)))));
    }

    private ObjectNode applyTemplate(Fields request) {
        model.resolve(request);
        Fields body = parameters.check(Parameter.Place.CHAT, request);
        ChatPrompt.Prompt prompt = ChatPrompt.render(
                model.engine(),
                body,
                withoutTools(body) ? List.of() : ChatPrompt.tools(body),
                ReasoningReader.variables(body),
                true,
                rendered -> tokenizer.encode(rendered, false, true));
        return JsonNodeFactory.instance.objectNode().put("prompt", prompt.text());
    }

    /** {@code POST /detokenize}. */
    public void detokenize(Exchange exchange) throws ClientGoneException, InterruptedException {
        exchange.send(Response.json(200, answers.read(exchange, body -> Json.bytes(detokenize(body)))));
    }

    private ObjectNode tokenize(Fields request) {
        model.resolve(request);
        Fields body = parameters.check(Parameter.Place.TOKENIZE, request);
        boolean strings = body.bool("return_token_strs", false);
        int[] tokens = tokens(body);
        ObjectNode answer = JsonNodeFactory.instance
                .objectNode()
                .put("count", tokens.length)
                .put("max_model_len", model.engine().maxContext());
        ArrayNode ids = answer.putArray("tokens");
        for (int token : tokens) {
            ids.add(token);
        }
        if (strings) {
            ArrayNode spelled = answer.putArray("token_strs");
            for (int token : tokens) {
                spelled.add(tokenizer.spelling(token));
            }
        } else {
            answer.putNull("token_strs");
        }
        return answer;
    }

    private int[] tokens(Fields body) {
        JsonNode prompt = body.get("prompt");
        if (prompt != null && body.get("messages") != null) {
            throw HttpException.invalid(
                    "messages", "invalid_value", "'prompt' and 'messages' exclude each other: send one of them.");
        }
        if (prompt == null && body.get("messages") != null) {
            boolean addGenerationPrompt = body.bool("add_generation_prompt", true);
            boolean addSpecial = body.bool("add_special_tokens", false);
            return ChatPrompt.render(
                            model.engine(),
                            body,
                            withoutTools(body) ? List.of() : ChatPrompt.tools(body),
                            ReasoningReader.variables(body),
                            addGenerationPrompt,
                            rendered -> tokenizer.encode(rendered, addSpecial, true))
                    .tokens();
        }
        String text = Fields.string(body.require("prompt"), "prompt");
        return tokenizer.encode(text, body.bool("add_special_tokens", true), true);
    }

    /** Whether the model must not call tools, so that the prompt has none. */
    private static boolean withoutTools(Fields body) {
        JsonNode choice = body.get("tool_choice");
        return choice != null && choice.isString() && choice.stringValue().equals("none");
    }

    private ObjectNode detokenize(Fields request) {
        model.resolve(request);
        Fields body = parameters.check(Parameter.Place.DETOKENIZE, request);
        int[] tokens = RequestReader.tokens(body.require("tokens"), "tokens", tokenizer);
        return JsonNodeFactory.instance.objectNode().put("prompt", tokenizer.decodeText(tokens));
    }
}
