package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Forms with files: what is taken, what hostile clients are told, and what they leave behind. */
@Timeout(60)
class UploadTest {
    private static final int MAX_FILE = 100_000;
    private static final String TYPE = "multipart/form-data; boundary=XX";
    private static final String PURPOSE = part("purpose", "", "batch");

    private final ManualTimers time = new ManualTimers();

    @TempDir
    private Path folder;

    private TestServer server;

    @BeforeEach
    void start() {
        server = TestServer.builder()
                .timers(time)
                .config(TestServer.config()
                        .batches(folder)
                        .maxFileBytes(MAX_FILE)
                        .build())
                .start();
    }

    @AfterEach
    void stop() {
        server.close();
    }

    private static String part(String name, String more, String content) {
        return "--XX\r\nContent-Disposition: form-data; name=\"" + name + "\"" + more + "\r\n\r\n" + content + "\r\n";
    }

    private static String file(String content) {
        return part("file", "; filename=\"in.jsonl\"", content);
    }

    private static String head(String type, int length, String... headers) {
        StringBuilder head = new StringBuilder("POST /v1/files HTTP/1.1\r\nHost: x\r\n");
        for (String header : headers) {
            head.append(header).append("\r\n");
        }
        return head + "Content-Type: " + type + "\r\nContent-Length: " + length + "\r\n\r\n";
    }

    private static String request(String type, String body) {
        return head(type, body.getBytes(StandardCharsets.UTF_8).length) + body;
    }

    private RawClient.Response send(String type, String body) throws IOException {
        try (RawClient client = new RawClient(server)) {
            return client.send(request(type, body)).finalResponse();
        }
    }

    /** All that is in the folder, apart from the database. */
    private List<Path> left() throws IOException {
        try (Stream<Path> uploads = Files.list(folder.resolve("uploads"));
                Stream<Path> files = Files.list(folder.resolve("files"))) {
            return Stream.concat(uploads, files).toList();
        }
    }

    /** Waits until no file comes in any more. */
    private void awaitNothingLeft() throws IOException {
        while (!left().isEmpty()) {
            Thread.onSpinWait();
        }
    }

    @Test
    void form_anyContent_isKeptByteByByte() throws Exception {
        SplittableRandom random = new SplittableRandom(1);
        List<String> contents = new ArrayList<>(List.of("", "x", "\r\n", "\r\n--X", "a\r\n--XY\r\n--XX?".repeat(900)));
        StringBuilder noise = new StringBuilder();
        while (noise.length() < MAX_FILE - 10) {
            noise.append((char) random.nextInt(128));
        }
        contents.add(noise.toString());
        for (String content : contents) {
            String text = content.replace("\r\n--XX", "\r\n--XY");
            RawClient.Response response = send(
                    TYPE,
                    PURPOSE + file(text) + part("expires_after[seconds]", "", "3600")
                            + part("expires_after[anchor]", "", "created_at") + "--XX--\r\n");
            assertThat(response.status()).as(response.body()).isEqualTo(200);
            String id = quire.server.api.Json.read(response.body()).get("id").stringValue();
            assertThat(server.get("/v1/files/" + id + "/content").body()).isEqualTo(text);
            assertThat(Files.readString(folder.resolve("files").resolve(id))).isEqualTo(text);
        }
        assertThat(left()).hasSize(contents.size());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "application/json | {} | 415 | multipart/form-data",
                "multipart/form-data | x | 415 | boundary",
                "application/x-www-form-urlencoded | purpose=batch | 415 | multipart/form-data",
                "multipart/form-data; boundary=XX; charset=nonsense | P F E | 400 | no valid form",
                "multipart/form-data; boundary=XX | nonsense | 400 | has no field",
                "multipart/form-data; boundary=XX | N | 400 | no valid form",
                "multipart/form-data; boundary=XX | P E | 400 | 'file'",
                "multipart/form-data; boundary=XX | F E | 400 | 'purpose'",
                "multipart/form-data; boundary=XX | P F F E | 400 | more than one file",
                "multipart/form-data; boundary=XX | P P F E | 400 | 'purpose' twice",
                "multipart/form-data; boundary=XX | P U F E | 400 | Unknown field of the form: 'u'",
                "multipart/form-data; boundary=XX | P L F E | 400 | with a filename",
                "multipart/form-data; boundary=XX | P G E | 400 | 'file' has no filename",
                "multipart/form-data; boundary=XX | P M F E | 400 | no valid form",
                "multipart/form-data; boundary=XX | P F | 400 | ends before the end of its file",
                "multipart/form-data; boundary=XX | P T E | 400 | no valid form",
                "multipart/form-data; boundary=XX | P C E | 400 | no valid form",
                "multipart/form-data; boundary=XX | P W E | 400 | name of the file",
                "multipart/form-data; boundary=XX | P B E | 413 | larger than 100000 bytes",
                "multipart/form-data; boundary=XX | V F E | 400 | for batches only",
                "multipart/form-data; boundary=XX | P F A E | 400 | expires_after[seconds]"
            })
    void form_wrongOrHostile_getsAClearErrorAndLeavesNothing(String type, String plan, int status, String message)
            throws Exception {
        StringBuilder body = new StringBuilder();
        for (String step : plan.split(" ", -1)) {
            body.append(
                    switch (step) {
                        case "P" -> PURPOSE;
                        case "V" -> part("purpose", "", "vision");
                        case "F" -> plan.endsWith("F") ? file("abc").stripTrailing() : file("abc");
                        case "U" -> part("u", "", "x");
                        case "A" -> part("expires_after[anchor]", "", "created_at");
                        case "G" -> part("file", "", "abc");
                        case "L" -> part("purpose2", "", "x".repeat(20_000));
                        case "M" -> part("u", "", "x").repeat(40);
                        case "N" -> "x".repeat(50_000);
                        case "T" -> part("file", "; filename=\"a\"\r\nContent-Transfer-Encoding: nonsense", "abc");
                        case "C" -> part("file", "; filename=\"a\"\r\nContent-Type: text/plain; charset=\\?", "abc");
                        case "W" -> part("file", "; filename=\"" + "a".repeat(300) + "\"", "abc");
                        case "B" -> file("x".repeat(MAX_FILE + 1));
                        case "E" -> "--XX--\r\n";
                        default -> step;
                    });
        }
        RawClient.Response response = send(type, body.toString());
        assertThat(response.status()).as(response.body()).isEqualTo(status);
        assertThat(response.body()).contains(message);
        awaitNothingLeft();
        assertThat(send(TYPE, PURPOSE + file("x") + "--XX--\r\n").status())
                .as("the next one")
                .isEqualTo(200);
    }

    @Test
    void form_announcedTooLarge_isRefusedAtOnce() throws Exception {
        try (RawClient client = new RawClient(server)) {
            assertThat(client.send(head(TYPE, 1 << 30)).finalResponse().status())
                    .isEqualTo(413);
        }
    }

    /** Random changes of a form: each gets an answer, and none is the server's fault. */
    @Test
    void form_changedAtRandom_neverFailsTheServer() throws Exception {
        SplittableRandom random = new SplittableRandom(7);
        String good = PURPOSE + file("line\r\n".repeat(20)) + "--XX--\r\n";
        String alphabet = "\r\n-X;=\"': \u0000%abc[]";
        for (int i = 0; i < 200; i++) {
            StringBuilder body = new StringBuilder(good);
            for (int change = random.nextInt(1, 6); change > 0; change--) {
                int at = random.nextInt(body.length());
                switch (random.nextInt(3)) {
                    case 0 -> body.deleteCharAt(at);
                    case 1 -> body.insert(at, alphabet.charAt(random.nextInt(alphabet.length())));
                    default -> body.setCharAt(at, alphabet.charAt(random.nextInt(alphabet.length())));
                }
            }
            RawClient.Response response = send(TYPE, body.toString());
            assertThat(response.status()).as(body + "\n" + response.body()).isIn(200, 400);
        }
        assertThat(left()).allMatch(path -> path.startsWith(folder.resolve("files")));
    }

    @Test
    void client_thatLeavesOrIsSlow_leavesNothing() throws Exception {
        String begin = PURPOSE + file("abc").stripTrailing();
        try (RawClient leaver = new RawClient(server);
                RawClient slow = new RawClient(server)) {
            leaver.send(head(TYPE, 10_000) + begin);
            while (left().isEmpty()) {
                Thread.onSpinWait();
            }
            leaver.reset();
            awaitNothingLeft();
            slow.send(head(TYPE, 10_000, "Expect: 100-continue"));
            assertThat(slow.response().status()).isEqualTo(100);
            slow.send(begin);
            while (left().isEmpty()) {
                Thread.onSpinWait();
            }
            time.advance(Duration.ofSeconds(5).plusMillis(5));
            RawClient.Response response = slow.response();
            assertThat(response.status()).isEqualTo(408);
            awaitNothingLeft();
        }
    }

    @Test
    void forms_manyAtOnce_shareThePlaces() throws Exception {
        List<RawClient> clients = new ArrayList<>();
        try {
            for (int i = 0; i < 8; i++) {
                RawClient client = RawClient.at(2, server).send(head(TYPE, 10_000, "Expect: 100-continue"));
                clients.add(client);
                assertThat(client.response().status()).isEqualTo(100);
            }
            try (RawClient third = RawClient.at(2, server).send(head(TYPE, 10_000));
                    RawClient other = RawClient.at(3, server)) {
                assertThat(third.response().status()).isEqualTo(429);
                String body = PURPOSE + file("x") + "--XX--\r\n";
                assertThat(other.send(request(TYPE, body)).response().status())
                        .as("another client")
                        .isEqualTo(200);
            }
        } finally {
            for (RawClient client : clients) {
                client.close();
            }
        }
    }
}
