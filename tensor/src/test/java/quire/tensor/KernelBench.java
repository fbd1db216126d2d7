package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.util.SplittableRandom;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;
import quire.tensor.memory.Slabs;

/**
 * Not a test: measures matrix products and attention, and the ceilings in the same minute. Started by hand:
 *
 * <pre>
 *   java --add-modules jdk.incubator.vector -cp target/classes:target/test-classes quire.tensor.KernelBench \
 *       [set] [types] [tokens] [threads] [outputs x inputs]
 *   … vector Q4_0,Q8_0 1,16,512 1,2 2048x2048
 * </pre>
 */
final class KernelBench {
    private KernelBench() {}

    public static void main(String[] args) {
        Kernels kernels = KernelSets.named(args.length > 0 ? args[0] : "vector");
        String[] types = (args.length > 1 ? args[1] : "Q4_0,Q8_0,F32").split(",", -1);
        String[] tokens = (args.length > 2 ? args[2] : "1,4,16,64,512").split(",", -1);
        String[] threads = (args.length > 3 ? args[3] : "1,2").split(",", -1);
        String[] shapes = (args.length > 4 ? args[4] : "2048x2048,8192x2048").split(",", -1);
        System.out.println(kernels.name() + ": " + kernels.reason());
        for (String count : threads) {
            try (Workers workers = new Workers(Integer.parseInt(count))) {
                System.out.println(MachineCeilings.measure(workers));
                for (String shape : shapes) {
                    if (shape.isEmpty()) continue;
                    for (String type : types) {
                        int x = shape.indexOf('x');
                        int outputs = Integer.parseInt(shape.substring(0, x));
                        int inputs = Integer.parseInt(shape.substring(x + 1));
                        multiply(kernels, workers, ElementType.valueOf(type), outputs, inputs, tokens);
                    }
                }
                for (KvLayout.KvType type : new KvLayout.KvType[] {KvLayout.KvType.F16, KvLayout.KvType.Q8_0}) {
                    attend(kernels, workers, type, 1, 8192);
                    attend(kernels, workers, type, 32, 2048);
                }
            }
        }
    }

    /** Uses so many matrices that they do not fit the caches, so that one token reads from memory. */
    private static void multiply(
            Kernels kernels, Workers workers, ElementType type, int outputs, int inputs, String[] tokens) {
        StringBuilder line =
                new StringBuilder(type + " " + outputs + "x" + inputs + ", " + workers.count() + " threads:");
        try (Arena arena = Arena.ofShared()) {
            MemorySegment source = Samples.weights(arena, type, outputs, inputs, new SplittableRandom(1));
            int copies = (int) Math.max(1, (160L << 20) / source.byteSize());
            WeightMatrix[] w = new WeightMatrix[copies];
            long packing = System.nanoTime();
            for (int i = 0; i < copies; i++) {
                w[i] = kernels.pack(type, outputs, inputs, source, arena, workers);
            }
            double perSecond = copies * (double) outputs * inputs * 1e9 / (System.nanoTime() - packing);
            line.append(String.format(" pack %.2f G/s;", perSecond / 1e9));
            for (String count : tokens) {
                int rows = Integer.parseInt(count);
                Activations x = Samples.activations(arena, rows, inputs, type.isQuantized(), new SplittableRandom(2));
                FloatMatrix y = FloatMatrix.allocate(arena, rows, outputs);
                double macs = (double) rows * outputs * inputs;
                double best = 0;
                int next = 0;
                long begin = System.nanoTime();
                long allocated = 0;
                int repeats = (int) Math.max(1, 4e8 / macs);
                while (System.nanoTime() - begin < Long.getLong("bench.nanos", 1_500_000_000L)) {
                    int first = next;
                    long before = allocatedBytes();
                    long start = System.nanoTime();
                    workers.run(worker -> {
                        int parts = workers.count();
                        for (int i = 0; i < repeats; i++) {
                            if (type.isQuantized()) {
                                kernels.quantize(
                                        x,
                                        Workers.shareStart(rows, 1, worker, parts),
                                        Workers.shareStart(rows, 1, worker + 1, parts));
                            }
                            workers.barrier(worker);
                            kernels.multiply(w[(first + i) % copies], x, rows, y, worker, parts);
                            workers.barrier(worker);
                        }
                    });
                    best = Math.max(best, repeats * macs / (System.nanoTime() - start));
                    allocated = allocatedBytes() - before;
                    next = (next + repeats) % copies;
                }
                line.append(String.format(" %d: %.1f", rows, best));
                if (allocated > 1000) {
                    line.append(" (").append(allocated).append(" B allocated)");
                }
            }
        }
        System.out.println(line.append(" GMAC/s"));
    }

    /** Attends in so many layers that their pages do not fit the caches. */
    private static void attend(Kernels kernels, Workers workers, KvLayout.KvType type, int rows, int context) {
        KvLayout layout = new KvLayout(type, 16, 8, 64);
        int heads = 32;
        try (Arena arena = Arena.ofShared();
                Slabs slabs = new Slabs()) {
            PagedContext kv = PagedContext.random(kernels, arena, layout, context, new SplittableRandom(3));
            long bytes = kv.pages.byteSize();
            int layers = rows > 1 ? 2 : (int) Math.max(1, (160L << 20) / bytes);
            MemorySegment[] pages = new MemorySegment[layers];
            for (int i = 0; i < layers; i++) {
                pages[i] = slabs.allocate(bytes, 64).copyFrom(kv.pages);
            }
            FloatMatrix q = Samples.matrix(arena, rows, heads * 64, new SplittableRandom(4));
            FloatMatrix out = FloatMatrix.allocate(arena, rows, heads * 64);
            AttentionCall[] calls = new AttentionCall[workers.count()];
            Kernels.AttentionScratch[] scratch = new Kernels.AttentionScratch[workers.count()];
            for (int i = 0; i < scratch.length; i++) {
                calls[i] = new AttentionCall(layout, 0.125f, q, out).rows(0, rows, context - rows);
                scratch[i] = kernels.attentionScratch(layout, heads, arena);
            }
            double macs = layers * 2.0 * rows * heads * 64 * context;
            double best = 0;
            long allocated = 0;
            long begin = System.nanoTime();
            while (System.nanoTime() - begin < Long.getLong("bench.nanos", 1_500_000_000L)) {
                long before = allocatedBytes();
                long start = System.nanoTime();
                workers.run(worker -> {
                    AttentionCall call = calls[worker];
                    for (int i = 0; i < layers; i++) {
                        for (int head = worker; head < 8; head += workers.count()) {
                            kernels.attend(call.context(pages[i], kv.pageTable, head), scratch[worker]);
                        }
                    }
                });
                best = Math.max(best, macs / (System.nanoTime() - start));
                allocated = allocatedBytes() - before;
            }
            System.out.printf(
                    "attend %d rows at %d, 32/8 heads of 64, %s, %d threads: %.1f GMAC/s, %.1f GB/s, %d B allocated%n",
                    rows, context, type, workers.count(), best, best / macs * layers * bytes, allocated);
        }
    }

    private static long allocatedBytes() {
        return ((com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
    }
}
