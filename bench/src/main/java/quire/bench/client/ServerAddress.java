package quire.bench.client;

import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/**
 * Where a server listens.
 *
 * @param host its name or address
 * @param port its port, 1 to 65535
 */
public record ServerAddress(String host, int port) {
    private static final int HTTP_PORT = 80;

    /**
     * Reads a URL such as {@code http://127.0.0.1:8000}.
     *
     * @throws IllegalArgumentException if it is another kind of URL
     */
    public static ServerAddress of(String url) {
        URI uri;
        try {
            uri = URI.create(url);
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("--url takes http://HOST:PORT, not '" + url + "'", e);
        }
        String path = uri.getRawPath() == null ? "" : uri.getRawPath();
        if (!"http".equals(uri.getScheme()) || uri.getHost() == null || !(path.isEmpty() || path.equals("/"))) {
            throw new IllegalArgumentException("--url takes http://HOST:PORT, not '" + url + "'");
        }
        return new ServerAddress(uri.getHost(), uri.getPort() < 0 ? HTTP_PORT : uri.getPort());
    }

    InetSocketAddress resolve() {
        return new InetSocketAddress(host, port);
    }

    /** The text of a request without a body. */
    public String get(String path) {
        return "GET " + path + " HTTP/1.1\r\nHost: " + this + "\r\n\r\n";
    }

    /** The text of a request with a body of JSON. */
    public String post(String path, String json) {
        return "POST " + path + " HTTP/1.1\r\nHost: " + this + "\r\nContent-Type: application/json\r\nContent-Length: "
                + json.getBytes(StandardCharsets.UTF_8).length + "\r\n\r\n" + json;
    }

    /** The value of the header {@code Host}. */
    @Override
    public String toString() {
        return host + ":" + port;
    }
}
