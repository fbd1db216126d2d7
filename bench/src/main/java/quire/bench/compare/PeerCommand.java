package quire.bench.compare;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A command that measures another engine. It gets what to measure in environment variables and writes the figures to its
 * standard output, one on each line:
 *
 * <pre>
 *   BENCH_MODEL      path of the model file          prompt 312.4       tokens a second of the prompt
 *   BENCH_THREADS    number of threads               decode 1 54.2      tokens a second of 1 sequence
 *   BENCH_PROMPT     tokens of the prompt            decode 4 98.0      of 4 sequences together
 *   BENCH_CONTEXT    tokens before decoding
 *   BENCH_GENERATE   tokens of each sequence
 *   BENCH_SEQUENCES  1,4
 * </pre>
 *
 * <p>Its other lines, and its standard error, go to the standard error of this process.
 *
 * @param command the command line, for {@code sh}
 * @param environment the variables
 */
record PeerCommand(String command, Map<String, String> environment) {
    /**
     * Runs the command and returns its figures by name, {@code prompt} or {@code decode N}.
     *
     * @param expected the names that must be there
     * @throws IllegalStateException if the command fails, or leaves one of them out
     */
    Map<String, Double> run(List<String> expected) throws InterruptedException {
        Map<String, Double> figures = new LinkedHashMap<>();
        ProcessBuilder builder = new ProcessBuilder("sh", "-c", command).redirectError(ProcessBuilder.Redirect.INHERIT);
        builder.environment().putAll(environment);
        int status;
        try {
            Process process = builder.start();
            try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
                process.getOutputStream().close();
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    if (!read(line, figures)) {
                        System.err.println(line);
                    }
                }
                status = process.waitFor();
            } finally {
                process.descendants().forEach(ProcessHandle::destroyForcibly);
                process.destroyForcibly();
            }
        } catch (IOException e) {
            throw new IllegalStateException("the command of the peer cannot run: " + e.getMessage(), e);
        }
        if (status != 0) {
            throw new IllegalStateException("the command of the peer ended with status " + status + ": " + command);
        }
        for (String name : expected) {
            if (!figures.containsKey(name)) {
                throw new IllegalStateException("the command of the peer wrote no line '" + name
                        + " <tokens a second>' to its standard output: " + command);
            }
        }
        return figures;
    }

    /** Takes a figure from a line; false if it has none. */
    private static boolean read(String line, Map<String, Double> figures) {
        int last = line.lastIndexOf(' ');
        String name = last < 0 ? "" : line.substring(0, last);
        if (!name.equals("prompt") && !name.matches("decode [0-9]+")) {
            return false;
        }
        try {
            double speed = Double.parseDouble(line.substring(last + 1));
            if (speed > 0 && Double.isFinite(speed)) {
                figures.put(name, speed);
                return true;
            }
        } catch (NumberFormatException e) {
            // reported below
        }
        throw new IllegalStateException("the command of the peer wrote no positive number in its line '" + line + "'");
    }
}
