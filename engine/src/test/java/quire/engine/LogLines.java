package quire.engine;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import org.jspecify.annotations.Nullable;

/** Collects what is logged under a name, at all levels, until it is closed. */
public final class LogLines extends Handler implements AutoCloseable {
    private final Logger logger;
    private final @Nullable Level before; // null: inherited
    private final List<LogRecord> records = new CopyOnWriteArrayList<>();

    /** Begins to collect. */
    public LogLines(String name) {
        logger = Logger.getLogger(name);
        before = logger.getLevel();
        logger.setLevel(Level.ALL);
        logger.addHandler(this);
    }

    /** Each event: level, message, and {@code with EXCEPTION} if it has a stack trace. */
    public List<String> lines() {
        SimpleFormatter formatter = new SimpleFormatter();
        return records.stream()
                .map(event -> event.getLevel() + " " + formatter.formatMessage(event)
                        + (event.getThrown() == null ? "" : " with " + event.getThrown()))
                .toList();
    }

    @Override
    public void publish(LogRecord event) {
        records.add(event);
    }

    @Override
    public void flush() {}

    @Override
    public void close() {
        logger.removeHandler(this);
        logger.setLevel(before);
    }
}
