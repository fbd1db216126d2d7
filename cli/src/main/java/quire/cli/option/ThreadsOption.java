package quire.cli.option;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** The number of worker threads. */
public final class ThreadsOption {
    /** Far more threads than a machine has cores would only wait for each other. */
    private static final int MAX = 1024;

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    private int count = Runtime.getRuntime().availableProcessors();

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "Worker threads, 1 to " + MAX + " (default: one for each core).")
    @SuppressWarnings("UnusedMethod") // picocli calls it
    private void choose(int number) {
        Range.check(command, "--threads", number, 1, MAX);
        int processors = Runtime.getRuntime().availableProcessors();
        if (number > processors) {
            command.commandLine()
                    .getErr()
                    .println("warning: --threads " + number + " is more than the " + processors
                            + " processors that Java may use here: threads will wait for each other");
        }
        count = number;
    }

    /** Number of worker threads. */
    public int count() {
        return count;
    }
}
