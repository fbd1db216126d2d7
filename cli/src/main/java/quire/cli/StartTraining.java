package quire.cli;

import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;
import quire.cli.command.ServeCommand;

/**
 * No command: a server of the built-in model that answers some requests and ends. The build runs it once, so that Java can
 * record which classes a start loads and what its code does (an ahead-of-time cache). Exits with 0 if all went well.
 */
final class StartTraining {
    private static final String READY = "ready on ";
    private static final String QUESTION =
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}], \"max_tokens\": 16, \"stream\": %s}";

    private static final String OBJECT = QUESTION.replace("}]", "}], \"response_format\": {\"type\": \"json_object\"}");

    private StartTraining() {}

    /** Runs the training. */
    public static void main(String[] args) throws Exception {
        ReadyLine out = new ReadyLine(System.out);
        System.setOut(out);
        Thread.ofPlatform().daemon().start(() -> System.exit(Quire.run("serve", "--port", "0")));
        URI chat = URI.create(out.address.get() + "/v1/chat/completions");
        ask(chat, QUESTION.formatted(false));
        ask(chat, QUESTION.formatted(true));
        ask(chat, OBJECT.formatted(false));
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().equals(ServeCommand.WARM_UP)) {
                thread.join(); // so that its classes and code are in the cache too
            }
        }
        System.exit(0);
    }

    private static void ask(URI chat, String body) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) chat.toURL().openConnection();
        connection.setDoOutput(true);
        connection.setRequestProperty("Content-Type", "application/json");
        try (OutputStream to = connection.getOutputStream()) {
            to.write(body.getBytes(StandardCharsets.UTF_8));
        }
        try (var answer = connection.getInputStream()) {
            answer.readAllBytes();
        }
    }

    /** Standard output, in which the server tells its address. */
    private static final class ReadyLine extends PrintStream {
        final CompletableFuture<String> address = new CompletableFuture<>();

        ReadyLine(PrintStream out) {
            super(out, true, StandardCharsets.UTF_8);
        }

        @Override
        public void println(@Nullable String line) {
            super.println(line);
            if (line != null && line.startsWith(READY)) {
                address.complete(line.substring(READY.length()).split(" ", 2)[0]);
            }
        }
    }
}
