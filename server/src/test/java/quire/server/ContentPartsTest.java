package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;

/** Contents that are lists of text parts. */
@Timeout(60)
class ContentPartsTest {
    private static final String MESSAGES =
            "{\"messages\":[{\"role\":\"system\",\"content\":\"plain\"},{\"role\":\"user\",\"content\":["
                    + "{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]}]}";

    /** Writes texts as they are, and puts each part into brackets. */
    private static final class PartsTemplate implements ChatTemplate {
        private final boolean refusesSystem;

        PartsTemplate(boolean refusesSystem) {
            this.refusesSystem = refusesSystem;
        }

        @Override
        public String render(
                List<? extends Map<String, ?>> messages,
                List<? extends Map<String, ?>> tools,
                boolean addGenerationPrompt) {
            if (refusesSystem
                    && messages.size() == 2
                    && "ProbeUser".equals(messages.getLast().get("content"))) {
                throw new ChatTemplateException("no system role");
            }
            return messages.stream().map(PartsTemplate::render).collect(Collectors.joining(" "));
        }

        private static String render(Map<String, ?> message) {
            return message.get("content") instanceof List<?> parts
                    ? parts.stream()
                            .map(part -> "[" + ((Map<?, ?>) part).get("text") + "]")
                            .collect(Collectors.joining())
                    : String.valueOf(message.get("content"));
        }
    }

    private static String prompt(ChatTemplate template) throws Exception {
        try (TestServer server = TestServer.builder().template(template).start()) {
            String tokens = TestServer.json(server.post("/tokenize", MESSAGES))
                    .get("tokens")
                    .toString();
            return TestServer.json(server.post("/detokenize", "{\"tokens\":" + tokens + "}"))
                    .get("prompt")
                    .stringValue();
        }
    }

    @Test
    void parts_templateTakesThem_stayParts() throws Exception {
        assertThat(prompt(new PartsTemplate(false))).isEqualTo("plain [one][two]");
    }

    @Test
    void parts_templateWhoseMessagesAreMerged_becomeText() throws Exception {
        assertThat(prompt(new PartsTemplate(true))).isEqualTo("plain one\ntwo");
    }

    @Test
    void parts_templateTakesTextOnly_becomeText() throws Exception {
        assertThat(prompt(new TestServer.PlainTemplate())).isEqualTo("<system>plain<user>one\ntwo<assistant>");
    }
}
