package quire.cli;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The results of {@code quire bench speculation} as one page: no script, no other file. */
final class SpeculationPage {
    private static final int WIDTH = 620;
    private static final int HEIGHT = 320;
    private static final int LEFT = 56;
    private static final int BOTTOM = 44;
    private static final int TOP = 16;
    private static final int RIGHT = 190;
    /** What speed must not fall below, against off. */
    private static final double LEAST = 0.97;

    private static final List<String> COLOURS =
            List.of("#1b6ca8", "#c8553d", "#2a9d5c", "#8f5fbf", "#b8860b", "#444444", "#d1498b", "#3aa6a6");

    private SpeculationPage() {}

    static String of(Map<String, Object> result) {
        StringBuilder page = new StringBuilder(1 << 15);
        page.append("""
                <!doctype html><html lang="en"><meta charset="utf-8"><title>Speculation</title><style>
                body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
                table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
                th{border-bottom:2px solid #999}td:first-child,th:first-child{text-align:left}svg text{font:12px system-ui,sans-serif}
                </style>
                """);
        page.append("<h1>Speculation: ")
                .append(escape(result.get("model")))
                .append(", draft ")
                .append(escape(result.get("draft")))
                .append("</h1><p>Kernels ")
                .append(escape(result.get("kernels")))
                .append(", ")
                .append(escape(result.get("threads")))
                .append(" threads, greedy answers of at most ")
                .append(escape(result.get("tokens_an_answer")))
                .append(" tokens. Every token was compared with the one without speculation: all are equal. A "
                        + "speed-up is the median over pairs of runs, one without and one with speculation in random "
                        + "order, of the ratio of their tokens per second; whole steps count, from the end of the one in "
                        + "which the last sequence gets its first token to the end of the one in which the first gets its "
                        + "last. Quartiles are those of the pairs. A <i>turn</i> is what a step does for one sequence that "
                        + "gets its next token; those that end a prompt are among them.</p>");
        List<Map<String, Object>> curve = rows(result, "curve");
        page.append(
                "<h2>Tokens a step against theory</h2><p>One sequence, a fixed number γ of draft tokens, an oracle that "
                        + "is right with probability α. Lines: (1 − α^(γ+1)) / (1 − α). Dots: measured."
                        + time(curve) + "</p>");
        page.append(chart(
                "α",
                "tokens a step",
                series(curve, "draft_tokens", "γ = ", "acceptance", "tokens_by_theory"),
                series(curve, "draft_tokens", "γ = ", "acceptance", "tokens_a_step")));
        page.append("<h2>Speed against theory</h2><p>The same runs. Lines: those tokens, by what a pass of γ + 1 rows "
                + "costs (below). Dots: measured.</p>");
        page.append(chart(
                "α",
                "speed against off",
                series(curve, "draft_tokens", "γ = ", "acceptance", "speedup_by_theory"),
                series(curve, "draft_tokens", "γ = ", "acceptance", "speedup")));
        page.append(table(curve));
        List<Map<String, Object>> load = rows(result, "load");
        load.sort(Comparator.comparingDouble(SpeculationPage::acceptance)
                .thenComparingDouble(row -> number(row, "sequences")));
        page.append(
                "<h2>Never slower</h2><p>Throughput with <code>auto</code> over throughput without, by sequences at "
                        + "once; the oracle is right with probability α. The grey line is 0.97. "
                        + "Off against off shows what is noise." + time(load) + "</p>");
        page.append(chart(
                "sequences (doublings)",
                "speed against off",
                series(load, "acceptance", "α = ", "sequences", "speedup"),
                Map.of()));
        page.append(table(load));
        List<Map<String, Object>> tasks = rows(result, "tasks");
        page.append("<h2>One chat at a time</h2><p><code>auto</code>; geometric means over the texts of a task.")
                .append(time(tasks))
                .append("</p>")
                .append(table(tasks));
        page.append("<h2>What passes cost, and the most there is to be had</h2><p>A step of one token takes ")
                .append(escape(String.format(Locale.ROOT, "%.1f", number(result, "step_microseconds"))))
                .append(" µs, of which ")
                .append(escape(String.format(Locale.ROOT, "%.1f", number(result, "rest_microseconds"))))
                .append(" are not the model's pass. Below the costs: the greatest speed-up over all numbers of draft "
                        + "tokens, by the costs above and the formula for tokens a step, for guesses that cost nothing "
                        + "and for those of the draft model.")
                .append(
                        result.get("costs_seconds") instanceof Number seconds
                                ? " The passes of a model were measured for " + seconds + " s, all sizes together."
                                : "")
                .append("</p>")
                .append(table(rows(result, "costs")))
                .append(table(rows(result, "best")));
        if (result.get("rules") instanceof Map<?, ?> rules) {
            page.append(
                    "<h2>The price of coupling</h2><p>How often a draft token is accepted at temperature 1 on a text, "
                            + "computed from both models' distributions: by rejection sampling, the most there can be; by the same "
                            + "Gumbel noise, which needs no other distribution to draw from and keeps the output to the bit; by "
                            + "independent draws.</p>");
            Map<String, Object> row = new LinkedHashMap<>();
            rules.forEach((key, value) -> row.put(String.valueOf(key), value));
            page.append(table(List.of(row)));
        }
        return page.append("</html>\n").toString();
    }

    static List<Map<String, Object>> rows(Map<String, Object> result, String name) {
        List<Map<String, Object>> rows = new ArrayList<>();
        if (result.get(name) instanceof List<?> list) {
            for (Object entry : list) {
                Map<String, Object> row = new LinkedHashMap<>();
                ((Map<?, ?>) entry).forEach((key, value) -> row.put(String.valueOf(key), value));
                rows.add(row);
            }
        }
        return rows;
    }

    /** What there is a number for comes first in its order; off against off last. */
    private static double acceptance(Map<String, Object> row) {
        return row.get("acceptance") instanceof Number number ? number.doubleValue() : Double.POSITIVE_INFINITY;
    }

    /** How long the cases of a table were measured, if all say so; rows of several runs may differ. */
    private static String time(List<Map<String, Object>> rows) {
        double least = rows.stream()
                .mapToDouble(row -> number(row, SpeculationBenchCommand.SECONDS))
                .min()
                .orElse(0);
        return least > 0 ? " Each case was measured for " + least + " s or more." : "";
    }

    /** Points by series: one series for each value of {@code by}. */
    private static Map<String, List<double[]>> series(
            List<Map<String, Object>> rows, String by, String prefix, String x, String y) {
        Map<String, List<double[]>> series = new LinkedHashMap<>();
        for (Map<String, Object> row : rows) {
            double at = number(row, x);
            series.computeIfAbsent(prefix + row.get(by), name -> new ArrayList<>())
                    .add(new double[] {
                        x.equals("sequences") ? StrictMath.log(at) / StrictMath.log(2) : at, number(row, y)
                    });
        }
        return series;
    }

    static double number(Map<String, Object> row, String name) {
        return row.get(name) instanceof Number number ? number.doubleValue() : 0;
    }

    /** Lines, and dots in the same colours. */
    private static String chart(
            String xName, String yName, Map<String, List<double[]>> lines, Map<String, List<double[]>> dots) {
        double xMax = 1e-9;
        double yMax = 1;
        for (Map<String, List<double[]>> group : List.of(lines, dots)) {
            for (List<double[]> points : group.values()) {
                for (double[] point : points) {
                    xMax = Math.max(xMax, point[0]);
                    yMax = Math.max(yMax, point[1]);
                }
            }
        }
        yMax *= 1.08;
        StringBuilder svg = new StringBuilder(4096);
        svg.append(String.format(
                Locale.ROOT, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">", WIDTH, HEIGHT, WIDTH, HEIGHT));
        for (int i = 0; i <= 4; i++) {
            double y = y(yMax * i / 4, yMax);
            double x = x(xMax * i / 4, xMax);
            svg.append(String.format(
                    Locale.ROOT,
                    "<path d=\"M%d %.1fH%d\" stroke=\"#e4e4e4\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.2f</text>",
                    LEFT,
                    y,
                    WIDTH - RIGHT,
                    LEFT - 6,
                    y + 4,
                    yMax * i / 4));
            svg.append(String.format(
                    Locale.ROOT,
                    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.2f</text>",
                    x,
                    HEIGHT - BOTTOM + 16,
                    xMax * i / 4));
        }
        if (dots.isEmpty()) {
            svg.append(String.format(
                    Locale.ROOT,
                    "<path d=\"M%d %.1fH%d\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>",
                    LEFT,
                    y(LEAST, yMax),
                    WIDTH - RIGHT));
        }
        svg.append(String.format(Locale.ROOT, "<text x=\"%d\" y=\"%d\">%s</text>", LEFT, HEIGHT - 8, escape(xName)));
        svg.append(String.format(Locale.ROOT, "<text x=\"%d\" y=\"12\">%s</text>", LEFT, escape(yName)));
        int index = 0;
        for (Map.Entry<String, List<double[]>> line : lines.entrySet()) {
            String colour = COLOURS.get(index % COLOURS.size());
            StringBuilder path = new StringBuilder();
            for (double[] point : line.getValue()) {
                path.append(path.isEmpty() ? 'M' : 'L')
                        .append(String.format(Locale.ROOT, "%.1f %.1f", x(point[0], xMax), y(point[1], yMax)));
            }
            svg.append(String.format(
                    Locale.ROOT, "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>", path, colour));
            for (double[] point : dots.getOrDefault(line.getKey(), dots.isEmpty() ? line.getValue() : List.of())) {
                svg.append(String.format(
                        Locale.ROOT,
                        "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>",
                        x(point[0], xMax),
                        y(point[1], yMax),
                        colour));
            }
            svg.append(String.format(
                    Locale.ROOT,
                    "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>",
                    WIDTH - RIGHT + 12,
                    TOP + 16 + 18 * index,
                    colour,
                    escape(line.getKey())));
            index++;
        }
        return svg.append("</svg>").toString();
    }

    private static double x(double value, double max) {
        return LEFT + value / max * (WIDTH - LEFT - RIGHT);
    }

    private static double y(double value, double max) {
        return HEIGHT - BOTTOM - value / max * (HEIGHT - BOTTOM - TOP);
    }

    /** All rows under the names of all their values: rows of an earlier run may have others. */
    private static String table(List<Map<String, Object>> rows) {
        Set<String> names = new LinkedHashSet<>();
        rows.forEach(row -> names.addAll(row.keySet()));
        StringBuilder html = new StringBuilder("<table>");
        if (!rows.isEmpty()) {
            html.append("<tr>");
            names.forEach(name ->
                    html.append("<th>").append(escape(name.replace('_', ' '))).append("</th>"));
            html.append("</tr>");
        }
        for (Map<String, Object> row : rows) {
            html.append("<tr>");
            for (String name : names) {
                Object value = row.getOrDefault(name, "");
                html.append("<td>")
                        .append(value instanceof Double number ? number(number) : escape(value))
                        .append("</td>");
            }
            html.append("</tr>");
        }
        return html.append("</table>").toString();
    }

    private static String number(double value) {
        return String.format(Locale.ROOT, Math.abs(value) >= 100 ? "%.0f" : "%.3f", value);
    }

    private static String escape(@Nullable Object text) {
        return String.valueOf(text)
                .replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("\"", "&quot;");
    }
}
