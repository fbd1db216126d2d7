package quire.bench.client;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.ProtocolException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A client on a plain socket. Unlike an HTTP library it can send anything, in any pieces, and leave at any time. It reads
 * answers strictly: what is not HTTP/1.1 is a {@link ProtocolException}. Not thread-safe.
 *
 * <pre>
 *   head()  bodyLine() … bodyLine() = null      a stream, line by line
 *   answer()                                    a whole answer
 * </pre>
 */
public final class HttpSocket implements AutoCloseable {
    private static final int MAX_LINE_BYTES = 1 << 20;
    private static final int MAX_BODY_BYTES = 64 << 20;
    private static final int NO_CONTENT = 204;
    private static final int NOT_MODIFIED = 304;
    private static final int OK = 200;
    private static final int HEX = 16;

    private final Socket socket;
    private final InputStream in;
    private final byte[] buffer = new byte[8 << 10];
    private int position;
    private int limit;

    /** Bytes of the body, or of its chunk, that are still to come; −1 for a body that ends with the connection. */
    private long left;

    private boolean chunked;

    /** The status and the headers of an answer; the names of headers are in lower case. */
    public record Head(int status, Map<String, String> headers) {}

    /** A whole answer. */
    public record Answer(Head head, String body) {
        /** The HTTP status. */
        public int status() {
            return head.status;
        }

        /** The value of a header, or null. */
        public @Nullable String header(String name) {
            return head.headers.get(name);
        }
    }

    private HttpSocket(Socket socket) throws IOException {
        this.socket = socket;
        this.in = socket.getInputStream();
    }

    /**
     * Connects.
     *
     * @param timeout for the connection, and for each wait for bytes
     */
    public static HttpSocket open(ServerAddress server, Duration timeout) throws IOException {
        return open(server, timeout, 0);
    }

    /**
     * Connects with a receive buffer of a chosen size, so that a client that does not read stops the server soon.
     *
     * @param receiveBytes 0 for the system's choice
     */
    public static HttpSocket open(ServerAddress server, Duration timeout, int receiveBytes) throws IOException {
        Socket socket = new Socket();
        try {
            if (receiveBytes > 0) {
                socket.setReceiveBufferSize(receiveBytes);
            }
            socket.setTcpNoDelay(true);
            socket.connect(server.resolve(), (int) timeout.toMillis());
            socket.setSoTimeout((int) timeout.toMillis());
            return new HttpSocket(socket);
        } catch (IOException | RuntimeException e) {
            socket.close();
            throw e;
        }
    }

    /** Sends a request to a server and reads the answer, on a connection of its own. */
    public static Answer exchange(ServerAddress server, String request, Duration timeout) throws IOException {
        try (HttpSocket socket = open(server, timeout)) {
            return socket.send(request).answer();
        }
    }

    /** Sends a text in UTF-8 in one write. */
    public HttpSocket send(String text) throws IOException {
        return send(text.getBytes(StandardCharsets.UTF_8));
    }

    /** Sends bytes in one write. */
    public HttpSocket send(byte[] bytes) throws IOException {
        socket.getOutputStream().write(bytes);
        return this;
    }

    /** Reads a whole answer to a request other than HEAD. */
    public Answer answer() throws IOException {
        return answer(false);
    }

    /**
     * Reads a whole answer.
     *
     * @param bodyless whether the request was HEAD, so that the answer has no body
     */
    public Answer answer(boolean bodyless) throws IOException {
        Head head = head(bodyless);
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        for (int b = bodyByte(); b >= 0; b = bodyByte()) {
            body.write(b);
            if (body.size() > MAX_BODY_BYTES) {
                throw new ProtocolException("a body of more than " + MAX_BODY_BYTES + " bytes");
            }
        }
        return new Answer(head, body.toString(StandardCharsets.UTF_8));
    }

    /** Reads the head of an answer to a request other than HEAD. */
    public Head head() throws IOException {
        return head(false);
    }

    private Head head(boolean bodyless) throws IOException {
        String line = line();
        if (!line.matches("HTTP/1\\.[01] [1-5]\\d\\d( .*)?")) {
            throw new ProtocolException("a status line '" + shortened(line) + "'");
        }
        int status = Integer.parseInt(line.substring("HTTP/1.1 ".length(), "HTTP/1.1 200".length()));
        Map<String, String> headers = new HashMap<>();
        for (line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            if (colon < 1) {
                throw new ProtocolException("a header '" + shortened(line) + "'");
            }
            headers.put(
                    line.substring(0, colon).toLowerCase(Locale.ROOT),
                    line.substring(colon + 1).strip());
        }
        chunked = false;
        String length = headers.get("content-length");
        if (bodyless || status < OK || status == NO_CONTENT || status == NOT_MODIFIED) {
            left = 0;
        } else if ("chunked".equalsIgnoreCase(headers.get("transfer-encoding"))) {
            chunked = true;
            left = 0;
            nextChunk();
        } else {
            left = length == null ? -1 : number(length, 10);
        }
        return new Head(status, headers);
    }

    /** The next line of the body without its end; null after the last one. */
    public @Nullable String bodyLine() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        int b = bodyByte();
        if (b < 0) {
            return null;
        }
        for (; b >= 0 && b != '\n'; b = bodyByte()) {
            line.write(b);
        }
        return line.toString(StandardCharsets.UTF_8).stripTrailing();
    }

    /** The next byte of the body; −1 after the last one. */
    private int bodyByte() throws IOException {
        if (left == 0) {
            return -1;
        }
        int b = read();
        if (left < 0) {
            return b; // the end of the connection is the end of the body
        }
        if (b < 0) {
            throw new EOFException("the connection ended inside of a body");
        }
        left--;
        if (left == 0 && chunked) {
            line();
            nextChunk();
        }
        return b;
    }

    private void nextChunk() throws IOException {
        left = number(line(), HEX);
        if (left == 0) {
            chunked = false;
            line();
        }
    }

    private static long number(String text, int radix) throws ProtocolException {
        try {
            return Long.parseUnsignedLong(text.strip(), radix);
        } catch (NumberFormatException e) {
            throw new ProtocolException("a length '" + shortened(text) + "'");
        }
    }

    private String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b = read(); b != '\n'; b = read()) {
            if (b < 0) {
                throw new EOFException(
                        line.size() == 0
                                ? "the connection ended without an answer"
                                : "the connection ended after '" + shortened(line.toString(StandardCharsets.UTF_8))
                                        + "'");
            }
            if (line.size() > MAX_LINE_BYTES) {
                throw new ProtocolException("a line of more than " + MAX_LINE_BYTES + " bytes");
            }
            line.write(b);
        }
        return line.toString(StandardCharsets.UTF_8).stripTrailing();
    }

    private int read() throws IOException {
        if (position == limit) {
            position = 0;
            limit = Math.max(0, in.read(buffer));
            if (limit == 0) {
                return -1;
            }
        }
        return buffer[position++] & 0xFF;
    }

    private static String shortened(String text) {
        return text.length() <= 80 ? text : text.substring(0, 80) + "…";
    }

    /** Sets how long to wait for bytes; after it a read ends with a {@link java.net.SocketTimeoutException}. */
    public void timeout(Duration timeout) throws IOException {
        socket.setSoTimeout((int) timeout.toMillis());
    }

    /** Closes the connection in order. */
    @Override
    public void close() throws IOException {
        socket.close();
    }

    /** Closes the connection with a reset. */
    public void reset() throws IOException {
        socket.setSoLinger(true, 0);
        socket.close();
    }
}
