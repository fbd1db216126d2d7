package quire.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Tests the script {@code quire} in a small project of one source file. A script stands for Maven: it writes a jar, and
 * a line into a list of builds. Another script stands for Java: it prints its arguments.
 */
@Timeout(60)
class LauncherTest {
    private static final Path REPOSITORY = Path.of("..").toAbsolutePath().normalize();

    private static final String MAVEN = """
            #!/bin/sh
            here=$(dirname "$0")
            echo built >>"$here/builds"
            echo '[INFO] Building Quire model 0.1.0-SNAPSHOT                        [2/6]'
            echo '[INFO] Downloading from central: https://example.org/a.jar'
            echo '[INFO] Downloaded from central: https://example.org/a.jar (1 kB at 1 kB/s)'
            echo '[INFO] --- compiler:3.16.0:compile (default-compile) @ quire-model ---'
            mkdir -p "$here/cli/target/lib" "$here/model/target/classes"
            cp "$here/model/src/main/Model.java" "$here/cli/target/lib/quire-model.jar"
            touch "$here/model/target/classes/Model.class"
            """;

    private static final String VECTOR_MODULE = "--add-modules=jdk.incubator.vector";

    @TempDir
    private Path folder;

    private Path home;
    private final Map<String, String> environment = new HashMap<>();

    private record Result(int code, String out, String err) {}

    @BeforeEach
    void writeProject() throws IOException {
        assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "the launcher is a shell script");
        home = folder.resolve("a project");
        Files.createDirectories(home.resolve("bin"));
        Files.createDirectories(home.resolve(".mvn"));
        Files.createDirectories(home.resolve("model/src/main"));
        for (String file : List.of("quire", "bin/build", "bin/java-home", "bin/java-options")) {
            Files.copy(REPOSITORY.resolve(file), home.resolve(file));
        }
        Files.writeString(home.resolve("pom.xml"), "<project/>");
        Files.writeString(home.resolve("model/pom.xml"), "<project/>");
        Files.writeString(home.resolve("model/src/main/Model.java"), "class Model {}");
        writeScript(home.resolve("mvnw"), MAVEN);
        Path jdk = folder.resolve("jdk");
        Files.createDirectories(jdk.resolve("bin"));
        Files.writeString(jdk.resolve("release"), "JAVA_VERSION=\"25.0.1\"\n");
        writeScript(jdk.resolve("bin/javac"), "#!/bin/sh\n");
        writeScript(jdk.resolve("bin/java"), """
                #!/bin/sh
                for argument; do
                  case $argument in -XX:AOTCacheOutput=*) echo classes >"${argument#*=}" ;; esac
                done
                printf '%s\\n' "$@" "LC_ALL=$LC_ALL" "LC_CTYPE=$LC_CTYPE"
                """);
        Files.createDirectories(folder.resolve("tmp"));
        environment.put("QUIRE_JAVA_HOME", jdk.toString());
        environment.put("TMPDIR", folder.resolve("tmp").toString());
    }

    @Test
    void start_freshClone_buildsInStepsAndRuns() throws Exception {
        Result result = quire("generate", "--prompt", "a  b");

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out.lines()).contains("quire.cli.Quire", "generate", "--prompt", "a  b");
        assertThat(result.err.lines())
                .containsSubsequence(
                        "quire: downloading plugins and libraries (only once)",
                        "quire: compiling quire-model (2 of 6)",
                        "quire: 1 files downloaded")
                .last()
                .asString()
                .matches("quire: built in \\d+ s");
        assertThat(builds()).isEqualTo(1);
        assertThat(folder.resolve("tmp")).isEmptyDirectory();
    }

    @Test
    void start_unchanged_computesNoChecksums() throws Exception {
        quire();
        quire(); // compares checksums
        Path bin = Files.createDirectories(folder.resolve("no checksums"));
        writeScript(bin.resolve("cksum"), "#!/bin/sh\nexit 1\n");
        environment.put("PATH", bin + ":" + System.getenv("PATH"));

        assertThat(quire().code).isZero();
        assertThat(builds()).isEqualTo(1);
    }

    @Test
    void start_changedAfterAComparison_buildsWhateverItsTime() throws Exception {
        quire();
        quire(); // compares checksums
        Path source = home.resolve("model/src/main/Model.java");
        Files.writeString(source, "class Other {}");
        Files.setLastModifiedTime(source, FileTime.fromMillis(0));

        quire();

        assertThat(builds()).isEqualTo(2);
    }

    @Test
    void start_cache_isMadeByTheBuildAndGivenToJava() throws Exception {
        List<String> arguments = quire("serve").out.lines().toList();

        assumeTrue(arguments.stream().noneMatch(VECTOR_MODULE::equals), "the cache is for starts without the module");
        String option = "-XX:AOTCache=" + home.toRealPath() + "/cli/target/start.aot";
        assertThat(arguments).containsSubsequence(option, "quire.cli.Quire", "serve");
        assertThat(quire("serve", "--kernels", "vector").out.lines())
                .contains(VECTOR_MODULE)
                .doesNotContain(option);
    }

    @Test
    void start_javaMakesNoCache_saysSoAndRuns() throws Exception {
        writeScript(folder.resolve("jdk/bin/java"), "#!/bin/sh\necho no room\n");

        Result result = quire("serve");

        assertThat(result.code).isZero();
        assertThat(home.resolve("cli/target/start.aot")).doesNotExist();
        assumeTrue(result.err.contains("preparing the start"), "only where the assembled kernels run");
        assertThat(result.err)
                .contains("quire: Java made no cache for the start, so starts take a second longer: no room");
        assertThat(quire("serve").err).isEmpty();
    }

    @Test
    void start_built_saysNothing() throws Exception {
        quire();

        assertThat(quire().err).isEmpty();
        assertThat(builds()).isEqualTo(1);
    }

    @Test
    void start_copiedFolder_doesNotBuild() throws Exception {
        quire();
        Path copy = folder.resolve("copy");
        copy(home, copy);
        Files.setLastModifiedTime(copy.resolve("model/src/main/Model.java"), FileTime.fromMillis(4_000_000_000_000L));
        home = copy;

        assertThat(quire().code).isZero();
        assertThat(builds()).isEqualTo(1);
    }

    @Test
    void start_changedSourceWithAnOldTime_buildsWithoutItsOldClasses() throws Exception {
        quire();
        Path source = home.resolve("model/src/main/Model.java");
        Files.writeString(source, "class Other {}");
        Files.setLastModifiedTime(source, FileTime.fromMillis(0));
        Path left = home.resolve("model/target/classes/Left.class");
        Files.writeString(left, "of a class that is no more");
        Files.writeString(home.resolve("cli/target/lib/quire-model-0.0.9.jar"), "of an older version");

        assertThat(quire().code).isZero();
        assertThat(builds()).isEqualTo(2);
        assertThat(left).doesNotExist();
        assertThat(home.resolve("cli/target/lib/quire-model-0.0.9.jar")).doesNotExist();
    }

    @Test
    void start_jarsChangedByAnotherBuild_buildsAgain() throws Exception {
        quire();
        Files.writeString(home.resolve("cli/target/lib/quire-model.jar"), "of other sources");

        quire();

        assertThat(builds()).isEqualTo(2);
    }

    @Test
    void start_throughSymbolicLinks_findsItsFolder() throws Exception {
        Path bin = Files.createDirectories(folder.resolve("bin"));
        Files.createSymbolicLink(bin.resolve("relative"), Path.of("../a project/quire"));
        Files.createSymbolicLink(folder.resolve("absolute"), bin.resolve("relative"));

        Result result = run(folder, "sh", "absolute", "kernels");

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out.lines()).contains(home.toRealPath() + "/cli/target/lib/*", "kernels");
    }

    @Test
    void start_twoAtOnce_oneBuildsAndTheOtherWaits() throws Exception {
        Path gate = mavenBehindGate();
        Process first = start(home, "sh", "quire", "first");
        awaitLine(first, "quire: building");
        Process second = start(home, "sh", "quire", "second");
        awaitLine(second, "quire: waiting for another build in this folder to end (process " + first.pid());
        Files.writeString(gate, "go\n");

        assertThat(end(first).out).contains("first");
        Result waited = end(second);
        assertThat(waited.out).contains("second");
        assertThat(waited.err).contains("quire: the other build is done");
        assertThat(builds()).isEqualTo(1);
    }

    @Test
    void start_interruptedBuild_countsAsNoneAndReleasesTheLock() throws Exception {
        mavenBehindGate();
        Process process = start(home, "sh", "quire");
        awaitLine(process, "quire: compiling");
        process.toHandle().destroy(); // Process.destroy would close the streams

        Result interrupted = end(process);
        assertThat(interrupted.code).isEqualTo(143);
        assertThat(interrupted.err).contains("quire: the build was interrupted; the next start begins again");
        assertThat(home.resolve("cli/target/build.lock")).doesNotExist();
        assertThat(folder.resolve("tmp")).isEmptyDirectory();

        writeScript(home.resolve("mvnw"), MAVEN);
        assertThat(quire().code).isZero();
        assertThat(builds()).isEqualTo(2);
    }

    @Test
    void start_lockOfADeadProcess_isTakenOver() throws Exception {
        Process dead = start(home, "sh", "-c", "exit");
        end(dead);
        Path lock = Files.createDirectories(home.resolve("cli/target/build.lock"));
        Files.writeString(lock.resolve("processes"), dead.pid() + "\n");

        assertThat(quire().code).isZero();
        assertThat(builds()).isEqualTo(1);
        assertThat(lock).doesNotExist();
    }

    @Test
    void start_readOnlyAndNotBuilt_saysSoInOneSentence() throws Exception {
        makeReadOnly();

        Result result = quire();

        assertThat(result.code).isEqualTo(1);
        assertThat(result.err.lines()).singleElement().asString().contains("a project cannot be written");
        assertThat(home.resolve("builds")).doesNotExist();
    }

    @Test
    void start_readOnlyAndBuilt_runs() throws Exception {
        quire();
        makeReadOnly();

        Result result = quire("kernels");

        assertThat(result.code).isZero();
        assertThat(result.out).contains("kernels");
        assertThat(result.err).isEmpty();
    }

    @Test
    void start_failedDownload_saysWhatFailedAndWhatToDo() throws Exception {
        writeScript(home.resolve("mvnw"), """
                #!/bin/sh
                echo '[ERROR] Failed to execute: Could not transfer artifact a:b:1 from central: Unknown host x -> [Help 1]'
                exit 1
                """);

        Result result = quire();

        assertThat(result.code).isEqualTo(1);
        assertThat(result.err)
                .contains(
                        "quire: a download failed: Failed to execute: Could not transfer artifact a:b:1 from central: Unknown host x\n",
                        "start again");
        assertThat(end(start(home, "sh", "-c", "cat \"$TMPDIR\"/quire-build.*/log")).out)
                .contains("Help 1");
        assertThat(quire().err).as("nothing counts as built").contains("a download failed");
    }

    @Test
    void start_failedBuild_keepsItsLogInAPrivateFolder() throws Exception {
        writeScript(home.resolve("mvnw"), "#!/bin/sh\necho '[ERROR] no such symbol'\nexit 1\n");

        Result result = quire();

        assertThat(result.err).contains("[ERROR] no such symbol", "quire: the build failed; the log is ");
        try (var files = Files.list(folder.resolve("tmp"))) {
            assertThat(files).singleElement().satisfies(kept -> assertThat(
                            PosixFilePermissions.toString(Files.getPosixFilePermissions(kept)))
                    .isEqualTo("rwx------"));
        }
    }

    @Test
    void start_noMaven_saysSoOnce() throws Exception {
        Files.copy(REPOSITORY.resolve("mvnw"), home.resolve("mvnw.real"));
        Path tools = Files.createDirectories(folder.resolve("tools"));
        for (String tool : List.of("dirname", "sed")) {
            String path =
                    end(start(folder, "sh", "-c", "command -v " + tool)).out.strip();
            writeScript(tools.resolve(tool), "#!/bin/sh\nexec " + path + " \"$@\"\n");
        }
        writeScript(home.resolve("mvnw"), "#!/bin/sh\nPATH='" + tools + "'\nexec /bin/sh \"$0.real\"\n");

        Result result = quire();

        assertThat(result.code).isEqualTo(1);
        assertThat(result.err).contains("Maven (mvn) is not installed").doesNotContain("the build failed");
    }

    @Test
    void start_noJdk_saysWhatToInstall() throws Exception {
        Files.writeString(folder.resolve("jdk/release"), "JAVA_VERSION=\"1.8.0\"\n");
        writeScript(home.resolve("bin/java-home"), onlyFromTheEnvironment(home.resolve("bin/java-home")));

        Result result = quire();

        assertThat(result.code).isEqualTo(1);
        assertThat(result.err.lines()).singleElement().asString().contains("no JDK 25 or newer found; install one");
    }

    @Test
    void start_noUtf8Locale_runsUnderOne() throws Exception {
        environment.put("LC_ALL", "C");
        assertThat(quire().out.lines()).contains("LC_ALL=C.UTF-8");

        environment.put("LC_ALL", "");
        environment.put("LC_CTYPE", "");
        environment.put("LANG", "POSIX");
        assertThat(quire().out.lines()).contains("LC_ALL=", "LC_CTYPE=C.UTF-8");

        environment.put("LC_ALL", "C.UTF-8");
        assertThat(quire().out.lines()).contains("LC_ALL=C.UTF-8", "LC_CTYPE=");
    }

    @Test
    void start_options_areTheFilesThenTheUsers() throws Exception {
        environment.put("QUIRE_JAVA_OPTIONS", "-Xmx512m  -Dx=*");

        List<String> arguments = quire("plan").out.lines().toList();

        assertThat(arguments)
                .containsSubsequence(
                        "@" + home.toRealPath() + "/bin/java-options",
                        "-Xmx512m",
                        "-Dx=*",
                        "-cp",
                        "quire.cli.Quire",
                        "plan");
    }

    @Test
    void start_vectorKernels_addsTheVectorModule() throws Exception {
        String module = VECTOR_MODULE;
        assertThat(quire("serve", "--kernels", "vector").out.lines()).contains(module);
        assertThat(quire("serve", "--kernels=vector").out.lines()).contains(module);
        environment.put("QUIRE_JAVA_OPTIONS", "-Dquire.kernels=vector");
        assertThat(quire("serve").out.lines()).contains(module);
        environment.remove("QUIRE_JAVA_OPTIONS");

        Path processor = Path.of("/proc/cpuinfo");
        assumeTrue(Files.exists(processor), "Linux says here what the processor has");
        boolean hasAvx2 = Files.readString(processor)
                .lines()
                .anyMatch(line -> line.matches("flags\\s.*") && line.contains(" avx2 ") && line.contains(" fma "));
        assertThat(quire("serve").out.lines().anyMatch(module::equals)).isEqualTo(!hasAvx2);
    }

    @ParameterizedTest
    @CsvSource({"1g, , 268435456", "64g, , 2147483648", "1g, -Xmx300m, 314572800", "64g, -Xmx4g, 4294967296"})
    void javaOptions_memory_heapIsAQuarterAndAtMost2GibibytesUnlessAsked(
            String memory, @Nullable String asked, long bytes) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "@" + REPOSITORY.resolve("bin/java-options"),
                "-XX:MaxRAM=" + memory)); // stands for a container's limit
        if (asked != null) {
            command.add(asked);
        }
        command.addAll(List.of("-XX:+PrintFlagsFinal", "-version"));

        Result result = run(folder, command.toArray(new String[0]));

        assertThat(result.out).containsPattern("MaxHeapSize += " + bytes + " ");
    }

    @ParameterizedTest
    @CsvSource({
        "4194304, '', the address space is limited to 4096 MiB (ulimit -v)",
        "5000000, '', 'or set QUIRE_JAVA_OPTIONS=-Xmx512m, which needs 4 GiB'",
        "4000000, -Xmx512m, 'Java needs at least 4 GiB of it: run ''ulimit -v unlimited'' first'",
        "6000000, '', ''",
        "5000000, -Xmx512m, ''",
    })
    void start_addressSpaceLimited_isRefusedInOneSentence(int kibibytes, String options, String sentence)
            throws Exception {
        quire(); // builds
        environment.put("QUIRE_JAVA_OPTIONS", options);

        Result result = run(home, "sh", "-c", "ulimit -v " + kibibytes + " && exec sh quire serve");

        assertThat(result.code).as(result.err).isEqualTo(sentence.isEmpty() ? 0 : 1);
        assertThat(result.out.lines().anyMatch("serve"::equals)).isEqualTo(sentence.isEmpty());
        assertThat(result.err).contains(sentence);
        assertThat(result.err.lines()).hasSize(sentence.isEmpty() ? 0 : 1);
    }

    /** Replaces Maven by a script that begins a build and then waits until a line is written into the returned file. */
    private Path mavenBehindGate() throws Exception {
        Path gate = folder.resolve("gate");
        end(start(folder, "mkfifo", gate.toString()));
        writeScript(home.resolve("mvnw"), MAVEN + "read -r go <'" + gate + "'\n");
        return gate;
    }

    /** Makes mkdir fail as on a read-only file system. File permissions would not stop a test that runs as root. */
    private void makeReadOnly() throws IOException {
        Path bin = Files.createDirectories(folder.resolve("read-only"));
        writeScript(bin.resolve("mkdir"), "#!/bin/sh\necho 'mkdir: Read-only file system' >&2\nexit 1\n");
        environment.put("PATH", bin + ":" + System.getenv("PATH"));
    }

    /** The script, changed so that it finds no JDK that is installed on this machine. */
    private static String onlyFromTheEnvironment(Path script) throws IOException {
        return Files.readString(script)
                .replaceAll("(?m)^on_path=.*$", "on_path=")
                .replaceAll("(?s)for home in .*?; do", "for home in; do")
                .replaceAll("(?m)^\\[ -n \"\\$JAVA_HOME.*$", "");
    }

    private long builds() throws IOException {
        return Files.readAllLines(home.resolve("builds")).size();
    }

    private Result quire(String... arguments) throws Exception {
        List<String> command =
                new ArrayList<>(List.of("sh", home.resolve("quire").toString()));
        command.addAll(List.of(arguments));
        return run(folder, command.toArray(new String[0]));
    }

    private Result run(Path where, String... command) throws Exception {
        return end(start(where, command));
    }

    private Process start(Path where, String... command) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command).directory(where.toFile());
        builder.environment().keySet().removeIf(name -> name.startsWith("LC_") || name.startsWith("QUIRE_"));
        builder.environment().putAll(environment);
        return builder.start();
    }

    private static void awaitLine(Process process, String start) throws IOException {
        BufferedReader errors = process.errorReader(StandardCharsets.UTF_8);
        StringBuilder seen = new StringBuilder();
        for (String line = errors.readLine(); line != null; line = errors.readLine()) {
            if (line.startsWith(start)) {
                return;
            }
            seen.append(line).append('\n');
        }
        throw new AssertionError("missing line: " + start + "\n" + seen);
    }

    /** Reads both outputs, one after the other. They are so short that the pipes do not fill up. */
    private static Result end(Process process) throws Exception {
        String out = process.inputReader(StandardCharsets.UTF_8).readAllAsString();
        String err = process.errorReader(StandardCharsets.UTF_8).readAllAsString();
        return new Result(process.waitFor(), out, err);
    }

    private static void writeScript(Path path, String text) throws IOException {
        Files.writeString(path, text);
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.walkFileTree(from, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult preVisitDirectory(Path directory, BasicFileAttributes attributes)
                    throws IOException {
                Files.createDirectories(to.resolve(from.relativize(directory)));
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.copy(file, to.resolve(from.relativize(file)));
                return FileVisitResult.CONTINUE;
            }
        });
    }
}
