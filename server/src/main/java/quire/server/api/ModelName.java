package quire.server.api;

import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.json.JsonFactory;

/** Finds the name of the model in a request's body, before it is known which model reads the rest. */
public final class ModelName {
    private static final JsonFactory FACTORY = new JsonFactory();

    private ModelName() {}

    /**
     * The text of the first of these members that the body has; null if it has none. Time grows with the size of the body,
     * since the member may be its last.
     *
     * @param members such as {@code model}
     * @throws quire.server.http.HttpException 400 if the body is no JSON object, or the member is no text
     */
    public static @Nullable String of(byte[] body, List<String> members) {
        try (JsonParser parser = FACTORY.createParser(ObjectReadContext.empty(), body)) {
            if (parser.nextToken() == JsonToken.START_OBJECT) {
                String found = null;
                int best = members.size();
                while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
                    int member = members.indexOf(parser.currentName());
                    JsonToken value = parser.nextToken();
                    if (member < 0) {
                        parser.skipChildren();
                    } else if (value == JsonToken.VALUE_STRING) {
                        found = member < best ? parser.getString() : found;
                        best = Math.min(best, member);
                        if (best == 0) {
                            return found;
                        }
                    } else if (value != JsonToken.VALUE_NULL) {
                        return checked(body, members);
                    }
                }
                return found;
            }
        } catch (JacksonException e) {
            return checked(body, members);
        }
        return checked(body, members);
    }

    /** The same by the reader of requests, which says what is wrong. */
    private static @Nullable String checked(byte[] body, List<String> members) {
        Fields fields = Fields.parse(body);
        for (String member : members) {
            String text = fields.string(member);
            if (text != null) {
                return text;
            }
        }
        return null;
    }
}
