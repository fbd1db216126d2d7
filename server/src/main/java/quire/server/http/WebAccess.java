package quire.server.http;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Decides which web pages may use the server, by the headers that browsers send and pages cannot change.
 *
 * <p>A browser runs pages of many sites on one machine, and each of them can send requests to {@code 127.0.0.1}. Two checks
 * keep them out:
 *
 * <ul>
 *   <li>{@code Host} names the server as the page knows it. Whoever owns a name can let it point to {@code 127.0.0.1} after
 *       the page has loaded (DNS rebinding); for the browser the server then belongs to that page. So a server on a loopback
 *       address answers only to names that belong to it.
 *   <li>{@code Origin} names the site of the page, in every request that could change or read something. It must be the
 *       server itself or an origin that is allowed. Programs other than browsers send none.
 * </ul>
 *
 * <p>Allowed origins get the headers of CORS (Fetch Standard, section 3.2), without which the browser hides the answer.
 */
public final class WebAccess {
    /** Allows every name or every origin. */
    static final String ANY = "*";

    /** Headers of answers that clients read: the request's id for error reports, its times, and when to try again. */
    private static final String EXPOSED = "X-Request-Id, Server-Timing, Retry-After, Allow, WWW-Authenticate";

    /** Seconds for which a browser may keep the answer to a preflight; browsers take at most two hours. */
    private static final String MAX_AGE = "7200";

    private static final Set<String> LOOPBACK_NAMES = Set.of("localhost", "127.0.0.1", "[::1]");

    /** A name, an IPv4 address, or an IPv6 address in brackets; then perhaps a port. */
    private static final Pattern HOST =
            Pattern.compile("(\\[[0-9a-fA-F:.]+(?:%25[A-Za-z0-9._~-]+)?]|[A-Za-z0-9._-]+)(?::(\\d{1,5}))?");

    private static final Pattern ORIGIN = Pattern.compile("([a-z][a-z0-9+.-]*)://([^/?#@\\s]+)");

    private static final Pattern HEADER_NAMES =
            Pattern.compile("[A-Za-z0-9!#$%&'*+.^_`|~-]+(\\s*,\\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*");

    private final boolean anyHost;
    private final Set<String> hosts = new LinkedHashSet<>();
    private final boolean anyOrigin;
    private final Set<String> origins = new LinkedHashSet<>();

    /**
     * Rules for a server.
     *
     * @param loopback whether only programs on this machine reach the server
     * @param bound the address or name that it listens on
     * @param allowedHosts further names of the server, {@link #ANY} for all; if there are any, they are checked on every
     *     address and not only on loopback
     * @param origins origins of the pages that may use the server, {@link #ANY} for all
     * @throws IllegalArgumentException if a name or an origin is not one
     */
    WebAccess(boolean loopback, String bound, List<String> allowedHosts, List<String> origins) {
        anyHost = allowedHosts.contains(ANY) || (!loopback && allowedHosts.isEmpty());
        hosts.addAll(LOOPBACK_NAMES);
        hosts.add(name(bound.contains(":") && !bound.startsWith("[") ? "[" + bound + "]" : bound));
        allowedHosts.forEach(host -> hosts.add(checkedHost(host)));
        anyOrigin = origins.contains(ANY);
        origins.forEach(origin -> this.origins.add(checkedOrigin(origin)));
    }

    /** Whether only programs on this machine reach a server that listens on this address or name. */
    static boolean isLoopback(String host) {
        try {
            return InetAddress.getByName(host).isLoopbackAddress();
        } catch (UnknownHostException e) {
            return false; // binding it fails too, with an error of its own
        }
    }

    /**
     * A name that clients may use for the server, as it is compared.
     *
     * @throws IllegalArgumentException if it is no name
     */
    public static String checkedHost(String host) {
        String text = host.strip();
        boolean bareIpv6 = text.indexOf(':') != text.lastIndexOf(':') && !text.startsWith("[");
        Matcher matcher = HOST.matcher(bareIpv6 ? "[" + text + "]" : text);
        if (!text.equals(ANY) && (!matcher.matches() || matcher.group(2) != null)) {
            throw new IllegalArgumentException("the allowed host '" + host
                    + "' is not a name: write it without scheme, port and path, such as llm.example.com");
        }
        return text.equals(ANY) ? ANY : name(matcher.group(1));
    }

    /**
     * An origin, as it is compared.
     *
     * @throws IllegalArgumentException if it is no origin
     */
    public static String checkedOrigin(String origin) {
        String text = origin.strip();
        if (text.equals(ANY) || text.equals("null")) {
            return text;
        }
        String normal = normalOrigin(text);
        if (normal == null) {
            throw new IllegalArgumentException("the CORS origin '" + origin
                    + "' is not an origin: write scheme, name and port, such as http://localhost:3000, without"
                    + " a path; or *");
        }
        return normal;
    }

    /**
     * Checks where a request comes from.
     *
     * @param host the request's {@code Host} headers
     * @param origin its {@code Origin}; null if there is none
     * @throws HttpException 400 if it has no valid {@code Host}; 421 if the server does not answer to that name; 403 if the
     *     page may not use the server
     */
    void check(List<String> host, @Nullable String origin) {
        if (host.size() > 1) {
            throw HttpException.invalid(null, null, "The request has several Host headers: send one.");
        }
        String asked = host.isEmpty() ? "" : host.getFirst().strip();
        if (!anyHost) {
            Matcher matcher = HOST.matcher(asked);
            if (!matcher.matches() || !hosts.contains(name(matcher.group(1)))) {
                throw HttpException.refused(
                        421,
                        "host_not_allowed",
                        (asked.isEmpty()
                                        ? "The request has no Host header. This server"
                                        : "This server does not answer to the name '" + shown(asked) + "'. It")
                                + " answers to " + String.join(", ", hosts)
                                + "; whoever starts it can add names with --allowed-host NAME.");
            }
        }
        if (origin != null && !isSame(origin, asked) && !allows(origin)) {
            throw HttpException.refused(
                    403,
                    "origin_not_allowed",
                    "Web pages of '" + shown(origin)
                            + "' may not use this server; whoever starts it can allow them with --cors-origin "
                            + (normalOrigin(origin) == null ? "ORIGIN" : shown(origin)) + ".");
        }
    }

    /** The headers of every response to a page of this origin; empty if the browser needs none. */
    Map<String, String> headers(@Nullable String origin) {
        Map<String, String> headers = new LinkedHashMap<>();
        if (!origins.isEmpty() && !anyOrigin) {
            headers.put("Vary", "Origin"); // a cache must not give one page the answer for another
        }
        if (origin != null && allows(origin)) {
            headers.put("Access-Control-Allow-Origin", anyOrigin ? ANY : origin);
            headers.put("Access-Control-Expose-Headers", EXPOSED);
        }
        return headers;
    }

    /**
     * The further headers that answer a preflight, in which a browser asks whether a page may send its request; null if the
     * request is none.
     *
     * @param method its {@code Access-Control-Request-Method}
     * @param names its {@code Access-Control-Request-Headers}
     */
    @Nullable
    Map<String, String> preflight(@Nullable String origin, @Nullable String method, @Nullable String names) {
        if (origin == null || method == null) {
            return null;
        }
        Map<String, String> headers = new LinkedHashMap<>();
        headers.put("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS");
        if (names != null && HEADER_NAMES.matcher(names.strip()).matches()) {
            headers.put("Access-Control-Allow-Headers", names.strip()); // clients have headers of their own
        }
        headers.put("Access-Control-Max-Age", MAX_AGE);
        return headers;
    }

    private boolean allows(String origin) {
        String normal = normalOrigin(origin);
        return anyOrigin || origins.contains(normal == null ? origin : normal);
    }

    /** Whether the page comes from the server itself, perhaps through a proxy that adds TLS. */
    private static boolean isSame(String origin, String host) {
        Matcher matcher = ORIGIN.matcher(origin.toLowerCase(Locale.ROOT));
        return !host.isEmpty()
                && matcher.matches()
                && (matcher.group(1).equals("http") || matcher.group(1).equals("https"))
                && matcher.group(2).equals(host.toLowerCase(Locale.ROOT));
    }

    /** An origin in small letters and without the port that its scheme implies; null if it is none. */
    private static @Nullable String normalOrigin(String origin) {
        Matcher matcher = ORIGIN.matcher(origin.toLowerCase(Locale.ROOT));
        if (!matcher.matches()) {
            return null;
        }
        String implied =
                switch (matcher.group(1)) {
                    case "http" -> ":80";
                    case "https" -> ":443";
                    default -> "\0";
                };
        String host = matcher.group(2);
        return matcher.group(1) + "://"
                + (host.endsWith(implied) ? host.substring(0, host.length() - implied.length()) : host);
    }

    /** A name as it is compared: DNS knows no capitals, and a dot at the end changes nothing. */
    private static String name(String host) {
        String small = host.toLowerCase(Locale.ROOT);
        return small.endsWith(".") ? small.substring(0, small.length() - 1) : small;
    }

    private static String shown(String text) {
        String plain = text.replaceAll("[^\\x20-\\x7e]", "?");
        return plain.length() > 100 ? plain.substring(0, 100) + "…" : plain;
    }
}
