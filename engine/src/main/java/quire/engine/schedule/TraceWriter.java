package quire.engine.schedule;

import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.function.LongSupplier;
import quire.engine.BeamSearch;
import quire.engine.schedule.Sequence.State;

/**
 * Writes all that a {@link Scheduler} gets, and what it decides, to a file. {@link TraceReplay} reads it.
 *
 * <pre>
 *   header       {@link TraceHeader}
 *   request      when it was accepted, prompt in tokens, limits, tenant …              ┐
 *   cancel       number of the request                                                 │ each with the readings
 *   cancel all                                                                         │ of the clock that the
 *   step         plan: sequences, tokens, draft tokens, pages; preemptions …          │ scheduler made in it
 *                result: tokens that were appended, or with which beams may go on;     │
 *                answers that ended                                                    ┘
 * </pre>
 *
 * <p>Engine thread only, except for {@link #create}, and for {@link #close} after that thread has ended. A fault of the file
 * ends the trace and not the engine.
 */
public final class TraceWriter implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    static final int REQUEST = 1;
    static final int CANCEL = 2;
    static final int CANCEL_ALL = 3;
    static final int STEP = 4;

    private static final int BUFFER_BYTES = 1 << 16;

    private final Path path;
    private final DataOutputStream out;
    private boolean ended;
    private long[] readings = new long[16];
    private int readingCount;
    private int[] lengths = {}; // by index in the plan: tokens of the sequence before the step

    private TraceWriter(Path path, DataOutputStream out) {
        this.path = path;
        this.out = out;
    }

    /**
     * Creates the file.
     *
     * @throws IllegalArgumentException if the file exists or cannot be created
     */
    public static TraceWriter create(Path path) {
        try {
            return new TraceWriter(
                    path,
                    new DataOutputStream(new BufferedOutputStream(
                            Files.newOutputStream(path, StandardOpenOption.CREATE_NEW), BUFFER_BYTES)));
        } catch (FileAlreadyExistsException e) {
            throw new IllegalArgumentException(
                    "the trace file " + path + " exists: choose another name, or remove it", e);
        } catch (IOException e) {
            throw new IllegalArgumentException("the trace file " + path + " cannot be created: " + e, e);
        }
    }

    /** A clock that notes its readings. */
    LongSupplier noting(LongSupplier clock) {
        return () -> {
            long now = clock.getAsLong();
            if (readingCount == readings.length) {
                readings = Arrays.copyOf(readings, 2 * readingCount);
            }
            readings[readingCount++] = now;
            return now;
        };
    }

    void begin(TraceHeader header) {
        lengths = new int[header.limits().sequences()];
        write(() -> header.write(out));
    }

    /** The scheduler has received a new sequence, which was cancelled perhaps. */
    void received(Sequence sequence) {
        write(() -> {
            out.writeByte(REQUEST);
            out.writeLong(sequence.acceptedNanos);
            out.writeLong(sequence.queuedTokens);
            out.writeInt(sequence.maxNewTokens);
            out.writeBoolean(sequence.params.promptLogprobs() >= 0);
            out.writeUTF(
                    sequence.pooled == null ? "" : sequence.pooled.pooling().name());
            out.writeLong(sequence.prefix.salt.high());
            out.writeLong(sequence.prefix.salt.low());
            CacheSalt tenant = CacheSalt.of(sequence.tenantName); // without its name
            out.writeLong(tenant.high());
            out.writeLong(tenant.low());
            out.writeInt(sequence.weight);
            out.writeInt(sequence.priority);
            out.writeLong(sequence.timeoutNanos);
            BeamSearch search = sequence.beam == null ? null : sequence.beam.group.search();
            out.writeInt(search == null ? 0 : search.width());
            if (search != null) {
                out.writeDouble(search.lengthPenalty());
                out.writeUTF(search.earlyStopping().name());
            }
            out.writeInt(sequence.promptLength);
            for (int i = 0; i < sequence.promptLength; i++) {
                out.writeInt(sequence.tokens()[i]);
            }
            out.writeBoolean(sequence.state == State.ENDED);
            writeReadings();
        });
    }

    /** The scheduler has received a cancellation of a sequence that had not ended. */
    void cancelled(Sequence sequence) {
        write(() -> {
            out.writeByte(CANCEL);
            out.writeLong(sequence.number);
            writeReadings();
        });
    }

    /** The scheduler has ended all answers. */
    void cancelledAll() {
        write(() -> {
            out.writeByte(CANCEL_ALL);
            writeReadings();
        });
    }

    /** The scheduler has planned a step. {@link #executed} must follow. */
    void planned(StepPlan plan, KvPages pages, long preemptions) {
        write(() -> {
            out.writeByte(STEP);
            out.writeInt(plan.size());
            for (int i = 0; i < plan.size(); i++) {
                Sequence sequence = plan.sequence(i);
                lengths[i] = sequence.length();
                out.writeLong(sequence.number);
                out.writeInt(plan.tokenCount(i));
                out.writeInt(pages.held(sequence.row));
                out.writeInt(plan.draftCount(i));
                for (int j = 0; j < plan.draftCount(i); j++) {
                    out.writeInt(sequence.tokens()[sequence.length() + j]);
                }
            }
            out.writeInt(pages.used());
            out.writeLong(pages.evictions());
            out.writeLong(preemptions);
        });
    }

    /** The plan was executed, if it was not empty. */
    void executed(StepPlan plan) {
        write(() -> {
            for (int i = 0; i < plan.size(); i++) {
                Sequence sequence = plan.sequence(i);
                if (sequence.beam != null) {
                    writeBeam(sequence.beam, plan.logitRows(i) > 0, sequence.state == State.ENDED);
                    continue;
                }
                int kept = sequence.length() - lengths[i];
                out.writeInt(kept);
                for (int j = 0; j < kept; j++) {
                    out.writeInt(sequence.tokens()[lengths[i] + j]);
                }
                out.writeBoolean(sequence.state == State.ENDED);
            }
            writeReadings();
            if (plan.isEmpty()) { // there is time, and the process may end before there is work again
                out.flush();
            }
        });
    }

    /** How a beam may go on, and not how it did: the replay chooses too. */
    private void writeBeam(BeamGroup.Beam beam, boolean hasRow, boolean ended) throws IOException {
        int count = hasRow ? beam.next.count() : 0;
        out.writeBoolean(hasRow);
        out.writeInt(count);
        for (int i = 0; i < count; i++) {
            out.writeInt(beam.next.token(i));
            out.writeFloat(beam.next.logprob(i));
            out.writeBoolean(beam.next.isEnd(i));
        }
        out.writeBoolean(ended);
        out.writeBoolean(ended && !beam.group.hasEnded());
    }

    private void writeReadings() throws IOException {
        out.writeInt(readingCount);
        for (int i = 0; i < readingCount; i++) {
            out.writeLong(readings[i]);
        }
        readingCount = 0;
    }

    /** Writes something. */
    @FunctionalInterface
    private interface Part {
        void write() throws IOException;
    }

    private void write(Part part) {
        if (ended) {
            readingCount = 0;
            return;
        }
        try {
            part.write();
        } catch (IOException e) {
            ended = true;
            LOG.log(Level.WARNING, "the trace " + path + " ends here, because it cannot be written: " + e);
        }
    }

    /** Writes what is left and closes the file. */
    @Override
    public void close() {
        try {
            out.close();
        } catch (IOException e) {
            if (!ended) {
                LOG.log(Level.WARNING, "the end of the trace " + path + " could not be written: " + e);
            }
        }
    }
}
