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
     * @param rest what stands in the path for {@code *}, not decoded; empty where the route has none
     */
    record Match(Route route, String rest) {}

    private final Map<String, Route> pathToRoute = new HashMap<>();
    private final Map<String, Route> prefixToRoute = new LinkedHashMap<>();
    private final ErrorFormat defaultErrors;

    /**
     * A router of these routes.
     *
     * @param defaultErrors how errors are written where no route is found
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

    /** How errors are written for what was found. */
    ErrorFormat errors(@Nullable Match match) {
        return match == null ? defaultErrors : match.route().errors();
    }
}
