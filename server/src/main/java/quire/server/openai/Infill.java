package quire.server.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import quire.server.api.Fields;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
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

    /** What a completion does not have, or has in another way. */
    private static final Set<String> OWN = ParameterTable.ROWS.stream()
            .filter(row -> row.places().contains(Parameter.Place.INFILL))
            .map(Parameter::name)
            .collect(Collectors.toUnmodifiableSet());

    private static final String NO_NAME = "tmp";

    /** @throws HttpException 400 naming a field that is unknown, not supported, missing or of a wrong type */
    static Infill read(Fields body, Parameters parameters) {
        parameters.checkKnown(Parameter.Place.INFILL, body);
        ObjectNode completion = JsonNodeFactory.instance.objectNode();
        for (String name : body.names()) {
            JsonNode value = body.get(name);
            if (value != null && !OWN.contains(name)) {
                completion.set(name, value);
            }
        }
        parameters.check(Parameter.Place.COMPLETIONS, Fields.of(completion, ""));
        JsonNode begun = body.get("prompt");
        completion.put(
                "prompt",
                Fields.string(body.require("input_prefix"), "input_prefix")
                        + (begun == null ? "" : Fields.string(begun, "prompt")));
        completion.put("suffix", Fields.string(body.require("input_suffix"), "input_suffix"));
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
}
