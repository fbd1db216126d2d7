package quire.tensor.machine;

import java.lang.System.Logger.Level;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import quire.tensor.Kernels;
import quire.tensor.assembled.AssembledKernels;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.scalar.ScalarKernels;
import quire.tensor.vector.Lanes;
import quire.tensor.vector.VectorKernels;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.Cpu;
import quire.tensor.x86.Cpu.Feature;

/**
 * The kernel sets and the choice among them. {@link #best} chooses once, from what the processor and the operating
 * system support.
 */
public final class KernelSets {
    /** Name of the system property that forces the set which {@link #best} returns. */
    public static final String PROPERTY = "quire.kernels";

    private static final List<String> NAMES = List.of("avx512vnni", "avx2", "vector", "scalar");

    private static final String VECTOR_MODULE = "jdk.incubator.vector";
    /** Fewer than four lanes are not faster than plain loops. */
    private static final int MIN_LANES = 4;

    private static final Set<Feature> AVX512VNNI = EnumSet.of(
            Feature.FMA,
            Feature.F16C,
            Feature.AVX2,
            Feature.AVX512F,
            Feature.AVX512BW,
            Feature.AVX512DQ,
            Feature.AVX512VL,
            Feature.AVX512_VNNI);

    private static final Set<Feature> AVX2 = EnumSet.of(Feature.FMA, Feature.F16C, Feature.AVX2);

    private KernelSets() {}

    private static @Nullable Kernels chosen;

    /** The names of all sets, fastest first. */
    public static List<String> names() {
        return NAMES;
    }

    /**
     * The fastest set that runs on this machine, or the set that {@link #PROPERTY} names. The first call chooses it.
     *
     * @throws IllegalArgumentException as {@link #named}, if the property is set
     * @see Kernels#reason
     */
    public static synchronized Kernels best() {
        Kernels kernels = chosen;
        if (kernels == null) {
            String forced = System.getProperty(PROPERTY);
            kernels = choose(forced);
            chosen = kernels;
            if (forced == null && kernels.name().equals("scalar")) {
                System.getLogger("quire.tensor") // not before: the first logger configures the log
                        .log(Level.WARNING, "the scalar kernels are used, which are the slowest: " + kernels.reason());
            }
        }
        return kernels;
    }

    /**
     * Asks the processor what it can do. That is the first call of machine code, for which Java writes code. Whoever chooses a set
     * later finds that done, or waits for it. It chooses no set. Any thread.
     */
    public static void prepare() {
        instructions();
    }

    /** The set for a value of {@link #PROPERTY}. */
    static Kernels choose(@Nullable String forced) {
        return forced == null ? fastest() : named(forced, "; forced by --kernels or -D" + PROPERTY);
    }

    private static Kernels fastest() {
        StringBuilder unavailable = new StringBuilder();
        for (String name : NAMES) {
            String obstacle = obstacle(name);
            if (obstacle == null) {
                return create(name, unavailable.toString());
            }
            unavailable.append("; not ").append(name).append(": ").append(obstacle);
        }
        throw new AssertionError("the scalar kernels run on every machine");
    }

    /** The processor, or why no machine code can run on it; determined once. */
    private static final class Machine {
        static final @Nullable Cpu CPU;
        static final String OBSTACLE;

        static {
            Cpu cpu = null;
            String obstacle = "";
            try {
                cpu = Cpu.detect(new CodeMemory());
            } catch (UnsupportedOperationException e) {
                obstacle = String.valueOf(e.getMessage());
            } catch (NoSuchElementException e) {
                obstacle = "the C library lacks a function: " + e.getMessage();
            } catch (IllegalCallerException e) {
                Module own = KernelSets.class.getModule();
                obstacle = "start Java with --enable-native-access=" + (own.isNamed() ? own.getName() : "ALL-UNNAMED");
            }
            CPU = cpu;
            OBSTACLE = obstacle;
        }

        private Machine() {}
    }

    /**
     * The set with a name.
     *
     * @throws IllegalArgumentException if there is no such set (the message lists all), or if it cannot run on this
     *     machine (the message says why)
     */
    public static Kernels named(String name) {
        return named(name, "");
    }

    private static Kernels named(String name, String why) {
        if (!NAMES.contains(name)) {
            throw new IllegalArgumentException(
                    "no kernels are named '" + name + "': choose one of " + String.join(", ", NAMES));
        }
        String obstacle = obstacle(name);
        if (obstacle != null) {
            throw new IllegalArgumentException("the " + name + " kernels cannot run here: " + obstacle);
        }
        return create(name, why);
    }

    private static Kernels create(String name, String why) {
        return switch (name) {
            case "avx512vnni" -> assembled(avx512Instructions(), "", why);
            case "avx2" -> {
                Instructions instructions = avx2Instructions();
                String with = instructions == Instructions.AVX2 ? "" : " with VNNI";
                yield assembled(instructions, with, why);
            }
            case "vector" -> new VectorKernels("Vector API on " + Lanes.LANES * Float.SIZE + "-bit registers" + why);
            default -> new ScalarKernels("plain loops, the specification of every other set" + why);
        };
    }

    private static Kernels assembled(Instructions instructions, String with, String why) {
        Cpu cpu = Machine.CPU;
        String processor = cpu == null ? "" : cpu.brand();
        return new AssembledKernels(instructions, "assembled for " + processor + with + why);
    }

    /** Why the set with this name cannot run on this machine; null if it can. */
    public static @Nullable String obstacle(String name) {
        return switch (name) {
            case "avx512vnni" -> missing(AVX512VNNI);
            case "avx2" -> missing(AVX2);
            case "vector" -> vectorObstacle();
            default -> null;
        };
    }

    /** The fastest instruction set that this machine runs; null if it runs none of them. */
    static @Nullable Instructions instructions() {
        if (obstacle("avx512vnni") == null) {
            return avx512Instructions();
        }
        return obstacle("avx2") == null ? avx2Instructions() : null;
    }

    /** The fastest form of AVX-512 that this machine runs, if it runs one. */
    private static Instructions avx512Instructions() {
        return runs(Instructions.AVX512_VBMI) ? Instructions.AVX512_VBMI : Instructions.AVX512_VNNI;
    }

    /** The fastest form of AVX2 that this machine runs. */
    private static Instructions avx2Instructions() {
        return runs(Instructions.AVX2_VNNI)
                ? Instructions.AVX2_VNNI
                : runs(Instructions.AVX2_VNNI_EVEX) ? Instructions.AVX2_VNNI_EVEX : Instructions.AVX2;
    }

    /** Whether this machine runs {@code instructions}. */
    public static boolean runs(Instructions instructions) {
        EnumSet<Feature> needed = EnumSet.copyOf(instructions.isWide() ? AVX512VNNI : AVX2);
        switch (instructions) {
            case AVX512_VBMI -> needed.add(Feature.AVX512VBMI);
            case AVX2_VNNI -> needed.add(Feature.AVX_VNNI);
            case AVX2_VNNI_EVEX -> needed.addAll(EnumSet.of(Feature.AVX512F, Feature.AVX512VL, Feature.AVX512_VNNI));
            default -> {}
        }
        return missing(needed) == null;
    }

    private static @Nullable String missing(Set<Feature> needed) {
        Cpu cpu = Machine.CPU;
        if (cpu == null) {
            return Machine.OBSTACLE;
        }
        String missing = needed.stream()
                .filter(feature -> !cpu.features().contains(feature))
                .map(feature -> feature.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.joining(", "));
        return missing.isEmpty() ? null : cpu.brand() + " has no " + missing;
    }

    private static @Nullable String vectorObstacle() {
        if (ModuleLayer.boot().findModule(VECTOR_MODULE).isEmpty()) {
            return "start Java with --add-modules " + VECTOR_MODULE;
        }
        if (Lanes.LANES < MIN_LANES) {
            return "the registers hold only " + Lanes.LANES + " floats";
        }
        return null;
    }
}
