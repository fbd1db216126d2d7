package quire.server;

/** Lets the engine run on when a test ends, passed or failed: a server cannot close while a step waits for a permit. */
@FunctionalInterface
interface Permits extends AutoCloseable {
    @Override
    void close();
}
