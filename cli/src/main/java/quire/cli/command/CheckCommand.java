package quire.cli.command;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.cli.option.FilePath;
import quire.cli.option.KernelsOption;
import quire.cli.option.KvTypeOption;
import quire.cli.option.ModelArgument;
import quire.cli.option.ThreadsOption;
import quire.cli.output.Json;
import quire.cli.output.TextTable;
import quire.model.TextScorer;
import quire.model.format.Gguf;
import quire.tensor.FloatMatrix;
import quire.tensor.machine.KernelSets;
import tools.jackson.core.JacksonException;

/** Compares what a model computes with a recorded reference. */
@Command(
        name = "check",
        mixinStandardHelpOptions = true,
        description = {
            "Compare the tokens and log probabilities of a model with a recorded reference, for example of another program.",
            "The reference is a JSON object: \"prompt\" is a list of token ids, \"steps\" is a list of {\"token\": ID, \"top\":"
                    + " [[ID, LOGPROB], …]}, one for each token behind the prompt.",
            "The exit code is 0 if every step agrees: the log probabilities within --tolerance, and the reference's token the"
                    + " likeliest one, or less likely by no more than --tolerance."
        })
public final class CheckCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ModelArgument model;

    @Option(
            names = "--reference",
            paramLabel = "FILE",
            required = true,
            converter = FilePath.class,
            description = "The recorded reference, a JSON file.")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private Path reference;

    @Option(
            names = "--tolerance",
            paramLabel = "X",
            defaultValue = "0.05",
            description = "How far a log probability may be away, in nats (default ${DEFAULT-VALUE}).")
    private double tolerance;

    @Mixin
    private KvTypeOption kvType;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Mixin
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    /** A step of the reference: the token that was chosen, and log probabilities of some tokens. */
    private record Step(int token, Map<Integer, Double> logprobs) {}

    private record Recorded(List<Integer> prompt, List<Step> steps) {}

    /**
     * @param token the reference's token
     * @param found the likeliest token here
     * @param difference the largest difference of a log probability
     * @param differing the token that has it; -1 if none is listed
     */
    private record Outcome(int token, int found, double difference, int differing, boolean agrees) {}

    @Override
    public Integer call() throws IOException {
        if (!(tolerance >= 0)) {
            throw new ParameterException(
                    command.commandLine(), "--tolerance takes a number of at least 0, not " + tolerance);
        }
        FilePath.requireFile(command, "--reference " + reference, reference);
        Recorded recorded = read();
        int length = recorded.prompt.size() + recorded.steps.size();
        List<Outcome> outcomes = new ArrayList<>();
        try (Gguf file = Gguf.open(model.path());
                TextScorer scorer = new TextScorer(file, KernelSets.best(), kvType.type(), threads.count(), length)) {
            checkIds(recorded, scorer.vocabularySize());
            int[] tokens = Arrays.copyOf(
                    recorded.prompt.stream().mapToInt(Integer::intValue).toArray(), length);
            int end = recorded.prompt.size();
            int computed = 0;
            for (Step step : recorded.steps) {
                outcomes.add(compare(step, scorer.next(tokens, computed, end)));
                computed = end;
                tokens[end++] = step.token; // also where another token is the likeliest one here
            }
        }
        boolean agrees = outcomes.stream().allMatch(Outcome::agrees);
        print(outcomes, agrees);
        return agrees ? 0 : 1;
    }

    private Outcome compare(Step step, FloatMatrix logits) {
        int found = 0;
        for (int i = 1; i < logits.columns(); i++) {
            found = logits.get(0, i) > logits.get(0, found) ? i : found;
        }
        double largest = 0;
        int differing = -1;
        boolean finite = true;
        for (Map.Entry<Integer, Double> each : step.logprobs.entrySet()) {
            double difference = Math.abs(TextScorer.logprob(logits, 0, each.getKey()) - each.getValue());
            finite &= Double.isFinite(difference);
            if (differing < 0 || !(difference <= largest)) {
                largest = difference;
                differing = each.getKey();
            }
        }
        boolean likeliest = logits.get(0, found) - logits.get(0, step.token) <= tolerance;
        return new Outcome(step.token, found, largest, differing, finite && likeliest && largest <= tolerance);
    }

    private void print(List<Outcome> outcomes, boolean agrees) {
        long wrong = outcomes.stream().filter(outcome -> !outcome.agrees).count();
        double largest =
                outcomes.stream().mapToDouble(Outcome::difference).max().orElse(0);
        if (json) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("agrees", agrees);
            object.put("steps", outcomes.size());
            object.put("steps_that_differ", wrong);
            object.put("largest_difference", largest);
            object.put("tolerance", tolerance);
            object.put(
                    "outcomes",
                    outcomes.stream()
                            .map(outcome -> {
                                Map<String, Object> row = new LinkedHashMap<>();
                                row.put("token", outcome.token);
                                row.put("token_here", outcome.found);
                                row.put("largest_difference", outcome.difference);
                                row.put("agrees", outcome.agrees);
                                return row;
                            })
                            .toList());
            System.out.println(Json.write(object));
            return;
        }
        List<List<String>> lines = new ArrayList<>();
        lines.add(List.of("step", "token", "token here", "largest difference", "of token", ""));
        for (int i = 0; i < outcomes.size(); i++) {
            Outcome outcome = outcomes.get(i);
            lines.add(List.of(
                    Integer.toString(i + 1),
                    Integer.toString(outcome.token),
                    Integer.toString(outcome.found),
                    String.format(Locale.ROOT, "%.5f", outcome.difference),
                    outcome.differing < 0 ? "" : Integer.toString(outcome.differing),
                    outcome.agrees ? "" : "differs"));
        }
        System.out.print(TextTable.of(lines, 0));
        System.out.printf(
                Locale.ROOT,
                "%n%d of %d steps agree · largest difference %.5f, tolerance %s%n",
                outcomes.size() - wrong,
                outcomes.size(),
                largest,
                tolerance);
    }

    // ---------------------------------------------------------------- the reference

    private Recorded read() throws IOException {
        Map<String, Object> object;
        try {
            object = Json.read(Files.readString(reference));
        } catch (JacksonException e) {
            throw new IllegalArgumentException(reference + " is not a JSON object: " + e.getOriginalMessage(), e);
        }
        List<Integer> prompt = list(object.get("prompt"), "prompt").stream()
                .map(id -> id(id, "prompt"))
                .toList();
        List<Step> steps = new ArrayList<>();
        for (Object each : list(object.get("steps"), "steps")) {
            String place = "steps[" + steps.size() + "]";
            if (!(each instanceof Map<?, ?> step)) {
                throw wrong(place, "an object with token and top");
            }
            Map<Integer, Double> logprobs = new LinkedHashMap<>();
            for (Object pair : list(step.get("top"), place + ".top")) {
                List<?> items = list(pair, place + ".top");
                if (items.size() != 2 || !(items.getLast() instanceof Number logprob)) {
                    throw wrong(place + ".top", "a list of pairs of a token id and a log probability");
                }
                logprobs.put(id(items.getFirst(), place + ".top"), logprob.doubleValue());
            }
            steps.add(new Step(id(step.get("token"), place + ".token"), logprobs));
        }
        if (prompt.isEmpty() || steps.isEmpty()) {
            throw wrong(prompt.isEmpty() ? "prompt" : "steps", "a list that is not empty");
        }
        return new Recorded(prompt, steps);
    }

    private void checkIds(Recorded recorded, int size) {
        recorded.prompt.forEach(id -> checkId(id, size));
        for (Step step : recorded.steps) {
            checkId(step.token, size);
            step.logprobs.keySet().forEach(id -> checkId(id, size));
        }
    }

    private void checkId(int id, int size) {
        if (id >= size) {
            throw new IllegalArgumentException(reference + ": token " + id + " is not in the model's vocabulary of "
                    + size + " tokens; the reference belongs to another model");
        }
    }

    private List<?> list(@Nullable Object value, String place) {
        if (!(value instanceof List<?> list)) {
            throw wrong(place, "a list");
        }
        return list;
    }

    private int id(@Nullable Object value, String place) {
        if (!(value instanceof Integer id) || id < 0) {
            throw wrong(place, "a token id");
        }
        return id;
    }

    private IllegalArgumentException wrong(String place, String wanted) {
        return new IllegalArgumentException(
                reference + ": " + place + " must be " + wanted + "; quire check --help shows the form");
    }
}
