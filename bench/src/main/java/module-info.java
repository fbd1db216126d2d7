/**
 * Measurements of engines and the output of their results: {@code quire bench}. It uses every other module; no module
 * requires it. The command line finds its command as a service.
 */
module quire.bench {
    requires static org.jspecify;
    requires info.picocli;
    requires java.management; // the options of this JVM, for child processes
    requires jdk.management; // processor time
    requires quire.cli;
    requires quire.engine;

    provides quire.cli.CommandPlugin with
            quire.bench.BenchCommand;

    opens quire.bench to
            info.picocli;
    opens quire.bench.agents to
            info.picocli;
    opens quire.bench.attack to
            info.picocli;
    opens quire.bench.client to
            info.picocli;
    opens quire.bench.compare to
            info.picocli;
    opens quire.bench.constraints to
            info.picocli;
    opens quire.bench.files to
            info.picocli;
    opens quire.bench.overload to
            info.picocli;
    opens quire.bench.prefix to
            info.picocli;
    opens quire.bench.reproduce to
            info.picocli;
    opens quire.bench.speculation to
            info.picocli;
}
