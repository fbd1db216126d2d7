package quire.tensor.assembled;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import quire.tensor.ElementType;
import quire.tensor.KernelSetEquality;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.machine.KernelSets;

/**
 * Compares the AVX2 kernels with the scalar set, to the last bit. Products are compared in each AVX2 set that this
 * processor runs. The VEX and EVEX forms of VNNI differ in only one method of {@code Avx2MatrixCode}.
 */
class Avx2KernelsTest {
    private static final List<Instructions> AVX2 =
            List.of(Instructions.AVX2, Instructions.AVX2_VNNI, Instructions.AVX2_VNNI_EVEX);

    record Case(ElementType type, Instructions instructions) {}

    /** Every element type in every AVX2 set that runs on this machine. */
    static List<Case> cases() {
        List<Case> cases = Arrays.stream(ElementType.values())
                .flatMap(type ->
                        AVX2.stream().filter(KernelSets::runs).map(instructions -> new Case(type, instructions)))
                .toList();
        assumeTrue(!cases.isEmpty(), KernelSets.obstacle("avx2"));
        return cases;
    }

    private static KernelSetEquality equality(Case on) {
        return new KernelSetEquality(
                new AssembledKernels(on.instructions, "under test"),
                on.type.name().hashCode());
    }

    @ParameterizedTest
    @MethodSource("cases")
    void multiply_randomShapes_equalsScalarToTheBit(Case on) {
        KernelSetEquality equality = equality(on);
        for (int i = 0; i < KernelSetEquality.rounds(30); i++) {
            equality.checkMultiply(on.type, 40);
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void multiply_shortestAndLongestRows_equalsScalarToTheBit(Case on) {
        equality(on).checkMultiplyAtEnds(on.type);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void multiply_allValuesAtTheirLimits_equalsScalarToTheBit(Case on) {
        if (on.type.isQuantized()) {
            equality(on).checkLargest(on.type);
        }
    }

    @Test
    void rowOperations_randomShapes_equalScalarToTheBit() {
        KernelSetEquality equality = equality(cases().getFirst());
        for (int i = 0; i < KernelSetEquality.rounds(100); i++) {
            equality.checkRows();
            equality.checkAdvance();
        }
    }

    @Test
    void everything_onThisSet_equalsScalarToTheBit() {
        String obstacle = KernelSets.obstacle("avx2");
        assumeTrue(obstacle == null, obstacle);
        KernelSetEquality equality = new KernelSetEquality(KernelSets.named("avx2"), 6);
        for (int i = 0; i < KernelSetEquality.rounds(10); i++) {
            equality.checkRows();
            equality.checkAdvance();
            equality.checkAttention();
        }
    }
}
