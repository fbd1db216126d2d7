package quire.tensor.assembled;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Objects;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.packing.PackedForm;
import quire.tensor.packing.PanelPacker;
import quire.tensor.packing.PanelReader;

/**
 * A weight matrix packed for the assembled kernels, and its products. Panels of 16 rows follow each other, their words
 * in one region and their scales in another, so one token reads two streams from start to end. {@link PackedForm} shows
 * a panel of quantised weights. A panel of float weights is {@code [k][16]} numbers in the file's type.
 *
 * <pre>
 *            tile of 12 rows of x ──▶
 *   chunk  ┌ panel ┐ ┌──────────┬──────────┬───
 *   in L2  │ panel │×│ 12 rows  │ 12 rows  │ …      a chunk is read from memory once and multiplied with every tile
 *          └ panel ┘ └──────────┴──────────┴───
 * </pre>
 */
final class AssembledMatrix extends WeightMatrix {
    /** Size of a chunk in bytes. It fits the second-level cache together with a tile of activations. */
    private static final long CHUNK_BYTES = 256 << 10;

    private final ProductFunctions code;
    private final MemorySegment words;
    private final MemorySegment scales;
    private final int panels;
    private final long panelWordBytes;
    private final long panelScaleBytes;
    private final int groups;
    private final int chunkPanels;

    private AssembledMatrix(
            ElementType type, int rows, int columns, ProductFunctions code, MemorySegment words, MemorySegment scales) {
        super(type, rows, columns);
        this.code = code;
        panels = Math.ceilDiv(rows, PackedForm.PANEL);
        groups = groups(type, columns);
        panelWordBytes = panelWordBytes(type, columns);
        panelScaleBytes = panelScaleBytes(type, columns);
        chunkPanels = (int) Math.max(1, CHUNK_BYTES / (panelWordBytes + panelScaleBytes));
        this.words = words;
        this.scales = scales;
    }

    /** See {@link quire.tensor.Kernels#ofPacked}. */
    static AssembledMatrix of(ElementType type, int rows, int columns, ProductFunctions code, MemorySegment packed) {
        long wordBytes = Math.ceilDiv(rows, PackedForm.PANEL) * panelWordBytes(type, columns);
        return new AssembledMatrix(type, rows, columns, code, packed.asSlice(0, wordBytes), packed.asSlice(wordBytes));
    }

    static AssembledMatrix pack(
            ElementType type,
            int rows,
            int columns,
            MemorySegment source,
            ProductFunctions code,
            Arena arena,
            Workers workers) {
        long panelCount = Math.ceilDiv(rows, PackedForm.PANEL);
        AssembledMatrix packed = new AssembledMatrix(
                type,
                rows,
                columns,
                code,
                arena.allocate(panelCount * panelWordBytes(type, columns), 64),
                arena.allocate(panelCount * panelScaleBytes(type, columns), 64));
        workers.run(worker -> {
            PanelPacker packer = new PanelPacker(type, rows, columns, source);
            int from = Workers.shareStart(packed.panels, 1, worker, workers.count());
            int to = Workers.shareStart(packed.panels, 1, worker + 1, workers.count());
            for (int panel = from; panel < to; panel++) {
                packer.pack(
                        panel,
                        packed.words.asSlice(panel * packed.panelWordBytes, packed.panelWordBytes),
                        packed.scales.asSlice(panel * packed.panelScaleBytes, packed.panelScaleBytes));
            }
        });
        return packed;
    }

    private static int groups(ElementType type, int columns) {
        return type.isQuantized()
                ? columns / Activations.BLOCK / PackedForm.of(type).groupBlocks()
                : columns;
    }

    private static long panelWordBytes(ElementType type, int columns) {
        return type.isQuantized()
                ? (long) (columns / Activations.BLOCK) * PackedForm.of(type).wordBytes()
                : (long) columns * PackedForm.PANEL * type.blockBytes();
    }

    private static long panelScaleBytes(ElementType type, int columns) {
        return type.isQuantized()
                ? (long) groups(type, columns) * PackedForm.of(type).scaleBytes()
                : 0;
    }

    static long packedBytes(ElementType type, int rows, int columns) {
        return Math.ceilDiv(rows, PackedForm.PANEL) * (panelWordBytes(type, columns) + panelScaleBytes(type, columns));
    }

    @Override
    public void readRow(int row, MemorySegment target, long targetElement) {
        Objects.checkIndex(row, rows());
        long panel = row / PackedForm.PANEL;
        PanelReader.of(type())
                .read(
                        words,
                        panel * panelWordBytes,
                        scales,
                        panel * panelScaleBytes,
                        row % PackedForm.PANEL,
                        columns(),
                        target,
                        targetElement);
    }

    @Override
    public List<MemorySegment> packed() {
        return List.of(words, scales);
    }

    @Override
    public long packedBytes() {
        return words.byteSize() + scales.byteSize();
    }

    void multiply(Activations x, int rows, FloatMatrix y, int firstPart, int endPart, int parts) {
        int from = Workers.shareStart(panels, 1, firstPart, parts);
        int to = Workers.shareStart(panels, 1, endPart, parts);
        long yAddress = Addresses.of(y);
        long yStride = (long) y.columns() * Float.BYTES;
        long wordsAddress = Addresses.of(words);
        long scalesAddress = Addresses.of(scales);
        long input = type().isQuantized() ? Addresses.of(x.quants()) : Addresses.of(x.values());
        for (int chunk = from; chunk < to; chunk += chunkPanels) {
            int count = Math.min(chunkPanels, to - chunk);
            int lastLanes = chunk + count < panels ? 0xFFFF : 0xFFFF >>> (panels * PackedForm.PANEL - rows());
            long yChunk = yAddress + (long) chunk * PackedForm.WORD_BYTES;
            long chunkWords = wordsAddress + chunk * panelWordBytes;
            long chunkScales = scalesAddress + chunk * panelScaleBytes;
            int most = code.maxRows();
            for (int row = 0; row < rows; row += most) {
                int n = Math.min(most, rows - row);
                long yRow = yChunk + row * yStride;
                if (type().isQuantized()) {
                    long tile = input
                            + (long) (row / ActivationTile.ROWS)
                                    * (columns() / Activations.BLOCK)
                                    * ActivationTile.BLOCK_BYTES;
                    code.product(
                            row % ActivationTile.ROWS,
                            n,
                            chunkWords,
                            chunkScales,
                            tile,
                            yRow,
                            yStride,
                            groups,
                            count,
                            lastLanes);
                } else {
                    long xRow = input + x.values().rowOffset(row);
                    long xStride = (long) columns() * Float.BYTES;
                    code.product(0, n, chunkWords, xStride, xRow, yRow, yStride, groups, count, lastLanes);
                }
            }
        }
        multiplyByFactor(y, rows, from * PackedForm.PANEL, Math.min(to * PackedForm.PANEL, rows()));
    }
}
