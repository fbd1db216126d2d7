package quire.server.http;

import io.netty.channel.Channel;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The open connections, and which of them makes room when there are too many: the one that has been idle the longest, of
 * the client with the most connections. A client's idle connection never makes room for a client that has as many or more.
 *
 * <p>A connection that finds no room is surplus: it stays open just long enough for its request to be refused. There are at
 * most {@link #MAX_SURPLUS} of them; the oldest is closed for the next. A connection counts from when it is accepted, so one whose
 * handshake of TLS is not complete is an idle one. Used on the event loop only.
 */
final class Connections {
    /** Connections beyond the limit. */
    static final int MAX_SURPLUS = 64;

    private final int max;
    private final IdentityHashMap<Channel, ClientConnection> all = new IdentityHashMap<>();
    private final Map<String, Integer> clientToAdmitted = new HashMap<>();
    private int admitted;

    /** Admitted connections without a request; the one that became idle first is the first. */
    private final LinkedHashSet<ClientConnection> idle = new LinkedHashSet<>();

    private final LinkedHashSet<ClientConnection> surplus = new LinkedHashSet<>();

    /** @param max connections beside the surplus */
    Connections(int max) {
        this.max = max;
    }

    /** Open connections, surplus included. */
    int size() {
        return all.size();
    }

    /** The connection; null if it is closed. */
    @Nullable
    ClientConnection get(Channel channel) {
        return all.get(channel);
    }

    /** Adds a connection that has opened. */
    void add(Channel channel, ClientConnection client) {
        all.put(channel, client);
        if (makeRoom(client.client())) {
            admit(client);
            idle.add(client);
            return;
        }
        if (surplus.size() == MAX_SURPLUS) {
            ClientConnection oldest = surplus.removeFirst();
            oldest.closeNow();
        }
        surplus.add(client);
    }

    /** Removes a connection that has closed. */
    void remove(Channel channel) {
        ClientConnection client = all.remove(channel);
        if (client != null) {
            client.stopTimer();
            dismiss(client);
        }
    }

    /** A request begins on a connection. Returns false if the connection is surplus: the request must be refused. */
    boolean begin(ClientConnection client) {
        if (surplus.contains(client) && makeRoom(client.client())) {
            surplus.remove(client);
            admit(client);
        }
        idle.remove(client);
        return client.admitted();
    }

    /** A connection has no request any more. */
    void end(ClientConnection client) {
        if (client.admitted()) {
            idle.add(client);
        }
    }

    private boolean makeRoom(String client) {
        if (admitted < max) {
            return true;
        }
        ClientConnection leaving = null;
        int most = 0;
        for (ClientConnection candidate : idle) {
            int count = clientToAdmitted.getOrDefault(candidate.client(), 0);
            if (count > most) {
                leaving = candidate;
                most = count;
            }
        }
        if (leaving == null || (!leaving.client().equals(client) && most <= clientToAdmitted.getOrDefault(client, 0))) {
            return false;
        }
        dismiss(leaving);
        leaving.closeNow();
        return true;
    }

    private void admit(ClientConnection client) {
        admitted++;
        clientToAdmitted.merge(client.client(), 1, Integer::sum);
        client.setAdmitted(true);
    }

    private void dismiss(ClientConnection client) {
        idle.remove(client);
        surplus.remove(client);
        if (client.admitted()) {
            admitted--;
            clientToAdmitted.computeIfPresent(client.client(), (name, count) -> count == 1 ? null : count - 1);
            client.setAdmitted(false);
        }
    }
}
