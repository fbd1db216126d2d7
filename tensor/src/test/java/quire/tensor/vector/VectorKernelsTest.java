package quire.tensor.vector;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.tensor.ChildJvm;
import quire.tensor.ElementType;
import quire.tensor.KernelSetEquality;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.machine.KernelSets;

/** Compares the vector set with the scalar set, to the last bit. */
class VectorKernelsTest {
    private final Kernels kernels = KernelSets.named("vector");

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_randomShapes_equalsScalarToTheBit(ElementType type) {
        KernelSetEquality equality = new KernelSetEquality(kernels, type.name().hashCode());
        for (int i = 0; i < KernelSetEquality.rounds(60); i++) {
            equality.checkMultiply(type, 70);
        }
        equality.checkMultiply(type, 250); // more than one group of tokens
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_rowsAtEndsAndLargestSums_equalsScalarToTheBit(ElementType type) {
        KernelSetEquality equality = new KernelSetEquality(kernels, type.name().hashCode() + 1L);
        for (int i = 0; i < 3; i++) {
            equality.checkMultiplyAtEnds(type);
        }
        if (type.isQuantized()) {
            equality.checkLargest(type);
        }
    }

    @Test
    void rowOperations_randomShapes_equalScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 1);
        for (int i = 0; i < KernelSetEquality.rounds(500); i++) {
            equality.checkRows();
            equality.checkAdvance();
        }
    }

    @Test
    void attend_randomLayouts_equalsScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 2);
        for (int i = 0; i < KernelSetEquality.rounds(200); i++) {
            equality.checkAttention();
        }
        for (KvLayout.KvType type : KvLayout.KvType.values()) {
            equality.checkSegments(new KvLayout(type, 16, 2, 24), 6, 1300, 1, 0, false);
            equality.checkSegments(new KvLayout(type, 32, 1, 16), 5, 1050, 40, 520, false);
        }
    }

    /** For machines with narrower vectors; a JVM option sets the width. */
    @ParameterizedTest
    @ValueSource(ints = {4, 8})
    void everything_narrowerVectors_equalsScalarToTheBit(int lanes) throws IOException, InterruptedException {
        if (lanes >= Lanes.LANES) {
            return; // the other tests have this width
        }
        List<String> options = List.of(
                "--add-modules=jdk.incubator.vector",
                "--enable-native-access=ALL-UNNAMED",
                "-XX:MaxVectorSize=" + lanes * Float.BYTES);

        String rounds = Integer.toString(KernelSetEquality.rounds(10));
        String output = ChildJvm.output(options, KernelSetEquality.class, "vector", Integer.toString(lanes), rounds);

        assertThat(output).endsWith("equal" + System.lineSeparator());
    }
}
