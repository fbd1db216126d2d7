package quire.cli.command;

import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.Writer;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** {@code serve} in a JVM of its own, for tests of what the process does. */
final class ServeProcess implements AutoCloseable {
    private final Process process;
    private final BufferedReader out;
    private final BufferedReader err;
    private final Writer in;

    private ServeProcess(Process process) {
        this.process = process;
        out = process.inputReader(StandardCharsets.UTF_8);
        err = process.errorReader(StandardCharsets.UTF_8);
        in = process.outputWriter(StandardCharsets.UTF_8);
    }

    /** Runs the class with this JVM's options and class path. */
    static ServeProcess start(Class<?> main, Map<String, String> environment, String... arguments) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().putAll(environment);
        return new ServeProcess(builder.start());
    }

    /** Reads standard output until a line begins with {@code text}, and returns the line. */
    String outLine(String text) throws IOException {
        return line(out, text);
    }

    /** Reads standard error until a line contains {@code text}, and returns the line. */
    String errLine(String text) throws IOException {
        return line(err, text);
    }

    private static String line(BufferedReader reader, String text) throws IOException {
        StringBuilder before = new StringBuilder();
        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
            if (line.contains(text)) {
                return line;
            }
            before.append(line).append('\n');
        }
        throw new EOFException("no line with '" + text + "' in:\n" + before);
    }

    /** The port in a line that ends with an address, or has one before a space. */
    static int port(String line) {
        return Integer.parseInt(line.replaceFirst(".*http://[^ ]*:(\\d+).*", "$1"));
    }

    /** Writes a line to standard input. */
    void say(String line) throws IOException {
        in.write(line + "\n");
        in.flush();
    }

    void signal(String name) throws IOException, InterruptedException {
        new ProcessBuilder("kill", "-" + name, Long.toString(process.pid()))
                .inheritIO()
                .start()
                .waitFor();
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /** Waits for the process to end, and returns its exit code. */
    int exitCode() throws InterruptedException {
        return process.waitFor();
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
