package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.model.BuiltInModel;

/** A process that writes to its KV file is killed at random moments, and the next one answers right from that file. */
@Timeout(value = 1_800, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a process is not interruptible
class KvFileKillTest {
    /** The nightly run has more. */
    private static final int KILLS = Integer.getInteger("quire.kills", 3);

    private static final int REQUESTS = 24;
    private static final int TOGETHER = 4;
    private static final Pattern KEPT = Pattern.compile("(\\d+) pages kept from before");

    @TempDir
    private Path folder;

    /** Answers random requests until it is killed. */
    static final class Victim {
        private Victim() {}

        /** Runs with the KV file and a seed as arguments. */
        public static void main(String[] arguments) throws Exception {
            SplittableRandom random = new SplittableRandom(Long.parseLong(arguments[1]));
            try (Engine engine = open(Path.of(arguments[0]))) {
                while (true) {
                    int[] chosen = random.ints(TOGETHER, 0, REQUESTS).toArray();
                    List<TokenStream> streams = new ArrayList<>();
                    for (int i : chosen) {
                        streams.add(engine.submit(request(i)));
                    }
                    for (int i = 0; i < TOGETHER; i++) {
                        System.out.println("answer " + chosen[i] + " " + Answer.read(streams.get(i)));
                    }
                }
            }
        }
    }

    /** An engine with fewer pages in memory, and also in the file, than its requests have together. */
    private static Engine open(Path file) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(TOGETHER)
                .maxBatchedTokens(64)
                .maxContext(256)
                .kvCacheBytes(2 << 20)
                .threads(1)
                .speculation(Speculation.off())
                .kvDisk(file)
                .kvDiskBytes(1 << 20)
                .build();
        return Engine.open(BuiltInModel.QUIRE_TINY.path(), config, EngineListener.NONE);
    }

    private static Request request(int index) {
        SplittableRandom random = new SplittableRandom(index);
        int[] prompt = IntStream.concat(
                        new SplittableRandom(index % 3).ints(80, 100, 300),
                        random.ints(20 + random.nextInt(100), 100, 300))
                .toArray();
        return new Request(
                prompt,
                SamplingParams.builder()
                        .maxTokens(20)
                        .seed(index)
                        .logprobs(2)
                        .ignoreEndOfText(true)
                        .build());
    }

    @Test
    void kill_whilePagesAreWritten_nextProcessAnswersRight() throws Exception {
        Map<Integer, String> right = new TreeMap<>();
        Path other = folder.resolve("other.kv");
        for (int i = 0; i < REQUESTS; i++) {
            Files.deleteIfExists(other);
            try (Engine cold = open(other)) {
                right.put(i, Answer.read(cold.submit(request(i))).toString());
            }
        }
        Path file = folder.resolve("pages.kv");
        SplittableRandom random = new SplittableRandom(1);
        List<Integer> kept = new ArrayList<>();
        for (int kill = 0; kill <= KILLS; kill++) {
            Process victim = start(file, kill);
            try (BufferedReader lines = victim.inputReader(StandardCharsets.UTF_8)) {
                int answers = 1 + random.nextInt(3 * TOGETHER);
                for (String line = lines.readLine(); answers > 0; line = lines.readLine()) {
                    assertThat(line)
                            .as("a line of process %d, after %s", kill, kept)
                            .isNotNull();
                    Matcher found = KEPT.matcher(line);
                    if (found.find()) {
                        kept.add(Integer.parseInt(found.group(1)));
                    } else if (line.startsWith("answer ")) {
                        String[] parts = line.split(" ", 3);
                        assertThat(parts[2])
                                .as("after %d kills", kill)
                                .isEqualTo(right.get(Integer.parseInt(parts[1])));
                        answers--;
                    }
                }
            } finally {
                victim.destroyForcibly().waitFor(); // SIGKILL
            }
        }
        assertThat(kept).hasSize(KILLS + 1).startsWith(0);
        assertThat(kept.subList(1, kept.size())).allMatch(pages -> pages > 0);
        System.out.println("pages kept after each kill: " + kept);
    }

    private static Process start(Path file, int seed) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Victim.class.getName()));
        command.addAll(List.of(file.toString(), Integer.toString(seed)));
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }
}
