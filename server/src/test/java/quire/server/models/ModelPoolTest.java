package quire.server.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.http.HttpException;
import quire.server.models.ModelPool.State;

/** Loading and unloading, on a clock that the tests turn. */
@Timeout(60)
class ModelPoolTest {
    private static final Duration WAIT = Duration.ofSeconds(100);
    private static final Duration STAYS = Duration.ZERO;
    private static final Executor THREADS = task -> Thread.ofVirtual().start(task);

    private final AtomicLong nanos = new AtomicLong();
    private final AtomicLong bytesInUse = new AtomicLong();
    private final ModelPool<Model> pool =
            new ModelPool<>(new ModelSource.Need(10, 100), ModelPool.BACKGROUND_IDLE, nanos::get);

    /** What a client that stays does with the action for its departure. */
    private static void neverLeaves(Runnable action) {}

    @AfterEach
    void closePool() {
        pool.close();

        assertThat(bytesInUse).hasValue(0);
        assertThat(pool.used()).isEqualTo(ModelSource.Need.NONE);
        assertThat(pool.mostUsed().bytes()).isLessThanOrEqualTo(10);
    }

    /** A loaded model, which must not be used after it was freed. */
    private static final class Model {
        private volatile boolean freed;
    }

    private final class Source implements ModelSource<Model> {
        private final long bytes;
        private final CountDownLatch started = new CountDownLatch(1);
        private volatile CountDownLatch mayLoad = new CountDownLatch(0);
        private volatile @Nullable String fault;
        private final AtomicInteger loads = new AtomicInteger();

        Source(long bytes) {
            this.bytes = bytes;
        }

        @Override
        public Need need() {
            return new Need(bytes, 1);
        }

        @Override
        public Model load() {
            loads.incrementAndGet();
            started.countDown();
            assertThat(bytesInUse.addAndGet(bytes)).isLessThanOrEqualTo(10);
            try {
                mayLoad.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            if (fault != null) {
                bytesInUse.addAndGet(-bytes);
                throw new IllegalArgumentException(fault);
            }
            return new Model();
        }

        @Override
        public void cancel() {
            fault = "cancelled";
            mayLoad.countDown();
        }

        @Override
        public void unload(Model model) {
            assertThat(model.freed).isFalse();
            model.freed = true;
            bytesInUse.addAndGet(-bytes);
        }

        @Override
        public int secondsLeft() {
            return 7;
        }
    }

    private ModelPool<Model>.Slot add(String name, Source source) {
        return pool.add(name, source, STAYS);
    }

    private static CompletableFuture<ModelPool<Model>.Lease> acquire(ModelPool<Model>.Slot slot) {
        return acquire(slot, false, ModelPoolTest::neverLeaves);
    }

    private static CompletableFuture<ModelPool<Model>.Lease> acquire(
            ModelPool<Model>.Slot slot, boolean background, Consumer<Runnable> onDeparture) {
        CompletableFuture<ModelPool<Model>.Lease> result = new CompletableFuture<>();
        THREADS.execute(() -> {
            try {
                result.complete(slot.acquire(WAIT, background, onDeparture));
            } catch (Throwable e) {
                result.completeExceptionally(e);
            }
        });
        return result;
    }

    private void pass(Duration time) {
        nanos.addAndGet(time.toNanos());
        pool.wake();
    }

    private static void await(ModelPool<Model>.Slot slot, State state) {
        while (slot.view().state() != state) {
            Thread.onSpinWait();
        }
    }

    private static void awaitWaiting(ModelPool<Model>.Slot slot, int requests) {
        while (slot.view().waiting() != requests) {
            Thread.onSpinWait();
        }
    }

    private static HttpException refusal(CompletableFuture<?> request) throws InterruptedException {
        try {
            request.get();
        } catch (ExecutionException e) {
            return (HttpException) Objects.requireNonNull(e.getCause());
        }
        throw new AssertionError("not refused");
    }

    @Test
    void acquire_byManyAtOnce_loadsOnce() throws Exception {
        Source source = new Source(4);
        source.mayLoad = new CountDownLatch(1);
        ModelPool<Model>.Slot slot = add("a", source);
        assertThat(slot.view().state()).isEqualTo(State.ABSENT);
        assertThat(slot.peek()).isNull();
        List<CompletableFuture<ModelPool<Model>.Lease>> requests = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            requests.add(acquire(slot));
        }
        awaitWaiting(slot, 20);
        await(slot, State.LOADING);
        source.mayLoad.countDown();
        Model model = requests.getFirst().get().model();
        for (CompletableFuture<ModelPool<Model>.Lease> request : requests) {
            assertThat(request.get().model()).isSameAs(model);
        }
        assertThat(slot.view()).returns(20, ModelPool.View::requests).returns(4L, ModelPool.View::bytes);
        assertThat(source.loads).hasValue(1);
        for (CompletableFuture<ModelPool<Model>.Lease> request : requests) {
            request.get().close();
            request.get().close(); // twice is once
        }
        assertThat(slot.view().requests()).isZero();
    }

    @Test
    void room_isMadeByTheModelUnusedForLongest() throws Exception {
        ModelPool<Model>.Slot a = add("a", new Source(4));
        ModelPool<Model>.Slot b = add("b", new Source(4));
        ModelPool<Model>.Slot c = add("c", new Source(4));
        for (ModelPool<Model>.Slot slot : List.of(a, b, a)) {
            pass(Duration.ofSeconds(1));
            acquire(slot).get().close();
        }

        acquire(c).get().close();

        assertThat(b.view().state()).isEqualTo(State.ABSENT);
        assertThat(a.view().state()).isEqualTo(State.READY);
        assertThat(a.view().loads()).isEqualTo(1);
    }

    @Test
    void busyModel_leavesAfterItsTurnWhenItsRequestsHaveEnded() throws Exception {
        ModelPool<Model>.Slot a = add("a", new Source(6));
        ModelPool<Model>.Slot b = add("b", new Source(6));
        ModelPool<Model>.Lease running = acquire(a).get();
        CompletableFuture<ModelPool<Model>.Lease> other = acquire(b);
        await(b, State.LOADING);
        ModelPool<Model>.Lease second = acquire(a).get(); // within its turn, requests still begin

        pass(ModelPool.LEAST_TURN);
        await(a, State.DRAINING);
        CompletableFuture<ModelPool<Model>.Lease> late = acquire(a);
        awaitWaiting(a, 1);
        running.close();
        assertThat(other).isNotDone();
        assertThat(second.model().freed).isFalse();
        second.close();

        assertThat(other.get().model().freed).isFalse();
        assertThat(second.model().freed).isTrue();
        assertThat(late).isNotDone();
        other.get().close();
        assertThat(late.get().model()).isNotSameAs(second.model());
        late.get().close();
    }

    @Test
    void modelThatHasRoom_isLoadedWhileALargeOneWaits() throws Exception {
        ModelPool<Model>.Slot busy = add("busy", new Source(6));
        ModelPool<Model>.Slot large = add("large", new Source(8));
        ModelPool<Model>.Slot small = add("small", new Source(3));
        ModelPool<Model>.Lease running = acquire(busy).get();
        CompletableFuture<ModelPool<Model>.Lease> waiting = acquire(large);
        await(large, State.LOADING);

        ModelPool<Model>.Lease passed = acquire(small).get();
        assertThat(refusal(acquire(add("too large", new Source(11))))).hasMessageContaining("it takes 11 bytes");
        assertThat(large.view()).returns(State.LOADING, ModelPool.View::state).returns(0L, ModelPool.View::bytes);

        // The busy one leaves and is asked for again. It has room beside the small one, but the large one waits for it.
        pass(ModelPool.LEAST_TURN);
        await(busy, State.DRAINING);
        running.close();
        await(busy, State.ABSENT);
        CompletableFuture<ModelPool<Model>.Lease> again = acquire(busy);
        await(small, State.DRAINING);
        assertThat(busy.view().loads()).isEqualTo(1);
        passed.close();
        waiting.get().close();
        again.get().close();
    }

    @Test
    void drainingModel_whoseRivalIsWantedByNobody_goesOn() throws Exception {
        ModelPool<Model>.Slot a = add("a", new Source(6));
        ModelPool<Model>.Slot b = add("b", new Source(6));
        ModelPool<Model>.Lease running = acquire(a).get();
        CompletableFuture<Runnable> departure = new CompletableFuture<>();
        CompletableFuture<ModelPool<Model>.Lease> other = acquire(b, false, departure::complete);
        await(b, State.LOADING);
        pass(ModelPool.LEAST_TURN);
        await(a, State.DRAINING);
        CompletableFuture<ModelPool<Model>.Lease> late = acquire(a);
        awaitWaiting(a, 1);

        departure.get().run(); // the only client hangs up

        assertThat(refusal(other).status()).isEqualTo(503);
        assertThat(late.get().model()).isSameAs(running.model());
        await(b, State.ABSENT);
        running.close();
        late.get().close();
    }

    @Test
    void acquire_whoseClientIsGoneAlready_loadsNothing() throws Exception {
        Source source = new Source(6);
        ModelPool<Model>.Slot a = add("a", new Source(6));
        ModelPool<Model>.Slot b = add("b", source);
        try (ModelPool<Model>.Lease running = acquire(a).get()) {
            assertThat(refusal(acquire(b, false, Runnable::run)).status()).isEqualTo(503);
            await(b, State.ABSENT);
            assertThat(source.loads).hasValue(0);
            assertThat(running.model().freed).isFalse();
        }
    }

    @Test
    void load_thatFails_isToldToAllAndTriedAgainAfterThePause() throws Exception {
        Source source = new Source(4);
        source.fault = "the file is damaged.";
        source.mayLoad = new CountDownLatch(1);
        ModelPool<Model>.Slot slot = add("a", source);
        List<CompletableFuture<ModelPool<Model>.Lease>> requests = List.of(acquire(slot), acquire(slot));
        awaitWaiting(slot, 2);
        source.mayLoad.countDown();
        for (CompletableFuture<ModelPool<Model>.Lease> request : requests) {
            assertThat(refusal(request))
                    .hasMessage(
                            "The model 'a' cannot be used: the file is damaged. It is tried again for a request after"
                                    + " 11 seconds.");
        }
        assertThat(slot.view())
                .returns(State.FAILED, ModelPool.View::state)
                .returns("the file is damaged", ModelPool.View::failure)
                .returns(0L, ModelPool.View::bytes);
        assertThat(refusal(acquire(slot)).status()).isEqualTo(503);
        assertThat(source.loads).hasValue(1);

        pass(ModelPool.FAILURE_PAUSE);
        assertThat(refusal(acquire(slot))).hasMessageContaining("21 seconds"); // it doubles
        assertThat(source.loads).hasValue(2);

        source.fault = null;
        pass(ModelPool.FAILURE_PAUSE.multipliedBy(2));
        acquire(slot).get().close();
        assertThat(slot.view().failure()).isEmpty();
    }

    @Test
    void modelThatNeverFits_isRefusedWithTheSums() throws Exception {
        ModelPool<Model>.Slot small = add("small", new Source(4));
        acquire(small).get().close();

        assertThat(refusal(acquire(add("large", new Source(11)))))
                .hasMessageContaining("it takes 11 bytes")
                .hasMessageContaining("10 bytes");

        assertThat(small.view().state()).isEqualTo(State.READY); // nothing left for it
    }

    @Test
    void acquire_thatWaitsTooLong_isToldWhenToComeBack() throws Exception {
        Source source = new Source(4);
        source.mayLoad = new CountDownLatch(1);
        ModelPool<Model>.Slot slot = add("a", source);
        CompletableFuture<ModelPool<Model>.Lease> request = acquire(slot);
        awaitWaiting(slot, 1);
        source.started.await();

        pass(WAIT);

        assertThat(refusal(request)).hasMessageContaining("was not loaded within 100 s");
        source.mayLoad.countDown();
        await(slot, State.READY); // for when the client comes back
    }

    @Test
    void idleModel_isUnloadedWhenItsTimeIsOver() throws Exception {
        ModelPool<Model>.Slot slot = pool.add("a", new Source(4), Duration.ofSeconds(30));
        acquire(slot).get().close();
        pass(Duration.ofSeconds(29));
        assertThat(slot.view().idleLeft()).isEqualTo(Duration.ofSeconds(1));
        try (ModelPool<Model>.Lease look = slot.peek()) {
            assertThat(look).isNotNull(); // which is no use
        }
        pass(Duration.ofSeconds(1));
        await(slot, State.ABSENT);

        ModelPool<Model>.Lease lease = acquire(slot).get();
        pass(Duration.ofMinutes(1));
        slot.stay(Duration.ofSeconds(-1));
        lease.close();
        pass(Duration.ofDays(1));
        assertThat(slot.view()).returns(State.READY, ModelPool.View::state).returns(null, ModelPool.View::idleLeft);
        slot.stay(Duration.ZERO);
        await(slot, State.ABSENT);

        slot.stay(Duration.ZERO); // there is nothing to unload
        acquire(slot).get().close();
        assertThat(slot.view().idleLeft()).isEqualTo(Duration.ofSeconds(30));
    }

    @Test
    void background_takesMemoryOnlyOfModelsThatClientsHaveNotJustUsed() throws Exception {
        ModelPool<Model>.Slot a = add("a", new Source(6));
        ModelPool<Model>.Slot b = add("b", new Source(6));
        ModelPool<Model>.Lease client = acquire(a).get();
        CompletableFuture<ModelPool<Model>.Lease> line = acquire(b, true, ModelPoolTest::neverLeaves);
        await(b, State.LOADING);
        pass(Duration.ofSeconds(50));
        client.close();
        acquire(a).get().close(); // a client's request goes first: it need not wait for the background's model
        assertThat(line).isNotDone();

        pass(ModelPool.BACKGROUND_IDLE);
        ModelPool<Model>.Lease running = line.get();

        CompletableFuture<ModelPool<Model>.Lease> again = acquire(a);
        await(b, State.DRAINING); // at once, whatever its turn
        running.close();
        again.get().close();
    }

    @Test
    void clientsModel_isLoadedBeforeOneThatTheBackgroundWaitsFor() throws Exception {
        ModelPool<Model>.Slot a = add("a", new Source(6));
        ModelPool<Model>.Slot b = add("b", new Source(6));
        ModelPool<Model>.Slot c = add("c", new Source(4));
        ModelPool<Model>.Lease client = acquire(a).get();
        CompletableFuture<ModelPool<Model>.Lease> line = acquire(b, true, ModelPoolTest::neverLeaves);
        await(b, State.LOADING);

        acquire(c).get().close();

        assertThat(line).isNotDone();
        client.close();
        pass(ModelPool.BACKGROUND_IDLE);
        line.get().close();
    }

    @Test
    void brokenModel_isReplacedWhenItsRequestsHaveEnded() throws Exception {
        ModelPool<Model>.Slot slot = add("a", new Source(4));
        ModelPool<Model>.Lease running = acquire(slot).get();
        slot.broke(new Model(), "another one"); // of an earlier load
        assertThat(slot.view().state()).isEqualTo(State.READY);

        slot.broke(running.model(), "its engine failed");
        CompletableFuture<ModelPool<Model>.Lease> late = acquire(slot);
        awaitWaiting(slot, 1);
        running.close();

        assertThat(refusal(late)).hasMessageContaining("its engine failed");
        pass(ModelPool.FAILURE_PAUSE);
        acquire(slot).get().close();
    }

    @Test
    void close_whileLoading_refusesThoseThatWait() throws Exception {
        Source source = new Source(4);
        source.mayLoad = new CountDownLatch(1);
        ModelPool<Model>.Slot slot = add("a", source);
        CompletableFuture<ModelPool<Model>.Lease> request = acquire(slot);
        source.started.await();

        pool.close();

        assertThat(refusal(request)).hasMessageContaining("shutting down");
        assertThatThrownBy(() -> slot.acquire(WAIT, false, ModelPoolTest::neverLeaves))
                .isInstanceOf(HttpException.class);
    }

    @Test
    void modelThatIsAlwaysThere_takesNoMemoryAndStays() throws Exception {
        Model model = new Model();
        ModelPool<Model>.Slot slot = pool.addLoaded("a", model);
        try (ModelPool<Model>.Lease lease = slot.acquire(WAIT, false, ModelPoolTest::neverLeaves)) {
            assertThat(lease.model()).isSameAs(model);
        }
        slot.stay(Duration.ZERO);
        slot.broke(model, "x");
        pass(Duration.ofDays(1));
        assertThat(slot.view()).returns(State.READY, ModelPool.View::state).returns(0L, ModelPool.View::bytes);
        pool.close();
        assertThat(model.freed).isFalse();
    }

    @Test
    void manyRequests_forModelsThatDoNotFitTogether_areAllServed() throws Exception {
        List<ModelPool<Model>.Slot> slots = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            slots.add(add("m" + i, new Source(2 + i)));
        }
        List<CompletableFuture<Void>> clients = new ArrayList<>();
        for (int client = 0; client < 6; client++) {
            Random random = new Random(client);
            clients.add(CompletableFuture.runAsync(
                    () -> {
                        for (int i = 0; i < 40; i++) {
                            boolean background = random.nextInt(4) == 0;
                            ModelPool<Model>.Slot slot = slots.get(random.nextInt(slots.size()));
                            Consumer<Runnable> leaves =
                                    random.nextInt(10) == 0 ? Runnable::run : ModelPoolTest::neverLeaves;
                            try (ModelPool<Model>.Lease lease = slot.acquire(Duration.ofDays(9), background, leaves)) {
                                Thread.onSpinWait();
                                assertThat(lease.model().freed).isFalse();
                            } catch (HttpException e) {
                                assertThat(e).hasMessageContaining("closed its connection");
                            } catch (InterruptedException e) {
                                throw new IllegalStateException(e);
                            }
                        }
                    },
                    THREADS));
        }
        CompletableFuture<Void> all = CompletableFuture.allOf(clients.toArray(CompletableFuture[]::new));
        while (!all.isDone()) {
            pass(Duration.ofSeconds(1));
            Thread.onSpinWait();
        }
        all.get();
    }
}
