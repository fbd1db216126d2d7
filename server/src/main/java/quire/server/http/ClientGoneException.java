package quire.server.http;

/** The client has closed its connection, so nobody can receive the answer. */
public final class ClientGoneException extends Exception {
    private static final long serialVersionUID = 1;

    ClientGoneException() {
        super("the client has closed its connection", null, false, false);
    }
}
