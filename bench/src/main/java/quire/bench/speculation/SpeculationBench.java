package quire.bench.speculation;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.bench.measure.PairedSpeed;
import quire.bench.measure.Quantiles;
import quire.bench.measure.TimedEngine;
import quire.bench.report.RunRecord;
import quire.engine.EngineConfig;
import quire.engine.Replay;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import quire.model.text.ChatTemplate;
import quire.model.text.Detokenizer;
import quire.model.text.Tokenizer;

/**
 * Measures what speculation does to the speed of one model, in five parts:
 *
 * <pre>
 *   costs    time of a pass by its number of rows, and the greatest speed-up that follows     {@link PassCosts}
 *   curve    one sequence, a fixed number of draft tokens, an oracle; against theory          {@link SpeculationTheory}
 *   tasks    chats with prompt lookup, the draft model, both, and none                        {@link ChatTasks}
 *   load     1 to 64 sequences with an oracle, the governor decides
 *   rules    acceptance at temperature 1 under three rules                                    {@link AcceptanceRules}
 * </pre>
 *
 * <p>An oracle is a drafter that has the recorded answers; each of its draft tokens is right with a chosen probability
 * ({@link Replay}). Speeds are compared as {@link PairedSpeed} describes. The oracle's prompts and answers are recorded
 * once without speculation; random tokens are as good as text there, because only their number matters.
 */
final class SpeculationBench {
    /** Largest number of sequences at the same time. */
    static final int MAX_SEQUENCES = 64;

    /** Shortest answer: longer than what one step can yield, so that no answer ends in the step in which it begins. */
    static final int MIN_TOKENS = Speculation.MAX_DRAFT_TOKENS + 2;

    /**
     * Column with the minimum time of a row's case. It is stored by row, since a table may have rows of several runs.
     */
    static final String SECONDS = "seconds_a_case";

    /** Stands for the drafter, or the acceptance, in rows that compare an engine without speculation with itself. */
    private static final String NONE = "none: off against off";

    private static final int PROMPT_TOKENS = 8;

    /** Time for which a group of answers decodes. Slow models get shorter answers. */
    private static final double GROUP_SECONDS = 2;

    /** Approximate number of tokens from which the tokens of a step are computed. */
    private static final int COUNTED_TOKENS = 2000;

    /** A part of the measurement. */
    enum Part {
        COSTS,
        CURVE,
        TASKS,
        LOAD,
        RULES
    }

    /**
     * What to measure.
     *
     * @param loads numbers of sequences at the same time, at most {@link #MAX_SEQUENCES}
     * @param acceptances probabilities with which the oracle is right
     * @param lengths numbers of draft tokens for the curve
     * @param tokens maximum length of an answer, at least {@link #MIN_TOKENS}
     * @param seconds minimum time of each case
     */
    record Cases(List<Integer> loads, List<Double> acceptances, List<Integer> lengths, int tokens, double seconds) {}

    /** Receives the record after each part. */
    @FunctionalInterface
    interface Saver {
        void save(RunRecord record) throws IOException;
    }

    private final Path model;
    private final @Nullable Path draft;
    private final int threads;
    private final Cases cases;

    /**
     * @param draft a draft model, or null to measure none
     * @param threads number of worker threads
     */
    SpeculationBench(Path model, @Nullable Path draft, int threads, Cases cases) {
        this.model = model;
        this.draft = draft;
        this.threads = threads;
        this.cases = cases;
    }

    /**
     * Measures the chosen parts and merges their tables into {@code record}. The record is saved after each part, so a
     * run that is interrupted leaves what it has measured.
     */
    void measure(Set<Part> chosen, RunRecord record, Saver saver) throws IOException, InterruptedException {
        try (TimedEngine off = open(Speculation.off())) {
            Recorded recorded = record(off);
            if (chosen.contains(Part.COSTS)) {
                System.err.println("costs of passes");
                record.put("costs", PassCosts.measure(model, draft, threads, 2 * cases.seconds));
                record.put("costs_seconds", 2 * cases.seconds);
                putBest(record, off, recorded);
                saver.save(record);
            }
            if (chosen.contains(Part.CURVE)) {
                record.merge("curve", curve(off, recorded, record), "draft_tokens", "acceptance");
                saver.save(record);
            }
            if (chosen.contains(Part.TASKS)) {
                record.merge("tasks", tasks(off), "task", "drafter");
                saver.save(record);
            }
            if (chosen.contains(Part.LOAD)) {
                record.merge("load", load(off, recorded), "sequences", "acceptance");
                saver.save(record);
            }
        }
        if (draft != null && chosen.contains(Part.RULES)) {
            System.err.println("acceptance under three rules");
            record.put("rules", AcceptanceRules.measure(model, draft, threads));
        }
        saver.save(record);
    }

    private TimedEngine open(Speculation speculation) {
        return TimedEngine.open(
                model,
                EngineConfig.builder()
                        .maxSequences(MAX_SEQUENCES)
                        .threads(threads)
                        .speculation(speculation)
                        .prefixCache(false) // every run answers the same prompts
                        .build());
    }

    /** Prompts of random tokens, and the greedy answers to them. */
    private record Recorded(List<int[]> prompts, List<int[]> answers) {
        PairedSpeed.Work first(int count, int tokens) {
            return new PairedSpeed.Work(prompts.subList(0, count), answers.subList(0, count), tokens, false);
        }

        int answerTokens() {
            return answers.getFirst().length;
        }

        /** Draft tokens that are right with this probability; every run has the same wrong ones. */
        Replay oracle(double acceptance, int vocabularySize) {
            List<int[]> texts = new ArrayList<>();
            for (int i = 0; i < prompts.size(); i++) {
                int[] text = Arrays.copyOf(prompts.get(i), PROMPT_TOKENS + answers.get(i).length);
                System.arraycopy(answers.get(i), 0, text, PROMPT_TOKENS, answers.get(i).length);
                texts.add(text);
            }
            return new Replay(texts, PROMPT_TOKENS, acceptance, 5, vocabularySize);
        }
    }

    /** Records answers as long as one sequence can generate in {@link #GROUP_SECONDS}: longer ones are never needed. */
    private Recorded record(TimedEngine off) throws InterruptedException {
        List<int[]> prompts = prompts(off);
        List<int[]> shortAnswers = PairedSpeed.record(off, prompts, MIN_TOKENS, false); // also warms up
        int length = groupTokens(off, new Recorded(prompts, shortAnswers), 1);
        System.err.println("recording " + MAX_SEQUENCES + " answers of " + length + " tokens");
        return new Recorded(prompts, PairedSpeed.record(off, prompts, length, false));
    }

    private static List<int[]> prompts(TimedEngine engine) {
        Tokenizer tokenizer = engine.engine().tokenizer();
        Random random = new Random(7);
        List<int[]> prompts = new ArrayList<>();
        for (int i = 0; i < MAX_SEQUENCES; i++) {
            prompts.add(random.ints(PROMPT_TOKENS, 0, tokenizer.vocabularySize())
                    .map(token -> tokenizer.isControl(token) ? 0 : token)
                    .toArray());
        }
        return prompts;
    }

    /**
     * Tokens that each of {@code sequences} sequences generates in {@link #GROUP_SECONDS}, within the allowed lengths.
     */
    private int groupTokens(TimedEngine off, Recorded recorded, int sequences) throws InterruptedException {
        PairedSpeed.Run run = new PairedSpeed(cases.seconds).run(off, recorded.first(sequences, MIN_TOKENS));
        return (int) Math.clamp(GROUP_SECONDS * run.tokensPerSecond() / sequences, (double) MIN_TOKENS, cases.tokens);
    }

    /** Measures the time of a step outside of its pass, and computes the greatest speed-up that these costs allow. */
    private void putBest(RunRecord record, TimedEngine off, Recorded recorded) throws InterruptedException {
        PairedSpeed speed = new PairedSpeed(cases.seconds);
        List<Double> speeds = new ArrayList<>();
        for (long end = System.nanoTime() + (long) (cases.seconds * 1e9);
                speeds.isEmpty() || System.nanoTime() < end; ) {
            speeds.add(
                    speed.run(off, recorded.first(1, recorded.answerTokens())).tokensPerSecond());
        }
        double stepMicros = 1e6 / Quantiles.median(speeds);
        List<Map<String, Object>> costs = record.rows("costs");
        double restMicros = Math.max(0, stepMicros - RunRecord.number(costs.getFirst(), "model_microseconds"));
        record.put("step_microseconds", stepMicros);
        record.put("rest_microseconds", restMicros);
        record.put("best", SpeculationTheory.best(costs, restMicros));
    }

    /** One sequence, every fixed number of draft tokens with every acceptance, compared with theory. */
    private List<Map<String, Object>> curve(TimedEngine off, Recorded recorded, RunRecord record)
            throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (int draftTokens : cases.lengths) {
            for (double acceptance : cases.acceptances) {
                System.err.printf(Locale.ROOT, "curve: %d draft tokens, acceptance %.2f%n", draftTokens, acceptance);
                Speculation speculation = new Speculation(draftTokens, false, null, oracle(off, recorded, acceptance));
                try (TimedEngine on = open(speculation)) {
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("draft_tokens", draftTokens);
                    row.put("acceptance", acceptance);
                    double tokensByTheory = SpeculationTheory.tokensPerStep(acceptance, draftTokens);
                    row.put("tokens_by_theory", tokensByTheory);
                    row.put("tokens_a_step", tokensPerStep(on, recorded));
                    Map<String, Object> measured =
                            new PairedSpeed(cases.seconds).compare(on, recorded.first(1, recorded.answerTokens()));
                    putSpeedupByTheory(row, record, draftTokens, tokensByTheory);
                    row.putAll(measured);
                    row.put(SECONDS, cases.seconds);
                    rows.add(row);
                }
            }
        }
        return rows;
    }

    /** Only if the cost of a pass with this number of draft tokens was measured. */
    private static void putSpeedupByTheory(
            Map<String, Object> row, RunRecord record, int draftTokens, double tokensByTheory) {
        for (Map<String, Object> cost : record.rows("costs")) {
            if (RunRecord.number(cost, "rows") == draftTokens + 1) {
                double stepMicros = RunRecord.number(cost, "model_microseconds") + record.number("rest_microseconds");
                row.put("speedup_by_theory", tokensByTheory * record.number("step_microseconds") / stepMicros);
            }
        }
    }

    /**
     * Tokens of a step that has all its draft tokens: 1, and for each position the share of draft tokens at this
     * position that were accepted. So draft tokens that are missing at the end of an answer do not count as rejected.
     */
    private static double tokensPerStep(TimedEngine on, Recorded recorded) throws InterruptedException {
        SpeculationCounts before = on.engine().stats().speculation().counts();
        int answers = Math.clamp(COUNTED_TOKENS / recorded.answerTokens(), 1, MAX_SEQUENCES);
        for (int[] prompt : recorded.prompts.subList(0, answers)) {
            PairedSpeed.record(on, List.of(prompt), recorded.answerTokens(), false);
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

    private static Replay oracle(TimedEngine off, Recorded recorded, double acceptance) {
        return recorded.oracle(acceptance, off.engine().tokenizer().vocabularySize());
    }

    /** One chat at a time with every drafter; the governor decides the number of draft tokens. */
    private List<Map<String, Object>> tasks(TimedEngine off) throws InterruptedException {
        Map<String, Speculation> drafters = new LinkedHashMap<>();
        drafters.put("lookup", Speculation.auto(null));
        if (draft != null) {
            drafters.put("draft model", new Speculation(Speculation.AUTO, false, draft, null));
            drafters.put("both", Speculation.auto(draft));
        }
        drafters.put(NONE, Speculation.off());
        List<Map<String, Object>> rows = new ArrayList<>();
        for (Map.Entry<String, Speculation> drafter : drafters.entrySet()) {
            try (TimedEngine on = open(drafter.getValue())) {
                for (Map.Entry<String, List<List<String>>> task :
                        ChatTasks.all().entrySet()) {
                    System.err.println(task.getKey() + " with " + drafter.getKey());
                    Map<String, Object> row = new LinkedHashMap<>();
                    row.put("task", task.getKey());
                    row.put("drafter", drafter.getKey());
                    row.putAll(task(off, on, task.getValue()));
                    row.put(SECONDS, cases.seconds);
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
            Map<String, Object> row = new PairedSpeed(cases.seconds / chats.size()).compare(on, work);
            row.put("answer_tokens", (double) work.answers().getFirst().length);
            row.forEach((key, value) ->
                    logs.merge(key, StrictMath.log(Math.max(1e-9, ((Number) value).doubleValue())), Double::sum));
        }
        Map<String, Object> means = new LinkedHashMap<>();
        logs.forEach((key, sum) -> means.put(key, StrictMath.exp(sum / chats.size())));
        return means;
    }

    /** Lets the model answer all messages of a chat; returns the prompt and the answer of the last one. */
    private PairedSpeed.Work lastTurn(TimedEngine off, List<String> chat) throws InterruptedException {
        ChatTemplate template = off.engine().chatTemplate();
        List<Map<String, Object>> messages = new ArrayList<>();
        List<int[]> prompts = List.of();
        List<int[]> answers = List.of();
        for (String text : chat) {
            messages.add(Map.of("role", "user", "content", text));
            String prompt = template == null ? text : template.render(messages, List.of(), true);
            prompts = List.of(off.engine().tokenizer().encode(prompt, template == null, template != null));
            answers = PairedSpeed.record(off, prompts, cases.tokens, true);
            messages.add(Map.of("role", "assistant", "content", text(off, answers.getFirst())));
        }
        return new PairedSpeed.Work(prompts, answers, cases.tokens, true);
    }

    private static String text(TimedEngine off, int[] answer) {
        Detokenizer detokenizer = new Detokenizer(off.engine().tokenizer());
        StringBuilder text = new StringBuilder();
        for (int token : answer) {
            text.append(off.engine().tokenizer().isControl(token) ? "" : detokenizer.append(token));
        }
        return text.append(detokenizer.finish()).toString();
    }

    /** Every load with every acceptance, where the governor decides; and off against off, which shows the noise. */
    private List<Map<String, Object>> load(TimedEngine off, Recorded recorded) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (double acceptance : cases.acceptances) {
            Replay oracle = oracle(off, recorded, acceptance);
            rows.addAll(load(off, recorded, acceptance, new Speculation(Speculation.AUTO, false, null, oracle)));
        }
        rows.addAll(load(off, recorded, NONE, Speculation.off()));
        return rows;
    }

    /** @param acceptance the oracle's acceptance, or the text {@link #NONE} */
    private List<Map<String, Object>> load(
            TimedEngine off, Recorded recorded, Object acceptance, Speculation speculation)
            throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        try (TimedEngine on = open(speculation)) {
            for (int load : cases.loads) {
                System.err.printf(Locale.ROOT, "load %d, acceptance %s%n", load, acceptance);
                int length = Math.min(groupTokens(off, recorded, load), recorded.answerTokens());
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("sequences", load);
                row.put("acceptance", acceptance);
                row.putAll(new PairedSpeed(cases.seconds).compare(on, recorded.first(load, length)));
                row.put(SECONDS, cases.seconds);
                rows.add(row);
            }
        }
        return rows;
    }
}
