package quire.tensor.assembled.avx2;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.ElementType;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.MachineCode;

class Avx2MatrixCodeTest {
    private static final List<Instructions> AVX2 =
            List.of(Instructions.AVX2, Instructions.AVX2_VNNI, Instructions.AVX2_VNNI_EVEX);

    /** Also for instructions that this machine does not run. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"},
            mode = EnumSource.Mode.EXCLUDE)
    void assemble_everyInstructionSet_fitsTheInstructionCache(ElementType type) {
        for (Instructions instructions : AVX2) {
            int most = Avx2MatrixCode.maxRows(PackedForm.of(type), instructions);
            for (int n = 1; n <= most; n++) {
                MachineCode code = Avx2MatrixCode.assemble(PackedForm.of(type), instructions, most, n);
                assertThat(code.bytes().byteSize()).as(instructions + " " + n).isBetween(200L, 16L << 10);
            }
        }
    }

    /** The 16-bit sum of a run cannot overflow, for any quants and inputs. */
    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"},
            mode = EnumSource.Mode.EXCLUDE)
    void wordsOfRun_largestQuants_neverSaturate(ElementType type) {
        PackedForm form = PackedForm.of(type);
        byte[] table = form.codes().table();
        int most = (1 << form.bits()) - 1;
        for (int i = 0; table != null && i < table.length; i++) {
            most = i == 0 ? table[i] & 0xff : Math.max(most, table[i] & 0xff);
        }
        int sum = Avx2MatrixCode.wordsOfRun(form) * 2 * 127 * most;

        assertThat(sum).isLessThanOrEqualTo(Short.MAX_VALUE);
    }
}
