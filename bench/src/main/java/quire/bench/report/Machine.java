package quire.bench.report;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** The machine and the commit of a measurement, for its record. */
final class Machine {
    private static final Path LINUX_CPU_LIST = Path.of("/proc/cpuinfo");
    private static final String UNKNOWN = "unknown";

    private Machine() {}

    /** Operating system, architecture, processors that this process may use, Java version. */
    static String system() {
        return "%s %s %s, %d processors, Java %s"
                .formatted(
                        System.getProperty("os.name"),
                        System.getProperty("os.version"),
                        System.getProperty("os.arch"),
                        Runtime.getRuntime().availableProcessors(),
                        Runtime.version());
    }

    /** The processor's model name from Linux's {@code /proc/cpuinfo}; {@code unknown} on other systems. */
    static String cpu() {
        try (var lines = Files.lines(LINUX_CPU_LIST)) {
            return lines.filter(line -> line.startsWith("model name"))
                    .map(line -> line.substring(line.indexOf(':') + 1).strip())
                    .findFirst()
                    .orElse(UNKNOWN);
        } catch (IOException e) {
            return UNKNOWN;
        }
    }

    /**
     * The commit of the checkout that contains the jar, with {@code -dirty} if files differ from it. {@code unknown} if
     * the jar is outside of a checkout of Quire or git is not installed.
     */
    static String commit() {
        Path checkout = checkout();
        if (checkout == null) {
            return UNKNOWN;
        }
        try {
            Process git = new ProcessBuilder("git", "describe", "--always", "--dirty", "--exclude=*")
                    .directory(checkout.toFile())
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            String commit = new String(git.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
            return git.waitFor() == 0 && !commit.isEmpty() ? commit : UNKNOWN;
        } catch (IOException e) {
            return UNKNOWN; // git is not installed
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return UNKNOWN;
        }
    }

    /** The folder above this class's jar that holds Quire's sources and a git repository. */
    private static @Nullable Path checkout() {
        try {
            Path folder = Path.of(Machine.class
                    .getProtectionDomain()
                    .getCodeSource()
                    .getLocation()
                    .toURI());
            while (folder != null
                    && !(Files.exists(folder.resolve("bench/pom.xml")) && Files.exists(folder.resolve(".git")))) {
                folder = folder.getParent();
            }
            return folder;
        } catch (URISyntaxException e) {
            return null;
        }
    }
}
