package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.client.OpenAIClient;
import com.openai.core.JsonValue;
import com.openai.core.MultipartField;
import com.openai.core.http.HttpResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.errors.OpenAIServiceException;
import com.openai.models.batches.Batch;
import com.openai.models.batches.BatchCreateParams;
import com.openai.models.batches.BatchError;
import com.openai.models.batches.BatchListParams;
import com.openai.models.files.FileCreateParams;
import com.openai.models.files.FileListParams;
import com.openai.models.files.FileObject;
import com.openai.models.files.FilePurpose;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Files and batches, as OpenAI's own client uses them. */
@Timeout(60)
class BatchesTest {
    @TempDir
    private Path folder;

    /** A time that the test sets. */
    private static final class Clock implements InstantSource {
        private final AtomicLong seconds = new AtomicLong(1_800_000_000);

        @Override
        public Instant instant() {
            return Instant.ofEpochSecond(seconds.get());
        }
    }

    private final Clock clock = new Clock();

    private TestServer.Builder builder(ServerConfig.Builder config) {
        return TestServer.builder().clock(clock).config(config.batches(folder).build());
    }

    private TestServer start() {
        return builder(TestServer.config()).start();
    }

    static String line(String id, String body) {
        return "{\"custom_id\":\"" + id + "\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":" + body + "}\n";
    }

    private static String lines(int count, int tokens) {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < count; i++) {
            lines.append(line(
                    "request-" + i,
                    "{\"prompt\":\"question " + i + "\",\"max_tokens\":" + tokens + ",\"ignore_eos\":true}"));
        }
        return lines.toString();
    }

    private static FileObject upload(OpenAIClient client, String lines) {
        return client.files()
                .create(FileCreateParams.builder()
                        .purpose(FilePurpose.BATCH)
                        .file(file(lines))
                        .build());
    }

    private static MultipartField<InputStream> file(String lines) {
        return MultipartField.<InputStream>builder()
                .value(new ByteArrayInputStream(lines.getBytes(StandardCharsets.UTF_8)))
                .filename("in.jsonl")
                .build();
    }

    private static Batch create(OpenAIClient client, String lines) {
        return create(client, upload(client, lines).id(), BatchCreateParams.Endpoint.V1_COMPLETIONS);
    }

    private static Batch create(OpenAIClient client, String fileId, BatchCreateParams.Endpoint endpoint) {
        return client.batches()
                .create(BatchCreateParams.builder()
                        .inputFileId(fileId)
                        .endpoint(endpoint)
                        .completionWindow(BatchCreateParams.CompletionWindow._24H)
                        .build());
    }

    /** Asks until the batch has this status; the time limit of the test ends it otherwise. */
    private static Batch await(OpenAIClient client, Batch batch, Batch.Status status) {
        Batch now = client.batches().retrieve(batch.id());
        while (!now.status().equals(status)) {
            assertThat(now.status()).isNotIn(Batch.Status.FAILED, Batch.Status.COMPLETED);
            now = client.batches().retrieve(batch.id());
        }
        return now;
    }

    private static String content(OpenAIClient client, String fileId) throws IOException {
        try (HttpResponse response = client.files().content(fileId)) {
            return new String(response.body().readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    /** The lines of a file by their custom_id, each once, in the order of the file. */
    private static Map<String, JsonNode> answers(OpenAIClient client, String fileId) throws IOException {
        Map<String, JsonNode> answers = new HashMap<>();
        for (String line : content(client, fileId).lines().toList()) {
            JsonNode answer = Json.read(line);
            assertThat(answer.get("id").stringValue()).startsWith("batch_req_");
            assertThat(answers.put(answer.get("custom_id").stringValue(), answer))
                    .isNull();
        }
        return answers;
    }

    private List<String> left(String subfolder) throws IOException {
        try (Stream<Path> files = Files.list(folder.resolve(subfolder))) {
            return files.map(path -> String.valueOf(path.getFileName())).toList();
        }
    }

    @Test
    void batch_ofGoodAndBadLines_isAnsweredAsOverHttp() throws Exception {
        try (TestServer server = start()) {
            OpenAIClient client = server.openAi();
            String good = "{\"prompt\":\"a\",\"max_tokens\":4,\"seed\":3}";
            String lines = line("good", good) + "\n" + line("bad", "{\"prompt\":\"a\",\"max_tokens\":-5}")
                    + line("good again", good);
            FileObject file = upload(client, lines);
            assertThat(file.bytes()).isEqualTo(lines.length());
            assertThat(content(client, file.id())).isEqualTo(lines);
            Batch batch = client.batches()
                    .create(BatchCreateParams.builder()
                            .inputFileId(file.id())
                            .endpoint(BatchCreateParams.Endpoint.V1_COMPLETIONS)
                            .completionWindow(BatchCreateParams.CompletionWindow._24H)
                            .metadata(BatchCreateParams.Metadata.builder()
                                    .putAdditionalProperty("job", JsonValue.from("nightly"))
                                    .build())
                            .build());
            batch = await(client, batch, Batch.Status.COMPLETED);
            assertThat(batch.inputFileId()).isEqualTo(file.id());
            assertThat(TestServer.json(server.get("/v1/batches/" + batch.id()))
                            .at("/metadata/job")
                            .stringValue())
                    .isEqualTo("nightly");
            assertThat(batch.createdAt()).isEqualTo(clock.seconds.get());
            assertThat(batch.expiresAt()).contains(clock.seconds.get() + 86_400);
            assertThat(List.of(batch.inProgressAt(), batch.finalizingAt(), batch.completedAt()))
                    .allMatch(time -> time.orElseThrow() == clock.seconds.get());
            assertThat(batch.errors()).isEmpty();
            assertThat(batch.requestCounts().orElseThrow().total()).isEqualTo(3);
            assertThat(batch.requestCounts().orElseThrow().completed()).isEqualTo(2);
            assertThat(batch.requestCounts().orElseThrow().failed()).isEqualTo(1);
            Map<String, JsonNode> answered =
                    answers(client, batch.outputFileId().orElseThrow());
            assertThat(answered).containsOnlyKeys("good", "good again");
            JsonNode direct = TestServer.json(server.post("/v1/completions", good));
            for (JsonNode answer : answered.values()) {
                assertThat(answer.get("error").isNull()).isTrue();
                assertThat(answer.at("/response/status_code").intValue()).isEqualTo(200);
                assertThat(answer.at("/response/request_id").stringValue()).startsWith("req_");
                assertThat(answer.at("/response/body/choices")).isEqualTo(direct.get("choices"));
            }
            JsonNode refused = Objects.requireNonNull(
                    answers(client, batch.errorFileId().orElseThrow()).get("bad"));
            assertThat(refused.at("/response/status_code").intValue()).isEqualTo(400);
            assertThat(refused.at("/response/body/error/param").stringValue()).isEqualTo("max_tokens");
            assertThat(server.get("/metrics").body())
                    .contains(
                            "quire_batches{model_name=\"fake\",status=\"completed\"} 1",
                            "quire_batch_requests_waiting{model_name=\"fake\"} 0",
                            "quire_batch_requests_answered_total{model_name=\"fake\"} 3");
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "/v1/chat/completions ; {'messages':[{'role':'user','content':'hi'}],'max_tokens':3} ; chat.completion",
                "/v1/embeddings ; {'input':'hi'} ; list",
                "/v1/responses ; {'input':'hi','max_output_tokens':16} ; response"
            })
    void batch_ofEveryEndpoint_isAnswered(String url, String body, String object) throws Exception {
        try (TestServer server = start()) {
            OpenAIClient client = server.openAi();
            String line = line("x", body.replace('\'', '"')).replace("/v1/completions", url);
            Batch batch = create(client, upload(client, line).id(), BatchCreateParams.Endpoint.of(url));
            batch = await(client, batch, Batch.Status.COMPLETED);
            JsonNode answer = Objects.requireNonNull(
                    answers(client, batch.outputFileId().orElseThrow()).get("x"));
            assertThat(answer.at("/response/body/object").stringValue()).isEqualTo(object);
            assertThat(batch.errorFileId()).isEmpty();
        }
    }

    @Test
    void batch_ofAWrongFile_failsAndNamesTheLines() throws Exception {
        try (TestServer server = start()) {
            OpenAIClient client = server.openAi();
            String lines = line("a", "{}") + "nonsense\n" + line("a", "{}")
                    + line("b", "{}").replace("/v1/completions", "/v1/embeddings")
                    + line("c", "{\"stream\":true}");
            Batch created = create(client, lines);
            Batch batch = client.batches().retrieve(created.id());
            while (!batch.status().equals(Batch.Status.FAILED)) {
                batch = client.batches().retrieve(created.id());
            }
            assertThat(batch.failedAt()).contains(clock.seconds.get());
            List<BatchError> errors = batch.errors().orElseThrow().data().orElseThrow();
            assertThat(errors.stream().map(error -> error.line().orElseThrow())).containsExactly(2L, 3L, 4L, 5L);
            assertThat(errors.stream().map(error -> error.message().orElseThrow()))
                    .satisfiesExactly(
                            message -> assertThat(message).startsWith("Line 2 is not JSON"),
                            message -> assertThat(message).contains("custom_id 'a' of an earlier line"),
                            message -> assertThat(message).contains("/v1/embeddings"),
                            message -> assertThat(message).contains("asks for a stream"));
            String empty = create(client, "\n\n").id();
            batch = client.batches().retrieve(empty);
            while (!batch.status().equals(Batch.Status.FAILED)) {
                batch = client.batches().retrieve(empty);
            }
            assertThat(batch.errors()
                            .orElseThrow()
                            .data()
                            .orElseThrow()
                            .getFirst()
                            .code())
                    .contains("empty_file");
            client.files().delete(created.inputFileId()); // nothing reads it any more
        }
    }

    /** Lets the engine compute steps until a line has its answer. */
    private static void stepUntilOneIsAnswered(OpenAIClient client, Batch batch, Semaphore steps) {
        while (client.batches()
                        .retrieve(batch.id())
                        .requestCounts()
                        .orElseThrow()
                        .completed()
                == 0) {
            if (steps.hasQueuedThreads()) {
                steps.release();
            }
        }
    }

    @Test
    void cancel_ofARunningBatch_keepsWhatIsDone() throws Exception {
        Semaphore steps = new Semaphore(0);
        try (TestServer server = builder(TestServer.config())
                        .maxSequences(32) // lines begin in any order, so all of them run together
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(100_000)) {
            OpenAIClient client = server.openAi();
            Batch batch = create(client, line("short", "{\"prompt\":\"a\",\"max_tokens\":1}") + lines(20, 400));
            stepUntilOneIsAnswered(client, batch, steps);
            assertThatThrownBy(() -> client.files().delete(batch.inputFileId()))
                    .isInstanceOfSatisfying(OpenAIServiceException.class, e -> assertThat(e.statusCode())
                            .isEqualTo(409))
                    .hasMessageContaining(batch.id());
            assertThat(client.batches().cancel(batch.id()).status()).isEqualTo(Batch.Status.CANCELLING);
            steps.release(100_000);
            Batch ended = await(client, batch, Batch.Status.CANCELLED);
            assertThat(ended.cancellingAt()).contains(clock.seconds.get());
            assertThat(ended.cancelledAt()).contains(clock.seconds.get());
            assertThat(answers(client, ended.outputFileId().orElseThrow())).containsOnlyKeys("short");
            Map<String, JsonNode> errors = answers(client, ended.errorFileId().orElseThrow());
            assertThat(errors).hasSize(20);
            assertThat(errors.values()).allSatisfy(line -> {
                assertThat(line.get("response").isNull()).isTrue();
                assertThat(line.at("/error/code").stringValue()).isEqualTo("batch_cancelled");
            });
            assertThat(ended.requestCounts().orElseThrow().failed()).isEqualTo(20);
            assertThatThrownBy(() -> client.batches().cancel(batch.id()))
                    .isInstanceOfSatisfying(OpenAIServiceException.class, e -> assertThat(e.statusCode())
                            .isEqualTo(409));
            server.awaitIdle();
        }
    }

    @Test
    void time_over_endsTheBatchAndDeletesFiles() throws Exception {
        Semaphore steps = new Semaphore(0);
        try (TestServer server = builder(TestServer.config())
                        .maxSequences(1)
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(100_000)) {
            OpenAIClient client = server.openAi();
            FileObject file = client.files()
                    .create(FileCreateParams.builder()
                            .purpose(FilePurpose.BATCH)
                            .file(file(lines(3, 400)))
                            .expiresAfter(FileCreateParams.ExpiresAfter.builder()
                                    .seconds(3600)
                                    .build())
                            .build());
            assertThat(file.expiresAt()).contains(clock.seconds.get() + 3600);
            Batch batch = client.batches()
                    .create(BatchCreateParams.builder()
                            .inputFileId(file.id())
                            .endpoint(BatchCreateParams.Endpoint.V1_COMPLETIONS)
                            .completionWindow(BatchCreateParams.CompletionWindow._24H)
                            .outputExpiresAfter(BatchCreateParams.OutputExpiresAfter.builder()
                                    .seconds(7200)
                                    .build())
                            .build());
            await(client, batch, Batch.Status.IN_PROGRESS);
            clock.seconds.addAndGet(86_399);
            assertThat(client.batches().retrieve(batch.id()).status()).isEqualTo(Batch.Status.IN_PROGRESS);
            assertThat(client.files().retrieve(file.id()).id())
                    .as("a file that a batch reads")
                    .isEqualTo(file.id());
            clock.seconds.incrementAndGet();
            assertThat(client.batches().retrieve(batch.id()).status()).isEqualTo(Batch.Status.FINALIZING);
            steps.release(100_000);
            Batch ended = await(client, batch, Batch.Status.EXPIRED);
            assertThat(ended.expiredAt()).contains(clock.seconds.get());
            String errors = ended.errorFileId().orElseThrow();
            assertThat(answers(client, errors).values())
                    .hasSize(3)
                    .allMatch(line -> line.at("/error/code").stringValue().equals("batch_expired"));
            assertThatThrownBy(() -> client.files().retrieve(file.id())).isInstanceOf(NotFoundException.class);
            clock.seconds.addAndGet(7200);
            assertThatThrownBy(() -> client.files().retrieve(errors)).isInstanceOf(NotFoundException.class);
            assertThat(left("files")).isEmpty();
        }
    }

    @Test
    void owners_seeTheirOwnOnly() throws Exception {
        try (TestServer server = builder(
                        TestServer.config().apiKeys(List.of("sk-a name=alice tokens-per-minute=1", "sk-b name=bob")))
                .start()) {
            OpenAIClient alice = server.openAi("sk-a");
            OpenAIClient bob = server.openAi("sk-b");
            Batch batch = await(alice, create(alice, lines(3, 5)), Batch.Status.COMPLETED);
            assertThat(batch.requestCounts().orElseThrow().completed())
                    .as("answers beyond the limit of tokens a minute")
                    .isEqualTo(3);
            String output = batch.outputFileId().orElseThrow();
            assertThat(alice.files().list().items()).hasSize(2);
            assertThat(bob.files().list().items()).isEmpty();
            assertThat(bob.batches().list().items()).isEmpty();
            List<ThrowingCallable> asks = List.of(
                    () -> bob.files().retrieve(output),
                    () -> content(bob, output),
                    () -> bob.files().delete(output),
                    () -> bob.batches().retrieve(batch.id()),
                    () -> bob.batches().cancel(batch.id()));
            assertThat(asks).allSatisfy(ask -> assertThatThrownBy(ask).isInstanceOf(NotFoundException.class));
            assertThatThrownBy(() -> create(bob, batch.inputFileId(), BatchCreateParams.Endpoint.V1_COMPLETIONS))
                    .isInstanceOf(BadRequestException.class)
                    .hasMessageContaining("There is no file");
        }
    }

    @Test
    void lists_inParts_haveEachOnce() throws Exception {
        try (TestServer server = start()) {
            OpenAIClient client = server.openAi();
            List<String> files = new ArrayList<>();
            List<String> batches = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
                FileObject file = upload(client, "nonsense " + i);
                files.addFirst(file.id());
                batches.addFirst(create(client, file.id(), BatchCreateParams.Endpoint.V1_COMPLETIONS)
                        .id());
            }
            assertThat(
                            client
                                    .files()
                                    .list(FileListParams.builder()
                                            .limit(2)
                                            .purpose("batch")
                                            .build())
                                    .autoPager()
                                    .stream()
                                    .map(FileObject::id))
                    .containsExactlyElementsOf(files);
            assertThat(client.files()
                            .list(FileListParams.builder()
                                    .order(FileListParams.Order.ASC)
                                    .limit(1)
                                    .build())
                            .items()
                            .getFirst()
                            .id())
                    .isEqualTo(files.getLast());
            assertThat(client.batches().list(BatchListParams.builder().limit(2).build()).autoPager().stream()
                            .map(Batch::id))
                    .containsExactlyElementsOf(batches);
            assertThat(server.get("/v1/batches?limit=0").statusCode()).isEqualTo(400);
            assertThat(server.get("/v1/files?after=nothing").statusCode()).isEqualTo(400);
        }
    }

    @Test
    void restart_betweenTheStates_goesOn() throws Exception {
        Semaphore steps = new Semaphore(0);
        Batch running;
        Batch cancelled;
        try (TestServer server = builder(TestServer.config())
                        .maxSequences(32) // lines begin in any order, so all of them run together
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(100_000)) {
            OpenAIClient client = server.openAi();
            running = create(client, line("first", "{\"prompt\":\"a\",\"max_tokens\":1}") + lines(20, 400));
            cancelled = create(client, lines(2, 400));
            client.batches().cancel(cancelled.id());
            stepUntilOneIsAnswered(client, running, steps);
            assertThatIllegalArgumentException()
                    .isThrownBy(this::start)
                    .withMessageContaining("is used by another process");
        }
        Files.writeString(folder.resolve("uploads").resolve("torn.part"), "half of a fi");
        Files.writeString(folder.resolve("files").resolve("file-stranger"), "written by nobody");
        try (TestServer server = start()) {
            OpenAIClient client = server.openAi();
            Batch ended = await(client, running, Batch.Status.COMPLETED);
            assertThat(answers(client, ended.outputFileId().orElseThrow())).hasSize(21);
            assertThat(await(client, cancelled, Batch.Status.CANCELLED).status())
                    .isEqualTo(Batch.Status.CANCELLED);
            assertThat(server.get("/metrics").body())
                    .doesNotContain("quire_batch_requests_answered_total{model_name=\"fake\"} 21");
            assertThat(left("uploads")).isEmpty();
            assertThat(left("files")).doesNotContain("file-stranger");
        }
    }

    /** More lines than the queue has room for: those that are refused wait and are sent again. */
    @Test
    void queue_full_isNoResult() throws Exception {
        try (TestServer server =
                builder(TestServer.config()).maxSequences(4).maxQueued(1).start()) {
            OpenAIClient client = server.openAi();
            Batch batch = await(client, create(client, lines(12, 3)), Batch.Status.COMPLETED);
            assertThat(batch.requestCounts().orElseThrow().completed()).isEqualTo(12);
        }
    }

    @Test
    void disk_thatCannotBeWritten_isSaidClearly() throws Exception {
        Path file = Files.writeString(folder.resolve("file"), "no folder");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> TestServer.builder()
                        .config(TestServer.config().batches(file).build())
                        .start())
                .withMessageContaining("the folder of batches, " + file);
        Semaphore steps = new Semaphore(0);
        try (TestServer server = builder(TestServer.config())
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(100_000)) {
            OpenAIClient client = server.openAi();
            Batch batch = await(client, create(client, lines(2, 3)), Batch.Status.IN_PROGRESS);
            Files.delete(folder.resolve("uploads"));
            steps.release(100_000);
            assertThatThrownBy(() -> upload(client, "x"))
                    .isInstanceOfSatisfying(OpenAIServiceException.class, e -> assertThat(e.statusCode())
                            .isEqualTo(507))
                    .hasMessageContaining("cannot be stored on the server");
            Batch unwritten = await(client, batch, Batch.Status.FINALIZING);
            while (unwritten.errors().isEmpty()) {
                unwritten = client.batches().retrieve(batch.id());
            }
            assertThat(unwritten
                            .errors()
                            .orElseThrow()
                            .data()
                            .orElseThrow()
                            .getFirst()
                            .code())
                    .contains("output_not_written");
            Files.createDirectory(folder.resolve("uploads"));
            clock.seconds.addAndGet(60);
            Batch ended = await(client, batch, Batch.Status.COMPLETED);
            assertThat(ended.errors()).isEmpty();
            assertThat(answers(client, ended.outputFileId().orElseThrow())).hasSize(2);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/files", "/v1/batches", "/v1/files/x", "/v1/files/x/content", "/v1/batches/x"})
    void server_withoutTheOption_namesIt(String path) throws Exception {
        try (TestServer server = TestServer.start()) {
            assertThat(server.get(path).statusCode()).isEqualTo(501);
            assertThat(TestServer.error(server.get(path)).get("message").stringValue())
                    .contains("--batches DIR");
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "{'endpoint':'/v1/completions','completion_window':'24h'} ; input_file_id",
                "{'input_file_id':'x','endpoint':'/v1/models','completion_window':'24h'} ; endpoint",
                "{'input_file_id':'x','endpoint':'/v1/completions','completion_window':'1h'} ; completion_window",
                "{'input_file_id':'x','endpoint':'/v1/completions','completion_window':'24h'} ; input_file_id",
                "{'input_file_id':'x','endpoint':'/v1/completions','completion_window':'24h','metadata':{'a':1}} ; metadata",
                "{'input_file_id':'x','endpoint':'/v1/completions','completion_window':'24h','output_expires_after':{'anchor':'created_at','seconds':1}} ; output_expires_after.seconds",
                "{'input_file_id':'x','endpoint':'/v1/completions','completion_window':'24h','sooner':true} ; sooner"
            })
    void create_wrongParameter_isNamed(String body, String parameter) throws Exception {
        try (TestServer server = start()) {
            java.net.http.HttpResponse<String> response = server.post("/v1/batches", body.replace('\'', '"'));
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(parameter);
        }
    }
}
