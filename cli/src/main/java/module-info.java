/** The command line. Other modules add commands to it as services: {@link quire.cli.CommandPlugin}. */
module quire.cli {
    requires static org.jspecify;
    requires java.net.http;
    requires quire.server;
    requires io.opentelemetry.sdk;
    requires io.opentelemetry.sdk.autoconfigure;
    requires info.picocli;
    requires org.jline;
    requires tools.jackson.databind;
    requires ch.qos.logback.classic;
    requires ch.qos.logback.core;
    requires org.slf4j;

    uses quire.cli.CommandPlugin;

    provides ch.qos.logback.classic.spi.Configurator with
            quire.cli.output.Logging;

    exports quire.cli;
    exports quire.cli.option to
            quire.bench;
    exports quire.cli.output to
            quire.bench;

    opens quire.cli to
            info.picocli;
    opens quire.cli.command to
            info.picocli;
    opens quire.cli.option to
            info.picocli;
}
