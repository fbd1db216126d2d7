package quire.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.MemoryPlan;
import quire.model.ModelConfig;
import quire.model.format.Gguf;

@Command(
        name = "plan",
        mixinStandardHelpOptions = true,
        description =
                "The memory sum, line by line: weights, KV bytes a token, pages, how many sequences fit, what binds.")
final class PlanCommand implements Callable<Integer> {
    private static final int DEFAULT_CONTEXT = 4096;

    @Spec
    private CommandSpec spec;

    @ArgGroup(multiplicity = "1")
    private Subject subject;

    @Option(
            names = "--context",
            paramLabel = "N",
            description = "Tokens of a sequence, prompt and answer (default: the model's own, or 4096 for a shape).")
    private @Nullable Integer context;

    @Option(names = "--sequences", paramLabel = "N", description = "Sequences wanted at once (default: max-sequences).")
    private @Nullable Integer sequences;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Mixin
    private EngineOptions options;

    private static final class Subject {
        @Option(names = "--model", paramLabel = "FILE", required = true, description = "A GGUF file.")
        private @Nullable Path model;

        @Option(
                names = "--shape",
                split = ",",
                required = true,
                paramLabel = "NAME=N",
                description = "A shape instead of a file: layers=32,kvHeads=32,headDim=128.")
        private @Nullable Map<String, Integer> shape;
    }

    @Override
    public Integer call() {
        EngineConfig config = sequences == null ? options.config() : options.config(sequences);
        MemoryPlan plan;
        if (subject.model == null) {
            int tokens = context == null ? DEFAULT_CONTEXT : context;
            plan = MemoryPlan.of(shape(tokens), config, 0, 0, MemoryPlan.availableBytesHere());
        } else {
            try (Gguf file = Gguf.open(subject.model)) {
                plan = Engine.plan(file, ModelConfig.from(file), config);
            }
        }
        int tokens = context == null ? plan.maxContext() : context;
        System.out.print(json ? Json.write(describe(plan, tokens)) + System.lineSeparator() : plan.describe(tokens));
        return 0;
    }

    private MemoryPlan.Shape shape(int contextLength) {
        Map<String, Integer> sizes = new LinkedHashMap<>(Objects.requireNonNull(subject.shape));
        List<Integer> values = new ArrayList<>();
        for (String name : List.of("layers", "kvHeads", "headDim")) {
            Integer value = sizes.remove(name);
            if (value == null) {
                throw new ParameterException(
                        spec.commandLine(), "--shape lacks " + name + ": write layers=32,kvHeads=32,headDim=128");
            }
            values.add(value);
        }
        if (!sizes.isEmpty()) {
            throw new ParameterException(
                    spec.commandLine(),
                    "--shape does not know " + String.join(", ", sizes.keySet())
                            + ": it takes layers, kvHeads and headDim");
        }
        return new MemoryPlan.Shape(values.get(0), values.get(1), values.get(2), contextLength);
    }

    private static Map<String, Object> describe(MemoryPlan plan, int tokens) {
        Map<String, Object> object = new LinkedHashMap<>();
        object.put("lines", plan.lines());
        object.put("kv_bytes_per_token", plan.kvBytesPerToken());
        object.put("page_bytes", plan.pageBytes());
        object.put("pages", plan.pageCount());
        object.put("context_tokens", tokens);
        object.put("sequence_bytes", plan.sequenceBytes(tokens));
        object.put("sequences_that_fit", plan.sequences(tokens));
        object.put("limit", plan.limit(tokens));
        return object;
    }
}
