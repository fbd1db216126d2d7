package quire.engine.schedule;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.FlightRecorder;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;

/**
 * Writes steps and ended requests into a recording of Java's flight recorder, beside the events of the JVM: so a pause of
 * the garbage collector is seen next to the step that it made longer. They cost nothing while nobody records. Engine thread
 * only.
 */
final class FlightEvents {
    /** One step of the engine. */
    @Name("io.quire.Step")
    @Label("Step")
    @Category("Quire")
    @Description("A pass through the model, with planning before it and sampling behind it")
    @StackTrace(false)
    static final class StepEvent extends Event {
        @Label("Sequences")
        int sequences;

        @Label("Tokens")
        int tokens;

        @Label("Prompt Tokens")
        int promptTokens;

        @Label("Generated Tokens")
        int generatedTokens;

        @Label("Running Sequences")
        int running;

        @Label("Waiting Sequences")
        int waiting;

        @Label("Free Pages")
        int freePages;
    }

    /** One request, at its end. */
    @Name("io.quire.Request")
    @Label("Request")
    @Category("Quire")
    @Description("A request, when it ends")
    @StackTrace(false)
    static final class RequestEvent extends Event {
        @Label("Request")
        @Description("The id that the client or the server gave it")
        String request = "";

        @Label("Finish Reason")
        String reason = "";

        @Label("Prompt Tokens")
        int promptTokens;

        @Label("Cached Tokens")
        int cachedTokens;

        @Label("Generated Tokens")
        int generatedTokens;

        @Label("In the Queue")
        @Timespan(Timespan.NANOSECONDS)
        long queued;

        @Label("To the First Token")
        @Timespan(Timespan.NANOSECONDS)
        long firstToken;

        @Label("In All")
        @Timespan(Timespan.NANOSECONDS)
        long total;
    }

    /**
     * Used again for each step, so that a step allocates nothing. Null until the flight recorder is asked for: Java needs 50 ms
     * for the first event of a process.
     */
    private @Nullable StepEvent step;

    private boolean begun;

    /** A step begins to be planned. */
    void beginStep() {
        begun = false;
        if (FlightRecorder.isInitialized()) {
            StepEvent event = step == null ? new StepEvent() : step;
            step = event;
            begun = event.isEnabled();
            if (begun) {
                event.begin();
            }
        }
    }

    /** The step has been computed. */
    void endStep(StepPlan done, int promptTokens, int generatedTokens, int running, int waiting, int freePages) {
        StepEvent event = step;
        if (!begun || event == null) {
            return;
        }
        event.end(); // also replaces the duration of the step before
        if (event.shouldCommit()) {
            event.sequences = done.size();
            event.tokens = done.rows();
            event.promptTokens = promptTokens;
            event.generatedTokens = generatedTokens;
            event.running = running;
            event.waiting = waiting;
            event.freePages = freePages;
            event.commit();
        }
    }

    /** A request has ended, whether it ever ran or not. */
    void request(Sequence sequence, FinishReason reason, int generatedTokens, long now) {
        if (!FlightRecorder.isInitialized()) {
            return;
        }
        RequestEvent event = new RequestEvent();
        if (!event.shouldCommit()) {
            return;
        }
        event.request = sequence.name;
        event.reason = reason.name();
        event.promptTokens = sequence.promptLength;
        event.cachedTokens = sequence.cachedTokens;
        event.generatedTokens = generatedTokens;
        long started = sequence.startNanos == Sequence.NEVER ? now : sequence.startNanos;
        event.queued = started - sequence.acceptedNanos;
        event.firstToken =
                sequence.firstTokenNanos == Sequence.NEVER ? 0 : sequence.firstTokenNanos - sequence.acceptedNanos;
        event.total = now - sequence.acceptedNanos;
        event.commit();
    }
}
