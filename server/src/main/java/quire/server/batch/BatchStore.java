package quire.server.batch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.h2.mvstore.DataUtils;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.MVStore;
import org.h2.mvstore.MVStoreException;
import org.h2.mvstore.type.ByteArrayDataType;
import org.h2.mvstore.type.LongDataType;
import org.h2.mvstore.type.StringDataType;
import org.jspecify.annotations.Nullable;
import quire.server.api.Json;
import tools.jackson.databind.node.ObjectNode;

/**
 * Batches, their results and their files in a folder of one process:
 *
 * <pre>
 *   batches.db     files, batches, and a result for each line of a batch that has not ended
 *   files/ID       the content of each file
 *   uploads/…      files that come in; deleted at the next start
 * </pre>
 *
 * <p>Each method that changes something is one commit: after it has returned, the end of the process loses nothing of it,
 * and a process that ends within it leaves all of the change or nothing. The database appends what changes, with checksums,
 * and does not write over what was there less than 45 s before, so a loss of power costs at most what the system had not
 * written yet. Lines whose results are lost so are answered again. What ends a batch waits for the disk.
 *
 * <p>Reading may be done by several threads; writing is guarded by the lock of {@link Batches}.
 */
final class BatchStore implements AutoCloseable {
    private static final int CACHE_MEBIBYTES = 4;

    /** The first byte of a result. */
    private static final byte ANSWERED = 0;

    private static final byte FAILED = 1;

    private final Path folder;
    private final MVStore store;
    private final MVMap<String, byte[]> files;
    private final MVMap<String, byte[]> batches;

    private BatchStore(Path folder, MVStore store) {
        this.folder = folder;
        this.store = store;
        files = store.openMap("files", maps());
        batches = store.openMap("batches", maps());
    }

    private static MVMap.Builder<String, byte[]> maps() {
        return new MVMap.Builder<String, byte[]>()
                .keyType(StringDataType.INSTANCE)
                .valueType(ByteArrayDataType.INSTANCE);
    }

    /**
     * Opens the folder, which is made if it is not there. Deletes files that are in no batch and no list.
     *
     * @throws IllegalArgumentException if another process uses it, or if it cannot be used; the message says why
     */
    static BatchStore open(Path folder) {
        MVStore store = null;
        try {
            createFolder(folder);
            createFolder(folder.resolve("uploads"));
            createFolder(folder.resolve("files"));
            Path file = folder.resolve("batches.db");
            store = new MVStore.Builder()
                    .fileName(file.toString())
                    .autoCommitDisabled()
                    .autoCommitBufferSize(0) // each commit is a whole change
                    .cacheSize(CACHE_MEBIBYTES)
                    .open();
            BatchStore opened = new BatchStore(folder, store);
            store.commit();
            opened.deleteStrangers();
            return opened;
        } catch (IOException e) {
            closeAfter(store);
            throw new IllegalArgumentException("the folder of batches, " + folder + ", cannot be used: " + e, e);
        } catch (MVStoreException e) {
            closeAfter(store);
            throw new IllegalArgumentException(
                    e.getErrorCode() == DataUtils.ERROR_FILE_LOCKED
                            ? "the folder of batches, " + folder
                                    + ", is used by another process: wait for its end, or name another folder"
                            : "the database of batches, " + folder.resolve("batches.db") + ", cannot be used: "
                                    + e.getMessage(),
                    e);
        }
    }

    private static void closeAfter(@Nullable MVStore store) {
        if (store != null) {
            store.closeImmediately();
        }
    }

    /** Only its user may read it: it has the texts of requests and answers. */
    private static void createFolder(Path folder) throws IOException {
        if (Files.isDirectory(folder)) {
            return;
        }
        Files.createDirectories(folder);
        if (folder.getFileSystem().supportedFileAttributeViews().contains("posix")) {
            Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwx------"));
        }
    }

    private void deleteStrangers() throws IOException {
        Set<String> known = new HashSet<>(files.keySet());
        for (String each : List.of("uploads", "files")) {
            try (DirectoryStream<Path> found = Files.newDirectoryStream(folder.resolve(each))) {
                for (Path path : found) {
                    if (each.equals("uploads") || !known.contains(String.valueOf(path.getFileName()))) {
                        Files.delete(path);
                    }
                }
            }
        }
    }

    /** Where files are while they come in. */
    Path uploads() {
        return folder.resolve("uploads");
    }

    /** Where the content of a file is. */
    Path path(String fileId) {
        return folder.resolve("files").resolve(fileId);
    }

    /** All files, the oldest first. */
    List<StoredFile> files() {
        List<StoredFile> all = new ArrayList<>();
        files.forEach((id, record) -> all.add(StoredFile.of(Json.read(text(record)))));
        all.sort(Comparator.comparingLong(StoredFile::number));
        return all;
    }

    /** All batches, the oldest first. */
    List<Batch> batches() {
        List<Batch> all = new ArrayList<>();
        batches.forEach((id, record) -> all.add(Batch.of(Json.read(text(record)))));
        all.sort(Comparator.comparingLong((Batch batch) -> batch.number));
        return all;
    }

    private static String text(byte[] record) {
        return new String(record, StandardCharsets.UTF_8);
    }

    private static byte[] bytes(ObjectNode record) {
        return Json.bytes(record);
    }

    /** Adds a file whose content is there. */
    void put(StoredFile file) {
        change(true, () -> files.put(file.id(), bytes(file.record())));
    }

    /** Removes a file. Its content is deleted afterwards. */
    void removeFile(String id) {
        change(true, () -> files.remove(id));
        try {
            Files.deleteIfExists(path(id));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Adds a batch, or writes what has changed in it. */
    void put(Batch batch) {
        change(true, () -> batches.put(batch.id, bytes(batch.record())));
    }

    /** Removes a batch that has ended. */
    void removeBatch(String id) {
        change(false, () -> batches.remove(id));
    }

    /**
     * Adds the result of a line, and the counts of its batch.
     *
     * @param answer a line of the result
     */
    void addResult(Batch batch, long line, boolean failed, byte[] answer) {
        byte[] result = new byte[answer.length + 1];
        result[0] = failed ? FAILED : ANSWERED;
        System.arraycopy(answer, 0, result, 1, answer.length);
        change(false, () -> {
            results(batch).put(line, result);
            batches.put(batch.id, bytes(batch.record()));
        });
    }

    /** Ends a batch: writes it and its files, and removes the results of its lines. */
    void end(Batch batch, List<StoredFile> outputs) {
        change(true, () -> {
            outputs.forEach(file -> files.put(file.id(), bytes(file.record())));
            batches.put(batch.id, bytes(batch.record()));
            store.removeMap(results(batch));
        });
    }

    /** Whether a line has a result. */
    boolean hasResult(Batch batch, long line) {
        return read(() -> results(batch).containsKey(line));
    }

    /** A line's result. */
    @SuppressWarnings("ArrayRecordComponent") // nobody compares results
    record Result(boolean failed, byte[] bytes) {
        /** Where the line of the answer begins in {@link #bytes}. */
        static final int START = 1;
    }

    /** The result of a line; null if it has none. */
    @Nullable
    Result result(Batch batch, long line) {
        byte[] result = read(() -> results(batch).get(line));
        return result == null ? null : new Result(result[0] == FAILED, result);
    }

    private MVMap<Long, byte[]> results(Batch batch) {
        return store.openMap(
                "results " + batch.id,
                new MVMap.Builder<Long, byte[]>().keyType(LongDataType.INSTANCE).valueType(ByteArrayDataType.INSTANCE));
    }

    private <T extends @Nullable Object> T read(Supplier<T> reader) {
        try {
            return reader.get();
        } catch (MVStoreException e) {
            throw failed("read", e);
        }
    }

    private UncheckedIOException failed(String what, MVStoreException e) {
        String message = "the database of batches, " + folder.resolve("batches.db") + ", cannot be " + what + ": "
                + e.getMessage();
        return new UncheckedIOException(message, new IOException(message, e));
    }

    /**
     * Makes a change and commits it.
     *
     * @param sync whether to wait for the disk
     * @throws UncheckedIOException if it cannot be written; the database is closed then
     */
    private void change(boolean sync, Runnable change) {
        try {
            change.run();
            store.commit();
            if (sync) {
                store.sync();
            }
        } catch (MVStoreException e) {
            throw failed("written", e);
        }
    }

    /** Closes the database. Changes are there already. */
    @Override
    public void close() {
        if (!store.isClosed()) {
            store.close();
        }
    }
}
