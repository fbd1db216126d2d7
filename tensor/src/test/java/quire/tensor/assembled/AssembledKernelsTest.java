package quire.tensor.assembled;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.ElementType;
import quire.tensor.KernelSetEquality;
import quire.tensor.Kernels;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.machine.KernelSets;

/** Compares the AVX-512 kernels with the scalar set, to the last bit, on processors that run them. */
class AssembledKernelsTest {
    private static final String SET = "avx512vnni";

    private final Kernels kernels;

    AssembledKernelsTest() {
        String obstacle = KernelSets.obstacle(SET);
        assumeTrue(obstacle == null, obstacle);
        kernels = KernelSets.named(SET);
    }

    private KernelSetEquality equality(ElementType type) {
        return new KernelSetEquality(kernels, type.name().hashCode());
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_randomShapes_equalsScalarToTheBit(ElementType type) {
        KernelSetEquality equality = equality(type);
        for (int i = 0; i < KernelSetEquality.rounds(60); i++) {
            equality.checkMultiply(type, 40);
        }
    }

    /** Only types with a table are looked up by VBMI. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"IQ.*", ".*FP4"},
            mode = EnumSource.Mode.MATCH_ANY)
    void multiply_withoutVbmi_equalsScalarToTheBit(ElementType type) {
        Kernels plain = new AssembledKernels(Instructions.AVX512_VNNI, "under test");
        KernelSetEquality equality = new KernelSetEquality(plain, type.name().hashCode());
        for (int i = 0; i < KernelSetEquality.rounds(20); i++) {
            equality.checkMultiply(type, 40);
        }
        equality.checkLargest(type);
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_shortestAndLongestRows_equalsScalarToTheBit(ElementType type) {
        equality(type).checkMultiplyAtEnds(type);
    }

    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"},
            mode = EnumSource.Mode.EXCLUDE)
    void multiply_allValuesAtTheirLimits_equalsScalarToTheBit(ElementType type) {
        equality(type).checkLargest(type);
    }

    @Test
    void rowOperations_randomShapes_equalScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 3);
        for (int i = 0; i < KernelSetEquality.rounds(100); i++) {
            equality.checkRows();
            equality.checkAdvance();
        }
    }

    @Test
    void attend_randomLayouts_equalsScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 4);
        for (int i = 0; i < KernelSetEquality.rounds(50); i++) {
            equality.checkAttention();
        }
    }
}
