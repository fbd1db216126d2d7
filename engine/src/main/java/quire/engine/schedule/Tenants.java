package quire.engine.schedule;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * Shares tokens between tenants by their weights, through the order of sequences: start-time fair queueing (Goyal, Vin
 * and Cheng, SIGCOMM 1996).
 *
 * <p>Each sequence gets a place on a line of virtual time when it arrives. A tenant's sequences follow each other there,
 * each as far behind the one before as that has tokens, divided by the weight. The virtual time is the place of the
 * sequence that started last. Who comes later begins there, so a tenant gains nothing from time in which it asked for
 * nothing.
 *
 * <pre>
 *   virtual time  ──────────now────────────────────────────────────────▶
 *   tenant a      [a1 ······][a2 ······][a3 ······][a4 ······] …           600 long prompts at once
 *   tenant b                 [b1·][b2·]                                    b1 and b2 start before a3
 *   of weight 2              [c1 ···][c2 ···]                              as long as those of a: half the place
 * </pre>
 *
 * <p>A request is charged when it arrives for its prompt and for the expected length of its answer, and at last for the
 * tokens that were computed: prompt tokens outside the prefix cache and tokens of the answer. The difference moves the
 * later sequences of its tenant. What was charged too little moves only those behind the last one that has started, so that
 * running ones do not take each other's pages in turn. So the sequences of one tenant and one priority always run in the order
 * of arrival, and those of a tenant alone too.
 *
 * <p>Engine thread only. Arrivals, starts and ends are O(running + waiting); a step allocates nothing.
 */
final class Tenants {
    /** A running answer that is longer than expected is charged for each further piece of this many tokens. */
    private static final int PIECE = 64;

    private final List<Sequence> running;
    private final List<Sequence> waiting;
    private final List<Sequence> parked;
    private final Map<String, Tenant> nameToTenant = new HashMap<>();
    private double now;
    private int active;
    private long runningWeight; // of all tenants that run a sequence

    /** What is known of a tenant. */
    static final class Tenant {
        /** Where its next sequence begins, if that is not in the past. */
        private double end;

        /** Its sequences that have not ended. */
        private int active;

        /** How many of them run. */
        private int running;

        /** That of the sequence with which it began to run some. */
        private int weight;

        private Tenant() {}

        /** How many of its sequences run. */
        int running() {
            return running;
        }
    }

    /**
     * @param running the running sequences, kept in order
     * @param waiting the waiting ones, kept in order
     * @param parked members of beam searches that do neither
     */
    Tenants(List<Sequence> running, List<Sequence> waiting, List<Sequence> parked) {
        this.running = running;
        this.waiting = waiting;
        this.parked = parked;
    }

    /** Gives a new sequence its place. */
    void arrived(Sequence sequence) {
        Tenant tenant = nameToTenant.get(sequence.tenantName);
        if (tenant == null) {
            nameToTenant.values().removeIf(other -> other.active == 0 && other.end <= now);
            tenant = new Tenant();
            nameToTenant.put(sequence.tenantName, tenant);
        }
        sequence.tenant = tenant;
        sequence.charged = sequence.queuedTokens;
        sequence.place = Math.max(now, tenant.end);
        tenant.end = sequence.place + (double) sequence.charged / sequence.weight;
        tenant.active++;
        active++;
    }

    /** A sequence has left the queue to run, for the first time or again. */
    void started(Sequence sequence) {
        Tenant tenant = sequence.tenant();
        if (tenant.running++ == 0) {
            tenant.weight = sequence.weight;
            runningWeight += tenant.weight;
        }
        if (!sequence.wasStarted) {
            // One that passes others, by its priority or its size, does not move the time past them.
            double first = sequence.place;
            for (int i = 0; i < waiting.size(); i++) {
                first = Math.min(first, waiting.get(i).place);
            }
            now = Math.max(now, first);
        }
    }

    /** Tokens of a new sequence's prompt were found in the cache: they cost nothing. */
    void foundCached(Sequence sequence) {
        charge(sequence, sequence.charged - sequence.cachedTokens);
    }

    /** Whether sequences of more than one tenant run or wait. */
    boolean areSeveral() {
        return nameToTenant.size() > 1;
    }

    /** Whether the tenant of a running sequence runs at most half of its share of those that run, by its weight. */
    boolean isSmall(Sequence sequence) {
        Tenant tenant = sequence.tenant();
        return 2L * tenant.running * runningWeight <= (long) running.size() * tenant.weight;
    }

    /** A sequence was preempted. */
    void preempted(Sequence sequence) {
        stopped(sequence.tenant());
    }

    private void stopped(Tenant tenant) {
        runningWeight -= --tenant.running == 0 ? tenant.weight : 0;
    }

    /** A sequence has more tokens; charges for those that were not expected. */
    void advanced(Sequence sequence) {
        long tokens = tokens(sequence);
        if (tokens >= sequence.charged + PIECE) {
            charge(sequence, tokens);
        }
    }

    /** A sequence has ended, and is in no list any more. */
    void ended(Sequence sequence, boolean wasRunning) {
        Tenant tenant = sequence.tenant();
        if (wasRunning) {
            stopped(tenant);
        }
        tenant.active--;
        charge(sequence, tokens(sequence));
        if (--active == 0) {
            nameToTenant.clear();
            now = 0;
        }
    }

    /** Tokens that were computed for a sequence. */
    private static long tokens(Sequence sequence) {
        return (long) Math.min(sequence.computedOnce, sequence.promptLength)
                - sequence.cachedTokens
                + sequence.generated();
    }

    /** Charges so many tokens in all for a sequence, and moves the later ones of its tenant. */
    private void charge(Sequence sequence, long tokens) {
        Tenant tenant = sequence.tenant();
        double move = (double) (tokens - sequence.charged) / sequence.weight;
        sequence.charged = tokens;
        if (move == 0) {
            return;
        }
        tenant.end += move;
        if (tenant.active > 0) {
            long last = sequence.number; // of the sequences that stay where they are
            if (move > 0) {
                last = lastStarted(running, tenant, lastStarted(waiting, tenant, lastStarted(parked, tenant, last)));
            }
            move(parked, tenant, last, move);
            move(waiting, tenant, last, move);
            move(running, tenant, last, move);
            // All places before all orders: members of a beam search are sorted by their leader, which may be in
            // another list.
            sort(waiting);
            sort(running);
        }
    }

    /** The number of the tenant's last sequence that has started, if it is larger than {@code number}. */
    private static long lastStarted(List<Sequence> sequences, Tenant tenant, long number) {
        long last = number;
        for (int i = 0; i < sequences.size(); i++) {
            Sequence sequence = sequences.get(i);
            if (sequence.tenant == tenant && sequence.wasStarted) {
                last = Math.max(last, sequence.number);
            }
        }
        return last;
    }

    private static void move(List<Sequence> sequences, Tenant tenant, long last, double move) {
        for (int i = 0; i < sequences.size(); i++) {
            Sequence sequence = sequences.get(i);
            if (sequence.tenant == tenant && sequence.number > last) {
                sequence.place += move;
            }
        }
    }

    /** Sorts by insertion, because the list is nearly sorted. */
    private static void sort(List<Sequence> sorted) {
        for (int i = 1; i < sorted.size(); i++) {
            Sequence sequence = sorted.get(i);
            int place = i;
            for (; place > 0 && sequence.isBefore(sorted.get(place - 1)); place--) {
                sorted.set(place, sorted.get(place - 1));
            }
            sorted.set(place, sequence);
        }
    }

    /**
     * Checks the counts.
     *
     * @throws IllegalStateException naming the first inconsistency
     */
    void checkIntegrity() {
        int all = 0;
        long weight = 0;
        for (Map.Entry<String, Tenant> entry : nameToTenant.entrySet()) {
            Tenant tenant = entry.getValue();
            long runs = running.stream().filter(s -> s.tenant == tenant).count();
            long waits = Stream.concat(waiting.stream(), parked.stream())
                    .filter(s -> s.tenant == tenant)
                    .count();
            if (runs != tenant.running || runs + waits != tenant.active) {
                throw new IllegalStateException("tenant '" + entry.getKey() + "' has " + runs + " running and " + waits
                        + " waiting sequences, but counts " + tenant.running + " running of " + tenant.active);
            }
            all += tenant.active;
            weight += runs > 0 ? tenant.weight : 0;
        }
        if (weight != runningWeight) {
            throw new IllegalStateException("the tenants that run sequences have the weight " + weight + ", and "
                    + runningWeight + " is counted");
        }
        if (all != active || all != running.size() + waiting.size() + parked.size()) {
            throw new IllegalStateException("the tenants have " + all + " sequences, and " + active + " are counted");
        }
    }
}
