package quire.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.engine.EngineConfig;
import quire.engine.Replay;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import quire.model.BuiltInModel;
import quire.model.text.ChatTemplate;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;
import quire.tensor.machine.KernelSets;

/**
 * Measures what speculation brings: against theory with an oracle of chosen acceptance, with lookup and a draft model on
 * texts, and under load; beside what passes cost and what is to be had at most. How speeds are compared:
 * {@link PairedSpeed}.
 */
@Command(
        name = "speculation",
        mixinStandardHelpOptions = true,
        description = "Measure guessing ahead: tables and charts in one HTML page.")
final class SpeculationBenchCommand implements Callable<Integer> {
    private static final int PROMPT = 8;
    private static final int MOST_SEQUENCES = 64;
    /** No step yields as many: an answer of them is not over in the step in which it begins. */
    private static final int FEWEST_TOKENS = Speculation.MAX_DRAFT_TOKENS + 2;

    /** What stands for a drafter or an acceptance where nobody guesses: compared all the same, to show what is noise. */
    private static final String NONE = "none: off against off";

    /** How long a case was measured, at least: in its row, since {@code --add} puts rows of several runs together. */
    static final String SECONDS = "seconds_a_case";

    /** Time of generation that a group is given, so that slow models get shorter answers. */
    private static final double GROUP_SECONDS = 2;

    private enum Part {
        COSTS,
        CURVE,
        TASKS,
        LOAD,
        RULES
    }

    /**
     * What a user says in a chat, in wordings that quire-tiny knows; the last answer is measured. In the chats of several
     * messages earlier answers stand in the prompt, which is where looking up finds something.
     */
    private static final Map<String, List<List<String>>> TASKS = tasks();

    @Mixin
    private ModelOption modelOption;

    @Option(
            names = "--draft",
            paramLabel = "FILE",
            description = "Its draft model (default: none is measured; the model in the box has its own).")
    private @Nullable Path draft;

    @Option(
            names = "--out",
            paramLabel = "DIR",
            required = true,
            description = "Where to write speculation.html and speculation.json.")
    private Path out;

    @Option(
            names = "--parts",
            paramLabel = "PART",
            split = ",",
            defaultValue = "costs,curve,tasks,load,rules",
            description = "What to measure (default ${DEFAULT-VALUE}).")
    private List<String> parts;

    @Option(
            names = "--add",
            description = "Keep what earlier runs have left in DIR, and replace in it what is measured now.")
    private boolean add;

    @Option(
            names = "--loads",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,2,4,8,16,32,64",
            description = "Sequences at once, at most 64 (default ${DEFAULT-VALUE}).")
    private List<Integer> loads;

    @Option(
            names = "--acceptances",
            paramLabel = "A",
            split = ",",
            defaultValue = "0,0.3,0.6,0.8,0.9,1",
            description = "How often the oracle is right (default ${DEFAULT-VALUE}).")
    private List<Double> acceptances;

    @Option(
            names = "--lengths",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,2,4,8",
            description = "Draft tokens for the curve against theory (default ${DEFAULT-VALUE}).")
    private List<Integer> lengths;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            defaultValue = "256",
            description = "Tokens of an answer at most; slow models give shorter ones (default ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(
            names = "--seconds",
            paramLabel = "S",
            defaultValue = "3",
            description = "How long each case is measured, at least (default ${DEFAULT-VALUE}).")
    private double seconds;

    @Option(names = "--quick", description = "Few cases, half a second each: to see that it works, not to be cited.")
    private boolean quick;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads (default: one a core).")
    private int threads;

    /** Known once the command runs. */
    private @Nullable Path model;

    private static Map<String, List<List<String>>> tasks() {
        Map<String, List<List<String>>> tasks = new LinkedHashMap<>();
        tasks.put(
                "story",
                List.of(
                        List.of("Please write a story about a painter who wants to play the flute for my son."),
                        List.of("Do you know a story about a squirrel called Mia who learns to dance?")));
        tasks.put(
                "translation",
                List.of(
                        List.of("My friend only understands Spanish. Translate for me: Die Blume ist groß."),
                        List.of("Which German sentence means \"My sister has a ticket.\"?")));
        tasks.put(
                "translation, 4th of a chat",
                List.of(List.of(
                        "Translate from English to German: Where is the station?",
                        "Translate from English to German: Where is the hotel?",
                        "Translate from English to German: My sister has a ticket.",
                        "Translate from English to German: My brother has a ticket.")));
        tasks.put(
                "extraction",
                List.of(
                        List.of(
                                "I want customer, item, quantity, price, city, day as JSON. The message: 42 shirts go to"
                                        + " Karin Novak, who paid 461 euros in Zurich on Monday."),
                        List.of(
                                "Extract price, customer and item from this text as JSON.\nHenri Lopez in Porto bought 70"
                                        + " jackets last Tuesday. The price was 656 euros.")));
        String fields = "Extract customer, item, quantity, price, city, day as JSON: ";
        tasks.put(
                "extraction, 4th of a chat",
                List.of(List.of(
                        fields + "42 shirts go to Karin Novak, who paid 461 euros in Zurich on Monday.",
                        fields + "70 jackets go to Henri Lopez, who paid 656 euros in Porto on Tuesday.",
                        fields + "18 lamps go to Ada Novak, who paid 90 euros in Zurich on Friday.",
                        fields + "42 jackets go to Karin Lopez, who paid 461 euros in Porto on Monday.")));
        return tasks;
    }

    @Override
    public Integer call() throws IOException, InterruptedException {
        Set<Part> asked = checkOptions();
        Path file = modelOption.path();
        model = file;
        if (draft == null && modelOption.isBuiltIn()) {
            draft = BuiltInModel.QUIRE_TINY_DRAFT.path();
        }
        Path draftFile = draft;
        Files.createDirectories(out);
        Path json = out.resolve("speculation.json");
        Map<String, Object> result =
                new LinkedHashMap<>(add && Files.exists(json) ? Json.read(Files.readString(json)) : Map.of());
        result.put("model", String.valueOf(file.getFileName()));
        result.put("draft", draftFile == null ? "none" : String.valueOf(draftFile.getFileName()));
        result.put("kernels", KernelSets.best().name());
        result.put("threads", workers());
        result.put("tokens_an_answer", tokens);
        try (TimedEngine off = open(Speculation.off())) {
            Recorded recorded = record(off);
            if (asked.contains(Part.COSTS)) {
                System.err.println("what passes cost");
                result.put("costs", PassCosts.measure(file, draftFile, workers(), 2 * seconds));
                result.put("costs_seconds", 2 * seconds);
                putBest(result, off, recorded);
                save(result);
            }
            if (asked.contains(Part.CURVE)) {
                merge(result, "curve", curve(off, recorded, result), "draft_tokens", "acceptance");
                save(result);
            }
            if (asked.contains(Part.TASKS)) {
                merge(result, "tasks", taskTable(off), "task", "drafter");
                save(result);
            }
            if (asked.contains(Part.LOAD)) {
                merge(result, "load", loadTable(off, recorded), "sequences", "acceptance");
            }
        }
        if (draftFile != null && asked.contains(Part.RULES)) {
            System.err.println("comparing both models' distributions");
            result.put("rules", AcceptanceRules.measure(file, draftFile, workers()));
        }
        save(result);
        System.out.println(out.resolve("speculation.html"));
        return 0;
    }

    /** After every part, so that a run which is cut short leaves what it has measured, for {@code --add}. */
    private void save(Map<String, Object> result) throws IOException {
        Files.writeString(out.resolve("speculation.json"), Json.write(result));
        Files.writeString(out.resolve("speculation.html"), SpeculationPage.of(result));
    }

    private Set<Part> checkOptions() {
        if (quick) {
            seconds = 0.5;
            loads = List.of(1, 8, 64);
            acceptances = List.of(0.0, 0.8, 1.0);
            lengths = List.of(1, 4);
        }
        for (int load : loads) {
            if (load < 1 || load > MOST_SEQUENCES) {
                throw new IllegalArgumentException(
                        "--loads takes numbers from 1 to " + MOST_SEQUENCES + ", not " + load);
            }
        }
        for (double acceptance : acceptances) {
            if (!(acceptance >= 0 && acceptance <= 1)) {
                throw new IllegalArgumentException("--acceptances takes numbers from 0 to 1, not " + acceptance);
            }
        }
        if (tokens < FEWEST_TOKENS || !(seconds > 0)) {
            throw new IllegalArgumentException(
                    "--tokens must be at least " + FEWEST_TOKENS + " and --seconds more than 0");
        }
        Set<Part> asked = EnumSet.noneOf(Part.class);
        for (String part : parts) {
            try {
                asked.add(Part.valueOf(part.toUpperCase(Locale.ROOT)));
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException("--parts takes costs, curve, tasks, load and rules, not " + part, e);
            }
        }
        return asked;
    }

    private int workers() {
        return threads > 0 ? threads : Runtime.getRuntime().availableProcessors();
    }

    private TimedEngine open(Speculation speculation) {
        return TimedEngine.open(
                Objects.requireNonNull(model),
                EngineConfig.builder()
                        .maxSequences(MOST_SEQUENCES)
                        .threads(threads)
                        .speculation(speculation)
                        .build());
    }

    /** Puts rows into a table, in place of those that agree with them in {@code keys}. */
    private static void merge(
            Map<String, Object> result, String table, List<Map<String, Object>> rows, String... keys) {
        Map<List<String>, Object> byKey = new LinkedHashMap<>();
        List<Object> all = new ArrayList<>(result.get(table) instanceof List<?> old ? old : List.of());
        all.addAll(rows);
        for (Object row : all) {
            byKey.put(
                    Arrays.stream(keys)
                            .map(key -> String.valueOf(((Map<?, ?>) row).get(key)))
                            .toList(),
                    row);
        }
        result.put(table, new ArrayList<>(byKey.values()));
    }

    /** Prompts of random tokens with the greedy answers to them. */
    private record Recorded(List<int[]> prompts, List<int[]> answers) {
        PairedSpeed.Work first(int count, int tokens) {
            return new PairedSpeed.Work(prompts.subList(0, count), answers.subList(0, count), tokens, false);
        }

        Replay replay(double acceptance, int vocabularySize) {
            List<int[]> texts = new ArrayList<>();
            for (int i = 0; i < prompts.size(); i++) {
                int[] text = Arrays.copyOf(prompts.get(i), PROMPT + answers.get(i).length);
                System.arraycopy(answers.get(i), 0, text, PROMPT, answers.get(i).length);
                texts.add(text);
            }
            return new Replay(texts, PROMPT, acceptance, 5, vocabularySize);
        }
    }

    /** What a model can say in the time that a group is given is as much as needs to be recorded. */
    private Recorded record(TimedEngine off) throws InterruptedException {
        List<int[]> prompts = prompts(off);
        List<int[]> few = PairedSpeed.record(off, prompts, FEWEST_TOKENS, false); // warms up
        int length = groupTokens(off, new Recorded(prompts, few), 1);
        System.err.println("recording " + MOST_SEQUENCES + " answers of " + length + " tokens");
        return new Recorded(prompts, PairedSpeed.record(off, prompts, length, false));
    }

    /** Tokens of an answer with so many sequences at once. */
    private int groupTokens(TimedEngine off, Recorded recorded, int sequences) throws InterruptedException {
        PairedSpeed.Run run = new PairedSpeed(seconds).run(off, recorded.first(sequences, FEWEST_TOKENS));
        return (int) Math.clamp(GROUP_SECONDS * run.tokensPerSecond() / sequences, (double) FEWEST_TOKENS, tokens);
    }

    /** What a step takes beside its pass, and the best that there is to be had. */
    private void putBest(Map<String, Object> result, TimedEngine off, Recorded recorded) throws InterruptedException {
        int length = recorded.answers.getFirst().length;
        PairedSpeed speed = new PairedSpeed(seconds);
        List<Double> speeds = new ArrayList<>();
        for (long end = System.nanoTime() + (long) (seconds * 1e9); speeds.isEmpty() || System.nanoTime() < end; ) {
            speeds.add(speed.run(off, recorded.first(1, length)).tokensPerSecond());
        }
        double stepMicros = 1e6 / PairedSpeed.quantile(speeds, 0.5);
        List<Map<String, Object>> costs = SpeculationPage.rows(result, "costs");
        double pass = SpeculationPage.number(costs.getFirst(), "model_microseconds");
        result.put("step_microseconds", stepMicros);
        result.put("rest_microseconds", Math.max(0, stepMicros - pass));
        result.put("best", PassCosts.best(costs, Math.max(0, stepMicros - pass)));
    }

    private static List<int[]> prompts(TimedEngine engine) {
        Tokenizer tokenizer = engine.engine().tokenizer();
        Random random = new Random(7);
        List<int[]> prompts = new ArrayList<>();
        for (int i = 0; i < MOST_SEQUENCES; i++) {
            prompts.add(random.ints(PROMPT, 0, tokenizer.vocabularySize())
                    .map(token -> tokenizer.isControl(token) ? 0 : token)
                    .toArray());
        }
        return prompts;
    }

    /** One sequence, a fixed number of draft tokens. */
    private List<Map<String, Object>> curve(TimedEngine off, Recorded recorded, Map<String, Object> result)
            throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        List<Map<String, Object>> costs = SpeculationPage.rows(result, "costs");
        double rest = SpeculationPage.number(result, "rest_microseconds");
        int length = recorded.answers.getFirst().length;
        for (int guesses : lengths) {
            for (double acceptance : acceptances) {
                System.err.printf(Locale.ROOT, "curve: %d draft tokens, acceptance %.2f%n", guesses, acceptance);
                Speculation speculation = new Speculation(guesses, false, null, replay(off, recorded, acceptance));
                try (TimedEngine on = open(speculation)) {
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("draft_tokens", guesses);
                    row.put("acceptance", acceptance);
                    double theory = PassCosts.tokensAStep(acceptance, guesses);
                    row.put("tokens_by_theory", theory);
                    row.put("tokens_a_step", tokensAStep(on, recorded, length));
                    Map<String, Object> measured = new PairedSpeed(seconds).compare(on, recorded.first(1, length));
                    costs.stream()
                            .filter(cost -> SpeculationPage.number(cost, "rows") == guesses + 1)
                            .mapToDouble(cost -> SpeculationPage.number(cost, "model_microseconds"))
                            .forEach(pass -> row.put(
                                    "speedup_by_theory",
                                    theory * SpeculationPage.number(result, "step_microseconds") / (pass + rest)));
                    row.putAll(measured);
                    row.put(SECONDS, seconds);
                    rows.add(row);
                }
            }
        }
        return rows;
    }

    /**
     * Tokens of a step with all its draft tokens, over several answers: one, and for each position how often a draft
     * token that was there was accepted. So drafts that the end of an answer cuts short do not count as rejected.
     */
    private static double tokensAStep(TimedEngine on, Recorded recorded, int length) throws InterruptedException {
        SpeculationCounts before = on.engine().stats().speculation().counts();
        int answers = Math.clamp(2000 / length, 1, MOST_SEQUENCES);
        for (int[] prompt : recorded.prompts.subList(0, answers)) {
            PairedSpeed.record(on, List.of(prompt), length, false);
        }
        SpeculationCounts after = on.engine().stats().speculation().counts();
        double sum = 1;
        for (int position = 0; position < after.draftedAt().size(); position++) {
            long drafted = after.draftedAt().get(position) - before.draftedAt().get(position);
            long accepted =
                    after.acceptedAt().get(position) - before.acceptedAt().get(position);
            sum += drafted == 0 ? 0 : (double) accepted / drafted;
        }
        return sum;
    }

    private static Replay replay(TimedEngine off, Recorded recorded, double acceptance) {
        return recorded.replay(acceptance, off.engine().tokenizer().vocabularySize());
    }

    /** One chat after the other, with lookup, the draft model and both, as the governor sees fit; and with none. */
    private List<Map<String, Object>> taskTable(TimedEngine off) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        Map<String, Speculation> ways = new LinkedHashMap<>();
        ways.put("lookup", Speculation.auto(null));
        Path draftFile = draft;
        if (draftFile != null) {
            ways.put("draft model", new Speculation(Speculation.AUTO, false, draftFile, null));
            ways.put("both", Speculation.auto(draftFile));
        }
        ways.put(NONE, Speculation.off());
        for (Map.Entry<String, Speculation> way : ways.entrySet()) {
            try (TimedEngine on = open(way.getValue())) {
                for (Map.Entry<String, List<List<String>>> task : TASKS.entrySet()) {
                    System.err.println(task.getKey() + " with " + way.getKey());
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("task", task.getKey());
                    row.put("drafter", way.getKey());
                    row.putAll(task(off, on, task.getValue()));
                    row.put(SECONDS, seconds);
                    rows.add(row);
                }
            }
        }
        return rows;
    }

    /** Geometric means over the chats of a task. */
    private Map<String, Object> task(TimedEngine off, TimedEngine on, List<List<String>> chats)
            throws InterruptedException {
        Map<String, Double> logs = new LinkedHashMap<>();
        for (List<String> chat : chats) {
            PairedSpeed.Work work = lastTurn(off, chat);
            Map<String, Object> row = new PairedSpeed(seconds / chats.size()).compare(on, work);
            row.put("answer_tokens", (double) work.answers().getFirst().length);
            row.forEach((key, value) ->
                    logs.merge(key, StrictMath.log(Math.max(1e-9, ((Number) value).doubleValue())), Double::sum));
        }
        Map<String, Object> means = new LinkedHashMap<>();
        logs.forEach((key, sum) -> means.put(key, StrictMath.exp(sum / chats.size())));
        return means;
    }

    /** Lets a chat go on as the model answers; returns its last turn. */
    private PairedSpeed.Work lastTurn(TimedEngine off, List<String> chat) throws InterruptedException {
        ChatTemplate template = off.engine().chatTemplate();
        List<Map<String, Object>> messages = new ArrayList<>();
        List<int[]> prompts = List.of();
        List<int[]> answers = List.of();
        for (String text : chat) {
            messages.add(Map.of("role", "user", "content", text));
            String prompt = template == null ? text : template.render(messages, List.of(), true);
            prompts = List.of(off.engine().tokenizer().encode(prompt, template == null, template != null));
            answers = PairedSpeed.record(off, prompts, tokens, true);
            messages.add(Map.of("role", "assistant", "content", text(off, answers.getFirst())));
        }
        return new PairedSpeed.Work(prompts, answers, tokens, true);
    }

    private static String text(TimedEngine off, int[] answer) {
        Detokenizer detokenizer = new Detokenizer(off.engine().tokenizer());
        StringBuilder text = new StringBuilder();
        for (int token : answer) {
            text.append(off.engine().tokenizer().isControl(token) ? "" : detokenizer.append(token));
        }
        return text.append(detokenizer.finish()).toString();
    }

    /** Every load with every acceptance, the governor deciding; and off against off, which shows what is noise. */
    private List<Map<String, Object>> loadTable(TimedEngine off, Recorded recorded) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (double acceptance : acceptances) {
            Replay replay = replay(off, recorded, acceptance);
            rows.addAll(loadRows(off, recorded, acceptance, new Speculation(Speculation.AUTO, false, null, replay)));
        }
        rows.addAll(loadRows(off, recorded, NONE, Speculation.off()));
        return rows;
    }

    /** @param acceptance how often the oracle is right, or what else this is called */
    private List<Map<String, Object>> loadRows(
            TimedEngine off, Recorded recorded, Object acceptance, Speculation speculation)
            throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        try (TimedEngine on = open(speculation)) {
            for (int load : loads) {
                System.err.printf(Locale.ROOT, "load %d, acceptance %s%n", load, acceptance);
                int length = Math.min(groupTokens(off, recorded, load), recorded.answers.getFirst().length);
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("sequences", load);
                row.put("acceptance", acceptance);
                row.putAll(new PairedSpeed(seconds).compare(on, recorded.first(load, length)));
                row.put(SECONDS, seconds);
                rows.add(row);
            }
        }
        return rows;
    }
}
