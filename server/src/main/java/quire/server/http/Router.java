package quire.server.http;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Finds the route of a path. */
public final class Router {
    /**
     * A route that was found.
     *
     * @param route that takes the method; any route of the path if none does
     * @param methods that the routes of the path take, for {@code Allow}
     * @param rest the part of the path that matches {@code *}, not decoded; empty if the route has none
     */
    record Match(Route route, String methods, String rest) {}

    /** A path with a {@code *} in it: what stands before and behind. */
    private record Pattern(String prefix, String suffix) {
        static Pattern of(String path) {
            int star = path.indexOf('*');
            return new Pattern(path.substring(0, star), path.substring(star + 1));
        }

        boolean matches(String path) {
            return path.length() >= prefix.length() + suffix.length()
                    && path.startsWith(prefix)
                    && path.endsWith(suffix);
        }

        /** What the {@code *} stands for in a path that matches. */
        String rest(String path) {
            return path.substring(prefix.length(), path.length() - suffix.length());
        }
    }

    private final Map<String, List<Route>> pathToRoutes = new HashMap<>();
    private final Map<Pattern, List<Route>> patternToRoutes = new LinkedHashMap<>();
    private final ErrorFormat defaultErrors;
    private final String rootPath;

    /**
     * A router of these routes.
     *
     * @param defaultErrors writes errors if no route is found
     * @param rootPath what a path may begin with before that of its route, such as {@code /llm}; may be empty
     * @throws IllegalArgumentException if two routes have the same method and path
     */
    public Router(List<Route> routes, ErrorFormat defaultErrors, String rootPath) {
        this.defaultErrors = defaultErrors;
        this.rootPath = rootPath + "/";
        for (Route route : routes) {
            for (String path : route.paths()) {
                List<Route> same = path.contains("*")
                        ? patternToRoutes.computeIfAbsent(Pattern.of(path), pattern -> new ArrayList<>())
                        : pathToRoutes.computeIfAbsent(path, complete -> new ArrayList<>());
                if (same.stream().anyMatch(other -> other.method().equals(route.method()))) {
                    throw new IllegalArgumentException("two routes have the path " + path);
                }
                same.add(route);
            }
        }
    }

    /** The route of a method and a path; null if there is none of the path. Complete paths come before those with a {@code *}, which come in their order. */
    @Nullable
    Match find(String method, String asked) {
        String path = asked.startsWith(rootPath) ? asked.substring(rootPath.length() - 1) : asked;
        List<Route> routes = pathToRoutes.get(path);
        if (routes != null) {
            return match(routes, method, "");
        }
        for (Map.Entry<Pattern, List<Route>> entry : patternToRoutes.entrySet()) {
            if (entry.getKey().matches(path)) {
                return match(entry.getValue(), method, entry.getKey().rest(path));
            }
        }
        return null;
    }

    private static Match match(List<Route> routes, String method, String rest) {
        String methods = routes.stream().map(Route::methods).collect(Collectors.joining(", "));
        Route found =
                routes.stream().filter(route -> route.takes(method)).findFirst().orElse(routes.getFirst());
        return new Match(found, methods, rest);
    }

    /** The format of errors for a match, or for no match. */
    ErrorFormat errors(@Nullable Match match) {
        return match == null ? defaultErrors : match.route().errors();
    }
}
