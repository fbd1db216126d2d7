package quire.tensor;

import java.lang.System.Logger.Level;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.Cpu;
import quire.tensor.x86.Cpu.Feature;

/** The kernel sets there are, and the choice among them, made once. */
final class KernelSets {
    static final List<String> NAMES = List.of("avx512vnni", "avx2", "vector", "scalar");

    private static final System.Logger LOG = System.getLogger("quire.tensor");

    private static final String VECTOR_MODULE = "jdk.incubator.vector";
    /** Below four lanes nothing is gained. */
    private static final int LEAST_LANES = 4;

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

    static synchronized Kernels best() {
        Kernels kernels = chosen;
        if (kernels == null) {
            String forced = System.getProperty(Kernels.PROPERTY);
            kernels = choose(forced);
            chosen = kernels;
            if (forced == null && kernels.name().equals("scalar")) {
                LOG.log(Level.WARNING, "the slowest kernels compute: " + kernels.reason());
            }
        }
        return kernels;
    }

    /** What {@link #best} remembers, by the value of {@link Kernels#PROPERTY}. */
    static Kernels choose(@Nullable String forced) {
        return forced == null ? fastest() : named(forced, "; forced by --kernels or -D" + Kernels.PROPERTY);
    }

    private static Kernels fastest() {
        StringBuilder passedOver = new StringBuilder();
        for (String name : NAMES) {
            String obstacle = obstacle(name);
            if (obstacle == null) {
                return create(name, passedOver.toString());
            }
            passedOver.append("; not ").append(name).append(": ").append(obstacle);
        }
        throw new AssertionError("plain loops run everywhere");
    }

    /** The processor, once; or why no code of ours can run on it. */
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

    static Kernels named(String name) {
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
            case "avx512vnni" -> assembled(AssembledCode.Instructions.AVX512_VNNI, "", why);
            case "avx2" -> {
                AssembledCode.Instructions instructions = avx2Instructions();
                String with = instructions == AssembledCode.Instructions.AVX2 ? "" : " with VNNI";
                yield assembled(instructions, with, why);
            }
            case "vector" -> new VectorKernels("Vector API on " + Lanes.LANES * Float.SIZE + "-bit registers" + why);
            default -> new ScalarKernels("plain loops, the specification of every other set" + why);
        };
    }

    private static Kernels assembled(AssembledCode.Instructions instructions, String with, String why) {
        Cpu cpu = Machine.CPU;
        String processor = cpu == null ? "" : cpu.brand();
        return new AssembledKernels(instructions, "assembled for " + processor + with + why);
    }

    /** Why a set cannot run here, or null. */
    static @Nullable String obstacle(String name) {
        return switch (name) {
            case "avx512vnni" -> missing(AVX512VNNI);
            case "avx2" -> missing(AVX2);
            case "vector" -> vectorObstacle();
            default -> null;
        };
    }

    /** The fastest that code can be assembled in here; null if none can. */
    static AssembledCode.@Nullable Instructions instructions() {
        if (obstacle("avx512vnni") == null) {
            return AssembledCode.Instructions.AVX512_VNNI;
        }
        return obstacle("avx2") == null ? avx2Instructions() : null;
    }

    /** The fastest of the AVX2 ones that run here. */
    private static AssembledCode.Instructions avx2Instructions() {
        return runs(AssembledCode.Instructions.AVX2_VNNI)
                ? AssembledCode.Instructions.AVX2_VNNI
                : runs(AssembledCode.Instructions.AVX2_VNNI_EVEX)
                        ? AssembledCode.Instructions.AVX2_VNNI_EVEX
                        : AssembledCode.Instructions.AVX2;
    }

    /** Whether products written in {@code instructions} run here. */
    static boolean runs(AssembledCode.Instructions instructions) {
        EnumSet<Feature> needed =
                EnumSet.copyOf(instructions == AssembledCode.Instructions.AVX512_VNNI ? AVX512VNNI : AVX2);
        switch (instructions) {
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
        if (Lanes.LANES < LEAST_LANES) {
            return "the registers hold only " + Lanes.LANES + " floats";
        }
        return null;
    }
}
