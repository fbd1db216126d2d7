package quire.cli.output;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.spi.Configurator;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.util.LogbackMDCAdapter;
import ch.qos.logback.core.ConsoleAppender;
import ch.qos.logback.core.status.Status;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
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
    void line_settingOfTheEngine_isNamedAsItsOption() {
        LoggerContext context = new LoggerContext();
        context.setMDCAdapter(new LogbackMDCAdapter()); // events need one
        new Logging().configure(context);
        ch.qos.logback.classic.Logger logger = context.getLogger("quire.engine");
        ConsoleAppender<ILoggingEvent> appender = (ConsoleAppender<ILoggingEvent>)
                context.getLogger(Logger.ROOT_LOGGER_NAME).getAppender("stderr");
        ByteArrayOutputStream lines = new ByteArrayOutputStream();
        appender.setOutputStream(lines);

        logger.warn("{} is too small", "kvCacheBytes");

        assertThat(lines.toString(StandardCharsets.UTF_8)).endsWith(" WARN  engine: --kv-cache is too small\n");
    }

    @Test
    void serviceLoader_findsIt() {
        assertThat(ServiceLoader.load(Configurator.class)).anyMatch(configurator -> configurator instanceof Logging);
    }
}
