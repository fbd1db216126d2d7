package quire.engine.schedule;

import static java.util.Objects.requireNonNull;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.NavigableSet;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import quire.engine.BeamSearch;
import quire.engine.BeamSearch.EarlyStopping;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.SamplingParams;
import quire.engine.sample.Continuations;

/**
 * A {@linkplain BeamSearch beam search}: what its sequences have in common. Decides which beams go on and which answers there
 * are. The {@link Scheduler} decides when their tokens are computed, and on which pages.
 *
 * <p>Each of {@code width} sequences, the members, can be a beam. At first only the leader is one: it computes the prompt. A beam
 * whose next row is computed is <i>ready</i>, and computes nothing until all beams of its group are. It does not need its pages
 * for that, because {@link Continuations} has all that is needed of the row. So the rows may come from different steps, and one
 * sequence that fits is enough for a group to make progress.
 *
 * <pre>
 *   members     0         1         2            width 3
 *   beams       the·      the c·    a d·         · = ready
 *   choose      the cat   the cow   a dog        from the likeliest continuations of all beams
 *   parents     member 1  member 1  member 2     the first child of a beam goes on in its place,
 *   members     a copy    1         2            the others in places of beams without children: member 0 takes
 *                                                member 1's full pages and a copy of its last page
 * </pre>
 *
 * <p>The history of a beam is a list from its last token to its first one. Beams share the nodes of what they have in common.
 *
 * <p>Engine thread only, except that {@link Beam#next} is filled by the workers. A step allocates a node for each beam.
 */
final class BeamGroup {
    /** A token of an answer and those before it. */
    private record Node(
            @Nullable Node before, int token, @Nullable Logprobs logprobs) {}

    /** An answer, or a beam that may become one. */
    @SuppressWarnings("ArrayRecordComponent") // not compared
    record Answer(int[] tokens, @Nullable Logprobs[] logprobs, double score, FinishReason reason) {}

    /** What a sequence has as a member of a group. */
    static final class Beam {
        final BeamGroup group;
        /** How it may go on; valid while it is {@link #ready}. */
        final Continuations next;
        /** The likeliest tokens of its row, if the request wants them. */
        @Nullable
        Logprobs top;
        /** Whether there is nothing to compute: its row was computed and it waits for others, or it is no beam. */
        boolean ready;

        private final boolean leads;
        private boolean hasChild;
        private double sum; // of the log probabilities
        private @Nullable Node last;

        private Beam(BeamGroup group, boolean leads) {
            this.group = group;
            this.leads = leads;
            ready = !leads;
            next = new Continuations(group.search.width());
        }

        /** Whether it computes the prompt. */
        boolean leads() {
            return leads;
        }
    }

    private final BeamSearch search;
    private final SamplingParams params;
    private final int maxNewTokens;
    private final int[] endTokens; // ascending
    private final List<Sequence> members = new ArrayList<>();
    private final List<Sequence> beams = new ArrayList<>(); // best first
    private final List<Answer> answers = new ArrayList<>(); // best first, at most the width
    private int generated;
    private boolean ended;

    // What choose has chosen: by place among the next beams.
    private final Sequence[] parents;
    private final @Nullable Sequence[] children;
    private final int[] tokens;
    private final Node[] nodes;
    private final double[] sums;
    private int chosen;
    private final int[] places; // by index of the beam: the next of its continuations

    /**
     * @param maxNewTokens maximum number of tokens of an answer
     * @param endOfText the tokens with which the model ends a text
     */
    BeamGroup(BeamSearch search, SamplingParams params, int maxNewTokens, int[] endOfText) {
        this.search = search;
        this.params = params;
        this.maxNewTokens = maxNewTokens;
        NavigableSet<Integer> ends = new TreeSet<>(params.stopTokens());
        if (!params.ignoreEndOfText()) {
            Arrays.stream(endOfText).forEach(ends::add);
        }
        endTokens = ends.stream().mapToInt(Integer::intValue).toArray();
        int width = search.width();
        parents = new Sequence[width];
        children = new Sequence[width];
        tokens = new int[width];
        nodes = new Node[width];
        sums = new double[width];
        places = new int[width];
    }

    /** The part of the next member; {@link #add} must follow. */
    Beam nextBeam() {
        return new Beam(this, members.isEmpty());
    }

    /** Adds a member. The first one is the leader and the first beam. */
    void add(Sequence member) {
        if (members.isEmpty()) {
            beams.add(member);
        }
        members.add(member);
    }

    /** What the group searches. */
    BeamSearch search() {
        return search;
    }

    /** The member that computes the prompt. */
    Sequence leader() {
        return members.getFirst();
    }

    /** All members. Not a copy. */
    List<Sequence> members() {
        return members;
    }

    /** The beams, best first. Not a copy. */
    List<Sequence> beams() {
        return beams;
    }

    /** The tokens that end an answer, in ascending order. */
    int[] endTokens() {
        return endTokens;
    }

    /** Whether an answer may end with the next token. */
    boolean mayEnd() {
        return generated + 1 > params.minTokens();
    }

    /** Whether all beams are ready, so that the next ones can be chosen. */
    boolean isComplete() {
        for (int i = 0; i < beams.size(); i++) {
            if (!beamOf(beams.get(i)).ready) {
                return false;
            }
        }
        return !ended;
    }

    /** Whether the search has its answers. */
    boolean hasEnded() {
        return ended;
    }

    private static Beam beamOf(Sequence sequence) {
        return requireNonNull(sequence.beam);
    }

    /** Chooses answers and the next beams from the continuations of all beams. {@link #advance} follows, or the end. */
    void choose() {
        int width = search.width();
        generated++;
        boolean isLast = generated == maxNewTokens;
        double divisor = divisor(generated);
        Arrays.fill(places, 0, beams.size(), 0);
        chosen = 0;
        for (int rank = 0; chosen < width && !(isLast && rank == width); rank++) {
            int best = beamWithBest();
            if (best < 0) {
                break; // the model excludes all other tokens
            }
            Beam beam = beamOf(beams.get(best));
            int place = places[best]++;
            boolean ends = beam.next.isEnd(place);
            double sum = beam.sum + beam.next.logprob(place);
            if (!ends && !isLast) {
                parents[chosen] = beams.get(best);
                tokens[chosen] = beam.next.token(place);
                nodes[chosen] = node(beam, place);
                sums[chosen++] = sum;
            } else if (rank < width) {
                FinishReason reason = ends ? FinishReason.STOP : FinishReason.LENGTH;
                insert(answer(node(beam, place), generated, sum / divisor, reason), answers);
                if (answers.size() > width) {
                    answers.removeLast();
                }
            }
        }
        ended = chosen == 0 || (answers.size() == width && !canImprove());
        chooseMembers();
    }

    /** The first child of a beam goes on in its place. The others get places of members without children. */
    private void chooseMembers() {
        for (int i = 0; i < chosen; i++) {
            Beam parent = beamOf(parents[i]);
            children[i] = parent.hasChild ? null : parents[i];
            parent.hasChild = true;
        }
        int member = 0;
        for (int i = 0; i < chosen; i++) {
            if (children[i] == null) {
                while (beamOf(members.get(member)).hasChild) {
                    member++;
                }
                children[i] = members.get(member++);
            }
        }
    }

    /** The index of the beam with the best continuation that was not looked at; −1 if there is none. */
    private int beamWithBest() {
        int best = -1;
        double bestSum = 0;
        for (int i = 0; i < beams.size(); i++) {
            Beam beam = beamOf(beams.get(i));
            if (places[i] < beam.next.count()) {
                double sum = beam.sum + beam.next.logprob(places[i]);
                if (best < 0 || sum > bestSum) { // of equal ones the first beam's
                    best = i;
                    bestSum = sum;
                }
            }
        }
        return best;
    }

    private Node node(Beam beam, int place) {
        Logprobs top = beam.top;
        Logprobs logprobs = top == null
                ? null
                : new Logprobs(beam.next.logprob(place), beam.next.rank(place), top.topTokens(), top.topLogprobs());
        return new Node(beam.last, beam.next.token(place), logprobs);
    }

    /** Whether a next beam may still become better than the worst answer. */
    private boolean canImprove() {
        if (search.earlyStopping() == EarlyStopping.YES) {
            return false;
        }
        boolean growing = search.earlyStopping() == EarlyStopping.NEVER && search.lengthPenalty() > 0;
        return sums[0] / divisor(growing ? maxNewTokens : generated)
                > answers.getLast().score();
    }

    private double divisor(int length) {
        return StrictMath.pow(length, search.lengthPenalty());
    }

    private static Answer answer(Node end, int length, double score, FinishReason reason) {
        int[] tokens = new int[length];
        Logprobs[] logprobs = new Logprobs[length];
        Node node = end;
        for (int i = length - 1; i >= 0; i--) {
            Node at = requireNonNull(node);
            tokens[i] = at.token;
            logprobs[i] = at.logprobs;
            node = at.before;
        }
        return new Answer(tokens, logprobs, score, reason);
    }

    /** Inserts behind those that are as good. */
    private static void insert(Answer answer, List<Answer> best) {
        int place = best.size();
        while (place > 0 && answer.score > best.get(place - 1).score) {
            place--;
        }
        best.add(place, answer);
    }

    /** How many beams were chosen. */
    int chosen() {
        return chosen;
    }

    /** The beam that a chosen one continues. */
    Sequence parent(int place) {
        return parents[place];
    }

    /** The member that becomes a chosen beam: the parent itself, or one that has to get the parent's tokens and pages. */
    Sequence child(int place) {
        return requireNonNull(children[place]);
    }

    /** Makes the chosen beams the beams, and adds their tokens. All other members are ready then. */
    void advance() {
        beams.clear();
        for (int i = 0; i < members.size(); i++) {
            Beam beam = beamOf(members.get(i));
            beam.ready = true;
            beam.hasChild = false;
        }
        for (int i = 0; i < chosen; i++) {
            Sequence member = child(i);
            Beam beam = beamOf(member);
            member.append(tokens[i]);
            beam.last = nodes[i];
            beam.sum = sums[i];
            beam.ready = false;
            beams.add(member);
        }
    }

    /**
     * The answers, best first.
     *
     * @param reason why the search ends before it has all of them; then the beams are answers too, and it is the reason of all:
     *     also of those that had ended, since the whole search may have found better ones
     */
    List<Answer> answers(@Nullable FinishReason reason) {
        List<Answer> all = new ArrayList<>();
        for (Answer answer : answers) {
            all.add(reason == null ? answer : new Answer(answer.tokens, answer.logprobs, answer.score, reason));
        }
        if (reason != null && generated > 0) {
            for (Sequence sequence : beams) {
                Beam beam = beamOf(sequence);
                insert(answer(requireNonNull(beam.last), generated, beam.sum / divisor(generated), reason), all);
            }
        }
        return all;
    }
}
