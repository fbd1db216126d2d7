package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class HttpExceptionTest {
    /** Clients send a request again after a 500, unless they are told not to. */
    @Test
    void errorsThatTheSameRequestMeetsAgain_askForNoOtherTry() {
        assertThat(HttpException.constraint("it is too large").status()).isEqualTo(400);
        assertThat(HttpException.brokenModel("m").headers()).containsEntry("X-Should-Retry", "false");
        assertThat(HttpException.internal("req_1").headers()).doesNotContainKey("X-Should-Retry");
        assertThat(HttpException.unavailable("loading").headers()).containsOnlyKeys("Retry-After", "Connection");
    }

    /** The seconds of the error are an estimate; clients ignore a minute and more. */
    @Test
    void retryAfter_ofAnEstimate_isFrom1To59() {
        for (int[] each : new int[][] {{-5, 1}, {0, 1}, {7, 7}, {59, 59}, {60, 59}, {Integer.MAX_VALUE, 59}}) {
            String told = Integer.toString(each[1]);
            assertThat(HttpException.overloaded("full", each[0]).headers()).containsEntry("Retry-After", told);
            assertThat(HttpException.unavailable("loading", each[0]).headers()).containsEntry("Retry-After", told);
        }
    }
}
