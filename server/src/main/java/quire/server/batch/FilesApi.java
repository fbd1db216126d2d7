package quire.server.batch;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.server.api.Json;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.Form;
import quire.server.http.Handler;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;

/** Handlers of the paths of files. */
public final class FilesApi {
    private static final int MAX_LISTED = 10_000;

    private static final String ANCHOR = "expires_after[anchor]";
    private static final String SECONDS = "expires_after[seconds]";
    private static final Set<String> FIELDS = Set.of("purpose", ANCHOR, SECONDS);

    private final @Nullable Batches batches;

    /** @param batches null if there are none; requests are refused then */
    public FilesApi(@Nullable Batches batches) {
        this.batches = batches;
    }

    /** {@code POST /v1/files}. */
    public Handler create() {
        return new Handler.Upload() {
            @Override
            public Path folder(Exchange exchange) {
                return BatchesApi.on(batches).uploads();
            }

            @Override
            public void answer(Exchange exchange, Form form) throws ClientGoneException {
                exchange.send(FilesApi.this.add(exchange, form));
            }
        };
    }

    private Response add(Exchange exchange, Form form) {
        Map<String, String> fields = form.fields();
        if (fields.containsKey("file")) {
            throw HttpException.invalid(
                    "file", "invalid_value", "The field 'file' has no filename: send it as a file.");
        }
        for (String name : fields.keySet()) {
            if (!FIELDS.contains(name)) {
                throw HttpException.invalid(
                        shown(name),
                        "unknown_parameter",
                        "Unknown field of the form: '" + shown(name) + "'. It has file, purpose, " + ANCHOR + " and "
                                + SECONDS + ".");
            }
        }
        String purpose = fields.get("purpose");
        if (purpose == null) {
            throw missing("purpose");
        }
        if (!purpose.equals(StoredFile.INPUT)) {
            throw HttpException.invalid(
                    "purpose",
                    "invalid_value",
                    "'purpose' is '" + shown(purpose) + "', but this server keeps files for batches only: give batch.");
        }
        Form.File file = form.file();
        if (file == null || !file.field().equals("file")) {
            throw missing("file");
        }
        Long seconds = BatchesApi.seconds(fields.get(ANCHOR), fields.get(SECONDS));
        return Response.json(
                200,
                Json.bytes(BatchesApi.on(batches)
                        .addFile(exchange.owner(), file, seconds)
                        .json()));
    }

    private static HttpException missing(String field) {
        return HttpException.invalid(
                field, "missing_required_parameter", "The form has no field '" + field + "', which is required.");
    }

    /** {@code GET /v1/files}. */
    public void list(Exchange exchange) throws ClientGoneException {
        String order = exchange.query("order");
        if (order != null && !order.equals("asc") && !order.equals("desc")) {
            throw HttpException.invalid("order", "invalid_value", "'order' must be asc or desc.");
        }
        exchange.send(Lists.response(BatchesApi.on(batches)
                .files(
                        exchange.owner(),
                        exchange.query("purpose"),
                        exchange.query("after"),
                        Lists.limit(exchange, MAX_LISTED, MAX_LISTED),
                        !"asc".equals(order))));
    }

    /** {@code GET /v1/files/ID}. */
    public void get(Exchange exchange) throws ClientGoneException {
        exchange.send(Response.json(
                200,
                Json.bytes(BatchesApi.on(batches)
                        .file(exchange.owner(), exchange.pathRest())
                        .json())));
    }

    /** {@code GET /v1/files/ID/content}. */
    public void content(Exchange exchange) throws ClientGoneException {
        Batches on = BatchesApi.on(batches);
        StoredFile file = on.file(exchange.owner(), exchange.pathRest());
        try (InputStream content = on.open(exchange.owner(), file.id())) {
            exchange.send("application/jsonl", Map.of(), file.bytes(), content);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** {@code DELETE /v1/files/ID}. */
    public void delete(Exchange exchange) throws ClientGoneException {
        String id = exchange.pathRest();
        BatchesApi.on(batches).deleteFile(exchange.owner(), id);
        exchange.send(Response.json(
                200,
                Json.bytes(JsonNodeFactory.instance
                        .objectNode()
                        .put("id", id)
                        .put("object", "file")
                        .put("deleted", true))));
    }

    private static String shown(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }
}
