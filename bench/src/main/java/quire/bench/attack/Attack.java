package quire.bench.attack;

import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import quire.bench.attack.Tally.Outcome;
import quire.bench.client.HttpSocket;
import quire.bench.client.ServerAddress;
import quire.bench.client.StreamedAnswer;
import quire.cli.output.Json;

/**
 * One attack of one client. All that it does follows from its random numbers. It checks what comes back: an error must be
 * the client's (4xx), in JSON with a message, and it must say when to try again if it is about load. Everything else is a
 * fault of the server.
 */
final class Attack {
    /** Longer than any answer takes on a busy machine. */
    private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(30);

    /** For requests that need no answer, such as one that says that more is to come. */
    private static final Duration SHORT_TIMEOUT = Duration.ofSeconds(1);

    private static final String COMPLETIONS = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";
    private static final List<String> PATHS = List.of(
            COMPLETIONS,
            CHAT,
            "/v1/models",
            "/completions",
            "/tokenize",
            "/detokenize",
            "/health",
            "/metrics",
            "/v1/embeddings",
            "/",
            "*");
    private static final List<String> METHODS = List.of(
            "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "G\u00cbT");
    private static final List<String> VALUES = List.of(
            "null",
            "true",
            "\"x\"",
            "\"\"",
            "-1",
            "0",
            "1e999",
            "0.5",
            "99999999999999999999999",
            "[]",
            "{}",
            "[null]",
            "[[[]]]",
            "{\"a\":{}}",
            "[1,\"a\",null]",
            "\"\\ud800\"",
            "\"\\u0000\"");

    private final AttackKind kind;
    private final ServerAddress server;
    private final HonestClients.Known known;
    private final SplittableRandom random;
    private final CountDownLatch end;
    private final Tally tally;

    /**
     * An attack.
     *
     * @param known a good request and its answer
     * @param end open when attackers must stop
     */
    Attack(
            AttackKind kind,
            ServerAddress server,
            HonestClients.Known known,
            SplittableRandom random,
            CountDownLatch end,
            Tally tally) {
        this.kind = kind;
        this.server = server;
        this.known = known;
        this.random = random;
        this.end = end;
        this.tally = tally;
    }

    /** Attacks once, and counts what became of it. */
    void run() throws InterruptedException {
        try {
            attack();
        } catch (ProtocolException e) {
            tally.fault(kind, "the answer is not HTTP: " + e.getMessage());
        } catch (SocketTimeoutException e) {
            tally.fault(kind, "no answer within " + ANSWER_TIMEOUT.toSeconds() + " s");
        } catch (EOFException | SocketException e) {
            tally.add(kind, Outcome.CLOSED);
        } catch (IOException e) {
            tally.fault(kind, e.toString());
        }
    }

    private void attack() throws IOException, InterruptedException {
        switch (kind) {
            case VANISH -> vanish();
            case ABANDON -> abandon();
            case SLOW_SEND -> slowSend();
            case LAST_BYTE -> lastByte();
            case SLOW_READER -> slowReader();
            case IDLE -> idle();
            case GIANT_PROMPT -> giantPrompt();
            case MALFORMED_JSON -> malformedJson();
            case WRONG_TYPES -> wrongTypes();
            case EXTREME_VALUES -> extremeValues();
            case DEEP_NESTING -> deepNesting();
            case ROUTES -> routes();
            case PIPELINED -> pipelined();
            case SPLIT -> split();
            case FRAMING -> framing();
            case LARGE_HEAD -> largeHead();
            case RANDOM_BYTES -> randomBytes();
        }
    }

    // ── clients that are slow or leave ──────────────────────────────────────────────────────────────────────────────

    private void vanish() throws IOException {
        HttpSocket socket = open();
        try {
            socket.send(server.post(
                    COMPLETIONS,
                    "{\"prompt\":\"Once upon a time\",\"max_tokens\":400,\"temperature\":1,\"ignore_eos\":true,"
                            + "\"stream\":true,\"seed\":" + random.nextInt(1000) + "}"));
            HttpSocket.Head head = socket.head();
            if (head.status() != 200) {
                check(new HttpSocket.Answer(head, body(socket)), false);
                return;
            }
            for (int lines = random.nextInt(100); lines > 0 && socket.bodyLine() != null; lines--) {
                // one line of the answer
            }
            tally.add(kind, Outcome.LEFT);
        } finally {
            leave(socket);
        }
    }

    private void abandon() throws IOException {
        HttpSocket socket = open();
        try {
            socket.send(server.post(
                    random.nextBoolean() ? COMPLETIONS : CHAT,
                    random.nextBoolean()
                            ? "{\"prompt\":\"a\",\"max_tokens\":300,\"ignore_eos\":true}"
                            : "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me a story\"}],\"stream\":true}"));
            tally.add(kind, Outcome.LEFT);
        } finally {
            leave(socket);
        }
    }

    private void slowSend() throws IOException, InterruptedException {
        try (HttpSocket socket = open()) {
            byte[] request = known.request().getBytes(StandardCharsets.UTF_8);
            for (int at = 0; at < request.length - 1; at++) {
                socket.send(new byte[] {request[at]});
                if (end.await(random.nextInt(10), TimeUnit.MILLISECONDS)) {
                    tally.add(kind, Outcome.LEFT);
                    return;
                }
            }
            checkKnown(StreamedAnswer.of(socket, lastByte(request)));
        }
    }

    private static String lastByte(byte[] request) {
        return new String(request, request.length - 1, 1, StandardCharsets.UTF_8);
    }

    private void lastByte() throws IOException, InterruptedException {
        List<HttpSocket> sockets = new ArrayList<>();
        try {
            String body = "{\"prompt\":\"" + "y".repeat(7 << 20) + "\"}";
            byte[] request = server.post(COMPLETIONS, body).getBytes(StandardCharsets.UTF_8);
            byte[] most = Arrays.copyOf(request, request.length - 1);
            for (int i = 0; i < 12 && end.getCount() > 0; i++) {
                HttpSocket socket = open();
                sockets.add(socket);
                try {
                    socket.send(most);
                } catch (SocketException e) {
                    tally.add(kind, Outcome.CLOSED); // refused before all was sent
                }
            }
            hold();
            if (random.nextBoolean()) {
                check(sockets.getFirst().send(lastByte(request)).answer(), false);
            } else {
                tally.add(kind, Outcome.LEFT);
            }
        } finally {
            for (HttpSocket socket : sockets) {
                leave(socket);
            }
        }
    }

    private void slowReader() throws IOException, InterruptedException {
        HttpSocket socket = HttpSocket.open(server, ANSWER_TIMEOUT, 1024);
        try {
            socket.send(server.post(
                    COMPLETIONS,
                    "{\"prompt\":\"Once\",\"max_tokens\":500,\"temperature\":1,\"ignore_eos\":true,\"stream\":true,"
                            + "\"logprobs\":5,\"seed\":" + random.nextInt(1000) + "}"));
            hold();
            tally.add(kind, Outcome.LEFT);
        } finally {
            leave(socket);
        }
    }

    private void idle() throws IOException, InterruptedException {
        List<HttpSocket> sockets = new ArrayList<>();
        try {
            for (int i = 0; i < 64; i++) {
                HttpSocket socket = open();
                sockets.add(socket);
                if (random.nextBoolean()) {
                    socket.send(known.request().substring(0, random.nextInt(60)));
                }
            }
            hold();
            tally.add(kind, Outcome.LEFT);
        } finally {
            for (HttpSocket socket : sockets) {
                leave(socket);
            }
        }
    }

    // ── good HTTP with bad bodies ───────────────────────────────────────────────────────────────────────────────────

    private void giantPrompt() throws IOException {
        List<String> fillers = List.of("word salad ", "a", "\u00e9\u6f22\ud83d\ude00", "a b", "\\n\\n", "<|im_end|>");
        String filler = fillers.get(random.nextInt(fillers.size()));
        int bytes = filler.getBytes(StandardCharsets.UTF_8).length;
        String text = filler.repeat((100 << 10 << random.nextInt(6)) / bytes);
        String body =
                switch (random.nextInt(3)) {
                    case 0 -> "{\"prompt\":\"" + text + "\"}";
                    case 1 -> "{\"messages\":[{\"role\":\"user\",\"content\":\"" + text + "\"}],\"max_tokens\":4}";
                    default -> "{\"prompt\":[" + "17,".repeat(text.length() / 4) + "17]}";
                };
        exchange(server.post(body.startsWith("{\"m") ? CHAT : COMPLETIONS, body), false);
    }

    private void malformedJson() throws IOException {
        StringBuilder body = new StringBuilder(goodBody());
        for (int changes = random.nextInt(3); changes >= 0; changes--) {
            int from = random.nextInt(body.length());
            int to = Math.min(body.length(), from + random.nextInt(12));
            body.replace(from, to, pick(random.nextBoolean() ? VALUES : List.of(":", ",", "{", "]", "\"", "\\", "'")));
        }
        exchange(server.post(random.nextBoolean() ? COMPLETIONS : CHAT, body.toString()), true);
    }

    private void wrongTypes() throws IOException {
        List<String> names = List.of(
                "prompt",
                "messages",
                "max_tokens",
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "stop",
                "stop_token_ids",
                "logit_bias",
                "seed",
                "n",
                "logprobs",
                "top_logprobs",
                "stream_options",
                "model",
                "tools",
                "echo",
                "repetition_penalty",
                "presence_penalty",
                "response_format",
                "tool_choice",
                "ignore_eos");
        String body = goodBody();
        String extra = IntStream.rangeClosed(0, random.nextInt(3))
                .mapToObj(i -> "\"" + pick(names) + "\":" + pick(VALUES))
                .collect(Collectors.joining(","));
        exchange(
                server.post(
                        pick(List.of(COMPLETIONS, CHAT, "/tokenize", "/detokenize")),
                        random.nextBoolean()
                                ? "{" + extra + "}"
                                : body.substring(0, body.length() - 1) + "," + extra + "}"),
                true);
    }

    private void extremeValues() throws IOException {
        String field =
                switch (random.nextInt(11)) {
                    case 0 -> "\"max_tokens\":" + pick(List.of("0", "2147483647", "9223372036854775807", "1e308"));
                    case 1 -> "\"temperature\":" + pick(List.of("-1", "1e300", "1e-300", "5e-324", "2", "-0.0"));
                    case 2 -> "\"seed\":" + pick(List.of("18446744073709551615", "-9223372036854775808", "1.5"));
                    case 3 -> "\"top_k\":" + pick(List.of("2147483648", "-2147483648", "1000000"));
                    case 4 -> "\"logit_bias\":{" + many(5000, i -> "\"" + i + "\":" + (i % 2 == 0 ? -100 : 100)) + "}";
                    case 5 -> "\"stop\":[" + many(2000, i -> "\"stop " + i + "\"") + "]";
                    case 6 -> "\"stop\":\"" + "s".repeat(100_000) + "\"";
                    case 7 -> "\"stop_token_ids\":[" + many(20_000, i -> Integer.toString(i - 10)) + "]";
                    case 8 -> "\"n\":" + pick(List.of("0", "2", "1000000000"));
                    case 9 -> "\"logprobs\":" + pick(List.of("-1", "1000000000", "20"));
                    default -> "\"repetition_penalty\":" + pick(List.of("0", "-1", "1e300", "1e-300"));
                };
        String prompt =
                pick(List.of("\"\"", "\"a\"", "[-1]", "[2147483647]", "[9999999999]", "[[1,2]]", "[\"a\"]", "[]"));
        exchange(server.post(COMPLETIONS, "{\"prompt\":" + prompt + "," + field + "}"), true);
    }

    private void deepNesting() throws IOException {
        int depth = 1 << random.nextInt(1, 18);
        boolean arrays = random.nextBoolean();
        String open = (arrays ? "[" : "{\"a\":").repeat(depth);
        String close = random.nextBoolean() ? "1" + (arrays ? "]" : "}").repeat(depth) : "";
        String field = pick(List.of("prompt", "messages", "tools", "metadata", "logit_bias", "x"));
        String body =
                "{\"prompt\":\"a\",\"max_tokens\":1,\"" + field + "\":" + open + close + (close.isEmpty() ? "" : "}");
        exchange(server.post(random.nextBoolean() ? COMPLETIONS : CHAT, body), true);
    }

    private String goodBody() {
        return "{\"prompt\":\"Once upon a time\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                + "\"text\":\"a\"}]}],\"max_tokens\":2,\"stop\":[\"x\"],\"logit_bias\":{\"5\":1},\"seed\":7,"
                + "\"temperature\":0.5,\"stream\":" + random.nextBoolean() + "}";
    }

    // ── bad HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────

    private void routes() throws IOException {
        String path = pick(PATHS);
        switch (random.nextInt(9)) {
            case 0 -> path += pick(List.of("/", "//", "/x", "/..", "/%2e%2e", "?a=b&c", "#f", ";x=1"));
            case 1 -> path = path.replace("/", "//");
            case 2 -> path += pick(List.of("%", "%zz", "%00", "%c3%28", "\u00e9", "\\", "\"<>", "%0d%0aX:1"));
            case 3 -> path = "http://other.example" + path;
            case 4 -> path = path.toUpperCase(Locale.ROOT);
            case 5 -> path += "a".repeat(random.nextInt(3000));
            default -> {}
        }
        String method = pick(METHODS);
        String body = random.nextBoolean() ? "" : goodBody();
        String request = method + " " + path + " HTTP/1.1\r\nHost: " + server + "\r\n"
                + (body.isEmpty() ? "" : "Content-Type: application/json\r\nContent-Length: " + body.length() + "\r\n")
                + "\r\n" + body;
        try (HttpSocket socket = open()) {
            check(request, socket.send(request).answer(method.equals("HEAD")), true);
        }
    }

    private void pipelined() throws IOException {
        Map<String, Integer> requestToStatus = Map.of(
                known.request(), 200,
                server.get("/v1/models"), 200,
                server.get("/nowhere"), 404,
                server.get(COMPLETIONS), 405,
                server.post(COMPLETIONS, "{"), 400,
                server.post("/tokenize", "{\"prompt\":\"a\"}"), 200);
        List<String> choices = requestToStatus.keySet().stream().sorted().toList();
        List<String> requests = IntStream.range(0, random.nextInt(2, 9))
                .mapToObj(i -> pick(choices))
                .toList();
        try (HttpSocket socket = open()) {
            socket.send(String.join("", requests));
            for (String request : requests) {
                HttpSocket.Answer answer = socket.answer();
                int expected = requestToStatus.getOrDefault(request, 0);
                if (answer.status() != expected && outcome(answer.status()) != Outcome.OVERLOADED) {
                    tally.fault(
                            kind,
                            "status " + answer.status() + ", not " + expected + ", for a pipelined " + shown(request));
                    return;
                }
                check(request, answer, true);
                if ("close".equals(answer.header("connection"))) {
                    return;
                }
            }
        }
    }

    private void split() throws IOException, InterruptedException {
        String request = known.request();
        try (HttpSocket socket = open()) {
            int at = 0;
            for (int to = 1 + random.nextInt(20); to < request.length(); to += 1 + random.nextInt(60)) {
                socket.send(request.substring(at, to));
                at = to;
                if (random.nextInt(4) == 0) {
                    Thread.sleep(random.nextInt(5));
                }
            }
            checkKnown(StreamedAnswer.of(socket, request.substring(at)));
        }
    }

    private void framing() throws IOException {
        String body = "{\"prompt\":\"a\",\"max_tokens\":1}";
        String line = "POST " + COMPLETIONS + " HTTP/1.1\r\n";
        String host = "Host: " + server + "\r\n";
        String type = "Content-Type: application/json\r\n";
        String length = "Content-Length: " + body.length() + "\r\n";
        String chunked = "Transfer-Encoding: chunked\r\n";
        String head = line + host + type;
        String request =
                switch (random.nextInt(14)) {
                    case 0 ->
                        head + "Content-Length: " + (body.length() + 1 + random.nextInt(1000)) + "\r\n\r\n" + body;
                    case 1 -> head + "Content-Length: " + random.nextInt(body.length()) + "\r\n\r\n" + body;
                    case 2 ->
                        head + "Content-Length: "
                                + pick(List.of(
                                        "-1",
                                        "abc",
                                        "1e3",
                                        "+5",
                                        "0x10",
                                        "99999999999999999999",
                                        "5, 5",
                                        "",
                                        " ",
                                        "5 5"))
                                + "\r\n\r\n" + body;
                    case 3 -> head + length + "Content-Length: 3\r\n\r\n" + body;
                    case 4 -> head + length + chunked + "\r\n" + chunk(body) + "0\r\n\r\n";
                    case 5 ->
                        head + chunked + "\r\n"
                                + pick(List.of(
                                        "zz",
                                        "-1",
                                        "FFFFFFFFFFFFFFFF",
                                        "7fffffff",
                                        "",
                                        " 5",
                                        "0x5",
                                        "5;" + "e".repeat(20_000)))
                                + "\r\n" + body + "\r\n0\r\n\r\n";
                    case 6 ->
                        head + chunked + "\r\n" + Integer.toHexString(body.length()) + "\r\n" + body + "0\r\n\r\n";
                    case 7 ->
                        head + "Transfer-Encoding: "
                                + pick(List.of(
                                        "gzip",
                                        "xchunked",
                                        "chunked, gzip",
                                        "gzip, chunked",
                                        "identity",
                                        "chunked\r\nTransfer-Encoding: chunked"))
                                + "\r\n\r\n" + chunk(body) + "0\r\n\r\n";
                    case 8 ->
                        line + pick(List.of("", host + "Host: other\r\n", "Host:\r\n")) + type + length + "\r\n" + body;
                    case 9 ->
                        "POST " + COMPLETIONS
                                + pick(List.of(" HTTP/1.0", " HTTP/2.0", " HTTP/9.9", " http/1.1", "", " HTTP/1.1 x"))
                                + "\r\n" + host + type + length + "\r\n" + body;
                    case 10 -> (head + length + "\r\n").replace("\r\n", "\n") + body;
                    case 11 ->
                        head + length
                                + pick(List.of(
                                        "A : b\r\n",
                                        "A: b\r\n c\r\n",
                                        "A: \0\r\n",
                                        "no colon\r\n",
                                        ": b\r\n",
                                        "A\u00e9: b\r\n"))
                                + "\r\n" + body;
                    case 12 ->
                        head + chunked + "\r\n"
                                + body.chars()
                                        .mapToObj(c -> "1;a=\"b\"\r\n" + (char) c + "\r\n")
                                        .collect(Collectors.joining())
                                + "0\r\nTrailer: x\r\n\r\n";
                    default ->
                        head + "Expect: " + pick(List.of("100-continue", "200-ok")) + "\r\n" + length + "\r\n" + body;
                };
        exchangeBriefly(request.getBytes(StandardCharsets.UTF_8));
    }

    private static String chunk(String body) {
        return Integer.toHexString(body.length()) + "\r\n" + body + "\r\n";
    }

    private void largeHead() throws IOException {
        String request =
                switch (random.nextInt(4)) {
                    case 0 ->
                        "GET /" + "x".repeat(random.nextInt(5_000, 200_000)) + " HTTP/1.1\r\nHost: " + server
                                + "\r\n\r\n";
                    case 1 ->
                        "GET /health HTTP/1.1\r\nHost: " + server + "\r\nX-Long: "
                                + "x".repeat(random.nextInt(10_000, 1 << 20)) + "\r\n\r\n";
                    case 2 ->
                        "GET /health HTTP/1.1\r\nHost: " + server + "\r\n"
                                + "X: y\r\n".repeat(random.nextInt(1000, 100_000)) + "\r\n";
                    default -> "G".repeat(random.nextInt(1, 100_000));
                };
        exchangeBriefly(request.getBytes(StandardCharsets.UTF_8));
    }

    private void randomBytes() throws IOException {
        byte[] bytes = known.request().getBytes(StandardCharsets.UTF_8);
        if (random.nextInt(4) == 0) {
            random.nextBytes(bytes);
        } else {
            for (int changes = random.nextInt(8); changes >= 0; changes--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
            }
        }
        exchangeBriefly(bytes);
    }

    // ── sending and checking ────────────────────────────────────────────────────────────────────────────────────────

    private HttpSocket open() throws IOException {
        return HttpSocket.open(server, ANSWER_TIMEOUT);
    }

    /** Ends a connection, half of them with a reset. */
    private void leave(HttpSocket socket) throws IOException {
        if (random.nextBoolean()) {
            socket.reset();
        } else {
            socket.close();
        }
    }

    /** Waits for up to five seconds, or until attackers must stop. */
    private void hold() throws InterruptedException {
        end.await(random.nextInt(500, 5000), TimeUnit.MILLISECONDS);
    }

    private String pick(List<String> choices) {
        return choices.get(random.nextInt(choices.size()));
    }

    private static String many(int count, IntFunction<String> item) {
        return IntStream.range(0, count).mapToObj(item).collect(Collectors.joining(","));
    }

    /** Sends a request that a server must answer, and checks the answer. */
    private void exchange(String request, boolean successAllowed) throws IOException {
        try (HttpSocket socket = open()) {
            check(request, socket.send(request).answer(), successAllowed);
        }
    }

    /** Sends bytes that a server need not answer. */
    private void exchangeBriefly(byte[] bytes) throws IOException {
        HttpSocket socket = open();
        try {
            socket.send(bytes);
            socket.timeout(SHORT_TIMEOUT);
            HttpSocket.Answer answer = socket.answer();
            check(new String(bytes, StandardCharsets.UTF_8), answer, true);
        } catch (SocketTimeoutException e) {
            tally.add(kind, Outcome.SILENT);
        } finally {
            leave(socket);
        }
    }

    private static String body(HttpSocket socket) throws IOException {
        StringBuilder body = new StringBuilder();
        for (String line = socket.bodyLine(); line != null; line = socket.bodyLine()) {
            body.append(line).append('\n');
        }
        return body.toString();
    }

    private void checkKnown(StreamedAnswer answer) {
        if (!answer.succeeded()) {
            check(known.request(), new HttpSocket.Answer(answer.head(), answer.content()), false);
        } else if (!answer.content().equals(known.answer())) {
            tally.fault(kind, "another answer " + HonestClients.difference(known.answer(), answer.content()));
        } else {
            tally.add(kind, Outcome.ANSWERED);
        }
    }

    private void check(HttpSocket.Answer answer, boolean successAllowed) {
        check("", answer, successAllowed);
    }

    /** Counts an answer, which must be one that a server may give to a bad request. */
    private void check(String request, HttpSocket.Answer answer, boolean successAllowed) {
        Outcome outcome = outcome(answer.status());
        String fault = "";
        if (outcome == Outcome.FAULT) {
            fault = "is an error of the server: " + shown(answer.body());
        } else if (outcome == Outcome.OVERLOADED && answer.header("retry-after") == null) {
            fault = "has no Retry-After";
        } else if (outcome == Outcome.ANSWERED && !successAllowed) {
            fault = "is a success";
        } else if ((outcome == Outcome.REFUSED || outcome == Outcome.OVERLOADED)
                && !answer.body().isEmpty()
                && !hasMessage(answer.body())) {
            fault = "has no error message in JSON: " + shown(answer.body());
        }
        if (fault.isEmpty()) {
            tally.add(kind, outcome);
        } else {
            tally.fault(kind, "status " + answer.status() + " " + fault + "; the request: " + shown(request));
        }
    }

    private static Outcome outcome(int status) {
        return switch (status / 100) {
            case 1, 2 -> Outcome.ANSWERED;
            case 4 -> status == 429 ? Outcome.OVERLOADED : Outcome.REFUSED;
            case 5 ->
                status == 503 ? Outcome.OVERLOADED : status == 501 || status == 505 ? Outcome.REFUSED : Outcome.FAULT;
            default -> Outcome.FAULT;
        };
    }

    private static boolean hasMessage(String body) {
        try {
            return Json.read(body).get("error") instanceof Map<?, ?> error
                    && error.get("message") instanceof String message
                    && !message.isBlank();
        } catch (RuntimeException e) {
            return false; // not JSON
        }
    }

    private static String shown(String text) {
        String line = text.replace("\r", "\\r").replace("\n", "\\n").replaceAll("\\p{Cntrl}", "\uFFFD");
        return line.length() <= 700 ? line : line.substring(0, 600) + " … " + line.substring(line.length() - 90);
    }
}
