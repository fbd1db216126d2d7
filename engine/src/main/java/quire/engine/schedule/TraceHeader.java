package quire.engine.schedule;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import org.jspecify.annotations.Nullable;
import quire.model.WindowLayers;

/**
 * What the decisions of a {@link Scheduler} depend on beside its requests; the beginning of a trace.
 *
 * @param limits of a step
 * @param maxContext positions of one sequence
 * @param pageCount KV pages
 * @param pageTokens positions of a page
 * @param prefixCache whether pages are shared
 * @param wholePages whether pages are shared only when they are full
 * @param windowLayers whose pages are apart; null if a page holds all layers
 * @param savedStates states of recurrent layers that can be saved; 0 if a sequence can begin behind each page
 * @param targetNanos of {@link PromptPace}
 * @param cost what {@link StepCost#start} gave
 */
@SuppressWarnings("ArrayRecordComponent") // headers are not compared
record TraceHeader(
        StepLimits limits,
        int maxContext,
        int pageCount,
        int pageTokens,
        boolean prefixCache,
        boolean wholePages,
        @Nullable WindowLayers windowLayers,
        int savedStates,
        long targetNanos,
        double[] cost) {
    /** "Quire" and the version of the format. */
    private static final long MAGIC = 0x51_75_69_72_65_00_00_05L;

    /** More than any model has of anything. */
    private static final int MOST = 1 << 28;

    private static final int MAX_COST = 1 << 16;

    void write(DataOutput out) throws IOException {
        out.writeLong(MAGIC);
        out.writeInt(limits.sequences());
        out.writeInt(limits.tokens());
        out.writeInt(limits.logitRows());
        out.writeBoolean(limits.wholePrompts());
        out.writeInt(maxContext);
        out.writeInt(pageCount);
        out.writeInt(pageTokens);
        out.writeBoolean(prefixCache);
        out.writeBoolean(wholePages);
        out.writeInt(windowLayers == null ? 0 : windowLayers.positions());
        out.writeBoolean(windowLayers != null && windowLayers.chunked());
        out.writeInt(windowLayers == null ? 0 : windowLayers.pageCount());
        out.writeInt(savedStates);
        out.writeLong(targetNanos);
        out.writeInt(cost.length);
        for (double number : cost) {
            out.writeDouble(number);
        }
    }

    /** @throws IllegalArgumentException if this is no trace, or one of another version */
    static TraceHeader read(DataInput in) throws IOException {
        if (in.readLong() != MAGIC) {
            throw new IllegalArgumentException("it is no trace, or one of another version of Quire");
        }
        StepLimits limits = new StepLimits(number(in), number(in), number(in), in.readBoolean());
        int maxContext = number(in);
        int pageCount = number(in);
        int pageTokens = number(in);
        boolean prefixCache = in.readBoolean();
        boolean wholePages = in.readBoolean();
        int windowPositions = TraceReplay.checked(in.readInt(), 0, MOST);
        boolean chunked = in.readBoolean();
        int windowPages = TraceReplay.checked(in.readInt(), windowPositions == 0 ? 0 : 1, MOST);
        WindowLayers windowLayers =
                windowPositions == 0 ? null : new WindowLayers(windowPositions, chunked, windowPages);
        int savedStates = TraceReplay.checked(in.readInt(), 0, MOST);
        long targetNanos = in.readLong();
        double[] cost = new double[TraceReplay.checked(in.readInt(), 0, MAX_COST)];
        for (int i = 0; i < cost.length; i++) {
            cost[i] = in.readDouble();
        }
        return new TraceHeader(
                limits,
                maxContext,
                pageCount,
                pageTokens,
                prefixCache,
                wholePages,
                windowLayers,
                savedStates,
                targetNanos,
                cost);
    }

    private static int number(DataInput in) throws IOException {
        return TraceReplay.checked(in.readInt(), 1, MOST);
    }
}
