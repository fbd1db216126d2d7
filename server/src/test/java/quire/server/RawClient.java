package quire.server;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** A client on a plain socket, which can send anything and close at any time. */
final class RawClient implements Closeable {
    /** A response; {@code body} ends where its headers say. */
    record Response(int status, Map<String, String> headers, String body) {}

    private static final byte[] LOOPBACK = {127, 0, 0, 1};

    private final Socket socket;
    private final InputStream in;

    RawClient(TestServer server) throws IOException {
        this(server, 0);
    }

    /** @param receiveBytes the socket's receive buffer; 0 for the system's choice */
    RawClient(TestServer server, int receiveBytes) throws IOException {
        socket = new Socket();
        if (receiveBytes > 0) {
            socket.setReceiveBufferSize(receiveBytes);
        }
        connect(server);
        in = socket.getInputStream();
    }

    /** A client with the address 127.0.0.{@code host}: the server takes it for another one than those with other hosts. */
    static RawClient at(int host, TestServer server) throws IOException {
        return new RawClient((byte) host, server);
    }

    private RawClient(byte host, TestServer server) throws IOException {
        socket = new Socket();
        socket.bind(new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, host}), 0));
        connect(server);
        in = socket.getInputStream();
    }

    private void connect(TestServer server) throws IOException {
        socket.connect(new InetSocketAddress(InetAddress.getByAddress(LOOPBACK), server.server.port()));
    }

    static String post(String path, String body, String... headers) {
        StringBuilder text =
                new StringBuilder("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        for (String header : headers) {
            text.append(header).append("\r\n");
        }
        int length = body.getBytes(StandardCharsets.UTF_8).length;
        return text + "Content-Length: " + length + "\r\n\r\n" + body;
    }

    /** The head of a POST whose body comes in chunks. */
    static String chunkedHead(String path) {
        return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n";
    }

    static String get(String path, String... headers) {
        StringBuilder text = new StringBuilder("GET " + path + " HTTP/1.1\r\nHost: x\r\n");
        for (String header : headers) {
            text.append(header).append("\r\n");
        }
        return text + "\r\n";
    }

    RawClient send(String text) throws IOException {
        return send(text.getBytes(StandardCharsets.UTF_8));
    }

    RawClient send(byte[] bytes) throws IOException {
        socket.getOutputStream().write(bytes);
        socket.getOutputStream().flush();
        return this;
    }

    /** Reads one line without its end. */
    String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b = in.read(); b != '\n'; b = in.read()) {
            if (b < 0) {
                throw new EOFException("the connection ended after '" + line + "'");
            }
            if (b != '\r') {
                line.write(b);
            }
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    /** Reads lines until one contains {@code text}. */
    String lineWith(String text) throws IOException {
        String line = line();
        while (!line.contains(text)) {
            line = line();
        }
        return line;
    }

    /** Reads until a line, and returns what came before it. */
    String rest(String last) throws IOException {
        StringBuilder all = new StringBuilder();
        for (String line = line(); !line.equals(last); line = line()) {
            all.append(line).append('\n');
        }
        return all.toString();
    }

    Response response() throws IOException {
        return response(false);
    }

    /** Reads one response. */
    Response response(boolean head) throws IOException {
        int status = Integer.parseInt(line().substring("HTTP/1.1 ".length(), "HTTP/1.1 200".length()));
        Map<String, String> headers = new HashMap<>();
        for (String line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            headers.put(
                    line.substring(0, colon).toLowerCase(Locale.ROOT),
                    line.substring(colon + 1).strip());
        }
        byte[] body;
        if (head || status == 100 || status == 204) {
            body = new byte[0];
        } else if (headers.containsKey("content-length")) {
            body = in.readNBytes(Integer.parseInt(headers.get("content-length")));
        } else if ("chunked".equals(headers.get("transfer-encoding"))) {
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            for (int size = Integer.parseInt(line(), 16); size > 0; size = Integer.parseInt(line(), 16)) {
                all.writeBytes(in.readNBytes(size));
                line();
            }
            line();
            body = all.toByteArray();
        } else {
            body = in.readAllBytes();
        }
        return new Response(status, headers, new String(body, StandardCharsets.UTF_8));
    }

    /** Whether something has come that was not read yet. */
    boolean hasInput() throws IOException {
        return in.available() > 0;
    }

    /** Reads until the connection ends, in order or by a reset, and returns what came. */
    String rest() {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        try {
            for (int b = in.read(); b >= 0; b = in.read()) {
                all.write(b);
            }
        } catch (IOException e) {
            // a reset ends it as well
        }
        return all.toString(StandardCharsets.UTF_8);
    }

    /** Ends the sending side; answers can still be read. */
    RawClient endOutput() throws IOException {
        socket.shutdownOutput();
        return this;
    }

    /** Reads a response, after any number of interim ones. */
    Response finalResponse() throws IOException {
        Response response = response();
        while (response.status() == 100) {
            response = response();
        }
        return response;
    }

    /** Closes the connection in order. */
    @Override
    public void close() throws IOException {
        socket.close();
    }

    /** Closes the connection with a reset. */
    void reset() throws IOException {
        socket.setSoLinger(true, 0);
        socket.close();
    }
}
