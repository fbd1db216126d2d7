package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RateLimitTest {
    private static final long SECOND = 1_000_000_000;

    @Test
    void waitNanos_limitUsedUp_isTheTimeUntilOneMore() {
        RateLimit limit = new RateLimit(60, 5 * SECOND);
        for (int i = 0; i < 60; i++) {
            assertThat(limit.waitNanos(5 * SECOND)).isZero();
            limit.count(1, 5 * SECOND);
        }
        assertThat(limit.waitNanos(5 * SECOND)).isEqualTo(SECOND);
        assertThat(limit.waitNanos(5 * SECOND + SECOND / 2)).isBetween(SECOND / 2 - 10, SECOND / 2 + 10);
        assertThat(limit.waitNanos(6 * SECOND + 10)).isZero();
    }

    @Test
    void waitNanos_moreCountedThanAllowed_isLonger() {
        RateLimit limit = new RateLimit(60, 0);
        limit.count(120, 0);
        assertThat(limit.waitNanos(0)).isBetween(61 * SECOND - 10, 61 * SECOND + 10);
    }

    @Test
    void waitNanos_afterALongTime_allowsAMinutesWorth() {
        RateLimit limit = new RateLimit(2, 0);
        limit.count(2, 3600 * SECOND);
        assertThat(limit.waitNanos(3600 * SECOND)).isPositive();
    }

    @Test
    void countRequest_overTheLimits_isRefusedWithTheTimeToWait() {
        ApiKey key = ApiKey.parse("sk-1 name=alice weight=3 requests-per-minute=2 tokens-per-minute=100", 0);
        assertThat(key.weight()).isEqualTo(3);
        key.countRequest(0);
        key.countTokens(150, 0);
        assertThatExceptionOfType(HttpException.class)
                .isThrownBy(() -> key.countRequest(0))
                .withMessage("The API key of alice may use 100 tokens a minute and has used them: try again in 31 s.")
                .satisfies(e -> assertThat(e.headers()).containsEntry("Retry-After", "31"));
        key.countRequest(31 * SECOND);
        key.countRequest(31 * SECOND);
        assertThatExceptionOfType(HttpException.class)
                .isThrownBy(() -> key.countRequest(31 * SECOND))
                .withMessageContaining("2 requests a minute");
    }

    @ParameterizedTest
    @CsvSource({
        "sk weight=0, 'weight=0: it must be a number from 1 to 1000'",
        "sk weight=two, 'weight=two: it must be a number from 1 to 1000'",
        "sk tokens-per-minute=-1, 'tokens-per-minute=-1: it must be a number from 1 to 2147483647'",
        "sk admin, 'unknown option: after the key, write name=NAME, weight=N'",
        "'sk\u00e9', 'a character that a header cannot carry'",
    })
    void parse_wrongOption_saysWhatIsAllowedAndNotTheKey(String line, String message) {
        assertThatExceptionOfType(IllegalArgumentException.class)
                .isThrownBy(() -> ApiKey.parse(line, 0))
                .withMessageContaining(message)
                .withMessageNotContaining("sk");
    }
}
