package quire.bench.attack;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Counts what became of attacks, by kind. Thread-safe. */
final class Tally {
    /** What became of an attack. */
    enum Outcome {
        /** A success, status 2xx. */
        ANSWERED,
        /** An error that is the client's, status 4xx; or 501 and 505 for unknown methods and versions. */
        REFUSED,
        /** Too many requests or connections: status 429 or 503. */
        OVERLOADED,
        /** The server ended the connection without an answer. */
        CLOSED,
        /** No answer while the attacker waited. */
        SILENT,
        /** The attacker ended the connection. */
        LEFT,
        /** An answer that no server should give; {@link #faults} says which. */
        FAULT
    }

    private static final int MAX_FAULTS = 200;

    private final Map<AttackKind, Map<Outcome, Integer>> counts = new EnumMap<>(AttackKind.class);
    private final List<String> faults = new ArrayList<>();

    synchronized void add(AttackKind kind, Outcome outcome) {
        counts.computeIfAbsent(kind, k -> new EnumMap<>(Outcome.class)).merge(outcome, 1, Integer::sum);
    }

    synchronized void fault(AttackKind kind, String what) {
        add(kind, Outcome.FAULT);
        if (faults.size() < MAX_FAULTS) {
            faults.add("attack " + kind.label() + ": " + what);
        }
    }

    /** A line for each fault, the first 200 of them. */
    synchronized List<String> faults() {
        return List.copyOf(faults);
    }

    /** The number of attacks of all kinds. */
    synchronized int total() {
        return counts.values().stream()
                .flatMap(outcomes -> outcomes.values().stream())
                .mapToInt(Integer::intValue)
                .sum();
    }

    /** The number of attacks that ended so. */
    synchronized int total(Outcome outcome) {
        return counts.values().stream()
                .mapToInt(outcomes -> outcomes.getOrDefault(outcome, 0))
                .sum();
    }

    /** A row for each kind: its name and the count of each outcome. */
    synchronized List<Map<String, Object>> rows() {
        List<Map<String, Object>> rows = new ArrayList<>();
        counts.forEach((kind, outcomes) -> {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("attack", kind.label());
            for (Outcome outcome : Outcome.values()) {
                row.put(outcome.name().toLowerCase(Locale.ROOT), outcomes.getOrDefault(outcome, 0));
            }
            rows.add(row);
        });
        return rows;
    }
}
