package quire.bench.measure;

import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A second JVM with the code of this one. */
public final class ChildJvm {
    private ChildJvm() {}

    /**
     * A process that is not started yet. It gets the options for Java of this process, its class path, and then:
     *
     * @param options further options for Java, which override those of this process
     * @param mainClass the class to run
     * @param arguments its arguments
     */
    public static ProcessBuilder of(List<String> options, String mainClass, List<String> arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(options);
        command.add("-cp");
        command.add(System.getProperty("java.class.path"));
        command.add(mainClass);
        command.addAll(arguments);
        return new ProcessBuilder(command);
    }
}
