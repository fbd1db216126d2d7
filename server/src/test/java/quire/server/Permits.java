package quire.server;

/** Lets the engine's steps go on when a test ends, failed or not: a server whose engine waits for a permit cannot be closed. */
@FunctionalInterface
interface Permits extends AutoCloseable {
    @Override
    void close();
}
