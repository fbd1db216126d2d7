package quire.bench.reproduce;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import quire.engine.BeamSearch;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.EngineView;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;

/**
 * Pages that the answers to one prompt share, measured on the engine while it computes them: the saving is the share of the pages
 * in all page tables that are not there a second time, as in vLLM's paper.
 *
 * <pre>
 *   page tables    [0 1 2 3] [0 1 2 4] [0 1 2 5]      12 pages without sharing, 6 with it: 50 % saved
 * </pre>
 */
final class SharedPages {
    private static final int[] WIDTHS = {2, 4, 6};
    private static final int REQUESTS = 12;
    private static final int QUICK_REQUESTS = 2;
    /** Shorter answers for a trial run. */
    private static final int QUICK = 8;

    /** A row repeats its requests, with other prompts, for as long: a small model answers in milliseconds, of which few are seen. */
    private static final Duration SHORTEST = Duration.ofSeconds(5);

    private static final long SEED = 7;

    private final Engine engine;
    private final Duration shortest;
    private final SplittableRandom random = new SplittableRandom(SEED);
    private final int[] text;

    private SharedPages(Engine engine, int context, Duration shortest) throws InterruptedException {
        this.engine = engine;
        this.shortest = shortest;
        text = write(context - 2);
    }

    /** The measured rows: each workload, with samples and with beams. */
    static List<Map<String, Object>> measure(Setup setup) throws InterruptedException {
        int context = Math.min(setup.context(), 2 * Length.SHARE_GPT_LIMIT);
        EngineConfig config = setup.engine()
                .prefixCache(true)
                .maxSequences(WIDTHS[WIDTHS.length - 1])
                .maxContext(context)
                .build();
        List<Map<String, Object>> rows = new ArrayList<>();
        try (Engine engine = Engine.open(setup.model(), config, EngineListener.NONE)) {
            SharedPages pages = new SharedPages(engine, context, setup.quick() ? Duration.ZERO : SHORTEST);
            int count = setup.quick() ? QUICK_REQUESTS : REQUESTS;
            int shrink = setup.quick() ? QUICK : 1;
            List<Length> alpaca = fitting(Length.likeAlpaca(count, SEED), context, shrink);
            List<Length> shareGpt = fitting(Length.likeShareGpt(count, SEED), context, shrink);
            pages.addRows(rows, "short (Alpaca)", alpaca, false, 6.1, 9.8);
            pages.addRows(rows, "short (Alpaca)", alpaca, true, 37.6, 55.2);
            pages.addRows(rows, "chats (ShareGPT)", shareGpt, false, 16.2, 30.5);
            pages.addRows(rows, "chats (ShareGPT)", shareGpt, true, 44.3, 66.3);
        }
        return rows;
    }

    private static List<Length> fitting(List<Length> lengths, int context, int shrink) {
        int most = context / 2 - 1;
        return lengths.stream()
                .map(length -> new Length(
                        Math.clamp(length.prompt() / shrink, 1, most), Math.clamp(length.output() / shrink, 1, most)))
                .toList();
    }

    private void addRows(
            List<Map<String, Object>> rows,
            String workload,
            List<Length> lengths,
            boolean beams,
            double paperOf2,
            double paperOf6)
            throws InterruptedException {
        for (int width : WIDTHS) {
            System.err.println("  " + workload + (beams ? ", beams " : ", samples ") + width);
            long held = 0;
            long shared = 0;
            long begin = System.nanoTime();
            do { // whole rounds, so that each request counts by its steps
                for (Length length : lengths) {
                    Seen seen = answer(length, width, beams);
                    while (seen.held == 0) { // the answers of a small model may end before the engine is looked at
                        seen = answer(length, width, beams);
                    }
                    held += seen.held;
                    shared += seen.shared;
                }
            } while (System.nanoTime() - begin < shortest.toNanos());
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("lengths", workload);
            row.put("answers", beams ? "beam search" : "samples");
            row.put("width", width);
            row.put("saved_%", 100.0 * shared / held);
            if (width != 4) { // the paper's text has the ends of the range only
                row.put("saved_%_in_the_paper", width == 2 ? paperOf2 : paperOf6);
            }
            rows.add(row);
        }
    }

    /**
     * What was seen of the engine during one request, summed over its steps: a view stands for the steps since the one before.
     *
     * @param held pages in all page tables
     * @param shared those of them that are there a second time
     */
    private record Seen(long held, long shared) {}

    private Seen answer(Length length, int width, boolean beams) throws InterruptedException {
        int from = random.nextInt(text.length - length.prompt() + 1);
        int[] prompt = Arrays.copyOfRange(text, from, from + length.prompt());
        SamplingParams.Builder params =
                SamplingParams.builder().maxTokens(length.output()).ignoreEndOfText(true);
        String salt = "request " + random.nextLong(); // nothing is cached before
        List<TokenStream> streams = new ArrayList<>();
        try {
            if (beams) {
                Request request = new Request(prompt, params.temperature(0).build(), salt);
                streams.addAll(engine.submit(request, BeamSearch.ofWidth(width)));
            } else {
                for (int i = 0; i < width; i++) {
                    streams.add(engine.submit(
                            new Request(prompt, params.temperature(1).seed(i).build(), salt)));
                }
            }
            long held = 0;
            long shared = 0;
            long steps = engine.stats().steps();
            for (EngineView view = engine.view();
                    view.stats().running() + view.stats().waiting() > 0;
                    view = engine.view()) {
                int tables =
                        view.running().stream().mapToInt(EngineView.Row::pages).sum();
                long used = IntStream.of(view.pages())
                        .filter(page -> page != EngineView.FREE && page != EngineView.CACHED)
                        .count();
                long since = view.stats().steps() - steps;
                steps += since;
                held += since * tables;
                shared += since * (tables - used);
            }
            return new Seen(held, shared);
        } finally {
            streams.forEach(TokenStream::close);
        }
    }

    /** A text that the model writes. Prompts are pieces of it. */
    private int[] write(int tokens) throws InterruptedException {
        int[] written = new int[tokens];
        int first = engine.tokenizer().bos().orElse(0);
        SamplingParams params = SamplingParams.builder()
                .maxTokens(tokens)
                .temperature(1)
                .seed(SEED)
                .ignoreEndOfText(true)
                .build();
        try (TokenStream stream = engine.submit(new Request(new int[] {first}, params))) {
            int size = 0;
            for (Output output = stream.next(); output != null; output = stream.next()) {
                written[size++] = output.token();
            }
            return Arrays.copyOf(written, size);
        }
    }
}
