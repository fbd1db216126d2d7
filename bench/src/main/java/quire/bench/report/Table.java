package quire.bench.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import quire.cli.output.TextTable;

/**
 * Rows of named values, written as text, Markdown or HTML. The columns are the names of all rows in order of
 * appearance, with blanks for underscores; a row that lacks a value has an empty cell. A {@code Double} shows three
 * decimals, or none from 100 on. The first column is aligned left, the others right.
 */
public final class Table {
    private final List<? extends Map<String, ?>> rows;
    private final Set<String> names = new LinkedHashSet<>();

    /** A table of these rows; each maps column names to values. */
    public Table(List<? extends Map<String, ?>> rows) {
        this.rows = rows;
        rows.forEach(row -> names.addAll(row.keySet()));
    }

    /** Lines with aligned columns, for a terminal. */
    public String text() {
        return TextTable.of(cells(cell -> cell), 1);
    }

    /** A GitHub-flavoured Markdown table, for {@code bench/results}. */
    public String markdown() {
        List<List<String>> lines = cells(cell -> cell.replace("|", "\\|"));
        String[] rule = new String[names.size()];
        Arrays.fill(rule, "---:");
        if (rule.length > 0) {
            rule[0] = "---";
        }
        lines.add(1, List.of(rule));
        StringBuilder text = new StringBuilder();
        lines.forEach(line -> text.append("| ").append(String.join(" | ", line)).append(" |\n"));
        return text.toString();
    }

    /** A {@code <table>} element; without rows it is empty. */
    public String html() {
        StringBuilder html = new StringBuilder("<table>");
        if (!rows.isEmpty()) {
            List<List<String>> lines = cells(HtmlPage::escape);
            appendHtml(html, lines.getFirst(), "th");
            lines.subList(1, lines.size()).forEach(line -> appendHtml(html, line, "td"));
        }
        return html.append("</table>").toString();
    }

    private static void appendHtml(StringBuilder html, List<String> line, String tag) {
        html.append("<tr>");
        for (String cell : line) {
            html.append('<')
                    .append(tag)
                    .append('>')
                    .append(cell)
                    .append("</")
                    .append(tag)
                    .append('>');
        }
        html.append("</tr>");
    }

    /** The heading and all rows, every cell passed through {@code escape}. */
    private List<List<String>> cells(UnaryOperator<String> escape) {
        List<List<String>> lines = new ArrayList<>();
        lines.add(
                names.stream().map(name -> escape.apply(name.replace('_', ' '))).toList());
        for (Map<String, ?> row : rows) {
            lines.add(names.stream().map(name -> escape.apply(cell(row, name))).toList());
        }
        return lines;
    }

    private static String cell(Map<String, ?> row, String name) {
        Object value = row.containsKey(name) ? row.get(name) : "";
        return value instanceof Double number
                ? String.format(Locale.ROOT, Math.abs(number) >= 100 ? "%.0f" : "%.3f", number)
                : String.valueOf(value);
    }
}
