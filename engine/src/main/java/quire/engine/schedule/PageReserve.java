package quire.engine.schedule;

import java.util.List;

/**
 * How many pages stay free for running sequences when another one starts: those that they will still need, estimated
 * from the lengths of the answers that have ended.
 *
 * <p>Too small a reserve lets so many sequences start that pages run out, and what a preempted one has computed is
 * computed again. Too large a one, such as the most that every answer may have, lets few run at once. The estimate is
 * multiplied by a <i>caution</i>. Each step in which a sequence was preempted raises it, and each other step lowers it
 * a little.
 *
 * <p>Sequences end one after another, and each one gives its pages back. So the reserve is the most that all need
 * together at one time, if each has the expected length:
 *
 * <pre>
 *   pages    a  ■■■■■■■■□□□□□□□┤ends, and frees its pages
 *            b  ■■■■□□□┤                                     ■ held   □ needed by the end
 *            c  ■■■■■■■■■■■■□□□□□□□□□□□□□□□┤
 *   time              t1  t2  t4         t8                  checked in 1, 2, 4, 8 … pages of further tokens
 * </pre>
 *
 * <p>Engine thread only; allocates nothing.
 */
final class PageReserve {
    private static final double LEAST = 0.5;
    private static final double MOST = 4;

    /** Factor of the caution in a step with a preemption. */
    private static final double TIGHTEN = 1.5;

    /** Factor of the caution in a step without one: it halves in about 350 steps. */
    private static final double RELAX = 0.998;

    /** The answers that are assumed before the first ones have ended, in tokens. */
    private static final int FIRST_ANSWER = 128;

    private final LengthEstimator lengths = new LengthEstimator();
    private final double least;
    private final double most;
    private double caution;
    private boolean preempted;

    PageReserve() {
        this(LEAST, MOST);
    }

    /** @param least the least caution, and {@code most} the most: 0 for no reserve, infinity for the longest answers */
    PageReserve(double least, double most) {
        this.least = least;
        this.most = most;
        caution = Math.clamp(1, least, most);
        lengths.add(FIRST_ANSWER);
        lengths.add(FIRST_ANSWER);
    }

    /** An answer ended with this many tokens. */
    void ended(int tokens) {
        lengths.add(tokens);
    }

    /** A sequence was preempted in this step. */
    void preempted() {
        preempted = true;
    }

    /** A step begins. */
    void step() {
        caution = Math.clamp(caution * (preempted ? TIGHTEN : RELAX), least, most);
        preempted = false;
    }

    /** Estimates the tokens that a sequence will still have, which {@link #pages} uses. */
    void estimate(Sequence sequence) {
        int rest = sequence.pooled != null ? 0 : sequence.promptLength + sequence.maxNewTokens - sequence.length();
        double expected = caution == 0 ? 0 : caution * lengths.expectedRest(sequence.generated(), rest);
        sequence.expectedRest = (int) Math.min(rest, Math.ceil(expected));
    }

    /**
     * Pages to keep free for the first of the running sequences. Each that may still grow has one at least.
     *
     * @param running with their estimates
     * @param count how many of them
     */
    int pages(List<Sequence> running, int count, KvPages pages) {
        return most(running, count, pages, false);
    }

    /** The same for the window pages that are promised to sequences. */
    int windows(List<Sequence> running, int count, KvPages pages) {
        return pages.windowTotal() == 0 ? 0 : most(running, count, pages, true);
    }

    private static int held(Sequence sequence, KvPages pages, boolean windows) {
        return windows ? pages.windowsOf(sequence.row) : pages.memoryHeld(sequence.row);
    }

    private static int pagesFor(int tokens, KvPages pages, boolean windows) {
        return windows ? pages.windowsFor(tokens) : pages.memoryFor(tokens);
    }

    private static int most(List<Sequence> running, int count, KvPages pages, boolean windows) {
        int longest = 0;
        int reserve = 0;
        for (int i = 0; i < count; i++) {
            Sequence sequence = running.get(i);
            longest = Math.max(longest, sequence.expectedRest);
            boolean grows = held(sequence, pages, windows) < pagesFor(sequence.maxComputed(), pages, windows);
            reserve += grows ? 1 : 0;
        }
        int before = 0;
        for (int time = pages.pageTokens(); before < longest; time *= 2) {
            int needed = 0;
            for (int i = 0; i < count; i++) {
                Sequence sequence = running.get(i);
                int held = held(sequence, pages, windows);
                // Who ends between two times counts with all its pages at the later one.
                int tokens = sequence.length() + Math.min(time, sequence.expectedRest) - 1;
                needed +=
                        sequence.expectedRest <= before ? -held : Math.max(0, pagesFor(tokens, pages, windows) - held);
            }
            reserve = Math.max(reserve, needed);
            before = time;
        }
        return reserve;
    }
}
