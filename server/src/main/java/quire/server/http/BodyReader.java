package quire.server.http;

import io.vertx.core.Context;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Reads bodies of JSON within two limits: the size of one, and the memory of all that are not parsed yet. Used on the
 * event loop, except {@link Body#bytes} and {@link Body#release}.
 */
final class BodyReader {
    /** Memory for bodies that are not parsed yet, in units of the largest body. */
    private static final int BODIES_IN_MEMORY = 8;

    /** What is read of a refused body before the connection is closed, in units of the largest body. */
    private static final int BODIES_DISCARDED = 4;

    private static final Pattern JSON_TYPE = Pattern.compile(
            "application/json\\s*(;\\s*(charset\\s*=\\s*\"?(utf-?8|us-ascii)\"?\\s*)?)*", Pattern.CASE_INSENSITIVE);

    private final Context loop;
    private final int maxBodyBytes;
    private long bytesInMemory;

    BodyReader(Context loop, int maxBodyBytes) {
        this.loop = loop;
        this.maxBodyBytes = maxBodyBytes;
    }

    /**
     * Reads a request's body.
     *
     * @param onBody called with the whole body
     * @param onRefusal called instead if the body turns out to be too large
     * @throws HttpException if the head says already that the body cannot be taken
     */
    void read(HttpServerRequest request, Consumer<Body> onBody, Consumer<HttpException> onRefusal) {
        checkHead(request);
        if (request.headers().contains("Expect", "100-continue", true)) {
            request.response().writeContinue();
        }
        Body body = new Body();
        boolean[] refused = new boolean[1];
        request.handler(chunk -> {
            if (refused[0]) {
                return;
            }
            try {
                body.append(chunk);
            } catch (HttpException e) {
                refused[0] = true;
                body.release();
                onRefusal.accept(e);
            }
        });
        request.exceptionHandler(e -> body.release());
        request.endHandler(v -> {
            if (!refused[0]) {
                onBody.accept(body);
            }
        });
    }

    /** Reads a body to its end without keeping it; one that is far too long ends the connection. */
    void discard(HttpServerRequest request) {
        long[] discarded = new long[1];
        request.handler(chunk -> {
            discarded[0] += chunk.length();
            if (discarded[0] > (long) BODIES_DISCARDED * maxBodyBytes) {
                request.connection().close();
            }
        });
    }

    /** Whether a part of the body is still to come. */
    static boolean isIncomplete(HttpServerRequest request) {
        String length = request.getHeader("Content-Length");
        boolean hasBody = request.headers().contains("Transfer-Encoding") || (length != null && !length.equals("0"));
        return hasBody && !request.isEnded();
    }

    private void checkHead(HttpServerRequest request) {
        String type = request.getHeader("Content-Type");
        // A body without a type must be JSON as well; WebAccess refuses the web pages that could send one.
        if (type != null && !type.isBlank() && !JSON_TYPE.matcher(type.strip()).matches()) {
            throw HttpException.refused(
                    415,
                    null,
                    "The body's Content-Type is '" + HttpListener.shown(type)
                            + "': send JSON in UTF-8 with 'Content-Type: application/json'.");
        }
        String encoding = request.getHeader("Content-Encoding");
        if (encoding != null && !encoding.equalsIgnoreCase("identity")) {
            throw HttpException.refused(
                    415,
                    null,
                    "Compressed bodies are not supported: send the body uncompressed, without Content-Encoding.");
        }
        String length = request.getHeader("Content-Length");
        if (length != null && (length.length() > 10 || Long.parseLong(length) > maxBodyBytes)) {
            throw tooLarge();
        }
    }

    private HttpException tooLarge() {
        return HttpException.refused(413, "request_too_large", "The body is larger than " + maxBodyBytes + " bytes.");
    }

    /** A body while it comes in and until it is parsed. */
    final class Body {
        private @Nullable Buffer buffer = Buffer.buffer();
        private long counted;

        private void append(Buffer chunk) {
            Buffer all = buffer;
            if (all == null) {
                return;
            }
            if (all.length() + chunk.length() > maxBodyBytes) {
                throw tooLarge();
            }
            if (bytesInMemory + chunk.length() > (long) BODIES_IN_MEMORY * maxBodyBytes) {
                throw HttpException.overloaded("Too many large requests arrive at the same time.", 1);
            }
            counted += chunk.length();
            bytesInMemory += chunk.length();
            all.appendBuffer(chunk);
        }

        /** Bytes of the whole body; 0 after {@link #release}. Any thread. */
        int length() {
            Buffer all = buffer;
            return all == null ? 0 : all.length();
        }

        /** The whole body; empty after {@link #release}. Any thread. */
        byte[] bytes() {
            Buffer all = buffer;
            return all == null ? new byte[0] : all.getBytes();
        }

        /** Gives the memory back. Any thread, any number of times. */
        void release() {
            loop.runOnContext(v -> {
                buffer = null;
                bytesInMemory -= counted;
                counted = 0;
            });
        }
    }
}
