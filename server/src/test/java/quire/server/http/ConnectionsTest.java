package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import io.netty.channel.embedded.EmbeddedChannel;
import io.vertx.core.Vertx;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

class ConnectionsTest {
    private static final int HISTORIES = 200;

    private static final Vertx VERTX = Vertx.vertx();
    private static final Timers TIMERS = Timers.of(VERTX);
    private static final HttpSettings SETTINGS = new HttpSettings(
            "localhost",
            0,
            null,
            null,
            null,
            List.of(),
            List.of(),
            List.of(),
            false,
            1,
            1,
            1,
            Duration.ZERO,
            1,
            Duration.ofSeconds(1),
            Duration.ofSeconds(1),
            Duration.ZERO);

    @AfterAll
    static void close() {
        VERTX.close().toCompletionStage().toCompletableFuture().join();
    }

    /** The rules as directly as they are said decide the same, whatever comes. */
    @Test
    void randomHistories_anyClients_roomIsMadeByTheRules() {
        long closed = 0;
        long refused = 0;
        long promoted = 0;
        for (long seed = 0; seed < HISTORIES; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int max = 1 + random.nextInt(12);
            int clients = 1 + random.nextInt(5);
            Connections connections = new Connections(max);
            Rules rules = new Rules(max);
            for (int event = 0; event < 150; event++) {
                if (rules.open.isEmpty() || random.nextInt(8) < 3) {
                    Tracked opened = new Tracked(random.nextInt(clients), connections);
                    connections.add(opened.channel, opened.connection);
                    rules.add(opened);
                }
                Tracked any = rules.open.get(random.nextInt(rules.open.size()));
                switch (random.nextInt(8)) {
                    case 0, 1 -> {
                        boolean wasSurplus = any.surplus;
                        boolean admitted = connections.begin(any.connection);
                        rules.begin(any);
                        assertThat(admitted).isEqualTo(any.admitted);
                        refused += admitted ? 0 : 1;
                        promoted += wasSurplus && admitted ? 1 : 0;
                    }
                    case 2, 3 -> {
                        connections.end(any.connection);
                        rules.end(any);
                    }
                    case 4 -> {
                        connections.remove(any.channel);
                        rules.remove(any);
                    }
                    default -> {}
                }
                for (Tracked each : List.copyOf(rules.open)) {
                    assertThat(each.connection.admitted())
                            .as("seed %d, event %d", seed, event)
                            .isEqualTo(each.admitted);
                    assertThat(each.channel.isOpen())
                            .as("seed %d, event %d", seed, event)
                            .isEqualTo(each.admitted || each.surplus);
                    if (!each.channel.isOpen()) {
                        connections.remove(each.channel);
                        rules.remove(each);
                        closed++;
                    }
                }
                assertThat(connections.size()).isEqualTo(rules.open.size());
            }
        }
        assertThat(closed).isGreaterThan(5 * HISTORIES);
        assertThat(refused).isGreaterThan(HISTORIES);
        assertThat(promoted).isGreaterThan(HISTORIES / 5);
    }

    /** A channel from the client 10.0.0.n that only notes that it was closed. */
    private static final class TestChannel extends EmbeddedChannel {
        private final @Nullable SocketAddress remote;

        TestChannel(int client) {
            try {
                remote = new InetSocketAddress(InetAddress.getByAddress(new byte[] {10, 0, 0, (byte) client}), 1);
            } catch (UnknownHostException e) {
                throw new AssertionError(e);
            }
        }

        @Override
        protected @Nullable SocketAddress remoteAddress0() {
            return remote;
        }
    }

    /** A connection beside what the rules say about it. */
    private static final class Tracked {
        private final TestChannel channel;
        private final int client;
        private final ClientConnection connection;
        private boolean admitted;
        private boolean surplus;

        Tracked(int client, Connections connections) {
            this.client = client;
            channel = new TestChannel(client);
            connection = new ClientConnection(
                    VERTX.getOrCreateContext(), TIMERS, channel, connections, new Pauses(TIMERS), SETTINGS);
        }
    }

    /** The rules of {@link Connections}, as directly as they are said. */
    private static final class Rules {
        private final int max;
        private final List<Tracked> open = new ArrayList<>();
        private final LinkedHashSet<Tracked> idle = new LinkedHashSet<>();
        private final LinkedHashSet<Tracked> surplus = new LinkedHashSet<>();

        Rules(int max) {
            this.max = max;
        }

        private long admitted() {
            return open.stream().filter(each -> each.admitted).count();
        }

        private long admitted(int client) {
            return open.stream()
                    .filter(each -> each.admitted && each.client == client)
                    .count();
        }

        private boolean makeRoom(int client) {
            if (admitted() < max) {
                return true;
            }
            Tracked leaving = null;
            for (Tracked each : idle) {
                if (leaving == null || admitted(each.client) > admitted(leaving.client)) {
                    leaving = each;
                }
            }
            if (leaving == null || (leaving.client != client && admitted(leaving.client) <= admitted(client))) {
                return false;
            }
            leaving.admitted = false;
            idle.remove(leaving);
            return true;
        }

        void add(Tracked connection) {
            if (makeRoom(connection.client)) {
                connection.admitted = true;
                idle.add(connection);
            } else {
                if (surplus.size() == Connections.MAX_SURPLUS) {
                    surplus.removeFirst().surplus = false;
                }
                connection.surplus = true;
                surplus.add(connection);
            }
            open.add(connection);
        }

        void begin(Tracked connection) {
            if (connection.surplus && makeRoom(connection.client)) {
                connection.surplus = false;
                surplus.remove(connection);
                connection.admitted = true;
            }
            idle.remove(connection);
        }

        void end(Tracked connection) {
            if (connection.admitted) {
                idle.add(connection);
            }
        }

        void remove(Tracked connection) {
            idle.remove(connection);
            surplus.remove(connection);
            connection.admitted = false;
            open.remove(connection);
        }
    }
}
