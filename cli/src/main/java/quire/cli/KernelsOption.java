package quire.cli;

import picocli.CommandLine.Option;
import quire.tensor.Kernels;

/** Forces a kernel set on the whole process. */
final class KernelsOption {
    @Option(
            names = "--kernels",
            paramLabel = "SET",
            description = "Kernels to compute with (default: the fastest that run here; see quire kernels).")
    @SuppressWarnings("UnusedMethod") // picocli calls it
    private void choose(String name) {
        System.setProperty(Kernels.PROPERTY, Kernels.named(name).name());
    }
}
