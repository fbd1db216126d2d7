package quire.engine.schedule;

import java.util.Arrays;
import java.util.List;

/**
 * Keeps steps short for tenants with little, beside one that decodes many answers at once: decoding sequences take turns.
 *
 * <p><b>Problem.</b> A short request waits for the step under way and for its own. If both have a token of every decoding
 * sequence of another tenant, it waits many times longer than alone.
 *
 * <p><b>Idea.</b> A tenant is <i>small</i> if it runs at most half of its share of the sequences, by its weight. A short
 * prompt of a small tenant is a <i>guest</i>. It gets a step in which the others are left out. For some time after it, and
 * after its answer, the next one is expected: then what one step would do is done in several, as far as smaller ones are efficient.
 *
 * <pre>
 *   a whole step             | a b c d e f g h | prompts ················ |
 *   while guests may come    | a b c | prompts ·· | d e f | prompts ·· | g h | prompts ·· |
 *   when one has come        | a b c | prompts ·· | guest | d e f | prompts ·· | …
 * </pre>
 *
 * <p><b>Invariants.</b> Sequences of small tenants are never left out, nor are those with a lower priority number than the
 * guest. At most every other step is for guests. Who has been left out the most steps in a row comes first. A sequence is
 * left out of at most {@value #MOST_MISSED} steps in a row. It is not left out if its last token is older than a whole step
 * takes, or nearly so in a step that is not for guests. So the gap between two tokens of a running answer stays below one
 * and a half times the target, or three times what decoding alone takes.
 *
 * <p>Without a target for the gap between tokens nothing is left out. Engine thread only; allocates nothing.
 */
final class Turns {
    /** A sequence is left out of at most this many steps in a row. */
    static final int MOST_MISSED = 2 * PromptPace.MOST_PARTS;

    /** How much longer the parts of a step may take than a whole one, as a share. */
    private static final double MOST_LOST = 0.05;

    /** The same of the step that follows the answer to a guest, since many clients ask again at once. */
    private static final double MOST_LOST_AFTER_ANSWER = 0.25;

    private final List<Sequence> running;
    private final List<Sequence> waiting;
    private final Tenants tenants;
    private final PromptPace pace;
    private final int budget; // tokens of a step
    private final int[] missed = new int[MOST_MISSED + 1]; // by steps: sequences left out of so many in a row

    private boolean forGuests; // whether the step is for guests
    private int partTokens; // of a step that is a part of one; 0 for a whole one
    private boolean hasAnswered; // whether an answer to a guest has ended since the last step
    private int guestTokens; // that a step for guests may have
    private boolean hadGuest;
    private long lastGuest; // when the last one came or had its answer, in nanoseconds of the clock
    private int guestPriority; // its priority

    /**
     * @param running the running sequences
     * @param waiting the waiting ones, in order
     * @param budget tokens of a step
     */
    Turns(List<Sequence> running, List<Sequence> waiting, Tenants tenants, PromptPace pace, int budget) {
        this.running = running;
        this.waiting = waiting;
        this.tenants = tenants;
        this.pace = pace;
        this.budget = budget;
    }

    /**
     * Decides what a step leaves out ({@link Sequence#isLeftOut}).
     *
     * @param now when the step begins
     * @param wasLight whether the last step was light or for guests, so that this one is not for guests
     */
    void begin(long now, boolean wasLight) {
        double lost = hasAnswered ? MOST_LOST_AFTER_ANSWER : MOST_LOST;
        lastGuest = hasAnswered ? now : lastGuest; // who has an answer may ask again, however long it was
        hasAnswered = false;
        end();
        if (!pace.isLimited()) {
            return;
        }
        int decoding = 0;
        long contexts = 0;
        Sequence guest = null;
        Sequence prompt = null;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.isDecoding()) {
                decoding++;
                contexts += sequence.length();
            } else if (!sequence.isLoading() && !sequence.isReady() && prompt == null) {
                prompt = sequence;
            }
            guest = guest == null && isGuest(sequence) ? sequence : guest;
        }
        guestTokens = guest == null ? 0 : pace.guestTokens(decoding, contexts, guest.computed, budget);
        if (guest != null && guest.remaining() <= guestTokens) {
            hadGuest = true;
            lastGuest = now;
            guestPriority = guest.priority;
            forGuests = !wasLight;
        }
        if (!hadGuest || now - lastGuest > pace.expectedNanos()) {
            return;
        }
        long whole = pace.stepNanos(decoding, contexts);
        int parts = 1;
        if (!forGuests) {
            int tokens = prompt == null
                    ? 0
                    : pace.wholeTokens(decoding, contexts, prompt.computed, Math.max(1, budget - decoding));
            parts = pace.parts(lost, decoding, contexts, tokens, prompt == null ? 0 : prompt.computed);
            partTokens = parts == 1 ? 0 : Math.ceilDiv(decoding + tokens, parts);
            if (parts == 1 || pace.isCheap(decoding, contexts, partTokens)) {
                return;
            }
        }
        leaveOut(now, forGuests ? whole : whole - whole / parts, forGuests ? 0 : parts);
    }

    /**
     * Leaves out decoding sequences, but those whose last token is {@code oldest} nanoseconds old.
     *
     * @param parts one of so many is not left out; 0 for all
     */
    private void leaveOut(long now, long oldest, int parts) {
        int hosts = 0;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (isHost(sequence)) {
                sequence.isLeftOut = sequence.missed < MOST_MISSED && now - sequence.lastTokenNanos < oldest;
                missed[sequence.missed]++;
                hosts++;
            }
        }
        int turns = parts == 0 ? 0 : Math.ceilDiv(hosts, parts);
        int least = MOST_MISSED; // all who have missed more have their turn
        while (least > 0 && missed[least] <= turns) {
            turns -= missed[least--];
        }
        Arrays.fill(missed, 0);
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (isHost(sequence)) {
                boolean hasTurn = sequence.missed > least || (sequence.missed == least && turns-- > 0);
                sequence.isLeftOut &= !hasTurn;
            }
        }
    }

    /** A decoding sequence that may be left out. One without a token yet is new. */
    private boolean isHost(Sequence sequence) {
        return sequence.isDecoding()
                && sequence.lastTokenNanos != Sequence.NEVER
                && sequence.priority >= guestPriority
                && !tenants.isSmall(sequence);
    }

    /** Whether a running sequence is a prompt of a small tenant, and no sequence has a lower priority number. */
    boolean isGuest(Sequence sequence) {
        return sequence.generated() == 0
                && !sequence.isLoading()
                && !sequence.isReady()
                && !sequence.needsScores()
                && sequence.priority <= running.getFirst().priority
                && (waiting.isEmpty() || sequence.priority <= waiting.getFirst().priority)
                && tenants.isSmall(sequence);
    }

    /** An answer has ended; its sequence is still in its list. */
    void ended(Sequence sequence) {
        hasAnswered |= sequence.state == Sequence.State.RUNNING && tenants.isSmall(sequence);
    }

    /** Whether this step computes prompts of guests only. */
    boolean isForGuests() {
        return forGuests;
    }

    /** The most prompt tokens of a step for guests. */
    int guestTokens() {
        return guestTokens;
    }

    /** Tokens that this step should have, the decoding ones included; 0 if it is a whole one. */
    int partTokens() {
        return partTokens;
    }

    /** Nothing is left out of this step. */
    void end() {
        forGuests = false;
        partTokens = 0;
        for (int i = 0; i < running.size(); i++) {
            running.get(i).isLeftOut = false;
        }
    }

    /** Counts who was left out of a step. */
    void planned() {
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            sequence.missed = sequence.isLeftOut ? sequence.missed + 1 : 0;
        }
    }
}
