package quire.bench.reproduce;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * Plays requests through a KV memory, step by step and without a model. All requests wait at the beginning.
 *
 * <pre>
 *   step      start what fits, in order   ▶   each running sequence gets one token   ▶   those that ended free their memory
 *   memory of a sequence that will have p + o tokens and has t now
 *     MAXIMUM        a block for the longest allowed sequence
 *     POWER_OF_TWO   a block for p + (the power of two from o)
 *     ORACLE         a block for p + o
 *     PAGED          pages for t; without a free page the sequence that started last waits again
 * </pre>
 *
 * Blocks are contiguous and come from a {@link BuddyPool}.
 */
final class PoolSimulation {
    private static final int PAGE_TOKENS = 16;

    /** How much memory a sequence gets. */
    enum Reservation {
        MAXIMUM,
        POWER_OF_TWO,
        ORACLE,
        PAGED
    }

    /** The seconds of a step. */
    @FunctionalInterface
    interface StepCost {
        /**
         * The time of one step.
         *
         * @param tokens tokens that the step computes: of prompts, and one of each sequence that decodes
         * @param live tokens that sequences have in the memory
         */
        double seconds(int tokens, long live);
    }

    /**
     * What happened. A mean batch and shares of memory are over the steps in which requests waited for memory: the end,
     * when the last requests finish, says nothing about the memory.
     *
     * @param steps steps in all
     * @param tokens tokens generated
     * @param seconds time of all steps
     * @param preemptions how often a sequence lost its pages
     * @param batch mean number of sequences in a step
     * @param live share of the pool that holds tokens
     * @param held share of the pool that belongs to sequences
     */
    record Result(int steps, long tokens, double seconds, int preemptions, double batch, double live, double held) {
        /** Tokens generated in a step, over all steps. */
        double tokensPerStep() {
            return (double) tokens / steps;
        }
    }

    private static final class Running {
        private final Length length;
        private int age; // tokens generated
        private int begin = -1; // of its block
        private int slots; // of its memory

        Running(Length length, int age) {
            this.length = length;
            this.age = age;
        }

        /** Tokens in the memory after its next step: the token that this step generates is not stored yet. */
        int stored() {
            return length.prompt() + age;
        }
    }

    private final Reservation reservation;
    private final int slots;
    private final int longest;
    private final int maxSequences;
    private final boolean groups;
    private final StepCost cost;
    private final BuddyPool blocks;
    private int freePages;

    private final Deque<Running> waiting = new ArrayDeque<>();
    private final List<Running> running = new ArrayList<>();
    private int preemptions;

    /**
     * @param slots tokens that the memory holds
     * @param longest tokens of the longest allowed sequence
     * @param maxSequences sequences that run at once
     * @param groups whether a sequence starts only when none runs: static batches
     */
    PoolSimulation(Reservation reservation, int slots, int longest, int maxSequences, boolean groups, StepCost cost) {
        this.reservation = reservation;
        this.slots = slots;
        this.longest = longest;
        this.maxSequences = maxSequences;
        this.groups = groups;
        this.cost = cost;
        blocks = new BuddyPool(slots);
        freePages = slots / PAGE_TOKENS;
    }

    /**
     * Plays all requests to their ends.
     *
     * @throws IllegalArgumentException if one of them does not fit the empty memory
     */
    Result play(List<Length> lengths) {
        lengths.forEach(length -> waiting.add(new Running(length, 0)));
        int steps = 0;
        int crowded = 0;
        long tokens = 0;
        double seconds = 0;
        double batch = 0;
        double live = 0;
        double held = 0;
        while (!waiting.isEmpty() || !running.isEmpty()) {
            growPages();
            int computed = running.size() + start();
            long stored = running.stream().mapToLong(Running::stored).sum();
            steps++;
            tokens += running.size();
            seconds += cost.seconds(computed, stored);
            if (!waiting.isEmpty()) {
                crowded++;
                batch += running.size();
                live += stored;
                held += running.stream().mapToLong(this::held).sum();
            }
            endSequences();
        }
        double all = Math.max(1, crowded);
        return new Result(steps, tokens, seconds, preemptions, batch / all, live / all / slots, held / all / slots);
    }

    /** Starts waiting sequences that fit; returns the tokens of their prompts, without the last one of each. */
    private int start() {
        int computed = 0;
        boolean mayStart = !groups || running.isEmpty();
        while (mayStart && !waiting.isEmpty() && running.size() < maxSequences && take(waiting.getFirst())) {
            Running next = waiting.removeFirst();
            running.add(next);
            computed += next.stored();
        }
        if (running.isEmpty()) {
            throw new IllegalArgumentException(
                    waiting.getFirst().length + " does not fit a memory of " + slots + " tokens");
        }
        return computed;
    }

    private boolean take(Running sequence) {
        if (reservation == Reservation.PAGED) {
            int pages = pages(sequence.stored() + 1); // and each running sequence may need a page in the next step
            if (pages + running.size() > freePages) {
                return false;
            }
            freePages -= pages;
            sequence.slots = pages * PAGE_TOKENS;
            return true;
        }
        int wanted =
                switch (reservation) {
                    case MAXIMUM -> longest;
                    case POWER_OF_TWO ->
                        Math.min(longest, sequence.length.prompt() + BuddyPool.blockSize(sequence.length.output()));
                    default -> sequence.length.total();
                };
        sequence.begin = blocks.allocate(wanted);
        sequence.slots = wanted;
        return sequence.begin >= 0;
    }

    /** Gives each running sequence the page for its next token; takes pages from those that started last. */
    private void growPages() {
        if (reservation != Reservation.PAGED) {
            return;
        }
        for (int i = 0; i < running.size(); i++) {
            Running sequence = running.get(i);
            while (sequence.stored() > sequence.slots && i < running.size()) {
                if (freePages > 0) {
                    freePages--;
                    sequence.slots += PAGE_TOKENS;
                } else {
                    Running last = running.removeLast();
                    release(last);
                    waiting.addFirst(new Running(last.length, last.age)); // it keeps its tokens
                    preemptions++;
                }
            }
        }
    }

    private void endSequences() {
        running.forEach(sequence -> sequence.age++);
        running.removeIf(sequence -> {
            boolean ended = sequence.age == sequence.length.output();
            if (ended) {
                release(sequence);
            }
            return ended;
        });
    }

    private void release(Running sequence) {
        if (reservation == Reservation.PAGED) {
            freePages += sequence.slots / PAGE_TOKENS;
        } else {
            blocks.free(sequence.begin, sequence.slots);
        }
    }

    /** Slots that nobody else can use. */
    private int held(Running sequence) {
        return reservation == Reservation.PAGED ? sequence.slots : BuddyPool.blockSize(sequence.slots);
    }

    private static int pages(int tokens) {
        return (tokens + PAGE_TOKENS - 1) / PAGE_TOKENS;
    }
}
