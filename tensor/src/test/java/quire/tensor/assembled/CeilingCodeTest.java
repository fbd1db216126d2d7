package quire.tensor.assembled;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.assembled.common.Instructions;

class CeilingCodeTest {
    /** Also for instructions that this machine does not run. */
    @ParameterizedTest
    @EnumSource(Instructions.class)
    void loops_anyInstructions_areEncoded(Instructions instructions) {
        assertThat(CeilingCode.all(instructions)).hasSize(5).allSatisfy((name, code) -> assertThat(code.constantsAt())
                .as(name)
                .isPositive());
    }
}
