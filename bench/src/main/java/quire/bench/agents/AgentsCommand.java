package quire.bench.agents;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.bench.client.ServerOption;
import quire.bench.client.ServerOption.ServedModel;
import quire.bench.client.ServerProcess;
import quire.bench.report.RecordOutput;
import quire.bench.report.RunRecord;
import quire.cli.option.ModelOption;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.UnknownFormatException;
import quire.engine.constrain.Constraints;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;

/** The command {@code quire bench agents}. What it measures: {@link AgentsBench}. */
@Command(
        name = "agents",
        mixinStandardHelpOptions = true,
        description = {
            "Replay captured requests of agents with made-up text of the same length: the time to the first token of the",
            "second turn with and without the prefix cache, also after the side requests that agents send between turns, the",
            "first requests of the server, and the time to compile their tools, to find them again and to begin an answer."
        })
public final class AgentsCommand implements Callable<Integer> {
    @Option(
            names = "--captures",
            paramLabel = "FOLDER",
            required = true,
            description =
                    "A folder of captured requests: NAME-turn2.json with path, bytes_as_sent and body. NAME-title.json and"
                            + " NAME-memory.json are sent between the turns of NAME, and all titles between those of others.")
    private Path captures = Path.of("");

    @Option(
            names = "--only",
            paramLabel = "NAME",
            split = ",",
            description = "The programs to measure, by the names of their files (default: all).")
    private List<String> only = List.of();

    @Option(
            names = "--served-model",
            paramLabel = "NAME",
            description =
                    "The model's name in requests, for a server of --url that is not Quire (default: what it says).")
    private @Nullable String servedModel;

    @Mixin
    private ModelOption model;

    @Mixin
    private ServerOption server;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description =
                    "The made-up words follow from it; a server must not have seen them (default ${DEFAULT-VALUE}).")
    private long seed;

    @Mixin
    private RecordOutput output;

    @Override
    public Integer call() throws IOException {
        List<Capture> found = captures();
        Path path = model.path();
        RunRecord record = new RunRecord();
        record.put("model", String.valueOf(path.getFileName()));
        record.put("seed", seed);
        record.putMachine();
        List<Map<String, Object>> tools = new ArrayList<>();
        try (Gguf file = Gguf.open(path)) {
            Tokenizer tokenizer = Tokenizers.of(file);
            ToolCallFormat format = format(file, tokenizer, path);
            Constraints constraints = new Constraints(tokenizer);
            constraints.warmUp(() -> {}); // as a server does at its start
            List<Capture> largestFirst = new ArrayList<>(found);
            largestFirst.sort(Comparator.comparingLong(Capture::bytes).reversed());
            for (Capture capture : largestFirst) {
                if (!capture.tools().isEmpty()) {
                    tools.add(AgentsBench.tools(capture, format, constraints));
                }
            }
        }
        List<Map<String, Object>> turns = new ArrayList<>();
        try (ServerProcess process = server.open("--model", path.toString())) {
            String name = servedModel != null
                    ? servedModel
                    : ServedModel.of(process.address()).name();
            AgentsBench bench = new AgentsBench(process.address(), name, seed);
            Capture smallest = Collections.min(found, Comparator.comparingLong(Capture::bytes));
            record.put("first_requests", bench.firstRequests(smallest));
            for (Capture capture : found) {
                turns.add(bench.turns(capture, sides(capture)));
            }
            process.keepLog(false);
        }
        record.put("tools", tools);
        record.put("turns", turns);
        output.print(record);
        return 0;
    }

    /** What is sent between the turns of a program: its own side requests, or else the titles of all programs. */
    private List<Capture> sides(Capture capture) throws IOException {
        String names = "(" + Pattern.quote(capture.name()) + "-(title|memory)|.*-title)\\.json";
        List<Capture> own = new ArrayList<>();
        List<Capture> titles = new ArrayList<>();
        try (Stream<Path> files = Files.list(captures)) {
            for (Path file : files.sorted().toList()) {
                String name = String.valueOf(file.getFileName());
                if (name.matches(names)) {
                    (name.startsWith(capture.name() + "-") ? own : titles).add(Capture.read(file));
                }
            }
        }
        return own.isEmpty() ? titles : own;
    }

    private List<Capture> captures() throws IOException {
        if (!Files.isDirectory(captures)) {
            throw new IllegalArgumentException("--captures takes a folder, and " + captures + " is none");
        }
        List<Capture> found = new ArrayList<>();
        try (Stream<Path> files = Files.list(captures)) {
            for (Path file : files.filter(each -> each.toString().endsWith("-turn2.json"))
                    .sorted()
                    .toList()) {
                Capture capture = Capture.read(file);
                if (!capture.hasTwoTurns()) {
                    throw new IllegalArgumentException(file + " has no item of the assistant, so it is no second turn");
                }
                if (only.isEmpty() || only.contains(capture.name())) {
                    found.add(capture);
                }
            }
        }
        if (found.isEmpty()) {
            throw new IllegalArgumentException(
                    captures + " has no captured request " + (only.isEmpty() ? "NAME-turn2.json" : only));
        }
        return found;
    }

    private static ToolCallFormat format(Gguf file, Tokenizer tokenizer, Path path) {
        ChatTemplate template = ChatTemplates.of(file, tokenizer, Clock.systemUTC());
        if (template == null) {
            throw new IllegalArgumentException(path + " has no chat template, so it cannot answer agents");
        }
        try {
            return ToolCallFormat.of(template, tokenizer);
        } catch (UnknownFormatException e) {
            throw new IllegalArgumentException(path + " cannot answer agents: " + e.getMessage(), e);
        }
    }
}
