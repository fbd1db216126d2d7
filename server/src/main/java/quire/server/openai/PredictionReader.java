package quire.server.openai;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import quire.model.text.Tokenizer;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Reads OpenAI's {@code prediction}: a text that the answer probably repeats in parts. */
final class PredictionReader {
    private PredictionReader() {}

    /**
     * The tokens of the predicted text; empty for none.
     *
     * @param most tokens beyond it are left out, because no answer reaches them
     */
    static int[] read(Fields body, Tokenizer tokenizer, int most) {
        JsonNode value = body.get("prediction");
        if (value == null || (!value.isObject() && Fields.isNeutral(value))) {
            return new int[0];
        }
        if (!value.isObject()) {
            throw Fields.wrongType("prediction", "an object", value);
        }
        if (value.isEmpty()) {
            throw HttpException.invalid(
                    "prediction", "invalid_value", "'prediction' is empty: it needs 'type' and 'content'.");
        }
        Fields prediction = Fields.of(value, "prediction");
        String type = Fields.string(prediction.require("type"), "prediction.type");
        if (!type.equals("content")) {
            throw HttpException.unsupported(
                    "prediction.type", "'prediction.type' is \"" + type + "\"; it must be \"content\".");
        }
        int[] tokens = tokenizer.encode(text(prediction), false, false);
        return tokens.length > most ? Arrays.copyOf(tokens, most) : tokens;
    }

    /** A text, or the texts of its parts one after the other. */
    private static String text(Fields prediction) {
        JsonNode content = prediction.require("content");
        if (content.isString()) {
            return Fields.string(content, "prediction.content");
        }
        StringBuilder text = new StringBuilder();
        prediction.forEach("content", "a string or an array of text parts", (element, path) -> {
            Fields part = Fields.of(element, path);
            @Nullable String type = part.string("type");
            if (!"text".equals(type)) {
                throw HttpException.unsupported(path + ".type", "'" + path + ".type' must be \"text\".");
            }
            text.append(Fields.string(part.require("text"), path + ".text"));
        });
        return text.toString();
    }
}
