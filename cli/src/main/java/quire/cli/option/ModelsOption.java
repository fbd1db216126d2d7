package quire.cli.option;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.cli.output.Json;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.server.ModelFile;
import quire.server.ModelSet;
import tools.jackson.core.JacksonException;

/**
 * Several models: all of a folder, or those of a file of JSON:
 *
 * <pre>{@code
 * {"llama":  {"model": "llama-3.1-8b.gguf", "alias": ["gpt-4o", "*"], "max-context": 16384},
 *  "qwen":   {"model": "qwen-14b.gguf", "draft": "qwen-0.5b.gguf", "kv-cache": "2GiB", "temperature": 0.6}}
 * }</pre>
 *
 * <p>A model's options have the names of those of the command line. Those on the command line are for all models that do not
 * set them. So they are read by the same code, with the same checks.
 */
public sealed class ModelsOption permits ServedModelsOption {
    private static final String SUFFIX = ".gguf";

    /** The second and further parts of a model in several files. */
    private static final String FURTHER_PART = ".*-(?!00001)\\d{5}-of-\\d{5}\\.gguf";

    private static final String FIRST_PART = "-00001-of-\\d{5}$";

    /** An option that is for the whole process. */
    private static final String KERNELS = "kernels";

    /** Options that would name the same file, or the same name, for several models. */
    private static final List<String> OF_ONE = List.of("--kv-disk", "--kv-disk-size", "--draft", "--alias");

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--models",
            paramLabel = "DIR|FILE",
            converter = FilePath.class,
            description = "Several models, each of which is loaded when a request asks for it: all GGUF files of a"
                    + " folder, under their file names, or those of a file of JSON: {\"NAME\": {\"model\": FILE, and"
                    + " options such as \"alias\", \"max-context\", \"kv-type\", \"draft\"}, ...}. The first one is for"
                    + " requests that name none. Other options on this line are for all of them.")
    private @Nullable Path models;

    /** The options of one model. */
    @Command(name = "model")
    static final class OneModel {
        @Mixin
        private ModelOption model;

        @Mixin
        private EngineOptions engine;

        @Mixin
        private SamplingDefaultsOptions sampling;

        @Option(names = "--alias")
        private List<String> aliases = List.of();
    }

    /** Whether several models are to be served. */
    public boolean isGiven() {
        return models != null;
    }

    /**
     * The models, planned.
     *
     * @param memory what all of them together may take beside the Java heap; null for what this machine has now
     * @param idle how long a model that nobody uses stays loaded; zero for as long as no other one needs its memory
     * @param wait how long a request waits until its model is loaded
     * @throws ParameterException if an option or the file is wrong, a model cannot be used, or one does not fit
     */
    public ModelSet set(@Nullable Long memory, Duration idle, Duration wait) {
        Path from = models;
        if (from == null) {
            throw new IllegalStateException("--models is not given");
        }
        if (command.commandLine().getParseResult().hasMatchedOption("--model")) {
            throw fault("--model and --models exclude each other: leave one of them out");
        }
        if (command.commandLine().getParseResult().hasMatchedOption("--trace")) {
            throw fault("--trace records a server with one model: leave it or --models out");
        }
        for (String name : OF_ONE) {
            if (command.commandLine().getParseResult().hasMatchedOption(name)) {
                throw fault(name + " is for one model: write it into the file of --models, as \"" + name.substring(2)
                        + "\"");
            }
        }
        if (memory != null && memory < 1) {
            throw fault("--memory takes a size such as 24GiB, not " + memory);
        }
        if (!Files.exists(from)) {
            throw fault("--models " + from + ": there is no such folder or file");
        }
        List<ModelFile> files = Files.isDirectory(from) ? ofFolder(from) : ofFile(from);
        try {
            return ModelSet.of(files, memory == null ? 0 : memory, idle, wait);
        } catch (RuntimeException e) { // the files' faults name the model
            throw new ParameterException(
                    command.commandLine(),
                    "--models " + from + ": " + OptionNames.in(String.valueOf(e.getMessage())),
                    e);
        }
    }

    private List<ModelFile> ofFolder(Path folder) {
        List<Path> found;
        try (Stream<Path> all = Files.list(folder)) {
            found = all.filter(file -> file.toString().toLowerCase(Locale.ROOT).endsWith(SUFFIX)
                            && !String.valueOf(file.getFileName()).matches(FURTHER_PART)
                            && Files.isRegularFile(file))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw fault("--models " + folder + ": the folder cannot be read: " + e.getMessage());
        }
        List<ModelFile> files = new ArrayList<>();
        for (Path file : found) {
            String name = String.valueOf(file.getFileName());
            name = name.substring(0, name.length() - SUFFIX.length()).replaceFirst(FIRST_PART, "");
            String why = unusable(file);
            if (why == null) {
                files.add(model(name, "--models " + folder, List.of("--model=" + file)));
            } else { // such as a part of a model for pictures
                System.err.println("quire: left out: " + why);
            }
        }
        if (files.isEmpty()) {
            throw fault("--models " + folder + ": there is no GGUF file in it that can be served");
        }
        return files;
    }

    /** Why a file of a folder cannot be served, with its name; null if it can. */
    private static @Nullable String unusable(Path file) {
        try (Gguf gguf = Gguf.open(file)) {
            ModelConfig.from(gguf).checkTensors(gguf);
            return null;
        } catch (RuntimeException e) {
            String why = String.valueOf(e.getMessage());
            return why.contains(file.toString()) ? why : file + ": " + why;
        }
    }

    private List<ModelFile> ofFile(Path file) {
        String where = "--models " + file;
        Map<String, Object> root;
        try {
            root = Json.read(Files.readString(file));
        } catch (IOException e) {
            throw fault(where + ": the file cannot be read: " + e.getMessage());
        } catch (JacksonException e) {
            throw fault(where + " must be a JSON object of models: {\"NAME\": {\"model\": \"FILE.gguf\"}, ...}: "
                    + e.getOriginalMessage());
        }
        Path folder = file.toAbsolutePath().getParent();
        List<ModelFile> files = new ArrayList<>();
        root.forEach((name, options) -> {
            String at = where + ", model " + name;
            if (!(options instanceof Map<?, ?> map) || !map.containsKey("model")) {
                throw fault(at + ": must be an object of options, of which \"model\" names the file");
            }
            List<String> args = new ArrayList<>();
            map.forEach((key, given) -> {
                String option = String.valueOf(key);
                OptionSpec spec = option.equals(KERNELS) ? null : options().findOption("--" + option);
                if (spec == null) {
                    throw fault(at + ": unknown option \"" + option + "\"" + nearest(option));
                }
                for (Object value : given instanceof List<?> list ? list : Collections.singletonList(given)) {
                    if (value == null || value instanceof Map || value instanceof List) {
                        throw fault(at + ": \"" + option + "\" must be a text, a number, true or false");
                    }
                    args.add("--" + option + "=" + value(spec, value.toString(), folder));
                }
            });
            files.add(model(name, at, args));
        });
        if (files.isEmpty()) {
            throw fault(where + ": there is no model in it");
        }
        return files;
    }

    /** Paths in the file are relative to its folder. */
    private static String value(OptionSpec spec, String value, @Nullable Path folder) {
        return spec.type() == Path.class && folder != null
                ? folder.resolve(value).toString()
                : value;
    }

    private static CommandSpec options() {
        return new CommandLine(new OneModel()).getCommandSpec();
    }

    private static String nearest(String name) {
        String best = null;
        int fewest = name.length() / 3 + 2;
        for (OptionSpec option : options().options()) {
            String other = option.longestName().substring(2);
            if (other.equals(KERNELS)) {
                continue;
            }
            int changes = changes(name.replace('_', '-'), other);
            if (changes < fewest) {
                fewest = changes;
                best = other;
            }
        }
        return best == null ? ": leave it out" : ": did you mean \"" + best + "\"?";
    }

    /** The Levenshtein distance. */
    private static int changes(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int above = row[j];
                row[j] = Math.min(
                        diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1), Math.min(above, row[j - 1]) + 1);
                diagonal = above;
            }
        }
        return row[b.length()];
    }

    /** A model with the options of the command line, and its own ones, which come before those. */
    private ModelFile model(String name, String where, List<String> own) {
        OneModel model = new OneModel();
        CommandLine line =
                new CommandLine(model).setOverwrittenOptionsAllowed(true).setCaseInsensitiveEnumValuesAllowed(true);
        List<String> args = new ArrayList<>();
        for (OptionSpec option : command.commandLine().getParseResult().matchedOptions()) {
            if (line.getCommandSpec().findOption(option.longestName()) != null
                    && !option.longestName().equals("--" + KERNELS)) {
                option.originalStringValues().forEach(value -> args.add(option.longestName() + "=" + value));
            }
        }
        args.addAll(own);
        try {
            line.parseArgs(args.toArray(String[]::new));
            model.sampling.check();
            return new ModelFile(
                    name,
                    model.aliases,
                    model.model.path(),
                    model.engine.config(model.model),
                    model.sampling.defaults());
        } catch (ParameterException | IllegalArgumentException e) {
            ArgSpec wrong = e instanceof ParameterException parameter ? parameter.getArgSpec() : null;
            throw fault(where + (wrong instanceof OptionSpec option ? ", " + option.longestName() : "") + ": "
                    + e.getMessage());
        }
    }

    /** The command that has this option. */
    final CommandSpec command() {
        return command;
    }

    final ParameterException fault(String message) {
        return new ParameterException(command.commandLine(), message);
    }
}
