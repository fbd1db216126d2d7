package quire.engine.schedule;

import static java.util.Objects.requireNonNull;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.TokenStream;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.sample.TokenHistory;
import quire.model.text.Tokenizer;

/**
 * One request on the engine thread. It has <i>computed</i> tokens and <i>target</i> tokens. Steps compute the
 * difference; when there is none left, the model chooses the next target token.
 *
 * <pre>
 *   tokens    p p p p p p p p g g g d d · · ·
 *             |     |         |     |         |
 *             0     computed  |     length    promptLength + maxNewTokens
 *                             promptLength
 *             [0, computed)       K and V are in the row's pages, computed for this sequence or found in the cache
 *             [computed, length)  to compute: the rest of the prompt, one new token, or everything after preemption
 *             d                   draft tokens of the current step, if any; not target tokens
 * </pre>
 */
public final class Sequence {
    /** {@link #row} of a sequence that holds no pages. */
    static final int NO_ROW = -1;

    /** {@link #lastTokenNanos} before the first token. */
    static final long NEVER = Long.MIN_VALUE;

    /** Maximum number of tokens of an answer for which {@link #tokens} has room from the start. */
    private static final int FIRST_ROOM = 512;

    /** What the scheduler does with a sequence. */
    enum State {
        /** Accepted and in the inbox. */
        SUBMITTED,
        /** In the queue, for the first time or after preemption. */
        WAITING,
        /** In every step, with a row of pages. */
        RUNNING,
        /** In a {@link BeamGroup} without pages: no beam, or one that waits for others. */
        PARKED,
        /** Its stream has ended. */
        ENDED
    }

    final SamplingParams params;
    final OutputQueue stream;
    final RequestTimeline timeline;
    final OutputText text;
    final TokenHistory history;
    final int promptLength;
    final int maxNewTokens;
    /** The vector that is wanted in place of tokens; null for tokens. */
    final @Nullable PooledVector pooled;
    /** Its part in a beam search; null if it is no member of one. */
    final BeamGroup.@Nullable Beam beam;

    final String name;
    final String tenantName;
    final int weight;
    final int priority;
    final long acceptedNanos;
    /** Nanoseconds after {@link #acceptedNanos} at which the answer ends; 0 for never. */
    final long timeoutNanos;

    private final Tokenizer tokenizer;

    State state = State.SUBMITTED;
    int row = NO_ROW;
    /** The cached pages that it would begin with, while it waits. */
    final CachedPrefix prefix;

    /**
     * How many of {@link #tokens} have K and V in the row's pages. While it waits: how many are in the cached pages of
     * {@link #prefix}.
     */
    int computed;
    /** The maximum of {@link #computed} in a row so far; prompt tokens below it are in the statistics. */
    int computedOnce;
    /** Prompt tokens whose K and V were found in the cache and never computed for this sequence. */
    int cachedTokens;
    /** The position behind what its state has, which draft tokens do not change; of models with {@link SavedStates}. */
    int stateEnd;
    /** Where its text parts from the cached one that it began like; 0 for nowhere. */
    int branch;
    /** Where its text parts from that of a prompt that waits for it; 0 for nowhere. */
    int fork;
    /** The saved state behind its last full page; {@link SavedStates#NONE} for none. */
    int lastState = SavedStates.NONE;
    /** What {@link SavedStates#stamp} said about it. */
    long lastStateStamp;
    /** Tokens that it is expected to have still; see {@link PageReserve}. */
    int expectedRest;
    /** The pages that it gets from the KV file before it computes anything; null if there are none. */
    @Nullable
    DiskLoad load;
    /** Number of prompt tokens in the step that is being planned. */
    int planned;
    /** Whether the step that is being planned leaves it out although it decodes; see {@link Turns}. */
    boolean isLeftOut;
    /** Steps in a row that left it out. */
    int missed;
    /** Arrival order. */
    long number;
    /** What it counts for in the {@link QueueSpeed} while it waits. */
    long queuedTokens;
    /** Seconds that it was expected to wait when it was accepted, by the {@link QueueSpeed} alone. */
    double expectedWait;
    /** Who pays for it; set when it arrives in the queue. */
    Tenants.@Nullable Tenant tenant;
    /** Its place in the order of its priority; see {@link Tenants}. */
    double place;
    /** Tokens that its tenant was charged for it. */
    long charged;

    long startNanos = NEVER;
    long firstTokenNanos = NEVER;
    long lastTokenNanos = NEVER;
    boolean wasStarted;

    private final int[] prediction;
    private final int[] stopTokens;
    /** Log probabilities of the prompt's tokens, from the second one on; empty if they are not wanted. */
    private final @Nullable Logprobs[] promptLogprobs;

    /** How many of {@link #promptLogprobs} are there. */
    private int scored;

    private int[] tokens;
    private int length;
    private volatile boolean cancelled;
    private DraftSource.@Nullable State draftState;

    /**
     * @param maxNewTokens maximum number of tokens to generate, by the request and by the context; 1 for a vector
     * @param constraint of the answer's text; null for none
     * @param endOfText the tokens with which the model ends a text
     * @param inbox receives the sequence, on any thread, when the stream is closed
     */
    Sequence(
            Request request,
            Tokenizer tokenizer,
            int maxNewTokens,
            @Nullable ConstraintCursor constraint,
            int[] endOfText,
            long acceptedNanos,
            Consumer<Sequence> inbox) {
        this(request, tokenizer, maxNewTokens, constraint, endOfText, acceptedNanos, inbox, null);
    }

    /** The same for a member of a beam search. */
    Sequence(
            Request request,
            Tokenizer tokenizer,
            int maxNewTokens,
            @Nullable ConstraintCursor constraint,
            int[] endOfText,
            long acceptedNanos,
            Consumer<Sequence> inbox,
            BeamGroup.@Nullable Beam beam) {
        this.beam = beam;
        params = request.params();
        prefix = new CachedPrefix(CacheSalt.of(request.cacheSalt()));
        length = request.prompt().length;
        promptLength = length;
        tokens = Arrays.copyOf(request.prompt(), length + Math.min(maxNewTokens, FIRST_ROOM));
        this.maxNewTokens = maxNewTokens;
        pooled = request.pooling() == null ? null : new PooledVector(request.pooling(), promptLength);
        prediction = request.prediction();
        this.tokenizer = tokenizer;
        this.acceptedNanos = acceptedNanos;
        name = request.name();
        tenantName = request.scheduling().tenant();
        weight = request.scheduling().weight();
        priority = request.scheduling().priority();
        timeoutNanos = request.scheduling().timeout().toNanos();
        stopTokens = params.stopTokens().stream().mapToInt(Integer::intValue).toArray();
        boolean isScored = params.promptLogprobs() >= 0 && (beam == null || beam.leads());
        promptLogprobs = new Logprobs[isScored ? promptLength - 1 : 0];
        IntStream ends = params.ignoreEndOfText() ? IntStream.empty() : Arrays.stream(endOfText);
        int[] endTokens = params.minTokens() == 0
                ? stopTokens
                : IntStream.concat(Arrays.stream(stopTokens), ends).toArray();
        history = new TokenHistory(params, request.prompt(), constraint, endTokens);
        text = new OutputText(tokenizer, params.stop(), params.includeStop(), params.showControlTokens());
        timeline = new RequestTimeline(acceptedNanos, promptLength);
        stream = new OutputQueue(
                () -> {
                    cancelled = true;
                    inbox.accept(this);
                },
                timeline);
    }

    /** Whether the stream was closed. Any thread. */
    boolean isCancelled() {
        return cancelled;
    }

    /**
     * Whether this sequence comes first: by priority, then by the share of its tenant, then by arrival. The members of a beam
     * search follow each other at the place of their leader.
     */
    boolean isBefore(Sequence other) {
        if (priority != other.priority) {
            return priority < other.priority;
        }
        Sequence first = beam == null ? this : beam.group.leader();
        Sequence otherFirst = other.beam == null ? other : other.beam.group.leader();
        if (first.place != otherFirst.place) {
            return first.place < otherFirst.place;
        }
        return first.number == otherFirst.number ? number < other.number : first.number < otherFirst.number;
    }

    /** Whether it is computed only while nothing else is; see {@link Scheduling#BACKGROUND}. */
    boolean isBackground() {
        return priority == Scheduling.BACKGROUND;
    }

    /** Whether it is a beam whose row was computed, and that waits for others. */
    boolean isReady() {
        return beam != null && beam.ready;
    }

    /** Who pays for it, once it has arrived in the queue. */
    Tenants.Tenant tenant() {
        return requireNonNull(tenant);
    }

    /** Whether the time of the answer is over. */
    boolean isLate(long now) {
        return timeoutNanos > 0 && now - acceptedNanos >= timeoutNanos;
    }

    /**
     * Makes room in {@link #tokens} for {@code count} tokens after {@link #length}. The array doubles, so its size
     * follows the tokens that exist and not those that the request allows.
     */
    public void makeRoom(int count) {
        if (length + count > tokens.length) {
            int most = promptLength + maxNewTokens;
            tokens = Arrays.copyOf(tokens, Math.min(most, Math.max(length + count, 2 * tokens.length)));
        }
    }

    /** How tokens are chosen. */
    public SamplingParams params() {
        return params;
    }

    /** The tokens so far, for penalties and bias. */
    public TokenHistory history() {
        return history;
    }

    /** Tokens of the prompt. */
    public int promptLength() {
        return promptLength;
    }

    /** The most tokens that the answer may have. */
    public int maxNewTokens() {
        return maxNewTokens;
    }

    /** A text that the answer probably repeats in parts; empty for none. Not a copy. */
    public int[] prediction() {
        return prediction;
    }

    /** The row of {@link KvPages} that the sequence holds while it runs. */
    public int row() {
        return row;
    }

    /** What the {@link DraftSource} keeps with this sequence; null while it keeps nothing. */
    public DraftSource.@Nullable State draftState() {
        return draftState;
    }

    /** Stores what the {@link DraftSource} keeps with this sequence. */
    public void setDraftState(DraftSource.State state) {
        draftState = state;
    }

    /** Prompt and answer so far, valid up to {@link #length}; draft tokens follow. Not a copy. */
    public int[] tokens() {
        return tokens;
    }

    /** Number of target tokens: prompt and answer so far. */
    public int length() {
        return length;
    }

    /** Target tokens that are not computed yet and not in cached pages: 1 for a decoding sequence, more for a prompt. */
    int remaining() {
        return length - computed;
    }

    /** Whether a running sequence computes its last token next. */
    boolean isDecoding() {
        return remaining() == 1 && !isLoading();
    }

    /** Number of tokens of the answer so far. */
    public int generated() {
        return length - promptLength;
    }

    /** Maximum number of positions that will be computed: the last token of an answer is not. */
    int maxComputed() {
        return promptLength + maxNewTokens - 1;
    }

    /** Whether it waits for pages of the KV file. */
    boolean isLoading() {
        return load != null;
    }

    /** Finds the cached pages that the sequence would begin with if it started now. */
    void match(KvPages pages) {
        if (needsEveryPosition()) {
            prefix.clear();
            computed = 0;
        } else {
            computed = pages.match(prefix, tokens, length);
        }
    }

    /** Whether log probabilities of the prompt are missing. Until then each of its positions must be computed. */
    boolean needsScores() {
        return scored < promptLength - 1 && promptLogprobs.length > 0;
    }

    /** Whether positions must be computed for this sequence although their K and V may be in cached pages. */
    boolean needsEveryPosition() {
        return needsScores() || (pooled != null && pooled.needsNextPosition());
    }

    /** Whether the vector of the prompt is wanted, and no tokens. */
    public boolean wantsVector() {
        return pooled != null;
    }

    /** Tokens for which it needs pages when it starts: with the next one, if there will be one. */
    int lengthToStart() {
        return pooled == null ? length + 1 : length;
    }

    /** The first position whose log probabilities are missing. */
    int firstUnscored() {
        return Math.max(computed, scored);
    }

    /** How many of the next {@code count} positions need rows of logits for the log probabilities of the prompt. */
    int rowsToScore(int count) {
        return needsScores() ? Math.max(0, Math.min(computed + count, promptLength - 1) - firstUnscored()) : 0;
    }

    /** Adds the log probabilities of the token behind {@link #firstUnscored}. */
    void addScore(Logprobs logprobs) {
        promptLogprobs[firstUnscored()] = logprobs;
        scored = firstUnscored() + 1;
    }

    /** The log probabilities of the prompt's tokens, once they are all there. */
    List<Logprobs> promptLogprobs() {
        return promptLogprobs.length == 0
                ? List.of()
                : Arrays.stream(promptLogprobs).map(Objects::requireNonNull).toList();
    }

    /**
     * Raises {@link #computed} to what is now in the row's pages.
     *
     * @return how many prompt tokens are new among these; those computed before a preemption are not
     */
    int advance(int nowComputed) {
        computed = nowComputed;
        int before = Math.min(computedOnce, promptLength);
        computedOnce = Math.max(computedOnce, computed);
        return Math.min(computedOnce, promptLength) - before;
    }

    /** Adds a token of the answer. It is already in {@link #history}, which gets each token when it is chosen. */
    void append(int token) {
        makeRoom(1);
        tokens[length++] = token;
    }

    /** Takes the tokens of another sequence with the same prompt. */
    void takeTokens(Sequence other) {
        length = promptLength;
        makeRoom(other.generated());
        System.arraycopy(other.tokens, promptLength, tokens, promptLength, other.generated());
        length = other.length;
        prefix.clear(); // it was found for other tokens
    }

    /** Whether the answer ends with this token: the model's end token, or a stop token of the request. */
    public boolean isEnd(int token) {
        for (int stop : stopTokens) {
            if (stop == token) {
                return true;
            }
        }
        return !params.ignoreEndOfText() && tokenizer.isEndOfGeneration(token);
    }

    /** Whether the answer is long enough to end at a stop string. */
    boolean mayStop() {
        return generated() >= params.minTokens();
    }

    /** Describes the end of an answer of so many tokens. */
    TokenStream.Finish finish(
            FinishReason reason, String rest, @Nullable String stop, int answerTokens, @Nullable String error) {
        return new TokenStream.Finish(reason, rest, stop, promptLength, answerTokens, error);
    }

    @Override
    public String toString() {
        return "sequence " + number + " " + state + (priority == 0 ? "" : " of priority " + priority) + ": prompt "
                + promptLength + ", generated " + generated() + "/" + maxNewTokens + ", computed " + computed + ", row "
                + row;
    }
}
