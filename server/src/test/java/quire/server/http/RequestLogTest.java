package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class RequestLogTest {
    private static RequestLog.Entry entry(String path, int status, int out, long first, RequestLog.End end) {
        return new RequestLog.Entry("192.0.2.7", "POST", path, status, 12, out, first, 1_400_400_000L, "req_a", end);
    }

    @Test
    void line_wholeAnswer_hasEverything() {
        assertThat(RequestLog.line(entry("/v1/completions", 200, 34, 120_000_000L, RequestLog.End.WHOLE)))
                .isEqualTo("192.0.2.7 POST /v1/completions 200 in=12 out=34 first=0.120s total=1.400s id=req_a");
    }

    @Test
    void line_withoutAnswer_hasDashesAndTheReason() {
        assertThat(RequestLog.line(entry("/v1/completions", 0, -1, -1, RequestLog.End.CLIENT_LEFT)))
                .isEqualTo(
                        "192.0.2.7 POST /v1/completions - in=12 out=- first=- total=1.400s id=req_a end=client-left");
        assertThat(RequestLog.line(entry("/", 200, 1, 0, RequestLog.End.CUT_SHORT)))
                .endsWith(" end=cut-short");
    }

    @Test
    void line_pathOfAnAttacker_staysOneShortField() {
        String line = RequestLog.line(entry("/a\nb c\u001b[31m" + "x".repeat(9000), 404, -1, -1, RequestLog.End.WHOLE));
        assertThat(line).startsWith("192.0.2.7 POST /a?b?c?[31mx").hasSizeLessThan(250);
        assertThat(line.split(" ")).hasSize(9);
    }
}
