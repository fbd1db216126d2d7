package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.cli.CommandRun;
import quire.server.batch.IdSet;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Files of requests become files of answers: each request once, whatever ends the process. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a process is not interruptible
class BatchCommandTest {
    private static final int LINES = 40;

    @TempDir
    private Path folder;

    private Path in;
    private Path out;

    @BeforeEach
    void namesFiles() {
        in = folder.resolve("in.jsonl");
        out = folder.resolve("out.jsonl");
    }

    private static String line(String id, String body) {
        return "{\"custom_id\":\"" + id + "\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":" + body + "}\n";
    }

    /** Answers of different lengths, so that they end at different steps. */
    private void writeRequests() throws IOException {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < LINES; i++) {
            lines.append(line(
                    "request-" + i,
                    "{\"prompt\":\"question " + i + "\",\"max_tokens\":" + (1 + i * 7 % 30)
                            + ",\"ignore_eos\":true,\"seed\":" + i + ",\"temperature\":1}"));
        }
        Files.writeString(in, lines);
    }

    private String[] arguments(String... more) {
        List<String> all =
                new ArrayList<>(List.of(in.toString(), out.toString(), "--max-sequences", "3", "--speculation", "off"));
        all.addAll(List.of(more));
        return all.toArray(String[]::new);
    }

    private CommandRun fake(String... more) {
        return CommandRun.of(() -> GatedBatch.command(0).execute(arguments(more)));
    }

    /** The text of each answer by custom_id. Every line is an answer, and no id is there twice. */
    private Map<String, String> answers() throws IOException {
        Map<String, String> answers = new HashMap<>();
        String text = Files.readString(out);
        assertThat(text).endsWith("\n");
        for (String line : text.lines().toList()) {
            JsonNode answer = JsonMapper.shared().readTree(line);
            assertThat(answer.get("id").asString())
                    .isEqualTo("batch_req_" + answer.at("/response/request_id").asString());
            assertThat(answer.get("error").isNull()).isTrue();
            assertThat(answer.at("/response/status_code").asInt()).as(line).isEqualTo(200);
            String content = answer.at("/response/body/choices/0/text").asString();
            assertThat(answers.put(answer.get("custom_id").asString(), content)).isNull();
        }
        return answers;
    }

    /**
     * Waits for the process to have no step to compute, and for it to write some of the answers that have ended.
     *
     * @return lines of the file
     */
    private int linesWhenWaiting(ServeProcess process, int before) throws IOException {
        process.outLine("waiting");
        int lines;
        do {
            lines = Files.exists(out)
                    ? (int) Files.readString(out).chars().filter(c -> c == '\n').count()
                    : 0;
        } while (lines <= before);
        return lines;
    }

    /** The answers without any interruption, in another file. */
    private Map<String, String> expected() throws IOException {
        Path interrupted = out;
        out = folder.resolve("expected.jsonl");
        CommandRun result = fake();
        assertThat(result.code()).as(result.err()).isZero();
        Map<String, String> answers = answers();
        assertThat(answers).hasSize(LINES);
        out = interrupted;
        return answers;
    }

    @Test
    void batch_everyUrl_isAnsweredAsOverHttp() throws IOException {
        String messages = "[{\"role\":\"user\",\"content\":\"What is 2 + 2?\"}]";
        Files.writeString(
                in,
                "{\"custom_id\":\"chat\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":"
                        + messages + ",\"max_tokens\":5}}\n\n"
                        + line("text", "{\"prompt\":\"the\",\"max_tokens\":5}")
                        + "{\"url\":\"/v1/embeddings\",\"body\":{\"input\":\"\u00fc\"},\"method\":\"POST\",\"custom_id\":\"\u00fc\"}\r\n"
                        + "{\"custom_id\":\"response\",\"method\":\"POST\",\"url\":\"/v1/responses\",\"body\":{\"input\":\"hi\",\"max_output_tokens\":16}}");
        CommandRun result = CommandRun.run("batch", in.toString(), out.toString(), "--max-sequences", "2");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).isEmpty();
        assertThat(result.err())
                .contains("4 of 4 requests answered, 4 of them now")
                .doesNotContain(" 0 out");
        Map<String, String> objects = new HashMap<>();
        for (String line : Files.readAllLines(out)) {
            JsonNode answer = JsonMapper.shared().readTree(line);
            assertThat(answer.at("/response/status_code").asInt()).as(line).isEqualTo(200);
            objects.put(
                    answer.get("custom_id").asString(),
                    answer.at("/response/body/object").asString());
        }
        assertThat(objects)
                .isEqualTo(Map.of(
                        "chat",
                        "chat.completion",
                        "text",
                        "text_completion",
                        "\u00fc",
                        "list",
                        "response",
                        "response"));
    }

    @Test
    void batch_refusedRequest_isALineAndExitCodeOne() throws IOException {
        Files.writeString(
                in,
                line("good", "{\"prompt\":\"a\",\"max_tokens\":2}")
                        + line("bad", "{\"prompt\":\"a\",\"max_tokens\":-5}"));
        CommandRun result = fake();
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("2 of 2 requests answered, 1 of them refused or failed");
        String line = Files.readAllLines(out).stream()
                .filter(each -> each.contains("\"custom_id\":\"bad\""))
                .findFirst()
                .orElseThrow();
        JsonNode response = JsonMapper.shared().readTree(line).get("response");
        assertThat(response.get("status_code").asInt()).isEqualTo(400);
        assertThat(response.at("/body/error/param").asString()).isEqualTo("max_tokens");

        CommandRun again = fake("--resume"); // nothing is left to do, and the refusal is still one
        assertThat(again.code()).isEqualTo(1);
        assertThat(again.err()).contains("2 of 2 requests answered, 1 of them refused or failed", "0 of them now");
        assertThat(Files.readAllLines(out)).hasSize(2);
    }

    @Test
    void batch_queueTooSmall_waitsAndAnswersAll() throws IOException {
        Files.writeString(
                in,
                line("a", "{\"prompt\":\"a\",\"max_tokens\":400,\"ignore_eos\":true}")
                        + line("b", "{\"prompt\":\"b\",\"max_tokens\":2}")
                        + line("c", "{\"prompt\":\"c\",\"max_tokens\":2}"));
        CommandRun result = CommandRun.of(() -> GatedBatch.command(0)
                .execute(in.toString(), out.toString(), "--max-sequences", "1", "--max-queued", "1"));
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(answers()).containsOnlyKeys("a", "b", "c");
    }

    @Test
    void resume_tornLastLine_isComputedAgain() throws IOException {
        writeRequests();
        Map<String, String> expected = expected();
        List<String> lines = Files.readAllLines(folder.resolve("expected.jsonl"));
        for (int cut :
                new int[] {0, 1, 15, lines.get(5).length() - 1, lines.get(5).length()}) {
            Files.writeString(
                    out,
                    String.join("\n", lines.subList(0, 5)) + "\n" + lines.get(5).substring(0, cut));
            CommandRun result = fake("--resume");
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(result.err()).contains("5 of 40 answers", "40 of 40 requests answered, 35 of them now");
            assertThat(answers()).isEqualTo(expected);
            assertThat(Files.readAllLines(out).subList(0, 5)).isEqualTo(lines.subList(0, 5));
        }
    }

    @Test
    void resume_killedProcesses_eachLineOnceAndAsWithoutKills() throws Exception {
        writeRequests();
        Map<String, String> expected = expected();
        int before = 0;
        for (int steps : new int[] {40, 60, 80}) {
            List<String> arguments = new ArrayList<>(List.of(Integer.toString(steps)));
            arguments.addAll(List.of(arguments("--resume")));
            try (ServeProcess process =
                    ServeProcess.start(GatedBatch.class, Map.of(), arguments.toArray(String[]::new))) {
                linesWhenWaiting(process, before);
                process.signal("KILL");
                assertThat(process.exitCode()).isNotZero();
            }
            before = Files.readAllLines(out).size();
            assertThat(before).isLessThan(LINES);
            Files.writeString(out, "{\"id\":\"batch_req_torn", StandardOpenOption.APPEND);
        }
        CommandRun result = fake("--resume");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(answers()).isEqualTo(expected);
    }

    @Test
    void signal_endsWithWholeLinesAndSaysHowToGoOn() throws Exception {
        writeRequests();
        Map<String, String> expected = expected();
        List<String> arguments = new ArrayList<>(List.of("40"));
        arguments.addAll(List.of(arguments()));
        try (ServeProcess process = ServeProcess.start(GatedBatch.class, Map.of(), arguments.toArray(String[]::new))) {
            linesWhenWaiting(process, 0);
            process.signal("TERM");
            assertThat(process.errLine("stopped;"))
                    .endsWith(" of 40 answers are in " + out + "; --resume goes on with it");
            assertThat(process.exitCode()).isEqualTo(143);
        }
        assertThat(answers()).hasSizeBetween(1, LINES - 1);
        assertThat(fake("--resume").code()).isZero();
        assertThat(answers()).isEqualTo(expected);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "nonsense ; is not JSON",
                "[] ; is no JSON object",
                "{'custom_id':'x','method':'POST','url':'/v1/completions','body':{}} {} ; more than one JSON object",
                "{'method':'POST','url':'/v1/completions','body':{}} ; has no custom_id",
                "{'custom_id':7,'method':'POST','url':'/v1/completions','body':{}} ; custom_id that is no text",
                "{'custom_id':'x','custom_id':'y','method':'POST','url':'/v1/completions','body':{}} ; has custom_id twice",
                "{'custom_id':'x','method':'GET','url':'/v1/completions','body':{}} ; has the method 'GET'",
                "{'custom_id':'x','method':'POST','url':'/v1/models','body':{}} ; has the url '/v1/models'",
                "{'custom_id':'x','method':'POST','url':'/v1/completions'} ; has no body",
                "{'custom_id':'x','method':'POST','url':'/v1/completions','body':[]} ; body that is no JSON object",
                "{'custom_id':'x','method':'POST','url':'/v1/completions','body':{'stream':true}} ; asks for a stream",
                "{'custom_id':'x','method':'POST','url':'/v1/completions','body':{},'more':1} ; has the member 'more'",
                "{'custom_id':'first','method':'POST','url':'/v1/completions','body':{}} ; custom_id 'first' of an earlier"
            })
    void input_mistake_namesTheLineBeforeAnythingIsComputed(String line, String error) throws IOException {
        Files.writeString(in, line("first", "{\"prompt\":\"a\"}") + "\n" + line.replace('\'', '"') + "\n");
        CommandRun result = fake();
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("quire: " + in + ", line 3 ").contains(error);
        assertThat(out).doesNotExist();
    }

    @Test
    void output_mistakes_areErrorsAndLeaveTheFile() throws IOException {
        Files.writeString(in, line("first", "{\"prompt\":\"a\",\"max_tokens\":2}"));
        Files.writeString(out, "precious");
        CommandRun result = fake();
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(out + " is there already", "--resume");
        for (String other : List.of(
                "precious",
                "precious\n",
                "{\"id\":\"batch_req_1\",\"custom_id\":\"second\"," + "\"response\":{\"status_code\":200}}\n")) {
            Files.writeString(out, other);
            result = fake("--resume");
            assertThat(result.code()).isEqualTo(2);
            assertThat(result.err()).contains(out + ", line 1 ").containsAnyOf("is no answer", "another batch");
            assertThat(out).hasContent(other);
        }
        out = in;
        result = fake("--resume");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("name another one");
    }

    @Test
    void output_ofARunningBatch_isRefused() throws Exception {
        writeRequests();
        List<String> arguments = new ArrayList<>(List.of("40"));
        arguments.addAll(List.of(arguments()));
        try (ServeProcess process = ServeProcess.start(GatedBatch.class, Map.of(), arguments.toArray(String[]::new))) {
            process.outLine("waiting");
            CommandRun result = fake("--resume");
            assertThat(result.code()).isEqualTo(2);
            assertThat(result.err()).contains("is being written by another batch");
        }
    }

    @Test
    void idSet_manyIds_findsEachAndNoOther() {
        IdSet ids = new IdSet();
        for (int i = 0; i < 5000; i++) {
            assertThat(ids.add("id " + i)).isTrue();
        }
        for (int i = 0; i < 5000; i++) {
            assertThat(ids.add("id " + i)).isFalse();
            assertThat(ids.contains("id " + i)).isTrue();
            assertThat(ids.contains("other " + i)).isFalse();
        }
        assertThat(ids.size()).isEqualTo(5000);
    }
}
