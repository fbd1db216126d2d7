package quire.server.api;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Finds whom a request is for, before the rest of it is read. */
@FunctionalInterface
public interface UserReader {
    /** In OpenAI's APIs: the first of the two parameters that is there. */
    UserReader OPENAI = body -> {
        for (String name : List.of("user", "safety_identifier")) {
            String user = text(body, name);
            if (user != null) {
                return user;
            }
        }
        return null;
    };

    /** In Anthropic's API. */
    UserReader ANTHROPIC = body -> {
        Fields metadata = body.object("metadata", "an object");
        return metadata == null ? null : text(metadata, "user_id");
    };

    /**
     * Whom the client asks for.
     *
     * @return null if it does not say
     * @throws HttpException 400 if that is no text
     */
    @Nullable
    String user(Fields body);

    private static @Nullable String text(Fields body, String name) {
        JsonNode value = body.get(name);
        return value == null || Fields.isNeutral(value) ? null : Fields.string(value, body.path(name));
    }
}
