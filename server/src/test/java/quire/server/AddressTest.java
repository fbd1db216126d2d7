package quire.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.StandardProtocolFamily;
import java.net.URI;
import java.net.UnixDomainSocketAddress;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Other ways to a server than a port with plain HTTP: TLS, a unix socket, a path of a proxy. */
@Timeout(60)
class AddressTest {
    private static final String BODY = "{\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":5}";
    private static final char[] PASSWORD = "changeit".toCharArray();

    @TempDir
    private Path folder;

    // ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @ParameterizedTest
    @CsvSource({"RSA, 2048", "EC, 256"})
    void tls_eitherKindOfKey_answersWholeAndStreamed(String kind, int bits) throws Exception {
        X509Certificate certificate = pair("server", kind, bits);
        try (TestServer server = tlsServer();
                HttpClient client = trusting(certificate)) {
            HttpResponse<String> whole = client.send(post(server, BODY), HttpResponse.BodyHandlers.ofString(UTF_8));
            assertThat(whole.statusCode()).isEqualTo(200);
            HttpResponse<String> stream = client.send(
                    post(server, BODY.replace("}", ",\"stream\":true}")), HttpResponse.BodyHandlers.ofString(UTF_8));
            assertThat(stream.body()).endsWith("data: [DONE]\n\n");
        }
    }

    @Test
    void tls_filesReplaced_newConnectionsGetTheNewCertificate() throws Exception {
        X509Certificate first = pair("server", "EC", 256);
        try (TestServer server = tlsServer();
                HttpClient client = trusting(first)) {
            assertThat(certificateOf(client, server)).isEqualTo(first);

            X509Certificate second = pair("server", "EC", 256);
            server.server.reloadCertificate();
            try (HttpClient other = trusting(second)) {
                assertThat(certificateOf(other, server)).isEqualTo(second);
            }
            // the connection that was there goes on
            assertThat(client.send(post(server, BODY), HttpResponse.BodyHandlers.discarding())
                            .statusCode())
                    .isEqualTo(200);
        }
    }

    @Test
    void tls_keyOfAnotherCertificate_isRefusedAndTheCertificateStays() throws Exception {
        X509Certificate first = pair("server", "EC", 256);
        try (TestServer server = tlsServer()) {
            pair("other", "EC", 256);
            Files.copy(folder.resolve("other.key"), folder.resolve("server.key"), StandardCopyOption.REPLACE_EXISTING);
            assertThatThrownBy(server.server::reloadCertificate)
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("server.key does not belong to the certificate in");
            try (HttpClient client = trusting(first)) {
                assertThat(certificateOf(client, server)).isEqualTo(first);
            }
        }
        assertThatThrownBy(this::tlsServer)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("server.key does not belong to the certificate in");
    }

    @Test
    void tls_filesThatAreNone_areNamed() throws Exception {
        pair("server", "EC", 256);
        String key = Files.readString(folder.resolve("server.key"));
        Files.writeString(folder.resolve("server.key"), "no key");
        assertThatThrownBy(this::tlsServer).hasMessageContaining("server.key").hasMessageContaining("PEM");
        Files.writeString(folder.resolve("server.key"), key);
        Files.writeString(folder.resolve("server.pem"), "no certificate");
        assertThatThrownBy(this::tlsServer).hasMessageContaining("server.pem").hasMessageContaining("PEM");
        Files.delete(folder.resolve("server.pem"));
        assertThatThrownBy(this::tlsServer).hasMessageContaining("there is no file " + folder.resolve("server.pem"));
    }

    @Test
    void tls_clientWithoutIt_isDisconnectedAndOthersGoOn() throws Exception {
        X509Certificate certificate = pair("server", "EC", 256);
        try (TestServer server = tlsServer();
                HttpClient client = trusting(certificate)) {
            try (Socket plain = new Socket(InetAddress.getLoopbackAddress(), server.server.port())) {
                plain.getOutputStream().write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(UTF_8));
                assertThat(new String(plain.getInputStream().readAllBytes(), UTF_8))
                        .doesNotContain("HTTP/1.1");
            }
            assertThat(client.send(post(server, BODY), HttpResponse.BodyHandlers.discarding())
                            .statusCode())
                    .isEqualTo(200);
        }
    }

    /** They count as connections from the first moment, make room for others, and have a bounded time. */
    @Test
    void tls_handshakesThatNeverEnd_keepNobodyOutAndAreClosed() throws Exception {
        int most = 20;
        X509Certificate certificate = pair("server", "EC", 256);
        ManualTimers time = new ManualTimers();
        List<Socket> halfOpen = new ArrayList<>();
        try (TestServer server = TestServer.builder()
                        .timers(time)
                        .config(tls().maxConnections(most).build())
                        .start();
                HttpClient client = trusting(certificate)) {
            for (int i = 0; i < 300; i++) {
                Socket socket = new Socket(InetAddress.getLoopbackAddress(), server.server.port());
                halfOpen.add(socket);
                socket.setSoTimeout(10_000);
                if (i % 2 == 0) {
                    socket.getOutputStream().write(new byte[] {22, 3, 1}); // a handshake begins so
                }
            }
            while (server.server.openConnections() != most) {
                Thread.onSpinWait(); // further ones close those that were idle for longest
            }
            assertThat(client.send(post(server, BODY), HttpResponse.BodyHandlers.discarding())
                            .statusCode())
                    .isEqualTo(200);
            assertThat(server.server.openConnections()).isEqualTo(most);

            time.advance(Duration.ofSeconds(5));

            for (Socket socket : halfOpen) {
                assertThat(socket.getInputStream().read()).isNegative();
            }
            while (server.server.openConnections() != 1) {
                Thread.onSpinWait(); // that of the client
            }
        } finally {
            for (Socket socket : halfOpen) {
                socket.close();
            }
        }
    }

    private ServerConfig.Builder tls() {
        return TestServer.config().tls(folder.resolve("server.pem"), folder.resolve("server.key"));
    }

    private TestServer tlsServer() {
        return TestServer.builder().config(tls().build()).start();
    }

    private static X509Certificate certificateOf(HttpClient client, TestServer server) throws Exception {
        HttpResponse<Void> response = client.send(post(server, BODY), HttpResponse.BodyHandlers.discarding());
        return (X509Certificate) response.sslSession().orElseThrow().getPeerCertificates()[0];
    }

    private static HttpRequest post(TestServer server, String body) {
        return HttpRequest.newBuilder(URI.create("https://127.0.0.1:" + server.server.port() + "/v1/completions"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    /** Writes a new certificate for 127.0.0.1 and its key into NAME.pem and NAME.key. */
    private X509Certificate pair(String name, String kind, int bits) throws Exception {
        Path store = folder.resolve(name + ".p12");
        Files.deleteIfExists(store);
        Process keytool = new ProcessBuilder(command(kind, bits, store))
                .redirectErrorStream(true)
                .start();
        String output = new String(keytool.getInputStream().readAllBytes(), UTF_8);
        assertThat(keytool.waitFor()).describedAs(output).isZero();
        KeyStore keys = KeyStore.getInstance(store.toFile(), PASSWORD);
        Certificate certificate = keys.getCertificate("a");
        write(name + ".pem", "CERTIFICATE", certificate.getEncoded());
        write(name + ".key", "PRIVATE KEY", keys.getKey("a", PASSWORD).getEncoded());
        return (X509Certificate) certificate;
    }

    private static List<String> command(String kind, int bits, Path store) {
        return List.of(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                "-genkeypair",
                "-alias",
                "a",
                "-keyalg",
                kind,
                "-keysize",
                Integer.toString(bits),
                "-dname",
                "CN=quire",
                "-ext",
                "SAN=ip:127.0.0.1",
                "-storetype",
                "PKCS12",
                "-keystore",
                store.toString(),
                "-storepass",
                new String(PASSWORD));
    }

    private void write(String file, String kind, byte[] bytes) throws IOException {
        String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(bytes);
        Files.writeString(
                folder.resolve(file), "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n");
    }

    private static HttpClient trusting(X509Certificate certificate) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        trusted.setCertificateEntry("server", certificate);
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), new SecureRandom());
        return HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .sslContext(context)
                .build();
    }

    // ── a unix socket ───────────────────────────────────────────────────────────────────────────────────────────────

    @Test
    void unixSocket_request_isAnsweredWhateverItsHost() throws Exception {
        Path socket = folder.resolve("socket");
        try (TestServer server = unixServer(socket)) {
            assertThat(send(
                            socket,
                            "POST /v1/completions HTTP/1.1\r\nHost: anything\r\nConnection: close\r\nContent-Length: "
                                    + BODY.length() + "\r\n\r\n" + BODY))
                    .startsWith("HTTP/1.1 200 OK")
                    .contains("\"finish_reason\":\"length\"");
            while (server.server.openConnections() > 0) {
                Thread.onSpinWait(); // the client sees the end first
            }
        }
        assertThat(socket).doesNotExist();
    }

    @Test
    void unixSocket_leftByAnEndedProcess_isUsedAgain() throws Exception {
        Path socket = folder.resolve("socket");
        try (ServerSocketChannel ended = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            ended.bind(UnixDomainSocketAddress.of(socket));
        }
        assertThat(socket).exists();
        try (TestServer _ = unixServer(socket)) {
            assertThat(send(socket, "GET /health HTTP/1.0\r\n\r\n")).contains("{\"status\":\"ok\"}");
        }
    }

    @Test
    void unixSocket_thatCannotBeUsed_isRefusedWithTheReason() throws Exception {
        Path socket = folder.resolve("socket");
        try (TestServer _ = unixServer(socket)) {
            assertThatThrownBy(() -> unixServer(socket))
                    .isInstanceOf(UncheckedIOException.class)
                    .hasMessage("cannot listen on " + socket + ": another process listens on it");
            assertThat(send(socket, "GET /health HTTP/1.0\r\n\r\n")).contains("200 OK");
        }
        Path file = Files.writeString(folder.resolve("file"), "precious");
        assertThatThrownBy(() -> unixServer(file)).hasMessageContaining("the file exists and is no socket");
        assertThat(file).hasContent("precious");
        assertThatThrownBy(() -> unixServer(folder.resolve("none").resolve("socket")))
                .isInstanceOf(UncheckedIOException.class)
                .hasMessageContaining("cannot listen on");
        assertThatThrownBy(() -> unixServer(folder.resolve("s".repeat(108))))
                .hasMessageContaining("and a unix socket at most 107");
    }

    private static TestServer unixServer(Path socket) {
        return TestServer.builder()
                .config(TestServer.config()
                        .unixSocket(socket)
                        .allowedHosts(List.of())
                        .build())
                .start();
    }

    private static String send(Path socket, String request) throws IOException {
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
            channel.write(ByteBuffer.wrap(request.getBytes(UTF_8)));
            return new String(Channels.newInputStream(channel).readAllBytes(), UTF_8);
        }
    }

    // ── the path of a proxy ─────────────────────────────────────────────────────────────────────────────────────────

    @Test
    void rootPath_eachPath_isAnsweredWithItAndWithoutIt() throws Exception {
        try (TestServer server = TestServer.builder()
                .config(TestServer.config().rootPath("/ai/llm").build())
                .start()) {
            assertThat(server.get("/ai/llm/v1/models").body())
                    .isEqualTo(server.get("/v1/models").body());
            assertThat(server.get("/ai/llm/v1/models/fake").statusCode()).isEqualTo(200);
            assertThat(server.get("/ai/llm/").body()).contains("page/main.js");
            assertThat(server.get("/ai/llm").statusCode()).isEqualTo(308);
            assertThat(server.get("/ai/llm").headers().firstValue("Location")).hasValue("/ai/llm/");
            assertThat(TestServer.json(server.get("/openapi.json"))
                            .at("/servers/0/url")
                            .asString())
                    .isEqualTo("/ai/llm");
            assertThat(server.get("/ai/llmx/v1/models").statusCode()).isEqualTo(404);
            assertThat(server.get("/ai/v1/models").statusCode()).isEqualTo(404);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"llm", "/llm/", "/", "/a b", "//", "/../x", "/a?b"})
    void rootPath_thatIsNone_isRefused(String path) {
        assertThatThrownBy(() -> ServerConfig.builder().rootPath(path).build())
                .hasMessage("the root path '" + path
                        + "' is not one: write it with a slash in front and none behind, such as /llm");
    }
}
