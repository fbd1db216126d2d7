package quire.engine.schedule;

import java.lang.foreign.MemorySegment;
import java.util.Queue;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.disk.PageFile;

/**
 * One page on its way to the file or from it, with memory for it. The engine thread fills it in and hands it to the thread
 * that reads and writes; {@link #run} there, then it comes back through a queue. Reused.
 */
final class PageTransfer implements Runnable {
    final MemorySegment page;
    final PageFile.PageRecord record;
    private final PageFile file;
    private final Queue<PageTransfer> done;
    private final LongSupplier nanoClock;
    private final Runnable wake;

    int slot;
    long generation;
    /** Whether it writes the page; otherwise it reads it. */
    boolean writes;
    /** What the page is read for; null for one that is written. */
    @Nullable
    DiskLoad load;
    /** Which of the text's pages is read. */
    int ordinal;

    /** Whether the page that was read is the one that was written. */
    boolean intact;
    /** Why it could not be read or written; null if it could. */
    @Nullable
    Exception failure;
    /** Nanoseconds that it took. */
    long nanos;

    /**
     * @param done receives this when it has run
     * @param wake called after that
     */
    PageTransfer(PageFile file, Queue<PageTransfer> done, LongSupplier nanoClock, Runnable wake) {
        this.file = file;
        this.done = done;
        this.nanoClock = nanoClock;
        this.wake = wake;
        page = file.newPage();
        record = new PageFile.PageRecord(file.pageTokens());
    }

    @Override
    public void run() {
        long begin = nanoClock.getAsLong();
        failure = null;
        intact = false;
        try {
            if (writes) {
                file.write(slot, record, page);
                intact = true;
            } else {
                intact = file.read(slot, page);
            }
        } catch (Exception e) {
            failure = e;
        }
        nanos = nanoClock.getAsLong() - begin;
        done.add(this);
        wake.run();
    }
}
