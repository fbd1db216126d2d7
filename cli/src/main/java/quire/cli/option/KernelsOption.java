package quire.cli.option;

import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.tensor.machine.KernelSets;

/** Which kernel set to compute with. The choice holds for the whole process. */
public final class KernelsOption {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--kernels",
            paramLabel = "SET",
            description =
                    "The kernel set to compute with (default: the fastest that runs here; quire kernels lists them).")
    @SuppressWarnings("UnusedMethod") // picocli calls it
    private void choose(String name) {
        check(name, command.commandLine());
        System.setProperty(KernelSets.PROPERTY, name);
    }

    /**
     * Checks that a kernel set runs on this machine.
     *
     * @throws ParameterException if it does not; the message gives the reason and the sets that do
     */
    public static void check(String name, CommandLine commandLine) {
        String here = KernelSets.names().stream()
                .filter(each -> KernelSets.obstacle(each) == null)
                .collect(Collectors.joining(", "));
        if (!KernelSets.names().contains(name)) {
            throw new ParameterException(
                    commandLine,
                    "--kernels takes one of " + String.join(", ", KernelSets.names()) + ", not '" + name
                            + "'; these run here: " + here);
        }
        String obstacle = KernelSets.obstacle(name);
        if (obstacle != null) {
            throw new ParameterException(
                    commandLine,
                    "the " + name + " kernels cannot run here: " + obstacle + "; --kernels takes one of " + here);
        }
    }
}
