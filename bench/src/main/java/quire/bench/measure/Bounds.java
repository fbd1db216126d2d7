package quire.bench.measure;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a measurement must not exceed, and what it was. A bound that is broken makes the command fail. */
public final class Bounds {
    private final List<Map<String, Object>> rows = new ArrayList<>();
    private boolean broken;

    /** No bounds yet. */
    public Bounds() {}

    /** Requires that a value is at most {@code limit}. */
    public Bounds atMost(String what, double value, double limit) {
        return add(what, value, "≤", limit, value <= limit);
    }

    /** Requires that a value is at least {@code limit}. */
    public Bounds atLeast(String what, double value, double limit) {
        return add(what, value, "≥", limit, value >= limit);
    }

    private Bounds add(String what, double value, String sign, double limit, boolean kept) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("bound", what);
        row.put("value", value);
        row.put("must_be", sign);
        row.put("limit", limit);
        row.put("result", kept ? "kept" : "BROKEN");
        rows.add(row);
        broken |= !kept;
        return this;
    }

    /** Whether one of the bounds is broken. A value that is not a number breaks its bound. */
    public boolean broken() {
        return broken;
    }

    /** A row for each bound, for a table. */
    public List<Map<String, Object>> rows() {
        return List.copyOf(rows);
    }
}
