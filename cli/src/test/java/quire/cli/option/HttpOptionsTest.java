package quire.cli.option;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import quire.server.ServerConfig;

class HttpOptionsTest {
    @Command
    private static final class Holder {
        @Mixin
        private final HttpOptions http = new HttpOptions();
    }

    @Test
    void apply_noOptions_givesTheDefaultsOfTheServer() {
        Holder holder = new Holder();
        new CommandLine(holder).parseArgs();

        assertThat(holder.http.apply(ServerConfig.builder()).build()).isEqualTo(ServerConfig.defaults());
    }

    @Test
    void apply_options_areUsed() {
        Holder holder = new Holder();
        new CommandLine(holder).parseArgs("--max-connections", "77", "--min-body-rate", "1234");

        ServerConfig config = holder.http.apply(ServerConfig.builder()).build();
        assertThat(config.maxConnections()).isEqualTo(77);
        assertThat(config.minBodyRate()).isEqualTo(1234);
    }
}
