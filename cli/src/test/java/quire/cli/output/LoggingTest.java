package quire.cli.output;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.spi.Configurator;
import ch.qos.logback.core.status.Status;
import java.util.ServiceLoader;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;

class LoggingTest {
    @Test
    void configure_nothingSaid_warnsOnStandardErrorAlone() {
        LoggerContext context = new LoggerContext();

        new Logging().configure(context);

        ch.qos.logback.classic.Logger root = context.getLogger(Logger.ROOT_LOGGER_NAME);
        assertThat(root.getLevel()).isEqualTo(Level.WARN);
        assertThat(root.getAppender("stderr").isStarted()).isTrue();
        assertThat(root.iteratorForAppenders()).toIterable().hasSize(1);
        assertThat(context.getStatusManager().getCopyOfStatusList())
                .noneMatch(status -> status.getLevel() >= Status.WARN); // these Logback would print
    }

    @Test
    void serviceLoader_findsIt() {
        assertThat(ServiceLoader.load(Configurator.class)).anyMatch(configurator -> configurator instanceof Logging);
    }
}
