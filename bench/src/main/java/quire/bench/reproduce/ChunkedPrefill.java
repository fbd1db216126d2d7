package quire.bench.reproduce;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import quire.bench.measure.OfflineBench;
import quire.bench.measure.TimedEngine;
import quire.engine.Engine;
import quire.engine.EngineConfig;

/**
 * The gaps between the tokens of running answers while other prompts are computed: with steps as large as a prompt, with
 * chunks of fixed sizes, and with steps that are bounded in time.
 */
final class ChunkedPrefill {
    /** Answers that run together; whenever one ends, the next prompt is computed beside the others. */
    private static final int TOGETHER = 8;

    private static final int[] CHUNKS = {512, 128, 32};
    private static final int[] TARGETS = {8, 4}; // times a decoding step
    private static final int MEAN_OUTPUT = 48;
    private static final int DECODED = 32;
    private static final int WARM_OUTPUT = 8;
    private static final long SEED = 9;

    private ChunkedPrefill() {}

    static Report report(Setup setup) throws InterruptedException {
        int prompt = setup.prompt();
        List<Length> lengths =
                lengths(setup.quick() ? TOGETHER + 4 : Math.max(TOGETHER + 4, setup.requests() / 4), prompt);
        double step = decodingStep(setup);
        List<Map<String, Object>> rows = new ArrayList<>();
        rows.add(measure(setup, "whole prompts", prompt + TOGETHER, Duration.ZERO, lengths));
        for (int chunk : CHUNKS) {
            if (chunk < prompt) {
                rows.add(measure(setup, "chunks of " + chunk, chunk + TOGETHER, Duration.ZERO, lengths));
            }
        }
        for (int times : TARGETS) {
            Duration target = Duration.ofNanos((long) (times * step * 1e9));
            String name = String.format(Locale.ROOT, "--target-itl %.1f ms", 1e3 * times * step);
            rows.add(measure(setup, name, prompt + TOGETHER, target, lengths));
        }
        return new Report(
                        "Chunked prefill",
                        "Agrawal et al., Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve (OSDI 2024):"
                                + " a long prompt that is computed in one step stops the answers that run; in chunks beside"
                                + " them it does not, and up to 2.6 (Mistral-7B) to 5.6 times (Falcon-180B) as many requests"
                                + " are served within the same bound on the time between tokens.")
                .note(lengths.size() + " requests at once, " + TOGETHER + " of them run together. Prompts of " + prompt
                        + " tokens, answers of " + MEAN_OUTPUT / 2 + " to " + MEAN_OUTPUT * 3 / 2
                        + ". A step computes the next token of each running answer and as many tokens of prompts as the row"
                        + String.format(
                                Locale.ROOT,
                                " says. A decoding step of %d sequences alone takes %.1f ms.",
                                TOGETHER,
                                1e3 * step))
                .table("Time between two tokens of an answer, and throughput", rows)
                .chart("99th percentile of the gap by throughput", rows, "steps", "tokens_per_second", "gap_p99_ms")
                .note("Tokens a second count prompts and answers. In the paper chunks are nearly free, because decoding"
                        + " leaves the arithmetic of a GPU idle and a chunk uses it. On a CPU a token of a prompt costs"
                        + " nearly as much beside decoding as alone, so a gap is never shorter than its share of prompt"
                        + " tokens: chunks trade nothing but the latency of the prompts.");
    }

    private static List<Length> lengths(int count, int prompt) {
        SplittableRandom random = new SplittableRandom(SEED);
        List<Length> lengths = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            lengths.add(new Length(prompt, random.nextInt(MEAN_OUTPUT / 2, MEAN_OUTPUT * 3 / 2 + 1)));
        }
        return lengths;
    }

    /** Seconds of a step in which all sequences decode. */
    private static double decodingStep(Setup setup) throws InterruptedException {
        int context = setup.prompt() / 2;
        EngineConfig config = setup.engine()
                .maxSequences(TOGETHER)
                .maxContext(context + DECODED)
                .build();
        try (TimedEngine engine = TimedEngine.open(setup.model(), config)) {
            OfflineBench bench = new OfflineBench(engine);
            double cold = bench.decodeTokensPerSecond(TOGETHER, context, DECODED);
            return TOGETHER / Math.max(cold, bench.decodeTokensPerSecond(TOGETHER, context, DECODED));
        }
    }

    private static Map<String, Object> measure(
            Setup setup, String name, int stepTokens, Duration target, List<Length> lengths)
            throws InterruptedException {
        System.err.println("  " + name);
        Recorder recorder = new Recorder(System::nanoTime);
        EngineConfig config = setup.engine()
                .maxSequences(TOGETHER)
                .maxBatchedTokens(stepTokens)
                .maxContext(setup.prompt() + 2 * MEAN_OUTPUT)
                .targetTokenGap(target)
                .build();
        try (Engine engine = Engine.open(setup.model(), config, recorder)) {
            Requests requests = new Requests(engine.tokenizer(), SEED);
            Policy.PAGED.answer(
                    engine::submit, requests.of(List.of(new Length(setup.prompt(), WARM_OUTPUT))), TOGETHER);
            recorder.begin();
            Policy.PAGED.answer(engine::submit, requests.of(lengths), TOGETHER);
        }
        long prompts = lengths.stream().mapToLong(Length::prompt).sum();
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("steps", name);
        row.put("gap_p50_ms", 1e3 * recorder.gap(0.5));
        row.put("gap_p99_ms", 1e3 * recorder.gap(0.99));
        row.put("longest_gap_ms", 1e3 * recorder.gap(1));
        row.put("mean_first_token_s", recorder.meanFirst());
        row.put("tokens_per_second", (prompts + recorder.tokens()) / recorder.seconds());
        return row;
    }
}
