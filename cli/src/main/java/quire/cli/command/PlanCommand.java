package quire.cli.command;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.cli.option.ByteSize;
import quire.cli.option.EngineOptions;
import quire.cli.option.ModelArgument;
import quire.cli.option.ModelsOption;
import quire.cli.option.OptionNames;
import quire.cli.option.Range;
import quire.cli.output.Json;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.JavaMemory;
import quire.engine.MachineMemory;
import quire.engine.MemoryPlan;
import quire.model.ModelConfig;
import quire.model.RopeScaling;
import quire.model.format.Gguf;
import quire.server.ModelSet;

/** Shows the memory plan of a model, of a shape, or of several models that one server has. */
@Command(
        name = "plan",
        mixinStandardHelpOptions = true,
        description =
                "Show the memory plan line by line: weights, KV bytes of a token, pages, how many sequences fit and what limits"
                        + " them. Of several models (--models): what each takes, and the sum against the memory.")
public final class PlanCommand implements Callable<Integer> {
    private static final int DEFAULT_CONTEXT = 4096;

    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelArgument model;

    @Mixin
    private ModelsOption models;

    @Option(
            names = "--shape",
            split = ",",
            paramLabel = "NAME=N",
            description =
                    "Plan for a shape instead of a file: layers=32,kvHeads=32,headDim=128; with window=1024 if layers"
                            + " see so many positions, and with fullEvery=6 if every sixth of them sees all.")
    private @Nullable Map<String, Integer> shape;

    @Option(
            names = "--context",
            paramLabel = "N",
            description =
                    "Tokens of a sequence, prompt and answer (default: the model's context, or 4096 for a shape).")
    private @Nullable Integer context;

    @Option(
            names = "--sequences",
            paramLabel = "N",
            description = "Sequences at the same time (default: --max-sequences).")
    private @Nullable Integer sequences;

    @Option(
            names = "--memory",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            description =
                    "Plan for a machine or container of this much memory, such as 16GiB, on which nothing else runs"
                            + " (default: this one, with what is free now). With --models: what all models together may"
                            + " take, as for quire serve.")
    private @Nullable Long memory;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() {
        if (context != null) {
            Range.check(spec, "--context", context, 1, Integer.MAX_VALUE);
        }
        if (sequences != null) {
            Range.check(spec, "--sequences", sequences, 1, Integer.MAX_VALUE);
        }
        if (memory != null && memory < 1) {
            throw new ParameterException(spec.commandLine(), "--memory takes a size such as 16GiB, not " + memory);
        }
        if (models.isGiven()) {
            planSet();
            return 0;
        }
        EngineConfig config = sequences == null ? options.config(model) : options.config(model, sequences);
        MemoryPlan plan = shape == null ? ofModel(config) : ofShape(shape, config);
        int tokens = context == null ? plan.maxContext() : context;
        System.out.print(
                json
                        ? Json.write(describe(plan, tokens)) + System.lineSeparator()
                        : OptionNames.in(plan.describe(tokens)));
        plan.warnings().forEach(warning -> System.err.println("warning: " + OptionNames.in(warning)));
        return 0;
    }

    private void planSet() {
        for (String name : List.of("--shape", "--context", "--sequences")) {
            if (spec.commandLine().getParseResult().hasMatchedOption(name)) {
                throw new ParameterException(spec.commandLine(), name + " is for one model: leave it or --models out");
            }
        }
        if (!model.isBuiltIn()) {
            throw new ParameterException(
                    spec.commandLine(), "a model and --models exclude each other: leave one of them out");
        }
        ModelSet set = models.set(memory, Duration.ZERO, Duration.ofSeconds(1)); // times change nothing in the plan
        System.out.print(json ? Json.write(describe(set)) + System.lineSeparator() : set.describe());
    }

    private static Map<String, Object> describe(ModelSet set) {
        Map<String, Object> object = new LinkedHashMap<>();
        object.put(
                "models",
                set.models().stream()
                        .map(each -> Map.of(
                                "name", each.file().name(),
                                "file", each.file().path().toString(),
                                "bytes", each.bytes(),
                                "bytes_without_kv_pages", each.bytesWithoutPages(),
                                "heap_bytes", each.heapBytes(),
                                "context_tokens", each.maxContext()))
                        .toList());
        object.put(
                "bytes",
                set.models().stream().mapToLong(ModelSet.Planned::bytes).sum());
        object.put("usable_bytes", set.memoryBytes());
        return object;
    }

    private MachineMemory machine() {
        return memory == null ? MachineMemory.here() : MachineMemory.of(memory);
    }

    private JavaMemory java(EngineConfig config) {
        int workers = config.threads() == 0 ? Runtime.getRuntime().availableProcessors() : config.threads();
        return memory == null ? JavaMemory.here(workers) : JavaMemory.on(MachineMemory.of(memory), workers);
    }

    private MemoryPlan ofModel(EngineConfig config) {
        try (Gguf file = Gguf.open(model.path())) {
            return Engine.plan(file, ModelConfig.from(file, config.rope()), config, machine(), java(config));
        }
    }

    private MemoryPlan ofShape(Map<String, Integer> shape, EngineConfig config) {
        if (!model.isBuiltIn()) {
            throw new ParameterException(
                    spec.commandLine(), "--shape and a model exclude each other: leave one of them out");
        }
        if (!config.rope().equals(RopeScaling.OF_FILE)) {
            throw new ParameterException(
                    spec.commandLine(),
                    "--shape has no rotation that could be scaled: give --context the length itself");
        }
        Map<String, Integer> sizes = new LinkedHashMap<>(shape);
        List<Integer> values = new ArrayList<>();
        for (String name : List.of("layers", "kvHeads", "headDim")) {
            Integer value = sizes.remove(name);
            if (value == null) {
                throw new ParameterException(
                        spec.commandLine(), "--shape lacks " + name + ": write layers=32,kvHeads=32,headDim=128");
            }
            values.add(value);
        }
        int window = Objects.requireNonNullElse(sizes.remove("window"), 0);
        int fullEvery = Objects.requireNonNullElse(sizes.remove("fullEvery"), 0);
        if (!sizes.isEmpty()) {
            throw new ParameterException(
                    spec.commandLine(),
                    "--shape does not take " + String.join(", ", sizes.keySet())
                            + ": it takes layers, kvHeads, headDim, window and fullEvery");
        }
        if (window < 0 || fullEvery < 0 || (window == 0 && fullEvery > 0)) {
            throw new ParameterException(
                    spec.commandLine(),
                    "--shape takes window=POSITIONS, and with it fullEvery=N if every N-th layer sees all positions");
        }
        int tokens = context == null ? DEFAULT_CONTEXT : context;
        int all = window == 0 ? values.get(0) : fullEvery == 0 ? 0 : values.get(0) / fullEvery;
        List<MemoryPlan.Shape.Layers> layers = new ArrayList<>();
        if (all > 0 || values.get(0) < 1) { // refuses a number below 1
            layers.add(new MemoryPlan.Shape.Layers(all, values.get(1), values.get(2)));
        }
        if (all < values.get(0)) {
            layers.add(new MemoryPlan.Shape.Layers(values.get(0) - all, values.get(1), values.get(2), window));
        }
        MemoryPlan.Shape sizesOfPages = new MemoryPlan.Shape(layers, Math.max(tokens, config.maxContext()));
        return MemoryPlan.of(new MemoryPlan.Model(sizesOfPages, 0, 0, 0), null, config, machine(), java(config));
    }

    private static Map<String, Object> describe(MemoryPlan plan, int tokens) {
        Map<String, Object> object = new LinkedHashMap<>();
        object.put("lines", plan.lines());
        object.put(
                "quantised_weights",
                plan.packedTypes().stream()
                        .map(type -> Map.of(
                                "type", type.type().name(),
                                "weights", type.weights(),
                                "bytes_in_file", type.fileBytes(),
                                "bytes_packed", type.packedBytes()))
                        .toList());
        object.put("usable_bytes", plan.usableBytes());
        object.put("warnings", plan.warnings());
        object.put("kv_bytes_per_token", plan.kvBytesPerToken());
        object.put("page_bytes", plan.pageBytes());
        object.put("pages", plan.pageCount());
        object.put("window_pages", plan.windowPageCount());
        object.put("overflow_pages", plan.overflowPages());
        object.put("context_tokens", tokens);
        object.put("sequence_bytes", plan.sequenceBytes(tokens));
        object.put("sequences_that_fit", plan.sequences(tokens));
        object.put("limit", plan.limit(tokens));
        return object;
    }
}
