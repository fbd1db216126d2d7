package quire.server.http;

import io.vertx.core.Context;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Reads bodies of JSON within limits: the size of one, its pace, and the memory of all that are not parsed yet. Used on
 * the event loop, except {@link Body#bytes} and {@link Body#release}.
 *
 * <pre>
 *   small bodies   64 KiB or less   ─▶ 8 MiB               ┐ each shared fairly by client address
 *   large bodies                    ─▶ 8 × maxBodyBytes    ┘
 * </pre>
 *
 * <p>A body whose length is announced takes its memory before its first byte, so that a body that has begun is never
 * refused for others. A body of unknown length takes it in blocks, and moves from the first share to the second when it
 * has become large.
 */
final class BodyReader {
    /** Bodies up to this size are small. */
    static final int SMALL_BYTES = 64 << 10;

    /** Memory for small bodies that are not parsed yet. */
    static final int SMALL_BODIES_BYTES = 8 << 20;

    /** Memory for large bodies that are not parsed yet, in units of the largest body. */
    private static final int BODIES_IN_MEMORY = 8;

    private static final int BLOCK_BYTES = 64 << 10;

    /** The first block of a body of unknown length; most of them are short. */
    private static final int FIRST_BLOCK_BYTES = 4 << 10;

    /** What is read of a refused body before the connection is closed, in units of the largest body. */
    private static final int BODIES_DISCARDED = 4;

    private static final int RETRY_SECONDS = 1;
    static final long UNKNOWN = -1;

    /** What curl says of every body unless it is told otherwise, as in the examples of Ollama. It counts as no type. */
    private static final String CURL_TYPE = "application/x-www-form-urlencoded";

    /** JSON in UTF-8. Other parameters than the encoding mean nothing for JSON (RFC 8259). */
    private static final Pattern JSON_TYPE = Pattern.compile(
            "application/json\\s*"
                    + "(;\\s*(charset\\s*=\\s*\"?(utf-?8|us-ascii)\"?|(?!charset\\b)[\\w.-]+=(\"[^\"]*\"|[^\\s\";]*))?\\s*)*",
            Pattern.CASE_INSENSITIVE);

    private final Context loop;
    private final int maxBodyBytes;
    private final Duration grace;
    private final long bytesPerSecond;
    private final Timers timers;
    private final FairShare small = new FairShare(SMALL_BODIES_BYTES);
    private final FairShare large;

    BodyReader(Context loop, HttpSettings settings, Timers timers) {
        this.loop = loop;
        this.maxBodyBytes = settings.maxBodyBytes();
        this.grace = settings.bodyGrace();
        this.bytesPerSecond = settings.minBodyRate();
        this.timers = timers;
        this.large = new FairShare((long) BODIES_IN_MEMORY * maxBodyBytes);
    }

    /**
     * Reads a request's body.
     *
     * @param client the network address that counts as one client
     * @param onBody called with the whole body
     * @param onRefusal called instead if the body turns out to be too large or too slow
     * @return refuses the body while it comes in; does nothing if it is refused already
     * @throws HttpException if the head says already that the body cannot be taken
     */
    Consumer<HttpException> read(
            HttpServerRequest request, String client, Consumer<Body> onBody, Consumer<HttpException> onRefusal) {
        Body body = new Body(client, checkHead(request));
        if (request.headers().contains("Expect", "100-continue", true)) {
            request.response().writeContinue();
        }
        boolean[] refused = new boolean[1];
        PaceTimer timer = new PaceTimer(timers, grace, bytesPerSecond);
        Consumer<HttpException> refuse = e -> {
            if (!refused[0]) {
                refused[0] = true;
                timer.stop();
                body.release();
                onRefusal.accept(e);
            }
        };
        timer.start(() -> refuse.accept(tooSlow()));
        request.handler(chunk -> {
            if (refused[0]) {
                return;
            }
            timer.add(chunk.length());
            try {
                body.append(chunk);
            } catch (HttpException e) {
                refuse.accept(e);
            }
        });
        request.exceptionHandler(e -> {
            timer.stop();
            body.release();
        });
        request.endHandler(v -> {
            timer.stop();
            if (!refused[0]) {
                onBody.accept(body);
            }
        });
        return refuse;
    }

    /** Reads a body to its end and discards it. A body that is much too long closes the connection. */
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

    /** Checks what the head says of the body, and returns its length. */
    private long checkHead(HttpServerRequest request) {
        String type = request.getHeader("Content-Type");
        // A body without a type must be JSON as well; WebAccess refuses the web pages that could send one.
        if (type != null
                && !type.isBlank()
                && !type.strip().equalsIgnoreCase(CURL_TYPE)
                && !JSON_TYPE.matcher(type.strip()).matches()) {
            throw HttpException.refused(
                    415,
                    null,
                    "The body's Content-Type is '" + HttpListener.shown(type)
                            + "': send JSON in UTF-8 with 'Content-Type: application/json'.");
        }
        long length = length(request);
        if (length > maxBodyBytes) {
            throw tooLarge();
        }
        return length;
    }

    /**
     * The length of a body as its head says it; {@link #UNKNOWN} if it does not.
     *
     * @throws HttpException 415 if the body is compressed
     */
    static long length(HttpServerRequest request) {
        String encoding = request.getHeader("Content-Encoding");
        if (encoding != null && !encoding.equalsIgnoreCase("identity")) {
            throw HttpException.refused(
                    415,
                    null,
                    "Compressed bodies are not supported: send the body uncompressed, without Content-Encoding.");
        }
        String text = request.getHeader("Content-Length");
        if (text == null) {
            return UNKNOWN;
        }
        return text.length() > 15 ? Long.MAX_VALUE : Long.parseLong(text);
    }

    private HttpException tooLarge() {
        return HttpException.refused(413, "request_too_large", "The body is larger than " + maxBodyBytes + " bytes.");
    }

    private HttpException tooSlow() {
        return tooSlow(grace, bytesPerSecond);
    }

    /** The error for a body that falls behind its pace. */
    static HttpException tooSlow(Duration grace, long bytesPerSecond) {
        return HttpException.refused(
                408,
                "request_timeout",
                "The body arrives too slowly: send at least " + bytesPerSecond
                        + " bytes a second, and pause for less than " + grace.toMillis() / 1000.0 + " seconds.");
    }

    static HttpException tooMany() {
        return HttpException.overloaded("Too many large requests arrive at the same time.", RETRY_SECONDS);
    }

    /** A body while it comes in and until it is parsed. */
    final class Body {
        private final String client;
        private final long announced;
        private FairShare share;
        private long taken;
        private volatile @Nullable List<byte[]> blocks = new ArrayList<>();
        private byte[] last = new byte[0];
        private int lastUsed;
        private int length; // other threads start after the whole body is there

        /** @param announced its length; {@link #UNKNOWN} if the head does not say it */
        private Body(String client, long announced) {
            this.client = client;
            this.announced = announced;
            this.share = announced > SMALL_BYTES ? large : small;
            if (announced > 0) {
                take(announced);
            }
        }

        private void take(long bytes) {
            if (!share.take(client, bytes)) {
                throw tooMany();
            }
            taken += bytes;
        }

        private void append(Buffer chunk) {
            List<byte[]> all = blocks;
            if (all == null) {
                return;
            }
            if (chunk.length() > maxBodyBytes - length) {
                throw tooLarge();
            }
            for (int done = 0; done < chunk.length(); ) {
                if (lastUsed == last.length) {
                    last = new byte[nextBlock()];
                    lastUsed = 0;
                    all.add(last);
                }
                int bytes = Math.min(last.length - lastUsed, chunk.length() - done);
                chunk.getBytes(done, done + bytes, last, lastUsed);
                lastUsed += bytes;
                length += bytes;
                done += bytes;
            }
        }

        /** The size of the next block, whose memory is taken. */
        private int nextBlock() {
            if (announced != UNKNOWN) {
                return (int) Math.min(BLOCK_BYTES, announced - length);
            }
            int size = length == 0 ? FIRST_BLOCK_BYTES : BLOCK_BYTES;
            if (share == small && length + size > SMALL_BYTES + FIRST_BLOCK_BYTES) {
                long before = taken;
                share = large;
                taken = 0;
                try {
                    take(before + size);
                } finally {
                    small.give(client, before);
                }
            } else {
                take(size);
            }
            return size;
        }

        /** Bytes of the body so far; 0 after {@link #release}. Any thread. */
        int length() {
            return blocks == null ? 0 : length;
        }

        /** The whole body; empty after {@link #release}. Any thread. */
        byte[] bytes() {
            List<byte[]> all = blocks;
            if (all == null) {
                return new byte[0];
            }
            byte[] bytes = new byte[length];
            int done = 0;
            for (byte[] block : all) {
                int used = Math.min(block.length, bytes.length - done);
                System.arraycopy(block, 0, bytes, done, used);
                done += used;
            }
            return bytes;
        }

        /** Frees the memory. May be called on any thread and any number of times. */
        void release() {
            loop.runOnContext(v -> {
                blocks = null;
                last = new byte[0];
                lastUsed = 0;
                if (taken > 0) {
                    share.give(client, taken);
                    taken = 0;
                }
            });
        }
    }
}
