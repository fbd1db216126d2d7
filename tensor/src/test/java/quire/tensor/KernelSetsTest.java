package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;

class KernelSetsTest {
    /** What stands in the way of AVX2, and what is taken. */
    public static void main(String[] args) {
        String best = Kernels.best().name(); // logs before the rest is printed
        System.out.println(Kernels.obstacle("avx2"));
        System.out.println(best);
    }

    @Test
    void choose_forced_saysSoInItsReason() {
        assertThat(KernelSets.choose("scalar").reason()).contains("forced by --kernels");
        assertThat(KernelSets.choose(null).reason()).doesNotContain("forced");
        assertThat(Kernels.named("scalar").reason()).doesNotContain("forced");
    }

    @Test
    void named_unknown_isRefusedWithTheNamesThereAre() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Kernels.named("nonsense"))
                .withMessageContainingAll("nonsense", "avx512vnni, avx2, vector, scalar");
    }

    @Test
    void best_noNativeAccess_namesTheOptionAndTakesAnotherSet() throws IOException, InterruptedException {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "no code is run here anyway");
        assumeTrue(System.getProperty("os.arch").equals("amd64"), "no code is run here anyway");

        String output = ChildJvm.output(List.of("--illegal-native-access=deny"), KernelSetsTest.class);

        assertThat(output.lines()).endsWith("start Java with --enable-native-access=ALL-UNNAMED", "scalar");
        assertThat(output)
                .contains("the slowest kernels compute", "start Java with --add-modules jdk.incubator.vector");
    }
}
