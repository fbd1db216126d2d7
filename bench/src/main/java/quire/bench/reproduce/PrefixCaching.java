package quire.bench.reproduce;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.measure.TimedEngine;
import quire.bench.prefix.PrefixBench;
import quire.bench.report.RunRecord;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.TokenStream;

/**
 * What shared beginnings of prompts save: a long system prompt by its share of the prompt, and chats turn by turn. The
 * cache is switched on and off on one engine.
 *
 * <pre>
 *   turn 1   [ system | user 1 ]                                 ▶ answer 1
 *   turn 2   [ system | user 1 | answer 1 | user 2 ]             ▶ answer 2      with the cache, only user 2 is computed
 * </pre>
 */
final class PrefixCaching {
    private static final double[] HITS = {0, 0.5, 0.8, 0.95};
    private static final int ANSWER_TOKENS = 8;
    private static final int TOGETHER = 4;
    private static final int TURNS = 6;

    private final Setup setup;
    /** A system prompt has twice as many tokens as a turn's user message, and as many as user message and answer. */
    private final int message;

    private PrefixCaching(Setup setup) {
        this.setup = setup;
        message = setup.prompt() / (2 + 2 * TURNS);
    }

    static Report report(Setup setup) throws InterruptedException {
        return new PrefixCaching(setup).measure();
    }

    private Report measure() throws InterruptedException {
        List<Map<String, Object>> shared = new ArrayList<>();
        Recorder recorder = new Recorder(System::nanoTime);
        try (TimedEngine engine = TimedEngine.open(setup.model(), config())) {
            PrefixBench bench = new PrefixBench(engine, setup.prompt(), ANSWER_TOKENS, TOGETHER);
            for (double hits : setup.quick() ? new double[] {0, 0.95} : HITS) {
                System.err.println("  hits " + hits);
                shared.add(bench.measure(hits, Math.clamp(setup.requests() / 32, 1, 3)));
            }
        }
        System.err.println("  chats");
        List<Map<String, Object>> turns = new ArrayList<>();
        double[] seconds;
        try (Engine engine = Engine.open(setup.model(), config(), recorder)) {
            chats(engine, recorder, true, 0, new ArrayList<>()); // warms up
            double off = chats(engine, recorder, false, 1, turns);
            double on = chats(engine, recorder, true, 2, turns);
            seconds = new double[] {off, on};
        }
        for (Map<String, Object> row : turns) {
            row.put(
                    "speedup",
                    RunRecord.number(row, "first_token_ms_off") / RunRecord.number(row, "first_token_ms_on"));
        }
        Map<String, Object> whole = new LinkedHashMap<>();
        whole.put("chats", TOGETHER + " chats of " + TURNS + " turns");
        whole.put("seconds_off", seconds[0]);
        whole.put("seconds_on", seconds[1]);
        whole.put("throughput_speedup", seconds[0] / seconds[1]);
        return new Report(
                        "Prefix caching",
                        "Zheng et al., SGLang: Efficient Execution of Structured Language Model Programs (NeurIPS 2024):"
                                + " prefixes that are kept and shared give up to 6.4 times the throughput, up to 5 times in"
                                + " the first version of the paper.")
                .note("Prompts of " + setup.prompt() + " tokens, answers of " + ANSWER_TOKENS + ", " + TOGETHER
                        + " requests together for the throughput and one alone for the first token. The shared part is in"
                        + " the cache before.")
                .table("A long shared system prompt, by its share of the prompt", shared)
                .chart(
                        "Throughput with the cache against without",
                        named(shared),
                        "series",
                        "hits",
                        "throughput_speedup")
                .note("Chats: a system prompt of " + 2 * message + " tokens, user messages and answers of " + message
                        + " tokens each, " + TOGETHER + " chats at the same time.")
                .table("First token of a turn, mean of the chats", turns)
                .table("All turns of all chats", List.of(whole))
                .note(
                        "Chats gain less than prompts, because generating the answers takes the same time with and without"
                                + " the cache.");
    }

    private EngineConfig config() {
        return setup.engine()
                .prefixCache(true)
                .targetTokenGap(Duration.ZERO)
                .maxSequences(2 * TOGETHER) // what is shared stays cached beside requests that run without the cache
                .maxContext(setup.prompt() + ANSWER_TOKENS)
                .build();
    }

    /**
     * Runs all turns of all chats; returns the seconds.
     *
     * @param seed of the texts, which must differ from those of an earlier run
     * @param rows gets a row for each turn, or its second column
     */
    private double chats(Engine engine, Recorder recorder, boolean caching, long seed, List<Map<String, Object>> rows)
            throws InterruptedException {
        engine.setPrefixCaching(caching);
        Requests tokens = new Requests(engine.tokenizer(), seed);
        int[] system = tokens.tokens(2 * message);
        List<int[]> texts = new ArrayList<>();
        for (int chat = 0; chat < TOGETHER; chat++) {
            texts.add(system);
        }
        double seconds = 0;
        for (int turn = 0; turn < TURNS; turn++) {
            texts.replaceAll(text -> join(text, tokens.tokens(message)));
            recorder.begin();
            answerAll(engine, texts);
            seconds += recorder.seconds();
            if (rows.size() == turn) {
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("turn", turn + 1);
                row.put("prompt_tokens", texts.getFirst().length - message);
                rows.add(row);
            }
            rows.get(turn).put(caching ? "first_token_ms_on" : "first_token_ms_off", 1e3 * recorder.meanFirst());
        }
        return seconds;
    }

    /** Appends to each text its answer. */
    private void answerAll(Engine engine, List<int[]> texts) throws InterruptedException {
        List<TokenStream> streams = new ArrayList<>();
        try {
            for (int[] text : texts) {
                Request request = Requests.request(text, message);
                streams.add(engine.submit(request));
            }
            for (int chat = 0; chat < texts.size(); chat++) {
                int[] answer = new int[message];
                int size = 0;
                for (Output output = streams.get(chat).next();
                        output != null;
                        output = streams.get(chat).next()) {
                    answer[size++] = output.token();
                }
                if (size != message) {
                    throw new IllegalStateException("an answer ended after " + size + " of " + message + " tokens: "
                            + streams.get(chat).finish());
                }
                texts.set(chat, join(texts.get(chat), answer));
            }
        } finally {
            streams.forEach(TokenStream::close);
        }
    }

    private static int[] join(int[] first, int[] second) {
        int[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }

    private static List<Map<String, Object>> named(List<Map<String, Object>> rows) {
        return rows.stream()
                .map(row -> {
                    Map<String, Object> named = new LinkedHashMap<>(row);
                    named.put("series", "shared prompt");
                    return named;
                })
                .toList();
    }
}
