package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.ControlTokenizer;
import quire.engine.EngineStats;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Good requests of every route that the server describes, and the same ones damaged: fields that are missing, null, of another
 * type, huge or deeply nested; other headers, methods and addresses; broken JSON; clients that leave. Whatever comes, the
 * status is never an error of the server, an error has the form of its API, a stream ends as its API says, and when all
 * clients have left, nothing is open, running or held.
 *
 * <p>There are two servers. The model of one follows a script, with reasoning and calls of tools; the other's answers are
 * random bytes. A request follows from its number and the seed, apart from the ids of files, batches and responses.
 */
@Timeout(value = 3_600, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a socket is not interruptible
class FuzzTest {
    /** The nightly run has more. */
    private static final int REQUESTS = Integer.getInteger("quire.fuzz", 1_000);

    private static final long SEED = Long.getLong("quire.seed", 1);
    private static final int CLIENTS = 8;
    private static final int MOST_FAULTS = 20;

    /** Of a body, which is refused then; the server closes the connection of a client that sends even more. */
    private static final int MOST_BYTES = 2 << 20;

    /** What the server may have more in its heap at the end: kept responses, timelines, caches. */
    private static final long MOST_GROWTH = 96L << 20;

    private static final String ANSWER =
            "<think>\nhm\n</think>\n\nIt rains.\n<call>weather:{\"city\": \"Bern\"}</call>";

    private static final Pattern ID = Pattern.compile("\"((?:file-|batch_|resp_)[A-Za-z0-9]+)\"");
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private static final List<String> METHODS =
            List.of("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW");

    private static final List<String> QUERIES = List.of(
            "limit=1",
            "limit=-1",
            "limit=99999999999999999999",
            "limit=x",
            "after=nothing",
            "after=%00",
            "order=asc",
            "order=sideways",
            "purpose=batch",
            "model=fake",
            "model=%ff%fe",
            "model=",
            "a=%zz",
            "%",
            "=",
            "&&&",
            "limit=1&limit=2");

    private static final List<String> HEADERS = List.of(
            "Accept: text/plain",
            "Accept-Encoding: gzip, br",
            "Authorization: Bearer x",
            "Authorization: Basic \u00ff",
            "x-api-key: x",
            "anthropic-version: never",
            "Content-Encoding: gzip",
            "X-Request-Id: mine-1",
            "X-Request-Id: " + "x".repeat(5_000),
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "traceparent: nonsense",
            "X-Priority: high",
            "x-gateway-inference-fairness-id: t",
            "x-slo-ttft-ms: soon",
            "Origin: https://example.com",
            "Range: bytes=5-2",
            "If-None-Match: *",
            "Connection: close",
            "Connection: upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "Expect: a miracle",
            "Cookie: " + "c".repeat(3_000),
            "User-Agent:");

    private static final List<String> TYPES = List.of(
            "text/plain",
            "application/json; charset=utf-16",
            "application/json;;;",
            "multipart/form-data",
            "multipart/form-data; boundary=" + "b".repeat(80),
            "application/x-www-form-urlencoded",
            "/");

    private static final List<String> TEXTS = List.of(
            "",
            " ",
            "\u0000\u0001\u001f\u007f",
            "\ud83d\ude00\u202e\ufeff\uffff",
            "<assistant>",
            "<think>",
            "</think>",
            "<fim_middle>",
            "{{ 7 * 7 }}{% raw %}",
            "</s><s>",
            "null",
            "../../etc/passwd",
            "data:image/png;base64,AAAA",
            "http://127.0.0.1:1/",
            "(((((((((a*)*)*)*)*)*)*)*)*)*",
            "[",
            "root ::= root",
            "$ref");

    private static final List<String> NUMBERS = List.of(
            "-1",
            "0",
            "-0.0",
            "1",
            "0.5",
            "2147483647",
            "2147483648",
            "-9223372036854775808",
            "18446744073709551616",
            "1e308",
            "1e-320",
            "1e999",
            "-1e999",
            "123456789012345678901234567890.5");

    private static final List<String> PIECES = List.of(
            "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "\\ud800", "null", "NaN", "1e", "//", "\n", "\u0000");

    /** Stands in a body for a value that {@link Damage#written} makes. */
    private static final String RAW = "@raw@";

    private static final Pattern RAW_VALUE = Pattern.compile("\"" + RAW + "([nds][^\"@]*)" + RAW + "\"");

    private static final List<TestServer> SERVERS = new ArrayList<>();

    @TempDir
    private static Path folder;

    /**
     * A good request.
     *
     * @param path as in the description of the server
     * @param body null if it has none
     */
    private record Good(
            String method,
            String path,
            int status,
            @Nullable JsonNode body) {}

    /**
     * A request as it is sent.
     *
     * @param operation the method and path of the description that it was made of
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Sent(String operation, boolean head, String path, byte[] bytes) {
        String shown() {
            String text = new String(bytes, StandardCharsets.UTF_8);
            String line = text.replace("\r", "\\r").replace("\n", "\\n").replaceAll("\\p{Cntrl}", "\uFFFD");
            return line.length() <= 900 ? line : line.substring(0, 800) + " … " + line.substring(line.length() - 90);
        }
    }

    @BeforeAll
    static void start() {
        for (boolean scripted : List.of(true, false)) {
            TestServer.Builder builder = TestServer.builder()
                    .config(TestServer.config()
                            .batches(folder.resolve("batches " + scripted))
                            .readTimeout(Duration.ofHours(
                                    1)) // else a client that waits elsewhere finds its connection closed
                            .build())
                    .tokenizer(
                            new ControlTokenizer(List.of("<fim_middle>", "<fim_prefix>", "<fim_suffix>", "<file_sep>")))
                    .template(ReasoningTest.template());
            SERVERS.add((scripted ? builder.script(prompt -> ANSWER) : builder).start());
        }
    }

    @AfterAll
    static void stop() {
        SERVERS.forEach(TestServer::close);
    }

    /** The good requests, by operation; a request stands for its path with and without its version. */
    private static Map<String, List<Good>> corpus() throws Exception {
        Map<String, List<Good>> corpus = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> path : TestServer.json(
                        SERVERS.getFirst().get("/openapi.json"))
                .get("paths")
                .properties()) {
            for (String method : path.getValue().propertyNames()) {
                String operation = method.toUpperCase(Locale.ROOT) + " " + path.getKey();
                List<Good> same = requests().stream()
                        .filter(good -> key(good.method + " " + good.path).equals(key(operation)))
                        .map(good -> new Good(good.method, path.getKey(), good.status, good.body))
                        .toList();
                boolean plain = method.equals("get") && !path.getKey().contains("{id}");
                corpus.put(
                        operation, same.isEmpty() && plain ? List.of(new Good("GET", path.getKey(), 200, null)) : same);
            }
        }
        return corpus;
    }

    private static String key(String operation) {
        return operation.replaceFirst(" /v[12]/", " /");
    }

    private static List<Good> requests() throws IOException {
        try (InputStream in = Objects.requireNonNull(FuzzTest.class.getResourceAsStream("requests.txt"))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .filter(line -> !line.startsWith("#"))
                    .map(line -> line.split(" ", 4))
                    .map(parts -> new Good(
                            parts[0],
                            parts[1],
                            Integer.parseInt(parts[2]),
                            parts.length < 4 ? null : Json.read(parts[3])))
                    .toList();
        }
    }

    // ── good requests ───────────────────────────────────────────────────────────────────────────────────────────────

    @Test
    void requests_asTheyAre_areAnsweredByEveryRoute() throws Exception {
        for (TestServer server : SERVERS) {
            for (Map.Entry<String, List<Good>> operation : corpus().entrySet()) {
                assertThat(operation.getValue())
                        .as("requests of %s in requests.txt", operation.getKey())
                        .isNotEmpty();
                for (Good good : operation.getValue()) {
                    String path = good.path.replace("{id}", kept(server, good.method + " " + good.path));
                    String body = good.body == null
                            ? null
                            : Json.text(good.body).replace("{id}", kept(server, "POST /v1/batches"));
                    Sent sent = sent(operation.getKey(), good.method, path, body, List.of());
                    try (RawClient client = new RawClient(server)) {
                        RawClient.Response response = client.send(sent.bytes).response(false);
                        assertThat(response.status())
                                .as("%s: %s", sent.shown(), response.body())
                                .isEqualTo(good.status);
                        assertThat(fault(sent, response)).as(sent.shown()).isNull();
                    }
                }
            }
        }
    }

    /** The id of something that the server keeps for this purpose. */
    private static String kept(TestServer server, String operation) throws Exception {
        String key = key(operation);
        if (key.contains("/responses/")) {
            return id(server.post("/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":1}")
                    .body());
        }
        if (key.contains("/requests/")) {
            return server.post("/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1}")
                    .headers()
                    .firstValue("X-Request-Id")
                    .orElseThrow();
        }
        if (key.contains("/files/") || key.equals("POST /batches")) {
            return file(server);
        }
        if (key.contains("/batches/")) {
            return id(server.post(
                            "/v1/batches",
                            "{\"input_file_id\":\"" + file(server)
                                    + "\",\"endpoint\":\"/v1/completions\",\"completion_window\":\"24h\"}")
                    .body());
        }
        return key.contains("/page/") ? "main.js" : "fake";
    }

    /** The id of a file of many lines, so that a batch of it has not ended when it is cancelled. */
    private static String file(TestServer server) throws Exception {
        String lines = Stream.iterate(0, i -> i + 1)
                .limit(40)
                .map(i -> BatchesTest.line("request-" + i, "{\"prompt\":\"a\",\"max_tokens\":200,\"ignore_eos\":true}"))
                .collect(Collectors.joining());
        ObjectNode form = JSON.objectNode().put("purpose", "batch").put("file", lines);
        try (RawClient client = new RawClient(server)) {
            return id(client.send(sent("", "POST", "/v1/files", Json.text(form), List.of()).bytes)
                    .response(false)
                    .body());
        }
    }

    private static String id(String answer) {
        return Json.read(answer).get("id").stringValue();
    }

    /** Numbers of any size, texts that are none, and values of other types, for each parameter that the server describes. */
    @Test
    void parameters_ofAnyValue_areNoErrorOfTheServer() throws Exception {
        Map<String, List<Good>> corpus = corpus();
        int requests = 0;
        for (Map.Entry<String, List<String>> operation : parameterNames().entrySet()) {
            try (Client client = new Client()) {
                for (String name : operation.getValue()) {
                    Good good = Objects.requireNonNull(corpus.get(operation.getKey()))
                            .getFirst();
                    for (String value : List.of("n" + "9".repeat(400), "n-1e999", "s", "d90")) {
                        ObjectNode body =
                                (ObjectNode) Objects.requireNonNull(good.body).deepCopy();
                        body.set(name, Damage.raw(value));
                        Sent sent = sent(operation.getKey(), "POST", good.path, Damage.written(body), List.of());
                        RawClient.Response response = client.exchange(SERVERS.getFirst(), sent);
                        assertThat(fault(sent, response))
                                .as("%s: %s", sent.shown(), response.body())
                                .isNull();
                        requests++;
                    }
                }
            }
        }
        assertThat(requests).isGreaterThan(1_000);
    }

    // ── damaged requests ────────────────────────────────────────────────────────────────────────────────────────────

    @Test
    void requests_damaged_areNoErrorOfTheServerAndLeaveNothing() throws Exception {
        Map<String, List<Good>> corpus = corpus();
        List<String> operations = List.copyOf(corpus.keySet());
        List<String> posts = operations.stream()
                .filter(operation -> operation.startsWith("POST"))
                .toList();
        Map<String, List<String>> names = parameterNames();
        ConcurrentLinkedQueue<String> ids = new ConcurrentLinkedQueue<>();
        for (TestServer server : SERVERS) {
            ids.add(kept(server, "GET /v1/files/{id}"));
        }
        long heap = heap();
        Set<String> faults = ConcurrentHashMap.newKeySet();
        Map<Integer, AtomicInteger> statuses = new ConcurrentHashMap<>();
        AtomicInteger next = new AtomicInteger();
        List<Future<?>> clients = new ArrayList<>();
        try (ExecutorService threads = Executors.newFixedThreadPool(CLIENTS)) {
            for (int i = 0; i < CLIENTS; i++) {
                clients.add(threads.submit(() -> {
                    try (Client client = new Client()) {
                        for (int n = next.getAndIncrement(); n < REQUESTS; n = next.getAndIncrement()) {
                            SplittableRandom random = new SplittableRandom(SEED * 1_000_003 + n).split();
                            String operation = pick(random.nextInt(5) > 0 ? posts : operations, random);
                            Damage damage = new Damage(random, names.getOrDefault(operation, List.of()), ids);
                            Sent sent = damage.request(
                                    operation, pick(Objects.requireNonNull(corpus.get(operation)), random));
                            TestServer server = SERVERS.get(n % SERVERS.size());
                            String before = client.before(server);
                            try {
                                RawClient.Response response = client.exchangeOrLeave(server, sent, random);
                                if (response == null) {
                                    continue;
                                }
                                statuses.computeIfAbsent(response.status(), s -> new AtomicInteger())
                                        .incrementAndGet();
                                harvest(response, ids);
                                String fault = fault(sent, response);
                                if (fault != null) {
                                    faults.add("request " + n + ": " + response.status() + " " + fault + "\n  "
                                            + sent.shown() + "\n  " + shortened(response.body()));
                                }
                            } catch (IOException | RuntimeException e) {
                                faults.add(
                                        "request " + n + ": " + e + "\n  " + sent.shown() + "\n  before it: " + before);
                            }
                            if (faults.size() >= MOST_FAULTS) {
                                return null;
                            }
                        }
                        return null;
                    }
                }));
            }
            for (Future<?> client : clients) {
                client.get();
            }
        }
        assertThat(faults).as("faults").isEmpty();
        for (TestServer server : SERVERS) {
            checkAtRest(server);
        }
        long growth = heap() - heap;
        System.out.println(REQUESTS + " requests, by status: " + new TreeMap<>(statuses) + ", growth of the heap: "
                + (growth >> 10) + " KiB");
        assertThat(growth).as("growth of the heap").isLessThan(MOST_GROWTH);
    }

    private static long heap() {
        System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }

    /** The parameters that each operation describes. */
    private static Map<String, List<String>> parameterNames() throws Exception {
        Map<String, List<String>> names = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> path : TestServer.json(
                        SERVERS.getFirst().get("/openapi.json"))
                .get("paths")
                .properties()) {
            names.put(
                    "POST " + path.getKey(),
                    List.copyOf(path.getValue()
                            .at("/post/requestBody/content/application~1json/schema/properties")
                            .propertyNames()));
        }
        return names;
    }

    private static void harvest(RawClient.Response response, ConcurrentLinkedQueue<String> ids) {
        if (response.status() == 200 && response.body().length() < 10_000) {
            ID.matcher(response.body()).results().forEach(id -> ids.add(id.group(1)));
            while (ids.size() > 50) {
                ids.poll();
            }
        }
    }

    private static <T> T pick(List<T> choices, SplittableRandom random) {
        return choices.get(random.nextInt(choices.size()));
    }

    private static String shortened(String text) {
        return text.length() <= 600 ? text : text.substring(0, 500) + " … " + text.substring(text.length() - 90);
    }

    /** A client that keeps its connections, and leaves now and then. */
    private static final class Client implements AutoCloseable {
        private final Map<TestServer, RawClient> connections = new LinkedHashMap<>();
        private final Map<TestServer, Sent> before = new LinkedHashMap<>();

        /** Sends a request, or leaves before the end of the response and returns null. */
        RawClient.@Nullable Response exchangeOrLeave(TestServer server, Sent sent, SplittableRandom random)
                throws IOException {
            if (random.nextInt(20) > 0) {
                return exchange(server, sent);
            }
            RawClient connection = connections.remove(server);
            before.remove(server);
            try (RawClient leaving = connection == null ? new RawClient(server) : connection) {
                leave(leaving, sent, random);
            }
            return null;
        }

        RawClient.Response exchange(TestServer server, Sent sent) throws IOException {
            RawClient connection = connections.remove(server);
            if (connection == null) {
                connection = new RawClient(server);
            }
            boolean keep = false;
            try {
                RawClient.Response response = connection.send(sent.bytes).response(sent.head);
                while (response.status() == 100) {
                    response = connection.response(sent.head);
                }
                keep = !"close".equalsIgnoreCase(response.headers().get("connection"));
                return response;
            } finally {
                if (keep) {
                    connections.put(server, connection);
                    before.put(server, sent);
                } else {
                    connection.close();
                    before.remove(server);
                }
            }
        }

        /** The request before on the connection to a server. */
        String before(TestServer server) {
            Sent sent = before.get(server);
            return sent == null ? "none" : sent.shown();
        }

        /** Leaves in the middle of the request, behind it, or within the answer. */
        private static void leave(RawClient connection, Sent sent, SplittableRandom random) throws IOException {
            if (random.nextBoolean()) {
                connection.send(Arrays.copyOf(sent.bytes, random.nextInt(sent.bytes.length)));
            } else {
                connection.send(sent.bytes);
                if (random.nextBoolean()) {
                    connection.line();
                }
            }
            if (random.nextBoolean()) {
                connection.reset();
            }
        }

        @Override
        public void close() throws IOException {
            for (RawClient connection : connections.values()) {
                connection.close();
            }
        }
    }

    /** Damages one request. */
    private static final class Damage {
        private final SplittableRandom random;
        private final List<String> names;
        private final ConcurrentLinkedQueue<String> ids;

        Damage(SplittableRandom random, List<String> names, ConcurrentLinkedQueue<String> ids) {
            this.random = random;
            this.names = names;
            this.ids = ids;
        }

        Sent request(String operation, Good good) {
            String method = random.nextInt(30) == 0 ? pick(METHODS, random) : good.method;
            String path = good.path.replace("{id}", pathId());
            if (random.nextInt(good.body == null ? 2 : 30) == 0) {
                path += "?" + pick(QUERIES, random);
            }
            List<String> headers = new ArrayList<>();
            while (random.nextInt(4) == 0) {
                headers.add(pick(HEADERS, random));
            }
            if (random.nextInt(40) == 0) {
                headers.add("Content-Type: " + pick(TYPES, random));
            }
            return sent(operation, method, path, body(good), headers);
        }

        private String pathId() {
            return switch (random.nextInt(6)) {
                case 0 -> "nothing";
                case 1 ->
                    pick(List.of("%00", "%2e%2e%2f%2e%2e", "..", "%zz", "a%2Fb", "%ff", "x".repeat(4_000)), random);
                case 2 -> pick(List.of("fake", "main.js", "style.css"), random);
                default -> id();
            };
        }

        private String id() {
            List<String> all = List.copyOf(ids);
            return all.isEmpty() ? "nothing" : pick(all, random);
        }

        private @Nullable String body(Good good) {
            if (good.body == null) {
                return random.nextInt(20) == 0 ? "{\"a\":1}" : null;
            }
            JsonNode body = good.body.deepCopy();
            for (int damages = random.nextInt(4); damages > 0; damages--) {
                body = damaged(body);
            }
            String text = written(body).replace("{id}", id());
            text = text.substring(0, Math.min(text.length(), MOST_BYTES));
            return random.nextInt(12) == 0 ? garbled(text) : text;
        }

        /** A value within a body. */
        private record Place(JsonNode parent, @Nullable String name, int index) {
            JsonNode value() {
                return name == null ? parent.get(index) : parent.get(name);
            }

            void set(JsonNode value) {
                if (parent instanceof ObjectNode object && name != null) {
                    object.set(name, value);
                } else if (parent instanceof ArrayNode array) {
                    array.set(index, value);
                }
            }

            void remove() {
                if (parent instanceof ObjectNode object && name != null) {
                    object.remove(name);
                } else if (parent instanceof ArrayNode array) {
                    array.remove(index);
                }
            }
        }

        private static void places(JsonNode node, List<Place> places) {
            if (node instanceof ObjectNode object) {
                for (String name : object.propertyNames()) {
                    places.add(new Place(object, name, -1));
                    places(object.get(name), places);
                }
            } else if (node instanceof ArrayNode array) {
                for (int i = 0; i < array.size(); i++) {
                    places.add(new Place(array, null, i));
                    places(array.get(i), places);
                }
            }
        }

        private JsonNode damaged(JsonNode body) {
            List<Place> places = new ArrayList<>();
            places(body, places);
            if (places.isEmpty() || random.nextInt(50) == 0) {
                return value();
            }
            Place place = pick(places, random);
            switch (random.nextInt(10)) {
                case 0, 1 -> place.remove();
                case 2 -> place.set(JSON.nullNode());
                case 3, 4 -> place.set(value());
                case 5 -> place.set(pick(places, random).value().deepCopy());
                case 6 -> {
                    if (body instanceof ObjectNode object && !names.isEmpty()) {
                        object.set(
                                pick(names, random),
                                random.nextBoolean() ? value() : place.value().deepCopy());
                    }
                }
                case 7 -> {
                    if (place.parent instanceof ObjectNode object) {
                        object.set(pick(TEXTS, random), value());
                    } else if (place.parent instanceof ArrayNode array) {
                        array.add(place.value().deepCopy());
                    }
                }
                case 8 -> {
                    if (place.value().isNumber()) {
                        place.set(raw("n" + pick(NUMBERS, random)));
                    } else if (place.value().isString()) {
                        place.set(JSON.stringNode(place.value().stringValue() + pick(TEXTS, random)));
                    } else {
                        place.set(value());
                    }
                }
                default -> place.set(huge(place.value()));
            }
            return body;
        }

        private static JsonNode raw(String what) {
            return JSON.stringNode(RAW + what + RAW);
        }

        private JsonNode value() {
            return switch (random.nextInt(12)) {
                case 0 -> JSON.nullNode();
                case 1 -> JSON.booleanNode(random.nextBoolean());
                case 2, 3 -> raw("n" + pick(NUMBERS, random));
                case 4, 5 -> JSON.stringNode(pick(TEXTS, random));
                case 6 -> JSON.arrayNode();
                case 7 -> JSON.objectNode();
                case 8 -> JSON.arrayNode().add(value()).add(value());
                case 9 -> JSON.objectNode().set(pick(TEXTS, random), value());
                case 10 -> raw("s");
                default -> raw("d" + (random.nextInt(2) + (1 << random.nextInt(12))));
            };
        }

        private JsonNode huge(JsonNode value) {
            int many = 1 << random.nextInt(4, 12);
            if (value.isString()) {
                String text = value.stringValue() + "x";
                return JSON.stringNode(text.repeat(Math.min(many * 100, 300_000 / text.length() + 1)));
            }
            if (value.isNumber()) {
                return raw("n" + "9".repeat(many));
            }
            if (value instanceof ArrayNode array && !array.isEmpty()) {
                ArrayNode all = JSON.arrayNode();
                long each = Json.text(array).length() / array.size() + 1L;
                for (long i = 0; i < Math.min(many, 300_000 / each); i++) {
                    // A copy, as the next damage within one must not make all of them as large.
                    all.add(array.get((int) (i % array.size())).deepCopy());
                }
                return all;
            }
            ObjectNode all = value instanceof ObjectNode object ? object : JSON.objectNode();
            for (int i = 0; i < many; i++) {
                all.put("name" + i, i);
            }
            return all;
        }

        /** The text of a body, with what no tree of values can have; thousands of copies of it would fill the heap. */
        private static String written(JsonNode body) {
            AtomicInteger chars = new AtomicInteger();
            return RAW_VALUE.matcher(Json.text(body)).replaceAll(found -> {
                String what = found.group(1);
                String value = chars.get() > MOST_BYTES
                        ? "0"
                        : switch (what.charAt(0)) {
                            case 'n' -> what.substring(1);
                            case 's' -> "\"\\ud800 half of a pair\"";
                            default -> nested(Integer.parseInt(what.substring(1)));
                        };
                chars.addAndGet(value.length());
                return Matcher.quoteReplacement(value);
            });
        }

        private static String nested(int depth) {
            return depth % 2 == 0
                    ? "{\"a\":".repeat(depth) + "1" + "}".repeat(depth)
                    : "[".repeat(depth) + "]".repeat(depth);
        }

        private String garbled(String text) {
            StringBuilder garbled = new StringBuilder(text);
            for (int changes = random.nextInt(4); changes >= 0 && !garbled.isEmpty(); changes--) {
                int from = random.nextInt(garbled.length());
                int to = Math.min(garbled.length(), from + random.nextInt(8));
                garbled.replace(from, to, random.nextBoolean() ? "" : pick(PIECES, random));
            }
            return garbled.toString();
        }
    }

    /** A request with valid framing. The fields of a body for files become a form. */
    private static Sent sent(
            String operation, String method, String path, @Nullable String body, List<String> headers) {
        boolean files = operation.endsWith("/files") || (operation.isEmpty() && path.endsWith("/files"));
        String type = files && body != null ? "multipart/form-data; boundary=XX" : "application/json";
        byte[] content = body == null ? new byte[0] : (files ? form(body) : body).getBytes(StandardCharsets.UTF_8);
        StringBuilder head = new StringBuilder(method + " " + path + " HTTP/1.1\r\nHost: x\r\n");
        if (headers.stream().noneMatch(header -> header.startsWith("Content-Type"))) {
            head.append("Content-Type: ").append(type).append("\r\n");
        }
        headers.forEach(header -> head.append(header).append("\r\n"));
        if (body != null || method.equals("POST")) {
            head.append("Content-Length: ").append(content.length).append("\r\n");
        }
        byte[] start = head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1);
        byte[] all = Arrays.copyOf(start, start.length + content.length);
        System.arraycopy(content, 0, all, start.length, content.length);
        return new Sent(operation, method.equals("HEAD"), path, all);
    }

    /** The form whose fields a body has; a body that is no object is the form itself. */
    private static String form(String body) {
        JsonNode fields;
        try {
            fields = Json.read(body);
        } catch (RuntimeException e) {
            return body; // it was garbled
        }
        StringBuilder form = new StringBuilder();
        for (Map.Entry<String, JsonNode> field : fields.properties()) {
            String value = field.getValue().isString() ? field.getValue().stringValue() : Json.text(field.getValue());
            form.append("--XX\r\nContent-Disposition: form-data; name=\"")
                    .append(field.getKey())
                    .append(field.getKey().equals("file") ? "\"; filename=\"in.jsonl\"\r\n\r\n" : "\"\r\n\r\n")
                    .append(value)
                    .append("\r\n");
        }
        return form.append("--XX--\r\n").toString();
    }

    // ── what an answer must be ──────────────────────────────────────────────────────────────────────────────────────

    /** What is wrong with a response; null if nothing is. */
    private static @Nullable String fault(Sent sent, RawClient.Response response) {
        int status = response.status();
        String body = response.body();
        String type = response.headers().getOrDefault("content-type", "");
        boolean cannot = status == 501 && sent.path.startsWith("/api/");
        if (status >= 500 && !cannot) {
            return "is an error of the server";
        }
        if (body.contains("The server failed on this request") || body.contains("internal_error")) {
            return "has an error of the server";
        }
        if (status == 429 && !response.headers().containsKey("retry-after")) {
            return "has no Retry-After";
        }
        if (sent.head || status == 204) {
            return body.isEmpty() ? null : "has a body";
        }
        try {
            if (status >= 400) {
                return isError(sent, Json.read(body)) ? null : "has no error in the form of its API";
            }
            return switch (type.replaceFirst(";.*", "")) {
                case "application/json" -> Json.read(body).isMissingNode() ? "is empty" : null;
                case "application/x-ndjson" -> lines(body);
                case "text/event-stream" -> events(body);
                case "" -> "has no type";
                default -> null;
            };
        } catch (RuntimeException e) {
            return "is not JSON: " + e.getMessage();
        }
    }

    private static boolean isError(Sent sent, JsonNode body) {
        JsonNode error = body.path("error");
        if (sent.path.startsWith("/api/")) {
            return !error.asString("").isBlank()
                    || !error.path("message").asString("").isBlank();
        }
        boolean message = !error.path("message").asString("").isBlank();
        if (key(" " + sent.path).startsWith(" /messages")) {
            return message && body.path("type").asString("").equals("error") && error.has("type");
        }
        return message && error.has("type") && error.has("param") && error.has("code");
    }

    /** What is wrong with an answer of Ollama's in lines. */
    private static @Nullable String lines(String body) {
        List<String> lines = body.lines().toList();
        for (String line : lines) {
            Json.read(line);
        }
        JsonNode last = Json.read(lines.getLast());
        boolean ended = last.path("done").asBoolean(false)
                || last.has("error")
                || last.path("status").asString("").equals("success");
        return ended ? null : "ends without an end";
    }

    /** What is wrong with a stream of events. */
    private static @Nullable String events(String body) {
        Set<String> types = new LinkedHashSet<>();
        String last = "";
        for (String line :
                body.lines().filter(each -> each.startsWith("data: ")).toList()) {
            last = line.substring("data: ".length());
            if (!last.equals("[DONE]")) {
                types.add(Json.read(last).path("type").asString(""));
            }
        }
        if (last.isEmpty()) {
            return "has no event";
        }
        if (last.equals("[DONE]")) {
            return null;
        }
        JsonNode end = Json.read(last);
        boolean ended = end.has("error")
                || end.path("stop").asBoolean(false)
                || Set.of("message_stop", "response.completed", "response.incomplete", "response.failed", "error")
                        .contains(end.path("type").asString(""));
        return ended ? null : "ends without an end, after events of " + types;
    }

    /** Waits until nothing runs and all clients have left, and adds up the books; the time limit ends it otherwise. */
    private static void checkAtRest(TestServer server) throws Exception {
        while (server.server.openConnections() > 1 || server.server.activeRequests() > 0) {
            Thread.onSpinWait(); // one is that of the client below
        }
        Map<String, Double> samples = samples(server);
        while (sum(samples, "quire_batch_requests_waiting") > 0
                || sum(samples, "quire_num_requests_running") > 0
                || sum(samples, "quire_num_requests_waiting") > 0) {
            samples = samples(server);
        }
        EngineStats stats = server.awaitIdle();
        assertThat(stats.usedPages()).as("pages in use").isZero();
        assertThat(sum(samples, "quire_kv_cache_usage_perc")).isZero();
        assertThat(sum(samples, "quire_request_success_total"))
                .as("requests that have ended")
                .isEqualTo(sum(samples, "quire_request_started_total"));
        for (String reason : List.of("error", "broken_logits")) {
            assertThat(samples.entrySet().stream()
                            .filter(sample -> sample.getKey().startsWith("quire_request_success_total")
                                    && sample.getKey().contains("\"" + reason + "\""))
                            .mapToDouble(Map.Entry::getValue)
                            .sum())
                    .as(reason)
                    .isZero();
        }
        assertThat(samples.keySet().stream()
                        .filter(name -> name.matches("quire_http_responses_total.*status=\"5.*"))
                        .filter(name -> !name.contains("501")))
                .as("errors of the server")
                .isEmpty();
        Path uploads =
                folder.resolve("batches " + SERVERS.getFirst().equals(server)).resolve("uploads");
        while (isUsed(uploads)) { // threads of their own delete the files of clients that left
            Thread.onSpinWait();
        }
    }

    private static boolean isUsed(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.findAny().isPresent();
        }
    }

    private static Map<String, Double> samples(TestServer server) throws Exception {
        Map<String, Double> samples = new LinkedHashMap<>();
        for (String line : server.get("/metrics").body().lines().toList()) {
            if (!line.startsWith("#")) {
                int space = line.lastIndexOf(' ');
                samples.put(line.substring(0, space), Double.valueOf(line.substring(space + 1)));
            }
        }
        return samples;
    }

    private static double sum(Map<String, Double> samples, String name) {
        return samples.entrySet().stream()
                .filter(sample -> sample.getKey().startsWith(name + "{"))
                .mapToDouble(Map.Entry::getValue)
                .sum();
    }
}
