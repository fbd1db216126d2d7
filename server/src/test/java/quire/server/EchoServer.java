package quire.server;

import java.util.ArrayList;
import java.util.List;

/** A server whose model answers what the user has said last, with calls of tools and reasoning. Remembers the prompts. */
final class EchoServer implements AutoCloseable {
    private final List<String> prompts = new ArrayList<>();
    final TestServer server;

    EchoServer() {
        this(TestServer.config().build());
    }

    EchoServer(ServerConfig config) {
        server = TestServer.builder()
                .config(config)
                .context(4096)
                .template(ReasoningTest.template())
                .script(this::answer)
                .start();
    }

    private synchronized String answer(String prompt) {
        prompts.add(prompt);
        String last = prompt.substring(prompt.lastIndexOf("<user>") + 6);
        return last.substring(0, last.lastIndexOf("<assistant>"));
    }

    /** The prompt of the last request. */
    synchronized String lastPrompt() {
        return prompts.getLast();
    }

    @Override
    public void close() {
        server.close();
    }
}
