package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

class HttpDateTest {
    @Test
    void now_anyDay_hasTwoDigitsAndFollowsTheClock() {
        AtomicReference<Instant> time = new AtomicReference<>(Instant.parse("2026-11-01T02:03:04.999Z"));
        HttpDate date = new HttpDate(time::get);
        assertThat(date.now()).isEqualTo("Sun, 01 Nov 2026 02:03:04 GMT");
        time.set(Instant.parse("2026-11-01T02:03:05Z"));
        assertThat(date.now()).isEqualTo("Sun, 01 Nov 2026 02:03:05 GMT");
    }
}
