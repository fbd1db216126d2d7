package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What clients get of a limited amount. */
class FairShareTest {
    private final FairShare share = new FairShare(64);

    private int takeAll(String client) {
        int taken = 0;
        while (share.take(client, 1)) {
            taken++;
        }
        return taken;
    }

    @Test
    void client_alone_getsHalf() {
        assertThat(takeAll("a")).isEqualTo(32);
    }

    @Test
    void clients_late_findSomethingEach() {
        for (String client : new String[] {"a", "b", "c", "d", "e"}) {
            assertThat(takeAll(client)).isPositive();
        }
    }

    @Test
    void clients_takingInTurn_getTheSame() {
        boolean any = true;
        while (any) {
            any = false;
            for (String client : new String[] {"a", "b", "c"}) {
                any |= share.take(client, 1);
            }
        }
        assertThat(share.takenBy("a")).isBetween(15L, 17L);
        assertThat(share.takenBy("b")).isBetween(15L, 17L);
        assertThat(share.takenBy("c")).isBetween(15L, 17L);
    }

    @Test
    void client_withMuch_mustGiveBackBeforeItGetsMore() {
        takeAll("a");
        assertThat(share.take("b", 32)).isTrue();
        assertThat(share.take("c", 1)).isFalse(); // all is taken
        share.give("b", 32);
        assertThat(share.take("a", 1)).isFalse();
        assertThat(share.take("c", 1)).isTrue();
        share.give("a", 8);
        assertThat(share.take("a", 8)).isTrue();
        assertThat(share.take("a", 1)).isFalse();
    }

    @Test
    void give_moreThanWasTaken_isRefused() {
        share.take("a", 5);
        assertThatThrownBy(() -> share.give("a", 6)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> share.give("b", 1)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void sums_afterManyRandomChanges_areRight() {
        Random random = new Random(1);
        Map<String, Long> expected = new HashMap<>();
        for (int i = 0; i < 10_000; i++) {
            String client = "client " + random.nextInt(5);
            long mine = expected.getOrDefault(client, 0L);
            long amount = random.nextInt(1, 21);
            if (random.nextBoolean()) {
                if (share.take(client, amount)) {
                    expected.put(client, mine + amount);
                }
            } else if (mine > 0) {
                share.give(client, Math.min(mine, amount));
                expected.put(client, mine - Math.min(mine, amount));
            }
            long sum = expected.values().stream().mapToLong(Long::longValue).sum();
            assertThat(share.taken()).isEqualTo(sum).isLessThanOrEqualTo(64);
            assertThat(share.takenBy(client)).isEqualTo(expected.getOrDefault(client, 0L));
        }
    }
}
