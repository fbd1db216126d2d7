package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import quire.bench.report.Chart;
import quire.bench.report.HtmlPage;
import quire.bench.report.RunRecord;
import quire.bench.report.Table;

/**
 * What one reproduction found: sentences, tables and charts in the order in which they were added. It is a tree of maps,
 * lists, numbers and texts, so a {@link RunRecord} holds it, and the page and the text can be made from a record that was
 * read again.
 *
 * <pre>
 *   {"title": …, "paper": …, "parts": [ {"note": …}, {"table": …, "rows": […]}, {"chart": …, "x": …, "y": …, "series": {…}} ]}
 * </pre>
 */
final class Report {
    private final Map<String, Object> values = new LinkedHashMap<>();
    private final List<Map<String, Object>> parts = new ArrayList<>();

    /**
     * @param title of the section
     * @param paper the publication and what it says, in a sentence
     */
    Report(String title, String paper) {
        values.put("title", title);
        values.put("paper", paper);
        values.put("parts", parts);
    }

    /** Sets a figure of its own, for readers of the record. */
    Report put(String name, Object value) {
        values.put(name, value);
        return this;
    }

    /** Adds a paragraph of plain text. */
    Report note(String text) {
        parts.add(Map.of("note", text));
        return this;
    }

    /** Adds a table. */
    Report table(String caption, List<Map<String, Object>> rows) {
        parts.add(Map.of("table", caption, "rows", rows));
        return this;
    }

    /**
     * Adds a chart with a line for each series.
     *
     * @param rows the points: {@code by} names the column with the series, {@code x} and {@code y} those with numbers
     */
    Report chart(String caption, List<Map<String, Object>> rows, String by, String x, String y) {
        Map<String, List<List<Double>>> series = new LinkedHashMap<>();
        for (Map<String, Object> row : rows) {
            if (row.containsKey(y)) {
                series.computeIfAbsent(String.valueOf(row.get(by)), absent -> new ArrayList<>())
                        .add(List.of(RunRecord.number(row, x), RunRecord.number(row, y)));
            }
        }
        parts.add(Map.of("chart", caption, "x", x.replace('_', ' '), "y", y.replace('_', ' '), "series", series));
        return this;
    }

    /** The tree. */
    Map<String, Object> values() {
        return values;
    }

    /** Adds a report to a page. */
    static void addTo(HtmlPage page, Map<String, Object> report) {
        page.section(String.valueOf(report.get("title"))).paragraph(HtmlPage.escape(report.get("paper")));
        forEachPart(report, part -> {
            if (part.get("note") != null) {
                page.paragraph(HtmlPage.escape(part.get("note")));
            } else if (part.get("table") != null) {
                page.paragraph("<b>" + HtmlPage.escape(part.get("table")) + "</b>")
                        .add(new Table(new RunRecord(part).rows("rows")));
            } else {
                Chart chart = new Chart(String.valueOf(part.get("x")), String.valueOf(part.get("y")));
                Map<String, Object> series = new RunRecord(part).row("series");
                if (series != null) {
                    series.forEach((name, points) ->
                            chart.line(name, points((List<?>) points)).dots(name, points((List<?>) points)));
                }
                page.paragraph("<b>" + HtmlPage.escape(part.get("chart")) + "</b>")
                        .add(chart);
            }
        });
    }

    private static List<Chart.Point> points(List<?> pairs) {
        return pairs.stream()
                .map(pair -> (List<?>) pair)
                .map(pair -> new Chart.Point(
                        ((Number) pair.getFirst()).doubleValue(), ((Number) pair.getLast()).doubleValue()))
                .toList();
    }

    /** The sentences and tables of a report, for a terminal. */
    static String text(Map<String, Object> report) {
        StringBuilder text = new StringBuilder(1024);
        text.append('\n').append(report.get("title")).append('\n');
        text.append(report.get("paper")).append('\n');
        forEachPart(report, part -> {
            if (part.get("note") != null) {
                text.append(part.get("note")).append('\n');
            } else if (part.get("table") != null) {
                text.append('\n').append(part.get("table")).append('\n');
                text.append(new Table(new RunRecord(part).rows("rows")).text());
            }
        });
        return text.toString();
    }

    private static void forEachPart(Map<String, Object> report, Consumer<Map<String, Object>> use) {
        new RunRecord(report).rows("parts").forEach(use);
    }
}
