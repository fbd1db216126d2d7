package quire.server.http;

import io.netty.channel.Channel;
import java.util.Comparator;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * The open connections, and which of them makes room when there are too many: the one that has been idle the longest, of
 * the client with the most connections. A client's idle connection never makes room for a client that has as many or more.
 *
 * <p>A connection that finds no room is surplus: it stays open just long enough for its request to be refused. There are at
 * most {@link #MAX_SURPLUS} of them; the oldest is closed for the next. A connection counts from when it is accepted, so one whose
 * handshake of TLS is not complete is an idle one.
 *
 * <p>A new connection beyond the limit costs O(log clients), however many are idle: a client that opens connections in a
 * loop must not fill the event loop. Used on the event loop only.
 */
final class Connections {
    /** Connections beyond the limit. */
    static final int MAX_SURPLUS = 64;

    private final int max;
    private final IdentityHashMap<Channel, ClientConnection> all = new IdentityHashMap<>();
    private final Map<String, Client> clients = new HashMap<>(); // those with admitted connections
    private int admitted;
    private long idleNumber; // counts how often a connection became idle

    /** The clients with idle connections; the one that makes room is the first. */
    private final TreeSet<Client> withIdle = new TreeSet<>(
            Comparator.comparingInt((Client client) -> -client.admitted).thenComparing(Client::longestIdle));

    private final LinkedHashSet<ClientConnection> surplus = new LinkedHashSet<>();

    /** The admitted connections of a client. */
    private static final class Client {
        private int admitted;

        /** Connections without a request, with the number of the time when they became idle; the first is the oldest. */
        private final LinkedHashMap<ClientConnection, Long> idle = new LinkedHashMap<>();

        private Long longestIdle() {
            return idle.firstEntry().getValue();
        }
    }

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
            end(client);
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
        Client owner = clients.get(client.client());
        if (client.admitted() && owner != null) {
            change(owner, () -> owner.idle.remove(client));
        }
        return client.admitted();
    }

    /** A connection has no request any more. */
    void end(ClientConnection client) {
        Client owner = clients.get(client.client());
        if (client.admitted() && owner != null) {
            change(owner, () -> owner.idle.putIfAbsent(client, idleNumber++));
        }
    }

    private boolean makeRoom(String client) {
        if (admitted < max) {
            return true;
        }
        if (withIdle.isEmpty()) {
            return false;
        }
        Client most = withIdle.first();
        Client asking = clients.get(client);
        if (most != asking && asking != null && most.admitted <= asking.admitted) {
            return false;
        }
        ClientConnection leaving = most.idle.firstEntry().getKey();
        dismiss(leaving);
        leaving.closeNow();
        return true;
    }

    private void admit(ClientConnection client) {
        admitted++;
        Client owner = clients.computeIfAbsent(client.client(), name -> new Client());
        change(owner, () -> owner.admitted++);
        client.setAdmitted(true);
    }

    private void dismiss(ClientConnection client) {
        surplus.remove(client);
        Client owner = clients.get(client.client());
        if (client.admitted() && owner != null) {
            change(owner, () -> {
                owner.idle.remove(client);
                owner.admitted--;
            });
            if (owner.admitted == 0) {
                clients.remove(client.client());
            }
            admitted--;
            client.setAdmitted(false);
        }
    }

    /** Changes the counts of a client, and its place among those with idle connections. */
    private void change(Client client, Runnable change) {
        if (!client.idle.isEmpty()) {
            withIdle.remove(client); // a tree does not find what has changed
        }
        change.run();
        if (!client.idle.isEmpty()) {
            withIdle.add(client);
        }
    }
}
