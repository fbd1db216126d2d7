package quire.tensor;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The kernel sets there are, and the choice among them, made once. */
final class KernelSets {
    static final List<String> NAMES = List.of("avx512vnni", "vector", "scalar");

    private static final String VECTOR_MODULE = "jdk.incubator.vector";
    /** Below four lanes nothing is gained. */
    private static final int LEAST_LANES = 4;

    static final Kernels BEST = best();

    private KernelSets() {}

    private static Kernels best() {
        String obstacle = vectorObstacle();
        return obstacle == null ? named("vector") : new ScalarKernels("plain loops, slow: " + obstacle);
    }

    static Kernels named(String name) {
        return switch (name) {
            case "vector" -> {
                String obstacle = vectorObstacle();
                if (obstacle != null) {
                    throw new IllegalArgumentException("the vector kernels cannot run here: " + obstacle);
                }
                yield new VectorKernels("Vector API on " + Lanes.LANES * Float.SIZE + "-bit registers");
            }
            case "scalar" -> new ScalarKernels("plain loops, the specification of every other set");
            default ->
                throw new IllegalArgumentException(
                        "no kernels are named '" + name + "': choose one of " + String.join(", ", NAMES));
        };
    }

    /** Why the vector set cannot run, or null. */
    private static @Nullable String vectorObstacle() {
        if (ModuleLayer.boot().findModule(VECTOR_MODULE).isEmpty()) {
            return "start Java with --add-modules " + VECTOR_MODULE;
        }
        if (Lanes.LANES < LEAST_LANES) {
            return "the registers hold only " + Lanes.LANES + " floats";
        }
        return null;
    }
}
