package quire.server.api;

import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import org.jspecify.annotations.Nullable;
import quire.engine.Output;
import quire.engine.TokenStream;

/**
 * The tokens of one or several answers in the order in which they come. Of several answers, a virtual thread reads each,
 * because a {@link TokenStream} wakes only its own reader. The threads end with their streams, also with closed ones.
 */
final class MergedTokens {
    /**
     * A token, or the end of an answer.
     *
     * @param index of the answer
     * @param output null for the end
     */
    record Token(int index, @Nullable Output output) {}

    private final LinkedBlockingQueue<Token> tokens = new LinkedBlockingQueue<>();
    private final @Nullable TokenStream only; // read by the caller's thread

    /** Begins to read. */
    MergedTokens(List<TokenStream> streams) {
        only = streams.size() == 1 ? streams.getFirst() : null;
        if (only != null) {
            return;
        }
        for (int i = 0; i < streams.size(); i++) {
            int index = i;
            TokenStream stream = streams.get(i);
            Thread.ofVirtual().name("answer-" + i).start(() -> read(index, stream));
        }
    }

    private void read(int index, TokenStream stream) {
        try {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                tokens.add(new Token(index, output));
            }
            tokens.add(new Token(index, null));
        } catch (InterruptedException e) {
            throw new IllegalStateException("nobody interrupts this thread", e);
        }
    }

    /** Waits for the next token or end. */
    Token next() throws InterruptedException {
        return only == null ? tokens.take() : new Token(0, only.next());
    }

    /** The next token or end; null if there is none yet. */
    @Nullable
    Token poll() {
        if (only == null) {
            return tokens.poll();
        }
        Output output = only.poll();
        return output == null ? null : new Token(0, output); // the end comes by waiting for it
    }
}
