package quire.server.batch;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import quire.server.http.LocalExchange;

/** A request of a batch while it is answered. */
final class BatchLine {
    final Batch batch;
    final BatchInput.Request request;

    /** What is to be cancelled; null between two attempts. Guarded by the lock of {@link Batches}. */
    @Nullable
    LocalExchange exchange;

    BatchLine(Batch batch, BatchInput.Request request) {
        this.batch = batch;
        this.request = request;
    }

    byte[] body() {
        int start = request.bodyStart();
        return Arrays.copyOfRange(request.line(), start, start + request.bodyLength());
    }
}
