package quire.server;

import io.opentelemetry.api.OpenTelemetry;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import quire.model.SamplingDefaults;
import quire.server.http.ApiKeys;
import quire.server.http.HttpSettings;
import quire.server.http.WebAccess;

/**
 * Where to listen, what the model is called, and what clients may use. {@link #builder} has the defaults.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param unixSocket file of the unix socket to listen on instead of host and port; null for none. The rights of its
 *     folder say who may connect
 * @param tlsCertificate PEM file with the certificate, followed by those that vouch for it, with which the server speaks
 *     TLS; null for plain HTTP
 * @param tlsKey PEM file with the certificate's private key, without a password; null for plain HTTP
 * @param rootPath path under which a proxy offers the server, such as {@code /llm}: each path is answered with it and
 *     without it; empty for none
 * @param apiKeys bearer tokens of which clients must send one, each with options behind it: {@code KEY name=NAME weight=N
 *     priority=N requests-per-minute=N tokens-per-minute=N}; empty if they need none
 * @param allowedHosts names, beside its own, by which clients reach the server, such as {@code llm.example.com}; {@code
 *     *} allows all. On a loopback address, and wherever there are any, the server refuses requests for other names
 * @param corsOrigins origins of the web pages that may use the server, such as {@code https://chat.example.com}; {@code
 *     *} allows all
 * @param requestsLogged whether each request is logged in one line, without its content, under {@code
 *     quire.server.requests}
 * @param aliases names, beside the engine's own, under which clients can ask for the model; {@code *} accepts every
 *     name. The answer carries the name that was asked for
 * @param modelRequired whether a request must name the model; otherwise it gets the one that is served
 * @param page whether a browser finds the web page at {@code /}
 * @param unknownParametersAllowed whether a request may have parameters that nobody knows, which the log then warns of
 * @param strictLimits whether a request for more tokens than the context has room for is refused; otherwise its answer
 *     gets the room that there is
 * @param samplingDefaults the operator's values for requests that do not say how tokens are chosen. Where there is none, the
 *     recommendation of the model's file applies, and then {@link SamplingDefaults#NEUTRAL}
 * @param openTelemetry gets a span and durations of each answer; {@link OpenTelemetry#noop} for none
 * @param batches folder in which files and batches are kept; null if the server keeps none. One process at a time may use
 *     it
 * @param maxFileBytes largest file that a client may send; at least 1
 * @param maxBodyBytes largest request body; at least 1. The large bodies of all clients together may take eight times as
 *     much, and one client half of that
 * @param maxConnections connections open at once; at least 1. For a further one the server closes an idle one, or refuses
 *     its request with 503
 * @param preparationThreads threads that read requests (JSON, chat template, tokens); at least 2
 * @param maxWaitingPreparations requests that may wait for these threads; at least 1. One client gets at most half of it
 * @param bodyGrace how long a request's body may pause; positive
 * @param minBodyRate bytes a second that a request's body must arrive with, apart from pauses; at least 1
 * @param readTimeout time for a client to send a request's head; also how long an idle connection stays open
 * @param writeTimeout time for a client to read one write of at most about 64 KiB
 * @param heartbeat time without a token after which a stream gets a sign of life; zero for none
 * @param drainTimeout how long active requests may go on at shutdown
 */
public record ServerConfig(
        String host,
        int port,
        @Nullable Path unixSocket,
        @Nullable Path tlsCertificate,
        @Nullable Path tlsKey,
        String rootPath,
        List<String> apiKeys,
        List<String> allowedHosts,
        List<String> corsOrigins,
        boolean requestsLogged,
        List<String> aliases,
        boolean modelRequired,
        boolean page,
        boolean unknownParametersAllowed,
        boolean strictLimits,
        SamplingDefaults samplingDefaults,
        OpenTelemetry openTelemetry,
        @Nullable Path batches,
        long maxFileBytes,
        int maxBodyBytes,
        int maxConnections,
        int preparationThreads,
        int maxWaitingPreparations,
        Duration bodyGrace,
        long minBodyRate,
        Duration readTimeout,
        Duration writeTimeout,
        Duration heartbeat,
        Duration drainTimeout) {
    /** More threads than any machine has processors are a mistake. */
    private static final int MAX_PREPARATION_THREADS = 1024;

    private static final Pattern ROOT_PATH = Pattern.compile("(/[A-Za-z0-9._~-]+)*");

    /**
     * Checks the ranges.
     *
     * @throws IllegalArgumentException naming the value and what is allowed
     */
    public ServerConfig {
        aliases = List.copyOf(aliases);
        if (aliases.stream().anyMatch(String::isBlank)) {
            throw new IllegalArgumentException("an alias is empty: give a name, or * for every name");
        }
        if (port < 0 || port > 65_535) {
            throw new IllegalArgumentException("port " + port + ": must be 0 to 65535");
        }
        if ((tlsCertificate == null) != (tlsKey == null)) {
            throw new IllegalArgumentException(
                    "TLS needs a certificate and its private key, and there is only one of them");
        }
        if (!ROOT_PATH.matcher(rootPath).matches() || rootPath.contains("/.")) {
            throw new IllegalArgumentException("the root path '" + rootPath
                    + "' is not one: write it with a slash in front and none behind, such as /llm");
        }
        apiKeys = List.copyOf(apiKeys);
        new ApiKeys(apiKeys); // checks them
        allowedHosts = allowedHosts.stream().map(WebAccess::checkedHost).toList();
        corsOrigins = corsOrigins.stream().map(WebAccess::checkedOrigin).toList();
        if (maxFileBytes < 1) {
            throw new IllegalArgumentException("files of " + maxFileBytes + " bytes: must be at least 1");
        }
        if (maxBodyBytes < 1 || maxConnections < 1 || minBodyRate < 1) {
            throw new IllegalArgumentException("limits must be at least 1: " + maxBodyBytes + " bytes of a body, "
                    + minBodyRate + " bytes a second, " + maxConnections + " connections");
        }
        if (preparationThreads < 2 || preparationThreads > MAX_PREPARATION_THREADS) {
            throw new IllegalArgumentException(
                    preparationThreads + " preparation threads: must be 2 to " + MAX_PREPARATION_THREADS);
        }
        if (maxWaitingPreparations < 1) {
            throw new IllegalArgumentException(
                    maxWaitingPreparations + " requests waiting for preparation: must be at least 1");
        }
        if (drainTimeout.isNegative() || heartbeat.isNegative()) {
            throw new IllegalArgumentException(
                    "times must not be negative: drain " + drainTimeout + ", heartbeat " + heartbeat);
        }
        if (!bodyGrace.isPositive() || !readTimeout.isPositive() || !writeTimeout.isPositive()) {
            throw new IllegalArgumentException("timeouts must be positive: body grace " + bodyGrace + ", read "
                    + readTimeout + ", write " + writeTimeout);
        }
    }

    /** The defaults. */
    public static ServerConfig defaults() {
        return builder().build();
    }

    /** A builder with the defaults: 127.0.0.1:8000, no API key, no aliases, the limits as its methods say. */
    public static Builder builder() {
        return new Builder();
    }

    HttpSettings http() {
        return new HttpSettings(
                host,
                port,
                unixSocket,
                tlsCertificate,
                tlsKey,
                apiKeys,
                allowedHosts,
                corsOrigins,
                requestsLogged,
                maxConnections,
                maxBodyBytes,
                maxFileBytes,
                bodyGrace,
                minBodyRate,
                readTimeout,
                writeTimeout,
                heartbeat);
    }

    /** Collects a configuration; each method is named after the component it sets. */
    public static final class Builder {
        private String host = "127.0.0.1";
        private int port = 8000;
        private @Nullable Path unixSocket;
        private @Nullable Path tlsCertificate;
        private @Nullable Path tlsKey;
        private String rootPath = "";
        private List<String> apiKeys = List.of();
        private List<String> allowedHosts = List.of();
        private List<String> corsOrigins = List.of();
        private boolean requestsLogged;
        private List<String> aliases = List.of();
        private boolean modelRequired;
        private boolean page = true;
        private boolean unknownParametersAllowed;
        private boolean strictLimits;
        private SamplingDefaults samplingDefaults = SamplingDefaults.NONE;
        private OpenTelemetry openTelemetry = OpenTelemetry.noop();
        private @Nullable Path batches;
        private long maxFileBytes = 200L << 20;
        private int maxBodyBytes = 8 << 20;
        private int maxConnections = 4096;
        private int preparationThreads = Math.max(2, Runtime.getRuntime().availableProcessors() / 2);
        private int maxWaitingPreparations = 1024;
        private Duration bodyGrace = Duration.ofSeconds(5);
        private long minBodyRate = 64 << 10;
        private Duration readTimeout = Duration.ofSeconds(60);
        private Duration writeTimeout = Duration.ofSeconds(60);
        private Duration heartbeat = Duration.ofSeconds(10);
        private Duration drainTimeout = Duration.ofSeconds(30);

        private Builder() {}

        /** Address to bind; 127.0.0.1 by default. */
        public Builder host(String value) {
            host = value;
            return this;
        }

        /** Port to bind, 0 for any free one; 8000 by default. */
        public Builder port(int value) {
            port = value;
            return this;
        }

        /** File of the unix socket to listen on instead of an address; none by default. */
        public Builder unixSocket(@Nullable Path value) {
            unixSocket = value;
            return this;
        }

        /** PEM files with which the server speaks TLS: the certificate and its private key; both null by default. */
        public Builder tls(@Nullable Path certificate, @Nullable Path key) {
            tlsCertificate = certificate;
            tlsKey = key;
            return this;
        }

        /** Path under which a proxy offers the server, such as {@code /llm}; none by default. */
        public Builder rootPath(String value) {
            rootPath = value;
            return this;
        }

        /** Bearer token that clients must send; none by default. */
        public Builder apiKey(@Nullable String value) {
            return apiKeys(value == null ? List.of() : List.of(value));
        }

        /** Bearer tokens of which clients must send one, with their options; none by default. */
        public Builder apiKeys(List<String> value) {
            apiKeys = value;
            return this;
        }

        /** Further names of the server, {@code *} for all; none by default. */
        public Builder allowedHosts(List<String> value) {
            allowedHosts = value;
            return this;
        }

        /** Origins of the web pages that may use the server, {@code *} for all; none by default. */
        public Builder corsOrigins(List<String> value) {
            corsOrigins = value;
            return this;
        }

        /** Whether each request is logged in one line; false by default. */
        public Builder requestsLogged(boolean value) {
            requestsLogged = value;
            return this;
        }

        /** Further names of the model, {@code *} for every name; none by default. */
        public Builder aliases(List<String> value) {
            aliases = value;
            return this;
        }

        /** Whether a request must name the model; false by default. */
        public Builder modelRequired(boolean value) {
            modelRequired = value;
            return this;
        }

        /** Whether a browser finds the web page at {@code /}. Default: true. */
        public Builder page(boolean value) {
            page = value;
            return this;
        }

        /** Whether a request may have unknown parameters; false by default. */
        public Builder unknownParametersAllowed(boolean value) {
            unknownParametersAllowed = value;
            return this;
        }

        /** Whether a request for more tokens than the context has room for is refused; false by default. */
        public Builder strictLimits(boolean value) {
            strictLimits = value;
            return this;
        }

        /**
         * Values for requests that do not say how tokens are chosen; {@link SamplingDefaults#NONE} by default. {@link
         * SamplingDefaults#NEUTRAL} also replaces what the model's file recommends.
         */
        public Builder samplingDefaults(SamplingDefaults value) {
            samplingDefaults = value;
            return this;
        }

        /** Gets a span and durations of each answer; nothing by default. */
        public Builder openTelemetry(OpenTelemetry value) {
            openTelemetry = value;
            return this;
        }

        /** Folder in which files and batches are kept; none by default. */
        public Builder batches(@Nullable Path value) {
            batches = value;
            return this;
        }

        /** Largest file that a client may send; 200 MiB by default. */
        public Builder maxFileBytes(long value) {
            maxFileBytes = value;
            return this;
        }

        /** Largest request body; 8 MiB by default. */
        public Builder maxBodyBytes(int value) {
            maxBodyBytes = value;
            return this;
        }

        /** Connections open at once; 4096 by default. */
        public Builder maxConnections(int value) {
            maxConnections = value;
            return this;
        }

        /** Threads that read requests; half of the processors by default, at least 2. */
        public Builder preparationThreads(int value) {
            preparationThreads = value;
            return this;
        }

        /** Requests that may wait for a thread that reads them; 1024 by default. */
        public Builder maxWaitingPreparations(int value) {
            maxWaitingPreparations = value;
            return this;
        }

        /** How long a request's body may pause; 5 s by default. */
        public Builder bodyGrace(Duration value) {
            bodyGrace = value;
            return this;
        }

        /** Bytes a second that a request's body must arrive with; 64 KiB by default. */
        public Builder minBodyRate(long value) {
            minBodyRate = value;
            return this;
        }

        /** Time to send a request's head, and how long an idle connection stays open; 60 s by default. */
        public Builder readTimeout(Duration value) {
            readTimeout = value;
            return this;
        }

        /** Time to read one write; 60 s by default. */
        public Builder writeTimeout(Duration value) {
            writeTimeout = value;
            return this;
        }

        /** Time without a token after which a stream gets a sign of life, zero for none; 10 s by default. */
        public Builder heartbeat(Duration value) {
            heartbeat = value;
            return this;
        }

        /** How long active requests may go on at shutdown; 30 s by default. */
        public Builder drainTimeout(Duration value) {
            drainTimeout = value;
            return this;
        }

        /**
         * The configuration.
         *
         * @throws IllegalArgumentException naming the value that is out of range
         */
        public ServerConfig build() {
            return new ServerConfig(
                    host,
                    port,
                    unixSocket,
                    tlsCertificate,
                    tlsKey,
                    rootPath,
                    apiKeys,
                    allowedHosts,
                    corsOrigins,
                    requestsLogged,
                    aliases,
                    modelRequired,
                    page,
                    unknownParametersAllowed,
                    strictLimits,
                    samplingDefaults,
                    openTelemetry,
                    batches,
                    maxFileBytes,
                    maxBodyBytes,
                    maxConnections,
                    preparationThreads,
                    maxWaitingPreparations,
                    bodyGrace,
                    minBodyRate,
                    readTimeout,
                    writeTimeout,
                    heartbeat,
                    drainTimeout);
        }
    }
}
