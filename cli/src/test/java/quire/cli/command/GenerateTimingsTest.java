package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import quire.cli.command.GenerateCommand.Timings;

class GenerateTimingsTest {
    @Test
    void line_longRun_givesTokensSecondsAndSpeeds() {
        assertThat(new Timings(1.5, 512, 0.8, 65, 2).line())
                .isEqualTo("load 1.50 s · prompt 512 tokens in 0.800 s (640.0 tokens/s)"
                        + " · answer 65 tokens, 64 after the first in 2.000 s (32.0 tokens/s)");
    }

    @Test
    void line_fewTokensOrLittleTime_givesNoSpeed() {
        assertThat(new Timings(1.5, 512, 0.049, 8, 2).line())
                .isEqualTo("load 1.50 s · prompt 512 tokens in 0.049 s (too short for tokens/s)"
                        + " · answer 8 tokens, 7 after the first in 2.000 s (too short for tokens/s)");
    }

    @Test
    void line_noToken_givesNoNegativeNumber() {
        assertThat(new Timings(1.5, 5, 0.1, 0, 0).line()).doesNotContain("-");
    }

    @Test
    void put_shortRun_speedsAreNull() {
        Map<String, @Nullable Object> object = new LinkedHashMap<>();
        new Timings(1.5, 7, 0.8, 100, 0.01).put(object);
        assertThat(object)
                .containsEntry("prompt_tokens_per_second", null)
                .containsEntry("decode_tokens_per_second", null)
                .containsEntry("decode_seconds", 0.01);
    }

    @Test
    void put_longRun_hasSpeeds() {
        Map<String, @Nullable Object> object = new LinkedHashMap<>();
        new Timings(1.5, 8, 0.05, 9, 0.5).put(object);
        assertThat(object)
                .containsEntry("prompt_tokens_per_second", 160.0)
                .containsEntry("decode_tokens_per_second", 16.0);
    }
}
