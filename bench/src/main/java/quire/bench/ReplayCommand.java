package quire.bench;

import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;
import quire.cli.option.FilePath;
import quire.engine.Engine;
import quire.engine.ReplayedTrace;

/** The command {@code quire bench replay}: the decisions of a recorded server, made again. */
@Command(
        name = "replay",
        mixinStandardHelpOptions = true,
        description = {
            "Give the scheduler what it got in a trace of serve --trace FILE, and compare what it decides.",
            "Needs no model. Fails at the first decision that is not as recorded."
        })
public final class ReplayCommand implements Callable<Integer> {
    @Parameters(paramLabel = "FILE", converter = FilePath.class, description = "The trace.")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private Path file;

    @Override
    public Integer call() {
        ReplayedTrace replayed = Engine.replayTrace(file);
        String difference = replayed.difference();
        System.out.println(replayed.requests() + " requests, " + replayed.steps() + " steps and "
                + replayed.preemptions() + " preemptions are decided as recorded");
        if (difference != null) {
            System.out.println("the first difference: " + difference);
        } else if (!replayed.isWhole()) {
            System.out.println("the trace ends in the middle of a record, because its server was killed");
        }
        return difference == null ? 0 : 1;
    }
}
