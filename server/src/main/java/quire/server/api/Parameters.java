package quire.server.api;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Checks the names in a request against the table of its API, so that no parameter that would change the answer
 * is ignored. A synonym has the effect of its parameter. A parameter that is not computed is an error unless its value
 * is accepted. An unknown name is an error that suggests the most similar known name. Thread-safe.
 */
public final class Parameters {
    private static final Logger LOG = System.getLogger(Parameters.class.getName());

    private static final int MAX_SHOWN = 60;

    /** Maximum number of unknown names that are logged, so that no client can fill the log. */
    private static final int MAX_LOGGED = 100;

    private final Map<Place, Map<String, Parameter>> known;
    private final boolean refuseUnknown;
    private final Set<String> logged = ConcurrentHashMap.newKeySet();

    /**
     * Checks against this table.
     *
     * @param table all parameters of an API
     * @param refuseUnknown whether an unknown name is an error; otherwise it is logged as a warning, once for each name
     * @throws IllegalStateException if a place has a name twice
     */
    public Parameters(List<Parameter> table, boolean refuseUnknown) {
        this.known = known(table);
        this.refuseUnknown = refuseUnknown;
    }

    private static Map<Place, Map<String, Parameter>> known(List<Parameter> table) {
        Map<Place, Map<String, Parameter>> known = new HashMap<>();
        for (Place place : Place.values()) {
            known.put(place, new LinkedHashMap<>());
        }
        for (Parameter row : table) {
            for (Place place : row.places()) {
                if (known.getOrDefault(place, Map.of()).put(row.name(), row) != null) {
                    throw new IllegalStateException("the table has " + row.name() + " twice for " + place.title());
                }
            }
        }
        return known;
    }

    private Map<String, Parameter> names(Place place) {
        return known.getOrDefault(place, Map.of());
    }

    /**
     * Checks all names of a body.
     *
     * @return the body, which also finds a value that was sent under a synonym
     * @throws HttpException 400 if a name is unknown, not computed, or sent twice with different values
     */
    public Fields check(Place place, Fields body) {
        Map<String, Parameter> rows = names(place);
        Map<String, String> sent = new HashMap<>();
        for (String name : body.names()) {
            Parameter row = rows.get(name);
            if (row != null && row.treatment() == Treatment.SYNONYM && body.get(name) != null) {
                addSynonym(body, name, row.instead(), sent);
            }
        }
        Fields read = sent.isEmpty() ? body : body.withSynonyms(sent);
        for (String name : body.names()) {
            JsonNode value = body.get(name);
            Parameter row = rows.get(name);
            if (value == null) {
                continue;
            }
            if (row == null) {
                reportUnknown(place, body, name, value);
            } else if (row.treatment() == Treatment.REFUSED) {
                checkValue(row, read, value);
            }
        }
        return read;
    }

    /**
     * Checks only the names that are not computed. For a message, in which the chat template may read other names.
     *
     * @throws HttpException 400 if the value of one is not accepted
     */
    public void checkKnown(Place place, Fields object) {
        for (Parameter row : names(place).values()) {
            JsonNode value = object.get(row.name());
            if (value != null && row.treatment() == Treatment.REFUSED) {
                checkValue(row, object, value);
            }
        }
    }

    /** Removes the names that are not computed from an object. */
    public void removeRefused(Place place, Map<String, ?> object) {
        names(place).values().stream()
                .filter(row -> row.treatment() == Treatment.REFUSED)
                .forEach(row -> object.remove(row.name()));
    }

    private static void addSynonym(Fields body, String name, String standsFor, Map<String, String> sent) {
        String other = sent.getOrDefault(standsFor, standsFor);
        JsonNode otherValue = body.get(other);
        if (otherValue != null && !isSame(body.get(name), otherValue)) {
            throw HttpException.invalid(
                    body.path(name),
                    "invalid_value",
                    "'" + body.path(name) + "' and '" + body.path(other)
                            + "' mean the same, but their values differ: send one of them.");
        }
        sent.put(standsFor, name);
    }

    private static boolean isSame(@Nullable JsonNode a, JsonNode b) {
        return b.equals(a) || (a != null && a.isNumber() && b.isNumber() && Fields.real(a) == Fields.real(b));
    }

    private static void checkValue(Parameter row, Fields body, JsonNode value) {
        if (!row.accepted().test().test(value, body)) {
            String path = body.path(row.name());
            String shown = value.isContainer() ? "" : ": " + shortened(value.toString());
            throw HttpException.unsupported(
                    path,
                    "'" + path + "' (" + row.meaning() + ") is not supported with this value" + shown + ". Instead, "
                            + row.instead() + ".");
        }
    }

    private void reportUnknown(Place place, Fields body, String name, JsonNode value) {
        if (refuseUnknown) {
            String elsewhere = elsewhere(place, name);
            if (!elsewhere.isEmpty() && Fields.isNeutral(value)) {
                return;
            }
            String nearest = nearest(place, name);
            String advice = !elsewhere.isEmpty()
                    ? "It belongs to " + elsewhere + "."
                    : nearest != null ? "Did you mean '" + body.path(nearest) + "'?" : "Leave it out.";
            String path = shortened(body.path(name));
            throw HttpException.invalid(
                    path,
                    "unknown_parameter",
                    "Unknown parameter: '" + path + "'. " + advice
                            + " (A server that is started with --unknown-parameters warn accepts it.)");
        }
        String path = shortened(body.path(name));
        if (logged.size() < MAX_LOGGED && logged.add(path)) {
            LOG.log(Level.WARNING, "requests have the unknown parameter ''{0}'', which is ignored", path);
        }
    }

    /** What stands before a parameter that this route has in an object of its body; empty if it has no such object. */
    private static String nested(Place place) {
        return place == Place.OLLAMA_CHAT || place == Place.OLLAMA_GENERATE ? Place.OLLAMA_OPTIONS.title() + "." : "";
    }

    /** Where else this parameter is: in the body's object, or in another route; empty if it is nowhere. */
    private String elsewhere(Place place, String name) {
        if (!nested(place).isEmpty() && names(Place.OLLAMA_OPTIONS).containsKey(name)) {
            return "options: send it as '" + nested(place) + name + "'";
        }
        Place other = place == Place.CHAT ? Place.COMPLETIONS : place == Place.COMPLETIONS ? Place.CHAT : place;
        return other != place && names(other).containsKey(name) ? other.title() : "";
    }

    /** The known name that takes the fewest changes of a character; null if each takes too many. */
    @Nullable
    String nearest(Place place, String name) {
        if (name.length() > MAX_SHOWN) {
            return null;
        }
        // computed parameters come first, so ties prefer them
        List<String> candidates = new ArrayList<>(names(place).keySet());
        if (!nested(place).isEmpty()) {
            candidates.addAll(names(Place.OLLAMA_OPTIONS).keySet());
        }
        String nearest = Similar.nearest(name, candidates);
        return nearest == null || names(place).containsKey(nearest) ? nearest : nested(place) + nearest;
    }

    private static String shortened(String text) {
        return text.length() > MAX_SHOWN ? text.substring(0, MAX_SHOWN) + "…" : text;
    }
}
