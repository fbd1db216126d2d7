package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.SplittableRandom;
import quire.tensor.block.FileNumbers;
import quire.tensor.machine.KernelSets;
import quire.tensor.vector.Lanes;

/**
 * Compares a kernel set with the scalar set, bit by bit, over seeded random shapes and values with extremes among them.
 * All memory of the kernels comes from {@link GuardedArena}s, with the guard alternately before and behind. The main
 * method runs it in a JVM with narrower vectors.
 */
public final class KernelSetEquality {
    /** Maximum number of columns of a row of weights. */
    private static final int MAX_COLUMNS = 4096;

    private final Kernels kernels;
    private final Kernels scalar = KernelSets.named("scalar");
    private final SplittableRandom random;
    private float factor = 1;
    private final Workers workers = new Workers(2);
    private boolean behind;

    public KernelSetEquality(Kernels kernels, long seed) {
        this.kernels = kernels;
        this.random = new SplittableRandom(seed);
    }

    /** How often a comparison is made that the nightly run makes {@code nightly} times: a third as often in other runs. */
    public static int rounds(int nightly) {
        return Boolean.getBoolean("quire.nightly") ? nightly : (nightly + 2) / 3;
    }

    /** Checks everything; args: name of the set, expected lanes, rounds. */
    public static void main(String[] args) {
        if (Lanes.LANES != Integer.parseInt(args[1])) {
            throw new IllegalStateException("vectors have " + Lanes.LANES + " lanes, not " + args[1]);
        }
        KernelSetEquality equality = new KernelSetEquality(KernelSets.named(args[0]), 7);
        for (int round = 0; round < Integer.parseInt(args[2]); round++) {
            for (ElementType type : ElementType.values()) {
                equality.checkMultiply(type, 40);
                if (round == 0) {
                    equality.checkMultiplyAtEnds(type);
                    if (type.isQuantized()) {
                        equality.checkLargest(type);
                    }
                }
            }
            equality.checkRows();
            equality.checkAdvance();
            equality.checkAttention();
        }
        System.out.println("equal");
    }

    private Arena guarded() {
        behind = !behind;
        return new GuardedArena(behind);
    }

    /** Checks products of a random shape, with 1 to {@code maxRows} rows in random parts. */
    public void checkMultiply(ElementType type, int maxRows) {
        // all lengths up to the longest, but short rows more often, because long rows take more time
        int most = random.nextInt(1, MAX_COLUMNS / type.blockElements() + 1);
        int blocks = random.nextInt(1, random.nextInt(1, most + 1) + 1);
        int outputs = random.nextInt(1, 140);
        int columns = blocks * type.blockElements();
        checkMultiply(type, outputs, columns, random.nextInt(1, maxRows + 1), random.nextInt(1, 5));
    }

    /**
     * Checks the shortest row and a row of realistic length, for few tokens and more parts than a matrix has panels.
     */
    public void checkMultiplyAtEnds(ElementType type) {
        for (int columns : new int[] {type.blockElements(), MAX_COLUMNS}) {
            checkMultiply(type, random.nextInt(1, 50), columns, random.nextInt(1, 14), random.nextInt(1, 10));
        }
    }

    private void checkMultiply(ElementType type, int outputs, int columns, int rows, int parts) {
        boolean extreme = random.nextInt(3) == 0;
        factor = random.nextInt(3) == 0 ? Samples.number(random) : 1;
        try (Arena arena = guarded()) {
            MemorySegment source = Samples.weights(arena, type, outputs, columns, random);
            Activations a = Samples.activations(arena, rows, columns, type.isQuantized(), random);
            if (extreme) {
                addExtremeWeights(type, source);
                addExtremes(a.values());
            }
            Activations b = Activations.allocate(arena, rows, columns, type.isQuantized());
            b.values().segment().copyFrom(a.values().segment());
            FloatMatrix expected = product(scalar, type, outputs, columns, source, a, rows, 1, arena);
            FloatMatrix actual = product(kernels, type, outputs, columns, source, b, rows, parts, arena);
            String what = type + " " + outputs + " × " + columns + ", " + rows + " rows, " + parts + " parts";
            requireEqual(what, expected, actual);
            // one row alone takes another path and must give the same bits
            int row = random.nextInt(rows);
            Activations one = Activations.allocate(arena, 1, columns, type.isQuantized());
            MemorySegment.copy(
                    a.values().segment(),
                    a.values().rowOffset(row),
                    one.values().segment(),
                    0,
                    columns * 4L);
            FloatMatrix alone = product(kernels, type, outputs, columns, source, one, 1, parts, arena);
            for (int o = 0; o < outputs; o++) {
                requireEqual(what + ": row " + row + " alone", expected.get(row, o), alone.get(0, o));
            }
        }
    }

    /** Checks the largest sums of integers of a type: blocks of equal bytes times activations at their limit. */
    public void checkLargest(ElementType type) {
        int outputs = 37;
        int columns = 2 * type.blockElements();
        for (byte fill : new byte[] {0, -1, (byte) 0x80, 0x7f, (byte) 0x88}) {
            for (float value : new float[] {127f, -127f}) {
                try (Arena arena = guarded()) {
                    MemorySegment source = arena.allocate(type.byteSize((long) outputs * columns));
                    source.fill(fill);
                    for (long block = 0; block < source.byteSize(); block += type.blockBytes()) {
                        for (int at : Samples.halves(type)) {
                            Samples.setHalf(type, source, block + at, Float.floatToFloat16(1f));
                        }
                    }
                    for (int rows : new int[] {1, 7}) {
                        Activations x = Activations.allocate(arena, rows, columns, true);
                        Activations z = Activations.allocate(arena, rows, columns, true);
                        for (int i = 0; i < rows * columns; i++) {
                            x.values().set(i / columns, i % columns, value);
                        }
                        z.values().segment().copyFrom(x.values().segment());
                        requireEqual(
                                type + " of bytes " + fill + " × " + value + ", " + rows + " rows",
                                product(scalar, type, outputs, columns, source, x, rows, 1, arena),
                                product(kernels, type, outputs, columns, source, z, rows, 2, arena));
                    }
                }
            }
        }
    }

    private static void requireRow(WeightMatrix w, MemorySegment source, int row, Arena arena) {
        FloatMatrix expected = FloatMatrix.allocate(arena, 1, w.columns());
        FloatMatrix read = FloatMatrix.allocate(arena, 1, w.columns());
        w.type().decode(source, row * w.type().byteSize(w.columns()), expected.segment(), 0, w.columns());
        w.readRow(row, read.segment(), 0);
        requireEqual("row " + row + " of " + w.type(), expected, read);
    }

    private FloatMatrix product(
            Kernels set,
            ElementType type,
            int outputs,
            int columns,
            MemorySegment source,
            Activations x,
            int rows,
            int parts,
            Arena arena) {
        WeightMatrix w = set.pack(type, outputs, columns, source, arena, workers);
        if (set.packedBytes(type, outputs, columns) != w.packedBytes()) {
            throw new AssertionError(set.name() + " packs " + outputs + " × " + columns + " of " + type + " into "
                    + w.packedBytes() + " bytes, not into " + set.packedBytes(type, outputs, columns));
        }
        if (set.keepsPacked() && random.nextBoolean()) {
            MemorySegment copy = arena.allocate(w.packedBytes(), 64);
            long at = 0;
            for (MemorySegment part : w.packed()) {
                MemorySegment.copy(part, 0, copy, at, part.byteSize());
                at += part.byteSize();
            }
            w = set.ofPacked(type, outputs, columns, copy.asReadOnly());
        }
        w.setFactor(factor);
        if (set.readsRows()) {
            requireRow(w, source, random.nextInt(outputs), arena);
        }
        FloatMatrix y = FloatMatrix.allocate(arena, rows, outputs);
        for (int r = 0; r < rows; r++) {
            for (int o = 0; o < outputs; o++) {
                y.set(r, o, 12345f); // must be overwritten
            }
        }
        if (type.isQuantized()) {
            int middle = random.nextInt(rows + 1);
            set.quantize(x, 0, middle);
            set.quantize(x, middle, rows);
        }
        for (int end = parts; end > 0; ) {
            int from = random.nextInt(end);
            set.multiply(w, x, rows, y, from, end, parts);
            end = from;
        }
        return y;
    }

    /** Checks the functions of rows. */
    public void checkRows() {
        int rows = random.nextInt(1, 5);
        int headDim = random.nextInt(1, 130);
        int rotated = random.nextBoolean() ? headDim / 2 * 2 : 2 * random.nextInt(headDim / 2 + 1);
        int columns = headDim * random.nextInt(1, 9);
        try (Arena arena = guarded()) {
            FloatMatrix x = Samples.matrix(arena, rows, columns, random);
            FloatMatrix z = Samples.matrix(arena, rows, columns, random);
            FloatMatrix weight = Samples.matrix(arena, 1, columns, random);
            if (random.nextBoolean()) {
                addExtremes(z);
                if (random.nextBoolean()) {
                    addExtremes(x);
                }
            }
            int from = random.nextInt(rows);
            FloatMatrix[] expected = rowResults(scalar, arena, x, z, weight, headDim, rotated, from);
            FloatMatrix[] actual = rowResults(kernels, arena, x, z, weight, headDim, rotated, from);
            String[] names = {
                "rmsNorm",
                "add",
                "addBias",
                "SiLU",
                "rope",
                "GELU",
                "clamped SiLU",
                "layerNorm",
                "addRow",
                "softCap",
                "multiplyRow",
                "addProduct",
                "sigmoid",
                "squared ReLU",
                "exact GELU"
            };
            for (int i = 0; i < names.length; i++) {
                String what = names[i] + " of " + columns + ", " + rotated + " rotated of " + headDim;
                requireEqual(what, expected[i], actual[i]);
            }
        }
    }

    /** Checks some positions of one head of a state space, with extremes; nothing beside the state and the result changes. */
    public void checkAdvance() {
        int keys = random.nextInt(1, 40);
        int values = random.nextInt(1, 70);
        int heads = random.nextInt(1, 4);
        int head = random.nextInt(heads);
        int rows = random.nextInt(1, 5);
        try (Arena arena = guarded()) {
            FloatMatrix inputs = Samples.matrix(arena, rows, heads * values + 2 * keys, random);
            if (random.nextInt(4) == 0) {
                addExtremes(inputs);
            }
            FloatMatrix before = Samples.matrix(arena, heads * keys, values, random);
            float step = Samples.number(random);
            float decay = random.nextFloat();
            float skip = Samples.number(random);
            int kind = random.nextInt(3);
            FloatMatrix steps = Samples.matrix(arena, rows, heads * values, random);
            FloatMatrix rates = Samples.matrix(arena, keys, heads * values, random);
            FloatMatrix skips = Samples.matrix(arena, 1, heads * values, random);
            FloatMatrix[][] results = new FloatMatrix[2][2];
            for (int set = 0; set < 2; set++) {
                FloatMatrix state = FloatMatrix.allocate(arena, heads * keys, values);
                state.segment().copyFrom(before.segment());
                FloatMatrix out = FloatMatrix.allocate(arena, rows, heads * values);
                StateCall call = new StateCall(keys)
                        .state(state, head * keys)
                        .columns(head * values, heads * values, heads * values + keys)
                        .factors(step, decay, skip)
                        .weights(rates, skips);
                for (int row = 0; row < rows; row++) {
                    call.inputs(inputs, row).steps(steps, row).out(out, row, head * values);
                    Kernels either = set == 0 ? scalar : kernels;
                    switch (kind) {
                        case 0 -> either.advance(call);
                        case 1 -> either.advanceDelta(call);
                        default -> either.advanceSelective(call);
                    }
                }
                results[set][0] = state;
                results[set][1] = out;
            }
            String what = List.of("advance", "advanceDelta", "advanceSelective").get(kind) + " of " + keys + " × "
                    + values + ", head " + head + " of " + heads;
            requireEqual(what + ", state", results[0][0], results[1][0]);
            requireEqual(what + ", result", results[0][1], results[1][1]);
        }
    }

    private static FloatMatrix[] rowResults(
            Kernels set,
            Arena arena,
            FloatMatrix x,
            FloatMatrix z,
            FloatMatrix weight,
            int headDim,
            int rotated,
            int from) {
        Activation[] activations = Activation.values();
        FloatMatrix[] results = new FloatMatrix[15 + activations.length];
        for (int i = 0; i < results.length; i++) {
            results[i] = FloatMatrix.allocate(arena, x.rows(), x.columns());
            results[i].segment().copyFrom(x.segment());
        }
        set.rmsNorm(x, weight, 1e-5f, results[0], from, x.rows());
        set.add(z, results[1], from, x.rows());
        set.addBias(weight, results[2], from, x.rows());
        set.activate(Activation.SILU, z, x, results[3], from, x.rows());
        set.activate(Activation.GELU, z, x, results[5], from, x.rows());
        set.activate(Activation.CLAMPED_SILU, z, x, results[6], from, x.rows());
        set.layerNorm(z, weight, 1e-5f, results[7], from, x.rows());
        set.addRow(z, from, 0.37f, results[8], x.rows() - 1);
        set.softCap(results[9], 1.7f, from, x.rows());
        set.multiplyRow(x, from, z, 0, results[10], x.rows() - 1);
        set.addProduct(x, from, z, 0, results[11], x.rows() - 1);
        set.activate(Activation.SIGMOID, z, x, results[12], from, x.rows());
        set.activate(Activation.SQUARED_RELU, z, x, results[13], from, x.rows());
        set.activate(Activation.EXACT_GELU, z, x, results[14], from, x.rows());
        for (int i = 0; i < activations.length; i++) {
            FloatMatrix inPlace = results[15 + i];
            inPlace.segment().copyFrom(z.segment());
            set.activate(activations[i], inPlace, x, inPlace, from, x.rows());
        }
        FloatMatrix cosSin = FloatMatrix.allocate(arena, 9, rotated);
        for (int position = 0; position < 9; position++) {
            for (int i = 0; i < rotated; i++) {
                cosSin.set(position, i, (float) Math.sin(position + 0.1 * i + (i % 2 == 0 ? Math.PI / 2 : 0)));
            }
        }
        set.rope(results[4], headDim, new int[] {3, 8, 0, 5, 1}, cosSin, from, x.rows());
        return results;
    }

    /** Checks storing K and V of one token, with extremes, anywhere in its page. Nothing else may change. */
    public void checkStore(KvLayout.KvType type) {
        int headDim = random.nextInt(3) == 0 ? random.nextInt(1, 200) : 8 << random.nextInt(5);
        KvLayout layout = new KvLayout(type, 16 * random.nextInt(1, 4), random.nextInt(1, 4), headDim);
        int width = layout.kvHeads() * headDim;
        try (Arena arena = guarded()) {
            FloatMatrix k = Samples.matrix(arena, 2, width, random);
            FloatMatrix v = Samples.matrix(arena, 2, width, random);
            if (random.nextBoolean()) {
                addExtremes(k);
                addExtremes(v);
            }
            int page = random.nextInt(3);
            int slot = random.nextInt(layout.pageTokens());
            int row = random.nextInt(2);
            MemorySegment expected = arena.allocate(3 * layout.pageBytes(), 64);
            MemorySegment actual = arena.allocate(3 * layout.pageBytes(), 64);
            expected.fill((byte) 0x5a);
            actual.fill((byte) 0x5a);
            scalar.storeKv(layout, expected, page, slot, k, v, row);
            kernels.storeKv(layout, actual, page, slot, k, v, row);
            String what = layout + ", page " + page + ", slot " + slot;
            int scales = type.isQuantized() ? KvLayout.TILE : 0;
            int numbers = KvLayout.TILE * layout.width();
            for (long at = 0; at < expected.byteSize(); ) {
                at = requireEqualScales(what, scales, expected, actual, at); // of K
                for (int i = 0; i < 2 * numbers; i++, at += type.bytes()) {
                    requireEqual(what, number(type, expected, at), number(type, actual, at));
                }
                at = requireEqualScales(what, scales, expected, actual, at); // of V
            }
        }
    }

    private static long requireEqualScales(
            String what, int count, MemorySegment expected, MemorySegment actual, long at) {
        for (int i = 0; i < count; i++) {
            long scale = at + i * (long) Float.BYTES;
            requireEqual(what, single(expected, scale), single(actual, scale));
        }
        return at + count * (long) Float.BYTES;
    }

    private static float single(MemorySegment pages, long at) {
        return pages.get(ValueLayout.JAVA_FLOAT_UNALIGNED, at);
    }

    private static float number(KvLayout.KvType type, MemorySegment pages, long at) {
        return switch (type) {
            case F16 -> Float.float16ToFloat(pages.get(FileNumbers.SHORT, at));
            case F32 -> single(pages, at);
            case Q8_0 -> pages.get(ValueLayout.JAVA_BYTE, at);
        };
    }

    /** Checks attention of a random number of rows at a random place. Unused slots of the pages are NaN. */
    public void checkAttention() {
        int kvHeads = random.nextInt(1, 4);
        int heads = kvHeads * random.nextInt(1, 7);
        int headDim = random.nextInt(4) == 0 ? random.nextInt(1, 90) : 8 << random.nextInt(5);
        KvLayout.KvType[] types = KvLayout.KvType.values();
        KvLayout.KvType type = types[random.nextInt(types.length)];
        KvLayout layout = new KvLayout(type, 16 * random.nextInt(1, 4), kvHeads, headDim);
        int context = random.nextInt(1, 100);
        int rows = Math.min(context, random.nextInt(1, kernels.attentionRows() + 1));
        float scale = (float) (1 / Math.sqrt(headDim));
        long seed = random.nextLong();
        int before = random.nextInt(2); // rows before the first row of the call
        int window = random.nextBoolean() ? 0 : random.nextInt(1, 60);
        boolean chunked = random.nextBoolean();
        float softCap = random.nextBoolean() ? 0 : random.nextFloat(0.5f, 30);
        try (Arena arena = guarded()) {
            FloatMatrix sinks = random.nextBoolean() ? null : Samples.matrix(arena, 1, heads, random);
            FloatMatrix q = Samples.matrix(arena, rows + before, heads * headDim, random);
            if (random.nextInt(4) == 0) {
                addExtremes(q);
            }
            PagedContext a = PagedContext.random(scalar, arena, layout, context, new SplittableRandom(seed));
            PagedContext b = PagedContext.random(kernels, arena, layout, context, new SplittableRandom(seed));
            if (a.pages.mismatch(b.pages) != -1) {
                throw new AssertionError("storeKv of " + layout);
            }
            FloatMatrix expected = FloatMatrix.allocate(arena, rows + before, heads * headDim);
            FloatMatrix actual = FloatMatrix.allocate(arena, rows + before, heads * headDim);
            int cut = random.nextInt(rows);
            attend(
                    scalar,
                    heads,
                    a,
                    new AttentionCall(layout, scale, q, expected)
                            .layer(window, chunked, softCap, sinks)
                            .rows(before, rows, context - rows),
                    0,
                    arena);
            attend(
                    kernels,
                    heads,
                    b,
                    new AttentionCall(layout, scale, q, actual)
                            .layer(window, chunked, softCap, sinks)
                            .rows(before, rows, context - rows),
                    cut,
                    arena);
            requireEqual(
                    layout + ", " + heads + " heads, " + rows + " rows at " + (context - rows) + ", cut at " + cut
                            + (chunked ? ", chunks " : ", window ") + window + ", cap " + softCap,
                    expected,
                    actual);
        }
    }

    /**
     * Checks attention of any number of rows at any place: the result of a query must not depend on its call.
     *
     * @param step step of the first position and of the number of rows
     */
    public void checkAttentionWindows(KvLayout layout, int heads, int context, int step) {
        int width = heads * layout.headDim();
        try (Arena arena = guarded()) {
            FloatMatrix q = Samples.matrix(arena, context + 1, width, random);
            PagedContext kv = PagedContext.random(scalar, arena, layout, context, random);
            FloatMatrix expected = FloatMatrix.allocate(arena, context + 1, width);
            attend(scalar, heads, kv, new AttentionCall(layout, 0.3f, q, expected).rows(1, context, 0), 0, arena);
            FloatMatrix actual = FloatMatrix.allocate(arena, context + 1, width);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, heads, arena);
            AttentionCall call = new AttentionCall(layout, 0.3f, q, actual);
            for (int first = 0; first < context; first += step) {
                for (int rows = 1; rows <= Math.min(kernels.attentionRows(), context - first); rows += step) {
                    actual.segment().fill((byte) -1);
                    for (int head = 0; head < layout.kvHeads(); head++) {
                        kernels.attend(
                                call.context(kv.pages, kv.pageTable, head).rows(1 + first, rows, first), scratch);
                    }
                    long from = expected.rowOffset(1 + first);
                    long to = expected.rowOffset(1 + first + rows);
                    MemorySegment own = actual.segment().asSlice(from, to - from);
                    if (own.mismatch(expected.segment().asSlice(from, to - from)) != -1) {
                        throw new AssertionError(layout + ": " + rows + " rows at " + first);
                    }
                    boolean before = first == 0 || Float.isNaN(actual.get(first, width - 1));
                    boolean behind = first + rows == context || Float.isNaN(actual.get(1 + first + rows, 0));
                    if (!before || !behind) {
                        throw new AssertionError(layout + ": wrote outside of " + rows + " rows at " + first);
                    }
                }
            }
        }
    }

    /**
     * Checks attention that crosses segments: the set against scalar, and segments that are computed one by one against calls of
     * all.
     *
     * @param rows number of last rows that are computed
     * @param window see {@link AttentionCall#layer}
     */
    public void checkSegments(KvLayout layout, int heads, int context, int rows, int window, boolean chunked) {
        int width = heads * layout.headDim();
        try (Arena arena = guarded()) {
            FloatMatrix q = Samples.matrix(arena, rows, width, random);
            FloatMatrix sinks = random.nextBoolean() ? null : Samples.matrix(arena, 1, heads, random);
            PagedContext kv = PagedContext.random(scalar, arena, layout, context, random);
            FloatMatrix expected = FloatMatrix.allocate(arena, rows, width);
            FloatMatrix actual = FloatMatrix.allocate(arena, rows, width);
            FloatMatrix cut = FloatMatrix.allocate(arena, rows, width);
            int position = context - rows;
            String what = layout + ", " + rows + " rows at " + position + ", window " + window;
            for (Kernels set : new Kernels[] {scalar, kernels}) {
                AttentionCall call = new AttentionCall(layout, 0.3f, q, set.equals(scalar) ? expected : actual)
                        .layer(window, chunked, 0, sinks)
                        .rows(0, rows, position);
                attend(set, heads, kv, call, 0, arena);
            }
            requireEqual(what, expected, actual);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, heads, arena);
            AttentionCall call = new AttentionCall(layout, 0.3f, q, cut).layer(window, chunked, 0, sinks);
            int group = heads / layout.kvHeads();
            for (int first = 0; first < rows; first += kernels.attentionRows()) {
                int count = Math.min(kernels.attentionRows(), rows - first);
                call.rows(first, count, position + first);
                int segment = call.firstSegment(position + first);
                int segments = (position + first + count - 1) / KvLayout.SEGMENT - segment + 1;
                FloatMatrix partials = FloatMatrix.allocate(arena, 1 + segments * count * group, layout.headDim() + 2);
                for (int head = 0; head < layout.kvHeads(); head++) {
                    call.context(kv.pages, kv.pageTable, head);
                    partials.segment().fill((byte) -1);
                    for (int i = segments - 1; i >= 0; i--) {
                        kernels.attendSegment(call, scratch, segment + i, partials, 1 + i * count * group);
                    }
                    kernels.mergeSegments(call, scratch, partials, 1);
                }
            }
            requireEqual(what + ", cut", expected, cut);
        }
    }

    /**
     * Computes all rows and heads of {@code whole}, in calls of at most {@link Kernels#attentionRows} rows; no call
     * crosses {@code cut}.
     */
    private static void attend(Kernels set, int heads, PagedContext kv, AttentionCall whole, int cut, Arena arena) {
        KvLayout layout = whole.layout();
        AttentionCall call = new AttentionCall(layout, whole.scale(), whole.q(), whole.out())
                .layer(whole.window(), whole.chunked(), whole.softCap(), whole.sinks());
        Kernels.AttentionScratch scratch = set.attentionScratch(layout, heads, whole.softCap(), arena);
        for (int kvHead = 0; kvHead < layout.kvHeads(); kvHead++) {
            call.context(kv.pages, kv.pageTable, kvHead);
            for (int first = 0; first < whole.rowCount(); ) {
                int end = first < cut ? cut : whole.rowCount();
                int count = Math.min(end - first, set.attentionRows());
                set.attend(call.rows(whole.firstRow() + first, count, whole.firstPosition() + first), scratch);
                first += count;
            }
        }
    }

    private void addExtremes(FloatMatrix x) {
        float[] extremes = {
            Float.NaN,
            Float.POSITIVE_INFINITY,
            Float.NEGATIVE_INFINITY,
            Float.MAX_VALUE,
            -Float.MAX_VALUE,
            Float.MIN_VALUE,
            -Float.MIN_NORMAL,
            0x1p-119f,
            0x1.fffffep-120f,
            -0f,
            1e30f,
            88.8f,
            -104f
        };
        // only a few rows and values, so that not all results are NaN
        int row = random.nextInt(x.rows());
        for (int i = 0; i < 3; i++) {
            x.set(row, random.nextInt(x.columns()), extremes[random.nextInt(extremes.length)]);
        }
        int tiny = random.nextInt(x.rows());
        for (int i = 0; i < x.columns() && tiny != row; i++) {
            x.set(tiny, i, Float.MIN_NORMAL * (float) random.nextGaussian());
        }
    }

    private void addExtremeWeights(ElementType type, MemorySegment source) {
        short[] halves = {0x7c00, (short) 0xfc00, 0x7e00, 1, (short) 0x83ff, (short) 0x8000, 0x7bff};
        int[] singles = {0x7f800000, 0x7fc00000, 1, 0x80000000, 0x7f7fffff, 0x807fffff};
        for (int i = 0; i < 3; i++) {
            long block = random.nextLong(source.byteSize() / type.blockBytes()) * type.blockBytes();
            switch (type) {
                case F32 -> source.set(ValueLayout.JAVA_INT_UNALIGNED, block, singles[random.nextInt(singles.length)]);
                case BF16 ->
                    source.set(FileNumbers.SHORT, block, (short) (singles[random.nextInt(singles.length)] >>> 16));
                case F16 -> source.set(FileNumbers.SHORT, block, halves[random.nextInt(halves.length)]);
                default -> addExtremeBlock(type, source.asSlice(block, type.blockBytes()), halves);
            }
        }
    }

    /** Sets the quants, scales and minimums of a block to extremes. Its floats do not change or become extreme too. */
    private void addExtremeBlock(ElementType type, MemorySegment block, short[] halves) {
        int[] places = Samples.halves(type);
        short[] before = new short[places.length];
        for (int i = 0; i < places.length; i++) {
            before[i] = Samples.half(type, block, places[i]);
        }
        byte[] fills = {0, -1, (byte) 0x80, 0x7f, (byte) 0x88, 0x0f};
        block.fill(fills[random.nextInt(fills.length)]);
        for (int i = 0; i < places.length; i++) {
            boolean extreme = random.nextInt(3) == 0;
            Samples.setHalf(type, block, places[i], extreme ? halves[random.nextInt(halves.length)] : before[i]);
        }
        if (type == ElementType.MXFP4) {
            byte[] exponents = {0, 1, 2, 120, (byte) 254, (byte) 255};
            block.set(ValueLayout.JAVA_BYTE, 0, exponents[random.nextInt(exponents.length)]);
        }
    }

    private static void requireEqual(String what, FloatMatrix expected, FloatMatrix actual) {
        for (int r = 0; r < expected.rows(); r++) {
            for (int i = 0; i < expected.columns(); i++) {
                requireEqual(what + ": row " + r + ", column " + i, expected.get(r, i), actual.get(r, i));
            }
        }
    }

    private static void requireEqual(String what, float expected, float actual) {
        if (Float.floatToIntBits(expected) != Float.floatToIntBits(actual)) {
            throw new AssertionError(what + ": expected " + expected + ", not " + actual);
        }
    }
}
