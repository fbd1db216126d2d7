package quire.engine.schedule;

import java.lang.System.Logger.Level;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongSupplier;
import quire.engine.DiskTierStats;
import quire.engine.disk.PageFile;
import quire.model.Model;

/**
 * Keeps full KV pages in a file, below the pool in memory, and brings them back.
 *
 * <p><b>Problem.</b> Cached pages give their memory to others, a preempted sequence loses its pages, and a process loses
 * all of them when it ends. To read a page takes much less time than to compute its tokens, but a step must not wait for a
 * disk.
 *
 * <p><b>Idea.</b> One thread reads and writes, in the order in which it is told. It never touches the pool: the engine
 * thread copies a page to the memory of a {@link PageTransfer}, or from it. Such a copy takes less than a hundredth of the
 * time in which the page's tokens are computed, and in return no page has an owner other than a row or the cache.
 *
 * <pre>
 *   pool ──copy──▶ transfer ──▶ file      a page in the index that has no copy in the file, parents first
 *   pool ◀──copy── transfer ◀── file      the next page of a sequence that has just begun
 *        engine thread      the other thread
 *
 *   text of a sequence    [ in the pool | in the file | neither ]
 *                           taken         read          computed
 * </pre>
 *
 * <p>A page is offered when it becomes full, and again when its row is freed. There is a fixed number of transfers. If the
 * file is slower than the engine, pages wait in a queue; a page whose memory is needed before its turn is not written.
 *
 * <p>A sequence that begins takes row and pages as any other. It computes nothing while it has a {@link DiskLoad}. A page
 * that comes for a sequence which has ended or lost its row meanwhile is dropped. So cancellation, preemption and a lack of
 * pages need no care here.
 *
 * <p>A page of the file holds all layers. Where layers with a window have pages of their own, a page is written with its
 * window page, or not at all if the memory of that was needed before its turn.
 *
 * <p>What a slot of the file contains is decided here when a transfer is handed over. Since the other thread keeps the
 * order, a slot may be reused while its old content is still to be read.
 *
 * <p>Engine thread only, except for {@link #stats} and {@link #hasNews}.
 */
final class DiskTier {
    private static final System.Logger LOG = System.getLogger("quire.engine");
    private static final int NONE = DiskIndex.NONE;

    private final PageFile file;
    private final Executor io;
    private final Model model;
    private final KvPages pages;
    private final PrefixIndex memory;
    private final DiskIndex disk;
    private final LoadCost cost;
    private final int pageTokens;

    private final BlockingQueue<PageTransfer> done;
    private final PageTransfer[] idle; // a stack
    private int idleCount;
    private int writesUnderway;

    // Where a page's copy is, by page: valid for this entry in the index and this content of the slot.
    private final int[] pageToSlot;
    private final long[] pageToEntry;
    private final long[] pageToGeneration;

    // Pages to write: a ring. A page whose entry has changed was used for other tokens meanwhile.
    private final int[] queue;
    private final long[] queueEntries;
    private final long[] pageToQueuedEntry;
    private int first;
    private int queued;
    private boolean writing = true;

    private final AtomicInteger pagesInFile = new AtomicInteger();
    private final AtomicLong hitTokens = new AtomicLong();
    private final AtomicLong readPages = new AtomicLong();
    private final AtomicLong writtenPages = new AtomicLong();
    private final AtomicLong skippedPages = new AtomicLong();
    private final AtomicLong damagedPages = new AtomicLong();

    /** Takes the pages that come from the file. */
    @FunctionalInterface
    interface Receiver {
        /** A running sequence's next page has its content now. */
        void loaded(Sequence sequence);
    }

    /**
     * Restores what the file has.
     *
     * @param io runs what it is given one after another, in this order
     * @param memory finds the pages in the pool
     * @param seed and {@code hashMask} as for {@link PrefixIndex}
     * @param wake called when a transfer has ended, on the thread of {@code io}
     */
    DiskTier(
            PageFile file,
            Executor io,
            Model model,
            KvPages pages,
            PrefixIndex memory,
            long seed,
            long hashMask,
            LongSupplier nanoClock,
            Runnable wake) {
        this.file = file;
        this.io = io;
        this.model = model;
        this.pages = pages;
        this.memory = memory;
        pageTokens = pages.pageTokens();
        disk = new DiskIndex(file.slots(), pageTokens, seed, hashMask);
        cost = new LoadCost(pageTokens);
        int transfers = PageFile.transfers(model.pageBytes());
        done = new ArrayBlockingQueue<>(transfers);
        idle = new PageTransfer[transfers];
        while (idleCount < transfers) {
            idle[idleCount++] = new PageTransfer(file, done, nanoClock, wake);
        }
        pageToSlot = new int[pages.total()];
        pageToEntry = new long[pages.total()];
        pageToGeneration = new long[pages.total()];
        queue = new int[pages.total()];
        queueEntries = new long[pages.total()];
        pageToQueuedEntry = new long[pages.total()];
        file.restore((slot, record) -> disk.restore(
                slot,
                record.generation,
                record.parentSlot,
                record.parentGeneration,
                record.tokens,
                new CacheSalt(record.saltHigh, record.saltLow)));
        disk.restored();
        pagesInFile.set(disk.size());
    }

    // ── from the pool to the file ───────────────────────────────────────────────────────────────────────────────────

    /** The slot that has a copy of a page in the index; {@link #NONE} if there is none. */
    private int slotOf(int page) {
        int slot = pageToSlot[page];
        return pageToEntry[page] == memory.entry(page)
                        && pageToEntry[page] != 0
                        && pageToGeneration[page] == disk.generation(slot)
                ? slot
                : NONE;
    }

    private void setSlot(int page, int slot) {
        pageToSlot[page] = slot;
        pageToEntry[page] = memory.entry(page);
        pageToGeneration[page] = disk.generation(slot);
    }

    /** Offers a row's pages in the index for writing, from the {@code from}-th on. */
    void offer(int row, int from) {
        int[] table = pages.table(row);
        for (int i = from; i < pages.memoryIndexed(row); i++) { // overflow pages are on a disk already
            int page = table[i];
            long entry = memory.entry(page);
            if (slotOf(page) != NONE || pageToQueuedEntry[page] == entry) {
                continue;
            }
            if (!writing) {
                skippedPages.incrementAndGet();
                continue;
            }
            if (queued == queue.length) {
                next(); // the one that waits for longest: its memory is needed first
                skippedPages.incrementAndGet();
            }
            int at = (first + queued++) % queue.length;
            queue[at] = page;
            queueEntries[at] = entry;
            pageToQueuedEntry[page] = entry;
        }
    }

    /** Takes a page from the queue; {@link #NONE} if its memory was used for other tokens. */
    private int next() {
        int page = queue[first];
        long entry = queueEntries[first];
        first = (first + 1) % queue.length;
        queued--;
        if (pageToQueuedEntry[page] == entry) {
            pageToQueuedEntry[page] = 0;
        }
        return memory.entry(page) == entry ? page : NONE;
    }

    /** Writes pages of the queue, as long as there are transfers. Half of them are left for reading. */
    private void write() {
        while (writing && queued > 0 && idleCount > 0 && writesUnderway < (idle.length + 1) / 2) {
            int page = next();
            if (page == NONE) {
                skippedPages.incrementAndGet();
            } else if (slotOf(page) == NONE) {
                write(page);
            }
        }
    }

    private void write(int page) {
        int parent = memory.parent(page);
        int parentSlot = parent == PrefixIndex.NONE ? NONE : slotOf(parent);
        int from = page * pageTokens;
        CacheSalt salt = memory.salt(page);
        if (parent != PrefixIndex.NONE && parentSlot == NONE) {
            skippedPages.incrementAndGet(); // it could not be found without the page before it
            return;
        }
        int slot = disk.find(parentSlot, memory.tokens(), from, salt);
        if (slot == NONE && pages.windowTotal() > 0 && pages.partner(page) < 0) {
            skippedPages.incrementAndGet(); // the memory of its window page was needed before
            return;
        }
        if (slot == NONE) {
            slot = disk.add(parentSlot, memory.tokens(), from, salt);
            if (slot == NONE) {
                skippedPages.incrementAndGet(); // the text is longer than the file
                return;
            }
            PageTransfer transfer = idle[--idleCount];
            model.exportPage(page, pages.partner(page), transfer.page);
            transfer.writes = true;
            transfer.load = null;
            transfer.slot = slot;
            transfer.generation = disk.generation(slot);
            transfer.record.generation = disk.generation(slot);
            transfer.record.parentSlot = parentSlot;
            transfer.record.parentGeneration = parentSlot == NONE ? 0 : disk.generation(parentSlot);
            transfer.record.saltHigh = salt.high();
            transfer.record.saltLow = salt.low();
            System.arraycopy(memory.tokens(), from, transfer.record.tokens, 0, pageTokens);
            writesUnderway++;
            pagesInFile.set(disk.size());
            io.execute(transfer);
        }
        setSlot(page, slot);
    }

    // ── from the file to the pool ───────────────────────────────────────────────────────────────────────────────────

    /**
     * Gives a sequence that has just begun a {@link DiskLoad} if the file has its next pages, and if they are read in less
     * time than computed. Marks the pages of its text in the file as used.
     */
    void begin(Sequence sequence) {
        int have = pages.indexed(sequence.row);
        CachedPrefix prefix = new CachedPrefix(sequence.prefix.salt);
        int slot = NONE;
        int count = 0;
        // It computes at least its last token.
        while ((count + 1L) * pageTokens < sequence.length() && count < pages.mostInMemory()) {
            int next = disk.find(slot, sequence.tokens(), count * pageTokens, prefix.salt);
            if (next == NONE) {
                break;
            }
            slot = next;
            count++;
            if (count == have) {
                prefix.lastPage = slot;
            }
        }
        if (slot != NONE) {
            disk.touch(slot);
        }
        if (count > have && pages.isCaching() && cost.isReadingCheaper()) {
            prefix.pages = have;
            prefix.lastEntry = have == 0 ? 0 : disk.generation(prefix.lastPage);
            sequence.load = new DiskLoad(sequence, prefix, count);
        }
    }

    /** Asks for pages of all sequences that have a load, the oldest first, then writes. */
    void transfer(List<Sequence> running) {
        ask(running);
        write();
    }

    /** Asks for pages of all sequences that have a load, the oldest first. */
    private void ask(List<Sequence> running) {
        for (int i = 0; i < running.size(); i++) {
            DiskLoad load = running.get(i).load;
            while (load != null && idleCount > 0 && load.asked.pages < load.end) {
                if (!ask(load)) {
                    load.sequence.load = null; // the pages are not there any more
                    break;
                }
            }
        }
    }

    private boolean ask(DiskLoad load) {
        CachedPrefix asked = load.asked;
        if (asked.pages > 0 && disk.generation(asked.lastPage) != asked.lastEntry) {
            return false;
        }
        int slot = disk.find(asked.lastPage, load.sequence.tokens(), asked.pages * pageTokens, asked.salt);
        if (slot == NONE) {
            return false;
        }
        PageTransfer transfer = idle[--idleCount];
        transfer.writes = false;
        transfer.load = load;
        transfer.ordinal = asked.pages;
        transfer.slot = slot;
        transfer.generation = disk.generation(slot);
        asked.lastPage = slot;
        asked.lastEntry = transfer.generation;
        asked.pages++;
        io.execute(transfer);
        return true;
    }

    /** Handles the transfers that have ended, then asks for further pages. */
    void receive(List<Sequence> running, Receiver receiver) {
        for (PageTransfer transfer = done.poll(); transfer != null; transfer = done.poll()) {
            DiskLoad load = transfer.load;
            if (load == null) {
                written(transfer);
            } else {
                read(transfer, load, receiver);
            }
            transfer.load = null;
            idle[idleCount++] = transfer;
        }
        ask(running);
    }

    private void written(PageTransfer transfer) {
        writesUnderway--;
        Exception failure = transfer.failure;
        if (failure == null) {
            writtenPages.incrementAndGet();
            return;
        }
        if (writing) {
            writing = false;
            queued = 0;
            LOG.log(
                    Level.WARNING,
                    "the KV file " + file.path() + " cannot be written (" + failure.getMessage()
                            + "): no more pages are stored there until the next start; those in it are still used");
        }
        forget(transfer);
    }

    private void read(PageTransfer transfer, DiskLoad load, Receiver receiver) {
        Sequence sequence = load.sequence;
        boolean wanted = sequence.load == load && pages.indexed(sequence.row) == transfer.ordinal;
        if (!transfer.intact) {
            damaged(transfer);
            if (sequence.load == load) {
                sequence.load = null; // it computes the rest
            }
            return;
        }
        readPages.incrementAndGet();
        cost.read(transfer.nanos);
        if (wanted) {
            int page = pages.table(sequence.row)[transfer.ordinal];
            pages.prepare(sequence.row, (transfer.ordinal + 1) * pageTokens);
            model.importPage(page, pages.partner(page), transfer.page);
            receiver.loaded(sequence);
            if (disk.generation(transfer.slot) == transfer.generation) {
                setSlot(pages.table(sequence.row)[transfer.ordinal], transfer.slot);
            }
        }
        if (sequence.load == load && transfer.ordinal + 1 == load.end) {
            sequence.load = null;
        }
    }

    private void damaged(PageTransfer transfer) {
        Exception failure = transfer.failure;
        damagedPages.incrementAndGet();
        int lost = forget(transfer);
        LOG.log(
                Level.WARNING,
                "the page in slot " + transfer.slot + " of the KV file " + file.path()
                        + (failure == null
                                ? " is damaged: its checksum is another one"
                                : " cannot be read (" + failure.getMessage() + ")")
                        + "; it is computed again, and " + lost + " pages of the file are ignored");
    }

    /** Forgets what a failed transfer was about, and the pages that follow; returns their number. */
    private int forget(PageTransfer transfer) {
        int lost = disk.generation(transfer.slot) == transfer.generation ? disk.removeWithFollowers(transfer.slot) : 0;
        pagesInFile.set(disk.size());
        return lost;
    }

    // ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /** Learns from a step that computed {@code rows} tokens. */
    void learn(int rows, long nanos) {
        cost.computed(rows, nanos);
    }

    /** Counts prompt tokens that were read and not computed. */
    void countHits(int tokens) {
        hitTokens.addAndGet(tokens);
    }

    /** Whether a transfer is under way. When it has ended, the engine thread is woken. */
    boolean isBusy() {
        return idleCount < idle.length;
    }

    /** Whether transfers have ended that {@link #receive} has not handled. Any thread. */
    boolean hasNews() {
        return !done.isEmpty();
    }

    /** What the file does. Any thread. */
    DiskTierStats stats() {
        return new DiskTierStats(
                file.slots(),
                pagesInFile.get(),
                hitTokens.get(),
                readPages.get() * model.pageBytes(),
                writtenPages.get() * model.pageBytes(),
                skippedPages.get(),
                damagedPages.get());
    }

    /**
     * Checks that the slots and the loads are consistent.
     *
     * @throws IllegalStateException naming the first fault
     */
    void checkIntegrity(List<Sequence> running) {
        disk.checkIntegrity();
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.load != null && !isBusy() && !hasNews()) {
                throw new IllegalStateException(sequence + " waits for pages of the KV file, but none is under way");
            }
        }
    }
}
