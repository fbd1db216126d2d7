package quire.cli;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.server.QuireServer;
import quire.server.ServerConfig;
import quire.server.ServerMetrics;
import tools.jackson.databind.json.JsonMapper;

/**
 * Makes {@code docs/compatibility.md} from the tables beside this test, and compares it with the page in the
 * repository. What the tables say of other programs was measured or read. What the page says of Quire is found out
 * here: schemas are tried, routes are called, parameters are looked up, and options and tests must exist.
 */
class CompatibilityPageTest {
    private static final Path ROOT = Path.of("..");
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final Path DOCUMENT = ROOT.resolve("docs").resolve("compatibility.md");

    @Test
    void document_isWhatQuireDoes() throws IOException, InterruptedException {
        String page = page();
        Path printed = Files.writeString(Path.of("target", "compatibility.md"), page);
        assertThat(DOCUMENT).as("copy %s to docs/", printed).exists().hasContent(page);
    }

    private static String page() throws IOException, InterruptedException {
        return """
                # Compatibility

                What changes for people who come from another server. A test makes this page (`CompatibilityPageTest`): it tries
                every schema, calls every route and looks up every parameter, so what it says of Quire is true of this version.
                What it says of others was measured or read in their source:

                * llama.cpp v0.5.0 (2026-09), as the npm package node-llama-cpp 3.22.1 carries it
                * xgrammar 0.1.27 (npm @mlc-ai/web-xgrammar), the engine for constraints in vLLM and SGLang
                * vLLM, commit 002032ee2b18 (2026): its request classes
                * Ollama, commit fb3076099 (2026-08)
                * OpenAI's API, as the npm package openai 7.59.0 describes it

                [M] measured by running it, [S] read in its source, [D] said in its documentation, – not known or not said there.

                ## Coming from another server

                """ + moving() + """

                ## The same words, another meaning

                """ + differences() + """

                ## Parameters

                A name in this table is a parameter of a request for text. *yes*: the server reads it. For Ollama: `/v1` in requests
                of OpenAI's form, `/api` in its own, `options` within `options` of its own. [Parameters](parameters.md) says more of
                Quire's treatment. A parameter that Quire does not know is an error; a server that does not read one says nothing.

                """ + parameters() + """

                ## JSON Schema

                *exact*: an answer that ends by itself is always valid, and every value of the schema can be written; the page's test
                tries values on both sides. *refused*: a 400 that names the keyword. [Constraints](constraints.md) lists what is exact.
                All of llama.cpp's and xgrammar's entries are measured.

                """ + schemas() + """

                ## Files

                llama.cpp's entries are measured, but for NVFP4 and the factors for long contexts, which were read.

                """ + files() + """

                ## Routes

                """
                + routes();
    }

    private static List<String[]> rows(String file, String separator) throws IOException {
        return lines(file).stream()
                .filter(line -> !line.startsWith("#"))
                .map(line -> line.split(separator, -1))
                .toList();
    }

    private static List<String> lines(String file) throws IOException {
        try (InputStream in =
                requireNonNull(CompatibilityPageTest.class.getResourceAsStream("compatibility/" + file))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
        }
    }

    private static String row(String... cells) {
        return "| " + String.join(" | ", cells).replace(" - ", " – ") + " |\n";
    }

    // ── options and names ───────────────────────────────────────────────────────────────────────────────────────────

    private static String moving() throws IOException {
        String options = CommandRun.run("help", "serve").out();
        StringBuilder text = new StringBuilder();
        String last = "";
        for (String[] cells : rows("moving.csv", " ; ")) {
            checkOptions(cells[2], options);
            if (!cells[0].equals(last)) {
                last = cells[0];
                text.append(text.isEmpty() ? "" : "\n")
                        .append(row(last, "Quire"))
                        .append("|---|---|\n");
            }
            text.append(row(cells[1], cells[2]));
        }
        return text.toString();
    }

    private static void checkOptions(String words, String options) {
        for (MatchResult option :
                Pattern.compile("--[a-z-]+").matcher(words).results().toList()) {
            String command = words.contains("quire inspect")
                    ? CommandRun.run("help", "inspect").out()
                    : options;
            assertThat(command).as(words).contains(option.group());
        }
        for (MatchResult command :
                Pattern.compile("`quire ([a-z]+)").matcher(words).results().toList()) {
            if (!command.group(1).equals("bench")) { // its module adds it
                assertThat(CommandRun.run("help").out()).as(words).contains("\n  " + command.group(1) + " ");
            }
        }
    }

    private static String differences() throws IOException {
        return tested("differences.csv", "", "OpenAI", "vLLM", "llama.cpp", "Ollama", "Quire");
    }

    private static String files() throws IOException {
        return tested("files.csv", "", "llama.cpp", "Quire");
    }

    /** A table of rows whose last cell names a test, which must exist. */
    private static String tested(String file, String... titles) throws IOException {
        StringBuilder text = new StringBuilder(row(titles))
                .append("|---".repeat(titles.length))
                .append("|\n");
        for (String[] cells : rows(file, " ; ")) {
            String[] test = cells[titles.length].split("#", -1);
            assertThat(Files.readString(ROOT.resolve(test[0]))).contains("void " + test[1] + "(");
            text.append(row(Arrays.copyOf(cells, titles.length)));
        }
        return text.toString();
    }

    private static String parameters() throws IOException {
        Map<String, String> treatments = treatments();
        StringBuilder text = new StringBuilder(row("Parameter", "OpenAI", "vLLM", "llama.cpp", "Ollama", "Quire"))
                .append("|---|---|---|---|---|---|\n");
        for (String[] cells : rows("parameters.csv", ",")) {
            String quire = treatments.getOrDefault(cells[0], "an error: unknown");
            text.append(row("`" + cells[0] + "`", cells[1], cells[2], cells[3], cells[4], quire));
        }
        return text.toString();
    }

    /** What Quire does with each parameter of a request for text, from the document that another test checks. */
    private static Map<String, String> treatments() throws IOException {
        Map<String, Set<String>> treatments = new HashMap<>();
        String section = "";
        for (String line : Files.readAllLines(ROOT.resolve("docs").resolve("parameters.md"))) {
            if (line.startsWith("## ")) {
                section = line.substring(3);
            }
            String[] cells = line.split(" \\| ", -1);
            if (cells.length > 3 && cells[0].startsWith("| `") && cells[1].contains("/completions")) {
                String name = cells[0].substring(3, cells[0].length() - 1);
                treatments.computeIfAbsent(name, key -> new HashSet<>()).add(treatment(section, cells));
            }
        }
        assertThat(treatments).hasSizeGreaterThan(100);
        return treatments.entrySet().stream()
                .collect(Collectors.toMap(
                        Map.Entry::getKey,
                        entry -> entry.getValue().stream().sorted().collect(Collectors.joining("; "))));
    }

    private static String treatment(String section, String[] cells) {
        return switch (section) {
            case "Computed" -> "yes";
            case "Synonyms" -> "as " + cells[3].replace(" |", "");
            case "Not computed" -> "an error, but for neutral values";
            case "Without effect" -> "accepted, no effect";
            default -> throw new AssertionError("docs/parameters.md has a section '" + section + "'");
        };
    }

    // ── schemas ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /** A line that begins with two spaces belongs to the row above: a schema, texts of it, and others. */
    private static String schemas() throws IOException {
        StringBuilder text =
                new StringBuilder(row("Schema", "llama.cpp", "xgrammar", "Quire")).append("|---|---|---|---|\n");
        String[] row = {};
        List<String> verdicts = new ArrayList<>();
        List<String> lines = new ArrayList<>(lines("schemas.txt"));
        lines.add("end");
        for (String line : lines) {
            if (line.startsWith("  ")) {
                verdicts.add(verdict(line.strip().split(" # ", -1)));
            } else {
                if (!verdicts.isEmpty()) {
                    text.append(row(
                            row[0], row[1], row[2], verdicts.stream().distinct().collect(Collectors.joining("; "))));
                    verdicts.clear();
                }
                row = line.split(" ## ", -1);
            }
        }
        return text.toString();
    }

    private static String verdict(String[] parts) {
        Constraint constraint;
        try {
            constraint = Constraint.jsonSchema(JSON.readValue(parts[0], Object.class));
        } catch (InvalidConstraintException e) {
            return "refused: " + e.where();
        }
        for (int side = 1; side <= 2; side++) {
            for (String text : parts[side].split(" ~ ", -1)) {
                assertThat(constraint.matches(expand(text)))
                        .as(parts[0] + " and " + text)
                        .isEqualTo(side == 1);
            }
        }
        return "exact";
    }

    /** {@code %3%} is three letters, {@code %1,3%} is {@code 1,1,1}. */
    private static String expand(String text) {
        return Pattern.compile("%(1,)?([0-9]+)%")
                .matcher(text)
                .replaceAll(match -> match.group(1) == null
                        ? "x".repeat(Integer.parseInt(match.group(2)))
                        : "1,".repeat(Integer.parseInt(match.group(2)) - 1) + "1");
    }

    // ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /** A server without a model answers 503, or 404 where it has no route. */
    private static String routes() throws IOException, InterruptedException {
        StringBuilder text = new StringBuilder(row("Route", "OpenAI", "vLLM", "llama.cpp", "Ollama", "Quire"))
                .append("|---|---|---|---|---|---|\n");
        ServerConfig config = ServerConfig.builder().port(0).build();
        try (QuireServer server = QuireServer.bind(config, new ServerMetrics());
                HttpClient client = HttpClient.newHttpClient()) {
            for (String[] cells : rows("routes.csv", ",")) {
                String[] route = cells[0].split(" ", -1);
                HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + route[1]))
                        .method(route[0], HttpRequest.BodyPublishers.noBody())
                        .build();
                int status = client.send(request, BodyHandlers.discarding()).statusCode();
                String quire = status == 404 || status == 405 ? "-" : "yes";
                text.append(row("`" + cells[0] + "`", cells[1], cells[2], cells[3], cells[4], quire));
            }
        }
        return text.toString();
    }
}
