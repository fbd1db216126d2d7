package quire.bench.report;

import org.jspecify.annotations.Nullable;

/** A page of headings, paragraphs, tables and charts in one HTML file: no script, no other file. */
public final class HtmlPage {
    private static final String STYLE = """
            <style>
            :root{color-scheme:light dark;--line:#ddd;--rule:#999}
            body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
            table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid var(--line)}
            th{border-bottom:2px solid var(--rule)}td:first-child,th:first-child{text-align:left}
            svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}svg .line{stroke:var(--line)}
            .wide{overflow-x:auto}code{overflow-wrap:anywhere}
            @media(prefers-color-scheme:dark){:root{--line:#3a3a3a;--rule:#777}body{color:#ddd;background:#161616}}
            </style>
            """;

    private final StringBuilder html = new StringBuilder(1 << 15);

    /**
     * Begins a page.
     *
     * @param title plain text, for the window
     * @param heading plain text, at the top of the page
     */
    public HtmlPage(String title, String heading) {
        html.append("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
                        + "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>")
                .append(escape(title))
                .append("</title>")
                .append(STYLE)
                .append("<h1>")
                .append(escape(heading))
                .append("</h1>");
    }

    /** Begins a section; {@code heading} is plain text. */
    public HtmlPage section(String heading) {
        html.append("<h2>").append(escape(heading)).append("</h2>");
        return this;
    }

    /** Appends a paragraph; {@code content} is HTML. */
    public HtmlPage paragraph(String content) {
        html.append("<p>").append(content).append("</p>");
        return this;
    }

    /** Appends a chart. */
    public HtmlPage add(Chart chart) {
        html.append(chart.svg());
        return this;
    }

    /** Appends a table; on a narrow screen it scrolls by itself. */
    public HtmlPage add(Table table) {
        html.append("<div class=\"wide\">").append(table.html()).append("</div>");
        return this;
    }

    /** The page as it is now. */
    public String html() {
        return html + "</html>\n";
    }

    /** A value as HTML text. */
    public static String escape(@Nullable Object text) {
        return String.valueOf(text)
                .replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("\"", "&quot;");
    }
}
