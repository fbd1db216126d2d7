package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.time.Clock;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.text.ChatTemplates;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** Answers with marks around their text too, as Functionary 3.2 writes them, with tools and without. */
@Timeout(60)
class FramedAnswersTest {
    private static final String TEMPLATE = "{{ tools | tojson if tools }}{% for m in messages %}<{{ m.role }}>"
            + "{% if m.role != 'assistant' %}{{ m.content }}{% else %}{% if m.content %}{{ '>>>all\\n' ~ m.content }}"
            + "{% endif %}{% for c in m.tool_calls or [] %}{{ '>>>' ~ c.function.name ~ '\\n' ~ c.function.arguments |"
            + " tojson }}{% endfor %}<|eot_id|>{% endif %}{% endfor %}"
            + "{{ '<assistant>>>>' if add_generation_prompt }}";

    private static final String TOOLS =
            ",'tools':[{'type':'function','function':{'name':'weather','parameters':{'type':'object',"
                    + "'properties':{'city':{'type':'string','maxLength':12}},'required':['city']}}}]";

    /** What the user says is what the model wants to answer. */
    private static final TestServer SERVER = TestServer.builder()
            .context(4096)
            .template(ChatTemplates.adapted(ChatTemplates.parse(TEMPLATE, null, null, Clock.systemUTC())))
            .script(
                    "<assistant>>>>",
                    prompt -> prompt.substring(prompt.lastIndexOf("<user>") + 6, prompt.lastIndexOf("<assistant>")))
            .start();

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    /** The answer's text and calls, which a stream must have too. */
    private static String answer(String wanted, String fields) throws Exception {
        String body =
                "{\"model\":\"fake\",\"temperature\":0,\"max_tokens\":300,\"messages\":[{\"role\":\"user\",\"content\":"
                        + JsonNodeFactory.instance.stringNode(wanted) + "}]" + fields.replace('\'', '"');
        HttpResponse<String> whole = SERVER.post("/v1/chat/completions", body + "}");
        assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
        JsonNode message = TestServer.json(whole).at("/choices/0/message");
        StringBuilder read = new StringBuilder(message.path("content").asString(""));
        for (JsonNode call : message.path("tool_calls").values()) {
            read.append('|').append(call.at("/function/name").asString());
            read.append(call.at("/function/arguments").asString().replace(" ", ""));
        }
        StringBuilder streamed = new StringBuilder();
        String events =
                SERVER.post("/v1/chat/completions", body + ",\"stream\":true}").body();
        for (String line :
                events.lines().filter(each -> each.startsWith("data: {")).toList()) {
            JsonNode delta = Json.read(line.substring(6)).at("/choices/0/delta");
            streamed.append(delta.path("content").asString(""));
            for (JsonNode call : delta.path("tool_calls").values()) {
                String name = call.at("/function/name").asString("");
                streamed.append(name.isEmpty() ? "" : "|" + name);
                streamed.append(call.at("/function/arguments").asString("").replace(" ", ""));
            }
        }
        assertThat(streamed).hasToString(read.toString());
        return read.toString();
    }

    @Test
    void answer_withMarks_isReadWithToolsAndWithout() throws Exception {
        assertThat(answer("all\nHello, >> you.", "")).isEqualTo("Hello, >> you.");
        assertThat(answer("all\nHello.", TOOLS)).isEqualTo("Hello.");
        assertThat(answer("weather\n{\"city\": \"Bern\"}", TOOLS)).isEqualTo("|weather{\"city\":\"Bern\"}");
        assertThat(answer("all\nWell.\n>>>weather\n{\"city\": \"Bern\"}>>>weather\n{\"city\": \"Rom\"}", TOOLS))
                .isEqualTo("Well.|weather{\"city\":\"Bern\"}|weather{\"city\":\"Rom\"}");
    }

    @Test
    void constraint_ofAnAnswerWithMarks_isForItsText() throws Exception {
        String number =
                ",'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':{'type':'integer','minimum':40,'maximum':42}}}";
        for (String tools : new String[] {"", TOOLS, TOOLS + ",'tool_choice':'none'"}) {
            assertThat(answer("all\n42 is the number.", number + tools))
                    .as(tools)
                    .isEqualTo("42");
        }
        assertThat(answer("weather\n{\"city\": \"Bern\"}", TOOLS + ",'tool_choice':'none'"))
                .doesNotContain("|");
        assertThat(answer("all\nHello.", TOOLS + ",'tool_choice':'required'")).startsWith("|weather{\"city\":\"");
    }
}
