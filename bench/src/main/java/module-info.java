/**
 * Measurements of engines and the output of their results: {@code quire bench}. It uses every other module; no module
 * requires it. The command line finds its command as a service.
 */
module quire.bench {
    requires static org.jspecify;
    requires info.picocli;
    requires quire.cli;
    requires quire.engine;

    provides quire.cli.CommandPlugin with
            quire.bench.BenchCommand;

    opens quire.bench to
            info.picocli;
    opens quire.bench.speculation to
            info.picocli;
}
