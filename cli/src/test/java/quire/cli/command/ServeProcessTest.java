package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.cli.Quire;
import quire.model.BuiltInModel;
import quire.model.format.FamilyModels;
import quire.tensor.ElementType;

/** What the process of {@code serve} does: it listens before it loads, says what to try, and ends on signals. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a process is not interruptible
class ServeProcessTest {
    private static final String[] SMALL = {"serve", "--port", "0", "--max-sequences", "2", "--speculation", "off"};

    /** An answer that does not end while the gate of the model is closed. */
    private static final String STREAM =
            "{\"prompt\":\"hi\",\"max_tokens\":20,\"ignore_eos\":true,\"stream\":true,\"seed\":1}";

    @TempDir
    private Path folder;

    @BeforeAll
    static void assumeShell() {
        assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "there are no signals and no shell here");
    }

    private static ServeProcess gated(String... arguments) throws IOException {
        String[] all = new String[SMALL.length - 1 + arguments.length];
        System.arraycopy(SMALL, 1, all, 0, SMALL.length - 1);
        System.arraycopy(arguments, 0, all, SMALL.length - 1, arguments.length);
        return ServeProcess.start(GatedServe.class, Map.of(), all);
    }

    /** A shell lets programs in the background, and their children, ignore Ctrl-C. Under nohup they ignore SIGHUP. */
    private static void assumeHeard(String signal) throws IOException {
        Path status = Path.of("/proc/self/status");
        int bit = List.of("HUP", "INT").indexOf(signal);
        if (bit >= 0 && Files.exists(status)) {
            String ignored = Files.readAllLines(status).stream()
                    .filter(line -> line.startsWith("SigIgn:"))
                    .findFirst()
                    .orElse("SigIgn: 0");
            assumeTrue(
                    !new BigInteger(ignored.replaceFirst("SigIgn:\\s*", ""), 16).testBit(bit),
                    "this process was started with SIG" + signal + " ignored");
        }
    }

    /** A client whose stream has begun. */
    private static BufferedReader stream(int port) throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        socket.getOutputStream()
                .write(("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + STREAM.length()
                                + "\r\n\r\n" + STREAM)
                        .getBytes(StandardCharsets.US_ASCII));
        BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
        assertThat(in.readLine()).isEqualTo("HTTP/1.1 200 OK");
        return in;
    }

    private static String get(int port, String path) throws IOException {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.getOutputStream()
                    .write(("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    @Test
    void port_taken_isSaidBeforeTheModelIsRead() throws Exception {
        Path notAModel = Files.writeString(folder.resolve("model.gguf"), "not a model");
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.ofLiteral("127.0.0.1"));
                ServeProcess process = ServeProcess.start(
                        Quire.class,
                        Map.of(),
                        "serve",
                        "--port",
                        Integer.toString(taken.getLocalPort()),
                        "--model",
                        notAModel.toString())) {
            assertThat(process.errLine("quire:"))
                    .isEqualTo("quire: cannot listen on 127.0.0.1:" + taken.getLocalPort()
                            + ": Address already in use; choose another port with --port N (0 for any free one)");
            assertThat(process.exitCode()).isEqualTo(1);
        }
    }

    @Test
    void server_listensWhileTheModelIsLoaded() throws Exception {
        try (ServeProcess process = gated()) {
            int port = ServeProcess.port(process.errLine("listening on http://127.0.0.1:"));
            String loading = get(port, "/health/ready");
            while (!loading.contains("\"percent\":43")) { // the model may not have begun to load
                assertThat(loading).startsWith("HTTP/1.1 503");
                loading = get(port, "/health/ready");
            }
            assertThat(get(port, "/v1/models")).startsWith("HTTP/1.1 503").contains("'fake' is being loaded: 43 %");

            process.say("load");

            assertThat(process.outLine("ready on"))
                    .isEqualTo("ready on http://127.0.0.1:" + port + " with the model fake");
            assertThat(get(port, "/health/ready")).startsWith("HTTP/1.1 200");
        }
    }

    @Test
    void load_failing_endsTheProcessAndClosesThePort() throws Exception {
        try (ServeProcess process = gated()) {
            int port = ServeProcess.port(process.errLine("listening on"));

            process.say("broken");

            assertThat(process.errLine("quire:")).isEqualTo("quire: the model is broken");
            assertThat(process.exitCode()).isEqualTo(1);
            assertThatThrownBy(() -> get(port, "/health/live")).isInstanceOf(ConnectException.class);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"INT", "TERM", "HUP"})
    void signal_whileTheModelIsLoaded_endsTheProcess(String signal) throws Exception {
        assumeHeard(signal);
        try (ServeProcess process = gated()) {
            process.errLine("listening on");

            process.signal(signal);

            assertThat(process.errLine("quire:")).isEqualTo("quire: stopped before the model was loaded");
            assertThat(process.exitCode()).isZero();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "INT, press Ctrl-C again, 130",
        "TERM, send the signal again, 143",
    })
    void signal_second_endsAtOnceWhatTheFirstWaitsFor(String signal, String again, int code) throws Exception {
        assumeHeard(signal);
        try (ServeProcess process = gated("--drain-seconds", "3600")) {
            process.say("load");
            BufferedReader client = stream(ServeProcess.port(process.outLine("ready on")));

            process.signal(signal);

            assertThat(process.errLine("quire:"))
                    .isEqualTo("quire: waiting up to 3600 s for 1 answer; " + again + " to end at once");
            assertThat(process.isAlive()).isTrue();

            process.signal(signal);

            assertThat(process.errLine("quire:"))
                    .isEqualTo("quire: ended at once; answers that were not complete are cut short");
            assertThat(process.exitCode()).isEqualTo(code);
            client.close();
        }
    }

    @Test
    void signal_first_letsAnswersEnd() throws Exception {
        try (ServeProcess process = gated("--drain-seconds", "3600")) {
            process.say("load");
            BufferedReader client = stream(ServeProcess.port(process.outLine("ready on")));
            process.signal("TERM");
            process.errLine("quire: waiting");

            process.say("compute");

            assertThat(client.lines()).contains("data: [DONE]");
            assertThat(process.exitCode()).isZero();
        }
    }

    @Test
    void engine_failing_endsTheProcessWithItsOwnCodeAfterTheAnswers() throws Exception {
        try (ServeProcess process = gated()) {
            process.say("load");
            BufferedReader client = stream(ServeProcess.port(process.outLine("ready on")));

            process.say("fail");

            assertThat(client.lines()).anyMatch(line -> line.contains("\"internal_error\""));
            assertThat(process.errLine("quire:"))
                    .isEqualTo("quire: the engine failed: java.lang.IllegalStateException: failed on purpose;"
                            + " exit code 70");
            assertThat(process.exitCode()).isEqualTo(70);
        }
    }

    @Test
    void signal_withoutAnswers_stops() throws Exception {
        try (ServeProcess process = gated()) {
            process.say("load");
            process.outLine("ready on");

            process.signal("TERM");

            process.errLine("quire: stopping");
            assertThat(process.exitCode()).isZero();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "127.0.0.1, none",
        "127.0.0.1, file",
        "0.0.0.0, variable",
    })
    void curl_pasted_isAnswered(String host, String key) throws Exception {
        Path keys = folder.resolve("the user's keys");
        Files.writeString(keys, "# keys of this server\n\n  sesame\nanother\n");
        Map<String, String> environment = Map.of("QUIRE_API_KEY", key.equals("variable") ? "sesame" : "");
        try (ServeProcess process = ServeProcess.start(
                Quire.class,
                environment,
                key.equals("file")
                        ? new String[] {"serve", "--port", "0", "--host", host, "--api-key-file", keys.toString()}
                        : new String[] {"serve", "--port", "0", "--host", host})) {
            assertThat(process.outLine("ready on")).endsWith(" with the model quire-tiny");
            String curl = process.outLine("curl ");
            assertThat(curl).doesNotContain("sesame");
            assumeTrue(hasCurl(), "there is no curl here");

            ProcessBuilder shell = new ProcessBuilder("sh", "-c", curl);
            shell.environment().putAll(environment);
            Process pasted =
                    shell.redirectError(ProcessBuilder.Redirect.DISCARD).start();

            assertThat(new String(pasted.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                    .contains("\"chat.completion\"", "\"model\":\"quire-tiny\"", "\"finish_reason\":\"stop\"");
            assertThat(pasted.waitFor()).isZero();
        }
    }

    @Test
    void models_curlPasted_isAnsweredByTheOneThatChats() throws Exception {
        FamilyModels.write(folder, "bert", ElementType.Q8_0, 5); // gives vectors only
        Files.copy(BuiltInModel.QUIRE_TINY.path(), folder.resolve("chat.gguf"));
        try (ServeProcess process = ServeProcess.start(
                Quire.class, Map.of(), "serve", "--port", "0", "--models", folder.toString(), "--memory", "1GiB")) {
            process.errLine("listening on");
            assertThat(process.outLine("ready on")).contains(" with 2 models");
            String curl = process.outLine("curl ");
            assumeTrue(hasCurl(), "there is no curl here");
            Process pasted = new ProcessBuilder("sh", "-c", curl)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            assertThat(new String(pasted.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                    .contains("\"chat.completion\"", "\"model\":\"chat\"");
            process.errLine("the model chat is loaded");
            process.signal("TERM");
            assertThat(process.exitCode()).isZero();
        }
    }

    @Test
    void unixSocket_curlPasted_isAnswered() throws Exception {
        Path socket = folder.resolve("so cket");
        try (ServeProcess process =
                ServeProcess.start(Quire.class, Map.of(), "serve", "--unix-socket", socket.toString())) {
            assertThat(process.outLine("ready on"))
                    .isEqualTo("ready on the unix socket " + socket + " with the model quire-tiny");
            String curl = process.outLine("curl ");
            assumeTrue(hasCurl(), "there is no curl here");
            Process pasted = new ProcessBuilder("sh", "-c", curl)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            assertThat(new String(pasted.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                    .contains("\"chat.completion\"");
        }
    }

    private static boolean hasCurl() throws Exception {
        return new ProcessBuilder("sh", "-c", "command -v curl awk >/dev/null")
                        .start()
                        .waitFor()
                == 0;
    }
}
