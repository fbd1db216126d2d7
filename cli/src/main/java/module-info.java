/** The command line. */
module quire.cli {
    requires static org.jspecify;
    requires quire.server;
    requires info.picocli;
    requires org.jline;
    requires tools.jackson.databind;

    exports quire.cli;

    opens quire.cli to
            info.picocli;
}
