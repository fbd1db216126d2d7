package quire.cli.output;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.PatternLayout;
import ch.qos.logback.classic.spi.Configurator;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.ConsoleAppender;
import ch.qos.logback.core.encoder.LayoutWrappingEncoder;
import ch.qos.logback.core.spi.ContextAwareBase;
import org.slf4j.Logger;
import quire.cli.option.OptionNames;

/**
 * Configures Logback: one line for each event on standard error, from the level in the system property {@value #LEVEL}.
 * This is a class and not a {@code logback.xml}, because reading the file takes 0.3 s at every start. Logback finds the
 * class as a service. A file named by {@code -Dlogback.configurationFile} replaces this configuration.
 */
public final class Logging extends ContextAwareBase implements Configurator {
    /** System property with the lowest level that is logged; WARN if it is not set. */
    public static final String LEVEL = "quire.log";

    private static final String FILE = "logback.configurationFile";

    /** For Logback. */
    public Logging() {}

    @Override
    public ExecutionStatus configure(LoggerContext context) {
        if (System.getProperty(FILE) != null) {
            return ExecutionStatus.INVOKE_NEXT_IF_ANY;
        }
        Lines lines = new Lines();
        lines.setContext(context);
        lines.setPattern("%d{HH:mm:ss.SSS} %-5level %logger{0}: %msg%n");
        lines.start();
        LayoutWrappingEncoder<ILoggingEvent> encoder = new LayoutWrappingEncoder<>();
        encoder.setContext(context);
        encoder.setLayout(lines);
        encoder.start();
        ConsoleAppender<ILoggingEvent> appender = new ConsoleAppender<>();
        appender.setContext(context);
        appender.setName("stderr");
        appender.setTarget("System.err");
        appender.setEncoder(encoder);
        appender.start();
        ch.qos.logback.classic.Logger root = context.getLogger(Logger.ROOT_LOGGER_NAME);
        root.setLevel(Level.toLevel(System.getProperty(LEVEL), Level.WARN));
        root.addAppender(appender);
        context.getLogger("io.netty").setLevel(Level.WARN);
        context.getLogger("io.vertx").setLevel(Level.WARN);
        return ExecutionStatus.DO_NOT_INVOKE_NEXT_IF_ANY;
    }

    /** Names settings as the command line does. A stack trace keeps the names of the source code. */
    private static final class Lines extends PatternLayout {
        @Override
        public String doLayout(ILoggingEvent event) {
            String line = super.doLayout(event);
            return event.getThrowableProxy() == null ? OptionNames.in(line) : line;
        }
    }
}
