package quire.server.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.http.HttpException;

/**
 * The order in which requests are prepared. The first task of a test blocks its thread until the test has filled the
 * queue.
 */
@Timeout(60)
class PreparationTest {
    private static final int SMALL = 100;
    private static final int LARGE = Preparation.SMALL_BYTES + 1;

    private final CountDownLatch gate = new CountDownLatch(1);
    private final List<String> order = Collections.synchronizedList(new ArrayList<>());
    private final List<Preparation.Task<?>> tasks = new ArrayList<>();
    private Preparation preparation = Preparation.start(2, 100);

    @AfterEach
    void stop() {
        gate.countDown();
        preparation.close();
    }

    /** Blocks a thread; returns when it is blocked. */
    private void hold(int bodyBytes) throws InterruptedException {
        CountDownLatch held = new CountDownLatch(1);
        tasks.add(preparation.submit("holder", bodyBytes, () -> {
            held.countDown();
            await(gate);
            return "";
        }));
        held.await();
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    private Preparation.Task<String> add(String client, int bodyBytes, String name) {
        Preparation.Task<String> task = preparation.submit(client, bodyBytes, () -> {
            order.add(name);
            return name;
        });
        tasks.add(task);
        return task;
    }

    /** Work that keeps something, which nobody else keeps, and has ended. */
    private WeakReference<?> ended() throws Exception {
        AtomicReference<String> kept = new AtomicReference<>("a model, for example");
        preparation.submit("a", SMALL, kept::get).result();
        return new WeakReference<>(kept);
    }

    @Test
    void threads_keepNothingOfWorkThatHasEnded() throws Exception {
        WeakReference<?> kept = ended();
        while (kept.get() != null) {
            System.gc();
        }
    }

    private void finish() throws Exception {
        gate.countDown();
        for (Preparation.Task<?> task : tasks) {
            task.result();
        }
    }

    @Test
    void tasks_ofSeveralClients_takeTurns() throws Exception {
        hold(LARGE); // the thread for all sizes
        hold(SMALL);
        add("a", LARGE, "a1");
        add("a", LARGE, "a2");
        add("a", LARGE, "a3");
        add("b", LARGE, "b1");
        add("c", LARGE, "c1");
        add("b", LARGE, "b2");
        finish();
        assertThat(order).containsExactly("a1", "b1", "c1", "a2", "b2", "a3");
    }

    @Test
    void task_small_doesNotWaitForLargeOnes() throws Exception {
        hold(LARGE);
        add("a", LARGE, "large");
        assertThat(add("a", SMALL, "small").result()).isEqualTo("small");
        assertThat(order).containsExactly("small");
        finish();
    }

    @Test
    void tasks_ofBothSizes_alternateOnTheThreadForAll() throws Exception {
        hold(LARGE);
        CountDownLatch smallGate = new CountDownLatch(1);
        CountDownLatch held = new CountDownLatch(1);
        Preparation.Task<String> holder = preparation.submit("holder", SMALL, () -> {
            held.countDown();
            await(smallGate); // keeps the thread for small tasks busy until all others have run
            return "";
        });
        held.await();
        for (int i = 1; i <= 3; i++) {
            add("a", LARGE, "L" + i);
            add("a", SMALL, "S" + i);
        }
        finish();
        smallGate.countDown();
        holder.result();
        assertThat(order).containsExactly("S1", "L1", "S2", "L2", "S3", "L3");
    }

    @Test
    void queue_ofOneClient_isAtMostHalfOfAll() throws Exception {
        preparation.close();
        preparation = Preparation.start(2, 8);
        hold(LARGE);
        hold(SMALL);
        for (int i = 1; i <= 4; i++) {
            add("a", SMALL, "a" + i);
        }
        assertThatThrownBy(() -> add("a", SMALL, "a5"))
                .isInstanceOfSatisfying(
                        HttpException.class, e -> assertThat(e.status()).isEqualTo(429));
        add("b", SMALL, "b1");
        add("b", SMALL, "b2");
        add("c", SMALL, "c1");
        add("d", SMALL, "d1"); // the last place
        assertThatThrownBy(() -> add("e", SMALL, "e1")).isInstanceOf(HttpException.class);
        finish();
        assertThat(add("a", SMALL, "a5").result()).isEqualTo("a5");
    }

    @Test
    void task_cancelledWhileItWaits_neverRunsAndGivesUpItsPlace() throws Exception {
        preparation.close();
        preparation = Preparation.start(2, 1);
        hold(LARGE);
        hold(SMALL);
        Preparation.Task<String> task = preparation.submit("a", LARGE, () -> {
            order.add("cancelled");
            return "";
        });
        assertThatThrownBy(() -> add("b", LARGE, "b")).isInstanceOf(HttpException.class);
        preparation.cancel(task);
        preparation.cancel(task);
        assertThatThrownBy(task::result).isInstanceOf(CancellationException.class);
        add("b", LARGE, "b");
        finish();
        assertThat(order).containsExactly("b");
    }

    @Test
    void task_thatThrows_givesItsErrorAndItsThreadGoesOn() throws Exception {
        Preparation.Task<String> failing = preparation.submit("a", SMALL, () -> {
            throw new StackOverflowError("deep");
        });
        assertThatThrownBy(failing::result)
                .isInstanceOf(ExecutionException.class)
                .hasCauseInstanceOf(StackOverflowError.class);
        hold(LARGE);
        assertThat(add("a", SMALL, "next").result()).isEqualTo("next");
    }

    @Test
    void close_withWaitingTasks_cancelsThem() throws Exception {
        hold(LARGE);
        Preparation.Task<String> task = add("a", LARGE, "a");
        preparation.close();
        assertThatThrownBy(task::result).isInstanceOf(CancellationException.class);
        assertThatThrownBy(() -> add("a", SMALL, "late"))
                .isInstanceOfSatisfying(
                        HttpException.class, e -> assertThat(e.status()).isEqualTo(503));
    }
}
