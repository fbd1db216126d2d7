package quire.bench.attack;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import quire.bench.attack.HonestClients.Observed;
import quire.bench.attack.Tally.Outcome;
import quire.bench.client.Metrics;
import quire.bench.client.ServerAddress;
import quire.bench.client.ServerOption.ServedModel;
import quire.bench.client.ServerProcess;
import quire.bench.measure.Bounds;
import quire.bench.measure.Quantiles;

/**
 * Attacks a server beside honest clients.
 *
 * <pre>
 *   honest    each alone │ warm-up │ calm │ round 1 │      │ round 2 │      │ …
 *   hostile              │         │      │ all     │      │ all     │      │
 *   checks                              ▲           idle ▲            idle ▲      sockets, pages, heap, resident memory
 * </pre>
 *
 * <p>The calm time is the measure for the attacks: the same honest clients on the same machine, without attackers. After a
 * round all attackers stop, and the server must become as empty as it was before. Memory is compared with the first
 * round, because a heap grows to its working size under the first load.
 */
final class AttackBench {
    /** How long a server may take to notice that clients have left. */
    private static final Duration SETTLE = Duration.ofSeconds(15);

    private static final Duration POLL = Duration.ofMillis(50);

    /** Longer than any attack. */
    private static final Duration GO_HOME = Duration.ofSeconds(60);

    private static final double P99 = 0.99;

    /**
     * The attackers.
     *
     * @param kinds what they do
     * @param attackers clients of each kind
     * @param pauseMillis mean time between two attacks of a client
     * @param seed of all random numbers
     */
    record Force(Set<AttackKind> kinds, int attackers, int pauseMillis, long seed) {}

    /** The bounds; {@link AttackCommand} describes them. */
    record Limits(
            double silenceSeconds,
            double firstTokenRatio,
            double heapGrowthMebibytes,
            double residentGrowthMebibytes,
            int sockets) {}

    /**
     * What was measured.
     *
     * @param kinds a row for each kind of attack
     * @param rounds a row for the calm time and for each round
     * @param faults a line for each fault
     */
    record Result(
            List<Map<String, Object>> kinds, List<Map<String, Object>> rounds, Bounds bounds, List<String> faults) {}

    private final ServerProcess process;
    private final ServerAddress server;
    private final Force force;
    private final Limits limits;
    private final Tally tally = new Tally();
    private final List<String> faults = new ArrayList<>();
    private final List<Map<String, Object>> rounds = new ArrayList<>();

    AttackBench(ServerProcess process, Force force, Limits limits) {
        this.process = process;
        this.server = process.address();
        this.force = force;
        this.limits = limits;
    }

    /** The server when nobody asks it. */
    private record Rest(
            OptionalLong sockets, OptionalDouble heap, OptionalDouble resident, double pages, double requests) {}

    Result measure(int seconds, int roundSeconds) throws IOException, InterruptedException {
        HonestClients honest =
                HonestClients.learn(server, ServedModel.of(server).context());
        honest.observe(Duration.ofSeconds(Math.max(1, roundSeconds / 2))); // warm-up
        Observed calm = honest.observe(Duration.ofSeconds(roundSeconds));
        Rest before = rest(Long.MAX_VALUE);
        row("calm", 0, calm, before);
        double calmFirst = p99(calm.firstSeconds());

        int wrong = 0;
        double silence = 0;
        List<Double> first = new ArrayList<>();
        double pages = 0;
        double requests = 0;
        long sockets = 0;
        Rest firstRest = null;
        Rest lastRest = before;
        int count = Math.max(1, seconds / roundSeconds);
        for (int i = 1; i <= count && process.isAlive(); i++) {
            int attacks = tally.total();
            Observed observed = round(honest, Duration.ofSeconds(roundSeconds), i);
            try {
                lastRest = rest(before.sockets.orElse(0) + limits.sockets);
            } catch (IOException e) {
                faults.add("after round " + i + " the server does not answer: " + e);
                wrong++;
                break;
            }
            firstRest = firstRest == null ? lastRest : firstRest;
            row("round " + i, tally.total() - attacks, observed, lastRest);
            wrong += observed.faults().size();
            faults.addAll(observed.faults());
            silence = Math.max(silence, observed.silenceSeconds());
            first.addAll(observed.firstSeconds());
            pages = Math.max(pages, lastRest.pages);
            requests = Math.max(requests, lastRest.requests);
            sockets = Math.max(sockets, lastRest.sockets.orElse(0) - before.sockets.orElse(0));
        }
        faults.addAll(calm.faults());
        faults.addAll(tally.faults());
        Rest start = firstRest == null ? before : firstRest;
        Bounds bounds = new Bounds()
                .atMost(
                        "honest answers missing or different",
                        wrong + calm.faults().size(),
                        0)
                .atMost("attacks answered wrongly", tally.total(Outcome.FAULT), 0)
                .atMost("longest silence of an honest stream, s", silence, limits.silenceSeconds)
                .atMost("p99 of the first token, beside the calm time", p99(first) / calmFirst, limits.firstTokenRatio)
                .atMost("requests left when idle", requests, 0)
                .atMost("share of KV pages in use when idle", pages, 0);
        if (before.sockets.isPresent()) {
            bounds.atMost("sockets left when idle", (double) sockets, limits.sockets);
        }
        if (start.heap.isPresent() && lastRest.heap.isPresent()) {
            double growth = lastRest.heap.getAsDouble() - start.heap.getAsDouble();
            bounds.atMost("growth of the live heap, MiB", growth, limits.heapGrowthMebibytes);
        }
        if (start.resident.isPresent() && lastRest.resident.isPresent()) {
            double growth = lastRest.resident.getAsDouble() - start.resident.getAsDouble();
            bounds.atMost("growth of resident memory, MiB", growth, limits.residentGrowthMebibytes);
        }
        return new Result(tally.rows(), rounds, bounds, faults);
    }

    /** Honest and hostile clients together. */
    private Observed round(HonestClients honest, Duration time, int number) throws InterruptedException {
        CountDownLatch end = new CountDownLatch(1);
        List<Thread> attackers = new ArrayList<>();
        for (AttackKind kind : force.kinds) {
            for (int i = 0; i < force.attackers; i++) {
                SplittableRandom random = new SplittableRandom(
                        ((force.seed * 31 + number) * 31 + kind.label().hashCode()) * 1009 + i);
                attackers.add(Thread.ofVirtual()
                        .name("attacker-" + kind.label() + "-" + i)
                        .start(() -> attack(kind, honest.small(), random, end)));
            }
        }
        try {
            return honest.observe(time);
        } finally {
            end.countDown();
            long deadline = System.nanoTime() + GO_HOME.toNanos();
            for (Thread attacker : attackers) {
                attacker.join(Duration.ofNanos(Math.max(1, deadline - System.nanoTime())));
            }
        }
    }

    private void attack(AttackKind kind, HonestClients.Known known, SplittableRandom random, CountDownLatch end) {
        try {
            // Each attack has random numbers of its own, so that it does not depend on how the one before went.
            while (!end.await((long) (-Math.log(1 - random.nextDouble()) * force.pauseMillis), TimeUnit.MILLISECONDS)) {
                new Attack(kind, server, known, random.split(), end, tally).run();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * The server at rest: waits until it has no requests, uses no pages and has at most {@code sockets} open, or until it
     * has had enough time for that.
     */
    private Rest rest(long sockets) throws IOException, InterruptedException {
        long deadline = System.nanoTime() + SETTLE.toNanos();
        Metrics metrics = Metrics.of(server);
        while ((metrics.requests() > 0
                        || metrics.pagesInUse() > 0
                        || process.openSockets().orElse(0) > sockets)
                && System.nanoTime() < deadline) {
            Thread.sleep(POLL);
            metrics = Metrics.of(server);
        }
        OptionalDouble heap = process.liveHeapMebibytes();
        OptionalLong open = process.openSockets();
        while (open.orElse(0) > sockets && System.nanoTime() < deadline) {
            Thread.sleep(POLL); // the connection of the metrics is closed a moment later
            open = process.openSockets();
        }
        return new Rest(open, heap, process.residentMebibytes(), metrics.pagesInUse(), metrics.requests());
    }

    private void row(String name, int attacks, Observed observed, Rest rest) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("time", name);
        row.put("attacks", attacks);
        row.put("honest_answers", observed.answers());
        row.put("wrong", observed.faults().size());
        row.put("silence_s", observed.silenceSeconds());
        row.put("first_token_p50_s", quantile(observed.firstSeconds(), 0.5));
        row.put("first_token_p99_s", p99(observed.firstSeconds()));
        row.put("sockets", rest.sockets.isPresent() ? rest.sockets.getAsLong() : "unknown");
        row.put("live_heap_MiB", rest.heap.isPresent() ? rest.heap.getAsDouble() : "unknown");
        row.put("resident_MiB", rest.resident.isPresent() ? rest.resident.getAsDouble() : "unknown");
        row.put("pages_in_use", rest.pages);
        rounds.add(row);
    }

    private static double p99(List<Double> seconds) {
        return quantile(seconds, P99);
    }

    private static double quantile(List<Double> seconds, double q) {
        return seconds.isEmpty() ? Double.NaN : Quantiles.quantile(seconds, q);
    }
}
