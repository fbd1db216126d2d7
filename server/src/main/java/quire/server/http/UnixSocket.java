package quire.server.http;

import java.io.IOException;
import java.net.ConnectException;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;

/** The file of a unix socket. It outlives the process that made it, so a new server must tell whether it is in use. */
final class UnixSocket {
    /** The longest path in bytes: the field of the system call has 108, one of which ends it. */
    private static final int MAX_PATH_BYTES = 107;

    private UnixSocket() {}

    /**
     * Makes room for a new socket: deletes one on which nobody listens.
     *
     * @throws FileAlreadyExistsException if another process listens on it, or if it is another kind of file
     * @throws IOException if the path is too long, or cannot be used
     */
    static void free(Path path) throws IOException {
        int length = path.toString().getBytes(StandardCharsets.UTF_8).length;
        if (length > MAX_PATH_BYTES) {
            throw new IOException("the path has " + length + " bytes, and a unix socket at most " + MAX_PATH_BYTES);
        }
        if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
            return;
        }
        if (!Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .isOther()) {
            throw new FileAlreadyExistsException("the file exists and is no socket: delete it or choose another path");
        }
        try (SocketChannel _ = SocketChannel.open(UnixDomainSocketAddress.of(path))) {
            throw new FileAlreadyExistsException("another process listens on it");
        } catch (ConnectException e) {
            Files.delete(path);
        }
    }
}
