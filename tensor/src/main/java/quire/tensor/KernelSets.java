package quire.tensor;

import java.util.List;

/** The kernel sets there are, and the choice among them, made once. */
final class KernelSets {
    static final List<String> NAMES = List.of("scalar");

    static final Kernels BEST = named("scalar");

    private KernelSets() {}

    static Kernels named(String name) {
        return switch (name) {
            case "scalar" -> new ScalarKernels("plain loops, the specification of every other set");
            default ->
                throw new IllegalArgumentException(
                        "no kernels are named '" + name + "': choose one of " + String.join(", ", NAMES));
        };
    }
}
