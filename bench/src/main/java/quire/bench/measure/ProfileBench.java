package quire.bench.measure;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import quire.bench.report.Table;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.StepProfile;
import quire.model.format.Gguf;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;

/**
 * Measures how long each phase of a model's step takes, without an engine, and compares it with the ceilings of the
 * machine.
 */
public final class ProfileBench implements AutoCloseable {
    /** Steps before the measured ones, in which the JIT compiler does most of its work. */
    private static final int WARM_STEPS = 3;

    private final StepProfile profile;
    private final Decoder decoder;
    private final int vocabularySize;
    private final int pageTokens;
    private final int batchTokens;
    private final Random random = new Random(11);

    /**
     * The largest steps that will be measured.
     *
     * @param kvType how K and V are stored
     * @param pageTokens tokens of a KV page
     * @param sequences maximum number of sequences that decode together
     * @param context maximum number of positions of a sequence
     * @param maxBatchedTokens maximum number of tokens of a step
     */
    public record Limits(KvType kvType, int pageTokens, int sequences, int context, int maxBatchedTokens) {}

    /**
     * Loads a model.
     *
     * @throws IllegalArgumentException if the model's context is too short for the limits
     */
    public ProfileBench(Gguf file, Workers workers, Limits limits) {
        ModelConfig config = ModelConfig.from(file);
        pageTokens = limits.pageTokens;
        batchTokens = Math.max(limits.maxBatchedTokens, limits.sequences);
        int positions = limits.context + WARM_STEPS;
        if (positions > config.contextLength()) {
            throw new IllegalArgumentException("the profile needs " + positions + " positions, but the model has "
                    + config.contextLength() + ": give --prompt, --context or --generate fewer tokens");
        }
        vocabularySize = config.vocabularySize();
        profile = new StepProfile(file, KernelSets.best(), workers.count());
        decoder = Decoder.load(
                file,
                config,
                profile.kernels(),
                workers,
                new Decoder.Capacity(
                        limits.kvType,
                        pageTokens,
                        limits.sequences * pagesOf(positions),
                        batchTokens,
                        limits.sequences));
    }

    private int pagesOf(int tokens) {
        return (tokens + pageTokens - 1) / pageTokens;
    }

    /**
     * Profiles the steps of a prompt of {@code tokens} random tokens. A step computes at most {@code maxBatchedTokens}
     * of them. The prompt is computed {@code times} times.
     */
    public Profiled prompt(int tokens, int times) {
        int[] prompt = random.ints(tokens, 0, vocabularySize).toArray();
        int[] pages = pages(0, tokens);
        Batch batch = new Batch(batchTokens, 1);
        for (int i = -WARM_STEPS; i < times; i++) {
            if (i == 0) {
                profile.reset();
            }
            for (int done = 0; done < tokens; done += batchTokens) {
                int end = Math.min(tokens, done + batchTokens);
                batch.clear();
                batch.add(prompt, done, end, pages, end == tokens ? 1 : 0);
                profile.forward(decoder, batch);
            }
        }
        return result("prompt", 1, Math.min(tokens, batchTokens));
    }

    /**
     * Profiles steps that add one token to each of {@code sequences} sequences, which begin with {@code context}
     * tokens. All tokens are random, so sequences choose different experts.
     */
    public Profiled decode(int sequences, int context, int steps) {
        int length = context + steps + WARM_STEPS;
        Batch batch = new Batch(batchTokens, sequences);
        int[][] tokens = new int[sequences][];
        int[][] pages = new int[sequences][];
        for (int i = 0; i < sequences; i++) {
            tokens[i] = random.ints(length, 0, vocabularySize).toArray();
            pages[i] = pages(i * pagesOf(length), length);
            for (int done = 0; done < context; done += batchTokens) {
                batch.clear();
                batch.add(tokens[i], done, Math.min(context, done + batchTokens), pages[i], 0);
                decoder.forward(batch);
            }
        }
        for (int position = context; position < length; position++) {
            if (position == context + WARM_STEPS) {
                profile.reset();
            }
            batch.clear();
            for (int i = 0; i < sequences; i++) {
                batch.add(tokens[i], position, position + 1, pages[i], 1);
                batch.setState(i, i, 0, Batch.Start.ANY);
            }
            profile.forward(decoder, batch);
        }
        return result("decode", sequences, sequences);
    }

    private int[] pages(int first, int tokens) {
        int[] pages = new int[pagesOf(tokens)];
        Arrays.setAll(pages, i -> first + i);
        return pages;
    }

    private Profiled result(String what, int sequences, int tokens) {
        return new Profiled(what, sequences, tokens, profile.stepSeconds(), profile.lines());
    }

    /**
     * The phases of one kind of step.
     *
     * @param step {@code prompt} or {@code decode}
     * @param sequences number of sequences in a step
     * @param tokens number of tokens of a step
     * @param seconds time of a step, which is the sum of its phases
     * @param phases means over the measured steps
     */
    public record Profiled(String step, int sequences, int tokens, double seconds, List<StepProfile.Line> phases) {
        /** The value for {@code --json}. */
        public Map<String, Object> json() {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("step", step);
            result.put("sequences", sequences);
            result.put("tokens", tokens);
            result.put("seconds", seconds);
            result.put(
                    "phases",
                    phases.stream()
                            .map(line -> Map.of(
                                    "phase", line.phase().label(),
                                    "seconds", line.seconds(),
                                    "bytes", line.bytes(),
                                    "int8_macs", line.integerMacs(),
                                    "f32_macs", line.floatMacs()))
                            .toList());
            return result;
        }

        /** A table for a terminal: the time of each phase, and which share of the ceilings it reaches. */
        public String text(MachineCeilings ceilings) {
            return String.format(
                            Locale.ROOT,
                            "%n%s, sequences: %d, tokens: %d, %.2f ms a step%n",
                            step,
                            sequences,
                            tokens,
                            seconds * 1e3)
                    + new Table(phases.stream().map(line -> row(line, ceilings)).toList()).text();
        }

        private Map<String, String> row(StepProfile.Line line, MachineCeilings ceilings) {
            double spent = line.seconds();
            boolean integer = line.integerMacs() > 0;
            double macs = line.integerMacs() + line.floatMacs();
            double peak = integer ? ceilings.int8MacsPerSecond() : ceilings.f32MacsPerSecond();
            Map<String, String> row = new LinkedHashMap<>();
            row.put("phase", line.phase().label());
            row.put("ms", format("%.3f", spent * 1e3));
            row.put("share", format("%.1f%%", spent / seconds * 100));
            boolean memory = line.bytes() > 0;
            double speed = line.bytes() / spent;
            row.put("MB", memory ? format("%.2f", line.bytes() / 1e6) : "");
            row.put("GB/s", memory ? format("%.2f", speed / 1e9) : "");
            row.put("of read", memory ? format("%.1f%%", speed / ceilings.readBandwidthBytesPerSecond() * 100) : "");
            row.put("GMAC/s", macs > 0 ? format("%.1f", macs / spent / 1e9) : "");
            row.put("of peak", macs > 0 ? format("%.1f%%", macs / spent / peak * 100) : "");
            row.put("numbers", macs > 0 ? integer ? "int8" : "f32" : "");
            return row;
        }

        private static String format(String format, double value) {
            return String.format(Locale.ROOT, format, value);
        }
    }

    @Override
    public void close() {
        decoder.close();
    }
}
