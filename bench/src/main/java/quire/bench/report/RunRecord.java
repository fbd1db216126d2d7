package quire.bench.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.cli.output.Json;

/**
 * The machine, the parameters and the figures of one measurement. A record is an ordered list of names with values, and
 * its JSON is one object with the same names:
 *
 * <pre>
 *   where it ran     "machine", "cpu", "commit", "kernels", "threads"       {@link #putMachine}
 *   parameters       "model": "quire-tiny.gguf", "prompt_tokens": 512       {@link #put}
 *   figures          "prompt_tokens_per_second": 3170.2                     {@link #put}, {@link #number}
 *   tables           "decode": [ {"sequences": 1, …}, {"sequences": 16, …} ]    {@link #merge}, {@link #rows}
 * </pre>
 *
 * <p>Names contain their unit. A row of a table is a map from column names to values. Not thread-safe.
 */
public final class RunRecord {
    private static final int SHOWN_TEXTS = 30;

    private final Map<String, Object> values;

    /** An empty record. */
    public RunRecord() {
        this(Map.of());
    }

    /** A record of these values, in their order. */
    public RunRecord(Map<String, ?> values) {
        this.values = new LinkedHashMap<>(values);
    }

    /** Reads a record from the JSON that {@link #json} wrote. */
    public static RunRecord read(String json) {
        return new RunRecord(Json.read(json));
    }

    /** Sets a value: a text, a number, or a list of rows. */
    public void put(String name, Object value) {
        values.put(name, value);
    }

    /** Sets {@code machine}, {@code cpu} and {@code commit}: where this process runs. */
    public void putMachine() {
        put("machine", Machine.system());
        put("cpu", Machine.cpu());
        put("commit", Machine.commit());
    }

    /** The value of this name, or null. */
    public @Nullable Object get(String name) {
        return values.get(name);
    }

    /** All values, in their order; unmodifiable. */
    public Map<String, Object> values() {
        return Collections.unmodifiableMap(values);
    }

    /** The number of this name, or 0 if there is none. */
    public double number(String name) {
        return number(values, name);
    }

    /** The number of this name in a row, or 0 if there is none. */
    public static double number(Map<String, ?> row, String name) {
        return row.get(name) instanceof Number number ? number.doubleValue() : 0;
    }

    /** The rows of the table of this name, empty if there is none. */
    public List<Map<String, Object>> rows(String table) {
        List<Map<String, Object>> rows = new ArrayList<>();
        if (values.get(table) instanceof List<?> list) {
            for (Object entry : list) {
                rows.add(row((Map<?, ?>) entry));
            }
        }
        return rows;
    }

    /** The single row of this name, or null if there is none. */
    public @Nullable Map<String, Object> row(String name) {
        return values.get(name) instanceof Map<?, ?> map ? row(map) : null;
    }

    private static Map<String, Object> row(Map<?, ?> map) {
        Map<String, Object> row = new LinkedHashMap<>();
        map.forEach((key, value) -> row.put(String.valueOf(key), value));
        return row;
    }

    /** Adds rows to a table. A row replaces the one that has the same values in the columns {@code keys}. */
    public void merge(String table, List<Map<String, Object>> rows, String... keys) {
        Map<List<String>, Map<String, Object>> keyToRow = new LinkedHashMap<>();
        List<Map<String, Object>> all = rows(table);
        all.addAll(rows);
        for (Map<String, Object> row : all) {
            keyToRow.put(
                    Arrays.stream(keys).map(key -> String.valueOf(row.get(key))).toList(), row);
        }
        put(table, new ArrayList<>(keyToRow.values()));
    }

    /**
     * The record for a terminal: a line for each value, then the tables, and at last the texts of lists, at most {@value
     * #SHOWN_TEXTS} of each.
     */
    public String text() {
        int width = values.keySet().stream().mapToInt(String::length).max().orElse(0);
        StringBuilder lines = new StringBuilder();
        StringBuilder tables = new StringBuilder();
        StringBuilder texts = new StringBuilder();
        values.forEach((name, value) -> {
            if (!(value instanceof List<?> list)) {
                if (!value.equals("")) {
                    lines.append(name)
                            .repeat(' ', width + 2 - name.length())
                            .append(value)
                            .append('\n');
                }
            } else if (!list.isEmpty() && list.getFirst() instanceof Map) {
                tables.append('\n').append(new Table(rows(name)).text());
            } else if (!list.isEmpty()) {
                texts.append('\n').append(name.replace('_', ' ')).append(":\n");
                list.stream().limit(SHOWN_TEXTS).forEach(text -> texts.append(text)
                        .append('\n'));
                if (list.size() > SHOWN_TEXTS) {
                    texts.append(list.size() - SHOWN_TEXTS).append(" more: --json lists them\n");
                }
            }
        });
        return lines.append(tables).append(texts).toString().stripTrailing();
    }

    /** The record as one JSON object. */
    public String json() {
        return Json.write(values);
    }
}
