package quire.cli.command;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Clock;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.cli.option.ModelArgument;
import quire.cli.output.Json;
import quire.cli.output.TextTable;
import quire.engine.MemoryPlan;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.UnknownFormatException;
import quire.model.ModelConfig;
import quire.model.SamplingDefaults;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufValueType;
import quire.model.format.ModelFormatException;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.TemplateCapabilities;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.NumberCheck;
import quire.tensor.Workers;

/** Shows what a GGUF file contains. */
@Command(
        name = "inspect",
        mixinStandardHelpOptions = true,
        description = "Show what a GGUF file contains: metadata, tensors, quantisation, tokenizer.")
public final class InspectCommand implements Callable<Integer> {
    private static final int VALUE_CHARS = 80;

    @Mixin
    private ModelArgument model;

    @Option(
            names = "--check",
            description =
                    "Read every number: list tensors with infinities or NaN (the exit code is then 1) and matrices"
                            + " that are 0 throughout, and print the SHA-256 of each file.")
    private boolean check;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    /** The part of a file that is stored in one element type. */
    private record Share(int tensors, long elements, long bytes) {
        Share plus(GgufTensor tensor) {
            return new Share(tensors + 1, elements + tensor.elements(), bytes + tensor.byteSize());
        }
    }

    /**
     * What reading every number has found.
     *
     * @param sha256 of each file
     * @param tensors number of tensors that were read
     * @param broken tensors with infinities or NaN, with number and place in words
     * @param zero names of matrices that are 0 throughout
     * @param unread names of tensors of a type that Quire does not compute with
     */
    private record Numbers(
            Map<String, String> sha256, int tensors, List<String> broken, List<String> zero, List<String> unread) {
        static Numbers of(Gguf file) throws IOException {
            List<String> broken = new ArrayList<>();
            List<String> zero = new ArrayList<>();
            List<String> unread = new ArrayList<>();
            try (Workers workers = new Workers(Runtime.getRuntime().availableProcessors())) {
                for (GgufTensor tensor : file.tensors()) {
                    if (tensor.type().elementType().isEmpty()) {
                        unread.add(tensor.name());
                        continue;
                    }
                    NumberCheck found = NumberCheck.of(tensor.elementType(), file.data(tensor), workers);
                    if (!found.isFinite()) {
                        broken.add(tensor.describe(found));
                    } else if (found.isZero() && tensor.rows() > 1) {
                        zero.add(tensor.name());
                    }
                }
            }
            Map<String, String> sums = new LinkedHashMap<>();
            for (Path path : file.paths()) {
                sums.put(String.valueOf(path.getFileName()), sha256(path));
            }
            return new Numbers(sums, file.tensors().size() - unread.size(), broken, zero, unread);
        }

        private static String sha256(Path path) throws IOException {
            try (InputStream in = Files.newInputStream(path)) {
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                byte[] buffer = new byte[1 << 20];
                for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                    digest.update(buffer, 0, count);
                }
                return HexFormat.of().formatHex(digest.digest());
            } catch (NoSuchAlgorithmException e) {
                throw new AssertionError("every Java platform has SHA-256", e);
            }
        }

        void print() {
            System.out.println();
            sha256.forEach((name, sum) -> System.out.println("SHA-256 " + sum + "  " + printable(name)));
            broken.forEach(fault -> System.out.println("damaged: " + printable(fault)));
            zero.forEach(name -> System.out.println("may be damaged: tensor " + printable(name) + " is 0 throughout"));
            unread.forEach(name -> System.out.println(
                    "not checked: tensor " + printable(name) + " has a type that Quire does not compute with"));
            System.out.println(tensors + " tensors checked: "
                    + (broken.isEmpty()
                            ? "all numbers are finite"
                            : broken.size() + " damaged; download the file again"));
        }

        Map<String, Object> json() {
            return Map.of("sha256", sha256, "tensors", tensors, "damaged", broken, "zero", zero, "unread", unread);
        }
    }

    @Override
    public Integer call() throws IOException {
        try (Gguf file = Gguf.open(model.path())) {
            Map<String, Share> shares = new TreeMap<>();
            for (GgufTensor tensor : file.tensors()) {
                shares.put(
                        tensor.type().name(),
                        shares.getOrDefault(tensor.type().name(), new Share(0, 0, 0))
                                .plus(tensor));
            }
            Numbers numbers = check ? Numbers.of(file) : null;
            if (json) {
                Map<String, Object> object = new LinkedHashMap<>(describe(file, shares));
                if (numbers != null) {
                    object.put("check", numbers.json());
                }
                System.out.println(Json.write(object));
            } else {
                print(file, shares);
                if (numbers != null) {
                    numbers.print();
                }
            }
            return numbers == null || numbers.broken.isEmpty() ? 0 : 1;
        }
    }

    private static void print(Gguf file, Map<String, Share> shares) {
        System.out.printf(
                "%s: GGUF v%d, %s%s, %d keys, %d tensors%n%n",
                printable(file.file()),
                file.version(),
                file.paths().size() > 1 ? file.paths().size() + " files, " : "",
                MemoryPlan.size(file.byteSize()),
                file.keys().size(),
                file.tensors().size());
        table(
                List.of("key", "value"),
                file.keys().stream()
                        .map(key -> List.of(key, file.describe(key, VALUE_CHARS)))
                        .toList());
        table(
                List.of("tensor", "shape", "type", "size"),
                file.tensors().stream()
                        .map(tensor -> List.of(
                                tensor.name(),
                                tensor.shape(),
                                tensor.type().name(),
                                MemoryPlan.size(tensor.byteSize())))
                        .toList());
        long elements = shares.values().stream().mapToLong(Share::elements).sum();
        List<List<String>> rows = new ArrayList<>();
        shares.forEach((type, share) -> rows.add(List.of(
                type,
                Integer.toString(share.tensors),
                String.format(Locale.ROOT, "%.1f %%", 100.0 * share.elements / Math.max(1, elements)),
                MemoryPlan.size(share.bytes))));
        table(List.of("quantisation", "tensors", "weights", "size"), rows);
        System.out.printf(
                "%s weights%s · tokenizer %s%n",
                elements,
                active(file),
                printable(file.string("tokenizer.ggml.model", "none")
                        + (file.has("tokenizer.ggml.tokens")
                                ? " of " + file.length("tokenizer.ggml.tokens") + " tokens" + repeated(file)
                                : "")));
        SamplingDefaults.Recommendation sampling = SamplingDefaults.from(file);
        System.out.println("recommended sampling: " + sampling.values().describe());
        sampling.warnings().forEach(warning -> System.out.println(printable("warning: " + warning)));
        System.out.println(printable(blocks(file)));
        templates(file)
                .forEach((name, facts) -> System.out.println(printable("chat template " + name + ": "
                        + facts.entrySet().stream()
                                .map(fact -> fact.getKey() + " " + fact.getValue())
                                .collect(Collectors.joining(" · ")))));
    }

    /** How the blocks of the model compute, or why Quire cannot compute them. */
    private static String blocks(Gguf file) {
        try {
            ModelConfig config = ModelConfig.from(file);
            List<GgufTensor> unused = ModelConfig.unusedTensors(file);
            return "blocks: " + config.architecture() + ": "
                    + String.join(" · ", config.blocks().describe())
                    + (unused.isEmpty()
                            ? ""
                            : " · left out: " + unused.size() + " tensors from "
                                    + unused.getFirst().name() + " on, which the next token does not need");
        } catch (ModelFormatException e) {
            return "blocks: " + e.getMessage();
        }
    }

    /** How many weights compute a token, if not all do. */
    private static String active(Gguf file) {
        try {
            ModelConfig config = ModelConfig.from(file);
            return config.blocks().mixture() == null
                    ? ""
                    : ", of which " + config.activeWeights(file) + " compute a token";
        } catch (ModelFormatException e) {
            return "";
        }
    }

    private static String repeated(Gguf file) {
        try {
            int count = Tokenizers.vocabulary(file).repeatedSpellings();
            return count == 0 ? "" : ", " + count + " with the same spelling as another token";
        } catch (ModelFormatException e) {
            return "";
        }
    }

    /**
     * What each chat template accepts, by its name. If that cannot be found out, one entry "unusable" with the reason.
     */
    private static Map<String, Map<String, String>> templates(Gguf file) {
        Map<String, Map<String, String>> templates = new LinkedHashMap<>();
        try {
            Tokenizer tokenizer = Tokenizers.of(file);
            ChatTemplates.capabilities(file, tokenizer, Clock.systemUTC()).forEach((name, capabilities) -> {
                Map<String, String> facts = new LinkedHashMap<>(capabilities.describe());
                if (capabilities.tools() == TemplateCapabilities.Answer.SUPPORTED) {
                    facts.put("form of calls", formOfCalls(file, tokenizer));
                }
                templates.put(name, facts);
            });
        } catch (ModelFormatException | ChatTemplateException e) {
            templates.put("unusable", Map.of("reason", String.valueOf(e.getMessage())));
        }
        return templates;
    }

    /** How the model writes calls of tools, or why that is unknown. */
    private static String formOfCalls(Gguf file, Tokenizer tokenizer) {
        ChatTemplate template = ChatTemplates.of(file, tokenizer, Clock.systemUTC());
        try {
            return template == null
                    ? "none"
                    : ToolCallFormat.of(template, tokenizer).describe();
        } catch (UnknownFormatException e) {
            return "unknown: " + e.getMessage();
        }
    }

    private static void table(List<String> head, List<List<String>> rows) {
        List<List<String>> lines = new ArrayList<>(List.of(head));
        rows.forEach(
                row -> lines.add(row.stream().map(InspectCommand::printable).toList()));
        System.out.println(TextTable.of(lines, head.size()));
    }

    /** Replaces control characters: a file must not be able to control the user's terminal. */
    private static String printable(String text) {
        return text.replace("\n", "\\n").replaceAll("\\p{C}", "\uFFFD");
    }

    private static Map<String, Object> describe(Gguf file, Map<String, Share> shares) {
        Map<String, Object> metadata = new LinkedHashMap<>();
        for (String key : file.keys()) {
            boolean array = file.type(key) == GgufValueType.ARRAY;
            metadata.put(
                    key,
                    array
                            ? Map.of("items", file.itemType(key).toString(), "count", file.length(key))
                            : file.scalar(key));
        }
        List<Object> tensors = new ArrayList<>();
        for (GgufTensor tensor : file.tensors()) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("name", tensor.name());
            entry.put("dims", Arrays.stream(tensor.dims()).boxed().toList());
            entry.put("type", tensor.type().name());
            entry.put("bytes", tensor.byteSize());
            tensors.add(entry);
        }
        Map<String, Object> types = new LinkedHashMap<>();
        shares.forEach((type, share) ->
                types.put(type, Map.of("tensors", share.tensors, "weights", share.elements, "bytes", share.bytes)));
        Map<String, Object> object = new LinkedHashMap<>();
        object.put("file", file.file());
        object.put("files", file.paths().stream().map(Path::toString).toList());
        object.put("version", file.version());
        object.put("bytes", file.byteSize());
        object.put("metadata", metadata);
        object.put("tensors", tensors);
        object.put("types", types);
        object.put("recommended_sampling", SamplingDefaults.from(file).values().values());
        object.put("chat_templates", templates(file));
        return object;
    }
}
