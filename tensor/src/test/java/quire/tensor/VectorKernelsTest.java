package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The vector set is the scalar set, to the last bit. */
class VectorKernelsTest {
    private final Kernels kernels = Kernels.named("vector");

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void multiply_randomShapes_equalsScalarToTheBit(ElementType type) {
        KernelSetEquality equality = new KernelSetEquality(kernels, type.blockBytes());
        for (int i = 0; i < 60; i++) {
            equality.checkMultiply(type, 70);
        }
        equality.checkMultiply(type, 250); // more than one group of tokens
    }

    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            mode = EnumSource.Mode.EXCLUDE,
            names = {"F32", "F16", "BF16"})
    void multiply_wideRowsAndLargestSums_equalsScalarToTheBit(ElementType type) {
        KernelSetEquality equality = new KernelSetEquality(kernels, type.blockBytes() + 1L);
        for (int i = 0; i < 10; i++) {
            equality.checkWideMultiply(type);
        }
        equality.checkLargest(type);
    }

    @Test
    void rowOperations_randomShapes_equalScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 1);
        for (int i = 0; i < 500; i++) {
            equality.checkRows();
        }
    }

    @Test
    void attend_randomLayouts_equalsScalarToTheBit() {
        KernelSetEquality equality = new KernelSetEquality(kernels, 2);
        for (int i = 0; i < 200; i++) {
            equality.checkAttention();
        }
    }

    /** Other machines have narrower vectors; a JVM can be told to. */
    @ParameterizedTest
    @ValueSource(ints = {4, 8})
    void everything_narrowerVectors_equalsScalarToTheBit(int lanes) throws IOException, InterruptedException {
        if (lanes >= Lanes.LANES) {
            return; // the tests above cover it
        }
        Process process = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules=jdk.incubator.vector",
                        "-XX:MaxVectorSize=" + lanes * Float.BYTES,
                        "-cp",
                        System.getProperty("java.class.path"),
                        KernelSetEquality.class.getName(),
                        "vector",
                        Integer.toString(lanes),
                        "10"))
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);

        assertThat(process.waitFor()).as(output).isZero();
        assertThat(output).endsWith("equal" + System.lineSeparator());
    }
}
