package quire.server.batch;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.json.JsonFactory;

/**
 * The requests of a batch, one a line, in the form of OpenAI's batches: {@code {"custom_id": TEXT, "method": "POST",
 * "url": PATH, "body": OBJECT}}. It reads a line when it is asked for one, so that a file may have any number of lines.
 * A blank line is no request.
 */
public final class BatchInput implements AutoCloseable {
    /** Paths that a request may have. */
    public static final List<String> URLS =
            List.of("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses");

    private static final Set<String> MEMBERS = Set.of("custom_id", "method", "url", "body");

    private final JsonFactory factory = new JsonFactory();
    private final String name;
    private final int maxLineBytes;
    private final InputStream in;
    private long number;
    private boolean tooLong;

    /**
     * Opens a file.
     *
     * @param name of the file in errors
     * @param maxLineBytes the longest line
     */
    public BatchInput(Path file, String name, int maxLineBytes) throws IOException {
        this.name = name;
        this.maxLineBytes = maxLineBytes;
        in = new BufferedInputStream(new FileInputStream(file.toFile())); // an interrupted thread does not close it
    }

    /**
     * A request.
     *
     * @param number its line in the file; the first is 1
     * @param line all bytes of the line
     * @param bodyStart where the body begins in the line
     * @param bodyLength bytes of the body, which are what the client wrote
     */
    @SuppressWarnings("ArrayRecordComponent") // nobody compares requests
    public record Request(long number, String id, String url, byte[] line, int bodyStart, int bodyLength) {}

    /** A line that is no request. */
    public static final class WrongLineException extends IllegalArgumentException {
        private static final long serialVersionUID = 1;

        private final long line;
        private final String fault;

        private WrongLineException(String file, long line, String fault) {
            super(file + ", line " + line + " " + fault);
            this.line = line;
            this.fault = fault;
        }

        /** The number of the line; the first is 1. */
        public long line() {
            return line;
        }

        /** What is wrong, as a sentence whose subject is the line. */
        public String fault() {
            return fault;
        }
    }

    /**
     * The next request; null at the end of the file. Several threads may call it.
     *
     * @throws WrongLineException if the line is no request; the next call reads the line after it
     */
    @Nullable
    public synchronized Request next() throws IOException {
        while (true) {
            byte[] line = nextLine();
            if (line == null) {
                return null;
            }
            if (!isBlank(line)) {
                try {
                    return parse(line);
                } catch (JacksonException e) {
                    throw wrong("is not JSON: " + e.getOriginalMessage());
                }
            }
        }
    }

    /** An error that names the file and the line that was read last. */
    public WrongLineException wrong(String what) {
        return new WrongLineException(name, number, what);
    }

    private byte @Nullable [] nextLine() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        int each = in.read();
        for (; tooLong && each >= 0; each = in.read()) {
            tooLong = each != '\n';
        }
        if (each < 0) {
            return null;
        }
        number++;
        for (; each >= 0 && each != '\n'; each = in.read()) {
            if (line.size() == maxLineBytes) {
                tooLong = true;
                throw wrong("is longer than " + maxLineBytes + " bytes, the largest request");
            }
            line.write(each);
        }
        return line.toByteArray();
    }

    private static boolean isBlank(byte[] line) {
        for (byte each : line) {
            if (each != ' ' && each != '\t' && each != '\r') {
                return false;
            }
        }
        return true;
    }

    private Request parse(byte[] line) {
        String id = null;
        String method = null;
        String url = null;
        int bodyStart = -1;
        int bodyEnd = -1;
        try (JsonParser parser = factory.createParser(ObjectReadContext.empty(), line)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw wrong("is no JSON object");
            }
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String name = parser.currentName();
                JsonToken value = parser.nextToken();
                if (!MEMBERS.contains(name)) {
                    throw wrong("has the member '" + name
                            + "', which is unknown: a request has custom_id, method, url and body");
                }
                boolean twice =
                        switch (name) {
                            case "custom_id" -> id != null;
                            case "method" -> method != null;
                            case "url" -> url != null;
                            default -> bodyStart >= 0;
                        };
                if (twice) {
                    throw wrong("has " + name + " twice");
                }
                if (name.equals("body")) {
                    if (value != JsonToken.START_OBJECT) {
                        throw wrong("has a body that is no JSON object");
                    }
                    bodyStart = (int) parser.currentTokenLocation().getByteOffset();
                    readBody(parser);
                    bodyEnd = (int) parser.currentLocation().getByteOffset();
                    continue;
                }
                if (value != JsonToken.VALUE_STRING) {
                    throw wrong("has a " + name + " that is no text in quotation marks");
                }
                switch (name) {
                    case "custom_id" -> id = parser.getString();
                    case "method" -> method = parser.getString();
                    default -> url = parser.getString();
                }
            }
            if (parser.nextToken() != null) {
                throw wrong("has more than one JSON object");
            }
        }
        if (id == null || id.isEmpty()) {
            throw wrong("has no custom_id, which tells its answer from others: give each line its own");
        }
        if (!"POST".equals(method)) {
            throw wrong(method == null ? "has no method: give POST" : "has the method '" + method + "': give POST");
        }
        if (url == null || !URLS.contains(url)) {
            throw wrong((url == null ? "has no url" : "has the url '" + url + "', which a batch cannot answer")
                    + ": give one of " + String.join(", ", URLS));
        }
        if (bodyStart < 0) {
            throw wrong("has no body");
        }
        return new Request(number, id, url, line, bodyStart, bodyEnd - bodyStart);
    }

    private void readBody(JsonParser parser) {
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            boolean stream = "stream".equals(parser.currentName());
            if (parser.nextToken() == JsonToken.VALUE_TRUE && stream) {
                throw wrong("asks for a stream, but a batch has whole answers: leave stream out of its body");
            }
            parser.skipChildren();
        }
    }

    @Override
    public void close() throws IOException {
        in.close();
    }
}
