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
}
