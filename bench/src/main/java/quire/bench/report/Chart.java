package quire.bench.report;

import java.util.ArrayList;
import java.util.Formatter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * A chart of series of points, as SVG. Both axes begin at 0; the y axis reaches at least 1. Each series has a colour
 * and a line in the legend.
 *
 * <pre>
 *   yName
 *   yMax ┤ · · · · · ·      series 1     TOP
 *        │   ╱‾‾•‾‾•        series 2
 *      0 ┼──────────                     BOTTOM
 *        0      xMax
 *   LEFT   xName      RIGHT
 * </pre>
 */
public final class Chart {
    // The picture in pixels: its size, and the margins around the plot. The legend is in the right margin.
    private static final int WIDTH = 620;
    private static final int HEIGHT = 320;
    private static final int LEFT = 56;
    private static final int BOTTOM = 44;
    private static final int TOP = 16;
    private static final int RIGHT = 190;

    private static final int GRID_LINES = 4;
    /** The y axis reaches this much above the highest point. */
    private static final double HEADROOM = 1.08;

    private static final List<String> COLOURS =
            List.of("#1b6ca8", "#c8553d", "#2a9d5c", "#8f5fbf", "#b8860b", "#7f7f7f", "#d1498b", "#3aa6a6");

    private final String xName;
    private final String yName;
    private final Map<String, Series> nameToSeries = new LinkedHashMap<>();
    private final List<Double> references = new ArrayList<>();

    /** A point of a series. */
    public record Point(double x, double y) {}

    private record Series(List<Point> line, List<Point> dots) {}

    /** An empty chart with these names of its axes. */
    public Chart(String xName, String yName) {
        this.xName = xName;
        this.yName = yName;
    }

    /** Adds points to a series; a line connects them. */
    public Chart line(String series, List<Point> points) {
        series(series).line.addAll(points);
        return this;
    }

    /** Adds points to a series, each shown as a dot. */
    public Chart dots(String series, List<Point> points) {
        series(series).dots.addAll(points);
        return this;
    }

    /** Adds a grey dashed line at a height. */
    public Chart reference(double y) {
        references.add(y);
        return this;
    }

    private Series series(String name) {
        return nameToSeries.computeIfAbsent(name, absent -> new Series(new ArrayList<>(), new ArrayList<>()));
    }

    /** The chart as an {@code <svg>} element. */
    public String svg() {
        double xMax = 1e-9;
        double yMax = 1;
        for (Series series : nameToSeries.values()) {
            for (List<Point> points : List.of(series.line, series.dots)) {
                for (Point point : points) {
                    xMax = Math.max(xMax, point.x);
                    yMax = Math.max(yMax, point.y);
                }
            }
        }
        yMax *= HEADROOM;
        Formatter svg = new Formatter(Locale.ROOT);
        svg.format("<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">", WIDTH, HEIGHT, WIDTH, HEIGHT);
        appendGrid(svg, xMax, yMax);
        for (double y : references) {
            svg.format(
                    "<path d=\"M%d %.1fH%d\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>",
                    LEFT, pixelY(y, yMax), WIDTH - RIGHT);
        }
        svg.format("<text x=\"%d\" y=\"%d\">%s</text>", LEFT, HEIGHT - 8, HtmlPage.escape(xName));
        svg.format("<text x=\"%d\" y=\"12\">%s</text>", LEFT, HtmlPage.escape(yName));
        int index = 0;
        for (Map.Entry<String, Series> entry : nameToSeries.entrySet()) {
            appendSeries(svg, index++, entry.getKey(), entry.getValue(), xMax, yMax);
        }
        return svg.format("</svg>").toString();
    }

    private static void appendGrid(Formatter svg, double xMax, double yMax) {
        for (int i = 0; i <= GRID_LINES; i++) {
            double x = xMax * i / GRID_LINES;
            double y = yMax * i / GRID_LINES;
            svg.format(
                    "<path d=\"M%d %.1fH%d\" class=\"line\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                    LEFT, pixelY(y, yMax), WIDTH - RIGHT, LEFT - 6, pixelY(y, yMax) + 4, label(y));
            svg.format(
                    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                    pixelX(x, xMax), HEIGHT - BOTTOM + 16, label(x));
        }
    }

    private static void appendSeries(Formatter svg, int index, String name, Series series, double xMax, double yMax) {
        String colour = COLOURS.get(index % COLOURS.size());
        Formatter path = new Formatter(Locale.ROOT);
        char command = 'M';
        for (Point point : series.line) {
            path.format("%c%.1f %.1f", command, pixelX(point.x, xMax), pixelY(point.y, yMax));
            command = 'L';
        }
        svg.format("<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>", path, colour);
        for (Point point : series.dots) {
            svg.format(
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>",
                    pixelX(point.x, xMax), pixelY(point.y, yMax), colour);
        }
        svg.format(
                "<text x=\"%d\" y=\"%d\" style=\"fill:%s\">%s</text>",
                WIDTH - RIGHT + 12, TOP + 16 + 18 * index, colour, HtmlPage.escape(name));
    }

    /** A number at an axis; from 100 on its decimals would only take room. */
    private static String label(double number) {
        return String.format(Locale.ROOT, number < 100 ? "%.2f" : "%.0f", number);
    }

    private static double pixelX(double x, double xMax) {
        return LEFT + x / xMax * (WIDTH - LEFT - RIGHT);
    }

    private static double pixelY(double y, double yMax) {
        return HEIGHT - BOTTOM - y / yMax * (HEIGHT - BOTTOM - TOP);
    }
}
