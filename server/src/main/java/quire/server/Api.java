package quire.server;

import java.io.ByteArrayOutputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.OverloadedException;
import quire.engine.TokenStream;
import quire.model.text.Tokenizer;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What the endpoints answer. Every method runs on the request's own virtual thread and may block it. */
final class Api {
    private static final Logger LOG = System.getLogger(Api.class.getName());

    /** A batch of events goes out when it is this large, even if more tokens are there. */
    private static final int WRITE_BYTES = 64 << 10;

    private static final byte[] DONE = "data: [DONE]\n\n".getBytes(StandardCharsets.US_ASCII);

    /** Parameters of vLLM's {@code /tokenize} that are not offered, with their harmless values. */
    private static final Map<String, Predicate<JsonNode>> TOKENIZE_REFUSED = Map.of(
            "continue_final_message", v -> v.isBoolean() && !v.booleanValue(),
            "chat_template", v -> false,
            "chat_template_kwargs", v -> v.isObject() && v.isEmpty(),
            "mm_processor_kwargs", v -> v.isObject() && v.isEmpty());

    private final Engine engine;
    private final Tokenizer tokenizer;
    private final List<String> modelNames;
    private final RequestReader reader;
    private final BooleanSupplier draining;
    private final String fingerprint;
    private final long created = now();

    /**
     * Reading a request (JSON, template, tokens) takes a processor and up to some twenty times the body in memory, so
     * only as many are read at once as there are processors.
     */
    private final Semaphore readers =
            new Semaphore(Math.max(2, Runtime.getRuntime().availableProcessors()), true);

    Api(Engine engine, List<String> modelNames, BooleanSupplier draining) {
        this.engine = engine;
        this.tokenizer = engine.tokenizer();
        this.modelNames = modelNames;
        this.reader = new RequestReader(engine, modelNames);
        this.draining = draining;
        this.fingerprint = "fp_" + String.format("%08x", modelNames.getFirst().hashCode());
    }

    /** {@code POST /v1/completions} and {@code POST /v1/chat/completions}. */
    void answer(Exchange exchange, byte[] body, boolean chat, Runnable bodyRead)
            throws Exchange.ClientGoneException, InterruptedException {
        checkAvailable();
        Asked asked;
        readers.acquire();
        try {
            Fields fields = Fields.parse(body);
            asked = chat ? reader.chat(fields) : reader.completion(fields);
        } finally {
            readers.release();
            bodyRead.run();
        }
        if (exchange.gone()) {
            return;
        }
        String id = (chat ? "chatcmpl-" : "cmpl-") + newId();
        AnswerFormat format = new AnswerFormat(asked, id, now(), modelNames.getFirst(), fingerprint, tokenizer);
        try (TokenStream stream = submit(asked)) {
            exchange.watch(stream);
            if (asked.stream()) {
                stream(exchange, asked, format, stream);
            } else {
                whole(exchange, asked, format, stream);
            }
        }
    }

    /** {@code GET /v1/models}, and of one of them with {@code name}. */
    ObjectNode models(@Nullable String name) {
        if (name != null && !modelNames.contains(name)) {
            throw ApiException.unknownModel(name, String.join("', '", modelNames));
        }
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("object", "list");
        ArrayNode data = root.putArray("data");
        for (String model : modelNames) {
            ObjectNode entry = JsonNodeFactory.instance
                    .objectNode()
                    .put("id", model)
                    .put("object", "model")
                    .put("created", created)
                    .put("owned_by", "quire")
                    .put("root", modelNames.getFirst())
                    .putNull("parent")
                    .put("max_model_len", engine.maxContext());
            if (model.equals(name)) {
                return entry;
            }
            data.add(entry);
        }
        return root;
    }

    /** {@code POST /tokenize}: vLLM's shape. */
    void tokenize(Exchange exchange, byte[] body, Runnable bodyRead)
            throws Exchange.ClientGoneException, InterruptedException {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        readers.acquire();
        try {
            Fields fields = Fields.parse(body);
            checkOptionalModel(fields);
            RequestReader.refuse(fields, TOKENIZE_REFUSED);
            boolean strings = fields.bool("return_token_strs", false);
            int[] tokens;
            JsonNode prompt = fields.get("prompt");
            if (prompt != null && fields.get("messages") != null) {
                throw ApiException.invalid(
                        "messages", "invalid_value", "'prompt' and 'messages' exclude each other: send one of them.");
            }
            if (prompt == null && fields.get("messages") != null) {
                boolean addGenerationPrompt = fields.bool("add_generation_prompt", true);
                boolean addSpecial = fields.bool("add_special_tokens", false);
                tokens = ChatPrompt.tokens(engine, fields, addGenerationPrompt, addSpecial);
            } else {
                String text = Fields.string(fields.require("prompt"), "prompt");
                tokens = tokenizer.encode(text, fields.bool("add_special_tokens", true), true);
            }
            answer.put("count", tokens.length).put("max_model_len", engine.maxContext());
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
        } finally {
            readers.release();
            bodyRead.run();
        }
        exchange.send(200, answer);
    }

    /** {@code POST /detokenize}: vLLM's shape. */
    void detokenize(Exchange exchange, byte[] body, Runnable bodyRead)
            throws Exchange.ClientGoneException, InterruptedException {
        String text;
        readers.acquire();
        try {
            Fields fields = Fields.parse(body);
            checkOptionalModel(fields);
            text = tokenizer.decodeText(reader.tokens(fields.require("tokens"), "tokens"));
        } finally {
            readers.release();
            bodyRead.run();
        }
        exchange.send(200, JsonNodeFactory.instance.objectNode().put("prompt", text));
    }

    private void checkOptionalModel(Fields fields) {
        JsonNode model = fields.get("model");
        if (model != null) {
            reader.checkModel(model);
        }
    }

    private void checkAvailable() {
        if (draining.getAsBoolean()) {
            throw ApiException.unavailable("The server is shutting down and takes no new requests.");
        }
        if (engine.failure() != null) {
            throw ApiException.unavailable("The engine has failed and answers no more requests: restart the server.");
        }
    }

    private TokenStream submit(Asked asked) {
        try {
            return engine.submit(asked.request());
        } catch (InvalidRequestException e) {
            throw asked.chat()
                    ? RequestReader.refused(e, "messages", "max_completion_tokens", "top_logprobs")
                    : RequestReader.refused(e, "prompt", "max_tokens", "logprobs");
        } catch (OverloadedException e) {
            String message = e.getMessage();
            throw ApiException.overloaded(
                    message == null ? "Too many requests are waiting." : message, Math.max(1, e.retryAfterSeconds()));
        } catch (IllegalStateException e) {
            checkAvailable();
            throw ApiException.unavailable("The engine is closed and takes no new requests.");
        }
    }

    private void whole(Exchange exchange, Asked asked, AnswerFormat format, TokenStream stream)
            throws Exchange.ClientGoneException, InterruptedException {
        StringBuilder text = new StringBuilder();
        List<Output> outputs = new ArrayList<>();
        for (Output output = stream.next(); output != null; output = stream.next()) {
            text.append(output.text());
            if (asked.logprobs()) {
                outputs.add(output);
            }
        }
        TokenStream.Finish finish = stream.finish();
        ApiException error = failure(exchange, finish);
        if (error != null) {
            exchange.send(error);
        } else {
            exchange.send(200, format.whole(text.append(finish.text()).toString(), outputs, finish, stream));
        }
    }

    private void stream(Exchange exchange, Asked asked, AnswerFormat format, TokenStream stream)
            throws Exchange.ClientGoneException, InterruptedException {
        ByteArrayOutputStream events = new ByteArrayOutputStream();
        add(events, format.first());
        exchange.begin(take(events));
        for (Output output = stream.next(); output != null; output = stream.next()) {
            // What is already there leaves in the same write.
            for (Output ready = output; ready != null; ready = events.size() < WRITE_BYTES ? stream.poll() : null) {
                add(events, format.next(ready));
            }
            if (events.size() > 0) {
                exchange.events(take(events));
            }
        }
        TokenStream.Finish finish = stream.finish();
        ApiException error = failure(exchange, finish);
        if (error != null) {
            add(events, error.toJson());
            exchange.abort(take(events));
            return;
        }
        add(events, format.last(finish));
        if (asked.includeUsage()) {
            add(events, format.usage(finish, stream));
        }
        events.writeBytes(DONE);
        exchange.end(take(events));
    }

    /** The error that an answer ended with; null when it ended well. */
    private @Nullable ApiException failure(Exchange exchange, TokenStream.Finish finish)
            throws Exchange.ClientGoneException {
        return switch (finish.reason()) {
            case STOP, LENGTH -> null;
            case CANCELLED -> ApiException.unavailable("The server is shutting down and cut this answer short.");
            case ERROR -> {
                LOG.log(Level.ERROR, "request {0} failed: {1}", exchange.id(), finish.error());
                yield ApiException.internal(exchange.id());
            }
        };
    }

    private static void add(ByteArrayOutputStream events, @Nullable ObjectNode event) {
        if (event != null) {
            events.writeBytes("data: ".getBytes(StandardCharsets.US_ASCII));
            events.writeBytes(Fields.MAPPER.writeValueAsBytes(event));
            events.writeBytes("\n\n".getBytes(StandardCharsets.US_ASCII));
        }
    }

    private static byte[] take(ByteArrayOutputStream events) {
        byte[] bytes = events.toByteArray();
        events.reset();
        return bytes;
    }

    private static long now() {
        return System.currentTimeMillis() / 1000;
    }

    /** 24 letters and digits, unique for all purposes. */
    static String newId() {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        StringBuilder id = new StringBuilder(24);
        for (int i = 0; i < 24; i++) {
            id.append(Character.forDigit(random.nextInt(36), 36));
        }
        return id.toString();
    }
}
