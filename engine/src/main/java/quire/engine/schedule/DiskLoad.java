package quire.engine.schedule;

/** The pages that a running sequence gets from the KV file before it computes the rest of its text. */
final class DiskLoad {
    final Sequence sequence;
    /** The last page that was asked for, as the {@link DiskIndex} knows it. */
    final CachedPrefix asked;
    /** Number of pages that the sequence has afterwards. */
    final int end;

    DiskLoad(Sequence sequence, CachedPrefix asked, int end) {
        this.sequence = sequence;
        this.asked = asked;
        this.end = end;
    }
}
