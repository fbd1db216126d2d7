package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;
import static quire.cli.CommandRun.run;

import java.io.IOException;
import java.lang.reflect.RecordComponent;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.cli.CommandRun;
import quire.engine.EngineConfig;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

/**
 * Each wrong option gets an error of one sentence. BROKEN is a file that no command can load. So an error about an
 * option shows that the option was checked before loading.
 */
class OptionErrorTest {
    @TempDir
    private static Path folder;

    private static String model;
    private static String broken;

    @BeforeAll
    static void writeFiles() throws IOException {
        model = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1)
                .toString();
        Files.writeString(folder.resolve("empty.keys"), "# no key\n\n");
        Files.writeString(folder.resolve("spaced.keys"), "two words\n");
        broken = Files.writeString(folder.resolve("broken.gguf"), "broken").toString();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            generate --model BROKEN --prompt x --threads 0             | --threads takes a number from 1 to 1024, not 0
            generate --model BROKEN --prompt x --threads 10000         | --threads takes a number from 1 to 1024, not 10000
            chat --model BROKEN --threads -1                           | --threads takes a number from 1 to 1024, not -1
            serve --model BROKEN --port 65536                          | --port takes a number from 0 to 65535, not 65536
            serve --model BROKEN --port -1                             | --port takes a number from 0 to 65535, not -1
            serve --model BROKEN --port abc                            | Invalid value for option '--port': 'abc' is not a whole number
            serve --model BROKEN --max-context 9999999999              | Invalid value for option '--max-context': '9999999999' is out of range: write -2147483648 to 2147483647
            serve --model BROKEN --max-queued-tokens 1e6               | Invalid value for option '--max-queued-tokens': '1e6' is not a whole number
            serve --model BROKEN --temperature warm                    | Invalid value for option '--temperature': 'warm' is not a number
            generate --model BROKEN --prompt-file FOLDER               | --prompt-file FOLDER is a folder: name a file in it
            generate --model BROKEN --prompt-file /no/such             | --prompt-file /no/such: there is no such file; check the path
            serve --model BROKEN --drain-seconds -1                    | --drain-seconds takes a number from 0 to 3600, not -1
            serve --model BROKEN --max-connections 0                   | --max-connections takes a number from 1 to 1000000, not 0
            serve --model BROKEN --max-body-bytes 0                    | --max-body-bytes takes a number from 1 to 268435456, not 0
            serve --model BROKEN --max-body-bytes 1GiB                 | --max-body-bytes takes a number from 1 to 268435456, not 1073741824
            serve --model BROKEN --body-grace-seconds 0                | --body-grace-seconds takes a number from 1 to 86400, not 0
            serve --model BROKEN --min-body-rate 0                     | --min-body-rate takes a number from 1, not 0
            serve --model BROKEN --read-timeout-seconds 0              | --read-timeout-seconds takes a number from 1 to 86400, not 0
            serve --model BROKEN --write-timeout-seconds 0             | --write-timeout-seconds takes a number from 1 to 86400, not 0
            serve --model BROKEN --heartbeat-seconds -1                | --heartbeat-seconds takes a number from 0 to 86400, not -1
            serve --model BROKEN --prepare-threads 1                   | --prepare-threads takes a number from 2 to 1024, not 1
            serve --model BROKEN --max-waiting-to-prepare 0            | --max-waiting-to-prepare takes a number from 1, not 0
            serve --model BROKEN --max-sequences 0                     | --max-sequences takes a number from 1, not 0
            serve --model BROKEN --max-batched-tokens 63               | --max-batched-tokens takes at least one token for each sequence, here 64, not 63
            serve --model BROKEN --max-context 1                       | --max-context takes a number from 2, not 1
            serve --model BROKEN --rope-scaling ntk                    | --rope-scaling takes none, linear, yarn, not ntk
            serve --model BROKEN --rope-scale 0.5                      | --rope-scale takes 1 to 1000, not 0.5
            serve --model BROKEN --rope-scale NaN                      | --rope-scale takes 1 to 1000, not NaN
            serve --model BROKEN --rope-freq-base 0                    | --rope-freq-base takes 1 to 1e12, not 0.0
            serve --model BROKEN --yarn-orig-ctx 0                     | --yarn-orig-ctx takes a number from 1, not 0
            serve --model BROKEN --rope-scaling none --rope-scale 2    | --rope-scale has no effect with --rope-scaling none: leave one of them out
            plan --shape layers=1,kvHeads=1,headDim=16 --rope-scale 2  | --shape has no rotation that could be scaled: give --context the length itself
            serve --model BROKEN --max-queued 0                        | --max-queued takes a number from 1, not 0
            serve --model BROKEN --max-queued-tokens 0                 | --max-queued-tokens takes a number from 1, not 0
            serve --model BROKEN --max-queue-wait -1                   | --max-queue-wait takes a number from 0 to 3600, not -1
            serve --model BROKEN --prefix-cache maybe                  | --prefix-cache takes on or off, not maybe
            serve --model BROKEN --kv-disk F --prefix-cache off        | --kv-disk F has no effect with --prefix-cache off: leave one of them out
            serve --model BROKEN --kv-disk F --trace G                 | --trace cannot be used with --kv-disk, whose speed decides too: leave one of them out
            serve --model BROKEN --kv-disk-size 1GiB                   | --kv-disk-size has no effect without --kv-disk FILE: name the file, or leave it out
            serve --model BROKEN --kv-disk F --kv-disk-size 0          | --kv-disk-size takes a size such as 4GiB, not 0
            serve --model BROKEN --target-itl -1                       | --target-itl takes a number from 0 to 3600000, not -1
            serve --model BROKEN --page-tokens 17                      | --page-tokens takes a multiple of 16, not 17
            generate --model BROKEN --prompt x --speculation 17        | --speculation takes auto, off or a number of draft tokens from 1 to 16, not 17
            generate --model BROKEN --prompt x --max-tokens 0          | --max-tokens is 0; it must be at least 1
            chat --model BROKEN --top-p 2                              | --top-p is 2.0; it must be from 0 to 1
            generate --model BROKEN --prompt x --seed 1.5              | Invalid value for option '--seed': '1.5' is not a seed: write a whole number from -9223372036854775808 to 18446744073709551615
            generate --model BROKEN --prompt x --seed 99999999999999999999 | Invalid value for option '--seed': '99999999999999999999' is not a seed: write a whole number from -9223372036854775808 to 18446744073709551615
            serve --model BROKEN --allowed-host http://a               | the allowed host 'http://a' is not a name: write it without scheme, port and path, such as llm.example.com
            serve --model BROKEN --allowed-host a:80                   | the allowed host 'a:80' is not a name: write it without scheme, port and path, such as llm.example.com
            serve --model BROKEN --cors-origin localhost:3000          | the CORS origin 'localhost:3000' is not an origin: write scheme, name and port, such as http://localhost:3000, without a path; or *
            serve --model BROKEN --cors-origin http://a/               | the CORS origin 'http://a/' is not an origin: write scheme, name and port, such as http://localhost:3000, without a path; or *
            serve --model BROKEN --api-key k --api-key-file BROKEN     | --api-key and --api-key-file exclude each other: leave one of them out
            serve --model BROKEN --api-key-file /no/such               | --api-key-file /no/such: there is no such file; check the path
            serve --model BROKEN --api-key-file FOLDER                 | --api-key-file FOLDER cannot be read: Is a directory
            serve --model BROKEN --api-key-file EMPTY                  | --api-key-file EMPTY has no key: write one key a line
            serve --model BROKEN --api-key-file SPACED                 | an API key has an unknown option: after the key, write name=NAME, weight=N, priority=N, requests-per-minute=N or tokens-per-minute=N
            generate --model FOLDER --prompt x                         | --model FOLDER is a folder: name a file in it
            generate --model BROKEN --prompt x --draft FOLDER          | --draft FOLDER is a folder: name a file in it
            generate --model /no/such.gguf --prompt x                  | --model /no/such.gguf: there is no such file; check the path
            inspect FOLDER                                             | FOLDER is a folder: name a file in it
            inspect BROKEN --model BROKEN                              | both BROKEN and --model BROKEN name a file: leave one of them out
            plan --model BROKEN --shape layers=1,kvHeads=1,headDim=16  | --shape and a model exclude each other: leave one of them out
            plan --model BROKEN --memory 0                             | --memory takes a size such as 16GiB, not 0
            plan --model BROKEN --sequences 0                          | --sequences takes a number from 1, not 0
            """)
    void option_outOfRange_isNamedWithValueAndRange(String line, String message) {
        CommandRun result = run(withFiles(line).split(" +"));
        String expected = withFiles(message);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.out()).isEmpty();
        assertThat(result.err().lines().toList().getFirst()).isEqualTo("quire: " + expected);
    }

    private static String withFiles(String text) {
        return text.replace("BROKEN", broken)
                .replace("EMPTY", folder.resolve("empty.keys").toString())
                .replace("SPACED", folder.resolve("spaced.keys").toString())
                .replace("FOLDER", folder.toString());
    }

    @Test
    void setting_ofTheEngine_isNamedAsItsOption() {
        CommandRun result = run("generate", "--model", model, "--prompt", "x", "--kv-cache", "1KiB");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("--kv-cache").doesNotContain("kvCacheBytes");
        assertThat(run("plan", "--model", model, "--memory", "4GiB", "--kv-cache", "1MiB")
                        .out())
                .contains("--kv-cache")
                .doesNotContain("kvCacheBytes");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            serve --model BROKEN --max-contxt 5  | --max-context
            serve BROKEN                         | : a model file is named with --model BROKEN
            tokenize BROKEN                      | : a model file is named with --model BROKEN
            sreve                                | : did you mean serve?
            """)
    void unknownName_isAnsweredWithWhatMayBeMeant(String line, String hint) {
        CommandRun result = run(withFiles(line).split(" +"));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(withFiles(hint));
    }

    @Test
    void contextBeyondTheModel_namesTheOptionThatExtendsIt() {
        CommandRun result = run("plan", "--model", model, "--max-context", "1024");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("--max-context is 1024", "extend it with --rope-scale");
        assertThat(run("plan", "--model", model, "--max-context", "1024", "--rope-scale", "2")
                        .code())
                .isZero();
    }

    /** Every setting of the engine has the name of an option, or is a word that users know. */
    @Test
    void settings_ofTheEngine_haveOptions() {
        for (RecordComponent setting : EngineConfig.class.getRecordComponents()) {
            String name = setting.getName();
            boolean word = name.chars().noneMatch(Character::isUpperCase);
            assertThat(word ? "--" + name : OptionNames.in(name)).as(name).startsWith("--");
        }
    }

    @Test
    void threads_moreThanProcessors_areAWarning() {
        int processors = Runtime.getRuntime().availableProcessors();
        assertThat(run("plan", "--model", model, "--threads", "1024").err())
                .contains("warning: --threads 1024 is more than the " + processors + " processors");
        assertThat(run("plan", "--model", model, "--threads", "1").err()).isEmpty();
    }

    @Test
    void model_tilde_isTheHomeFolder() {
        String home = System.getProperty("user.home");
        try {
            System.setProperty("user.home", folder.toString());
            String name = String.valueOf(Path.of(model).getFileName());
            CommandRun result = run("inspect", "--model=~/" + name);
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(result.out()).isEqualTo(run("inspect", model).out());
        } finally {
            System.setProperty("user.home", home);
        }
    }

    @Test
    void model_tildeWithAName_saysToWriteTheWholePath() {
        CommandRun result = run("inspect", "--model", "~nobody/x.gguf");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("--model", "'~nobody/x.gguf'", "write the whole path");
    }

    @Test
    void inspect_modelOption_isTheSameAsTheArgument() {
        assertThat(run("inspect", "--model", model).out())
                .isNotEmpty()
                .isEqualTo(run("inspect", model).out());
        assertThat(run("plan", "--model", model, "--memory", "4GiB").out()) // what is free here changes
                .isNotEmpty()
                .isEqualTo(run("plan", model, "--memory", "4GiB").out());
    }

    @Test
    void inspectAndPlan_noModel_useTheBuiltInOneAndSaySo() {
        for (String command : new String[] {"inspect", "plan"}) {
            CommandRun result = run(command);
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(result.err()).contains("this is quire-tiny");
            assertThat(result.out()).isNotEmpty();
        }
        // As with serve, the built-in model comes with its draft model.
        assertThat(run("plan").out()).contains("draft weights");
    }
}
