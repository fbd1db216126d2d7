package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import quire.tensor.x86.MachineCode;

/**
 * What is assembled for AVX2 is the scalar set's, to the last bit: the products in each of the instruction sets that this processor
 * runs. VNNI in VEX differs from VNNI in EVEX by one method of {@link Avx2MatrixCode}.
 */
class Avx2KernelsTest {
    private static final List<AssembledCode.Instructions> AVX2 = List.of(
            AssembledCode.Instructions.AVX2,
            AssembledCode.Instructions.AVX2_VNNI,
            AssembledCode.Instructions.AVX2_VNNI_EVEX);

    record Case(ElementType type, AssembledCode.Instructions instructions) {}

    /** All that run here. */
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
        for (int i = 0; i < 30; i++) {
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
        for (int i = 0; i < 100; i++) {
            equality.checkRows();
        }
    }

    @Test
    void everything_onThisSet_equalsScalarToTheBit() {
        String obstacle = KernelSets.obstacle("avx2");
        assumeTrue(obstacle == null, obstacle);
        KernelSetEquality equality = new KernelSetEquality(Kernels.named("avx2"), 6);
        for (int i = 0; i < 10; i++) {
            equality.checkRows();
            equality.checkAttention();
        }
    }

    /** Also where it does not run, every kernel can be written, and short enough for the instruction cache. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"},
            mode = EnumSource.Mode.EXCLUDE)
    void assemble_everyInstructionSet_fitsTheInstructionCache(ElementType type) {
        for (AssembledCode.Instructions instructions : AVX2) {
            int most = Avx2MatrixCode.mostRows(PackedForm.of(type), instructions);
            for (int n = 1; n <= most; n++) {
                MachineCode code = Avx2MatrixCode.assemble(PackedForm.of(type), instructions, most, n, 4096);
                assertThat(code.bytes().byteSize()).as(instructions + " " + n).isBetween(200L, 16L << 10);
            }
        }
    }

    /** As many products as are summed up in 16 bits stay within them, whatever the quants and the inputs. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"},
            mode = EnumSource.Mode.EXCLUDE)
    void wordsOfRun_largestQuants_neverSaturate(ElementType type) {
        PackedForm form = PackedForm.of(type);
        byte[] table = form.nibbles().table();
        int most = (1 << form.bits()) - 1;
        for (int i = 0; table != null && i < table.length; i++) {
            most = i == 0 ? table[i] & 0xff : Math.max(most, table[i] & 0xff);
        }
        int sum = Avx2MatrixCode.wordsOfRun(form) * 2 * 127 * most;

        assertThat(sum).isLessThanOrEqualTo(Short.MAX_VALUE);
    }
}
