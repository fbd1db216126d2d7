package quire.tensor.machine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;
import quire.tensor.ChildJvm;

class KernelSetsTest {
    /** Prints why AVX2 cannot run, and the name of the chosen set. */
    public static void main(String[] args) {
        String best = KernelSets.best().name(); // logs before the rest is printed
        System.out.println(KernelSets.obstacle("avx2"));
        System.out.println(best);
    }

    @Test
    void choose_forced_saysSoInItsReason() {
        assertThat(KernelSets.choose("scalar").reason()).contains("forced by --kernels");
        assertThat(KernelSets.choose(null).reason()).doesNotContain("forced");
        assertThat(KernelSets.named("scalar").reason()).doesNotContain("forced");
    }

    @Test
    void named_unknown_isRefusedWithTheNamesThereAre() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> KernelSets.named("nonsense"))
                .withMessageContainingAll("nonsense", "avx512vnni, avx2, vector, scalar");
    }

    @Test
    void best_noNativeAccess_namesTheOptionAndTakesAnotherSet() throws IOException, InterruptedException {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "machine code does not run on this system");
        assumeTrue(System.getProperty("os.arch").equals("amd64"), "machine code does not run on this system");

        String output = ChildJvm.output(List.of("--illegal-native-access=deny"), KernelSetsTest.class);

        assertThat(output.lines()).endsWith("start Java with --enable-native-access=ALL-UNNAMED", "scalar");
        assertThat(output)
                .contains(
                        "the scalar kernels are used, which are the slowest",
                        "start Java with --add-modules jdk.incubator.vector");
    }
}
