package quire.bench.files;

import static org.assertj.core.api.Assertions.assertThat;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.cli.CommandRun;
import quire.model.BuiltInModel;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Damaged files: how they are made, and some hundred of them. */
class FileMutantsTest {
    private static final int FILES = 150;

    @TempDir
    private Path folder;

    @Test
    void gguf_inParts_isWrittenAgainAsItWas() throws IOException {
        for (BuiltInModel model : BuiltInModel.values()) {
            byte[] file = Files.readAllBytes(model.path());
            assertThat(GgufParts.of(file).toBytes()).isEqualTo(file);
        }
    }

    @Test
    void mutant_sameSeed_isTheSameFile() {
        FileMutants mutants = FileWorker.mutants();
        FileMutants again = FileWorker.mutants();
        for (long seed = 0; seed < 50; seed++) {
            assertThat(mutants.of(seed).toArray())
                    .as("seed %d", seed)
                    .isEqualTo(again.of(seed).toArray());
        }
        assertThat(Arrays.deepEquals(mutants.of(1).toArray(), mutants.of(2).toArray()))
                .isFalse();
    }

    @Test
    void mutants_manySeeds_areAllMade() {
        FileMutants mutants = FileWorker.mutants();
        int inParts = 0;
        for (long seed = 0; seed < 4_000; seed++) {
            inParts += mutants.of(seed).size() > 1 ? 1 : 0;
        }
        assertThat(inParts).isBetween(400, 600);
    }

    @Test
    void soundModels_compute_onEveryKernelSet() throws IOException {
        Path path = folder.resolve("sound.gguf");
        try (FileTrial trial = new FileTrial()) {
            assertThat(trial.kernelSets()).contains("scalar");
            for (GgufParts parts : SoundModels.small()) {
                Files.write(path, parts.toBytes());
                assertThat(trial.run(path)).isTrue();
                Path part = FileMutants.write(
                        parts.split(3).stream().map(GgufParts::toBytes).toList(), path);
                assertThat(trial.run(part)).isTrue();
            }
        }
    }

    @Test
    void mutants_areRefusedInOneLineOrCompute() throws IOException {
        FileMutants mutants = FileWorker.mutants();
        Path path = folder.resolve("mutant.gguf");
        int ran = 0;
        try (FileTrial trial = new FileTrial()) {
            for (long seed = 0; seed < FILES; seed++) {
                Path file = FileMutants.write(mutants.of(seed), path);
                try {
                    ran += trial.run(file) ? 1 : 0;
                } catch (RuntimeException | Error e) {
                    throw new AssertionError("seed " + seed + " ends in " + e, e);
                }
            }
        }
        assertThat(ran).isBetween(FILES / 20, FILES - FILES / 20);
    }

    @Test
    void progress_childEndsInAFile_namesTheSeedAndGoesOnBehindIt() {
        FileProgress progress = new FileProgress(7);
        assertThat(progress.begun()).isFalse();
        for (String line :
                "kernels a,b|begin 7|ran 7|begin 8|fault 8 too much|begin 9|refused 9|begin 10".split("\\|", -1)) {
            progress.accept(line);
        }
        assertThat(progress.open()).isTrue();
        progress.crashed("the JVM ended with code 134");
        assertThat(progress.faults()).containsExactly("seed 8: too much", "seed 10: the JVM ended with code 134");
        assertThat(progress.next()).isEqualTo(11);
        assertThat(progress.ran()).isEqualTo(1);
        assertThat(progress.refused()).isEqualTo(1);
        assertThat(progress.kernels()).isEqualTo("a,b");
    }

    @Test
    void attackFiles_childProcesses_tryEveryFile() {
        CommandRun result =
                run("bench", "attack-files", "--files", "40", "--group", "30", "--max-memory", "4096", "--json");
        assertThat(result.code()).as(result.out() + result.err()).isZero();
        JsonNode row = JsonMapper.shared().readTree(result.out()).get("files").get(0);
        assertThat(row.get("ran").asInt() + row.get("refused").asInt()).isEqualTo(40);
        assertThat(row.get("ran").asInt()).isPositive();
    }

    @Test
    void attackFiles_keep_writesTheFileOfTheSeed() throws IOException {
        Path kept = folder.resolve("kept.gguf");
        assertThat(run("bench", "attack-files", "--seed", "5", "--keep", kept.toString())
                        .code())
                .isZero();
        assertThat(Files.readAllBytes(kept))
                .isEqualTo(FileWorker.mutants().of(5).getFirst());
    }
}
