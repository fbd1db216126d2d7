package quire.bench.client;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import quire.cli.output.Json;

/** Which server is measured: the one of {@code --url}, or one that the command starts. */
public final class ServerOption {
    @Option(
            names = "--url",
            paramLabel = "URL",
            description =
                    "The server, such as http://127.0.0.1:8000 (default: one that this command starts and stops).")
    private @Nullable String url;

    @Parameters(
            paramLabel = "SERVE-OPTION",
            description = "Behind --: options of quire serve, for the server that this command starts.")
    private List<String> arguments = List.of();

    /**
     * The model that a server serves.
     *
     * @param name how requests name it
     * @param context the most tokens of a sequence
     */
    public record ServedModel(String name, int context) {
        private static final int SMALLEST = 128;

        /** Asks the server. */
        public static ServedModel of(ServerAddress server) throws IOException {
            HttpSocket.Answer answer = HttpSocket.exchange(server, server.get("/v1/models"), Duration.ofSeconds(30));
            if (answer.status() == 200
                    && Json.read(answer.body()).get("data") instanceof List<?> list
                    && !list.isEmpty()
                    && list.getFirst() instanceof Map<?, ?> model
                    && model.get("max_model_len") instanceof Number context) {
                if (context.intValue() < SMALLEST) {
                    throw new IOException("the model's context of " + context + " tokens is too small: take one of "
                            + SMALLEST + " or more");
                }
                return new ServedModel(String.valueOf(model.get("id")), context.intValue());
            }
            throw new IOException("http://" + server + "/v1/models does not name a model: status " + answer.status());
        }
    }

    /**
     * The server, which is ready. Close it.
     *
     * @param defaults an option of {@code quire serve} and its value, which a server that this command starts gets if the
     *     user does not give the option; or nothing
     * @throws IOException if the server does not start
     * @throws IllegalArgumentException if the options do not fit together
     */
    public ServerProcess open(String... defaults) throws IOException {
        if (url != null) {
            if (!arguments.isEmpty()) {
                throw new IllegalArgumentException(
                        "options of quire serve have no effect on the server of --url: leave one of them out");
            }
            return ServerProcess.at(ServerAddress.of(url));
        }
        Path log = Files.createTempFile("quire-serve-", ".log");
        List<String> all = new ArrayList<>(arguments);
        if (defaults.length > 0 && arguments.stream().noneMatch(argument -> argument.startsWith(defaults[0]))) {
            all.addAll(List.of(defaults));
        }
        return ServerProcess.start(all, log);
    }
}
