package quire.server.http;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Finds the route of a path. */
public final class Router {
    /**
     * A route that was found.
     *
     * @param rest the part of the path that matches {@code *}, not decoded; empty if the route has none
     */
    record Match(Route route, String rest) {}

    private final Map<String, Route> pathToRoute = new HashMap<>();
    private final Map<String, Route> prefixToRoute = new LinkedHashMap<>();
    private final ErrorFormat defaultErrors;

    /**
     * A router of these routes.
     *
     * @param defaultErrors writes errors if no route is found
     * @throws IllegalArgumentException if two routes have the same path
     */
    public Router(List<Route> routes, ErrorFormat defaultErrors) {
        this.defaultErrors = defaultErrors;
        for (Route route : routes) {
            for (String path : route.paths()) {
                Route other = path.endsWith("*")
                        ? prefixToRoute.put(path.substring(0, path.length() - 1), route)
                        : pathToRoute.put(path, route);
                if (other != null) {
                    throw new IllegalArgumentException("two routes have the path " + path);
                }
            }
        }
    }

    /** The route of a path; null if there is none. Complete paths come before prefixes, prefixes in their order. */
    @Nullable
    Match find(String path) {
        Route route = pathToRoute.get(path);
        if (route != null) {
            return new Match(route, "");
        }
        for (Map.Entry<String, Route> entry : prefixToRoute.entrySet()) {
            if (path.startsWith(entry.getKey())) {
                return new Match(entry.getValue(), path.substring(entry.getKey().length()));
            }
        }
        return null;
    }

    /** The format of errors for a match, or for no match. */
    ErrorFormat errors(@Nullable Match match) {
        return match == null ? defaultErrors : match.route().errors();
    }
}
