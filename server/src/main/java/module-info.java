/** OpenAI's JSON in, server-sent events out; metrics and health. */
module quire.server {
    requires static org.jspecify;
    requires transitive quire.engine;
    requires io.vertx.core;
    requires io.vertx.web;
    requires tools.jackson.databind;
    requires micrometer.core;
    requires micrometer.registry.prometheus;

    exports quire.server;
}
