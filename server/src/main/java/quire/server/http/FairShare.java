package quire.server.http;

import java.util.HashMap;
import java.util.Map;

/**
 * A limited amount of something (bytes, places) that clients share.
 *
 * <p>A client may take more only while it has no more than what would still be free. So one client alone gets about half,
 * two get a third each, and a client that has nothing yet always finds something. Not safe for use by several threads at
 * once.
 */
public final class FairShare {
    private final long total;
    private final Map<String, Long> clientToTaken = new HashMap<>();
    private long taken;

    /** @param total what all clients together may take, at least 1 */
    public FairShare(long total) {
        if (total < 1) {
            throw new IllegalArgumentException("a share of " + total + ": must be at least 1");
        }
        this.total = total;
    }

    /**
     * Takes an amount for a client.
     *
     * @param amount at least 1
     * @return whether it was taken; false if the client has too much already, or if there is too little left
     */
    public boolean take(String client, long amount) {
        long mine = takenBy(client);
        if (amount > total - taken - mine) {
            return false;
        }
        clientToTaken.put(client, mine + amount);
        taken += amount;
        return true;
    }

    /**
     * Gives an amount back.
     *
     * @throws IllegalArgumentException if the client has not taken as much
     */
    public void give(String client, long amount) {
        long left = takenBy(client) - amount;
        if (amount < 0 || left < 0) {
            throw new IllegalArgumentException(client + " gives back " + amount + " of " + takenBy(client));
        }
        if (left == 0) {
            clientToTaken.remove(client);
        } else {
            clientToTaken.put(client, left);
        }
        taken -= amount;
    }

    /** What all clients have taken. */
    public long taken() {
        return taken;
    }

    /** What a client has taken. */
    long takenBy(String client) {
        return clientToTaken.getOrDefault(client, 0L);
    }
}
