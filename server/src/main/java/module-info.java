/** The HTTP server in front of an engine. */
module quire.server {
    requires static org.jspecify;
    requires com.h2database.mvstore;
    requires transitive quire.engine;
    requires io.netty.buffer;
    requires io.netty.codec;
    requires io.netty.codec.http;
    requires io.netty.common;
    requires io.netty.transport;
    requires transitive io.opentelemetry.api;
    requires io.opentelemetry.context;
    requires io.vertx.core;
    requires tools.jackson.databind;

    exports quire.server;
    exports quire.server.batch to
            quire.cli;
}
