package quire.server;

import java.util.List;

/** A server whose model answers the questions of LangChain4j's conformance kits by a script. */
final class LangChainServer {
    /** The other name of the model. */
    static final String OTHER_NAME = "other";

    private LangChainServer() {}

    static TestServer start() {
        return TestServer.builder()
                .config(TestServer.config().aliases(List.of(OTHER_NAME)).build())
                .context(4096)
                .template(ToolsTest.template())
                .script(LangChainServer::answer)
                .start();
    }

    /** The kits ask some questions with and without a schema, so these answers are JSON in both cases. */
    private static String answer(String prompt) {
        if (prompt.contains("<tool>sunny<tool>14:35")) {
            return "It is sunny in Munich and 14:35 in France.";
        }
        if (prompt.contains("<tool>sunny")) {
            return "{\"weather\": \"sunny\"}";
        }
        if (prompt.contains("<tool>10:14")) {
            return "It is 10:14.";
        }
        if (prompt.contains("time in France")) {
            return call("getWeather", "{\"city\":\"Munich\"}") + "\n" + call("getTime", "{\"country\":\"France\"}");
        }
        if (prompt.contains("get_current_time tool")) {
            return call("get_current_time", "{}");
        }
        if (prompt.contains("weather in Munich") || prompt.contains("live in Munich")) {
            return call("getWeather", "{\"city\":\"Munich\"}");
        }
        if (prompt.contains("I love you")) {
            return "Ich liebe dich";
        }
        if (prompt.contains("favorite color?")) {
            return "Your favorite color is green.";
        }
        if (prompt.contains("Hello World")) {
            return "Hello World";
        }
        if (prompt.contains("story")) {
            return "Once upon a time there was a fox. ".repeat(40);
        }
        return "{\"city\": \"Berlin\"}";
    }

    private static String call(String name, String arguments) {
        return "<tool_call>{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}</tool_call>";
    }
}
