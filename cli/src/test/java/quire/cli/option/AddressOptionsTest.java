package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.ParameterException;
import quire.server.ServerConfig;

class AddressOptionsTest {
    @Command(name = "test")
    private static final class WithAddress {
        @Mixin
        private AddressOptions address;
    }

    private static AddressOptions parse(String... arguments) {
        WithAddress command = new WithAddress();
        new CommandLine(command).parseArgs(arguments);
        return command.address;
    }

    @ParameterizedTest
    @CsvSource({
        "127.0.0.1, http://127.0.0.1:80",
        "localhost, http://localhost:80",
        "0.0.0.0, http://127.0.0.1:80",
        "'::', http://[::1]:80",
        "'::1', http://[::1]:80",
        "llm.example.com, http://llm.example.com:80"
    })
    void local_anyHost_isAnAddressThatThisMachineReaches(String host, String url) {
        assertThat(parse("--host", host).local(80)).isEqualTo(url);
    }

    @Test
    void shown_eachKindOfAddress_isForPeople() {
        assertThat(parse().shown(8000)).isEqualTo("http://127.0.0.1:8000");
        assertThat(parse("--host", "::").shown(1)).isEqualTo("http://[::]:1");
        assertThat(parse("--tls-cert", "c", "--tls-key", "k").shown(1)).isEqualTo("https://127.0.0.1:1");
        assertThat(parse("--unix-socket", "/run/quire").shown(-1)).isEqualTo("the unix socket /run/quire");
    }

    @Test
    void curlOptions_unixSocketAndTls_areNamed() {
        AddressOptions address = parse("--unix-socket", "/run/q", "--tls-cert", "c", "--tls-key", "k");
        assertThat(address.curlOptions()).isEqualTo(List.of("--unix-socket", "/run/q", "--insecure"));
        assertThat(address.local(-1)).isEqualTo("https://localhost");
        assertThat(parse().curlOptions()).isEmpty();
    }

    @Test
    void apply_options_areUsed() {
        ServerConfig config = parse(
                        "--unix-socket", "/run/q", "--tls-cert", "c", "--tls-key", "k", "--root-path", "/llm")
                .apply(ServerConfig.builder())
                .build();
        assertThat(config.unixSocket()).isEqualTo(Path.of("/run/q"));
        assertThat(config.tlsCertificate()).isEqualTo(Path.of("c"));
        assertThat(config.tlsKey()).isEqualTo(Path.of("k"));
        assertThat(config.rootPath()).isEqualTo("/llm");
    }

    @ParameterizedTest
    @CsvSource({
        "--tls-cert c, '--tls-cert needs its private key: add --tls-key FILE'",
        "--tls-key k, '--tls-key needs the certificate of this key: add --tls-cert FILE'",
        "--unix-socket s --port 1, '--unix-socket replaces --host and --port: leave them out, or leave out --unix-socket'",
        "--unix-socket s --host ::, '--unix-socket replaces --host and --port: leave them out, or leave out --unix-socket'"
    })
    void apply_contradiction_isRefusedWithTheWayOut(String arguments, String message) {
        AddressOptions address = parse(arguments.split(" "));
        assertThatThrownBy(() -> address.apply(ServerConfig.builder()))
                .isInstanceOf(ParameterException.class)
                .hasMessage(message);
    }
}
