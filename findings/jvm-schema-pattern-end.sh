#!/bin/bash
# In two of four JSON Schema validators for the JVM, "^a$" accepts "a" with a line feed behind it.
#
# JSON Schema's patterns are ECMAScript's: $ is the end of the text. Java's $ also stands before a last line feed, and
# harrel and Vert.x hand the pattern to java.util.regex as it is. So an answer "a\n", which a model likes to write, is
# valid for them and not for json-sKema and networknt. A server that enforces the pattern and a client that checks it
# then disagree.
. "$(dirname "$0")/common.sh"

maven com.github.erosb:json-sKema:0.32.0 io.vertx:vertx-json-schema:5.0.5 dev.harrel:json-schema:1.8.2 \
    com.networknt:json-schema-validator:3.0.9 com.fasterxml.jackson.core:jackson-databind:2.20.1 com.fasterxml.jackson.core:jackson-annotations:2.22
seen=$(java_program End <<'JAVA'
public class End {
    public static void main(String[] args) {
        String schema = "{\"pattern\":\"^a$\"}";
        String value = "\"a\\n\"";
        var parsed = new com.github.erosb.jsonsKema.SchemaLoader(new com.github.erosb.jsonsKema.JsonParser(schema).parse()).load();
        System.out.println("json-sKema " + (com.github.erosb.jsonsKema.Validator.forSchema(parsed)
                .validate(new com.github.erosb.jsonsKema.JsonParser(value).parse()) == null));
        var options = new io.vertx.json.schema.JsonSchemaOptions().setBaseUri("app://test")
                .setDraft(io.vertx.json.schema.Draft.DRAFT202012).setOutputFormat(io.vertx.json.schema.OutputFormat.Flag);
        System.out.println("vertx " + io.vertx.json.schema.Validator
                .create(io.vertx.json.schema.JsonSchema.of(new io.vertx.core.json.JsonObject(schema)), options)
                .validate(io.vertx.core.json.Json.decodeValue(value)).getValid());
        System.out.println("harrel " + new dev.harrel.jsonschema.ValidatorFactory().validate(schema, value).isValid());
        System.out.println("networknt " + com.networknt.schema.SchemaRegistry
                .withDefaultDialect(com.networknt.schema.SpecificationVersion.DRAFT_2020_12).getSchema(schema)
                .validate(value, com.networknt.schema.InputFormat.JSON).isEmpty());
    }
}
JAVA
)
echo "json-sKema 0.32.0, vertx-json-schema 5.0.5, dev.harrel:json-schema 1.8.2, networknt 3.0.9"
same "json-sKema false
vertx true
harrel true
networknt false" "$seen"
