package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class WebAccessTest {
    private static final String PAGE = "https://chat.example.com";

    private static WebAccess loopback(String... allowed) {
        return new WebAccess(true, "127.0.0.1", List.of(allowed), List.of());
    }

    private static WebAccess open(String... origins) {
        return new WebAccess(false, "0.0.0.0", List.of(), List.of(origins));
    }

    private static int status(WebAccess access, String host, @Nullable String origin) {
        try {
            access.check(host.isEmpty() ? List.of() : List.of(host), origin);
            return 200;
        } catch (HttpException e) {
            return e.status();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "localhost, 200",
        "localhost:8000, 200",
        "LocalHost., 200",
        "127.0.0.1:1, 200",
        "[::1]:8000, 200",
        "evil.example, 421",
        "evil.example:8000, 421",
        "localhost.evil.example, 421",
        "evil.example#localhost, 421",
        "user@localhost, 421",
        "localhost:, 421",
        "localhost:x, 421",
        "::1, 421",
        "'', 421",
        "192.168.1.5, 421"
    })
    void check_onLoopback_takesOnlyItsOwnNames(String host, int status) {
        assertThat(status(loopback(), host, null)).isEqualTo(status);
    }

    @Test
    void check_boundAndAllowedNames_areTaken() {
        WebAccess access = new WebAccess(true, "Quire.local", List.of("LLM.example.com", "fe80::1"), List.of());
        assertThat(status(access, "quire.local:8000", null)).isEqualTo(200);
        assertThat(status(access, "llm.example.com", null)).isEqualTo(200);
        assertThat(status(access, "[fe80::1]:8000", null)).isEqualTo(200);
        assertThat(status(access, "other.example.com", null)).isEqualTo(421);
        assertThat(status(new WebAccess(true, "::1", List.of(), List.of()), "[::1]", null))
                .isEqualTo(200);
        assertThat(status(loopback("*"), "evil.example", null)).isEqualTo(200);
        assertThat(status(loopback("*"), "", null)).isEqualTo(200);
    }

    @Test
    void check_onTheNetwork_takesAnyNameUntilOneIsAllowed() {
        assertThat(status(open(), "any.example", null)).isEqualTo(200);
        WebAccess named = new WebAccess(false, "0.0.0.0", List.of("llm.example.com"), List.of());
        assertThat(status(named, "any.example", null)).isEqualTo(421);
        assertThat(status(named, "llm.example.com", null)).isEqualTo(200);
    }

    @Test
    void check_severalHosts_isABadRequest() {
        assertThatThrownBy(() -> loopback().check(List.of("localhost", "evil.example"), null))
                .hasMessageContaining("several Host headers");
    }

    @Test
    void check_refusal_namesTheOption() {
        assertThatThrownBy(() -> loopback("llm").check(List.of("evil.example"), null))
                .hasMessageContaining("'evil.example'")
                .hasMessageContaining("--allowed-host")
                .hasMessageContaining("llm");
        assertThatThrownBy(() -> loopback().check(List.of(), null)).hasMessageContaining("no Host header");
        assertThatThrownBy(() -> open().check(List.of("a"), PAGE))
                .hasMessageContaining("--cors-origin " + PAGE)
                .hasMessageContaining("Web pages of '" + PAGE + "'");
    }

    @ParameterizedTest
    @CsvSource({
        "localhost:8000, http://localhost:8000, 200",
        "llm.example.com, https://llm.example.com, 200",
        "localhost:8000, http://LOCALHOST:8000, 200",
        "localhost:8000, http://localhost:3000, 403",
        "localhost:8000, http://localhost, 403",
        "localhost:8000, https://evil.example, 403",
        "localhost:8000, ftp://localhost:8000, 403",
        "localhost:8000, 'null', 403",
        "localhost:8000, '', 403",
        "'', 'http://', 403"
    })
    void check_origin_mustBeTheServerItself(String host, String origin, int status) {
        assertThat(status(open(), host, origin)).isEqualTo(status);
    }

    @ParameterizedTest
    @CsvSource({
        "https://chat.example.com, https://chat.example.com, 200",
        "https://chat.example.com:443, https://chat.example.com, 200",
        "HTTPS://Chat.example.com, https://chat.example.com, 200",
        "https://chat.example.com, http://chat.example.com, 403",
        "https://chat.example.com, https://chat.example.com:8443, 403",
        "https://chat.example.com, https://chat.example.com.evil.example, 403",
        "app://obsidian.md, app://obsidian.md, 200",
        "'null', 'null', 200",
        "*, https://evil.example, 200",
        "*, 'null', 200"
    })
    void check_allowedOrigin_isTaken(String allowed, String origin, int status) {
        assertThat(status(open(allowed), "a", origin)).isEqualTo(status);
    }

    @Test
    void headers_allowedOrigin_areThoseOfCors() {
        assertThat(open(PAGE).headers(PAGE))
                .containsEntry("Access-Control-Allow-Origin", PAGE)
                .containsEntry("Vary", "Origin");
        assertThat(open(PAGE).headers(PAGE).get("Access-Control-Expose-Headers"))
                .contains("X-Request-Id", "Retry-After");
        assertThat(open("*").headers(PAGE))
                .containsEntry("Access-Control-Allow-Origin", "*")
                .doesNotContainKey("Vary");
    }

    @Test
    void headers_otherOriginOrNone_areOnlyForCaches() {
        assertThat(open(PAGE).headers("https://evil.example")).isEqualTo(Map.of("Vary", "Origin"));
        assertThat(open(PAGE).headers(null)).isEqualTo(Map.of("Vary", "Origin"));
        assertThat(open().headers(PAGE)).isEmpty();
        assertThat(open("*").headers(null)).isEmpty();
    }

    @Test
    void preflight_repeatsTheHeadersThatAreAskedFor() {
        assertThat(open(PAGE).preflight(PAGE, "POST", "authorization, x-stainless-os"))
                .containsEntry("Access-Control-Allow-Headers", "authorization, x-stainless-os")
                .containsEntry("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS");
        assertThat(open(PAGE).preflight(PAGE, "POST", "a b"))
                .isNotNull()
                .doesNotContainKey("Access-Control-Allow-Headers");
        assertThat(open(PAGE).preflight(PAGE, null, null)).isNull();
        assertThat(open(PAGE).preflight(null, "POST", null)).isNull();
    }

    @ParameterizedTest
    @ValueSource(strings = {"http://a", "a:80", "a/b", "", " ", "a b", "*.example.com"})
    void checkedHost_noName_isRefused(String host) {
        assertThatThrownBy(() -> WebAccess.checkedHost(host)).isInstanceOf(IllegalArgumentException.class);
    }

    @ParameterizedTest
    @ValueSource(strings = {"a", "localhost:3000", "http://a/", "http://a/b", "http://", "", "http://u@a"})
    void checkedOrigin_noOrigin_isRefused(String origin) {
        assertThatThrownBy(() -> WebAccess.checkedOrigin(origin)).isInstanceOf(IllegalArgumentException.class);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "http://localhost:3000",
                "https://a.b",
                "null",
                "*",
                "chrome-extension://abcdef",
                "tauri://localhost"
            })
    void checkedOrigin_origin_isTaken(String origin) {
        assertThatCode(() -> WebAccess.checkedOrigin(origin)).doesNotThrowAnyException();
    }

    @Test
    void isLoopback_byAddress() {
        assertThat(WebAccess.isLoopback("127.0.0.1")).isTrue();
        assertThat(WebAccess.isLoopback("127.3.2.1")).isTrue();
        assertThat(WebAccess.isLoopback("::1")).isTrue();
        assertThat(WebAccess.isLoopback("localhost")).isTrue();
        assertThat(WebAccess.isLoopback("0.0.0.0")).isFalse();
        assertThat(WebAccess.isLoopback("::")).isFalse();
        assertThat(WebAccess.isLoopback("192.0.2.1")).isFalse();
    }
}
