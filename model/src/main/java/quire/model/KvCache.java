package quire.model;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.KvLayout;
import quire.tensor.memory.FileMemory;
import quire.tensor.memory.ReservedMemory;

/**
 * The memory for keys and values: one pool outside of the Java heap, divided into pages. The engine decides which
 * sequence uses which page; this class does not record it.
 *
 * <pre>
 *   pool    [layer 0][layer 1] …             layers may have heads of different sizes
 *   layer   [page 0][page 1] … [page n−1]    a page has the same number in every layer, or in every layer with a
 *   page    see {@link KvLayout}             window and in every other layer
 * </pre>
 *
 * Overflow pages follow the others in each layer whose pages these are. They lie in a file that is mapped over that part of
 * the layer, so whoever reads or writes a page need not know:
 *
 * <pre>
 *   layer   [page 0] … [page n−1][page n] … [page n+o−1]····
 *           memory                 |file                   |     from boundary to boundary of {@link FileMemory#ALIGNMENT};
 *                                                                what page n has before the first one is memory
 * </pre>
 */
final class KvCache {
    private final int pageCount;
    private final int overflowPages;
    private final MemorySegment[] layers;
    /** By layer. */
    private final long[] pageBytes;
    /** By layer: whether its pages are those of layers with a window alone. */
    private final boolean[] apart;

    private final long allPageBytes;

    /**
     * @param layouts the layout of a page in each layer
     * @param windowed for each layer, whether it has a window
     * @param windowPages pages of layers with a window; 0 if these have the same pages as the others
     * @param overflow pages in a file; null for none
     * @throws IllegalArgumentException if that file cannot be made
     */
    KvCache(
            List<KvLayout> layouts,
            List<Boolean> windowed,
            int pageCount,
            int windowPages,
            Decoder.@Nullable Overflow overflow,
            Arena arena) {
        this.pageCount = pageCount;
        overflowPages = overflow == null ? 0 : overflow.pages();
        pageBytes = layouts.stream().mapToLong(KvLayout::pageBytes).toArray();
        apart = new boolean[pageBytes.length];
        long[] sizes = new long[pageBytes.length];
        long all = 0;
        long ofPage = 0;
        for (int i = 0; i < pageBytes.length; i++) {
            apart[i] = windowPages > 0 && windowed.get(i);
            ofPage = Math.addExact(ofPage, pageBytes[i]);
            long pages = apart[i] ? windowPages : (long) pageCount + overflowPages;
            sizes[i] = Math.multiplyExact(pageBytes[i], pages);
            all = Math.addExact(all, overflow == null ? sizes[i] : aligned(sizes[i]));
        }
        allPageBytes = ofPage;
        // A file can be mapped over memory of its own only, and smaller blocks share theirs.
        MemorySegment pool =
                ReservedMemory.allocate(arena, overflow == null ? all : Math.max(all, ReservedMemory.HUGE_PAGE));
        layers = new MemorySegment[pageBytes.length];
        List<MemorySegment> inFile = new ArrayList<>();
        long first = 0;
        for (int i = 0; i < layers.length; i++) {
            layers[i] = pool.asSlice(first, sizes[i]);
            if (overflow == null) {
                first += sizes[i];
                continue;
            }
            long inMemory = aligned(pageBytes[i] * pageCount);
            long end = aligned(sizes[i]);
            if (!apart[i] && inMemory < end) {
                inFile.add(pool.asSlice(first + inMemory, end - inMemory));
            }
            first += end;
        }
        if (overflow != null) {
            try {
                FileMemory.map(inFile, overflow.folder());
            } catch (IOException e) {
                throw new IllegalArgumentException(
                        "a file for " + overflowPages + " KV pages ("
                                + inFile.stream()
                                        .mapToLong(MemorySegment::byteSize)
                                        .sum()
                                + " bytes) cannot be made in " + overflow.folder() + ": " + e.getMessage()
                                + "; choose a shorter context or another disk",
                        e);
            }
        }
    }

    private static long aligned(long bytes) {
        return Math.ceilDiv(bytes, FileMemory.ALIGNMENT) * FileMemory.ALIGNMENT;
    }

    int pageCount() {
        return pageCount;
    }

    int overflowPages() {
        return overflowPages;
    }

    /** Copies a page to another one, in all layers whose pages these are. */
    void copy(int from, int to) {
        copy(from, to, false);
    }

    /** The same for a page of layers with a window alone. */
    void copyWindow(int from, int to) {
        copy(from, to, true);
    }

    private void copy(int from, int to, boolean windows) {
        for (int i = 0; i < layers.length; i++) {
            if (apart[i] == windows) {
                long bytes = pageBytes[i];
                MemorySegment.copy(layers[i], from * bytes, layers[i], to * bytes, bytes);
            }
        }
    }

    /** Bytes of a page over all layers. */
    long pageBytes() {
        return allPageBytes;
    }

    /**
     * Copies a page of all layers, one after another.
     *
     * @param windowPage its number in layers with a window, if they have pages of their own
     */
    void exportPage(int page, int windowPage, MemorySegment to) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(layers[i], (apart[i] ? windowPage : page) * bytes, to, at, bytes);
            at += bytes;
        }
    }

    /** Fills a page of all layers with what {@link #exportPage} has written. */
    void importPage(int page, int windowPage, MemorySegment from) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(from, at, layers[i], (apart[i] ? windowPage : page) * bytes, bytes);
            at += bytes;
        }
    }

    /** The pages of one layer, one after another. */
    MemorySegment layer(int layer) {
        return layers[layer];
    }
}
