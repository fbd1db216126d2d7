package quire.cli.command;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import picocli.CommandLine;
import quire.engine.Engine;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;

/**
 * {@code batch} with a fake model. The first argument is the number of steps that the model computes: at the next one it
 * prints {@code waiting} and waits until the process is killed. 0 lets it go on to the end.
 */
final class GatedBatch {
    private GatedBatch() {}

    /** The command with the model. */
    static CommandLine command(int steps) {
        AtomicInteger step = new AtomicInteger();
        AtomicBoolean loaded = new AtomicBoolean(); // the engine measures steps before
        BatchCommand batch = new BatchCommand((file, config, listener) -> {
            FakeModel model = FakeModel.fitting(config, 512).onForward(forward -> {
                if (loaded.get() && step.incrementAndGet() == steps) {
                    System.out.println("waiting");
                    try {
                        new CountDownLatch(1).await();
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                }
            });
            Engine engine = Engine.of(model, new FakeTokenizer(), null, "fake", config, listener, System::nanoTime);
            loaded.set(true);
            return engine;
        });
        return new CommandLine(batch)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler((e, rejected) -> {
                    System.err.println("quire: " + e.getMessage());
                    return CommandLine.ExitCode.USAGE;
                })
                .setExecutionExceptionHandler((e, command, parsed) -> {
                    System.err.println("quire: " + e.getMessage());
                    return CommandLine.ExitCode.SOFTWARE;
                });
    }

    public static void main(String[] args) {
        String[] rest = new String[args.length - 1];
        System.arraycopy(args, 1, rest, 0, rest.length);
        System.exit(command(Integer.parseInt(args[0])).execute(rest));
    }
}
