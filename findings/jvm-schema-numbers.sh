#!/bin/bash
# Two of four JSON Schema validators for the JVM compare numbers as doubles, so a bound lets its neighbour pass.
#
# An answer that a model gave under a schema is often checked again by a validator. With "maximum": 2^53, json-sKema and
# Vert.x accept 2^53 + 1, and with "exclusiveMaximum": 1 they refuse 0.99999999999999999999. 1 and 1.0 are the same item
# for "uniqueItems", but not for json-sKema. A tool's 64-bit identifiers and amounts of money are such numbers.
# networknt and harrel compare exactly.
. "$(dirname "$0")/common.sh"

maven com.github.erosb:json-sKema:0.32.0 io.vertx:vertx-json-schema:5.0.5 dev.harrel:json-schema:1.8.2 \
    com.networknt:json-schema-validator:3.0.9 com.fasterxml.jackson.core:jackson-databind:2.20.1 com.fasterxml.jackson.core:jackson-annotations:2.22
seen=$(java_program Numbers <<'JAVA'
import io.vertx.core.json.Json;
import io.vertx.core.json.JsonObject;

public class Numbers {
    static boolean jsonSkema(String schema, String value) {
        var parsed = new com.github.erosb.jsonsKema.SchemaLoader(new com.github.erosb.jsonsKema.JsonParser(schema).parse()).load();
        return com.github.erosb.jsonsKema.Validator.forSchema(parsed)
                .validate(new com.github.erosb.jsonsKema.JsonParser(value).parse()) == null;
    }

    static boolean vertx(String schema, String value) {
        var options = new io.vertx.json.schema.JsonSchemaOptions().setBaseUri("app://test")
                .setDraft(io.vertx.json.schema.Draft.DRAFT202012).setOutputFormat(io.vertx.json.schema.OutputFormat.Flag);
        return io.vertx.json.schema.Validator.create(io.vertx.json.schema.JsonSchema.of(new JsonObject(schema)), options)
                .validate(Json.decodeValue(value)).getValid();
    }

    static boolean harrel(String schema, String value) {
        return new dev.harrel.jsonschema.ValidatorFactory().validate(schema, value).isValid();
    }

    static boolean networknt(String schema, String value) {
        return com.networknt.schema.SchemaRegistry
                .withDefaultDialect(com.networknt.schema.SpecificationVersion.DRAFT_2020_12).getSchema(schema)
                .validate(value, com.networknt.schema.InputFormat.JSON).isEmpty();
    }

    public static void main(String[] args) {
        String[][] cases = {{"{\"maximum\":9007199254740992}", "9007199254740993", "false"},
                {"{\"exclusiveMaximum\":1}", "0.99999999999999999999", "true"}, {"{\"uniqueItems\":true}", "[1,1.0]", "false"}};
        for (var c : cases) {
            System.out.printf("%s %s right=%s json-sKema=%b vertx=%b harrel=%b networknt=%b%n", c[0], c[1], c[2],
                    jsonSkema(c[0], c[1]), vertx(c[0], c[1]), harrel(c[0], c[1]), networknt(c[0], c[1]));
        }
    }
}
JAVA
)
echo "json-sKema 0.32.0, vertx-json-schema 5.0.5, dev.harrel:json-schema 1.8.2, networknt 3.0.9"
same '{"maximum":9007199254740992} 9007199254740993 right=false json-sKema=true vertx=true harrel=false networknt=false
{"exclusiveMaximum":1} 0.99999999999999999999 right=true json-sKema=false vertx=false harrel=true networknt=true
{"uniqueItems":true} [1,1.0] right=false json-sKema=true vertx=false harrel=false networknt=false' "$seen"
