/** The command line. */
module quire.cli {
    requires static org.jspecify;
    requires quire.server;
    requires info.picocli;
    requires org.jline;
    requires tools.jackson.databind;
    requires ch.qos.logback.classic;
    requires ch.qos.logback.core;
    requires org.slf4j;

    provides ch.qos.logback.classic.spi.Configurator with
            quire.cli.Logging;

    exports quire.cli;

    opens quire.cli to
            info.picocli;
}
