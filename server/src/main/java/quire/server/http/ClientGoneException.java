package quire.server.http;

/** The client has left: there is no one to answer. */
public final class ClientGoneException extends Exception {
    private static final long serialVersionUID = 1;

    ClientGoneException() {
        super("the client is gone", null, false, false);
    }
}
