package quire.engine.constrain;

import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** Reads JSON for tests, with exact numbers. */
final class Schemas {
    static final JsonMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .build();

    private Schemas() {}

    static Object parse(String json) {
        return JSON.readValue(json, Object.class);
    }

    static Constraint constraint(String schema) {
        return Constraint.jsonSchema(parse(schema));
    }
}
