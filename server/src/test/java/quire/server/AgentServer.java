package quire.server;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import quire.model.text.ChatTemplates;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/**
 * A process for the scripts in {@code src/test/agents}: three servers for real programs, whose model answers what the
 * task itself says. The process prints their ports as one line of JSON and ends when its standard input ends.
 *
 * <ul>
 *   <li>{@code ok} answers. A prompt contains {@code script:BASE64:}, the base64 of a JSON array of answers. The next
 *       answer is the one at the place that is the number of results of tools behind the script. In an answer {@code
 *       <broken>} stands for a token with logits that are not finite, and {@code <endless>} for a very long text.
 *   <li>{@code full} refuses requests: the limit of its API key is used up. Status 429.
 *   <li>{@code loading} has no model yet. Status 503.
 * </ul>
 */
final class AgentServer {
    private static final int CONTEXT = 1 << 17;

    private static final String TEMPLATE = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
            + "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>"
            + "\n\n{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ '\n' if not loop.first }}"
            + "<call>{{ c.function.name }}:{{ c.function.arguments | tojson }}</call>{% endfor %}{% endfor %}"
            + "{% if add_generation_prompt %}<assistant>{% endif %}";

    private static final Pattern SCRIPT = Pattern.compile("script:([A-Za-z0-9+/=]+):");

    private static final Pattern CALL = Pattern.compile("<call>([^:]+):");

    private static final String ENDLESS = "<endless>";

    private static final String LONG = "word ".repeat(20_000);

    private AgentServer() {}

    static TestServer start() {
        return TestServer.builder()
                .config(TestServer.config()
                        .allowedHosts(List.of())
                        .maxBodyBytes(16 << 20)
                        .build())
                .context(CONTEXT)
                .template(ChatTemplates.adapted(ChatTemplates.parse(TEMPLATE, null, null, Clock.systemUTC())))
                .script(AgentServer::answer)
                .start();
    }

    /** What the script within a prompt says. */
    static String answer(String prompt) {
        Matcher found = SCRIPT.matcher(prompt);
        String script = "";
        int end = 0;
        while (found.find()) {
            script = found.group(1);
            end = found.end();
        }
        if (script.isEmpty()) {
            return "There is no script.";
        }
        JsonNode answers = Json.read(new String(Base64.getDecoder().decode(script), StandardCharsets.UTF_8));
        int results = prompt.substring(end).split("<tool>", -1).length - 1;
        String answer = answers.path(Math.min(results, answers.size() - 1)).stringValue();
        Matcher call = CALL.matcher(answer);
        boolean isTitle = call.find()
                ? !prompt.contains("[" + call.group(1) + "]")
                : answer.equals(ENDLESS) && !prompt.startsWith("[");
        if (isTitle) {
            return "A test."; // a program asks for a title, without tools
        }
        return answer.replace(ENDLESS, LONG);
    }

    /** Runs the servers. */
    public static void main(String[] arguments) throws IOException {
        ServerConfig limited = TestServer.config()
                .apiKeys(List.of("test requests-per-minute=1"))
                .build();
        try (TestServer ok = start();
                TestServer full = TestServer.builder().config(limited).start();
                QuireServer loading = QuireServer.bind(TestServer.config().build(), new ServerMetrics())) {
            System.out.printf(
                    "{\"ok\": %d, \"full\": %d, \"loading\": %d}%n",
                    ok.server.port(), full.server.port(), loading.port());
            System.out.flush();
            while (System.in.read() >= 0) {
                // until the caller is gone
            }
        }
    }
}
