package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.FinishReason;
import quire.engine.Requests;
import quire.engine.TokenStream;

@Timeout(60)
class ServeFailureTest {
    private static Engine engine(FakeModel model, EngineConfig config) {
        return Engine.of(model, new FakeTokenizer(), null, "fake", config, EngineListener.NONE, System::nanoTime);
    }

    @Test
    void engine_fails_theServerStopsWithItsOwnCodeAfterTheAnswers() throws Exception {
        EngineConfig config = Requests.config(4, 16, 16);
        FakeModel model = FakeModel.fitting(config, 64).onForward(batch -> {
            throw new IllegalStateException("boom");
        });
        CountDownLatch stop = new CountDownLatch(1);
        AtomicInteger exitCode = new AtomicInteger();
        try (Engine engine = engine(model, config)) {
            ServeCommand.stopOnFailure(engine, stop, exitCode);
            TokenStream stream = engine.submit(Requests.of("abc", 5));

            stop.await();

            assertThat(exitCode).hasValue(70);
            assertThat(stream.poll()).isNull();
            assertThat(stream.finish().reason()).isEqualTo(FinishReason.ERROR);
        }
    }

    @ParameterizedTest
    @CsvSource({"'', true", "--exit-on-failure, true", "--no-exit-on-failure, false"})
    void option_anyForm_isRead(String option, boolean expected) {
        CommandLine command = new CommandLine(new ServeCommand()).setCaseInsensitiveEnumValuesAllowed(true);
        command.parseArgs(option.isEmpty() ? new String[0] : new String[] {option});

        boolean value = command.getCommandSpec().findOption("--exit-on-failure").getValue();
        assertThat(value).isEqualTo(expected);
    }

    @Test
    void engine_closed_isNoFailure() throws Exception {
        EngineConfig config = Requests.config(4, 16, 16);
        Engine engine = engine(FakeModel.fitting(config, 64), config);
        engine.close();

        assertThat(engine.awaitEnd()).isNull();
    }
}
