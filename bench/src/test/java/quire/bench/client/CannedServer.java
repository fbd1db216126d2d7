package quire.bench.client;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.List;

/**
 * A server that reads what the first packet brings, and answers with the next of some texts, whatever was asked. After the
 * last text it begins again.
 */
public final class CannedServer implements AutoCloseable {
    private final ServerSocket listening;

    /** Starts it. */
    public CannedServer(String... answers) throws IOException {
        listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(() -> serve(List.of(answers)));
    }

    /** An answer with a body. */
    public static String answer(int status, String headers, String body) {
        return "HTTP/1.1 " + status + " Any\r\nContent-Length: " + body.getBytes(StandardCharsets.UTF_8).length + "\r\n"
                + headers + "\r\n" + body;
    }

    /** Where it listens. */
    public ServerAddress address() {
        return new ServerAddress("127.0.0.1", listening.getLocalPort());
    }

    private void serve(List<String> answers) {
        Iterator<String> next = answers.iterator();
        while (!listening.isClosed()) {
            next = next.hasNext() ? next : answers.iterator();
            try (Socket socket = listening.accept()) {
                if (socket.getInputStream().read(new byte[1 << 16]) > 0) {
                    socket.getOutputStream().write(next.next().getBytes(StandardCharsets.UTF_8));
                    socket.shutdownOutput();
                    socket.getInputStream().readAllBytes(); // until the client has read and closed
                }
            } catch (IOException e) {
                // the client is gone, or the test is over
            }
        }
    }

    @Override
    public void close() throws IOException {
        listening.close();
    }
}
