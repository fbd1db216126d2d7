package quire.bench.speculation;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import quire.bench.report.Chart;
import quire.bench.report.HtmlPage;
import quire.bench.report.RunRecord;
import quire.bench.report.Table;

/** The record of {@code quire bench speculation} as one HTML page. */
final class SpeculationPage {
    /** Speed relative to off that speculation must reach in every case. */
    private static final double MIN_SPEEDUP = 0.97;

    private SpeculationPage() {}

    static String of(RunRecord record) {
        HtmlPage page =
                new HtmlPage("Speculation", "Speculation: " + record.get("model") + ", draft " + record.get("draft"));
        page.paragraph("Kernels " + text(record, "kernels") + ", " + text(record, "threads")
                + " threads, greedy answers of at most " + text(record, "tokens_an_answer") + " tokens. Every token was"
                + " compared with the token without speculation; all are equal. A speed-up is the median over pairs of runs"
                + " of the ratio of their tokens per second. A pair has one run with and one without speculation, in random"
                + " order. The measured time consists of whole steps: from the end of the step in which the last sequence"
                + " gets its first token to the end of the step in which the first sequence gets its last token. The"
                + " quartiles are those of the pairs. A <i>turn</i> is the work of one step for one sequence that gets its"
                + " next token; the step that ends a prompt is a turn, too.");
        addCurve(page, record.rows("curve"));
        addLoad(page, record.rows("load"));
        List<Map<String, Object>> tasks = record.rows("tasks");
        page.section("One chat at a time")
                .paragraph("<code>auto</code>; geometric means over the texts of a task." + time(tasks))
                .add(new Table(tasks));
        addCosts(page, record);
        Map<String, Object> rules = record.row("rules");
        if (rules != null) {
            page.section("Acceptance rules compared")
                    .paragraph("The probability that a draft token is accepted at temperature 1, computed from the"
                            + " distributions of both models on a text. Rejection sampling has the maximum of all rules. The"
                            + " same Gumbel noise (Quire's rule) needs no other distribution to draw from, and keeps every bit"
                            + " of the output. Independent draws are shown for comparison.")
                    .add(new Table(List.of(rules)));
        }
        return page.html();
    }

    private static void addCurve(HtmlPage page, List<Map<String, Object>> curve) {
        page.section("Tokens a step against theory")
                .paragraph("One sequence, a fixed number γ of draft tokens, an oracle that is right with probability α."
                        + " Lines: (1 − α^(γ+1)) / (1 − α). Dots: measured." + time(curve));
        Chart tokens = new Chart("α", "tokens a step");
        series(curve, "draft_tokens", "γ = ", "acceptance", "tokens_by_theory").forEach(tokens::line);
        series(curve, "draft_tokens", "γ = ", "acceptance", "tokens_a_step").forEach(tokens::dots);
        page.add(tokens);
        page.section("Speed against theory")
                .paragraph(
                        "The same runs. Lines: the theoretical tokens a step, divided by the cost of a pass of γ + 1 rows"
                                + " (see below). Dots: measured.");
        Chart speeds = new Chart("α", "speed against off");
        series(curve, "draft_tokens", "γ = ", "acceptance", "speedup_by_theory").forEach(speeds::line);
        series(curve, "draft_tokens", "γ = ", "acceptance", "speedup").forEach(speeds::dots);
        page.add(speeds).add(new Table(curve));
    }

    private static void addLoad(HtmlPage page, List<Map<String, Object>> load) {
        load.sort(Comparator.comparingDouble(SpeculationPage::acceptance)
                .thenComparingDouble(row -> RunRecord.number(row, "sequences")));
        page.section("Never slower")
                .paragraph("Throughput with <code>auto</code> relative to throughput without speculation, by number of"
                        + " sequences; the oracle is right with probability α. The grey line is 0.97. Off against off shows"
                        + " the noise." + time(load));
        Chart chart = new Chart("sequences (doublings)", "speed against off").reference(MIN_SPEEDUP);
        series(load, "acceptance", "α = ", "sequences", "speedup")
                .forEach((name, points) -> chart.line(name, points).dots(name, points));
        page.add(chart).add(new Table(load));
    }

    private static void addCosts(HtmlPage page, RunRecord record) {
        String seconds = record.get("costs_seconds") instanceof Number number
                ? " The passes of each model were measured for " + number + " s, all sizes together."
                : "";
        page.section("Cost of passes, and the greatest possible speed-up")
                .paragraph(String.format(
                                Locale.ROOT,
                                "A step of one token takes %.1f µs, of which %.1f are not the model's pass.",
                                record.number("step_microseconds"),
                                record.number("rest_microseconds"))
                        + " The first table shows what passes cost. The second shows the greatest speed-up over all numbers"
                        + " of draft tokens, computed from these costs and the formula for tokens a step, for draft tokens"
                        + " that cost nothing and for those of the draft model." + seconds)
                .add(new Table(record.rows("costs")))
                .add(new Table(record.rows("best")));
    }

    private static String text(RunRecord record, String name) {
        return HtmlPage.escape(record.get(name));
    }

    /** Numbers come first, in order; {@code off against off} comes last. */
    private static double acceptance(Map<String, Object> row) {
        return row.get("acceptance") instanceof Number number ? number.doubleValue() : Double.POSITIVE_INFINITY;
    }

    /** How long each case of a table was measured, if all rows say so. Rows of several runs may differ. */
    private static String time(List<Map<String, Object>> rows) {
        double least = rows.stream()
                .mapToDouble(row -> RunRecord.number(row, SpeculationBench.SECONDS))
                .min()
                .orElse(0);
        return least > 0 ? " Each case was measured for " + least + " s or more." : "";
    }

    /** Points (x, y) of all rows, as one series for each value of the column {@code by}. Sequences become doublings. */
    private static Map<String, List<Chart.Point>> series(
            List<Map<String, Object>> rows, String by, String prefix, String x, String y) {
        Map<String, List<Chart.Point>> nameToPoints = new LinkedHashMap<>();
        for (Map<String, Object> row : rows) {
            double number = RunRecord.number(row, x);
            double at = x.equals("sequences") ? StrictMath.log(number) / StrictMath.log(2) : number;
            nameToPoints
                    .computeIfAbsent(prefix + row.get(by), name -> new ArrayList<>())
                    .add(new Chart.Point(at, RunRecord.number(row, y)));
        }
        return nameToPoints;
    }
}
