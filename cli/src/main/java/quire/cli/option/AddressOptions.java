package quire.cli.option;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.server.QuireServer;
import quire.server.ServerConfig;

/** Where a server listens, and by which names and pages it may be reached. */
public final class AddressOptions {
    private static final int MAX_PORT = 65_535;

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--host",
            paramLabel = "ADDRESS",
            defaultValue = "127.0.0.1",
            description = "Address to listen on (default ${DEFAULT-VALUE}; 0.0.0.0 for all).")
    private String host;

    @Option(
            names = "--port",
            paramLabel = "N",
            defaultValue = "8000",
            description = "Port to listen on (default ${DEFAULT-VALUE}; 0 for any free one).")
    private int port;

    @Option(
            names = "--unix-socket",
            paramLabel = "FILE",
            converter = FilePath.class,
            description =
                    "Listen on a unix socket instead of an address and a port. The rights of its folder say who may"
                            + " connect.")
    private @Nullable Path unixSocket;

    @Option(
            names = "--tls-cert",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "Speak TLS with the certificate in this PEM file, followed by those that vouch for it. The"
                    + " server reads it again when it changes.")
    private @Nullable Path tlsCertificate;

    @Option(
            names = "--tls-key",
            paramLabel = "FILE",
            converter = FilePath.class,
            description = "PEM file with the private key of the certificate, without a password.")
    private @Nullable Path tlsKey;

    @Option(
            names = "--root-path",
            paramLabel = "PATH",
            defaultValue = "",
            description = "Path under which a proxy offers the server, such as /llm. Each path is answered with it and"
                    + " without it.")
    private String rootPath;

    @Option(
            names = "--allowed-host",
            paramLabel = "NAME",
            description =
                    "A name by which clients reach the server, beside its address and localhost; repeatable; * allows"
                            + " every name. Requests for other names are refused on a loopback address, and on every address"
                            + " if this option is given.")
    private List<String> allowedHosts = List.of();

    @Option(
            names = "--cors-origin",
            paramLabel = "ORIGIN",
            description = "Web pages that may use the server, such as http://localhost:3000; repeatable; * allows all."
                    + " Requests of other pages are refused.")
    private List<String> corsOrigins = List.of();

    /**
     * Sets the options.
     *
     * @return {@code builder}
     * @throws ParameterException if an option is out of range or contradicts another; the message names it
     */
    public ServerConfig.Builder apply(ServerConfig.Builder builder) {
        Range.check(command, "--port", port, 0, MAX_PORT);
        if ((tlsCertificate == null) != (tlsKey == null)) {
            throw new ParameterException(
                    command.commandLine(),
                    tlsCertificate == null
                            ? "--tls-key needs the certificate of this key: add --tls-cert FILE"
                            : "--tls-cert needs its private key: add --tls-key FILE");
        }
        if (unixSocket != null && (isGiven("--host") || isGiven("--port"))) {
            throw new ParameterException(
                    command.commandLine(),
                    "--unix-socket replaces --host and --port: leave them out, or leave out --unix-socket");
        }
        return builder.host(host)
                .port(port)
                .unixSocket(unixSocket)
                .tls(tlsCertificate, tlsKey)
                .rootPath(rootPath)
                .allowedHosts(allowedHosts)
                .corsOrigins(corsOrigins);
    }

    private boolean isGiven(String option) {
        return command.commandLine().getParseResult().hasMatchedOption(option);
    }

    /** Follows the changes of the certificate and its key; null if the server does not speak TLS. */
    public @Nullable FollowedFiles follow(QuireServer server) {
        return tlsCertificate == null || tlsKey == null
                ? null
                : new FollowedFiles("the certificate", List.of(tlsCertificate, tlsKey), server::reloadCertificate);
    }

    /** The address for people, such as {@code http://127.0.0.1:8000}. */
    public String shown(int port) {
        return unixSocket == null ? scheme() + named(host) + ":" + port : "the unix socket " + unixSocket;
    }

    /** What to do if the server cannot listen. */
    public String hint(String error) {
        boolean wrongPort = error.contains("in use") || error.contains("denied");
        if (unixSocket != null) {
            return "; choose another file with --unix-socket FILE";
        }
        return "; choose another "
                + (wrongPort ? "port with --port N (0 for any free one)" : "address with --host ADDRESS");
    }

    /** The address at which a program on this machine reaches the server; on a unix socket its name does not matter. */
    public String local(int port) {
        if (unixSocket != null) {
            return scheme() + "localhost";
        }
        String reachable =
                switch (host) {
                    case "0.0.0.0" -> "127.0.0.1";
                    case "::", "0:0:0:0:0:0:0:0" -> "::1";
                    default -> host;
                };
        return scheme() + named(reachable) + ":" + port;
    }

    /**
     * The options with which curl reaches {@link #local}. It does not check the certificate, which names the server as
     * programs on other machines reach it.
     */
    public List<String> curlOptions() {
        List<String> options = new ArrayList<>();
        if (unixSocket != null) {
            options.addAll(List.of("--unix-socket", unixSocket.toString()));
        }
        if (tlsCertificate != null) {
            options.add("--insecure");
        }
        return options;
    }

    private String scheme() {
        return tlsCertificate == null ? "http://" : "https://";
    }

    private static String named(String host) {
        return host.contains(":") ? "[" + host + "]" : host;
    }
}
