package quire.cli.command;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import picocli.CommandLine;
import quire.engine.Engine;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;

/**
 * {@code serve} with a fake model that waits: its loading ends with the first line on standard input, its first step
 * with the second. {@code broken} as the first line makes loading fail, and {@code fail} as the second one the step.
 */
final class GatedServe {
    private static final BufferedReader IN =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private GatedServe() {}

    private static String line() {
        try {
            String line = IN.readLine();
            if (line == null) {
                Runtime.getRuntime().halt(1); // the test has died, and nobody else would end this process
            }
            return String.valueOf(line);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public static void main(String[] args) {
        CountDownLatch steps = new CountDownLatch(1);
        AtomicBoolean failing = new AtomicBoolean();
        ServeCommand serve = new ServeCommand((file, config, listener) -> {
            listener.onLoad("fake", 43, 100);
            if (line().equals("broken")) {
                throw new IllegalArgumentException("the model is broken");
            }
            Thread.ofPlatform().daemon().start(() -> {
                failing.set(line().equals("fail"));
                steps.countDown();
            });
            FakeModel model = FakeModel.fitting(config, 512).onForward(batch -> {
                try {
                    steps.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
                if (failing.get()) {
                    throw new IllegalStateException("failed on purpose");
                }
            });
            return Engine.of(model, new FakeTokenizer(), null, "fake", config, listener, System::nanoTime);
        });
        System.exit(new CommandLine(serve)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setExecutionExceptionHandler((e, command, parsed) -> {
                    System.err.println("quire: " + e.getMessage());
                    return CommandLine.ExitCode.SOFTWARE;
                })
                .execute(args));
    }
}
