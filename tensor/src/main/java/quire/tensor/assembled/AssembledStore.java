package quire.tensor.assembled;

import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import quire.tensor.FloatMatrix;
import quire.tensor.KvLayout;
import quire.tensor.assembled.avx2.Avx2StoreCode;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCall;

/**
 * Stores K and V with the functions of {@link Avx2StoreCode}. The caller has checked that the arguments fit together.
 */
final class AssembledStore {
    private final Map<KvLayout.KvType, MemorySegment> typeToCode = new EnumMap<>(KvLayout.KvType.class);

    AssembledStore(CodeMemory memory) {
        for (KvLayout.KvType type : KvLayout.KvType.values()) {
            String name = "store-" + type.name().toLowerCase(Locale.ROOT);
            typeToCode.put(type, memory.install(name, Avx2StoreCode.assemble(type)));
        }
    }

    void store(KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        long pageCount = pages.byteSize() / layout.pageBytes();
        if (!pages.isNative()) {
            throw new IllegalArgumentException("pages must be native memory, not " + pages);
        }
        if (page >= pageCount) {
            throw new IllegalArgumentException("page " + page + " is not one of the " + pageCount + " pages");
        }
        KvLayout.KvType type = layout.type();
        long at = Addresses.of(pages) + page * layout.pageBytes();
        long keys = Addresses.of(k) + k.rowOffset(row);
        long values = Addresses.of(v) + v.rowOffset(row);
        MemorySegment code = Objects.requireNonNull(typeToCode.get(type));
        MachineCall.call(
                code,
                keys,
                values,
                at + layout.keyScalesOffset(slot, 0) + slot % KvLayout.TILE * (long) type.scaleBytes(),
                at + layout.valueScalesOffset(slot, 0) + slot % KvLayout.TILE * (long) type.scaleBytes(),
                at + layout.keyTileOffset(slot, 0) + layout.keyOffset(slot, 0),
                at + layout.valueTileOffset(slot, 0) + layout.valueOffset(slot, 0),
                (long) layout.kvHeads(),
                (long) layout.headDim(),
                layout.keyScalesOffset(0, 1) - layout.keyScalesOffset(0, 0));
    }
}
