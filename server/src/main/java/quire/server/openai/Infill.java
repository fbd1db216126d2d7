package quire.server.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A request of llama.cpp's {@code /infill}, which editors send: fill the gap between two texts, knowing some other texts.
 *
 * @param completion the same as a body of {@code /v1/completions}, without the other texts
 * @param others texts of other files; the last ones are the most important
 */
record Infill(Fields completion, List<Other> others) {
    /** A text of another file. */
    record Other(String name, String text) {}

    private static final Set<String> OWN = Set.of("input_prefix", "input_suffix", "input_extra", "prompt");

    /** Limits of time, and what the answer's text does not depend on in the form that editors send it. */
    private static final Set<String> WITHOUT_EFFECT =
            Set.of("n_indent", "samplers", "t_max_prompt_ms", "t_max_predict_ms", "response_fields");

    private static final String NO_NAME = "tmp";

    /** @throws HttpException 400 naming a field that is missing or has a wrong type */
    static Infill read(Fields body) {
        ObjectNode completion = JsonNodeFactory.instance.objectNode();
        for (String name : body.names()) {
            JsonNode value = body.get(name);
            if (value != null && !OWN.contains(name) && !WITHOUT_EFFECT.contains(name)) {
                completion.set(name, value);
            }
        }
        JsonNode begun = body.get("prompt");
        completion.put(
                "prompt",
                Fields.string(body.require("input_prefix"), "input_prefix")
                        + (begun == null ? "" : Fields.string(begun, "prompt")));
        completion.put("suffix", Fields.string(body.require("input_suffix"), "input_suffix"));
        refuse(body, "n");
        refuse(body, "best_of");
        refuse(body, "logprobs");
        refuse(body, "prompt_logprobs");
        List<Other> others = new ArrayList<>();
        JsonNode extra = body.get("input_extra");
        if (extra != null && !Fields.isNeutral(extra)) {
            body.forEach("input_extra", "an array of objects with 'text' and 'filename'", (element, path) -> {
                Fields other = Fields.of(element, path);
                String name = other.string("filename");
                others.add(
                        new Other(name == null ? NO_NAME : name, Fields.string(other.require("text"), path + ".text")));
            });
        }
        return new Infill(Fields.of(completion, ""), others);
    }

    private static void refuse(Fields body, String name) {
        JsonNode value = body.get(name);
        boolean isOne = value != null && value.isNumber() && value.doubleValue() == 1;
        if (value != null && !Fields.isNeutral(value) && (!isOne || name.endsWith("logprobs"))) {
            throw HttpException.unsupported(
                    name, "'" + name + "' is not supported by /infill. Instead, send 'suffix' to /v1/completions.");
        }
    }
}
