package quire.server.http;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.handler.codec.DecoderException;
import io.netty.handler.codec.http.DefaultHttpContent;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.codec.http.multipart.Attribute;
import io.netty.handler.codec.http.multipart.DefaultHttpDataFactory;
import io.netty.handler.codec.http.multipart.FileUpload;
import io.netty.handler.codec.http.multipart.HttpPostMultipartRequestDecoder;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;
import io.netty.handler.codec.http.multipart.InterfaceHttpData;
import io.netty.handler.codec.http.multipart.MemoryFileUpload;
import io.vertx.core.Context;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Reads forms with a file and writes the file to the disk while it comes in. Used on the event loop, which never waits for
 * the disk:
 *
 * <pre>
 *   event loop                                  virtual thread
 *   part of the file ─▶ at most 256 KiB wait ─▶ writes to the disk
 *     too many wait: reads no more   ◀───────── few wait: reads on
 *   end of the form  ─────────────────────────▶ writes all to the disk, then the form is complete
 *   client left, or refused ──────────────────▶ deletes the file
 * </pre>
 *
 * <p>Netty's decoder finds the parts. A form has less than 1 MiB in memory at any time, and {@value #MAX_UPLOADS} forms at
 * most come in at a time, shared fairly by client address. Paces are those of other bodies.
 */
final class UploadReader {
    /** Fields of a form, the file among them. */
    private static final int MAX_FIELDS = 16;

    /** Bytes of a field that is no file. */
    private static final int MAX_FIELD_BYTES = 8 << 10;

    /** Bytes of what stands before the content of a field. */
    private static final int MAX_HEAD_BYTES = 4 << 10;

    /** Forms that come in at a time. */
    static final int MAX_UPLOADS = 16;

    /** What a form may have beside its file. */
    private static final int FORM_BYTES = MAX_FIELDS * (MAX_FIELD_BYTES + MAX_HEAD_BYTES);

    private static final int MAX_NAME_LENGTH = 255;
    private static final int MOST_WAITING_BYTES = 256 << 10;
    private static final int FEW_WAITING_BYTES = 64 << 10;

    /** What the decoder has read of a form before it frees the memory. */
    private static final int DECODED_BYTES = 64 << 10;

    /** Buffers in the heap, which the collector frees. */
    private static final UnpooledByteBufAllocator HEAP = new UnpooledByteBufAllocator(false, true);

    private static final Pattern TYPE =
            Pattern.compile("multipart/form-data\\s*;.*\\bboundary\\s*=.*", Pattern.CASE_INSENSITIVE);

    private final Context loop;
    private final long maxFileBytes;
    private final Duration grace;
    private final long bytesPerSecond;
    private final Timers timers;
    private final FairShare places = new FairShare(MAX_UPLOADS);

    UploadReader(Context loop, HttpSettings settings, Timers timers) {
        this.loop = loop;
        this.maxFileBytes = settings.maxFileBytes();
        this.grace = settings.bodyGrace();
        this.bytesPerSecond = settings.minBodyRate();
        this.timers = timers;
    }

    /**
     * Reads a form.
     *
     * @param client the network address that counts as one client
     * @param folder where its file is written
     * @param onForm called with the whole form when its file is on the disk
     * @param onRefusal called instead if the form turns out to be wrong, too large or too slow, or if the file cannot be
     *     written
     * @return refuses the form while it comes in; does nothing if it is refused already
     * @throws HttpException if the head says already that the form cannot be taken
     */
    Consumer<HttpException> read(
            HttpServerRequest request,
            String client,
            Path folder,
            Consumer<Form> onForm,
            Consumer<HttpException> onRefusal) {
        String type = request.getHeader("Content-Type");
        if (type == null || !TYPE.matcher(type.strip()).matches()) {
            throw HttpException.refused(
                    415,
                    null,
                    "The body's Content-Type is " + (type == null ? "missing" : "'" + HttpListener.shown(type) + "'")
                            + ": send a form with a file as 'multipart/form-data' with its boundary.");
        }
        if (BodyReader.length(request) > maxFileBytes + FORM_BYTES) {
            throw tooLarge();
        }
        if (!places.take(client, 1)) {
            throw BodyReader.tooMany();
        }
        Upload upload;
        try {
            upload = new Upload(request, type, client, folder, onForm, onRefusal);
        } catch (RuntimeException e) { // the decoder refuses the type in many ways
            places.give(client, 1);
            throw malformed(e);
        }
        upload.start();
        return upload::refuse;
    }

    private HttpException tooLarge() {
        return HttpException.refused(413, "request_too_large", "The file is larger than " + maxFileBytes + " bytes.");
    }

    private static HttpException malformed(Throwable e) {
        boolean tooLong = e instanceof HttpPostRequestDecoder.TooLongFormFieldException
                || e.getCause() instanceof IOException; // the field's own limit
        String reason = tooLong
                ? "a field, or what stands before it, is longer than " + MAX_FIELD_BYTES
                        + " bytes, which only a field with a filename may be"
                : e.getMessage();
        return HttpException.invalid(
                null,
                null,
                "The body is no valid form (multipart/form-data)"
                        + (reason == null || reason.isBlank() ? "." : ": " + HttpListener.shown(reason) + "."));
    }

    /** The error for a file that cannot be written. */
    private static HttpException notStored(IOException e) {
        String reason = e instanceof NoSuchFileException ? "its folder is missing" : e.getMessage();
        return HttpException.refused(507, "insufficient_storage", "The file cannot be stored on the server: " + reason);
    }

    /** A form while it comes in. */
    private final class Upload {
        private final HttpServerRequest request;
        private final String client;
        private final Path folder;
        private final Consumer<Form> onForm;
        private final Consumer<HttpException> onRefusal;
        private final PaceTimer timer = new PaceTimer(timers, grace, bytesPerSecond);
        private final HttpPostMultipartRequestDecoder decoder;
        private boolean fileBegun;
        private Form.@Nullable File file;
        private long received;
        private long fileBytes;
        private boolean fileEnded;
        private boolean paused;
        private boolean ended;
        private boolean over; // complete, refused, or its client has left

        // Between the event loop and the thread that writes.
        private final ReentrantLock lock = new ReentrantLock();
        private final Condition changed = lock.newCondition();
        private final ArrayDeque<byte[]> waiting = new ArrayDeque<>();
        private long waitingBytes;
        private boolean lastIsThere;
        private boolean abandoned;

        Upload(
                HttpServerRequest request,
                String type,
                String client,
                Path folder,
                Consumer<Form> onForm,
                Consumer<HttpException> onRefusal) {
            this.request = request;
            this.client = client;
            this.folder = folder;
            this.onForm = onForm;
            this.onRefusal = onRefusal;
            DefaultHttpRequest head = new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/");
            head.headers().set(HttpHeaderNames.CONTENT_TYPE, type);
            Parts parts = new Parts(this);
            parts.setMaxLimit(MAX_FIELD_BYTES);
            decoder = new HttpPostMultipartRequestDecoder(
                    parts, head, StandardCharsets.UTF_8, MAX_FIELDS, MAX_HEAD_BYTES);
            decoder.setDiscardThreshold(DECODED_BYTES);
        }

        void start() {
            request.handler(this::add);
            request.exceptionHandler(e -> end());
            request.endHandler(v -> {
                ended = true;
                timer.stop();
                decode(LastHttpContent.EMPTY_LAST_CONTENT);
                finish();
            });
            timer.start(this::tooSlow);
            if (request.headers().contains("Expect", "100-continue", true)) {
                request.response().writeContinue();
            }
        }

        private void tooSlow() {
            refuse(BodyReader.tooSlow(grace, bytesPerSecond));
        }

        void refuse(HttpException e) {
            if (!over) {
                end();
                onRefusal.accept(e);
            }
        }

        /** Nothing more is read of the form, and its file is deleted. */
        private void end() {
            if (over) {
                return;
            }
            over = true;
            timer.stop();
            places.give(client, 1);
            if (paused) {
                paused = false;
                request.resume();
            }
            Form.File stored = file;
            if (stored != null) {
                Thread.ofVirtual().start(() -> Form.delete(stored.path()));
            }
            lock.lock();
            try {
                abandoned = true;
                waiting.clear();
                changed.signalAll();
            } finally {
                lock.unlock();
            }
        }

        private void add(Buffer chunk) {
            if (over) {
                return;
            }
            timer.add(chunk.length());
            received += chunk.length();
            if (received > maxFileBytes + FORM_BYTES) {
                refuse(tooLarge());
                return;
            }
            byte[] bytes = chunk.getBytes();
            decode(new DefaultHttpContent(HEAP.heapBuffer(bytes.length).writeBytes(bytes)));
        }

        /** Lets the decoder find parts, which come back to {@link #begin} and {@link #append}. */
        private void decode(HttpContent content) {
            if (over) {
                return;
            }
            try {
                decoder.offer(content);
            } catch (RuntimeException e) { // it has many kinds for what is wrong
                refuse(malformed(e));
            }
        }

        /** The file begins. */
        void begin(String field, String name) {
            if (over) {
                return;
            }
            if (fileBegun) {
                refuse(HttpException.invalid(null, null, "The form has more than one file: send one."));
            } else if (name.length() > MAX_NAME_LENGTH || name.chars().anyMatch(Character::isISOControl)) {
                refuse(HttpException.invalid(
                        HttpListener.shown(field),
                        "invalid_value",
                        "The name of the file is longer than " + MAX_NAME_LENGTH
                                + " characters or has control characters."));
            } else {
                fileBegun = true;
                Thread.ofVirtual().name("upload").start(() -> write(field, name));
            }
        }

        /**
         * A part of the file.
         *
         * @param last whether it is the last one
         */
        void append(byte[] bytes, boolean last) {
            fileBytes += bytes.length;
            if (over) {
                return;
            }
            if (fileBytes > maxFileBytes) {
                refuse(tooLarge());
                return;
            }
            lock.lock();
            try {
                if (bytes.length > 0) {
                    waiting.add(bytes);
                    waitingBytes += bytes.length;
                }
                fileEnded = last;
                lastIsThere = last;
                changed.signalAll();
                if (waitingBytes > MOST_WAITING_BYTES && !paused) {
                    paused = true;
                    request.pause();
                    timer.stop(); // the client waits for the disk
                }
            } finally {
                lock.unlock();
            }
        }

        private void readOn() {
            if (paused) {
                paused = false;
                if (!ended) {
                    timer.restart(this::tooSlow);
                }
                request.resume();
            }
        }

        /** The file is on the disk. */
        private void stored(Form.File whole) {
            if (over) {
                Thread.ofVirtual().start(() -> Form.delete(whole.path()));
                return;
            }
            file = whole;
            finish();
        }

        /** Hands the form over if all of it is there. */
        private void finish() {
            if (over || !ended || (fileBegun && fileEnded && file == null)) {
                return;
            }
            if (fileBegun && !fileEnded) {
                refuse(malformed(new DecoderException("it ends before the end of its file")));
                return;
            }
            Map<String, String> fields = new LinkedHashMap<>();
            try {
                for (InterfaceHttpData field : decoder.getBodyHttpDatas()) {
                    if (field instanceof Attribute text && fields.put(text.getName(), text.getValue()) != null) {
                        refuse(HttpException.invalid(
                                HttpListener.shown(text.getName()),
                                "invalid_value",
                                "The form has the field '" + HttpListener.shown(text.getName()) + "' twice."));
                        return;
                    }
                }
            } catch (IOException | RuntimeException e) {
                refuse(malformed(e));
                return;
            }
            Form form = new Form(fields, file);
            file = null;
            over = true;
            places.give(client, 1);
            onForm.accept(form);
        }

        // ── the thread that writes ──────────────────────────────────────────────────────────────────────────────────

        private void write(String field, String name) {
            Path path = folder.resolve(RandomId.next() + ".part");
            boolean complete = false;
            long bytes = 0;
            try (FileChannel to = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                for (byte[] block = take(); block != null; block = take()) {
                    bytes += block.length;
                    for (ByteBuffer left = ByteBuffer.wrap(block); left.hasRemaining(); ) {
                        to.write(left);
                    }
                }
                complete = !isAbandoned();
                if (complete) {
                    to.force(true);
                }
            } catch (IOException e) {
                complete = false;
                loop.runOnContext(v -> refuse(notStored(e)));
            }
            if (complete) {
                Form.File whole = new Form.File(field, name, path, bytes);
                loop.runOnContext(v -> stored(whole));
            } else if (Files.exists(path)) {
                Form.delete(path);
            }
        }

        private boolean isAbandoned() {
            lock.lock();
            try {
                return abandoned;
            } finally {
                lock.unlock();
            }
        }

        /** The next part of the file; null if there is none. */
        private byte @Nullable [] take() {
            lock.lock();
            try {
                while (waiting.isEmpty() && !lastIsThere && !abandoned) {
                    changed.awaitUninterruptibly();
                }
                byte[] block = waiting.poll();
                if (block != null) {
                    boolean many = waitingBytes > FEW_WAITING_BYTES;
                    waitingBytes -= block.length;
                    if (many && waitingBytes <= FEW_WAITING_BYTES) {
                        loop.runOnContext(v -> readOn());
                    }
                }
                return block;
            } finally {
                lock.unlock();
            }
        }
    }

    /** Makes the parts of a form: texts, which the decoder collects, and the file, which it hands over. */
    private static final class Parts extends DefaultHttpDataFactory {
        private final Upload upload;

        Parts(Upload upload) {
            super(false, StandardCharsets.UTF_8);
            this.upload = upload;
        }

        @Override
        public FileUpload createFileUpload(
                HttpRequest request,
                String name,
                String filename,
                String contentType,
                String contentTransferEncoding,
                Charset charset,
                long size) {
            upload.begin(name, filename);
            return new Part(upload, name, filename, contentType, contentTransferEncoding, charset);
        }
    }

    /** A file of which nothing is kept. */
    private static final class Part extends MemoryFileUpload {
        private final Upload upload;

        Part(
                Upload upload,
                String name,
                String filename,
                String contentType,
                String contentTransferEncoding,
                Charset charset) {
            super(name, filename, contentType, contentTransferEncoding, charset, 0);
            this.upload = upload;
        }

        @Override
        public void addContent(ByteBuf buffer, boolean last) {
            byte[] bytes = new byte[buffer.readableBytes()];
            buffer.readBytes(bytes);
            buffer.release();
            upload.append(bytes, last);
            if (last) {
                setCompleted();
            }
        }

        @Override
        public void setContent(ByteBuf buffer) {
            addContent(buffer, true);
        }
    }
}
