package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;
import quire.model.format.GgufWriter;
import quire.model.format.ModelFormatException;

class PoolingTest {
    private static Pooling of(GgufWriter writer) {
        try (Gguf file = writer.string("general.architecture", "qwen3").open()) {
            return Pooling.of(file);
        }
    }

    @ParameterizedTest
    @CsvSource({"0, LAST", "1, MEAN", "2, FIRST", "3, LAST", "4, RANK"})
    void of_eachKind_isItsName(int kind, Pooling pooling) {
        assertThat(of(new GgufWriter().uint32("qwen3.pooling_type", kind))).isEqualTo(pooling);
    }

    @Test
    void of_noKindOfItsArchitecture_isTheLastPosition() {
        assertThat(of(new GgufWriter())).isEqualTo(Pooling.LAST);
        assertThat(of(new GgufWriter().uint32("bert.pooling_type", 1))).isEqualTo(Pooling.LAST);
    }

    @ParameterizedTest
    @ValueSource(ints = {-1, 5})
    void of_anotherKind_isRefusedWithTheKnown(int kind) {
        assertThatThrownBy(() -> of(new GgufWriter().integer("qwen3.pooling_type", GgufValueType.INT32, kind)))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContainingAll("qwen3.pooling_type", "is " + kind, "3 (last)");
    }
}
