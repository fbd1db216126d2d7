package quire.cli.command;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import quire.server.batch.AnswerLine;
import quire.server.batch.IdSet;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.json.JsonFactory;

/**
 * The answers of a batch, one a line, in the form of OpenAI's batches: {@code {"id": TEXT, "custom_id": TEXT, "response":
 * {"status_code": NUMBER, "request_id": TEXT, "body": OBJECT}, "error": null}}. A line is handed to the system in one
 * piece when its answer has ended. Where a process died while it wrote, the file ends without an end of line; the next
 * process cuts that piece off.
 *
 * <p>The file is locked, so that two processes do not write to it.
 */
final class BatchOutput implements AutoCloseable {
    private static final int FIRST_ERROR_STATUS = 400;

    private final JsonFactory factory = new JsonFactory();
    private final Path path;
    private final RandomAccessFile file;
    private final IdSet answered = new IdSet();

    // Guarded by this.
    private long end;
    private int failures;
    private boolean closed;

    private BatchOutput(Path path, RandomAccessFile file) {
        this.path = path;
        this.file = file;
    }

    /**
     * Opens the file, and reads which requests have their answers in it.
     *
     * @param requests all requests of the batch; the file may have answers to them only
     * @throws IllegalArgumentException if the file belongs to another batch or is no file of answers; it stays as it is
     */
    static BatchOutput open(Path path, IdSet requests) throws IOException {
        RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw");
        BatchOutput output = new BatchOutput(path, file);
        try {
            output.lock();
            output.readAnswers(requests);
            file.setLength(output.end);
            file.seek(output.end);
            return output;
        } catch (IOException | RuntimeException e) {
            file.close();
            throw e;
        }
    }

    @SuppressWarnings("UnusedVariable") // the lock lasts until the file is closed
    private void lock() throws IOException {
        FileLock lock;
        try {
            lock = file.getChannel().tryLock();
        } catch (OverlappingFileLockException e) {
            lock = null; // this process has it open already
        }
        if (lock == null) {
            throw new IllegalArgumentException(path + " is being written by another batch: wait for its end");
        }
    }

    private void readAnswers(IdSet requests) throws IOException {
        // Not closed, and no second stream of the file: on Unix closing one gives back the lock of the other.
        InputStream in = new BufferedInputStream(new FileInputStream(file.getFD()));
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        long number = 1;
        for (int each = in.read(); each >= 0; each = in.read()) {
            if (each != '\n') {
                line.write(each);
                continue;
            }
            readAnswer(line.toByteArray(), path + ", line " + number, requests);
            end += line.size() + 1;
            number++;
            line.reset();
        }
        String rest = line.toString(StandardCharsets.UTF_8);
        if (!rest.startsWith(AnswerLine.BEGINNING) && !AnswerLine.BEGINNING.startsWith(rest)) {
            throw noAnswer(path + ", line " + number); // it is not ours to cut
        }
    }

    private static IllegalArgumentException noAnswer(String place) {
        return new IllegalArgumentException(place + " is no answer of a batch: give the file that quire batch wrote");
    }

    private void readAnswer(byte[] line, String place, IdSet requests) {
        String id = null;
        int status = 0;
        try (JsonParser parser = factory.createParser(ObjectReadContext.empty(), line)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
                String name = parser.currentName();
                JsonToken value = parser.nextToken();
                if (name.equals("custom_id") && value == JsonToken.VALUE_STRING) {
                    id = parser.getString();
                } else if (name.equals("response") && value == JsonToken.START_OBJECT) {
                    status = numbers(parser).getOrDefault("status_code", 0);
                } else {
                    parser.skipChildren();
                }
            }
        } catch (JacksonException e) {
            id = null;
        }
        if (id == null || status == 0) {
            throw noAnswer(place);
        }
        if (!requests.contains(id)) {
            throw new IllegalArgumentException(place + " answers '" + id
                    + "', which is no custom_id of the input: the file belongs to another batch");
        }
        if (!answered.add(id)) {
            throw new IllegalArgumentException(place + " answers '" + id + "' a second time");
        }
        if (status >= FIRST_ERROR_STATUS) {
            failures++;
        }
    }

    /** The requests whose answers the file had when it was opened. */
    IdSet answered() {
        return answered;
    }

    /** Answers in the file whose status is an error. */
    synchronized int failures() {
        return failures;
    }

    /**
     * Writes an answer.
     *
     * @param body JSON
     * @return false if the file is closed
     * @throws IOException if it cannot be written; the file then ends with a whole line, if the system allows that
     */
    boolean append(String id, int status, String requestId, byte[] body) throws IOException {
        byte[] line = AnswerLine.of(id, status, requestId, body);
        synchronized (this) {
            if (closed) {
                return false;
            }
            try {
                file.write(line);
            } catch (IOException e) {
                closed = true;
                file.setLength(end);
                throw new IOException(path + " cannot be written: " + e.getMessage(), e);
            }
            end += line.length;
            if (status >= FIRST_ERROR_STATUS) {
                failures++;
            }
            return true;
        }
    }

    /** Writes all to the disk and closes the file. A file without answers is deleted. */
    @Override
    public synchronized void close() throws IOException {
        closed = true;
        if (file.getChannel().isOpen()) {
            file.getFD().sync();
            if (end == 0) {
                Files.deleteIfExists(path);
            }
            file.close();
        }
    }

    /** The numbers of the member {@code usage} of an answer's body; empty if it has none. */
    Map<String, Integer> usage(byte[] body) {
        try (JsonParser parser = factory.createParser(ObjectReadContext.empty(), body)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
                boolean found = "usage".equals(parser.currentName());
                if (parser.nextToken() == JsonToken.START_OBJECT && found) {
                    return numbers(parser);
                }
                parser.skipChildren();
            }
        }
        return Map.of();
    }

    /** The whole numbers of an object whose beginning was read, by name. */
    private static Map<String, Integer> numbers(JsonParser parser) {
        Map<String, Integer> numbers = new HashMap<>();
        while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
            String name = parser.currentName();
            if (parser.nextToken() == JsonToken.VALUE_NUMBER_INT) {
                numbers.put(name, parser.getIntValue());
            }
            parser.skipChildren();
        }
        return numbers;
    }
}
