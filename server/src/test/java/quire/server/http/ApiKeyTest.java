package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ApiKeyTest {
    @ParameterizedTest
    @CsvSource({
        "k,            0, 0",
        "k,           -7, -7",
        "k priority=5, 0, 5", // asks for none, as most clients do
        "k priority=5, 5, 5",
        "k priority=5, 9, 9",
        "k priority=0, 0, 0",
        "k priority=-3, 0, 0", // 0 is allowed
        "k priority=-3, -3, -3"
    })
    void priority_ofARequest_isAllowedOrTheLowest(String line, int asked, int priority) {
        assertThat(ApiKey.parse(line, 0).priority(asked)).isEqualTo(priority);
    }

    @Test
    void priority_belowTheLowest_isRefused() {
        ApiKey key = ApiKey.parse("k name=ann priority=5", 0);
        assertThatThrownBy(() -> key.priority(4))
                .isInstanceOf(HttpException.class)
                .hasMessage("'priority' is 4, but the API key of ann allows 5 and more.");
        assertThatThrownBy(() -> key.priority(-1)).isInstanceOf(HttpException.class);
    }
}
