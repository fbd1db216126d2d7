package quire.bench.agents;

import static org.assertj.core.api.Assertions.assertThat;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.cli.CommandRun;
import quire.cli.output.Json;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

@Timeout(300)
class AgentsBenchTest {
    private static final String SCHEMA =
            "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"}},\"required\":[\"path\"]}";

    private static final String CHAT = "{\"path\":\"/v1/chat/completions\",\"bytes_as_sent\":900,\"body\":{"
            + "\"model\":\"MODEL\",\"stream\":true,\"messages\":[{\"role\":\"system\",\"content\":\"Help.\"},"
            + "{\"role\":\"user\",\"content\":\"Read it.\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\","
            + "\"type\":\"function\",\"function\":{\"name\":\"read\",\"arguments\":\"{\\\"path\\\":\\\"a\\\"}\"}}]},"
            + "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"text\"}],\"tools\":[{\"type\":\"function\",\"function\":{"
            + "\"name\":\"read\",\"description\":\"Reads.\",\"parameters\":" + SCHEMA + "}}]}}";

    private static final String RESPONSES = "{\"path\":\"/v1/responses?beta=true\",\"bytes_as_sent\":800,\"body\":{"
            + "\"model\":\"MODEL\",\"store\":false,\"input\":[{\"role\":\"developer\",\"content\":[{\"type\":\"input_text\","
            + "\"text\":\"Help.\"}]},{\"role\":\"user\",\"content\":\"Read it.\"},{\"type\":\"function_call\",\"call_id\":\"c1\","
            + "\"name\":\"read\",\"arguments\":\"{\\\"path\\\":\\\"a\\\"}\"},{\"type\":\"function_call_output\",\"call_id\":\"c1\","
            + "\"output\":\"text\"}],\"tools\":[{\"type\":\"namespace\",\"name\":\"files\",\"tools\":[{\"type\":\"function\","
            + "\"name\":\"read\",\"parameters\":" + SCHEMA + "}]}]}}";

    private static final String TEMPLATE =
            "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}"
                    + "<{{ m.role }}>{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{\"name\": \"{{ c.function.name }}"
                    + "\", \"arguments\": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}{% endfor %}"
                    + "{% if add_generation_prompt %}<assistant>{% endif %}";

    @TempDir
    private Path folder;

    private Path write(String name, String text) throws IOException {
        return Files.writeString(folder.resolve(name), text);
    }

    @Test
    void turns_ofACapture_shareTheirBeginningAndHaveTheLengthThatWasSent() throws IOException {
        for (String text : List.of(CHAT, RESPONSES)) {
            Capture capture = Capture.read(write("some-turn2.json", text));
            assertThat(capture.name()).isEqualTo("some");
            assertThat(capture.path()).doesNotContain("?");
            assertThat(capture.hasTwoTurns()).isTrue();
            assertThat(capture.tools()).singleElement().satisfies(tool -> assertThat(tool.name())
                    .isEqualTo("read"));
            String items = text.equals(CHAT) ? "messages" : "input";
            List<?> first = items(capture.turn(1, "m", 7), items);
            List<?> second = items(capture.turn(2, "m", 7), items);
            assertThat(first).hasSize(2).isEqualTo(second.subList(0, 2));
            assertThat(second).hasSize(4);
            assertThat(capture.turn(2, "m", 8)).isNotEqualTo(capture.turn(2, "m", 7));
            // Without the white space, and about as long: some members are others.
            assertThat(capture.turn(2, "m", 7).replaceAll("\n *", "").length())
                    .isBetween((int) capture.bytes() / 2, (int) capture.bytes() + 100);
        }
    }

    private static List<?> items(String body, String name) {
        return (List<?>) Json.read(body).getOrDefault(name, List.of());
    }

    /** The times are not looked at: this test does not measure. */
    @Test
    void agents_ownServer_findsTheFirstTurnInTheCache() throws IOException {
        write("one-turn2.json", CHAT);
        write("two-turn2.json", RESPONSES);
        write("title.json", "{}");
        write(
                "one-title.json",
                "{\"path\":\"/v1/chat/completions\",\"bytes_as_sent\":200,\"body\":{\"messages\":[{\"role\":\"system\","
                        + "\"content\":\"Name it.\"},{\"role\":\"user\",\"content\":\"Read it.\"}]}}");
        Path model = RandomModels.writer(RandomModels.Shape.tiny().withContext(4096), ElementType.Q8_0, 1)
                .without("tokenizer.chat_template")
                .string("tokenizer.chat_template", TEMPLATE)
                .write(folder.resolve("model.gguf"));
        CommandRun result = run(
                "bench",
                "agents",
                "--captures",
                folder.toString(),
                "--model",
                model.toString(),
                "--json",
                "--",
                "--speculation",
                "off");
        assertThat(result.code()).as(result.out() + result.err()).isZero();
        JsonNode json = JsonMapper.shared().readTree(result.out());
        assertThat(json.get("tools").size()).isEqualTo(2);
        assertThat(json.get("tools").get(0).get("begin_micros").asDouble()).isPositive();
        assertThat(json.get("first_requests").get("program").stringValue()).isEqualTo("two");
        assertThat(json.get("first_requests").get("tenth_seconds").asDouble()).isPositive();
        assertThat(json.get("turns").size()).isEqualTo(2);
        for (JsonNode turn : json.get("turns").values()) {
            int prompt = turn.get("prompt_tokens").asInt();
            assertThat(turn.get("cached_tokens").asInt()).isBetween(16, prompt - 1);
            assertThat(turn.get("cached_tokens_retried").asInt())
                    .as("all whole pages before the last token")
                    .isEqualTo((prompt - 1) / 16 * 16);
            assertThat(turn.get("side_requests").get(0).stringValue()).isEqualTo("one-title");
            assertThat(turn.get("cached_tokens_after_side").asInt())
                    .as("other words have other lengths")
                    .isBetween(turn.get("cached_tokens").asInt() - 32, prompt - 1);
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'usage':{'prompt_tokens':9,'prompt_tokens_details':{'cached_tokens':4}}} | 9 | 4",
                "{'usage':{'input_tokens':9,'input_tokens_details':{'cached_tokens':4}}}   | 9 | 4",
                "{'usage':{'input_tokens':5,'cache_read_input_tokens':4}}                  | 9 | 4",
                "{'prompt_eval_count':9}                                                   | 9 |",
            },
            quoteCharacter = '"')
    void counts_ofEachApi_areRead(String answer, long prompt, @Nullable Long cached) {
        AgentsBench.Answered read = AgentsBench.Answered.of(1, Json.read(answer.replace('\'', '"')));
        assertThat(read.promptTokens()).isEqualTo(prompt);
        assertThat(read.cachedTokens()).isEqualTo(cached);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{}                                                        | needs the members path",
                "no JSON                                                   | is not JSON",
                "{\"path\":\"/x\",\"bytes_as_sent\":1,\"body\":{\"messages\":[{\"role\":\"user\"}]}} | no second turn",
            })
    void agents_fileThatIsNoCapture_isNamed(String text, String words) throws IOException {
        write("odd-turn2.json", text);
        CommandRun result = run("bench", "agents", "--captures", folder.toString());
        assertThat(result.code()).isNotZero();
        assertThat(result.err()).contains("odd-turn2.json").contains(words);
    }

    @Test
    void agents_whatIsMissing_isSaid() throws IOException {
        write("one-turn2.json", CHAT);
        assertThat(run("bench", "agents", "--captures", folder.toString()).err())
                .as("of the built-in model")
                .contains("cannot answer agents");
        assertThat(run("bench", "agents", "--captures", folder.toString(), "--only", "two")
                        .err())
                .contains("[two]");
        assertThat(run("bench", "agents", "--captures", folder.resolve("none").toString())
                        .err())
                .contains("is none");
    }
}
