package quire.server;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.JavaMemory;
import quire.engine.MachineMemory;
import quire.engine.MemoryPlan;
import quire.model.ModelConfig;
import quire.model.ModelFacts;
import quire.model.SamplingDefaults;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplates;

/**
 * The models of a server that has several, and the memory that they share.
 *
 * <pre>
 *   a model takes    weights + activations + …   its file and its configuration say how much
 *                  + KV pages                    kvCacheBytes, or a share of the memory:
 *
 *   all weights and activations take at most 3/4 of the memory     what they leave, divided evenly; all can stay loaded
 *   they take more                                                 at most 1/4 of the memory; models take turns
 * </pre>
 *
 * <p>A share does not depend on which models are loaded, so a model has the same context whenever it is.
 */
public final class ModelSet {
    /** A machine that has room for all that a model could want. */
    private static final MachineMemory ENDLESS = MachineMemory.of(1L << 60);

    private static final double MOST_WITHOUT_PAGES = 0.75;
    private static final double SHARE_OF_TURNS = 0.25;
    private static final double GIB = 1L << 30;

    private final List<Planned> models;
    private final long memoryBytes;
    private final long heapBytes;
    private final Duration idle;
    private final Duration wait;

    /**
     * A model with its part of the memory.
     *
     * @param file with the KV pages of its share
     * @param bytes that it takes beside the Java heap
     * @param bytesWithoutPages the same without KV pages
     * @param heapBytes that it takes of the Java heap
     * @param maxContext positions of a prompt and its answer, at most
     * @param recommendedSampling what the file recommends
     * @param encoder whether it gives vectors and no answers
     * @param chats whether the file has a chat template
     * @param facts what the file says of the model
     */
    public record Planned(
            ModelFile file,
            long bytes,
            long bytesWithoutPages,
            long heapBytes,
            int maxContext,
            SamplingDefaults recommendedSampling,
            boolean encoder,
            boolean chats,
            ModelFacts facts) {}

    private ModelSet(List<Planned> models, long memoryBytes, long heapBytes, Duration idle, Duration wait) {
        this.models = List.copyOf(models);
        this.memoryBytes = memoryBytes;
        this.heapBytes = heapBytes;
        this.idle = idle;
        this.wait = wait;
    }

    /**
     * Plans models. Reads what their files say about themselves, and no weights.
     *
     * @param files at least one; the first is for requests that name none
     * @param memoryBytes what all loaded models together may take beside the Java heap; 0 for what this machine has now
     * @param idle how long a model stays loaded when nobody uses it; zero for as long as no other one needs the memory
     * @param wait how long a request waits until its model is loaded
     * @throws quire.model.format.ModelFormatException if a file cannot be used
     * @throws IllegalArgumentException if two models have the same name or file for KV pages, if one does not fit, or if {@code wait} is not
     *     positive
     */
    public static ModelSet of(List<ModelFile> files, long memoryBytes, Duration idle, Duration wait) {
        JavaMemory java = JavaMemory.here(files.stream()
                .mapToInt(file -> file.config().threads() == 0
                        ? Runtime.getRuntime().availableProcessors()
                        : file.config().threads())
                .max()
                .orElse(1));
        long memory = memoryBytes > 0 ? memoryBytes : MemoryPlan.roomForEngines(MachineMemory.here(), java);
        return of(files, memory, MemoryPlan.heapForEngines(java), idle, wait);
    }

    private static ModelSet of(List<ModelFile> files, long memory, long heap, Duration idle, Duration wait) {
        if (files.isEmpty()) {
            throw new IllegalArgumentException("there is no model to serve");
        }
        if (idle.isNegative() || !wait.isPositive()) {
            throw new IllegalArgumentException("times must not be negative: idle " + idle + ", wait " + wait);
        }
        checkNames(files);
        List<Planned> alone = files.stream().map(ModelSet::planned).toList();
        long fixed = 0;
        List<Planned> shared = new ArrayList<>();
        for (Planned each : alone) {
            boolean chosen = each.file.config().kvCacheBytes() > 0;
            fixed += chosen ? each.bytes : each.bytesWithoutPages;
            if (!chosen) {
                shared.add(each);
            }
        }
        Map<String, Long> nameToPages = new HashMap<>();
        long rest = memory - fixed;
        int left = shared.size();
        shared.sort(Comparator.comparingLong(each -> each.bytes - each.bytesWithoutPages));
        for (Planned each : shared) { // who wants least first: what it leaves is for the others
            long wanted = each.bytes - each.bytesWithoutPages;
            long share = fixed <= MOST_WITHOUT_PAGES * memory
                    ? rest / left
                    : Math.min((long) (memory * SHARE_OF_TURNS), memory - each.bytesWithoutPages);
            long given = Math.max(1, Math.min(wanted, share));
            nameToPages.put(each.file.name(), given);
            rest -= given;
            left--;
        }
        List<Planned> models = new ArrayList<>();
        for (Planned each : alone) {
            ModelFile file = each.file;
            Long pages = nameToPages.get(file.name());
            if (each.bytesWithoutPages >= memory) {
                throw new IllegalArgumentException(named(
                        file,
                        "it takes " + size(each.bytesWithoutPages)
                                + " without KV pages, but all models together may take " + size(memory)
                                + ": choose a smaller one, or raise the memory"));
            }
            Planned model = pages == null
                    ? each
                    : planned(new ModelFile(
                            file.name(),
                            file.aliases(),
                            file.path(),
                            file.config().toBuilder().kvCacheBytes(pages).build(),
                            file.sampling()));
            if (model.bytes > memory || model.heapBytes > heap) {
                throw new IllegalArgumentException(named(
                        file,
                        "it takes " + size(model.bytes) + ", and " + size(model.heapBytes)
                                + " of the Java heap, but all models together may take " + size(memory) + ", and "
                                + size(heap)
                                + " of the heap: give it fewer KV pages, or raise the memory or the heap"));
            }
            models.add(model);
        }
        return new ModelSet(models, memory, heap, idle, wait);
    }

    private static void checkNames(List<ModelFile> files) {
        Map<String, ModelFile> nameToFile = new HashMap<>();
        Map<Path, ModelFile> diskToFile = new HashMap<>();
        for (ModelFile file : files) {
            Path disk = file.config().kvDisk();
            ModelFile same =
                    disk == null ? null : diskToFile.put(disk.toAbsolutePath().normalize(), file);
            if (same != null) {
                throw new IllegalArgumentException("the models " + same.name() + " and " + file.name()
                        + " have the same file for KV pages, " + disk + ": give each its own");
            }
            List<String> names = new ArrayList<>(file.aliases());
            names.add(file.name());
            for (String name : names) {
                ModelFile other = nameToFile.put(name, file);
                if (other != null) {
                    throw new IllegalArgumentException("two models have the name '" + name + "', " + other.path()
                            + " and " + file.path() + ": give each its own");
                }
            }
        }
    }

    /**
     * A model with as many KV pages as its configuration asks for; without {@code kvCacheBytes}, as many as it could use.
     *
     * @throws RuntimeException that names the model and says why it cannot be used
     */
    static Planned planned(ModelFile file) {
        try (Gguf gguf = Gguf.open(file.path())) {
            EngineConfig config = file.config();
            ModelConfig shape = ModelConfig.from(gguf, config.rope());
            MemoryPlan plan = Engine.plan(gguf, shape, config, ENDLESS, JavaMemory.here(1));
            return new Planned(
                    file,
                    plan.engineBytes(),
                    plan.bytesWithoutPages(),
                    plan.heapBytes(),
                    plan.maxContext(),
                    SamplingDefaults.from(gguf).values(),
                    shape.blocks().encoder(),
                    ChatTemplates.isIn(gguf),
                    ModelFacts.of(gguf, shape));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException(named(file, String.valueOf(e.getMessage())), e);
        }
    }

    private static String named(ModelFile file, String what) {
        return "the model " + file.name() + " (" + file.path() + "): " + what;
    }

    private static String size(long bytes) {
        return String.format(Locale.ROOT, "%.2f GiB", bytes / GIB);
    }

    /** The models, the one for requests without a name first. */
    public List<Planned> models() {
        return models;
    }

    /** What all loaded models together may take beside the Java heap. */
    public long memoryBytes() {
        return memoryBytes;
    }

    /** What the tables of all loaded models together may take of the Java heap. */
    long heapBytes() {
        return heapBytes;
    }

    /** How long a model stays loaded when nobody uses it; zero for as long as no other one needs the memory. */
    public Duration idle() {
        return idle;
    }

    /** How long a request waits until its model is loaded. */
    public Duration waiting() {
        return wait;
    }

    /** The plan as a table: what each model takes, and whether all can be loaded at a time. */
    public String describe() {
        StringBuilder text = new StringBuilder();
        int width = models.stream()
                .mapToInt(each -> each.file.name().length())
                .max()
                .orElse(0);
        long all = 0;
        for (Planned each : models) {
            all += each.bytes;
            text.append(String.format(
                    Locale.ROOT,
                    "%-" + Math.max(width, 6) + "s  %10s   %s without KV pages + %s of KV pages; context %d tokens%n",
                    each.file.name(),
                    size(each.bytes),
                    size(each.bytesWithoutPages),
                    size(each.bytes - each.bytesWithoutPages),
                    each.maxContext));
        }
        text.append(String.format(
                Locale.ROOT,
                "%-" + Math.max(width, 6) + "s  %10s   of %s that all may take together: %s%n",
                "all",
                size(all),
                size(memoryBytes),
                all <= memoryBytes ? "all can be loaded at a time" : "they take turns"));
        return text.toString();
    }
}
