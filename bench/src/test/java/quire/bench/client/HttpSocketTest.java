package quire.bench.client;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the clients read from a socket. */
@Timeout(60)
class HttpSocketTest {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final String STREAM = """
            HTTP/1.1 200 OK\r
            Content-Type: text/event-stream\r
            transfer-encoding: chunked\r
            \r
            """;

    private static HttpSocket.Answer exchange(String answer) throws IOException {
        try (CannedServer server = new CannedServer(answer)) {
            return HttpSocket.exchange(server.address(), server.address().get("/"), TIMEOUT);
        }
    }

    @Test
    void answer_withLength_isRead() throws IOException {
        HttpSocket.Answer answer = exchange(CannedServer.answer(429, "Retry-After: 3\r\n", "h\u00e9"));
        assertThat(answer.status()).isEqualTo(429);
        assertThat(answer.header("retry-after")).isEqualTo("3");
        assertThat(answer.body()).isEqualTo("h\u00e9");
    }

    @Test
    void answer_inChunks_isJoined() throws IOException {
        assertThat(exchange(STREAM + "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n").body())
                .isEqualTo("abc0123456789");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "HTTZ/1.1 200 OK\r\n\r\n",
                "HTTP/2.0 200 OK\r\n\r\n",
                "HTTP/1.1 999 OK\r\n\r\n",
                "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            })
    void answer_notHttp_isAProtocolException(String answer) {
        assertThatExceptionOfType(ProtocolException.class).isThrownBy(() -> exchange(answer));
    }

    @Test
    void answer_cutShort_isAnEndOfFile() {
        assertThatExceptionOfType(EOFException.class).isThrownBy(() -> exchange(STREAM + "5\r\nab"));
    }

    @Test
    void streamedAnswer_events_areWithoutIdentity() throws IOException {
        String events = """
                : a comment

                data: {"id":"x1","created":17,"text":"a"}

                data: {"id":"x1","text":"b"}

                data: [DONE]

                """;
        String answer = STREAM + Integer.toHexString(events.length()) + "\r\n" + events + "\r\n0\r\n\r\n";
        try (CannedServer server = new CannedServer(answer);
                HttpSocket socket = HttpSocket.open(server.address(), TIMEOUT)) {
            StreamedAnswer read = StreamedAnswer.of(socket, "GET / HTTP/1.1\r\n\r\n");
            assertThat(read.content()).isEqualTo("{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
            assertThat(read.events()).isEqualTo(2);
            assertThat(read.succeeded()).isTrue();
        }
    }

    @Test
    void streamedAnswer_withoutDone_isIncomplete() throws IOException {
        try (CannedServer server = new CannedServer(STREAM + "a\r\ndata: {}\n\n\r\n0\r\n\r\n");
                HttpSocket socket = HttpSocket.open(server.address(), TIMEOUT)) {
            assertThat(StreamedAnswer.of(socket, "GET / HTTP/1.1\r\n\r\n").succeeded())
                    .isFalse();
        }
    }

    @Test
    void withoutIdentity_usage_isLeftOut() {
        assertThat(StreamedAnswer.withoutIdentity("{\"id\":\"a\",\"choices\":[1],\"usage\":{\"a\":{\"b\":1}}}"))
                .isEqualTo("{\"choices\":[1]}");
    }

    @Test
    void metrics_labels_areAddedUp() {
        Metrics metrics = Metrics.parse("# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3.5\nquire_num_requests_running 1\n");
        assertThat(metrics.value("a")).isEqualTo(5.5);
        assertThat(metrics.requests()).isEqualTo(1);
        assertThat(metrics.pagesInUse()).isZero();
    }

    @Test
    void serverAddress_url_isRead() {
        assertThat(ServerAddress.of("http://localhost")).isEqualTo(new ServerAddress("localhost", 80));
        assertThat(ServerAddress.of("http://h:81/")).isEqualTo(new ServerAddress("h", 81));
        for (String wrong : new String[] {"h:81", "https://h", "http://h/v1", "http:// h"}) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> ServerAddress.of(wrong))
                    .withMessageContaining(wrong);
        }
    }

    @Test
    void liveHeap_histogram_isAddedUpWithoutFillers() {
        assertThat(ServerProcess.liveMebibytes("""
                        6653:
                         num     #instances         #bytes  class name (module)
                        -------------------------------------------------------
                           1:           719       17077264  [Ljdk.internal.vm.FillerElement; (java.base@25)
                           2:         45341        1048576  [B (java.base@25)
                           3:             1         524288  java.lang.String (java.base@25)
                        Total        188331        9886904
                        """.lines())).hasValue(1.5);
        assertThat(ServerProcess.liveMebibytes(Stream.of("no such process"))).isEmpty();
    }

    @Test
    void serverProcess_port_isFoundWithItsSockets() throws IOException {
        try (CannedServer server = new CannedServer("");
                ServerProcess process = ServerProcess.at(server.address())) {
            // On Linux this very process listens; elsewhere nothing can be counted.
            process.openSockets().ifPresent(sockets -> assertThat(sockets).isPositive());
            process.residentMebibytes().ifPresent(size -> assertThat(size).isBetween(1.0, 1e6));
        }
    }
}
