package quire.cli;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.StepProfile;
import quire.model.format.Gguf;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;
import quire.tensor.machine.MachineCeilings;

/** Times the phases of a model's steps, without an engine around them, and sets them beside the machine's ceilings. */
final class ProfileBench implements AutoCloseable {
    /** Steps before those that count, so that the compiler is done with most of its work. */
    private static final int WARM_STEPS = 3;

    private final StepProfile profile;
    private final Decoder decoder;
    private final int vocabularySize;
    private final int pageTokens;
    private final int batchTokens;
    private final Random random = new Random(11);

    /**
     * @param sequences most that decode together
     * @param context most positions of a sequence
     * @param maxBatchedTokens most tokens of a step
     */
    ProfileBench(
            Gguf file,
            Workers workers,
            KvType kvType,
            int pageTokens,
            int sequences,
            int context,
            int maxBatchedTokens) {
        ModelConfig config = ModelConfig.from(file);
        this.pageTokens = pageTokens;
        batchTokens = Math.max(maxBatchedTokens, sequences);
        int positions = context + WARM_STEPS;
        if (positions > config.contextLength()) {
            throw new IllegalArgumentException("the profile needs " + positions + " positions, but the model has "
                    + config.contextLength() + ": give --prompt, --context or --generate fewer tokens");
        }
        vocabularySize = config.vocabularySize();
        profile = new StepProfile(file, KernelSets.best(), workers.count());
        KvLayout layout = new KvLayout(kvType, pageTokens, config.kvHeads(), config.headDim());
        decoder = Decoder.load(
                file,
                config,
                profile.kernels(),
                workers,
                new Decoder.Capacity(layout, sequences * pagesOf(positions), batchTokens, sequences));
    }

    private int pagesOf(int tokens) {
        return (tokens + pageTokens - 1) / pageTokens;
    }

    /** Profiles {@code steps} passes over one prompt, cut into steps of at most the batch's tokens. */
    Profiled prompt(int tokens, int steps) {
        int[] prompt = random.ints(tokens, 0, vocabularySize).toArray();
        int[] pages = pages(0, tokens);
        Batch batch = new Batch(batchTokens, 1);
        for (int i = -WARM_STEPS; i < steps; i++) {
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

    /** Profiles steps in which every sequence, behind {@code context} tokens, gets one more. */
    Profiled decode(int sequences, int context, int steps) {
        int length = context + steps + WARM_STEPS;
        int[] tokens = random.ints(length, 0, vocabularySize).toArray();
        Batch batch = new Batch(batchTokens, sequences);
        int[][] pages = new int[sequences][];
        for (int i = 0; i < sequences; i++) {
            pages[i] = pages(i * pagesOf(length), length);
            for (int done = 0; done < context; done += batchTokens) {
                batch.clear();
                batch.add(tokens, done, Math.min(context, done + batchTokens), pages[i], 0);
                decoder.forward(batch);
            }
        }
        for (int position = context; position < length; position++) {
            if (position == context + WARM_STEPS) {
                profile.reset();
            }
            batch.clear();
            for (int[] table : pages) {
                batch.add(tokens, position, position + 1, table, 1);
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
     * One kind of step.
     *
     * @param step prompt or decode
     * @param seconds of a step, the sum of its phases
     */
    record Profiled(String step, int sequences, int tokens, double seconds, List<StepProfile.Line> phases) {
        /** For {@code --json}. */
        Map<String, Object> json() {
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

        /** For people: of every ceiling that a phase can meet, how much it reached. */
        String table(MachineCeilings ceilings) {
            StringBuilder out = new StringBuilder(1024);
            out.append(String.format(
                    Locale.ROOT,
                    "%n%s, sequences: %d, tokens: %d, %.2f ms a step%n",
                    step,
                    sequences,
                    tokens,
                    seconds * 1e3));
            out.append(String.format(
                    Locale.ROOT,
                    "%-14s %9s %6s %9s %8s %7s %9s %8s%n",
                    "phase",
                    "ms",
                    "share",
                    "MB",
                    "GB/s",
                    "of read",
                    "GMAC/s",
                    "of peak"));
            phases.forEach(line -> append(out, line, ceilings));
            return out.toString();
        }

        private void append(StringBuilder out, StepProfile.Line line, MachineCeilings ceilings) {
            double spent = line.seconds();
            out.append(String.format(
                    Locale.ROOT, "%-14s %9.3f %5.1f%%", line.phase().label(), spent * 1e3, spent / seconds * 100));
            double macs = line.integerMacs() + line.floatMacs();
            if (line.bytes() > 0) {
                double speed = line.bytes() / spent;
                out.append(String.format(
                        Locale.ROOT,
                        " %9.2f %8.2f %6.1f%%",
                        line.bytes() / 1e6,
                        speed / 1e9,
                        speed / ceilings.readBandwidthBytesPerSecond() * 100));
            }
            if (macs > 0) {
                boolean integer = line.integerMacs() > 0;
                double peak = integer ? ceilings.int8MacsPerSecond() : ceilings.f32MacsPerSecond();
                out.append(String.format(
                        Locale.ROOT,
                        " %9.1f %6.1f%% %s",
                        macs / spent / 1e9,
                        macs / spent / peak * 100,
                        integer ? "int8" : "f32"));
            }
            out.append(System.lineSeparator());
        }
    }

    @Override
    public void close() {
        decoder.close();
    }
}
