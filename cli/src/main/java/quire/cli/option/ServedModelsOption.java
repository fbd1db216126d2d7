package quire.cli.option;

import java.time.Duration;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import quire.server.ModelSet;

/** Several models of a server, and when they are loaded and unloaded. */
public final class ServedModelsOption extends ModelsOption {
    /** A day. */
    private static final int MAX_SECONDS = 24 * 3600;

    @Option(
            names = "--memory",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            description = "With --models: memory that all loaded models together may take beside the Java heap, such as"
                    + " 24GiB (default: what the machine has when the server starts).")
    private @Nullable Long memory;

    @Option(
            names = "--unload-idle",
            paramLabel = "SECONDS",
            description = "With --models: how long a model that nobody uses stays loaded; 0 for as long as no other one"
                    + " needs its memory (default 300).")
    private @Nullable Integer idleSeconds;

    @Option(
            names = "--load-wait",
            paramLabel = "SECONDS",
            description =
                    "With --models: how long a request waits until its model is loaded; then it is answered with 503"
                            + " and a time to try again (default 120).")
    private @Nullable Integer waitSeconds;

    /**
     * Refuses the options for several models where there is one.
     *
     * @throws ParameterException naming the option
     */
    public void checkUnused() {
        String name = memory != null ? "--memory" : idleSeconds != null ? "--unload-idle" : "--load-wait";
        if (memory != null || idleSeconds != null || waitSeconds != null) {
            throw fault(name + " has no effect without --models DIR|FILE: name the models, or leave it out");
        }
    }

    /**
     * The models, planned.
     *
     * @throws ParameterException if an option or the file is wrong, a model cannot be used, or one does not fit
     */
    public ModelSet set() {
        int idle = idleSeconds == null ? 300 : idleSeconds;
        int wait = waitSeconds == null ? 120 : waitSeconds;
        Range.check(command(), "--unload-idle", idle, 0, MAX_SECONDS);
        Range.check(command(), "--load-wait", wait, 1, MAX_SECONDS);
        return set(memory, Duration.ofSeconds(idle), Duration.ofSeconds(wait));
    }
}
