package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.ParameterException;
import quire.model.BuiltInModel;
import quire.server.ModelFile;
import quire.server.ModelSet;
import quire.tensor.KvLayout.KvType;

/** What {@code --models} makes of a folder or a file. */
class ModelsOptionTest {
    @TempDir
    private Path folder;

    @Command
    @SuppressWarnings("UnusedVariable") // options that the parser knows
    private static final class Line {
        @Mixin
        private ServedModelsOption models;

        @Mixin
        private ModelOption model;

        @Mixin
        private EngineOptions engine;

        @Mixin
        private SamplingDefaultsOptions sampling;
    }

    @BeforeEach
    void copyModels() throws IOException {
        Files.copy(BuiltInModel.QUIRE_TINY.path(), folder.resolve("tiny.gguf"));
        Files.copy(BuiltInModel.QUIRE_TINY_DRAFT.path(), folder.resolve("draft.gguf"));
    }

    private static ModelSet set(Path models, String... further) {
        List<String> args = new ArrayList<>(List.of("--models=" + models, "--memory=1GiB"));
        args.addAll(List.of(further));
        return parsed(args.toArray(String[]::new)).models.set();
    }

    private static Line parsed(String... args) {
        Line line = new Line();
        new CommandLine(line).setCaseInsensitiveEnumValuesAllowed(true).parseArgs(args); // as the real command line
        return line;
    }

    private Path file(String json) throws IOException {
        return Files.writeString(folder.resolve("models.json"), json);
    }

    @Test
    void file_givesEachModelItsOptions_andThoseOfTheLine() throws IOException {
        Path file =
                file("{\"a\":{\"model\":\"tiny.gguf\",\"alias\":[\"x\",\"*\"],\"max-context\":256,\"temperature\":0.5},"
                        + "\"b\":{\"model\":\"" + folder.resolve("tiny.gguf")
                        + "\",\"draft\":\"draft.gguf\",\"kv-type\":\"f32\",\"ignore-recommended-sampling\":true}}");

        ModelSet set = set(file, "--max-sequences=2", "--max-context=512", "--kv-type=q8_0", "--unload-idle=7");

        ModelFile a = set.models().get(0).file();
        ModelFile b = set.models().get(1).file();
        assertThat(a.name()).isEqualTo("a");
        assertThat(a.aliases()).containsExactly("x", "*");
        assertThat(a.config().maxContext()).isEqualTo(256);
        assertThat(a.config().maxSequences()).isEqualTo(2);
        assertThat(a.config().kvType()).isEqualTo(KvType.Q8_0);
        assertThat(a.sampling().temperature()).hasValue(0.5);
        assertThat(b.config().maxContext()).isEqualTo(512);
        assertThat(b.config().kvType()).isEqualTo(KvType.F32);
        assertThat(b.config().speculation().draft()).isEqualTo(folder.resolve("draft.gguf"));
        assertThat(b.sampling().temperature()).isPresent();
        assertThat(set.idle()).isEqualTo(Duration.ofSeconds(7));
        assertThat(set.memoryBytes()).isEqualTo(1 << 30);
        assertThat(set.describe()).contains("all can be loaded at a time");
    }

    @Test
    void folder_servesItsModels_andLeavesOthersOut() throws IOException {
        Files.writeString(folder.resolve("broken.gguf"), "GGUF");
        Files.writeString(folder.resolve("notes.txt"), "no model");

        assertThat(set(folder).models())
                .extracting(model -> model.file().name())
                .containsExactly("draft", "tiny");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {                                                 | must be a JSON object of models
            []                                                | must be a JSON object of models
            {}                                                | there is no model in it
            {"a":7}                                           | model a: must be an object of options
            {"a":{}}                                          | of which "model" names the file
            {"a":{"model":"tiny.gguf"},"a":{}}                | must be a JSON object of models
            {"a":{"model":"gone.gguf"}}                       | model a: --model
            {"a":{"model":"tiny.gguf","max_contxt":7}}        | unknown option "max_contxt": did you mean "max-context"?
            {"a":{"model":"tiny.gguf","port":7}}              | unknown option "port"
            {"a":{"model":"tiny.gguf","kernels":"scalar"}}    | unknown option "kernels"
            {"a":{"model":"tiny.gguf","max-context":"many"}}  | model a, --max-context
            {"a":{"model":"tiny.gguf","max-context":1}}       | model a: --max-context
            {"a":{"model":"tiny.gguf","max-context":{}}}      | must be a text, a number, true or false
            {"a":{"model":"tiny.gguf","max-context":99999}}   | the model a
            {"a":{"model":"tiny.gguf","temperature":-1}}      | model a: --temperature
            {"a":{"model":"tiny.gguf"},"b":{"model":"tiny.gguf","alias":"a"}} | two models have the name 'a'
            {"a":{"model":"tiny.gguf","kv-disk":"k","kv-disk-size":"64MiB"},"b":{"model":"tiny.gguf","kv-disk":"./k","kv-disk-size":"64MiB"}} | the same file for KV pages
            {"*":{"model":"tiny.gguf"}}                       | stands for every name
            """)
    void file_thatIsWrong_isRefusedWithTheReason(String json, String message) throws IOException {
        Path file = file(json);

        assertThatThrownBy(() -> set(file))
                .isInstanceOf(ParameterException.class)
                .hasMessageContaining("models.json")
                .hasMessageContaining(message);
    }

    @Test
    void options_thatDoNotGoTogether_areRefused() throws IOException {
        Path file = file("{\"a\":{\"model\":\"tiny.gguf\"}}");
        assertThatThrownBy(() -> set(file, "--model=" + folder.resolve("tiny.gguf")))
                .hasMessageContaining("exclude each other");
        assertThatThrownBy(() -> set(file, "--kv-disk=x")).hasMessageContaining("--kv-disk is for one model");
        assertThatThrownBy(() -> set(file, "--load-wait=0")).hasMessageContaining("--load-wait");
        assertThatThrownBy(() -> set(folder.resolve("nowhere")))
                .hasMessageContaining("there is no such folder or file");
        assertThatThrownBy(parsed("--unload-idle=7").models::checkUnused)
                .hasMessageContaining("--unload-idle has no effect without --models");
    }
}
