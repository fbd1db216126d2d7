package quire.cli;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.EngineStats;
import quire.engine.Output;
import quire.engine.Replay;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;
import quire.engine.TokenStream;
import quire.model.BuiltInModel;
import quire.model.text.ChatTemplate;
import quire.tensor.KvLayout.KvType;

/**
 * Measures what speculation brings: against theory with an oracle of chosen acceptance, with lookup and a draft model on
 * texts, and under load. What is compared is measured in turns, since a shared machine drifts.
 */
@Command(
        name = "speculation",
        mixinStandardHelpOptions = true,
        description = "Measure guessing ahead: tables and charts in one HTML page.")
final class SpeculationBenchCommand implements Callable<Integer> {
    /** Tells how much work was done even while other programs hold the processors. */
    private static final OperatingSystemMXBean PROCESS =
            ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);

    private static final double CPU_TICK = 0.01;

    private static final int PROMPT = 16;
    private static final int MOST_SEQUENCES = 64;

    /** Short things to say, for a model that chats, in the wordings that quire-tiny knows; extraction repeats its prompt. */
    private static final Map<String, List<String>> TASKS = tasks();

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
            names = "--loads",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,4,16,64",
            description = "Sequences at once, at most 64 (default ${DEFAULT-VALUE}).")
    private List<Integer> loads;

    @Option(
            names = "--acceptances",
            paramLabel = "A",
            split = ",",
            defaultValue = "0,0.5,0.8,1",
            description = "How often the oracle is right (default ${DEFAULT-VALUE}).")
    private List<Double> acceptances;

    @Option(
            names = "--lengths",
            paramLabel = "N",
            split = ",",
            defaultValue = "1,4,8",
            description = "Draft tokens for the curve against theory (default ${DEFAULT-VALUE}).")
    private List<Integer> lengths;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            defaultValue = "96",
            description = "Tokens of an answer (default ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "3",
            description = "Times that each pair is measured; the median counts (default ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads (default: one a core).")
    private int threads;

    /** Known once the command runs. */
    private @Nullable Path model;

    private static Map<String, List<String>> tasks() {
        Map<String, List<String>> tasks = new LinkedHashMap<>();
        tasks.put(
                "stories",
                List.of(
                        "Please write a story about a painter who wants to play the flute for my son.",
                        "Do you know a story about a squirrel called Mia who learns to dance?"));
        tasks.put(
                "translation",
                List.of(
                        "My friend only understands Spanish. Translate for me: Die Blume ist groß.",
                        "Which German sentence means \"My sister has a ticket.\"?"));
        tasks.put(
                "extraction",
                List.of(
                        "I want customer, item, quantity, price, city, day as JSON. The message: 42 shirts go to Karin"
                                + " Novak, who paid 461 euros in Zurich on Monday.",
                        "Extract price, customer and item from this text as JSON.\nHenri Lopez in Porto bought 70 jackets"
                                + " last Tuesday. The price was 656 euros."));
        return tasks;
    }

    @Override
    public Integer call() throws IOException, InterruptedException {
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
        if (tokens < 8 || rounds < 1) {
            throw new IllegalArgumentException("--tokens must be at least 8 and --rounds at least 1");
        }
        Path file = modelOption.path();
        model = file;
        if (draft == null && modelOption.isBuiltIn()) {
            draft = BuiltInModel.QUIRE_TINY_DRAFT.path();
        }
        Files.createDirectories(out);
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("model", String.valueOf(file.getFileName()));
        result.put("draft", draft == null ? "none" : String.valueOf(draft.getFileName()));
        result.put("processors", Runtime.getRuntime().availableProcessors());
        result.put("tokens_an_answer", tokens);
        try (Engine off = open(Speculation.off())) {
            List<int[]> prompts = prompts(off);
            System.err.println("recording " + MOST_SEQUENCES + " answers");
            List<int[]> texts = record(off, prompts);
            result.put("curve", curve(off, texts));
            result.put("tasks", taskTable(off));
            result.put("load", loadTable(off, texts));
        }
        Path draftFile = draft;
        if (draftFile != null) {
            System.err.println("comparing both models' distributions");
            result.put("rules", AcceptanceRules.measure(file, draftFile, threads));
        }
        Files.writeString(out.resolve("speculation.json"), Json.write(result));
        Path page = out.resolve("speculation.html");
        Files.writeString(page, SpeculationPage.of(result));
        System.out.println(page);
        return 0;
    }

    private Engine open(Speculation speculation) {
        EngineConfig defaults = EngineConfig.defaults();
        return Engine.open(
                Objects.requireNonNull(model),
                new EngineConfig(
                        MOST_SEQUENCES,
                        defaults.maxBatchedTokens(),
                        0,
                        defaults.maxQueuedRequests(),
                        defaults.maxQueuedTokens(),
                        0,
                        defaults.pageTokens(),
                        KvType.F16,
                        threads,
                        speculation),
                EngineListener.NONE);
    }

    private static List<int[]> prompts(Engine engine) {
        Random random = new Random(7);
        List<int[]> prompts = new ArrayList<>();
        for (int i = 0; i < MOST_SEQUENCES; i++) {
            prompts.add(random.ints(PROMPT, 0, engine.tokenizer().vocabularySize())
                    .map(token -> engine.tokenizer().isControl(token) ? 0 : token)
                    .toArray());
        }
        return prompts;
    }

    /** Prompts with their greedy answers behind them. */
    private List<int[]> record(Engine engine, List<int[]> prompts) throws InterruptedException {
        List<int[]> answers = together(engine, prompts, false).answers;
        List<int[]> texts = new ArrayList<>();
        for (int i = 0; i < prompts.size(); i++) {
            int[] text = Arrays.copyOf(prompts.get(i), PROMPT + answers.get(i).length);
            System.arraycopy(answers.get(i), 0, text, PROMPT, answers.get(i).length);
            texts.add(text);
        }
        return texts;
    }

    private record Group(List<int[]> answers, double tokensPerSecond, double cpuSeconds, double tokensPerStep) {}

    /** Answers all prompts at once, greedily, and says how fast. {@code toTheEnd}: answers end where the model ends them. */
    private Group together(Engine engine, List<int[]> prompts, boolean toTheEnd) throws InterruptedException {
        EngineStats before = engine.stats();
        long begin = System.nanoTime();
        long beginCpu = PROCESS.getProcessCpuTime();
        List<int[]> answers = new ArrayList<>();
        try (ExecutorService readers = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Future<int[]>> futures = new ArrayList<>();
            for (int[] prompt : prompts) {
                Callable<int[]> reader = () -> read(engine, prompt, toTheEnd);
                futures.add(readers.submit(reader));
            }
            for (Future<int[]> future : futures) {
                answers.add(future.get());
            }
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        double cpuSeconds = (PROCESS.getProcessCpuTime() - beginCpu) / 1e9;
        EngineStats after = engine.stats();
        double generated = (double) (after.generationTokens() - before.generationTokens());
        return new Group(answers, generated / seconds, cpuSeconds, generated / (after.steps() - before.steps()));
    }

    private int[] read(Engine engine, int[] prompt, boolean toTheEnd) throws InterruptedException {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(Math.min(tokens, engine.maxContext() - prompt.length))
                .temperature(0)
                .ignoreEndOfText(!toTheEnd)
                .build();
        int[] answer = new int[params.maxTokens()];
        int count = 0;
        try (TokenStream stream = engine.submit(new Request(prompt, params))) {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                answer[count++] = output.token();
            }
            if (stream.finish().error() != null) {
                throw new IllegalStateException(stream.finish().error());
            }
        }
        return Arrays.copyOf(answer, count);
    }

    /** A pair of runs in turns: median of the ratios, so that a machine that drifts drifts for both. */
    private Map<String, Object> compare(Engine off, Engine on, List<int[]> prompts, boolean toTheEnd)
            throws InterruptedException {
        together(on, prompts, toTheEnd); // code is compiled and costs are known
        List<Double> ratios = new ArrayList<>();
        double cpuWith = 0;
        double cpuWithout = 0;
        Group with = together(on, prompts, toTheEnd);
        Group without = together(off, prompts, toTheEnd);
        for (int i = 0; i < rounds; i++) {
            without = together(off, prompts, toTheEnd);
            with = together(on, prompts, toTheEnd);
            ratios.add(with.tokensPerSecond / without.tokensPerSecond);
            cpuWith += with.cpuSeconds;
            cpuWithout += without.cpuSeconds;
            for (int k = 0; k < prompts.size(); k++) {
                if (!Arrays.equals(with.answers.get(k), without.answers.get(k))) {
                    throw new IllegalStateException(
                            "answer " + k + " differs with speculation: a bug, please report it");
                }
            }
        }
        ratios.sort(null);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("off_tokens_per_second", without.tokensPerSecond);
        row.put("on_tokens_per_second", with.tokensPerSecond);
        row.put("speedup", ratios.get(ratios.size() / 2));
        // Both gave the same tokens. The system counts in ticks: what is shorter than one of them says nothing.
        row.put("cpu_speedup", Math.max(cpuWithout, CPU_TICK) / Math.max(cpuWith, CPU_TICK));
        row.put("tokens_per_step", with.tokensPerStep);
        return row;
    }

    private Replay replay(Engine off, List<int[]> texts, double acceptance) {
        return new Replay(texts, PROMPT, acceptance, 5, off.tokenizer().vocabularySize());
    }

    /** One sequence after the other, a fixed number of draft tokens. */
    private List<Map<String, Object>> curve(Engine off, List<int[]> texts) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        int samples = 12; // some hundred steps each
        for (int length : lengths) {
            for (double acceptance : acceptances) {
                System.err.printf(Locale.ROOT, "curve: %d draft tokens, acceptance %.2f%n", length, acceptance);
                Speculation speculation = new Speculation(length, false, null, replay(off, texts, acceptance));
                try (Engine on = open(speculation)) {
                    EngineStats before = on.stats();
                    for (int[] text : texts.subList(0, samples)) {
                        together(on, List.of(Arrays.copyOf(text, PROMPT)), false);
                    }
                    EngineStats after = on.stats();
                    double steps = (double) (after.steps() - before.steps());
                    double generated = (double) (after.generationTokens() - before.generationTokens());
                    double theory = acceptance == 1
                            ? length + 1
                            : (1 - StrictMath.pow(acceptance, length + 1)) / (1 - acceptance);
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("draft_tokens", length);
                    row.put("acceptance", acceptance);
                    row.put("tokens_per_step", generated / steps);
                    row.put("theory", theory);
                    row.putAll(compare(off, on, List.of(Arrays.copyOf(texts.getFirst(), PROMPT)), false));
                    row.put("tokens_per_step", generated / steps);
                    rows.add(row);
                }
            }
        }
        return rows;
    }

    /** One chat after the other, with lookup, the draft model and both, as the governor sees fit. */
    private List<Map<String, Object>> taskTable(Engine off) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        ChatTemplate template = off.chatTemplate();
        Map<String, Speculation> ways = new LinkedHashMap<>();
        ways.put("lookup", Speculation.auto(null));
        Path draftFile = draft;
        if (draftFile != null) {
            ways.put("draft model", new Speculation(Speculation.AUTO, false, draftFile, null));
            ways.put("both", Speculation.auto(draftFile));
        }
        for (Map.Entry<String, Speculation> way : ways.entrySet()) {
            try (Engine on = open(way.getValue())) {
                for (Map.Entry<String, List<String>> task : TASKS.entrySet()) {
                    System.err.println(task.getKey() + " with " + way.getKey());
                    double logs = 0;
                    double cpuLogs = 0;
                    Map<String, Object> row = Map.of();
                    for (String text : task.getValue()) {
                        String prompt = template == null
                                ? text
                                : template.render(List.of(Map.of("role", "user", "content", text)), List.of(), true);
                        int[] encoded = off.tokenizer().encode(prompt, template == null, template != null);
                        row = compare(off, on, List.of(encoded), true);
                        logs += StrictMath.log((Double) Objects.requireNonNull(row.get("speedup")));
                        cpuLogs += StrictMath.log((Double) Objects.requireNonNull(row.get("cpu_speedup")));
                    }
                    Map<String, Object> line = new LinkedHashMap<>();
                    line.put("task", task.getKey());
                    line.put("drafter", way.getKey());
                    line.putAll(row);
                    line.put("speedup", StrictMath.exp(logs / task.getValue().size()));
                    line.put(
                            "cpu_speedup",
                            StrictMath.exp(cpuLogs / task.getValue().size()));
                    rows.add(line);
                }
            }
        }
        return rows;
    }

    /** Every load with every acceptance, the governor deciding. */
    private List<Map<String, Object>> loadTable(Engine off, List<int[]> texts) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (double acceptance : acceptances) {
            Speculation speculation = new Speculation(Speculation.AUTO, false, null, replay(off, texts, acceptance));
            try (Engine on = open(speculation)) {
                for (int load : loads) {
                    System.err.printf(Locale.ROOT, "load %d, acceptance %.2f%n", load, acceptance);
                    List<int[]> prompts = new ArrayList<>();
                    for (int[] text : texts.subList(0, load)) {
                        prompts.add(Arrays.copyOf(text, PROMPT));
                    }
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("sequences", load);
                    row.put("acceptance", acceptance);
                    row.putAll(compare(off, on, prompts, false));
                    rows.add(row);
                }
            }
        }
        return rows;
    }
}
